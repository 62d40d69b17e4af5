package main

// health is what a sequence of checks says about a server.
type health struct {
	known  bool // there was a check, or the server was in service before
	up     bool
	streak int // results in a row that contradict up
}

// observe takes the result of a check. The first one decides; after that it takes rise good ones in a row, or fall bad ones,
// to change the state. It reports whether the state has changed.
func (h *health) observe(good bool, rise, fall int) bool {
	if !h.known {
		h.known, h.up, h.streak = true, good, 0
		return true
	}
	if good == h.up {
		h.streak = 0
		return false
	}
	h.streak++
	if need := map[bool]int{true: rise, false: fall}[good]; h.streak < need {
		return false
	}
	h.up, h.streak = good, 0
	return true
}
