package sched

// newNQ is never queue: the first usable server without active connections, whatever its weight; if there is none,
// the choice of sed. An idle server costs nothing, so nothing costs less.
func newNQ(l *list) *least {
	return &least{list: l, cost: func(d *Server) (int64, int32) {
		if d.active == 0 {
			return 0, d.weight
		}
		return int64(d.active) + 1, d.weight
	}}
}
