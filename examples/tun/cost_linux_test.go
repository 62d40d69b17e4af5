package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

// What a director does for a packet by each method, in a machine that counts instructions as time: each takes a
// nanosecond. The packets have 12 bytes of UDP data. Client and real server are on the same machine, so what sending a packet and
// throwing it away at the other end takes is measured too, and left out.
func TestIntegrationICountMethods(t *testing.T) {
	nstest.RequireKernel(t)
	if os.Getenv("LVS_ICOUNT") != "1" {
		t.Skip("measures nothing but noise where instructions are not counted: run it in a machine that does, with LVS_ICOUNT=1")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	client, director, server := nstest.New(t), nstest.New(t), nstest.New(t)
	nstest.Veth(t, client, "eth0", director, "eth0")
	nstest.Veth(t, server, "eth0", director, "eth1")
	director.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.1.1/24"))
	director.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.1.100/32"))
	director.AddAddr(t, "eth1", netip.MustParsePrefix("10.0.2.1/24"))
	director.SetSysctl(t, "net/ipv4/ip_forward", "1")
	nobody := net.HardwareAddr{2, 0, 0, 0, 0, 99} // who gets a packet for another station throws it away at once
	cip, vip, rip := netip.MustParseAddrPort("10.0.1.20:4000"), netip.MustParseAddrPort("10.0.1.100:80"), netip.MustParseAddrPort("10.0.2.11:80")
	director.AddNeighbor(t, "eth0", cip.Addr(), nobody)
	director.AddNeighbor(t, "eth1", rip.Addr(), nobody)
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNS: director.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := ipvs.ServiceID{Protocol: ipvs.UDP, Addr: vip}

	const rounds, batch = 40, 250
	toDirector, toNobody := client.Sender(t, "eth0", director.Link(t, "eth0").MAC), client.Sender(t, "eth0", nobody)
	fromServer := server.Sender(t, "eth0", director.Link(t, "eth1").MAC)
	// measure returns the time that each of many packets takes: the least of some rounds, as other work gets in between.
	measure := func(s *nstest.Sender, src, dst netip.AddrPort) float64 {
		t.Helper()
		packets := make([]nstest.Packet, batch)
		for i := range packets {
			packets[i] = nstest.Packet{Src: src, Dst: dst, Proto: nstest.UDP, Payload: make([]byte, 12)}
		}
		var times []float64
		for range rounds {
			begin := time.Now()
			s.Send(t, packets...)
			times = append(times, float64(time.Since(begin).Nanoseconds())/batch)
		}
		return slices.Min(times)
	}
	// Nobody looks at what is sent past the director; what it costs to send is in all other measurements.
	sending := measure(toNobody, cip, vip)
	routing := measure(toDirector, cip, rip) - sending

	// method returns what a packet to the service costs, and an answer if it passes the director.
	method := func(name string, d ipvs.Destination) (in, out float64) {
		t.Helper()
		d.Addr, d.Weight = rip, 1
		if err := c.AddService(t.Context(), ipvs.Service{ID: id, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		if err := c.AddDestination(t.Context(), id, d); err != nil {
			t.Fatal(err)
		}
		before := received(t, server)
		in = measure(toDirector, cip, vip) - sending
		if got := await(t, server, before+rounds*batch) - before; got < rounds*batch {
			t.Errorf("%s: %d packets have left, want %d", name, got, rounds*batch)
		}
		if d.Forward == ipvs.Masquerade {
			before := received(t, client)
			out = measure(fromServer, rip, cip) - sending
			if got := await(t, client, before+rounds*batch) - before; got < rounds*batch {
				t.Errorf("%s: %d answers have passed, want %d", name, got, rounds*batch)
			}
		}
		if err := c.DeleteService(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		// The connection is still there, and would be used by the next service.
		cip = netip.AddrPortFrom(cip.Addr(), cip.Port()+1)
		return in, out
	}
	nat, back := method("nat", ipvs.Destination{Forward: ipvs.Masquerade})
	dr, _ := method("dr", ipvs.Destination{Forward: ipvs.Route})
	ipip, _ := method("tun ipip", ipvs.Destination{Forward: ipvs.Tunnel})
	gue, _ := method("tun gue", ipvs.Destination{Forward: ipvs.Tunnel, Tunnel: ipvs.TunnelOptions{Type: ipvs.GUE, Port: 5555}})
	gre, _ := method("tun gre", ipvs.Destination{Forward: ipvs.Tunnel, Tunnel: ipvs.TunnelOptions{Type: ipvs.GRE}})
	t.Logf("kernel: instructions for a packet at the director: routing %.0f, dr %.0f, tun ipip %.0f, tun gre %.0f, tun gue %.0f, nat %.0f and %.0f for the answer (sending %.0f more)",
		routing, dr, ipip, gre, gue, nat, back, sending)
	t.Logf("kernel: requests that a director handles, dr 100: tun ipip %.0f, tun gre %.0f, tun gue %.0f, nat %.0f, and %.0f with an answer to each",
		100*dr/ipip, 100*dr/gre, 100*dr/gue, 100*dr/nat, 100*dr/(nat+back))
	for name, cost := range map[string]float64{"tun ipip": ipip, "tun gre": gre, "tun gue": gue, "nat with an answer": nat + back} {
		if cost <= dr {
			t.Errorf("%s takes %.0f and dr %.0f", name, cost, dr)
		}
	}
}

// await waits until a namespace's eth0 has received a number of packets, as the last ones may be on their way, and returns
// how many it has.
func await(t *testing.T, ns *nstest.NS, want int) int {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got := received(t, ns); got >= want || time.Since(begin) > 20*time.Second {
			return got
		}
	}
}

// received returns the number of packets that a namespace's eth0 has received.
func received(t *testing.T, ns *nstest.NS) (count int) {
	t.Helper()
	var text []byte
	ns.Do(t, func() {
		var err error
		if text, err = os.ReadFile("/proc/thread-self/net/dev"); err != nil {
			t.Fatal(err)
		}
	})
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "eth0:" {
			if _, err := fmt.Sscan(fields[2], &count); err != nil {
				t.Fatal(err)
			}
		}
	}
	return count
}
