package sched

import (
	"net/netip"
	"time"
)

// rr is round robin: the next usable server after the one used last.
type rr struct {
	list   *list
	cursor *Server // the server used last; nil is the head, before the first server
	usable usability
}

func (r *rr) pick(netip.AddrPort, netip.Addr, time.Duration) *Server {
	i := -1
	if r.cursor != nil {
		i = r.usable.next(r.cursor.slot, 1)
	}
	if i < 0 { // from the first server, and up to the cursor's own at most: all others were looked at
		i = r.usable.next(len(r.list.slots), 1)
	}
	if i < 0 {
		return nil
	}
	r.cursor = r.list.slots[i]
	return r.cursor
}

func (r *rr) removed(d *Server) {
	if r.cursor == d {
		r.cursor = r.list.before(d.slot)
	}
	r.usable.set(d.slot, 0)
}

func (r *rr) bind() error       { r.usable.build(r.list); return nil }
func (r *rr) renumbered()       { r.usable.build(r.list) }
func (r *rr) added(d *Server)   { r.usable.add(r.list, d) }
func (r *rr) updated(d *Server) { r.usable.update(d) }
func (r *rr) counted(d *Server) { r.usable.update(d) }
