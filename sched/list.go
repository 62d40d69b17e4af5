package sched

import "iter"

// list is the destination list of one service. The kernel inserts at the head and walks from head to tail, so
// the server added last comes first. Here a server keeps the number of its slot, slots are handed out upwards,
// and a walk goes downwards: adding is an append, removing leaves a hole.
type list struct {
	slots []*Server
	n     int // servers; the rest are holes
}

// all walks from head to tail.
func (l *list) all() iter.Seq[*Server] {
	return func(yield func(*Server) bool) {
		for i := len(l.slots) - 1; i >= 0; i-- {
			if d := l.slots[i]; d != nil && !yield(d) {
				return
			}
		}
	}
}

// before returns the server nearer to the head than slot i, nil if there is none.
func (l *list) before(i int) *Server {
	for i++; i < len(l.slots); i++ {
		if l.slots[i] != nil {
			return l.slots[i]
		}
	}
	return nil
}

func (l *list) insert(d *Server) {
	d.slot = len(l.slots)
	l.slots = append(l.slots, d)
	l.n++
}

func (l *list) unlink(d *Server) {
	l.slots[d.slot] = nil
	l.n--
}

// compact closes the holes once they are the majority and reports whether slots got new numbers.
func (l *list) compact() bool {
	if len(l.slots) < 32 || l.n > len(l.slots)/2 {
		return false
	}
	slots := make([]*Server, 0, max(l.n, 32))
	for _, d := range l.slots {
		if d != nil {
			d.slot = len(slots)
			slots = append(slots, d)
		}
	}
	l.slots = slots
	return true
}
