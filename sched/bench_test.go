package sched

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

var benchSizes = []int{10, 100, 1000, 10000}

// benchScheduler has n servers of weights 1 to 16.
func benchScheduler(b *testing.B, name string, flags Flags, n int) (*Scheduler, []*Server) {
	b.Helper()
	return benchWeights(b, name, flags, n, 16)
}

// benchWeights has n servers of weights from 1 up.
func benchWeights(b *testing.B, name string, flags Flags, n int, most uint32) (*Scheduler, []*Server) {
	b.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	s, err := New(name, Config{Flags: flags, Rand: r.Uint32})
	if err != nil {
		b.Fatal(err)
	}
	servers := make([]*Server, n)
	for i := range servers {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 80)
		if servers[i], err = s.Add(addr, Settings{Weight: 1 + int32(r.Uint32N(most))}); err != nil {
			b.Fatal(err)
		}
	}
	return s, servers
}

// benchFlows are 256 clients and destinations.
func benchFlows() []Flow {
	r := rand.New(rand.NewPCG(5, 6))
	flows := make([]Flow, 256)
	for i := range flows {
		c, d := r.Uint32(), r.Uint32()
		flows[i] = Flow{
			Client:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(c >> 16), byte(c >> 8), byte(c)}), uint16(c>>4)),
			Destination: netip.AddrFrom4([4]byte{172, 16, byte(d >> 8), byte(d)}),
		}
	}
	return flows
}

var benchPicks = []struct {
	name  string
	flags Flags
}{{"rr", 0}, {"wrr", 0}, {"dh", 0}, {"sh", 0}, {"sh", Fallback}, {"mh", 0}, {"mh", Fallback}}

// BenchmarkPick picks with all servers usable.
func BenchmarkPick(b *testing.B) {
	flows := benchFlows()
	for _, a := range benchPicks {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%v/%d", a.name, a.flags, n), func(b *testing.B) {
				s, _ := benchScheduler(b, a.name, a.flags, n)
				s.Pick(flows[0], 0)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					s.Pick(flows[i&255], 0)
					i++
				}
			})
		}
	}
}

// benchOneUsable has n servers that are overloaded, but for one: the middle one, or for sh and mh, whose servers all have
// weight 1, the middle one of those that the table has room for, which are the last 256 or the first 4,093.
func benchOneUsable(b *testing.B, name string, flags Flags, n int) *Scheduler {
	b.Helper()
	one, most := n/2, uint32(16)
	switch name {
	case "sh":
		one, most = n-1-min(n, 256)/2, 1
	case "mh":
		one, most = min(n, 4093)/2, 1
	}
	s, servers := benchWeights(b, name, flags, n, most)
	for i, d := range servers {
		if i == one {
			continue
		}
		if err := s.Update(d, Settings{Weight: d.Weight(), Upper: 1}); err != nil {
			b.Fatal(err)
		}
		d.Open(Inactive)
	}
	return s
}

// BenchmarkPickOneUsable picks while all servers but one are overloaded, for 256 clients in turn.
func BenchmarkPickOneUsable(b *testing.B) {
	flows := benchFlows()
	for _, a := range benchPicks {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%v/%d", a.name, a.flags, n), func(b *testing.B) {
				s := benchOneUsable(b, a.name, a.flags, n)
				for _, f := range flows {
					s.Pick(f, 0)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					s.Pick(flows[i&255], 0)
					i++
				}
			})
		}
	}
}

// BenchmarkPickNewClient is the same for clients none of which was seen before. It matters to mh alone, whose fallback then
// has to search.
func BenchmarkPickNewClient(b *testing.B) {
	for _, name := range []string{"sh", "mh"} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%v/%d", name, Fallback, n), func(b *testing.B) {
				s := benchOneUsable(b, name, Fallback, n)
				s.Pick(Flow{}, 0)
				b.ReportAllocs()
				client := uint32(0)
				for b.Loop() {
					client += 0x9e3779b1
					a := netip.AddrFrom4([4]byte{byte(client >> 24), byte(client >> 16), byte(client >> 8), byte(client)})
					s.Pick(Flow{Client: netip.AddrPortFrom(a, 1024)}, 0)
				}
			})
		}
	}
}

// BenchmarkConnection is a connection's whole life in a steady state of ten connections per server (one under ovf, where
// ten would be more than most servers take): the pick, its
// arrival, and the end of the connection that has been open the longest. ns/op covers all three.
func BenchmarkConnection(b *testing.B) {
	for _, name := range []string{"lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr", "twos", "rr", "wrr"} {
		for _, n := range benchSizes {
			if name == "twos" && n > 1000 {
				continue // walks the list
			}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s, servers := benchScheduler(b, name, 0, n)
				flows := benchFlows()
				perServer := 10
				if name == "ovf" {
					perServer = 1
				}
				ring := make([]*Server, perServer*n)
				for i := range ring {
					ring[i] = servers[i%n]
					ring[i].Open(Active)
				}
				for _, f := range flows { // fill the caches of lblc and lblcr
					s.Pick(f, 0)
				}
				rand.New(rand.NewPCG(7, 8)).Shuffle(len(ring), func(i, j int) { ring[i], ring[j] = ring[j], ring[i] })
				b.ReportAllocs()
				i, k := 0, 0
				for b.Loop() {
					d := s.Pick(flows[k&255], 0)
					if d != nil {
						d.Open(Active)
						ring[i].Close(Active)
						ring[i] = d
					}
					k++
					if i++; i == len(ring) {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkAdd makes a scheduler with 10,000 servers, one by one, with a pick after each.
func BenchmarkAdd(b *testing.B) {
	for _, name := range []string{"rr", "wrr", "wlc", "sh"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, err := New(name, Config{})
				if err != nil {
					b.Fatal(err)
				}
				for i := range 10000 {
					addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 80)
					if _, err := s.Add(addr, Settings{Weight: int32(i % 100)}); err != nil {
						b.Fatal(err)
					}
					s.Pick(Flow{}, 0)
				}
			}
		})
	}
}
