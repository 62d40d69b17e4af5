package nltest

import (
	"container/heap"
	"time"
)

// A timer is one entry of the kernel's schedule.
type timer struct {
	at    time.Time
	seq   uint64 // breaks ties: first armed, first fired
	index int    // in the heap; -1 when not armed
	fire  func()
}

// schedule is a heap of timers by time.
type schedule []*timer

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if !s[i].at.Equal(s[j].at) {
		return s[i].at.Before(s[j].at)
	}
	return s[i].seq < s[j].seq
}
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}
func (s *schedule) Push(x any) {
	t := x.(*timer)
	t.index = len(*s)
	*s = append(*s, t)
}
func (s *schedule) Pop() any {
	old := *s
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	t.index = -1
	return t
}

// newTimer returns a timer that is not armed.
func newTimer(fire func()) *timer { return &timer{index: -1, fire: fire} }

// arm sets t to fire at the given time, whether or not it was armed.
func (k *Kernel) arm(t *timer, at time.Time) {
	k.disarm(t)
	k.timerSeq++
	t.at, t.seq = at, k.timerSeq
	heap.Push(&k.timers, t)
}

// disarm stops t.
func (k *Kernel) disarm(t *timer) {
	if t.index >= 0 {
		heap.Remove(&k.timers, t.index)
	}
}

// runTo fires what is due up to and including the time to, in order, and sets the clock to it.
func (k *Kernel) runTo(to time.Time) {
	for len(k.timers) > 0 && !k.timers[0].at.After(to) {
		t := heap.Pop(&k.timers).(*timer)
		if t.at.After(k.now) {
			k.now = t.at
		}
		k.path.Advance(k.now)
		t.fire()
	}
	if to.After(k.now) {
		k.now = to
	}
	k.path.Advance(k.now)
}

// Now returns the kernel's time.
func (k *Kernel) Now() time.Time {
	k.lock()
	defer k.mu.Unlock()
	return k.now
}

// Advance moves the clock forward by d and fires what becomes due on the way, in order: estimators, trash timers, the data
// path. A negative d does nothing. With [Config.RealTime] the clock goes on from there.
func (k *Kernel) Advance(d time.Duration) {
	k.lock()
	defer k.mu.Unlock()
	if d > 0 {
		k.runTo(k.now.Add(d))
		k.real = k.real.Add(-d)
	}
}

// lock takes the kernel's lock and, when the kernel follows real time, lets its clock catch up.
func (k *Kernel) lock() {
	k.mu.Lock()
	if k.cfg.RealTime {
		k.runTo(k.start.Add(time.Since(k.real)))
	}
}
