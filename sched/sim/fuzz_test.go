package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzDirector lets anything happen, and compares the counters with the table after each event.
func FuzzDirector(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first, second := New(nil), New(nil)
		for len(b) >= 3 {
			step(first, b[0], b[1], b[2])
			step(second, b[0], b[1], b[2])
			b = b[3:]
			consistent(t, first)
		}
		l, m := lab{first, t}, lab{second, t}
		if diff := cmp.Diff(l.list(), m.list()); diff != "" {
			t.Fatalf("the same calls gave two tables:\n%s", diff)
		}
		first.sysctls.expireNodestConn = 0
		first.Advance(first.Now() + 10000*time.Second)
		kept := slices.ContainsFunc(first.trash, func(x *dest) bool { return x.server.Cached() == 0 }) // caches keep theirs for a day
		if conns, templates := first.Len(); conns+templates != 0 || kept {
			t.Fatalf("%d connections and %d templates for ever, removed servers: %v", conns, templates, kept)
		}
		consistent(t, first)
	})
}

// step is one of the things that can happen.
func step(d *Director, op, x, y byte) {
	protocols := [...]Protocol{TCP, UDP, SCTP}
	services := [...]ServiceID{tcp(vip + ":80"), tcp(vip + ":0"), tcp(vip + ":21"), udp(vip + ":53"), {Mark: 1}, {Protocol: SCTP, Addr: addr4(vip + ":80")}}
	ports := [...]uint16{80, 21, 53, 2000}
	id := services[int(x)%len(services)]
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, y % 4}), id.Addr.Port())
	f := Flow{
		Protocol: protocols[x%3], Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, y % 8}), uint16(18+y>>6)),
		Virtual: netip.AddrPortFrom(netip.MustParseAddr(vip), ports[x>>2&3]), Mark: uint32(x>>4&3) / 3,
	}
	// What is refused changes nothing, which is checked like everything else.
	switch op % 16 {
	case 0:
		_ = d.AddService(Service{ID: id, Scheduler: [...]string{"rr", "wlc", "lblc", "sh"}[y&3], Flags: Flags(y >> 2 & 5), Timeout: time.Duration(y>>4) * 5 * time.Second})
	case 1, 2:
		_ = d.AddDest(id, Dest{Addr: dst, Weight: uint32(y >> 6), Method: Method(y >> 4 & 3), Upper: uint32(x>>5) * 2})
	case 3:
		_ = d.SetDest(id, Dest{Addr: dst, Weight: uint32(y >> 6), Upper: uint32(x >> 5)})
	case 4:
		_ = d.DeleteDest(id, dst)
	case 5:
		_ = d.SetService(Service{ID: id, Scheduler: [...]string{"rr", "lblcr", "nq", "none"}[y&3], Flags: Flags(y >> 2 & 5), Timeout: time.Duration(y>>4) * time.Second})
	case 6:
		switch y & 7 {
		case 0:
			d.Clear()
		case 1:
			_ = d.DeleteService(id)
		case 2:
			d.ZeroAll()
		}
	case 7:
		names := [...]string{"expire_nodest_conn", "expire_quiescent_template", "conn_reuse_mode", "secure_tcp", "sloppy_tcp", "cache_bypass"}
		_ = d.SetSysctl(names[int(x)%len(names)], string('0'+rune(y&3)))
	case 8:
		d.Advance(d.Now() + time.Duration(x)*time.Duration(y)*50*time.Millisecond)
	case 9:
		_ = d.SetTimeouts(Timeouts{time.Duration(x) * time.Second, time.Duration(y) * time.Second, time.Duration(x&15) * time.Second})
	case 10:
		d.Close(f)
	case 11, 12, 13:
		d.Open(f)
	default:
		d.Packet(Packet{Flow: f, Out: y&1 != 0, TCP: TCPFlags(y>>1) & (FIN | SYN | RST | ACK), Chunk: Chunk(y >> 1 & 15)})
	}
}

// consistent compares what is counted with what is there.
func consistent(t *testing.T, d *Director) {
	t.Helper()
	type counts struct {
		active, inactive int32
		templates        int
	}
	want := map[*dest]counts{}
	n := 0
	d.conns.all(func(id uint32, c *conn) bool {
		n++
		if c.dest != nil {
			w := want[c.dest]
			if c.flags&active != 0 {
				w.active++
			} else {
				w.inactive++
			}
			want[c.dest] = w
		}
		if d.conns.find(&c.key) != id {
			t.Fatalf("connection %v is not found", c.key)
		}
		if c.deadline <= d.now {
			t.Fatalf("connection is due at %v, now is %v", c.deadline, d.now)
		}
		return true
	})
	if n != d.conns.n {
		t.Fatalf("%d connections, counted %d", n, d.conns.n)
	}
	controls := 0
	for e := range d.templates.All() {
		w := want[e.Dest()]
		w.templates++
		want[e.Dest()] = w
		controls += e.Connections()
		if e.Deadline() <= d.now {
			t.Fatalf("template is due at %v, now is %v", e.Deadline(), d.now)
		}
	}
	d.conns.all(func(_ uint32, c *conn) bool {
		if c.template != nil {
			controls--
		}
		return true
	})
	if controls != 0 {
		t.Fatalf("templates control %d connections too many", controls)
	}
	var all []*dest
	for _, s := range d.order {
		all = slices.AppendSeq(all, s.dests)
	}
	for _, x := range slices.Concat(all, d.trash) {
		if got := (counts{x.server.Active(), x.server.Inactive(), x.pinned}); got != want[x] {
			t.Fatalf("%v of %v counts %+v, want %+v", x.Dest.Addr, x.svc.ID, got, want[x])
		}
		delete(want, x)
	}
	if len(want) != 0 {
		t.Fatalf("connections or templates of %d servers that are nowhere", len(want))
	}
	queued := 0
	for i, q := range d.conns.queues {
		last := time.Duration(0)
		for id := q.oldest; id != 0; id = d.conns.at(id).newer {
			c := d.conns.at(id)
			if c.deadline < last || int(c.queue) != i || id == q.oldest && c.deadline != q.due {
				t.Fatalf("queue %d of %v is out of order", i, q.timeout)
			}
			last = c.deadline
			queued++
		}
	}
	if queued != n {
		t.Fatalf("%d connections in queues, want %d", queued, n)
	}
	if _, due := d.conns.first(); d.next > due {
		t.Fatalf("next is %v, a connection is due at %v", d.next, due)
	}
}
