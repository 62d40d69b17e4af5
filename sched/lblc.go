package sched

import (
	"net/netip"
	"time"
)

// lblc is locality-based least-connection: a destination address stays with its server, chosen by wlc, until that
// one is quiesced, removed, or overburdened while another has little to do.
type lblc struct{ locality }

func (l *lblc) pick(_ netip.AddrPort, dest netip.Addr, now time.Duration) *Server {
	t, dest := l.begin(dest, now)
	e := l.find(dest)
	if e != nil {
		e.used = t
		// The overload flag is not looked at.
		if d := e.servers[0]; d.Available() && d.weight > 0 && !l.overburdened(d) {
			return d
		}
	}
	d := l.min()
	if d == nil {
		return nil
	}
	if e != nil {
		if e.has(d) {
			return d
		}
		l.remove(e)
	}
	l.insert(dest, d, t)
	return d
}
