package sched

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withWeights makes a scheduler whose list is 10.2.0.1, 10.2.0.2, … with these weights, the first one at the head.
func withWeights(t testing.TB, name string, c Config, weights ...int32) (*Scheduler, []*Server) {
	t.Helper()
	s, err := New(name, c)
	if err != nil {
		t.Fatal(err)
	}
	servers := make([]*Server, len(weights))
	for i := len(weights) - 1; i >= 0; i-- {
		servers[i] = mustAdd(t, s, serverAddr(i+1), Settings{Weight: weights[i]})
	}
	return s, servers
}

func serverAddr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(n >> 8), byte(n)}), 80)
}

func mustAdd(t testing.TB, s *Scheduler, addr netip.AddrPort, c Settings) *Server {
	t.Helper()
	d, err := s.Add(addr, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// owners are the numbers of the servers in a table, in slot order.
func owners(table []*Server) []int {
	out := make([]int, len(table))
	for i, d := range table {
		if d != nil {
			a := d.addr.Addr().As4()
			out[i] = int(a[2])<<8 | int(a[3])
		}
	}
	return out
}

func slotsOf(table []*Server, servers []*Server) []int {
	n := make(map[*Server]int)
	for _, d := range table {
		n[d]++
	}
	out := make([]int, len(servers))
	for i, d := range servers {
		out[i] = n[d]
	}
	return out
}

func TestSHTable(t *testing.T) {
	s, servers := withWeights(t, "sh", Config{}, 1, 2, 3, 4)
	s.Pick(Flow{}, 0)
	table := s.algo.(*sh).table
	if diff := cmp.Diff([]int{1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 1, 2, 2}, owners(table[:13])); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{26, 52, 78, 100}, slotsOf(table, servers)); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}

	// Weight 0 has a slot like weight 1; a weight of the table's size leaves nothing to those behind.
	for name, tt := range map[string]struct {
		weights []int32
		want    []int
	}{
		"zero":  {[]int32{0, 1, 2}, []int{64, 64, 128}},
		"heavy": {[]int32{300, 1, 2}, []int{256, 0, 0}},
		"cut":   {[]int32{100, 200}, []int{100, 156}},
	} {
		t.Run(name, func(t *testing.T) {
			s, servers := withWeights(t, "sh", Config{}, tt.weights...)
			s.Pick(Flow{}, 0)
			if diff := cmp.Diff(tt.want, slotsOf(s.algo.(*sh).table, servers)); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDHTable(t *testing.T) {
	s, servers := withWeights(t, "dh", Config{}, 5, 0, 1)
	s.Pick(Flow{}, 0)
	h := s.algo.(*dh)
	if diff := cmp.Diff([]int{86, 85, 85}, slotsOf(h.table[:], servers)); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	must(t, s.Update(servers[0], Settings{Weight: 100}))
	if h.stale {
		t.Error("a new weight rebuilds the table, and must not")
	}
	must(t, s.Remove(servers[1]))
	s.Pick(Flow{}, 0)
	if diff := cmp.Diff([]int{128, 0, 128}, slotsOf(h.table[:], servers)); diff != "" {
		t.Errorf("slots after a removal (-want +got):\n%s", diff)
	}
}

func TestMHTable(t *testing.T) {
	s, servers := withWeights(t, "mh", Config{}, 1, 2, 3, 4)
	m := s.algo.(*mh)
	m.refresh()
	first := []int{4, 3, 2, 4, 1, 3, 4, 3, 3, 2, 3, 4, 3, 2, 4, 4, 3, 4, 1, 1, 4, 3, 2, 3, 2, 4, 4, 3, 4, 4, 4, 4}
	if diff := cmp.Diff(first, owners(m.table[:32])); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	type start struct{ Pos, Skip int }
	var starts []start
	for _, f := range m.fillers(nil) {
		starts = append(starts, start{f.pos, f.skip})
	}
	if diff := cmp.Diff([]start{{2866, 3185}, {2949, 1114}, {3844, 1906}, {2734, 1115}}, starts); diff != "" {
		t.Errorf("offset and skip (-want +got):\n%s", diff)
	}

	for _, tt := range []struct {
		weights []int32
		want    []int
	}{
		{[]int32{1, 2, 3, 4}, []int{410, 820, 1227, 1636}},
		{[]int32{100, 30, 1}, []int{3101, 930, 62}},
		{[]int32{64, 1}, []int{3969, 124}},
		{[]int32{63, 1}, []int{4030, 63}},
		{[]int32{200, 7, 3}, []int{3937, 78, 78}},
		{[]int32{0, 5}, []int{0, 4093}},
		{[]int32{0, 0}, []int{0, 0}},
	} {
		t.Run(fmt.Sprint(tt.weights), func(t *testing.T) {
			s, servers := withWeights(t, "mh", Config{}, tt.weights...)
			m := s.algo.(*mh)
			m.refresh()
			if diff := cmp.Diff(tt.want, slotsOf(m.table, servers)); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}

	// Weight 0 keeps the slots of a server that had another weight, unless it comes with an addition.
	must(t, s.Update(servers[2], Settings{}))
	m.refresh()
	if diff := cmp.Diff([]int{410, 820, 1227, 1636}, slotsOf(m.table, servers)); diff != "" {
		t.Errorf("slots after quiescing (-want +got):\n%s", diff)
	}
	must(t, s.Remove(servers[2]))
	must(t, s.Restore(servers[2], Settings{}))
	m.refresh()
	if got := slotsOf(m.table, servers); got[2] != 0 || got[0]+got[1]+got[3] != 4093 {
		t.Errorf("slots after the return with weight 0: %v", got)
	}
}

// TestMHFamily pins which part of an IPv6 server's address counts in an IPv4 service.
func TestMHFamily(t *testing.T) {
	a := netip.MustParseAddr("fd02:1::5:6")
	for family, want := range map[Family]uint32{AnyFamily: 0xfd020001 ^ 0x00050006, IPv4: 0xfd020001, IPv6: 0xfd020001 ^ 0x00050006} {
		m := &mh{config: &Config{Family: family}}
		if got := m.foldServer(a); got != want {
			t.Errorf("%v: %#x, want %#x", family, got, want)
		}
		if got := m.foldServer(netip.MustParseAddr("10.2.0.1")); got != 0x0a020001 {
			t.Errorf("%v: IPv4 server %#x", family, got)
		}
	}
}

// TestMHTooMany fills a list beyond the table: the old table stays, also for servers that are gone.
func TestMHTooMany(t *testing.T) {
	c := Config{MHTableIndex: 8} // 251 slots
	s, servers := withWeights(t, "mh", c, make([]int32, 251)...)
	m := s.algo.(*mh)
	for _, d := range servers {
		must(t, s.Update(d, Settings{Weight: 1}))
	}
	extra := mustAdd(t, s, serverAddr(300), Settings{Weight: 1})
	m.refresh()
	if got := slotsOf(m.table, append(servers, extra)); got[0] != 1 || got[250] != 1 || got[251] != 0 {
		t.Errorf("slots %v, want those of the first 251 servers", got)
	}
	more := mustAdd(t, s, serverAddr(301), Settings{Weight: 1})
	must(t, s.Remove(servers[7]))
	m.refresh()
	if got := slotsOf(m.table, servers); got[7] != 1 {
		t.Errorf("a removed server has %d slots of the old table, want 1", got[7])
	}
	must(t, s.Remove(more))
	m.refresh()
	if got := slotsOf(m.table, append(servers, extra)); got[7] != 0 || got[251] != 1 {
		t.Errorf("slots %v after the list fits again", got)
	}

	must(t, s.Switch("wrr"))
	mustAdd(t, s, serverAddr(302), Settings{Weight: 1})
	before := s.Pick(Flow{}, 0)
	s.Pick(Flow{}, 0)
	if err := s.Switch("mh"); !errors.Is(err, ErrTooManyServers) {
		t.Fatalf("switch with too many servers: %v", err)
	}
	if s.Name() != "wrr" || s.Pick(Flow{}, 0) != before {
		t.Error("the old scheduler did not start from scratch")
	}
}

// TestSHFallback compares the search by the list with the probing of each slot that it stands for.
func TestSHFallback(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 8))
		weights := make([]int32, 1+r.IntN([]int{4, 20, 60}[seed%3]))
		for i := range weights {
			weights[i] = r.Int32N([]int32{3, 12, 40, 5}[seed%4])
		}
		s, servers := withWeights(t, "sh", Config{SHTableBits: 4 + int(seed%5), Flags: Fallback}, weights...)
		s.Pick(Flow{}, 0)
		h := s.algo.(*sh)
		size := uint32(len(h.table))
		for usable := len(servers); usable > 0; usable /= 2 {
			for slot := range size {
				var want *Server
				for o := range size {
					if d := h.table[(slot+(o+slot)%size)%size]; want == nil && d.usable() {
						want = d
					}
				}
				if got := h.fallback(slot); got != want {
					t.Fatalf("seed %d, slot %d of %d, weights %v: picked %v, want %v", seed, slot, size, weights, show(got), show(want))
				}
			}
			for _, i := range r.Perm(len(servers))[:(len(servers)+1)/2] {
				servers[i].limit.overloaded = !servers[i].limit.overloaded
				servers[i].counted()
			}
		}
	}
}

// TestMHCrowded plays random events around the number of servers from which on no table is built: with few usable
// servers, some of them not in the list any more but in the table, and others the other way round.
func TestMHCrowded(t *testing.T) {
	slots := mhPrimes[0]
	for seed := range uint64(16) {
		r := newRun(t, "mh", Config{MHTableIndex: 8, Flags: Fallback}, 2*slots, randomTape(seed, 6000))
		r.flags, r.crowded = Fallback, true
		for r.s.Len() < slots-3+int(seed%6) {
			d, err := r.s.Add(r.addr(len(r.servers)), Settings{Weight: 1 + int32(seed%2)})
			r.check(t, err)
			r.servers = append(r.servers, d)
			r.def.add(d)
		}
		r.pick(t)
		for i, d := range r.servers {
			if i%16 != 3 {
				r.check(t, r.s.Update(d, Settings{Weight: int32(i % 3 / 2), Upper: 1}))
				r.def.update()
				r.conns = append(r.conns, openConn{d, Inactive})
				d.Open(Inactive)
			}
		}
		for r.tape.more() {
			if r.s.Len() > slots+2 {
				m := r.members()
				d := m[r.tape.below(len(m))]
				r.check(t, r.s.Remove(d))
				r.def.remove(d)
			}
			r.step(t)
		}
	}
}

// TestMHFrozen changes servers while there are too many for a new table: one that is updated, and one that has left the list
// but not the table, and whose last connection then ends.
func TestMHFrozen(t *testing.T) {
	s, servers := withWeights(t, "mh", Config{MHTableIndex: 8, Flags: Fallback}, slices.Repeat([]int32{1}, 251)...)
	def := &definition{c: s.config, flags: Fallback, list: slices.Clone(servers), name: "mh"}
	def.rebuild()
	same := func(when string) (found int) {
		t.Helper()
		for i := range 40 {
			f := Flow{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 0)}
			got, want := s.Pick(f, 0), def.pick(f, 0)
			if got != want {
				t.Fatalf("%s, client %v: picked %v, want %v", when, f.Client, show(got), show(want))
			}
			if got != nil {
				found++
			}
		}
		return found
	}
	same("with a server for each slot")
	for i := range 2 {
		def.add(mustAdd(t, s, serverAddr(300+i), Settings{Weight: 1}))
	}
	same("with more")
	for _, d := range servers[1:] {
		must(t, s.Update(d, Settings{}))
	}
	same("with one usable")
	must(t, s.Update(servers[1], Settings{Weight: 1, Upper: 1}))
	same("after an update")
	must(t, s.Update(servers[0], Settings{}))
	servers[1].Open(Inactive)
	if same("with none usable") != 0 {
		t.Error("a server was picked")
	}
	must(t, s.Remove(servers[1]))
	def.remove(servers[1])
	same("after a removal")
	servers[1].Close(Inactive)
	if same("when its connection has ended") == 0 {
		t.Error("no server was picked")
	}
}

// TestMHSearches has more clients than are remembered, each of them twice.
func TestMHSearches(t *testing.T) {
	s, servers := withWeights(t, "mh", Config{MHTableIndex: 8, Flags: Fallback}, slices.Repeat([]int32{1}, 200)...)
	for _, d := range servers[1:] {
		must(t, s.Update(d, Settings{}))
	}
	def := &definition{c: s.config, flags: Fallback, list: servers, name: "mh"}
	def.rebuild()
	m := s.algo.(*mh)
	none := 0
	for i := range maxSearches + 2000 {
		f := Flow{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 0)}
		want := def.pick(f, 0)
		for range 2 {
			if got := s.Pick(f, 0); got != want {
				t.Fatalf("client %v: picked %v, want %v", f.Client, show(got), show(want))
			}
		}
		if want == nil {
			none++
		}
	}
	if n := len(m.prober.searches); n == 0 || n > maxSearches {
		t.Errorf("%d searches are remembered, want some and at most %d", n, maxSearches)
	}
	if none == 0 {
		t.Error("every client found a server; some should never come to the only slot that is usable")
	}
}

// TestMHRevival has servers come and go by their thresholds, which builds no new table, while a few clients return again
// and again.
func TestMHRevival(t *testing.T) {
	s, servers := withWeights(t, "mh", Config{MHTableIndex: 8, Flags: Fallback}, slices.Repeat([]int32{1}, 60)...)
	for _, d := range servers {
		must(t, s.Update(d, Settings{Weight: 1, Upper: 1}))
	}
	def := &definition{c: s.config, flags: Fallback, list: servers, name: "mh"}
	def.rebuild()
	r := rand.New(rand.NewPCG(1, 9))
	for i := range 20000 {
		f := Flow{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(r.IntN(40))}), 0)}
		if got, want := s.Pick(f, 0), def.pick(f, 0); got != want {
			t.Fatalf("pick %d, client %v: picked %v, want %v", i, f.Client, show(got), show(want))
		}
		d := servers[r.IntN(len(servers))]
		switch {
		case d.Overloaded() && r.IntN(20) == 0:
			d.Close(Inactive)
		case !d.Overloaded():
			d.Open(Inactive)
		}
	}
}

