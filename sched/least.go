package sched

import (
	"net/netip"
	"time"
)

// A load is what the schedulers of the least-connection family compare: cost per weight. A server that is not a
// candidate has weight 0 and cost 1, a ratio of infinity that needs no special case.
type load struct {
	cost   int64
	weight int32
	slot   int32
}

// above reports whether a's ratio is larger than b's, by cross multiplication, as the kernel has no fractions.
func (a load) above(b load) bool { return a.cost*int64(b.weight) > b.cost*int64(a.weight) }

// least picks the server with the least load, and among equals the first in the list. It gives the answer of one
// walk over the list, see walk, but from a winner tree: leaves are slots, and each inner node holds the lesser
// load of its two children. The list begins at the highest slot, hence the right child wins ties.
//
// Changes are only noted when they happen and worked in by the next pick, so that adding or changing many servers one
// by one costs no more than building the tree once.
type least struct {
	list *list
	cost func(*Server) (cost int64, weight int32) // weight 0: not a candidate

	nodes []load  // nodes[1] is the root, the children of i are 2i and 2i+1, leaf s is nodes[len(nodes)/2+s]
	noted []int32 // slots whose leaves are out of date, some more than once
	stale bool    // all of nodes is out of date
	wild  bool    // there may be a server with a negative cost and no weight
}

func (t *least) bind() error       { t.stale = true; return nil }
func (t *least) renumbered()       { t.stale = true }
func (t *least) added(d *Server)   { t.note(d) }
func (t *least) removed(d *Server) { t.note(d) }
func (t *least) updated(d *Server) { t.note(d) }
func (t *least) counted(d *Server) { t.note(d) }

func (t *least) note(d *Server) {
	if t.stale {
		return
	}
	t.noted = append(t.noted, int32(d.slot))
	t.stale = len(t.noted) == cap(t.noted) || d.slot >= len(t.nodes)/2
}

func (t *least) pick(netip.AddrPort, netip.Addr, time.Duration) *Server { return t.min() }

func (t *least) min() *Server {
	if t.stale {
		t.build()
	}
	for _, slot := range t.noted {
		t.climb(t.leaf(int(slot)))
	}
	t.noted = t.noted[:0]
	if t.wild {
		return t.walk()
	}
	root := t.nodes[1]
	if root.weight == 0 {
		return nil
	}
	return t.list.slots[root.slot]
}

// climb renews the leaf of a slot and the nodes above it, up to the first that keeps the load of another slot.
func (t *least) climb(l load) {
	slot := l.slot
	i := len(t.nodes)/2 + int(slot)
	if t.nodes[i] == l {
		return
	}
	t.nodes[i] = l
	for ; i > 1; i /= 2 {
		rival := t.nodes[i^1]
		left := int64(^i & 1) // the left child loses ties
		if l.cost*int64(rival.weight)+left > rival.cost*int64(l.weight) {
			l.cost, l.weight, l.slot = rival.cost, rival.weight, rival.slot
		}
		if l.slot != slot && t.nodes[i/2].slot == l.slot {
			return
		}
		t.nodes[i/2] = l
	}
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
	return load{1, 0, int32(slot)}
}

// build computes all nodes, with room for as many servers again.
func (t *least) build() {
	leaves := 8
	for leaves < len(t.list.slots)+1 {
		leaves *= 2
	}
	if len(t.nodes) != 2*leaves {
		t.nodes = make([]load, 2*leaves)
		t.noted = make([]int32, 0, leaves/2)
	}
	for slot := range leaves {
		t.nodes[leaves+slot] = t.leaf(slot)
	}
	for i := leaves - 1; i > 0; i-- {
		later, earlier := t.nodes[2*i], t.nodes[2*i+1]
		if earlier.above(later) {
			earlier = later
		}
		t.nodes[i] = earlier
	}
	t.noted = t.noted[:0]
	t.stale = false
}

// walk is the definition: from the first candidate on, each server with less load takes over. The tree differs in
// one case. From 2^23 active connections on, overhead wraps around to negative numbers, and then a server of
// weight 0 takes over from a candidate.
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
