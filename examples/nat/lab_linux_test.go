package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// lab has a client with several addresses in one network, and three real servers in another; the director is in both. The
// last two real servers have another router as their gateway, which leads nowhere.
type lab struct {
	client, director *nstest.NS
	real             []*nstest.NS
}

// Networks of the lab, for addresses that end with a host's number.
const (
	outer4, outer6 = "10.0.1.", "fd00:1::"
	inner4, inner6 = "10.0.2.", "fd00:2::"
)

func addr(network string, host int) netip.Addr { return netip.MustParseAddr(fmt.Sprint(network, host)) }

func newLab(t *testing.T) *lab {
	t.Helper()
	bridge := nstest.New(t)
	plug := func(ns *nstest.NS, device, br, network4, network6 string, hosts ...int) {
		t.Helper()
		port := fmt.Sprint(br, "port", hosts[0])
		nstest.Veth(t, ns, device, bridge, port)
		bridge.SetMaster(t, port, br)
		for _, h := range hosts {
			ns.AddAddr(t, device, netip.PrefixFrom(addr(network4, h), 24))
			ns.AddAddr(t, device, netip.PrefixFrom(addr(network6, h), 64))
		}
	}
	bridge.Bridge(t, "outer")
	bridge.Bridge(t, "inner")
	l := &lab{client: nstest.New(t), director: nstest.New(t)}
	plug(l.client, "eth0", "outer", outer4, outer6, 20, 21, 22, 23, 24, 25, 26, 27)
	plug(l.director, "eth0", "outer", outer4, outer6, 1)
	plug(l.director, "eth1", "inner", inner4, inner6, 1)
	for i := range 3 {
		ns := nstest.New(t)
		plug(ns, "eth0", "inner", inner4, inner6, 11+i)
		if i > 0 {
			ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: addr(inner4, 254)})
			ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("::/0"), Via: addr(inner6, 254)})
		}
		ns.ServeHTTP(t, netip.MustParseAddrPort("[::]:8080"), fmt.Sprint(11+i), nil)
		l.real = append(l.real, ns)
	}
	return l
}

// do runs the program for a namespace, which has to end with a status.
func do(t *testing.T, want int, ns *nstest.NS, args ...string) string {
	t.Helper()
	status, out, errs := run(t, "", append(args, "-netns", ns.Path())...)
	if status != want {
		t.Fatalf("nat %v: status %d, want %d; %s\n%s", args, status, want, errs, out)
	}
	return out
}

// states reads what all stations look like.
func states(t *testing.T, stations []*nstest.NS) (list []setuptest.State) {
	t.Helper()
	for _, ns := range stations {
		list = append(list, setuptest.Read(t, ns.Path()))
	}
	return list
}

func same(t *testing.T, before, after []setuptest.State) {
	t.Helper()
	for i := range before {
		if diff := before[i].Diff(after[i]); diff != nil {
			t.Errorf("station %d is not as before:\n%s", i, strings.Join(diff, "\n"))
		}
	}
}

// passing counts the packets that come from a service and leave by a captured device.
func passing(frames []nstest.Frame, service netip.AddrPort) (count int) {
	for _, f := range frames {
		if p, err := f.Packet(); err == nil && p.Src == service && f.Outgoing {
			count++
		}
	}
	return count
}

func requests(t *testing.T, l *lab, network, inner string, service netip.AddrPort, count int) {
	t.Helper()
	var clients []netip.Addr
	for i := range 8 {
		clients = append(clients, addr(network, 20+i))
	}
	setuptest.Load{
		Director: l.director.Path(), Service: service, Clients: clients, Count: count, FirstPort: 20000, Dial: l.client.Dial,
		Server: func(host string) netip.Addr { return netip.MustParseAddr(inner + host) },
	}.Requests(t)
}

