package sched

// newWLC is weighted least-connection: the usable server with the least overhead per weight.
func newWLC(l *list) *least {
	return &least{list: l, cost: overheadPerWeight}
}

func overheadPerWeight(d *Server) (int64, int32) { return int64(d.overhead()), d.weight }
