package persist

import (
	"errors"
	"iter"
	"slices"
	"time"
)

// Postponement is what a template gets, and keeps as its timeout, when it expires while it still controls connections.
const Postponement = 60 * time.Second

// ErrNoDestination says that a client has no template, and that no server could be picked.
var ErrNoDestination = errors.New("no destination available")

// Config are the options of a Table. The zero value is a kernel's default.
type Config[D Destination] struct {
	// ExpireQuiescent is the sysctl expire_quiescent_template: a template whose server has weight 0 is not used.
	ExpireQuiescent bool

	// Deleted is called with each template that goes, if it is not nil. It must not call the table.
	Deleted func(*Entry[D])
}

// Table holds the templates of a director. Make one with [NewTable]. It is not safe for concurrent use. The time given to
// its methods does not run backwards.
type Table[D Destination] struct {
	config Config[D]
	heap   []*Entry[D] // all, by deadline

	// A hash table with chains takes half the memory of a map with such large keys. Its length is a power of two.
	buckets []*Entry[D]
	valid   int // entries in it: without those that were invalidated
}

// NewTable returns an empty table; nil means the defaults.
func NewTable[D Destination](c *Config[D]) *Table[D] {
	t := &Table[D]{buckets: make([]*Entry[D], 8)}
	if c != nil {
		t.config = *c
	}
	return t
}

// SetExpireQuiescent changes the sysctl expire_quiescent_template. Templates are looked at when their client comes next.
func (t *Table[D]) SetExpireQuiescent(on bool) { t.config.ExpireQuiescent = on }

// Len returns the number of templates.
func (t *Table[D]) Len() int { return len(t.heap) }

// All walks the templates in no particular order. The table must not change meanwhile.
func (t *Table[D]) All() iter.Seq[*Entry[D]] { return slices.Values(t.heap) }

// Find returns the template with the key, usable or not, but no invalidated one; nil if there is none.
func (t *Table[D]) Find(k Key) *Entry[D] { return *t.link(&k) }

// link returns where the table points to the template with the key, or where it would point to a new one.
func (t *Table[D]) link(k *Key) **Entry[D] {
	at := &t.buckets[k.hash()&uint64(len(t.buckets)-1)]
	for *at != nil && (*at).key != *k {
		at = &(*at).chain
	}
	return at
}

// insert makes a template findable.
func (t *Table[D]) insert(e *Entry[D]) {
	if t.valid == len(t.buckets) {
		old := t.buckets
		t.buckets = make([]*Entry[D], 2*len(old))
		for _, x := range old {
			for x != nil {
				next := x.chain
				x.chain = nil
				*t.link(&x.key) = x
				x = next
			}
		}
	}
	*t.link(&e.key) = e
	t.valid++
}

// hide makes a template unfindable.
func (t *Table[D]) hide(e *Entry[D]) {
	at := t.link(&e.key)
	*at, e.chain = e.chain, nil
	t.valid--
}

// Open counts a new connection of a packet that opens one, and returns its template, whose server gets the connection.
// A template that is not usable, because its server was removed, or is quiesced under ExpireQuiescent, is invalidated.
// Without a usable one pick is asked for a server, and a template is made; pick must not call the table. The template's
// time starts anew.
//
// What expires up to now expires first; connections that ended up to now must have been released before. With one-packet
// scheduling each packet opens a connection, and releases it at once.
//
// The error matches ErrNoDestination if pick returns false, and ErrCallID: see [Service.Key].
func (t *Table[D]) Open(now time.Duration, s *Service, p *Packet, pick func() (D, bool)) (*Entry[D], error) {
	t.Advance(now)
	k, err := s.Key(p)
	if err != nil {
		return nil, err
	}
	e := *t.link(&k)
	if e != nil && !t.usable(e) {
		e.invalid = true
		t.hide(e)
		e = nil
	}
	if e == nil {
		d, ok := pick()
		if !ok {
			return nil, ErrNoDestination
		}
		e = &Entry[D]{key: k, dest: d, timeout: s.Timeout, engine: s.Engine, index: len(t.heap), deadline: now}
		if s.storesPort(p.Virtual.Port()) {
			e.port = d.Addr().Port()
		}
		t.insert(e)
		t.heap = append(t.heap, e)
		t.up(e.index)
	}
	e.controls++
	t.start(e, now)
	return e, nil
}

// usable leaves overload out of account: a persistent client goes on coming to an overloaded server.
func (t *Table[D]) usable(e *Entry[D]) bool {
	return e.dest.Available() && !(t.config.ExpireQuiescent && e.dest.Weight() == 0)
}

// Assure notes that a connection of the template was established: TCP or SCTP ESTABLISHED, or for UDP that the director
// saw a packet from the server.
func (t *Table[D]) Assure(e *Entry[D]) { e.assured = true }

// Release says that a connection of the template is gone. The template stays, and its time runs on.
func (t *Table[D]) Release(e *Entry[D]) {
	if e.controls > 0 {
		e.controls--
	}
}

// Drop says that a connection of the template was deleted before its time, by the defence drop_entry or because its server
// was removed under expire_nodest_conn. It takes the template along if it was the last one and the template is not assured.
func (t *Table[D]) Drop(e *Entry[D]) {
	t.Release(e)
	if e.controls == 0 && !e.assured {
		t.delete(e)
	}
}

// Flush deletes the templates of removed servers that control no connection, invalidated and assured ones, too: what the
// kernel does when a server is removed under expire_nodest_conn, after it deleted the connections.
func (t *Table[D]) Flush() {
	for _, e := range slices.Clone(t.heap) {
		if e.controls == 0 && !e.dest.Available() {
			t.delete(e)
		}
	}
}

// Next returns when the next template is due, and false if there is none.
func (t *Table[D]) Next() (time.Duration, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].deadline, true
}

// Advance lets the templates expire that are due up to now: those without connections are deleted, others are postponed,
// see [Postponement]. Of a connection and its template that are due at the same time, the kernel lets the connection go
// first, so that the template is deleted: release such connections before.
func (t *Table[D]) Advance(now time.Duration) {
	for len(t.heap) > 0 && t.heap[0].deadline <= now {
		e := t.heap[0]
		if e.controls > 0 {
			e.timeout = Postponement
			t.start(e, e.deadline)
			continue
		}
		t.delete(e)
	}
}

func (t *Table[D]) delete(e *Entry[D]) {
	if !e.invalid {
		t.hide(e)
	}
	last := len(t.heap) - 1
	i := e.index
	t.swap(i, last)
	t.heap[last] = nil
	t.heap = t.heap[:last]
	if i < last {
		t.up(i)
		t.down(i)
	}
	if t.config.Deleted != nil {
		t.config.Deleted(e)
	}
}

// start sets the timer of e.
func (t *Table[D]) start(e *Entry[D], now time.Duration) {
	e.deadline = now + e.timeout
	t.up(e.index)
	t.down(e.index)
}

func (t *Table[D]) swap(i, j int) {
	h := t.heap
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (t *Table[D]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.heap[parent].deadline <= t.heap[i].deadline {
			return
		}
		t.swap(i, parent)
		i = parent
	}
}

func (t *Table[D]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			return
		}
		if child+1 < len(t.heap) && t.heap[child+1].deadline < t.heap[child].deadline {
			child++
		}
		if t.heap[i].deadline <= t.heap[child].deadline {
			return
		}
		t.swap(i, child)
		i = child
	}
}
