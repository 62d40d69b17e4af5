package sched

// newFO is weighted failover: the usable server with the largest weight.
func newFO(l *list) *least {
	return &least{list: l, cost: func(d *Server) (int64, int32) {
		return -int64(d.weight), min(d.weight, 1)
	}}
}
