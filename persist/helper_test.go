package persist

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// server is a real server of the tests.
type server struct {
	addr   netip.AddrPort
	gone   bool
	weight int32
	pinned int // templates, as the caller counts them
}

func (s *server) Addr() netip.AddrPort { return s.addr }
func (s *server) Available() bool      { return !s.gone }
func (s *server) Weight() int32        { return s.weight }

func newServer(addr string) *server {
	return &server{addr: netip.MustParseAddrPort(addr), weight: 1}
}

// director is the least that templates need around them: round robin, and UDP connections that end by themselves.
type director struct {
	t       testing.TB
	table   *Table[*server]
	service Service
	servers []*server
	turn    int
	now     time.Duration
	udp     time.Duration // timeout of a connection
	conns   []conn
}

type conn struct {
	client   netip.AddrPort
	template *Entry[*server]
	deadline time.Duration
}

func newDirector(t testing.TB, s Service, servers ...*server) *director {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	d := &director{t: t, service: s, servers: servers, udp: 20 * time.Second}
	d.table = NewTable(&Config[*server]{Deleted: func(e *Entry[*server]) { e.Dest().pinned-- }})
	return d
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// at moves the clock: connections that are due go before templates.
func (d *director) at(s float64) {
	to := seconds(s)
	if to < d.now {
		d.t.Fatalf("time runs backwards to %v", to)
	}
	for {
		next, due := to, false
		for _, c := range d.conns {
			if c.deadline <= next {
				next, due = c.deadline, true
			}
		}
		if at, ok := d.table.Next(); ok && at < next {
			d.table.Advance(at)
			continue
		}
		if !due {
			break
		}
		i := slices.IndexFunc(d.conns, func(c conn) bool { return c.deadline == next })
		d.table.Release(d.conns[i].template)
		d.conns = slices.Delete(d.conns, i, i+1)
	}
	d.table.Advance(to)
	d.now = to
}

// packet sends a packet and returns the last byte of the server's address, 0 for none.
func (d *director) packet(client, virtual string) int {
	d.t.Helper()
	p := Packet{Protocol: 17, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort(virtual)}
	return d.send(p)
}

func (d *director) send(p Packet) int {
	d.t.Helper()
	for i, c := range d.conns {
		if c.client == p.Client {
			d.conns[i].deadline = d.now + d.udp
			return last(c.template.Dest())
		}
	}
	e, err := d.table.Open(d.now, &d.service, &p, d.pick)
	if err != nil {
		return 0
	}
	d.conns = append(d.conns, conn{p.Client, e, d.now + d.udp})
	return last(e.Dest())
}

func last(s *server) int { b := s.addr.Addr().AsSlice(); return int(b[len(b)-1]) }

// pick is round robin from the server added last.
func (d *director) pick() (*server, bool) {
	for range d.servers {
		d.turn++
		s := d.servers[len(d.servers)-1-(d.turn-1)%len(d.servers)]
		if !s.gone && s.weight > 0 {
			s.pinned++
			return s, true
		}
	}
	return nil, false
}

// want compares what is listed of a template with seconds left, its timeout, and its connections.
type want struct {
	Client, Virtual, Server string
	Timeout, Left           float64
	Connections             int
}

func (d *director) list() []want {
	var out []want
	for e := range d.table.All() {
		out = append(out, want{
			e.Key().Client.String(), e.Virtual().String(), e.Server().String(),
			e.Timeout().Seconds(), (e.Deadline() - d.now).Seconds(), e.Connections(),
		})
	}
	slices.SortFunc(out, func(a, b want) int {
		if a.Client != b.Client {
			return netip.MustParseAddr(a.Client).Compare(netip.MustParseAddr(b.Client))
		}
		return netip.MustParseAddrPort(a.Virtual).Compare(netip.MustParseAddrPort(b.Virtual))
	})
	return out
}
