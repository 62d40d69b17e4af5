package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func Example() {
	ctx := context.Background()
	c, done, err := ipvstest.Dial(ctx, "memory:", nil) // on a director: c, err := ipvs.Dial(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer done()
	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	err = errors.Join(
		c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "wlc"}),
		c.AddDestination(ctx, web, ipvs.NewDestination(netip.MustParseAddrPort("10.0.0.2:8080"))))
	list, _ := c.Destinations(ctx, web)
	fmt.Println(web, "->", list[0].Addr, list[0].Forward, list[0].Weight, err)
	// Output: TCP 192.0.2.1:80 -> 10.0.0.2:8080 Masq 1 <nil>
}

// Errors say what they mean for the request, and what a person can do.
func ExampleOpError() {
	ctx := context.Background()
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer done()
	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}

	err = c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "wcl"})
	fmt.Println(err)
	if oe, ok := errors.AsType[*ipvs.OpError](err); ok && errors.Is(err, ipvs.ErrScheduler) {
		fmt.Println(oe.Hint())
	}
	err = c.AddDestination(ctx, web, ipvs.Destination{Addr: netip.MustParseAddrPort("[2001:db8::2]:80")})
	fmt.Println(err)
	// Output:
	// ipvs: add service TCP 192.0.2.1:80: unknown scheduler
	// look for a typing error, or for a module ip_vs_NAME that this kernel lacks; Probe lists the schedulers that load
	// ipvs: add destination TCP 192.0.2.1:80 -> [2001:db8::2]:80: Addr: [2001:db8::2]:80 in an IPv4 service: only with the forwarding method Tunnel
}

// Quiescing a real server keeps its connections and sends new clients elsewhere.
func ExampleClient_Quiesce() {
	ctx := context.Background()
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer done()
	dns := ipvs.Mark(7, ipvs.IPv4)
	addr := netip.MustParseAddrPort("10.0.0.2:53")
	if err := c.AddService(ctx, ipvs.Service{ID: dns, Scheduler: "rr", Flags: ipvs.OnePacket}); err != nil {
		log.Fatal(err)
	}
	if err := c.AddDestination(ctx, dns, ipvs.Destination{Addr: addr, Forward: ipvs.Route, Weight: 5}); err != nil {
		log.Fatal(err)
	}
	before, err := c.Quiesce(ctx, dns, addr)
	now, _ := c.Destination(ctx, dns, addr)
	fmt.Println(dns, "weight", before.Weight, "then", now.Weight, err)
	// Output: FWM 7 weight 5 then 0 <nil>
}
