package sched

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// tape feeds decisions to a random run: bytes of a fuzz input, or of a generator.
type tape struct {
	bytes []byte
}

func (t *tape) more() bool { return len(t.bytes) > 0 }

// below returns a number less than n, 0 when the tape is at its end.
func (t *tape) below(n int) int {
	if len(t.bytes) == 0 {
		return 0
	}
	v := int(t.bytes[0])
	t.bytes = t.bytes[1:]
	if n > 256 && len(t.bytes) > 0 {
		v = v<<8 | int(t.bytes[0])
		t.bytes = t.bytes[1:]
	}
	return v % n
}

func randomTape(seed uint64, n int) *tape {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return &tape{b}
}

// counting is a source of numbers that two users can draw from alike.
func counting() func() uint32 {
	r := rand.New(rand.NewPCG(1, 2))
	return r.Uint32
}

type openConn struct {
	server *Server
	kind   Activity
}

// run plays random events to a scheduler and to the definition and compares them pick by pick.
type run struct {
	tape    *tape
	s       *Scheduler
	def     *definition
	servers []*Server // all that ever were
	conns   []openConn
	now     time.Duration
	flags   Flags
	wild    bool // with counters so high that overhead wraps around
	crowded bool // mh has more servers than slots, so that it picks from an old table
	picks   int
	v6      bool
	most    int // servers
	trace   []string
}

func newRun(tb testing.TB, name string, c Config, most int, tp *tape) *run {
	tb.Helper()
	c.Rand = counting()
	s, err := New(name, c)
	if err != nil {
		tb.Fatal(err)
	}
	r := &run{tape: tp, s: s, most: most, flags: c.Flags, v6: c.Family == IPv6}
	r.def = &definition{c: s.config, flags: c.Flags, rand: counting()}
	r.def.bind(name)
	return r
}

func (r *run) weight() int32 {
	switch r.tape.below(8) {
	case 0:
		return 0
	case 1:
		return int32(r.tape.below(1000))
	case 2:
		return 6 * int32(r.tape.below(8))
	case 3:
		return 1
	default:
		return int32(r.tape.below(12))
	}
}

func (r *run) settings() Settings {
	c := Settings{Weight: r.weight()}
	if r.tape.below(3) == 0 {
		c.Upper = uint32(r.tape.below(10))
		c.Lower = uint32(r.tape.below(int(c.Upper) + 1))
	}
	return c
}

func (r *run) addr(n int) netip.AddrPort {
	if r.v6 != (n%11 == 7) {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, byte(n), 2, 3, 14: byte(n >> 8), 15: byte(n)}), uint16(80+n%3))
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(n >> 8), byte(n)}), uint16(80+n%3))
}

func (r *run) flow() Flow {
	n := r.tape.below(1000)
	f := Flow{
		Client:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), uint16(n*7)),
		Destination: netip.AddrFrom4([4]byte{172, 16, 0, byte(n % 24)}),
	}
	if r.v6 {
		f.Client = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 1, 5: byte(n >> 8), 9: byte(n)}), uint16(n*7))
		f.Destination = netip.AddrFrom16([16]byte{0xfd, 0x16, 15: byte(n % 24)})
	}
	return f
}

// members and removed return the servers in the list and out of it, in the order they were first added.
func (r *run) members() []*Server { return r.with(true) }
func (r *run) removed() []*Server { return r.with(false) }

func (r *run) with(available bool) []*Server {
	var out []*Server
	for _, d := range r.servers {
		if d.Available() == available {
			out = append(out, d)
		}
	}
	return out
}

func (r *run) note(format string, args ...any) {
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
	if len(r.trace) > 60 {
		r.trace = r.trace[1:]
	}
}

func (r *run) step(tb testing.TB) {
	tb.Helper()
	switch op := r.tape.below(32); {
	case op < 2:
		r.add(tb)
	case op == 2:
		if m := r.members(); len(m) > 0 {
			d := m[r.tape.below(len(m))]
			r.note("remove %v", d.addr)
			r.check(tb, r.s.Remove(d))
			r.def.remove(d)
		}
	case op < 5:
		if m := r.members(); len(m) > 0 {
			d, c := m[r.tape.below(len(m))], r.settings()
			if r.tape.below(4) == 0 {
				c = d.Settings()
			}
			r.note("update %v %+v", d.addr, c)
			r.check(tb, r.s.Update(d, c))
			r.def.update()
		}
	case op == 5:
		r.now += time.Duration(r.tape.below(1000)) * time.Millisecond * time.Duration(1+r.tape.below(5))
	case op == 6 && r.tape.below(4) == 0:
		r.now += time.Duration(r.tape.below(4000)) * time.Second
	case op == 7:
		r.flags = []Flags{0, Fallback, Port, Fallback | Port}[r.tape.below(4)]
		r.s.SetFlags(r.flags)
		r.def.flags = r.flags
	case op == 8 && r.wild && len(r.servers) > 0:
		d := r.servers[r.tape.below(len(r.servers))]
		d.active = []int32{0, 1 << 23, 1<<24 - 3, 1 << 22}[r.tape.below(4)]
		d.total = d.active + int32(r.tape.below(300))
		r.note("wild %v %d %d", d.addr, d.active, d.total)
		d.counted()
	case op < 12 && len(r.conns) > 0:
		c := &r.conns[r.tape.below(len(r.conns))]
		c.kind = !c.kind
		c.server.Move(c.kind)
	case op < 16 && len(r.conns) > 0:
		for range 1 + r.tape.below(4) {
			if len(r.conns) > 0 {
				i := r.tape.below(len(r.conns))
				r.conns[i].server.Close(r.conns[i].kind)
				r.conns = slices.Delete(r.conns, i, i+1)
			}
		}
	default:
		r.pick(tb)
	}
}

