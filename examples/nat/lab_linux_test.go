package main

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// A lab has a client with several addresses in one network, and three real servers in another; the director is in both. The
// last two real servers have another router as their gateway, which leads nowhere.
type lab = setuptest.Lab[*nstest.NS]

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
	l := &lab{Program: program, Client: nstest.New(t), Director: nstest.New(t)}
	plug(l.Client, "eth0", "outer", outer4, outer6, 20, 21, 22, 23, 24, 25, 26, 27)
	plug(l.Director, "eth0", "outer", outer4, outer6, 1)
	plug(l.Director, "eth1", "inner", inner4, inner6, 1)
	for i := range 3 {
		ns := nstest.New(t)
		plug(ns, "eth0", "inner", inner4, inner6, 11+i)
		if i > 0 {
			ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: addr(inner4, 254)})
			ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("::/0"), Via: addr(inner6, 254)})
		}
		ns.ServeHTTP(t, netip.MustParseAddrPort("[::]:8080"), fmt.Sprint(11+i), nil)
		l.Real = append(l.Real, ns)
	}
	return l
}

// from matches the packets that come from a service and pass a device in a direction.
func from(service netip.AddrPort, outgoing bool) func(nstest.Frame) bool {
	return func(f nstest.Frame) bool {
		p, err := f.Packet()
		return err == nil && p.Src == service && f.Outgoing == outgoing
	}
}

// service is one at the VIP with the number 100 of a network, whose real servers are in the inner one.
func service(l *lab, outer, inner string, count int, device, scheduler, server string) setuptest.Service {
	s := setuptest.Service{
		VIP:    addr(outer, 100),
		Server: func(int) []string { return strings.Fields(server) },
		Count:  count, FirstPort: 20000,
		Answers: func(host string) netip.Addr { return netip.MustParseAddr(inner + host) },
	}
	var words []string
	for i := range l.Real {
		words = append(words, fmt.Sprintf("%v=%d", netip.AddrPortFrom(addr(inner, 11+i), 8080), 3-i))
	}
	s.Director = []string{"-dev", device, "-real", strings.Join(words, ","), "-scheduler", scheduler}
	for i := range 8 {
		s.Clients = append(s.Clients, addr(outer, 20+i))
	}
	return s
}

// All is built by the program: requests are balanced as the model says, each answer passes the director, and afterwards
// everything is as before.
func TestIntegrationRequests(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	compare := setuptest.Before(t, l.Stations()...)
	for _, tt := range []struct{ outer, inner, scheduler string }{{outer4, inner4, "sh"}, {outer6, inner6, "wrr"}} {
		server := "-port 8080 -gw " + addr(tt.inner, 1).String()
		for _, ns := range l.Real {
			if out := l.Do(t, setup.ExitError, ns, append([]string{"status", "-role", "realserver"}, strings.Fields(server)...)...); !strings.Contains(out, "clients such as") {
				t.Errorf("status of a real server before start:\n%s", out)
			}
		}
		s := service(l, tt.outer, tt.inner, 100, "eth0", tt.scheduler, server)
		s.Meanwhile = func() func() {
			captured := l.Director.Capture(t, "eth0")
			return func() {
				want := 4 * s.Count
				if got := len(captured.Wait(want, 30*time.Second, from(netip.AddrPortFrom(s.VIP, 80), true))); got < want {
					t.Errorf("%v: %d packets of the answers pass the director, of %d frames, want %d or more for %d requests",
						s.VIP, got, len(captured.Frames()), want, s.Count)
				}
			}
		}
		l.Play(t, s)
	}
	compare(t, "stopped")
}

// With clients and real servers on one network the answers pass the director too, and it sends no redirects.
func TestIntegrationOneNetwork(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	for i := range 8 {
		l.Real[2].AddAddr(t, "eth0", netip.PrefixFrom(addr(inner4, 20+i), 24))
	}
	l.Client, l.Real = l.Real[2], l.Real[:2]
	compare := setuptest.Before(t, l.Stations()...)
	s := service(l, inner4, inner4, 20, "eth1", "rr", "-gw 10.0.2.1 -clients 10.0.2.0/24 -port 8080")
	s.Meanwhile = func() func() {
		// Another service keeps the settings and the address when this one stops.
		l.Do(t, setup.ExitOK, l.Director, "start", "-vip", "10.0.2.100", "-port", "81", "-real", "10.0.2.11:8080")
		if got := l.Director.Sysctl(t, "net/ipv4/conf/eth1/send_redirects"); got != "0" {
			t.Errorf("send_redirects is %s", got)
		}
		captured := l.Client.Capture(t, "eth0")
		return func() {
			service := netip.AddrPortFrom(s.VIP, 80)
			if want, got := 3*s.Count, len(captured.Wait(3*s.Count, 30*time.Second, from(service, false))); got < want {
				t.Errorf("%d packets of the answers arrive, want %d or more for %d requests", got, want, s.Count)
			}
			direct(t, captured.Stop(), service, l.Director.Link(t, "eth1").MAC.String())
		}
	}
	l.Play(t, s)
	if got := l.Director.Sysctl(t, "net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward is %s while another service needs it", got)
	}
	// What goes back to which value is shown, and that it was start that changed it, whatever stop is told.
	stop := []string{"stop", "-vip", "10.0.2.100", "-port", "81"}
	want := regexp.MustCompile(`(?m)^net\.ipv4\.conf\.eth1\.send_redirects +0 +1 +restore$`)
	if out := l.Do(t, setup.ExitOK, l.Director, append(stop, "-n")...); !want.MatchString(out) {
		t.Errorf("stop -n does not say %v:\n%s", want, out)
	}
	l.Do(t, setup.ExitOK, l.Director, stop...)
	compare(t, "stopped")
}

// direct looks for answers of a service that do not come from a hardware address, and for ICMP.
func direct(t *testing.T, frames []nstest.Frame, service netip.AddrPort, director string) {
	t.Helper()
	for _, f := range frames {
		p, err := f.Packet()
		if err != nil || f.Outgoing {
			continue
		}
		if mac := net.HardwareAddr(f.Data[6:12]).String(); p.Src == service && mac != director {
			t.Fatalf("an answer comes from %v and not from the director %v", mac, director)
		}
		if p.Proto == nstest.ICMP {
			t.Fatalf("ICMP from %v: %x", p.Src, p.Payload)
		}
	}
}
