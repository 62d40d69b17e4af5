package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/sched/sim"
)

// header is what ipvsadm prints of a kernel with a connection table of the usual size.
var header = ipvs.Info{Version: 1<<16 | 2<<8 | 1, ConnTabSize: 4096}

// show prints a listing.
func (r *runner) show(ctx context.Context, what string) error {
	listing := ipvsadm.Listing{}
	switch {
	case what == "conns" && r.json:
		list := []ipvs.Connection{}
		for c := range r.conns {
			list = append(list, c)
		}
		return r.encode(list)
	case what == "conns":
		listing.Subject = ipvsadm.Connections
		return listing.WriteConnections(ctx, r.out, r.conns, nil)
	case what == "state":
		return r.state()
	case r.json:
		return r.encode(r.table())
	case what == "stats":
		listing.View = ipvsadm.Stats
	}
	return listing.WriteTable(ctx, r.out, r.table(), nil)
}

// conns yields the connections and templates by client, virtual address and server.
func (r *runner) conns(yield func(ipvs.Connection, error) bool) {
	list := slices.SortedFunc(r.director.Conns(), func(a, b sim.Conn) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Client.Compare(b.Client), a.Virtual.Compare(b.Virtual), a.Dest.Compare(b.Dest), cmp.Compare(a.Data, b.Data))
	})
	for _, c := range list {
		if !yield(ipvsConn(c), nil) {
			return
		}
	}
}

func (r *runner) table() ipvsadm.Table {
	t := ipvsadm.Table{Info: header}
	for s := range r.director.Services() {
		e := ipvs.ServiceSnapshot{ServiceStatus: ipvsService(s)}
		if !e.Netmask.IsValid() {
			e.Netmask = ipvs.MaskBits(e.ID.AddrFamily(), 32)
		}
		for d := range r.director.Dests(s.ID) {
			e.Destinations = append(e.Destinations, ipvsDest(d))
		}
		t.Services = append(t.Services, e)
	}
	return t
}

// state prints what two runs, or a run and a kernel, have in common if they agree: everything but the order of lists and the
// times that are left. Packets are counted up to now.
func (r *runner) state() error {
	var services []string
	for s := range r.director.Services() {
		var b strings.Builder
		fmt.Fprintf(&b, "service %s conns %d in %d out %d\n", command(s), s.Stats.Counted.Conns, s.Stats.Counted.InPackets, s.Stats.Counted.OutPackets)
		dests := slices.SortedFunc(r.director.Dests(s.ID), func(a, b sim.DestStatus) int { return a.Addr.Compare(b.Addr) })
		for _, d := range dests {
			n := d.Stats.Counted
			fmt.Fprintf(&b, "  -> %v %v weight %d active %d inactive %d persistent %d conns %d in %d out %d\n",
				d.Addr, d.Method, d.Weight, d.Active, d.Inactive, d.Persistent, n.Conns, n.InPackets, n.OutPackets)
		}
		services = append(services, b.String())
	}
	var conns, templates []string
	for c := range r.director.Conns() {
		line := fmt.Sprintf("%v %v %v %v %s", c.Protocol, c.Client, c.Virtual, c.Dest, c.State)
		if c.Engine != "" {
			line += " " + c.Engine + " " + c.Data
		}
		if c.Template {
			templates = append(templates, "template "+line+"\n")
		} else {
			conns = append(conns, "connection "+line+"\n")
		}
	}
	for _, list := range [][]string{services, conns, templates} {
		slices.Sort(list)
	}
	lines := strings.Join(slices.Concat(services, conns, templates), "")
	if r.json {
		return r.encode(map[string][]string{"state": strings.Split(strings.TrimSuffix(lines, "\n"), "\n")})
	}
	_, err := r.out.WriteString(lines)
	return err
}
