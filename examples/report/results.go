package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/golvs/lvs/ipvs"
)

// results are the numbers that the pictures show.
type results struct {
	Seconds  float64          `json:"seconds"` // of the trace
	Windows  int              `json:"windows"`
	Services []*serviceResult `json:"services"`

	trace *trace
}

type serviceResult struct {
	Service   ipvs.ServiceID   `json:"service"`
	Servers   []netip.AddrPort `json:"servers"`
	Incidents []incident       `json:"incidents"`
	Runs      []*run           `json:"runs"`

	history *history
}

// run is what a scheduler made of a service.
type run struct {
	Scheduler   string      `json:"scheduler"`
	Connections int         `json:"connections"`
	Refused     int         `json:"refused"` // no server for them
	Uneven      float64     `json:"uneven"`  // mean over the windows that have connections, from 0 to 1
	Moved       int         `json:"moved"`   // connections of clients whose last server is in service and who got another one
	PerWindow   []*window   `json:"perWindow"`
	Effects     []effect    `json:"effects"` // of each incident
	openings    []opening   // in order of time
	last        clientsLast // server of each client
}

type clientsLast map[netip.Addr]netip.AddrPort

// window is a part of the time.
type window struct {
	Begin   float64   `json:"begin"`
	Share   []float64 `json:"share"` // of the connections, for each server
	Due     []float64 `json:"due"`   // what the weights promise, for each server
	Uneven  float64   `json:"uneven"`
	Moved   int       `json:"moved"`
	Refused int       `json:"refused"`

	count []int
	due   []float64
	total int
}

// effect is what an incident does to clients: until the next one, and a fifth of the whole time at most.
type effect struct {
	Seconds float64 `json:"seconds"`
	Refused int     `json:"refused"` // connections
	Still   int     `json:"still"`   // connections that the server gets, though it is removed or drained

	// Of the connections of clients that were at another server before, which is in service, the part that moved, before
	// the incident and after it.
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// opening is a connection.
type opening struct {
	at     float64
	client netip.Addr
	to     netip.AddrPort // zero if refused
	from   netip.AddrPort // the client's last server, zero for a new client
	moved  bool           // to another server though the last one is in service
}

func newResults(t *trace, windows int) *results {
	r := &results{Seconds: t.end, Windows: windows, trace: t}
	for _, h := range t.services {
		s := &serviceResult{Service: h.id, Servers: h.servers, Incidents: h.events, history: h}
		if s.Incidents == nil {
			s.Incidents = []incident{}
		}
		r.Services = append(r.Services, s)
	}
	return r
}

// decision is a line of lvssim -json that is not a listing.
type decision struct {
	Time     float64
	Protocol string
	Client   netip.AddrPort
	Virtual  netip.AddrPort
	Mark     uint32
	Dest     netip.AddrPort
	Verdict  string
}

// add reads the decisions of a run.
func (r *results) add(scheduler string, in io.Reader) error {
	runs := make(map[*history]*run)
	for _, s := range r.Services {
		x := &run{Scheduler: scheduler, last: make(clientsLast)}
		for i := range r.Windows {
			x.PerWindow = append(x.PerWindow, &window{Begin: r.Seconds * float64(i) / float64(r.Windows),
				count: make([]int, len(s.Servers)), due: make([]float64, len(s.Servers))})
		}
		s.Runs = append(s.Runs, x)
		runs[s.history] = x
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := r.decide(runs, line); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	for _, s := range r.Services {
		s.Runs[len(s.Runs)-1].finish(s, r.Seconds)
	}
	return nil
}

func (r *results) decide(runs map[*history]*run, line []byte) error {
	if line[0] != '{' {
		return nil // a listing
	}
	var d decision
	if err := json.Unmarshal(line, &d); err != nil {
		return err
	}
	if d.Verdict == "" {
		return nil // a listing, too
	}
	protocol, err := ipvs.ParseProtocol(d.Protocol)
	if err != nil {
		return err
	}
	h := r.trace.find(protocol, d.Virtual, d.Mark)
	if h == nil {
		return nil // it is for no service
	}
	i := 0
	if r.Seconds > 0 {
		i = min(int(d.Time/r.Seconds*float64(r.Windows)), r.Windows-1)
	}
	runs[h].open(h, d, i)
	return nil
}

func (x *run) open(h *history, d decision, i int) {
	w := x.PerWindow[i]
	weights := h.at(d.Time)
	o := opening{at: d.Time, client: d.Client.Addr(), to: d.Dest, from: x.last[d.Client.Addr()]}
	x.Connections++
	if !d.Dest.IsValid() {
		x.Refused++
		w.Refused++
	} else {
		x.last[o.client] = d.Dest
		o.moved = o.from.IsValid() && o.from != d.Dest && weights[o.from] > 0
		if o.moved {
			x.Moved++
			w.Moved++
		}
		if n, found := slices.BinarySearchFunc(h.servers, d.Dest, netip.AddrPort.Compare); found {
			w.count[n]++
			w.total++
		}
		sum := 0.0
		for _, weight := range weights {
			sum += float64(weight)
		}
		for n, addr := range h.servers {
			if sum > 0 {
				w.due[n] += float64(weights[addr]) / sum
			}
		}
	}
	x.openings = append(x.openings, o)
}

// finish makes shares of counts, once all are there.
func (x *run) finish(s *serviceResult, end float64) {
	windows := 0
	for _, w := range x.PerWindow {
		w.Share, w.Due = make([]float64, len(w.count)), make([]float64, len(w.count))
		if w.total == 0 {
			continue
		}
		for n, count := range w.count {
			w.Share[n] = float64(count) / float64(w.total)
			w.Due[n] = w.due[n] / float64(w.total)
			w.Uneven += max(0, w.Share[n]-w.Due[n])
		}
		x.Uneven += w.Uneven
		windows++
	}
	if windows > 0 {
		x.Uneven /= float64(windows)
	}
	x.Effects = make([]effect, len(s.Incidents))
	for i, e := range s.Incidents {
		until := min(end, e.At+end/5)
		if i+1 < len(s.Incidents) {
			until = min(until, s.Incidents[i+1].At)
		}
		x.Effects[i] = x.effect(e, until)
	}
}

func (x *run) effect(e incident, until float64) effect {
	out := effect{Seconds: until - e.At}
	var before, after part
	for _, o := range x.openings {
		stayed := o.to.IsValid() && o.from.IsValid() && o.from != e.Server && (o.moved || o.from == o.to)
		switch {
		case o.at >= e.At && o.at < until:
			if !o.to.IsValid() {
				out.Refused++
			}
			if o.to == e.Server && (e.Kind == "removed" || e.Kind == "drained") {
				out.Still++
			}
			after.add(stayed, o.moved)
		case o.at < e.At && o.at >= e.At-out.Seconds:
			before.add(stayed, o.moved)
		}
	}
	out.Before, out.After = before.share(), after.share()
	return out
}

// part counts how many of some moved.
type part struct{ moved, all int }

func (p *part) add(counts, moved bool) {
	if counts {
		p.all++
		if moved {
			p.moved++
		}
	}
}

func (p part) share() float64 {
	if p.all == 0 {
		return 0
	}
	return float64(p.moved) / float64(p.all)
}
