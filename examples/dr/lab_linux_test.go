package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// A lab is one network with a client that has several addresses, a director and three real servers.
type lab = setuptest.Lab[*nstest.NS]

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
	l := &lab{Program: program, Client: station(20, 21, 22, 23, 24, 25, 26, 27), Director: station(1)}
	for i := range 3 {
		l.Real = append(l.Real, station(11+i))
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
	compare := setuptest.Before(t, l.Stations()...)
	for i, ns := range l.Real {
		ns.ServeHTTP(t, netip.MustParseAddrPort("[::]:80"), fmt.Sprint(11+i), nil)
	}
	round(t, l, "10.0.0.", "wrr", false)
	round(t, l, "fd00::", "sh", true)
	compare(t, "stopped")
}

func round(t *testing.T, l *lab, network, scheduler string, serversFirst bool) {
	t.Helper()
	addr := func(host any) netip.Addr { return netip.MustParseAddr(fmt.Sprint(network, host)) }
	vip, mac := addr(100), l.Director.Link(t, "eth0").MAC
	probe, err := arp.New(&arp.Config{NetNS: l.Client.Path()})
	if err != nil {
		t.Fatal(err)
	}
	started := false // the director
	late := 0        // questions whose answers may still come
	resolves := func(verb string, at setuptest.Place) {
		t.Helper()
		if at == setuptest.Place(l.Director) {
			started = verb != "stop"
		}
		for begin := time.Now(); ; {
			replies, err := probe.Probe(t.Context(), "eth0", vip, &arp.ProbeOptions{Count: 1, Wait: 150 * time.Millisecond})
			took := time.Since(begin)
			switch {
			case err == nil && started && len(replies) == 0 && took < 30*time.Second:
				late++
				continue
			case err == nil && !started && len(replies) > 0 && late > 0:
				late--
				continue
			case err != nil || started != (len(replies) == 1) || started && !bytes.Equal(replies[0].HardwareAddr, mac):
				t.Fatalf("after dr %s: for %v, %v answer for %v, and the director (started: %t) is %v; %d answers may be late; %v",
					verb, took, replies, vip, started, mac, late, err)
			}
			return
		}
	}
	var clients []netip.Addr
	for i := range 8 {
		clients = append(clients, addr(20+i))
	}
	service := netip.AddrPortFrom(vip, 80)
	atDirector, atClient := l.Director.Capture(t, "eth0"), l.Client.Capture(t, "eth0")
	answers := l.Play(t, setuptest.Service{
		VIP:      vip,
		Director: []string{"-dev", "eth0", "-real", fmt.Sprintf("%v=3,%v,%v=2", addr(11), addr(12), addr(13)), "-scheduler", scheduler},
		Server:   func(int) []string { return []string{"-vip", vip.String()} },
		Clients:  clients, Count: 100, FirstPort: 20000,
		Answers:      func(host string) netip.Addr { return addr(host) },
		ServersFirst: serversFirst, Each: resolves,
	})
	if macs, _ := senders(atDirector.Stop(), service); len(macs) > 0 {
		t.Errorf("%v: answers of %v pass the director", vip, macs)
	}
	frames := atClient.Stop()
	want := make(map[string]bool)
	for i, ns := range l.Real {
		if answers[addr(11+i)] > 0 {
			want[ns.Link(t, "eth0").MAC.String()] = true
		}
	}
	if macs, count := senders(frames, service); !cmp.Equal(macs, want) || count < 300 {
		t.Errorf("%v: %d packets of the service, want 300 or more, come from %v, want the real servers %v", vip, count, macs, want)
	}
	if found := claims(frames, vip); !cmp.Equal(found, map[string]bool{mac.String(): true}) {
		t.Errorf("%v: %v have claimed the address, and the director is %v", vip, found, mac)
	}
}
