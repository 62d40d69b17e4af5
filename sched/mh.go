package sched

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"
)

// mhPrimes are the table sizes, by index - 8.
var mhPrimes = [...]int{251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071}

// Keys of the hash of mh: one for looking up and for a server's first slot, one for its stride.
const (
	mhKeyOffset = 2654435761
	mhKeySkip   = 2654446892
)

// mh is Maglev hashing: a table of servers looked up by the client's address, filled so that few slots change
// hands when a server comes or goes. The weights that count are the last ones set that were not 0, unless a server
// was added with 0.
type mh struct {
	list   *list
	config *Config
	table  []*Server
	stale  bool
	prober prober

	inverse uint64 // of the table's size
}

func (m *mh) size() int { return mhPrimes[m.config.MHTableIndex-8] }

func (m *mh) setTable(t []*Server) { m.table, m.inverse = t, inverse(len(t)) }

func (m *mh) pick(client netip.AddrPort, _ netip.Addr, _ time.Duration) *Server {
	m.refresh()
	// clientKey and hsiphash, written out: their calls would cost a fifth of a pick.
	var key uint32
	if a := client.Addr(); a.Is4() {
		b := a.As4()
		key = binary.BigEndian.Uint32(b[:])
	} else {
		key = fold(a)
	}
	if m.config.Flags&Port != 0 {
		key += uint32(client.Port())
	}
	b := 4<<56 | uint64(key)
	v0, v1, v2, v3 := sipRound(sip0^mhKeyOffset, sip1^mhKeyOffset, sip2^mhKeyOffset, sip3^mhKeyOffset^b)
	v0, v1, v2, v3 = sipRound(v0^b, v1, v2^0xff, v3)
	slot := remainder(sipLast(sipRound(v0, v1, v2, v3)), uint32(len(m.table)), m.inverse)

	d := m.table[slot]
	switch {
	case d == nil:
		return nil
	case d.usable():
		return d
	case m.config.Flags&Fallback == 0:
		return nil
	}
	return m.prober.search(m.table, key, slot)
}

func (m *mh) refresh() {
	if m.stale {
		m.build(nil)
	}
}

// filler is a server while the table is filled.
type filler struct {
	server *Server
	pos    int
	skip   int
	turns  int // slots that it takes each time it is its turn
}

// build fills the table with the servers of the list, leaving out one if asked to.
func (m *mh) build(without *Server) {
	m.stale = false
	size := m.size()
	m.setTable(make([]*Server, size))
	fillers := m.fillers(without)
	for free := size; free > 0 && len(fillers) > 0; {
		for i := range fillers {
			f := &fillers[i]
			for range min(f.turns, free) {
				for m.table[f.pos] != nil {
					f.pos = (f.pos + f.skip) % size
				}
				m.table[f.pos] = f.server
				free--
			}
		}
	}
	m.prober.reset(m.list, m.table)
}

// fillers gives the servers that get slots, in list order.
func (m *mh) fillers(without *Server) []filler {
	size := uint32(m.size())
	var divisor, largest int32
	for d := range m.list.all() {
		if d != without {
			divisor, largest = gcd(divisor, d.lastWeight), max(largest, d.lastWeight)
		}
	}
	if largest == 0 {
		return nil
	}
	// Large weights are scaled down to about half the bits of the table's index.
	shift := max(0, bits.Len32(uint32(largest/divisor))-m.config.MHTableIndex/2)

	fillers := make([]filler, 0, m.list.n)
	for d := range m.list.all() {
		if d == without || d.lastWeight == 0 {
			continue
		}
		key := uint32(d.addr.Port()) + m.foldServer(d.addr.Addr())
		fillers = append(fillers, filler{
			server: d,
			pos:    int(hsiphash(key, mhKeyOffset) % size),
			skip:   int(hsiphash(key, mhKeySkip)%(size-1) + 1),
			turns:  max(1, int(d.lastWeight/divisor)>>shift),
		})
	}
	return fillers
}

// foldServer takes the service's family for the server's.
func (m *mh) foldServer(a netip.Addr) uint32 {
	if m.config.Family == IPv4 && a.Is6() {
		b := a.As16()
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return fold(a)
}

// With more servers than slots building fails, and the old table stays in use.

func (m *mh) bind() error {
	if m.list.n > m.size() {
		m.setTable(make([]*Server, m.size()))
		return ErrTooManyServers
	}
	m.stale = true
	return nil
}

func (m *mh) added(d *Server) {
	if m.list.n <= m.size() {
		m.stale = true
	} else if m.stale {
		m.build(d)
	}
}

func (m *mh) removed(*Server) {
	if m.list.n <= m.size() {
		m.stale = true
	} else {
		m.prober.blind = true
	}
}

func (m *mh) updated(d *Server) {
	if m.list.n <= m.size() {
		m.stale = true
	} else {
		m.prober.note(d)
	}
}

func (m *mh) counted(d *Server) { m.prober.note(d) }
func (m *mh) renumbered()       {}
