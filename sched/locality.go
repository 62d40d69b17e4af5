package sched

import (
	"net/netip"
	"time"
)

// locality is what lblc and lblcr have in common: a cache, the weighted least-connection choice for what is not in
// it, and the test whether a cached server has too much to do while another has little.
type locality struct {
	*least
	*cache
	idle idleness
}

func newLocality(s *Scheduler) locality {
	return locality{least: newWLC(&s.list), cache: newCache(&s.config, s.now)}
}

// begin runs the timer and returns the present and the key of the packet.
func (l *locality) begin(dest netip.Addr, now time.Duration) (ticks, netip.Addr) {
	t := l.config.ticks(now)
	l.cache.advance(t)
	return t, dest.Unmap().WithZone("")
}

// overburdened reports whether the server has more active connections than its weight while some server has less than
// half as many. The overload flag does not matter here.
func (l *locality) overburdened(d *Server) bool { return d.active > d.weight && l.idle.n > 0 }

func (l *locality) release()                  { l.cache.clear() }
func (l *locality) advance(now time.Duration) { l.cache.advance(l.config.ticks(now)) }

func (l *locality) bind() error {
	l.idle.build(l.list)
	return l.least.bind()
}

func (l *locality) renumbered() {
	l.idle.build(l.list)
	l.least.renumbered()
}

func (l *locality) added(d *Server) {
	l.idle.note(d)
	l.least.added(d)
}

func (l *locality) removed(d *Server) {
	l.idle.set(d.slot, false)
	l.least.removed(d)
}

func (l *locality) updated(d *Server) {
	l.idle.note(d)
	l.least.updated(d)
}

func (l *locality) counted(d *Server) {
	l.idle.note(d)
	l.least.counted(d)
}

// idleness counts the servers with fewer active connections than half their weight.
type idleness struct {
	is []bool // by slot
	n  int
}

func (i *idleness) build(l *list) {
	*i = idleness{}
	for d := range l.all() {
		i.note(d)
	}
}

func (i *idleness) note(d *Server) { i.set(d.slot, 2*d.active < d.weight) }

func (i *idleness) set(slot int, is bool) {
	for slot >= len(i.is) {
		i.is = append(i.is, false)
	}
	switch {
	case is && !i.is[slot]:
		i.n++
	case !is && i.is[slot]:
		i.n--
	}
	i.is[slot] = is
}
