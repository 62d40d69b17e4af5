package sched

import (
	"net/netip"
	"time"
)

const dhTableBits = 8

// dh is destination hashing: a table of servers looked up by the destination address. Weights give no server
// a larger part of the table, not even weight 0 a smaller one, and there is no fallback.
type dh struct {
	list  *list
	table [1 << dhTableBits]*Server
	stale bool
}

func (h *dh) pick(_ netip.AddrPort, dest netip.Addr, _ time.Duration) *Server {
	if h.stale {
		h.build()
	}
	d := h.table[hash32(fold(dest), dhTableBits)]
	if d == nil || !d.usable() {
		return nil
	}
	return d
}

// build deals the slots to the servers in turn, as often as it takes.
func (h *dh) build() {
	h.stale = false
	clear(h.table[:])
	if h.list.n == 0 {
		return
	}
	for i := 0; i < len(h.table); {
		for d := range h.list.all() {
			h.table[i] = d
			if i++; i == len(h.table) {
				break
			}
		}
	}
}

func (h *dh) bind() error     { h.stale = true; return nil }
func (h *dh) added(*Server)   { h.stale = true }
func (h *dh) removed(*Server) { h.stale = true }
func (h *dh) updated(*Server) {}
func (h *dh) counted(*Server) {}
func (h *dh) renumbered()     {}
