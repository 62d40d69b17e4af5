package sim

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/persist"
)

// never is after the end of time.
const never = time.Duration(math.MaxInt64)

// An addr is an IPv6 address, or an IPv4 address mapped into one.
type addr [2]uint64

func addrOf(a netip.Addr) addr {
	if a.Is4() {
		b := a.As4()
		return addr{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a addr) netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a[0])
	binary.BigEndian.PutUint64(b[8:], a[1])
	return netip.AddrFrom16(b).Unmap()
}

// A key is what a packet finds its connection by.
type key struct {
	client, virtual addr
	rest            uint64 // the client's port, the virtual port and the protocol, 16 bits each
}

func keyOf(f *Flow) key {
	return key{
		addrOf(f.Client.Addr()), addrOf(f.Virtual.Addr()),
		uint64(f.Client.Port())<<32 | uint64(f.Virtual.Port())<<16 | uint64(f.Protocol),
	}
}

func (k *key) protocol() Protocol { return Protocol(k.rest) }

func (k *key) clientAddr() netip.AddrPort {
	return netip.AddrPortFrom(k.client.netip(), uint16(k.rest>>32))
}

func (k *key) virtualAddr() netip.AddrPort {
	return netip.AddrPortFrom(k.virtual.netip(), uint16(k.rest>>16))
}

// equal compares word by word, the most telling one first, without a call.
func (k *key) equal(o *key) bool {
	return k.rest == o.rest && k.client[1] == o.client[1] && k.virtual[1] == o.virtual[1] &&
		k.client[0] == o.client[0] && k.virtual[0] == o.virtual[0]
}

// hash mixes by multiplication to twice the width, thrice.
func (k *key) hash() uint32 {
	h := mix(k.client[1]^0x9e3779b97f4a7c15, k.rest^0xd1b54a32d192ed03)
	h = mix(h^k.client[0], k.virtual[1]^0xeb44accab455d165)
	h = mix(h^k.virtual[0], 0x8cb92ba72f3d8dd7)
	return uint32(h ^ h>>32)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Flags of a conn.
const (
	live       uint8 = 1 << iota // the slot is in use
	noOutput                     // no reply was seen, and none is expected
	active                       // counts in ActiveConn
	masquerade                   // its replies come from the server's address
)

// A conn is a connection. Its slots are reused.
type conn struct {
	key      key
	deadline time.Duration
	dest     *dest // nil for a bypass
	template *persist.Entry[*dest]
	newer    uint32 // neighbours in the queue
	older    uint32
	queue    uint16
	port     uint16 // at the server
	state    uint8
	flags    uint8
}

// A queue holds the connections whose timers were started with one timeout. As time does not run backwards, it is in the
// order of their deadlines without sorting.
type queue struct {
	timeout        time.Duration
	oldest, newest uint32
	due            time.Duration // deadline of the oldest; never if empty
}

const (
	slotBits = 12
	slots    = 1 << slotBits
)

// conns is the connection table. A connection has a number, and 0 is none; slots lie in blocks that never move.
type conns struct {
	blocks  []*[slots]conn
	free    []uint32
	used    uint32 // slots ever used
	n       int
	index   []place // a power of two, at most half of it in use
	queues  []queue
	inForce []uint16 // queues that new timers use
	next    time.Duration
}

// A place in the index names a connection. A key's places begin where its hash says and go on without a gap, the newest
// connection first. The hash is kept so that a connection is hardly ever looked at in vain: it is far away in memory.
type place struct {
	hash uint32
	id   uint32 // 0 if the place is empty
}

func newConns() conns {
	return conns{index: make([]place, 1<<8), used: 1, next: never}
}

func (t *conns) at(id uint32) *conn { return &t.blocks[id>>slotBits][id&(slots-1)] }

// find returns the newest connection with a key, 0 if there is none.
func (t *conns) find(k *key) uint32 {
	h := k.hash()
	for i := h; ; i++ {
		p := t.index[i&uint32(len(t.index)-1)]
		if p.id == 0 || p.hash == h && t.at(p.id).key.equal(k) {
			return p.id
		}
	}
}

// insert puts a connection into the index, before others with its key.
func (t *conns) insert(p place) {
	for i := p.hash; ; i++ {
		q := &t.index[i&uint32(len(t.index)-1)]
		if q.id == 0 {
			*q = p
			return
		}
		if q.hash == p.hash && t.at(q.id).key.equal(&t.at(p.id).key) {
			*q, p = p, *q
		}
	}
}

// take removes a connection from the index and closes the gap.
func (t *conns) take(id, hash uint32) {
	last := uint32(len(t.index) - 1)
	i := hash & last
	for t.index[i].id != id {
		i = (i + 1) & last
	}
	for j := (i + 1) & last; t.index[j].id != 0; j = (j + 1) & last {
		// What is further from where it begins than from the gap can fill it.
		if (j-t.index[j].hash)&last >= (j-i)&last {
			t.index[i] = t.index[j]
			i = j
		}
	}
	t.index[i] = place{}
}

// add makes a connection without a timer.
func (t *conns) add(k *key) uint32 {
	if 2*t.n >= len(t.index) {
		t.grow()
	}
	var id uint32
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		id = t.used
		t.used++
		if int(id>>slotBits) == len(t.blocks) {
			t.blocks = append(t.blocks, new([slots]conn))
		}
	}
	*t.at(id) = conn{key: *k, flags: live, queue: noQueue}
	t.insert(place{k.hash(), id})
	t.n++
	return id
}

