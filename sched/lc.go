package sched

// newLC is least-connection: the usable server with the fewest connections, an active one counting as 257. Weights
// above 0 make no difference. The comparison is unsigned, unlike that of wlc.
func newLC(l *list) *least {
	return &least{list: l, cost: func(d *Server) (int64, int32) {
		return int64(uint32(d.overhead())), min(d.weight, 1)
	}}
}
