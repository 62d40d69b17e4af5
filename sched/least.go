package sched

import "time"

// A load is what the schedulers of the least-connection family compare: cost per weight. A weight of 0 means that
// the server is not a candidate; its cost is then 1, which makes the ratio infinite without a special case.
type load struct {
	cost   int64
	weight int32
	slot   int32
}

// above reports whether a's ratio is larger than b's, by cross multiplication, as the kernel has no fractions.
func (a load) above(b load) bool { return a.cost*int64(b.weight) > b.cost*int64(a.weight) }

func noLoad(slot int) load { return load{cost: 1, slot: int32(slot)} }

// least picks the server with the least load, and among equals the first in the list. It gives the answer of one
// walk over the list, but from a winner tree: leaves are slots, and each inner node holds the lesser load of its two children.
// The list begins at the highest slot, hence the right child wins ties.
//
// Changes are only noted when they happen and worked in by the next pick, so that the several events
// of one connection cost one climb, and adding servers one by one costs no rebuild each.
type least struct {
	unobservant
	list *list
	cost func(*Server) (cost int64, weight int32) // weight 0: not a candidate

	nodes  []load // nodes[1] is the root, the children of i are 2i and 2i+1, leaf s is nodes[len(nodes)/2+s]
	noted  []int  // slots whose leaves are out of date
	isNote []bool // by slot
	stale  bool   // all of nodes is out of date
	wild   bool   // perhaps there is a negative cost without weight
}

func (t *least) bind() error       { t.stale = true; return nil }
func (t *least) renumbered()       { t.stale = true }
func (t *least) added(d *Server)   { t.note(d.slot) }
func (t *least) removed(d *Server) { t.note(d.slot) }
func (t *least) updated(d *Server) { t.note(d.slot) }
func (t *least) counted(d *Server) { t.note(d.slot) }

func (t *least) note(slot int) {
	switch {
	case t.stale:
	case slot >= len(t.isNote):
		t.stale = true // the tree is full
	case !t.isNote[slot]:
		t.isNote[slot] = true
		t.noted = append(t.noted, slot)
	}
}

func (t *least) pick(Flow, time.Duration) *Server { return t.min() }

func (t *least) min() *Server {
	t.refresh()
	if t.wild {
		return t.walk()
	}
	root := t.nodes[1]
	if root.weight == 0 {
		return nil
	}
	return t.list.slots[root.slot]
}

func (t *least) refresh() {
	if t.stale || len(t.noted) > len(t.isNote)/2 {
		t.build()
		return
	}
	for _, slot := range t.noted {
		t.isNote[slot] = false
		t.climb(slot)
	}
	t.noted = t.noted[:0]
}

// climb renews the leaf of a slot and the nodes above it.
func (t *least) climb(slot int) {
	i := len(t.nodes)/2 + slot
	t.nodes[i] = t.leaf(slot)
	for i >>= 1; i > 0; i >>= 1 {
		t.nodes[i] = t.winner(i)
	}
}

func (t *least) winner(i int) load {
	later, earlier := t.nodes[2*i], t.nodes[2*i+1]
	if earlier.above(later) {
		return later
	}
	return earlier
}

func (t *least) leaf(slot int) load {
	if slot < len(t.list.slots) {
		if d := t.list.slots[slot]; d != nil && !d.limit.overloaded {
			cost, weight := t.cost(d)
			if weight > 0 {
				return load{cost, weight, int32(slot)}
			}
			t.wild = t.wild || cost < 0
		}
	}
	return noLoad(slot)
}

// build computes all nodes. The tree gets room for as many servers again.
func (t *least) build() {
	leaves := 4
	for leaves < len(t.list.slots)+1 {
		leaves *= 2
	}
	if len(t.nodes) != 2*leaves {
		t.nodes = make([]load, 2*leaves)
		t.isNote = make([]bool, leaves)
		t.noted = make([]int, 0, leaves)
	}
	for slot := range leaves {
		t.nodes[leaves+slot] = t.leaf(slot)
	}
	for i := leaves - 1; i > 0; i-- {
		t.nodes[i] = t.winner(i)
	}
	clear(t.isNote)
	t.noted = t.noted[:0]
	t.stale = false
}

// walk is the definition: from the first candidate on, each server with less load wins. It differs from the tree in one case. From 2^23 active connections
// on, overhead wraps around to negative numbers, and a quiesced server with such a number beats an earlier candidate.
func (t *least) walk() *Server {
	var best load
	t.wild = false
	for d := range t.list.all() {
		if d.limit.overloaded {
			continue
		}
		cost, weight := t.cost(d)
		t.wild = t.wild || weight == 0 && cost < 0
		l := load{cost, weight, int32(d.slot)}
		if best == (load{}) {
			if weight > 0 {
				best = l
			}
		} else if best.above(l) {
			best = l
		}
	}
	if best == (load{}) {
		return nil
	}
	return t.list.slots[best.slot]
}
