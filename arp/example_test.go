package arp_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/sysctl"
)

// machine is a made-up real server with one network card.
var machine = arp.State{
	Links: []arp.Link{
		{Index: 1, Name: "lo", Type: 772, Flags: arp.LinkUp | arp.LinkLoopback},
		{Index: 2, Name: "eth0", Type: 1, Flags: arp.LinkUp | arp.LinkBroadcast | arp.LinkLowerUp},
	},
	Addresses: []arp.Address{{Prefix: netip.MustParsePrefix("10.0.0.3/24"), Device: "eth0"}},
	Settings: map[sysctl.Key]string{
		sysctl.IPv4("all", "arp_ignore"): "0", sysctl.IPv4("all", "arp_announce"): "0",
		sysctl.IPv4("eth0", "arp_ignore"): "0", sysctl.IPv4("eth0", "arp_announce"): "0",
	},
}

// A plan for a machine that need not exist; [arp.Host.Plan] makes one for this machine.
func ExampleState_Plan() {
	plan, err := machine.Plan(arp.Setup{VIPs: []netip.Addr{netip.MustParseAddr("10.0.0.100")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range plan.Steps {
		if !step.Keep {
			fmt.Println(step)
		}
	}
	// Output:
	// set net.ipv4.conf.all.arp_ignore from 0 to 1
	// set net.ipv4.conf.all.arp_announce from 0 to 2
	// add address 10.0.0.100/32 on lo
}

// Setting lo alone, as many recipes do, has no effect.
func ExampleState_Check() {
	m := machine
	vip := netip.MustParsePrefix("10.0.0.100/32")
	m.Addresses = append(m.Addresses, arp.Address{Prefix: vip, Device: "lo"})
	m.Local = []arp.LocalRoute{{Prefix: vip, Device: "lo"}}
	m.Settings[sysctl.IPv4("lo", "arp_ignore")] = "1"

	e, err := m.Check(vip.Addr(), "eth0", netip.Addr{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Answers)
	fmt.Println(e.AnswersCause)
	// Output:
	// true
	// net.ipv4.conf.all.arp_ignore = 0: answers for every address of this machine, on whatever device it is
}

// A real server of VS/DR from start to stop.
func Example() {
	ctx := context.Background()
	vip := netip.MustParseAddr("10.0.0.100")
	h, err := arp.New(&arp.Config{Timeout: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := h.Plan(ctx, arp.Setup{VIPs: []netip.Addr{vip}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan)
	if _, err := h.Apply(ctx, plan); err != nil {
		fmt.Println(err)
		return
	}
	status, err := h.Status(ctx, vip)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(status)
	if _, err := h.Release(ctx, vip); err != nil {
		fmt.Println(err)
	}
}

// The director has taken an address over and tells its neighbours.
func ExampleHost_Announce() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	h, err := arp.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := h.Announce(ctx, "eth0", []netip.Addr{netip.MustParseAddr("10.0.0.100")}, nil); err != nil {
		fmt.Println(err)
	}
}
