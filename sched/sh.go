package sched

import (
	"net/netip"
	"time"
)

// sh is source hashing: a table of servers looked up by the client's address, in which a server has as many
// slots in a row as its weight was when the table was built, at least one.
type sh struct {
	list   *list
	config *Config
	table  []*Server
	stale  bool

	usable usability // of all servers of the list, in the table or not
	cycle  int       // slots that it takes to deal once to each server, at most all
}

func (h *sh) pick(client netip.AddrPort, _ netip.Addr, _ time.Duration) *Server {
	if h.stale {
		h.build()
	}
	slot := hash32(clientKey(client, h.config.Flags), h.config.SHTableBits)
	d := h.table[slot]
	switch {
	case d == nil:
		return nil
	case d.usable():
		return d
	case h.config.Flags&Fallback == 0:
		return nil
	}
	return h.fallback(slot)
}

// fallback gives the first usable server from twice the client's slot on, because that slot enters both the start and
// the offset of the kernel's probing. Since servers follow one another in the table as in the list, over and over, the
// list tells it without a look at every slot.
func (h *sh) fallback(slot uint32) *Server {
	end := len(h.table) - 1
	start := int(2*slot) & end
	first := h.table[start]
	if first.usable() {
		return first
	}
	last := h.table[end].slot // the list goes from high slots to low ones
	i := h.usable.next(first.slot, 1)
	if i < 0 || i < last && start/h.cycle == end/h.cycle { // not in what remains of the table
		i = h.usable.next(len(h.list.slots), 1)
	}
	if i < 0 || i < last && h.cycle > end { // not in the table at all
		return nil
	}
	return h.list.slots[i]
}

func (h *sh) build() {
	h.stale = false
	h.table = make([]*Server, 1<<h.config.SHTableBits)
	h.cycle = 0
	if h.list.n == 0 {
		return
	}
	for i := 0; i < len(h.table); {
		for d := range h.list.all() {
			for end := i + min(int(max(d.weight, 1)), len(h.table)-i); i < end; i++ {
				h.table[i] = d
			}
			if i == len(h.table) {
				break
			}
		}
		if h.cycle == 0 {
			h.cycle = i
		}
	}
}

func (h *sh) bind() error {
	h.stale = true
	h.usable.build(h.list)
	return nil
}

func (h *sh) added(d *Server) {
	h.stale = true
	h.usable.add(h.list, d)
}

func (h *sh) removed(d *Server) {
	h.stale = true
	h.usable.set(d.slot, 0)
}

func (h *sh) updated(d *Server) {
	h.stale = true
	h.usable.update(d)
}

func (h *sh) counted(d *Server) { h.usable.update(d) }
func (h *sh) renumbered()       { h.usable.build(h.list) }
