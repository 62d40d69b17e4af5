package sched

import (
	"net/netip"
	"time"
)

// head is the place before the first server of a list, where no slot is.
const head = -1

// wrr is weighted round robin, one level of weights at a time: a walk over the list takes every usable server
// whose weight is at least the level, and each further walk lowers the level by the greatest common divisor of all
// weights. It is not the interleaved kind: weights 4, 3, 2 give A, A B, A B C, A B C.
type wrr struct {
	list   *list
	usable usability

	cursor int   // slot of the server used last; head before the first one
	level  int32 // current weight
	top    int32 // highest level: the largest weight - (step - 1), so that the lowest one is 1; 0 without weights
	step   int32 // greatest common divisor of the weights, 1 without any

	divisor, largest int32 // of the weights; 0 without any
}

func (w *wrr) pick(netip.AddrPort, netip.Addr, time.Duration) *Server {
	if w.top == 0 {
		return nil
	}
	heaviest := w.usable.max()
	if heaviest == 0 {
		w.exhaust()
		return nil
	}

	start := w.cursor
	if start == head {
		start = len(w.list.slots)
	}
	i := w.usable.next(start, w.level)
	if i < 0 {
		// Lower levels get a walk over the whole list each. Levels above the heaviest usable server find nothing.
		w.level -= w.step
		if w.level <= 0 {
			w.level = w.top
		}
		if w.level > heaviest {
			steps := (int64(w.level) - int64(heaviest) + int64(w.step) - 1) / int64(w.step)
			w.level -= int32(steps * int64(w.step))
		}
		i = w.usable.next(len(w.list.slots), w.level)
	}
	w.cursor = i
	return w.list.slots[i]
}

// exhaust leaves behind what a walk over all levels leaves that finds no usable server. It ends when it has seen the
// lowest level completely: on its way down, or, if it began inside the lowest level, after a second round down there.
func (w *wrr) exhaust() {
	if w.cursor != head && w.level <= w.step {
		w.level = 1
		return
	}
	w.cursor, w.level = head, w.top
}

func (w *wrr) bind() error {
	w.usable.build(w.list)
	w.measure()
	w.cursor, w.level = head, w.top
	return nil
}

// measure looks at the weights of all servers. Overload does not matter here.
func (w *wrr) measure() {
	w.divisor, w.largest = 0, 0
	for d := range w.list.all() {
		w.include(d.weight)
	}
	w.setLevels()
}

func (w *wrr) include(weight int32) {
	w.divisor, w.largest = gcd(w.divisor, weight), max(w.largest, weight)
}

func (w *wrr) setLevels() {
	w.step = max(w.divisor, 1)
	w.top = w.largest - (w.step - 1)
}

// restart follows every change of the list or of a weight: from the head, near the level it was at.
func (w *wrr) restart() {
	w.cursor = head
	switch {
	case w.level > w.top || w.level == 0:
		w.level = w.top
	case w.step > 1:
		w.level = w.level/w.step*w.step + 1
	}
}

func (w *wrr) added(d *Server) {
	w.usable.add(w.list, d)
	w.include(d.weight)
	w.setLevels()
	w.restart()
}

func (w *wrr) removed(d *Server) {
	w.usable.set(d.slot, 0)
	w.measure()
	w.restart()
}

func (w *wrr) updated(d *Server) {
	w.usable.update(d)
	w.measure()
	w.restart()
}

func (w *wrr) counted(d *Server) { w.usable.update(d) }
func (w *wrr) renumbered()       { w.usable.build(w.list) }

func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
