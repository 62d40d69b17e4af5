package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
)

// serviceSummary is the report of a service as JSON.
type serviceSummary struct {
	Service     string          `json:"service"`
	Conns       uint64          `json:"conns"`
	Refused     uint64          `json:"refused"`
	Variation   float64         `json:"variation"`
	MaxOverMean float64         `json:"maxOverMean"`
	Clients     int             `json:"clients"`
	Switches    uint64          `json:"switches"`
	Servers     []serverSummary `json:"servers"`
}

type serverSummary struct {
	Addr   netip.AddrPort `json:"addr"`
	Weight uint32         `json:"weight"`
	Conns  uint64         `json:"conns"`
	Share  float64        `json:"share"`
	Due    float64        `json:"due"`
	Peak   int32          `json:"peak"`
}

func (r *runner) reports() []serviceSummary {
	var list []serviceSummary
	for s := range r.director.Services() {
		v, err := r.director.Report(s.ID)
		if err != nil {
			continue // it was there a moment ago
		}
		out := serviceSummary{command(s), v.Conns, v.Refused, v.Variation, v.MaxOverMean, v.Clients, v.Switches, nil}
		for _, d := range v.Servers {
			out.Servers = append(out.Servers, serverSummary(d))
		}
		list = append(list, out)
	}
	return list
}

// summary prints what a run did, and how even the load was.
func (r *runner) summary() error {
	reports := r.reports()
	conns, templates := r.director.Len()
	if r.json {
		return r.encode(struct {
			totals
			Conns     int              `json:"connections"`
			Templates int              `json:"templates"`
			Services  []serviceSummary `json:"services"`
		}{r.totals, conns, templates, reports})
	}
	t := r.totals
	fmt.Fprintf(r.out, "%d events in %s s: %d opened, %d scheduled, %d without a server; %d connections and %d templates left\n",
		t.Events, seconds(r.director.Now()), t.Opened, t.Scheduled, t.NoServer, conns, templates)
	for _, s := range reports {
		fmt.Fprintf(r.out, "\n%s: %d connections of %d clients, %d refused, %d changes of server\n", s.Service, s.Conns, s.Clients, s.Refused, s.Switches)
		fmt.Fprintf(r.out, "coefficient of variation %.3f, maximum over mean %.3f\n", s.Variation, s.MaxOverMean)
		w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(w, "server\tweight\tconnections\tshare\tdue\tpeak\t\n")
		for _, d := range s.Servers {
			fmt.Fprintf(w, "%v\t%d\t%d\t%.2f%%\t%.2f%%\t%d\t\n", d.Addr, d.Weight, d.Conns, 100*d.Share, 100*d.Due, d.Peak)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// comparison is a service under one scheduler.
type comparison struct {
	Scheduler string `json:"scheduler"`
	serviceSummary
	PeakOverMean float64 `json:"peakOverMean"` // the most connections at a time per weight, over the mean
}

func (r *runner) comparison(scheduler string) []comparison {
	var rows []comparison
	for _, s := range r.reports() {
		c := comparison{Scheduler: scheduler, serviceSummary: s}
		var sum, most float64
		n := 0
		for _, d := range s.Servers {
			if d.Weight > 0 {
				load := float64(d.Peak) / float64(d.Weight)
				sum, most = sum+load, max(most, load)
				n++
			}
		}
		if sum > 0 {
			c.PeakOverMean = most / (sum / float64(n))
		}
		rows = append(rows, c)
	}
	return rows
}

func writeComparison(out *bufio.Writer, rows []comparison, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		for _, c := range rows {
			if err := enc.Encode(c); err != nil {
				return err
			}
		}
		return nil
	}
	return writeTable(out, rows)
}

func writeTable(out io.Writer, rows []comparison) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scheduler\tvariation\tmax/mean\tpeak/mean\tconnections\trefused\tswitches\tservice")
	for _, c := range rows {
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%d\t%d\t%d\t%s\n", c.Scheduler, c.Variation, c.MaxOverMean, c.PeakOverMean, c.Conns, c.Refused, c.Switches, c.Service)
	}
	return w.Flush()
}
