// Program localnode makes a director one of its own real servers: as the sorry server that gets the clients while no other
// server can, as a regular member that shares the work, or as the one that works first and spills what is too much for it.
//
//	localnode                                                         a demonstration, no root and no IPVS needed
//	localnode start -watch -vip 192.0.2.10 -real 192.0.2.2,192.0.2.3  sorry server, until interrupted
//	localnode start -share 2 -vip 192.0.2.10 -real 192.0.2.2=3        a member with weight 2
//	localnode start -spill 100 -vip 192.0.2.10 -real 192.0.2.2        serves up to 100 connections, and spills the others
//	localnode status -share 2 -vip 192.0.2.10 -real 192.0.2.2=3       shows that and says what is wrong; the others likewise
//	localnode stop -vip 192.0.2.10                                    takes it back
//
// The kernel knows no sorry server. It is a destination with weight 0, which is raised when no other one has a weight any
// more: -watch does that, whoever changes the others' weights, and ends with the table as it is. (To start it again sets the
// weights that -real names, those that somebody has lowered meanwhile too.) With -page it also answers HTTP requests on the
// virtual address itself, with status 503 and the page; if the port is taken, nothing is changed. Persistent clients would
// stay with the sorry server afterwards; program healthcheck takes care of that, and checks the servers as well.
//
// The local node is the address 127.0.0.1 or ::1. Packets for it are handed to this machine's own programs as they are, so
// that one has to serve the virtual address, or every address, on the port of the service.
//
// What is spilled goes to the other servers in the order of their weights, the highest first (scheduler fo): the local node
// has the highest weight and a threshold. With -scheduler ovf each server takes one active connection more than its weight
// before the next one gets any (so observed on Linux 6.1 and 6.12).
//
// With -n start and stop show what they would do. LVS_KERNEL=memory:FILE uses an in-memory kernel that keeps its state in
// FILE instead of the host's; it has no devices, and neither -dev nor -page go with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() { setup.Main("localnode", run) }

const usage = `usage: localnode [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    sets up the virtual service with its real servers and the local node; again: changes what differs
  stop     removes the service, and the VIP from the device to which start has bound it
  status   shows how things are, what is wrong, and how to mend it

"localnode VERB -h" shows the flags of a verb.
`

// options are the flags of all verbs.
type options struct {
	vip       netip.Addr
	port      uint16
	protocol  ipvs.Protocol
	real      setup.RealServers
	forward   ipvs.ForwardMethod
	scheduler string
	share     uint32
	spill     uint32
	device    string
	netns     string
	watch     bool
	interval  time.Duration
	pageFile  string
	dryRun    bool
	json      bool
}

func (o *options) flags(verb string) *flag.FlagSet {
	*o = options{port: 80, protocol: ipvs.TCP, forward: ipvs.Route}
	fs := flag.NewFlagSet("localnode "+verb, flag.ContinueOnError)
	device := "`device` that holds the VIP; without it the VIP is left to others"
	if verb == "stop" {
		device = "`device` that start was given: not needed, and another one is an error"
	}
	setup.AddrVar(fs, &o.vip, "vip", "virtual IP `address` (required)")
	setup.PortVar(fs, &o.port, "port", "`port` of the service (default 80)")
	setup.ProtocolVar(fs, &o.protocol, "proto", "`protocol`: tcp, udp or sctp (default tcp)")
	fs.StringVar(&o.device, "dev", "", device)
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	if verb != "stop" {
		fs.Var(&o.real, "real", "the other `servers`, separated by commas: ADDRESS or ADDRESS=WEIGHT; may be repeated")
		fs.Func("method", "`method` by which they are reached: Masq, Route or Tunnel (default Route)", func(s string) (err error) {
			o.forward, err = ipvs.ParseForwardMethod(s)
			if err == nil && o.forward > ipvs.Route || o.forward == ipvs.LocalNode {
				err = fmt.Errorf("method %q is none of Masq, Route and Tunnel", s)
			}
			return err
		})
		weightVar(fs, &o.share, "share", "the director is a regular member with this `weight`")
		weightVar(fs, &o.spill, "spill", "the director serves this many `connections` before the others get any")
		fs.StringVar(&o.scheduler, "scheduler", "", "scheduler's `name`; with -spill fo or ovf (default wlc, with -spill fo)")
	}
	switch verb {
	case "start":
		fs.BoolVar(&o.watch, "watch", false, "go on: the local node has a weight while no other server has one")
		fs.DurationVar(&o.interval, "interval", time.Second, "`time` between two looks of -watch")
		fs.StringVar(&o.pageFile, "page", "", "with -watch: serve this `file` on the VIP as an HTTP page with status 503")
	case "status":
		fs.BoolVar(&o.json, "json", false, "print JSON")
	}
	if verb != "status" {
		fs.BoolVar(&o.dryRun, "n", false, "only show what would be done")
	}
	return fs
}

// weightVar defines a flag for a number above 0 that the kernel takes as a weight or threshold.
func weightVar(fs *flag.FlagSet, p *uint32, name, usage string) {
	fs.Func(name, usage, func(s string) error {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil || n == 0 {
			return errors.New("a number from 1 to 2147483647 is wanted")
		}
		*p = uint32(n)
		return nil
	})
}

