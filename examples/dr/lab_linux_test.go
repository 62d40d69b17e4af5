package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// lab is one network with a client that has several addresses, a director and three real servers.
type lab struct {
	client, director *nstest.NS
	real             []*nstest.NS
}

func newLab(t *testing.T) *lab {
	t.Helper()
	bridge := nstest.New(t)
	bridge.Bridge(t, "br0")
	station := func(host int, more ...int) *nstest.NS {
		t.Helper()
		ns := nstest.New(t)
		port := fmt.Sprint("port", host)
		nstest.Veth(t, ns, "eth0", bridge, port)
		bridge.SetMaster(t, port, "br0")
		for _, h := range append([]int{host}, more...) {
			ns.AddAddr(t, "eth0", netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", h)))
			ns.AddAddr(t, "eth0", netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", h)))
		}
		return ns
	}
	l := &lab{client: station(20, 21, 22, 23, 24, 25, 26, 27), director: station(1)}
	for i := range 3 {
		l.real = append(l.real, station(11+i))
	}
	return l
}

// claims returns the hardware addresses that frames name as that of an IP address, in ARP and neighbour discovery.
func claims(frames []nstest.Frame, addr netip.Addr) map[string]bool {
	found := make(map[string]bool)
	for _, f := range frames {
		arp := len(f.Data) >= 42 && f.Data[12] == 0x08 && f.Data[13] == 0x06
		nd := len(f.Data) >= 78 && f.Data[12] == 0x86 && f.Data[13] == 0xdd && f.Data[20] == nstest.ICMPv6 && f.Data[54] == 136
		switch {
		case arp && addr.Is4() && bytes.Equal(f.Data[28:32], addr.AsSlice()):
			found[net.HardwareAddr(f.Data[22:28]).String()] = true
		case nd && addr.Is6() && bytes.Equal(f.Data[62:78], addr.AsSlice()):
			found[net.HardwareAddr(f.Data[6:12]).String()] = true
		}
	}
	return found
}

// senders returns the hardware addresses that the packets of a service come from, and how many there are.
func senders(frames []nstest.Frame, service netip.AddrPort) (macs map[string]bool, count int) {
	macs = make(map[string]bool)
	for _, f := range frames {
		if p, err := f.Packet(); err == nil && p.Src == service {
			macs[net.HardwareAddr(f.Data[6:12]).String()] = true
			count++
		}
	}
	return macs, count
}

// All is built by the program: requests are balanced as the model says, answers do not pass the director, the VIP resolves
// to the director alone whatever starts and stops, and afterwards everything is as before.
func TestIntegrationRequests(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	stations := append([]*nstest.NS{l.director}, l.real...)
	var before []setuptest.State
	for _, ns := range stations {
		before = append(before, setuptest.Read(t, ns.Path()))
	}
	for i, ns := range l.real {
		ns.ServeHTTP(t, netip.MustParseAddrPort("[::]:80"), fmt.Sprint(11+i), nil)
	}
	for _, tt := range []struct {
		network, scheduler string
		directorFirst      bool
	}{{"10.0.0.", "wrr", true}, {"fd00::", "sh", false}} {
		l.round(t, tt.network, tt.scheduler, tt.directorFirst)
	}
	for i, ns := range stations {
		if diff := before[i].Diff(setuptest.Read(t, ns.Path())); diff != nil {
			t.Errorf("station %d is not as before:\n%s", i, strings.Join(diff, "\n"))
		}
	}
}

func (l *lab) round(t *testing.T, network, scheduler string, directorFirst bool) {
	t.Helper()
	addr := func(host any) netip.Addr { return netip.MustParseAddr(fmt.Sprint(network, host)) }
	service := netip.AddrPortFrom(addr(100), 80)
	vip, mac := service.Addr(), l.director.Link(t, "eth0").MAC
	probe, err := arp.New(&arp.Config{NetNS: l.client.Path()})
	if err != nil {
		t.Fatal(err)
	}
	started := false // the director
	do := func(ns *nstest.NS, args ...string) {
		t.Helper()
		if status, out, errs := run(t, "", append(args, "-vip", vip.String(), "-netns", ns.Path())...); status != setup.ExitOK {
			t.Fatalf("dr %v: status %d; %s\n%s", args, status, errs, out)
		}
		started = started && args[0] != "stop" || ns == l.director && args[0] == "start" || started && ns != l.director
		var replies []arp.Reply
		var err error
		for try := 0; try == 0 || try < 10 && started && err == nil && len(replies) == 0; try++ { // an answer may be late
			replies, err = probe.Probe(t.Context(), "eth0", vip, &arp.ProbeOptions{Count: 1, Wait: 150 * time.Millisecond})
		}
		if err != nil || started != (len(replies) == 1) || started && !bytes.Equal(replies[0].HardwareAddr, mac) {
			t.Fatalf("after dr %v: %v answer for %v, and the director (started: %t) is %v; %v", args, replies, vip, started, mac, err)
		}
	}
	real := fmt.Sprintf("%v=3,%v,%v=2", addr(11), addr(12), addr(13))
	director := []string{"-dev", "eth0", "-real", real, "-scheduler", scheduler}
	atDirector, atClient := l.director.Capture(t, "eth0"), l.client.Capture(t, "eth0")

	if directorFirst {
		do(l.director, append([]string{"start"}, director...)...)
	}
	for _, ns := range l.real {
		do(ns, "start", "-role", "realserver")
	}
	if !directorFirst {
		do(l.director, append([]string{"start"}, director...)...)
	}
	do(l.director, append([]string{"status"}, director...)...)
	for _, ns := range l.real {
		do(ns, "status", "-role", "realserver")
	}
	var clients []netip.Addr
	for i := range 8 {
		clients = append(clients, addr(20+i))
	}
	answers := setuptest.Load{
		Director: l.director.Path(), Service: service, Clients: clients, Count: 100, FirstPort: 20000, Dial: l.client.Dial,
		Server: func(host string) netip.Addr { return addr(host) },
	}.Requests(t)
	if directorFirst {
		do(l.director, "stop", "-dev", "eth0")
	}
	for _, ns := range l.real {
		do(ns, "stop", "-role", "realserver")
	}
	if !directorFirst {
		do(l.director, "stop", "-dev", "eth0")
	}

	if macs, _ := senders(atDirector.Stop(), service); len(macs) > 0 {
		t.Errorf("%v: answers of %v pass the director", vip, macs)
	}
	frames := atClient.Stop()
	want := make(map[string]bool)
	for i, ns := range l.real {
		if answers[addr(11+i)] > 0 {
			want[ns.Link(t, "eth0").MAC.String()] = true
		}
	}
	if macs, count := senders(frames, service); !cmp.Equal(macs, want) || count < 300 {
		t.Errorf("%v: %d packets of the service come from %v, want the real servers %v", vip, count, macs, want)
	}
	if found := claims(frames, vip); !cmp.Equal(found, map[string]bool{mac.String(): true}) {
		t.Errorf("%v: %v have claimed the address, and the director is %v", vip, found, mac)
	}
}