func (t *conns) grow() {
	old := t.index
	t.index = make([]place, 2*len(old))
	for _, p := range old { // there is at most one connection of a key while none is being added
		if p.id != 0 {
			t.insert(p)
		}
	}
}

// remove forgets a connection and its timer.
func (t *conns) remove(id uint32) {
	c := t.at(id)
	t.stop(c)
	t.take(id, c.key.hash())
	*c = conn{}
	t.free = append(t.free, id)
	t.n--
}

const noQueue = math.MaxUint16

// queueFor returns the queue of a timeout, which stays that as long as it is in force or not empty.
func (t *conns) queueFor(timeout time.Duration) uint16 {
	unused := -1
	for i := range t.queues {
		if t.queues[i].timeout == timeout {
			return uint16(i)
		}
		if t.queues[i].oldest == 0 && !slices.Contains(t.inForce, uint16(i)) {
			unused = i
		}
	}
	q := queue{timeout: timeout, due: never}
	if unused >= 0 {
		t.queues[unused] = q
		return uint16(unused)
	}
	t.queues = append(t.queues, q)
	return uint16(len(t.queues) - 1)
}

// start sets the timer of a connection.
func (t *conns) start(id uint32, q uint16, now time.Duration) {
	c := t.at(id)
	t.stop(c)
	u := &t.queues[q]
	c.queue, c.deadline = q, now+u.timeout
	c.older, c.newer = u.newest, 0
	if u.newest != 0 {
		t.at(u.newest).newer = id
	} else {
		u.oldest, u.due = id, c.deadline
		t.next = min(t.next, c.deadline)
	}
	u.newest = id
}

func (t *conns) stop(c *conn) {
	if c.queue == noQueue {
		return
	}
	u := &t.queues[c.queue]
	if c.newer != 0 {
		t.at(c.newer).older = c.older
	} else {
		u.newest = c.older
	}
	if c.older != 0 {
		t.at(c.older).newer = c.newer
	} else {
		u.oldest = c.newer
		u.due = never
		if c.newer != 0 {
			u.due = t.at(c.newer).deadline
		}
	}
	c.queue = noQueue
}

// first returns the connection that is due next and when that is; 0 and never if there is none.
func (t *conns) first() (uint32, time.Duration) {
	id, due := uint32(0), never
	for i := range t.queues {
		if q := &t.queues[i]; q.due < due {
			id, due = q.oldest, q.due
		}
	}
	t.next = due
	return id, due
}

// all yields the connections.
func (t *conns) all(yield func(uint32, *conn) bool) {
	for id := uint32(1); id < t.used; id++ {
		if c := t.at(id); c.flags&live != 0 && !yield(id, c) {
			return
		}
	}
}
