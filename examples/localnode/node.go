package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// node is a virtual service with the director as one of its own real servers.
type node struct {
	options
	client *ipvs.Client
	record string // of the service, see setup.Table
	out    io.Writer
}

// maxWeight is the largest that the kernel takes.
const maxWeight = math.MaxInt32

// service is the virtual service.
func (n *node) service() ipvs.Service {
	s := setup.NewService(n.protocol, n.vip, n.port)
	s.Scheduler = n.scheduler
	return s
}

// others are the other real servers.
func (n *node) others() []ipvs.Destination {
	return n.real.Destinations(n.port, ipvs.Destination{Forward: n.forward})
}

// local is the local node, given whether one of the others has a weight.
func (n *node) local(serving bool) ipvs.Destination {
	d := ipvs.Destination{Forward: n.forward, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), n.port)}
	if n.vip.Is6() {
		d.Addr = netip.AddrPortFrom(netip.IPv6Loopback(), n.port)
	}
	if n.forward == ipvs.Masquerade {
		d.Forward = ipvs.LocalNode // a rewritten packet for a loopback address is lost
	}
	switch {
	case n.share > 0:
		d.Weight = n.share
	case n.spill > 0 && n.scheduler == "ovf":
		d.Weight = n.spill - 1 // ovf overflows when there are more connections than the weight
	case n.spill > 0:
		d.UpperThreshold = n.spill
		for _, s := range n.real {
			d.Weight = max(d.Weight, s.Weight)
		}
		d.Weight++
	case !serving:
		d.Weight = 1 // the sorry server's time
	}
	return d
}

// serving reports whether a server other than the local node has a weight.
func (n *node) serving(list []ipvs.Destination) bool {
	local := n.local(true).Addr
	return slices.ContainsFunc(list, func(d ipvs.Destination) bool { return d.Weight > 0 && d.Addr != local })
}

// table is the part of IPVS, with the local node as the other servers want it.
func (n *node) table(serving bool) *setup.Table {
	return &setup.Table{
		Client: n.client, Program: "localnode", Service: n.service(), Forward: n.forward,
		Destinations: append(n.others(), n.local(serving)), Record: n.record,
	}
}

// Start compares the table with what the flags say.
func (n *node) Start(ctx context.Context) (setup.Action, error) {
	return n.table(n.serving(n.others())).Start(ctx)
}

// RecordFile makes it a [setup.Recorder].
func (n *node) RecordFile() string { return n.record }

// Stop removes the service.
func (n *node) Stop(ctx context.Context) (setup.Action, error) { return n.table(true).Stop(ctx) }

// Check shows the service. The sorry server has to have a weight if no other server in the table has one.
func (n *node) Check(ctx context.Context) (setup.Look, error) {
	have, err := n.client.Destinations(ctx, n.service().ID)
	if err != nil && !errors.Is(err, ipvs.ErrNoService) {
		return setup.Look{}, err
	}
	return n.table(n.serving(configs(have))).Check(ctx)
}

func configs(list []ipvs.DestinationStatus) (c []ipvs.Destination) {
	for _, d := range list {
		c = append(c, d.Destination)
	}
	return c
}

// keep looks at the table at each interval, and gives the sorry server the weight that it is to have, until the context
// ends or the page is done. What goes wrong is said once.
func (n *node) keep(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(n.interval)
	defer tick.Stop()
	var last string
	for {
		text, err := n.step(ctx)
		if err != nil {
			text = "! " + err.Error()
		}
		if ctx.Err() == nil && text != "" && text != last {
			fmt.Fprintln(n.out, time.Now().Format(time.TimeOnly), text)
		}
		if last = ""; err != nil {
			last = text
		}
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// step looks once. The text says what was changed; it is empty if nothing was.
func (n *node) step(ctx context.Context) (text string, err error) {
	id := n.service().ID
	have, err := n.client.Destinations(ctx, id)
	if err != nil {
		return "", err
	}
	want := n.local(n.serving(configs(have)))
	text = fmt.Sprintf("%v is the sorry server, and gets the clients", want.Addr)
	if want.Weight == 0 {
		text = fmt.Sprintf("%v gets no new clients any more", want.Addr)
	}
	// A change is not given up half-way when the program is told to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	i := slices.IndexFunc(have, func(d ipvs.DestinationStatus) bool { return d.Addr == want.Addr })
	switch {
	case i < 0:
		return text, n.client.AddDestination(ctx, id, want)
	case have[i].Destination != want:
		return text, n.client.SetDestination(ctx, id, want)
	}
	return "", nil
}