// TestMHDisruption measures what else moves when one of n equal servers is removed. Each of its slots must get a new
// owner; Maglev moves some others, too. The bounds are twice what was measured.
func TestMHDisruption(t *testing.T) {
	for _, tt := range []struct {
		n     int
		bound float64 // share of the other servers' slots that change hands
	}{{2, 0}, {3, 0.005}, {10, 0.04}, {50, 0.085}, {200, 0.05}} {
		weights := make([]int32, tt.n)
		for i := range weights {
			weights[i] = 1
		}
		r := rand.New(rand.NewPCG(uint64(tt.n), 1))
		worst, sum, rounds := 0.0, 0.0, min(tt.n, 20)
		for range rounds {
			s, servers := withWeights(t, "mh", Config{}, weights...)
			m := s.algo.(*mh)
			m.refresh()
			before := m.table
			gone := servers[r.IntN(tt.n)]
			must(t, s.Remove(gone))
			m.refresh()
			moved, stayed := 0, 0
			for i, d := range before {
				switch {
				case d == gone:
				case d == m.table[i]:
					stayed++
				default:
					moved++
				}
			}
			share := float64(moved) / float64(moved+stayed)
			worst, sum = max(worst, share), sum+share
		}
		t.Logf("%d servers: removing one moves %.2f %% of the others' slots, at most %.2f %%", tt.n, 100*sum/float64(rounds), 100*worst)
		if worst > tt.bound {
			t.Errorf("%d servers: %.4f of the others' slots moved, want at most %v", tt.n, worst, tt.bound)
		}
	}
}