// All is built by the program: requests are balanced as the model says, each answer passes the director, and afterwards
// everything is as before.
func TestIntegrationRequests(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	stations := append([]*nstest.NS{l.director}, l.real...)
	before := states(t, stations)
	for _, tt := range []struct{ outer, inner, scheduler string }{{outer4, inner4, "sh"}, {outer6, inner6, "wrr"}} {
		service := netip.AddrPortFrom(addr(tt.outer, 100), 80)
		var words []string
		for i := range l.real {
			words = append(words, fmt.Sprintf("%v=%d", netip.AddrPortFrom(addr(tt.inner, 11+i), 8080), 3-i))
		}
		director := []string{"-vip", service.Addr().String(), "-dev", "eth0", "-real", strings.Join(words, ","), "-scheduler", tt.scheduler}
		server := []string{"-role", "realserver", "-gw", addr(tt.inner, 1).String(), "-port", "8080"}
		for _, ns := range l.real {
			if out := do(t, setup.ExitError, ns, append([]string{"status"}, server...)...); !strings.Contains(out, "clients such as") {
				t.Errorf("status of a real server before start:\n%s", out)
			}
			do(t, setup.ExitOK, ns, append([]string{"start"}, server...)...)
			do(t, setup.ExitOK, ns, append([]string{"status"}, server...)...)
		}
		do(t, setup.ExitOK, l.director, append([]string{"start"}, director...)...)
		do(t, setup.ExitOK, l.director, append([]string{"status"}, director...)...)
		captured := l.director.Capture(t, "eth0")
		requests(t, l, tt.outer, tt.inner, service, 100)
		if got := passing(captured.Stop(), service); got < 400 {
			t.Errorf("%v: %d packets of the answers pass the director, want four or more for each request", service, got)
		}
		do(t, setup.ExitOK, l.director, "stop", "-vip", service.Addr().String(), "-dev", "eth0")
		for _, ns := range l.real {
			do(t, setup.ExitOK, ns, "stop", "-role", "realserver")
		}
	}
	same(t, before, states(t, stations))
}

// With clients and real servers on one network the answers pass the director too, and it sends no redirects.
func TestIntegrationOneNetwork(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	for i := range 8 {
		l.real[2].AddAddr(t, "eth0", netip.PrefixFrom(addr(inner4, 20+i), 24))
	}
	l.client, l.real = l.real[2], l.real[:2]
	stations := append([]*nstest.NS{l.director}, l.real...)
	before := states(t, stations)
	service := netip.AddrPortFrom(addr(inner4, 100), 80)
	for _, ns := range l.real {
		do(t, setup.ExitOK, ns, "start", "-role", "realserver", "-gw", "10.0.2.1", "-clients", "10.0.2.0/24", "-port", "8080")
		do(t, setup.ExitOK, ns, "status", "-role", "realserver", "-gw", "10.0.2.1", "-clients", "10.0.2.0/24", "-port", "8080")
	}
	do(t, setup.ExitOK, l.director, "start", "-vip", "10.0.2.100", "-dev", "eth1", "-real", "10.0.2.11:8080,10.0.2.12:8080", "-scheduler", "rr")
	// Another service keeps the settings when this one stops.
	do(t, setup.ExitOK, l.director, "start", "-vip", "10.0.2.101", "-dev", "eth1", "-real", "10.0.2.11:8080", "-scheduler", "rr")
	captured := l.client.Capture(t, "eth0")
	requests(t, l, inner4, inner4, service, 20)
	mac := l.director.Link(t, "eth1").MAC.String()
	for _, f := range captured.Stop() {
		p, err := f.Packet()
		if err != nil || f.Outgoing {
			continue
		}
		if p.Src == service && netMAC(f) != mac {
			t.Fatalf("an answer comes from %v and not from the director %v", netMAC(f), mac)
		}
		if p.Proto == nstest.ICMP {
			t.Fatalf("ICMP from %v: %x", p.Src, p.Payload)
		}
	}
	if got := l.director.Sysctl(t, "net/ipv4/conf/eth1/send_redirects"); got != "0" {
		t.Errorf("send_redirects is %s", got)
	}
	do(t, setup.ExitOK, l.director, "stop", "-vip", "10.0.2.100", "-dev", "eth1")
	if got := l.director.Sysctl(t, "net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward is %s while another service needs it", got)
	}
	do(t, setup.ExitOK, l.director, "stop", "-vip", "10.0.2.101", "-dev", "eth1")
	for _, ns := range l.real {
		do(t, setup.ExitOK, ns, "stop", "-role", "realserver")
	}
	same(t, before, states(t, stations))
}

// netMAC returns the hardware address that a frame comes from.
func netMAC(f nstest.Frame) string { return net.HardwareAddr(f.Data[6:12]).String() }
