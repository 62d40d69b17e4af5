package sched

import "time"

// sh is source hashing: a table of servers looked up by the client's address, in which a server has as many
// slots in a row as its weight was when the table was built, at least one.
type sh struct {
	list   *list
	config *Config
	table  []*Server
	stale  bool
}

func (h *sh) pick(f Flow, _ time.Duration) *Server {
	if h.stale {
		h.build()
	}
	slot := hash32(f.clientKey(h.config.Flags), h.config.SHTableBits)
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

// fallback probes the whole table, beginning at twice the client's slot, because that slot enters both the start
// and the offset.
func (h *sh) fallback(slot uint32) *Server {
	mask := uint32(len(h.table) - 1)
	for o := range uint32(len(h.table)) {
		offset := (o + slot) & mask
		if d := h.table[(slot+offset)&mask]; d.usable() {
			return d
		}
	}
	return nil
}

func (h *sh) build() {
	h.stale = false
	h.table = make([]*Server, 1<<h.config.SHTableBits)
	if h.list.n == 0 {
		return
	}
	for i := 0; i < len(h.table); {
		for d := range h.list.all() {
			for end := min(i+int(max(d.weight, 1)), len(h.table)); i < end; i++ {
				h.table[i] = d
			}
		}
	}
}

func (h *sh) bind() error     { h.stale = true; return nil }
func (h *sh) added(*Server)   { h.stale = true }
func (h *sh) removed(*Server) { h.stale = true }
func (h *sh) updated(*Server) { h.stale = true }
func (h *sh) counted(*Server) {}
func (h *sh) renumbered()     {}
