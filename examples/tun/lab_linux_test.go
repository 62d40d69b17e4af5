package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// A lab has a client with several addresses, a director and three real servers, each in a network of its own, joined by a
// router. The real servers filter by the return path.
type lab = setuptest.Lab[*nstest.NS]

// addr returns an address of the lab: the same numbers in both families.
func addr(six bool, network, host int) netip.Addr {
	if six {
		return netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", network, host))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", network, host))
}

func newLab(t *testing.T) *lab {
	t.Helper()
	router := nstest.New(t)
	router.SetSysctl(t, "net/ipv4/ip_forward", "1")
	router.SetSysctl(t, "net/ipv6/conf/all/forwarding", "1")
	plug := func(network int, hosts ...int) *nstest.NS {
		t.Helper()
		ns := nstest.New(t)
		port := fmt.Sprint("port", network)
		nstest.Veth(t, ns, "eth0", router, port)
		for _, six := range []bool{false, true} {
			bits, all := 24, netip.MustParsePrefix("0.0.0.0/0")
			if six {
				bits, all = 64, netip.MustParsePrefix("::/0")
			}
			router.AddAddr(t, port, netip.PrefixFrom(addr(six, network, 254), bits))
			for _, h := range hosts {
				ns.AddAddr(t, "eth0", netip.PrefixFrom(addr(six, network, h), bits))
			}
			ns.AddRoute(t, nstest.Route{Dst: all, Via: addr(six, network, 254)})
		}
		return ns
	}
	l := &lab{Program: program, Client: plug(1, 20, 21, 22, 23, 24, 25, 26, 27), Director: plug(2, 1)}
	for i := range 3 {
		ns := plug(11+i, 11)
		ns.SetSysctl(t, "net/ipv4/conf/all/rp_filter", "1")
		ns.ServeHTTP(t, netip.MustParseAddrPort("[::]:80"), fmt.Sprint(11+i), nil)
		l.Real = append(l.Real, ns)
	}
	return l
}

// wrapped returns the protocol by which a packet that passed a device of the director left for one of the real servers.
func wrapped(f nstest.Frame, servers []netip.Addr) (protocol uint8, ok bool) {
	p, err := f.Packet()
	if err != nil || !f.Outgoing || p.Proto == nstest.TCP || p.Proto == nstest.ICMPv6 {
		return 0, false
	}
	return p.Proto, slices.Contains(servers, p.Dst.Addr())
}

// path says how many answers of a service are among the frames that passed a device of the director, and by which protocol
// packets left for the real servers.
func path(frames []nstest.Frame, service netip.AddrPort, servers []netip.Addr) (answers int, protocols map[uint8]int) {
	protocols = make(map[uint8]int)
	for _, f := range frames {
		if p, err := f.Packet(); err == nil && p.Src == service {
			answers++
		}
		if protocol, ok := wrapped(f, servers); ok {
			protocols[protocol]++
		}
	}
	return answers, protocols
}

// All is built by the program, for each way to wrap packets and both families: requests are balanced as the model says,
// packets reach the real servers wrapped, answers do not pass the director, and afterwards everything is as before.
func TestIntegrationRequests(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	compare := setuptest.Before(t, l.Stations()...)
	tests := []struct {
		flags     string
		six       bool // the VIP
		outer     bool // the real servers' addresses are IPv6
		protocol  uint8
		count     int
		scheduler string
		rip       bool
	}{
		{"-type ipip", false, false, nstest.IPIP, 100, "wrr", false},
		{"-type gue -tun-port 5555", false, false, nstest.UDP, 100, "wrr", false},
		{"-type gre", false, false, nstest.GRE, 100, "sh", false},
		{"-type ipip", true, true, nstest.IPv6, 100, "wrr", false},
		{"-type gue -tun-port 5556", true, true, nstest.UDP, 100, "wrr", false},
		{"-type gre", true, true, nstest.GRE, 100, "sh", false},
		{"-type gre -csum", false, false, nstest.GRE, 12, "rr", true},
		{"-type gue -tun-port 5555 -csum", true, false, nstest.UDP, 12, "rr", true},
		{"-type ipip", true, false, nstest.IPv6, 12, "rr", true},
		{"-type ipip", false, true, nstest.IPIP, 12, "rr", true},
	}
	for round, tt := range tests {
		name := fmt.Sprintf("%s, VIP IPv6 %t, outer IPv6 %t", tt.flags, tt.six, tt.outer)
		var words []string
		var servers, clients []netip.Addr
		for i := range l.Real {
			servers = append(servers, addr(tt.outer, 11+i, 11))
			words = append(words, fmt.Sprintf("%v=%d", servers[i], 3-i))
		}
		for i := range 8 {
			clients = append(clients, addr(tt.six, 1, 20+i))
		}
		vip := addr(tt.six, 2, 100)
		l.Play(t, setuptest.Service{
			VIP:      vip,
			Director: append([]string{"-dev", "eth0", "-real", strings.Join(words, ","), "-scheduler", tt.scheduler}, strings.Fields(tt.flags)...),
			Server: func(i int) []string {
				flags := append([]string{"-vip", vip.String()}, strings.Fields(tt.flags)...)
				if tt.rip {
					flags = append(flags, "-rip", servers[i].String())
				}
				return flags
			},
			ServersFirst: true,
			Clients:      clients, Count: tt.count, FirstPort: uint16(20000 + 100*round),
			Answers: func(answer string) netip.Addr {
				network, err := strconv.Atoi(answer)
				if err != nil {
					t.Errorf("%s: answer %q", name, answer)
				}
				return addr(tt.outer, network, 11)
			},
			Meanwhile: func() func() {
				captured := l.Director.Capture(t, "eth0")
				return func() {
					captured.Wait(3*tt.count, 30*time.Second, func(f nstest.Frame) bool {
						protocol, ok := wrapped(f, servers)
						return ok && protocol == tt.protocol
					})
					frames := captured.Stop()
					passed, protocols := path(frames, netip.AddrPortFrom(vip, 80), servers)
					if passed != 0 || len(protocols) != 1 || protocols[tt.protocol] < 3*tt.count {
						t.Errorf("%s: %d answers passed the director, want none; packets left by protocols %v, want %d or more by %d alone; %d frames",
							name, passed, protocols, 3*tt.count, tt.protocol, len(frames))
					}
				}
			},
		})
	}
	compare(t, "stopped")
}
