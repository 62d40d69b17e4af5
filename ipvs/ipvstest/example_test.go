package ipvstest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// A controller keeps the destinations of a service in step with the health of its servers: a server that fails gets weight 0,
// one that has also lost its connections is removed, and one that works again is added again.
type controller struct {
	client  *ipvs.Client
	service ipvs.ServiceID
	servers []netip.AddrPort
	healthy func(netip.AddrPort) bool
}

// step looks at each server once.
func (c *controller) step(ctx context.Context) error {
	for _, server := range c.servers {
		d, err := c.client.Destination(ctx, c.service, server)
		known := !errors.Is(err, ipvs.ErrNoDestination)
		if known && err != nil { // not to know is not to know that it is gone
			return err
		}
		switch healthy := c.healthy(server); {
		case healthy && known && d.Weight == 0:
			d.Weight = 1
			err = c.client.SetDestination(ctx, c.service, d.Destination)
		case healthy && !known:
			err = c.client.AddDestination(ctx, c.service, ipvs.NewDestination(server))
		case !healthy && known && d.Weight != 0:
			_, err = c.client.Quiesce(ctx, c.service, server)
		case !healthy && known && d.Active == 0:
			err = c.client.DeleteDestination(ctx, c.service, server)
		default:
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A server fails, is quiesced, drains, is removed and comes back, while clients come and go. A test of a controller checks
// with the kernel's own numbers that nobody is sent to the broken server, and that nobody is cut off.
func Example() {
	ctx := context.Background()
	kernel, err := ipvstest.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer kernel.Close()
	client, err := kernel.Client()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	if err := client.AddService(ctx, ipvs.Service{ID: web, Scheduler: "wlc"}); err != nil {
		log.Fatal(err)
	}
	failed := ""
	c := &controller{client: client, service: web, healthy: func(a netip.AddrPort) bool { return a.Addr().String() != failed }}
	for _, a := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
		c.servers = append(c.servers, netip.MustParseAddrPort(a))
	}

	net := kernel.Namespace("")
	var open []sim.Flow // connections of clients, the oldest first
	clients := func(n int) {
		for range n {
			addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(len(open))})
			flow := ipvstest.Flow(netip.AddrPortFrom(addr, 40000), web)
			if r := net.Connect(flow); r.Verdict != sim.Forwarded {
				log.Fatalf("client %v is %v", flow.Client, r.Verdict)
			}
			open = append(open, flow)
		}
	}
	show := func(event string) {
		if err := c.step(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Print(event, ":")
		list, err := client.Destinations(ctx, web)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range list {
			fmt.Printf("  %v weight %d, %d active", d.Addr.Addr(), d.Weight, d.Active)
		}
		fmt.Println()
	}

	show("start")
	clients(30)
	show("30 clients")
	failed = "10.0.0.2"
	show("10.0.0.2 fails")
	clients(10)
	show("10 more clients")
	for _, flow := range open[:30] {
		net.Disconnect(flow)
	}
	show("the first 30 leave")
	failed = ""
	show("10.0.0.2 is back")
	kernel.Advance(5 * time.Minute)
	clients(20)
	show("20 more clients")

	// Output:
	// start:  10.0.0.3 weight 1, 0 active  10.0.0.2 weight 1, 0 active  10.0.0.1 weight 1, 0 active
	// 30 clients:  10.0.0.3 weight 1, 10 active  10.0.0.2 weight 1, 10 active  10.0.0.1 weight 1, 10 active
	// 10.0.0.2 fails:  10.0.0.3 weight 1, 10 active  10.0.0.2 weight 0, 10 active  10.0.0.1 weight 1, 10 active
	// 10 more clients:  10.0.0.3 weight 1, 15 active  10.0.0.2 weight 0, 10 active  10.0.0.1 weight 1, 15 active
	// the first 30 leave:  10.0.0.3 weight 1, 5 active  10.0.0.1 weight 1, 5 active
	// 10.0.0.2 is back:  10.0.0.2 weight 1, 0 active  10.0.0.3 weight 1, 5 active  10.0.0.1 weight 1, 5 active
	// 20 more clients:  10.0.0.2 weight 1, 10 active  10.0.0.3 weight 1, 10 active  10.0.0.1 weight 1, 10 active
}

// What if this one is drained? The live table is read, and the question asked of a director without a kernel: which of the
// clients would have to go elsewhere? Here the kernel in memory stands for the live one.
func ExampleNewDirector() {
	ctx := context.Background()
	live, web := liveKernel()
	defer live.Close()
	client, err := live.Client() // for the host's kernel: ipvs.Dial(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	table, err := client.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	director, err := ipvstest.NewDirector(table.Ruleset(), &sim.Config{RememberClients: true})
	if err != nil {
		log.Fatal(err)
	}
	server := make(map[int]netip.AddrPort)
	visit := func(client int, port uint16) netip.AddrPort {
		addr := netip.AddrFrom4([4]byte{198, 51, byte(client >> 8), byte(client)})
		return director.Establish(ipvstest.Flow(netip.AddrPortFrom(addr, port), web)).Dest
	}
	for i := range 1000 {
		server[i] = visit(i, 40000)
	}
	director.BeginReport()
	if err := director.SetWeight(ipvstest.ID(web), netip.MustParseAddrPort("10.0.0.2:80"), 0); err != nil {
		log.Fatal(err)
	}
	for i := range 1000 {
		if to := visit(i, 40001); to != server[i] && i < 10 {
			fmt.Printf("client %d moves from %v to %v\n", i, server[i], to)
		}
	}
	report, err := director.Report(ipvstest.ID(web))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d clients move\n", report.Moved, report.Clients)
	for _, s := range report.Servers {
		fmt.Printf("%v gets %d of %d connections\n", s.Addr, s.Conns, report.Conns)
	}
	// Output:
	// client 1 moves from 10.0.0.2:80 to 10.0.0.1:80
	// client 2 moves from 10.0.0.2:80 to 10.0.0.3:80
	// client 5 moves from 10.0.0.2:80 to 10.0.0.1:80
	// client 7 moves from 10.0.0.2:80 to 10.0.0.1:80
	// client 8 moves from 10.0.0.2:80 to 10.0.0.1:80
	// client 9 moves from 10.0.0.2:80 to 10.0.0.1:80
	// 317 of 1000 clients move
	// 10.0.0.1:80 gets 501 of 1000 connections
	// 10.0.0.2:80 gets 0 of 1000 connections
	// 10.0.0.3:80 gets 499 of 1000 connections
}

// liveKernel has a service that sends each client to the server of its hash.
func liveKernel() (*ipvstest.Kernel, ipvs.ServiceID) {
	kernel, err := ipvstest.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	rules := ipvs.ServiceRules{Service: ipvs.Service{ID: web, Scheduler: "mh", Flags: ipvs.MHFallback}}
	for _, a := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
		rules.Destinations = append(rules.Destinations, ipvs.NewDestination(netip.MustParseAddrPort(a)))
	}
	if err := kernel.Namespace("").Load(ipvs.Ruleset{Services: []ipvs.ServiceRules{rules}}); err != nil {
		log.Fatal(err)
	}
	return kernel, web
}
