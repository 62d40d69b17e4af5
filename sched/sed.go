package sched

// newSED is shortest expected delay: the usable server with the fewest active connections per weight once it would
// have got this one. Inactive connections do not count.
func newSED(l *list) *least {
	return &least{list: l, cost: func(d *Server) (int64, int32) {
		return int64(d.active) + 1, d.weight
	}}
}
