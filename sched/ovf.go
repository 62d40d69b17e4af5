package sched

// newOVF is overflow: the usable server with the largest weight whose active connections have not outgrown it.
// The test is made before the new connection counts, hence a server takes one more than its weight.
func newOVF(l *list) *least {
	return &least{list: l, cost: func(d *Server) (int64, int32) {
		if d.active > d.weight {
			return 0, 0
		}
		return -int64(d.weight), min(d.weight, 1)
	}}
}