// check finds mistakes in flags that are well formed, and fills in what follows from others.
func (o *options) check(e *setup.Env, verb string) error {
	if o.scheduler == "" && verb != "stop" {
		o.scheduler = "wlc"
		if o.spill > 0 {
			o.scheduler = "fo"
		}
	}
	highest := slices.MaxFunc(append(setup.RealServers{{}}, o.real...), func(a, b setup.RealServer) int { return int(int64(a.Weight) - int64(b.Weight)) })
	switch {
	case !o.vip.IsValid():
		return errors.New("-vip is required")
	case verb == "start" && len(o.real) == 0:
		return errors.New("-real is required")
	case o.share > 0 && o.spill > 0:
		return errors.New("-share and -spill exclude each other")
	case o.watch && (o.share > 0 || o.spill > 0):
		return errors.New("-watch is for the sorry server, and goes without -share and -spill")
	case o.watch && o.dryRun:
		return errors.New("-watch goes without -n")
	case o.watch && o.interval <= 0:
		return errors.New("-interval is a time above zero")
	case o.pageFile != "" && !o.watch:
		return errors.New("-page goes with -watch")
	case o.pageFile != "" && o.protocol != ipvs.TCP:
		return errors.New("-page is for tcp")
	case o.spill > 0 && o.scheduler != "fo" && o.scheduler != "ovf":
		return fmt.Errorf("-spill goes with the schedulers fo and ovf, not with %s", o.scheduler)
	case o.spill > 0 && o.scheduler == "ovf" && int64(o.spill)-1 <= int64(highest.Weight):
		return fmt.Errorf("with -scheduler ovf the local node comes first only if -spill is at least 2 above all weights, and %d is not so for %d", o.spill, highest.Weight)
	case o.spill > 0 && highest.Weight == maxWeight:
		return fmt.Errorf("with -spill no other server can have the weight %d", uint32(maxWeight))
	case e.Kernel != "" && o.device != "":
		return fmt.Errorf("LVS_KERNEL=%s has no devices for -dev", e.Kernel)
	case e.Kernel != "" && o.pageFile != "":
		return fmt.Errorf("LVS_KERNEL=%s has no clients for -page", e.Kernel)
	}
	for _, s := range o.real {
		switch {
		case s.Addr.IsLoopback():
			return fmt.Errorf("real server %v is this machine: -share makes it a member", s.Addr)
		case o.forward != ipvs.Masquerade && s.Port != 0 && s.Port != o.port:
			return fmt.Errorf("real server %v has port %d, and packets come to it with port %d", s.Addr, s.Port, o.port)
		case o.forward != ipvs.Tunnel && s.Addr.Is4() != o.vip.Is4():
			return fmt.Errorf("real server %v and the VIP are of different families", s.Addr)
		}
	}
	return nil
}

// timeout bounds each request to the kernel.
const timeout = 30 * time.Second

func run(ctx context.Context, e *setup.Env, args []string) int {
	if len(args) == 0 {
		return e.Report(demo(ctx, e.Stdout))
	}
	verb, status, over := e.Verb(usage, args)
	if over {
		return status
	}
	var o options
	if status, done := e.Parse(verb, o.flags(verb), args[1:], func() error { return o.check(e, verb) }); done {
		return status
	}
	if verb != "status" {
		var stop context.CancelFunc
		ctx, stop = setup.Hold(ctx)
		defer stop()
	}
	c, done, err := ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: o.netns, Timeout: timeout})
	if err != nil {
		return e.Report(err)
	}
	n := &node{options: o, client: c, out: e.Stdout}
	if n.record, err = setup.TableRecord(e, o.netns, n.service().ID); err != nil {
		return e.Report(errors.Join(err, done()))
	}
	parts := n.parts(e)
	switch {
	case verb == "stop":
		err = setup.Stop(ctx, e.Stdout, parts, o.dryRun)
	case verb == "status":
		err = setup.Status(ctx, e.Stdout, parts, o.json)
	case o.watch:
		err = n.watch(ctx, parts)
	default:
		err = setup.Start(ctx, e.Stdout, parts, o.dryRun)
	}
	return e.Report(errors.Join(err, done()))
}

// parts are what a director consists of, in the order in which it is set up: when packets come, they are balanced.
func (n *node) parts(e *setup.Env) []setup.Part {
	parts := []setup.Part{n}
	if e.Kernel != "" {
		return parts
	}
	m := setup.Machine{Program: e.Name}
	m.VIP, m.Device, m.NetNS = n.vip, n.device, n.netns
	table := setup.Table{Client: n.client, Service: n.service()}
	return append(parts, setup.Listening(n.netns, n.protocol, netip.AddrPortFrom(n.vip, n.port)), m.Holds(table.SharesVIP))
}

// watch sets the service up and keeps the sorry server's weight right, until the context ends or the page is not served.
func (n *node) watch(ctx context.Context, parts []setup.Part) error {
	p := &page{node: n}
	if n.pageFile != "" {
		parts = append([]setup.Part{p}, parts...)
	}
	if err := setup.Start(ctx, n.out, parts, false); err != nil {
		return err
	}
	n.keep(ctx, p.done)
	return p.close()
}
