package sched

import (
	"net/netip"
	"time"
)

// lblcr is locality-based least-connection with replication: a destination address has a set of servers. It goes
// to the least loaded of them; when that one is overburdened while another has little to do, the set grows by the
// choice of wlc, and a set that has not grown for some time loses its most loaded server.
type lblcr struct{ locality }

func (l *lblcr) pick(_ netip.AddrPort, dest netip.Addr, now time.Duration) *Server {
	t, dest := l.begin(dest, now)
	e := l.find(dest)
	if e == nil {
		d := l.min()
		if d != nil {
			l.insert(dest, d, t)
		}
		return d
	}

	e.used = t
	least := e.least()
	if len(e.servers) > 1 && t > e.modified+l.config.ticks(l.config.CacheExpiration) {
		e.erase(t) // perhaps the very server that this packet still goes to
	}
	if least != nil && !l.overburdened(least) {
		return least
	}
	d := l.min()
	if d != nil && !e.has(d) {
		e.add(d, t)
	}
	return d
}

// least returns the server of the set with the least overhead per weight; among equals the newest.
func (e *entry) least() *Server {
	var best *Server
	for i := len(e.servers) - 1; i >= 0; i-- {
		d := e.servers[i]
		if d.limit.overloaded || !d.Available() {
			continue
		}
		if best == nil {
			if d.weight > 0 {
				best = d
			}
		} else if int64(best.overhead())*int64(d.weight) > int64(d.overhead())*int64(best.weight) {
			best = d
		}
	}
	return best
}

// erase removes the server of the set with the most overhead per weight, whatever its state but for weight 0; among
// equals the newest.
func (e *entry) erase(now ticks) {
	most := -1
	for i := len(e.servers) - 1; i >= 0; i-- {
		d := e.servers[i]
		if d.weight == 0 {
			continue
		}
		if most < 0 {
			most = i
			continue
		}
		m := e.servers[most]
		if int64(m.overhead())*int64(d.weight) < int64(d.overhead())*int64(m.weight) {
			most = i
		}
	}
	if most < 0 {
		return
	}
	e.servers[most].cached--
	e.servers = append(e.servers[:most], e.servers[most+1:]...)
	e.modified = now
}