func (r *run) add(tb testing.TB) {
	tb.Helper()
	if old := r.removed(); len(old) > 0 && r.tape.below(2) == 0 {
		d, c := old[r.tape.below(len(old))], r.settings()
		r.note("restore %v %+v", d.addr, c)
		r.check(tb, r.s.Restore(d, c))
		r.def.add(d)
	} else if r.s.Len() < r.most && len(r.servers) < 4*r.most {
		c := r.settings()
		d, err := r.s.Add(r.addr(len(r.servers)), c)
		r.check(tb, err)
		r.note("add %v %+v", d.addr, c)
		r.servers = append(r.servers, d)
		r.def.add(d)
	}
}

func (r *run) pick(tb testing.TB) {
	tb.Helper()
	f := r.flow()
	want := r.def.pick(f, r.now)
	got := r.s.Pick(f, r.now)
	r.picks++
	if got != want {
		tb.Fatalf("%s: pick %d is %v, want %v; list %v\n%v", r.s.Name(), r.picks, show(got), show(want), r.list(), r.trace)
	}
	if got == nil {
		return
	}
	if got.weight == 0 && !r.wild || !got.Available() && !r.crowded {
		tb.Fatalf("%s: picked %v, which is quiesced or removed", r.s.Name(), show(got))
	}
	if got.Overloaded() && r.s.Name() != "lblc" {
		tb.Fatalf("%s: picked %v, which is overloaded", r.s.Name(), show(got))
	}
	c := openConn{got, Activity(r.tape.below(3) > 0)}
	got.Open(c.kind)
	r.conns = append(r.conns, c)
}

func (r *run) switchTo(tb testing.TB, name string) {
	tb.Helper()
	r.note("switch %s", name)
	r.s.Advance(r.now)
	r.def.now = r.def.c.ticks(r.now)
	if name != r.s.Name() {
		r.def.bind(name)
	}
	r.check(tb, r.s.Switch(name))
}

func (r *run) check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (r *run) list() []string {
	var out []string
	for d := range r.s.Servers() {
		out = append(out, show(d))
	}
	return out
}

func show(d *Server) string {
	if d == nil {
		return "-"
	}
	return fmt.Sprintf("%v(w%d %d/%d ovl=%v)", d.addr, d.weight, d.active, d.Inactive(), d.Overloaded())
}

// TestDefinition compares every scheduler with its definition on long random runs: few servers and many, flags,
// families, thresholds, removals and returns, time passing.
func TestDefinition(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			picks := 0
			for seed := range uint64(24) {
				c := Config{Family: []Family{AnyFamily, IPv4, IPv6}[seed%3], CacheExpiration: 20 * time.Second, MHTableIndex: 8 + int(seed%3)}
				if seed%4 == 3 {
					c.CacheExpiration = 40 * time.Minute
					c.LegacyCounters = true
					c.SHTableBits = 5
				}
				r := newRun(t, name, c, []int{3, 12, 60, 200}[seed%4], randomTape(seed, 12000))
				r.wild = seed%6 == 5
				for range 4 {
					r.add(t)
				}
				for r.tape.more() {
					r.step(t)
				}
				picks += r.picks
			}
			if picks < 30000 {
				t.Errorf("only %d picks", picks)
			}
		})
	}
}

// TestDefinitionSwitching changes the scheduler on a list in use, again and again.
func TestDefinitionSwitching(t *testing.T) {
	for seed := range uint64(30) {
		r := newRun(t, "rr", Config{CacheExpiration: 20 * time.Second, MHTableIndex: 8}, 40, randomTape(seed, 12000))
		for r.tape.more() {
			if r.tape.below(40) == 0 {
				r.switchTo(t, append(Names(), None)[r.tape.below(15)])
			}
			r.step(t)
		}
	}
}

// FuzzDefinition compares schedulers with their definitions on the fuzzer's events.
func FuzzDefinition(f *testing.F) {
	for i := range Names() {
		f.Add(uint8(i), uint8(i), uint8(i*5), randomTape(uint64(i), 300).bytes)
	}
	f.Fuzz(func(t *testing.T, name, options, most uint8, data []byte) {
		c := Config{
			Family:          []Family{AnyFamily, IPv4, IPv6}[options%3],
			LegacyCounters:  options&4 != 0,
			CacheExpiration: time.Duration(options) * time.Second,
			MHTableIndex:    8,
		}
		names := Names()
		r := newRun(t, names[int(name)%len(names)], c, 1+int(most)%100, &tape{data})
		r.wild = options&8 != 0
		for r.tape.more() {
			if !r.wild && r.tape.below(64) == 63 {
				r.switchTo(t, names[r.tape.below(len(names))])
			}
			r.step(t)
		}
	})
}
