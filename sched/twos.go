package sched

import (
	"net/netip"
	"time"
)

// twos is the power of two choices: of two servers drawn by weight, the one with less overhead per weight.
type twos struct {
	unobservant
	list *list
	rand func() uint32
}

func (t *twos) pick(netip.AddrPort, netip.Addr, time.Duration) *Server {
	var total int32
	var any bool
	for d := range t.list.all() {
		if d.usable() {
			total += d.weight
			any = true
		}
	}
	if !any {
		return nil
	}

	// The draws are from 0 to total inclusive, so that the first server of the list has one chance more than its
	// weight.
	first, second := int32(below(uint32(total)+1, t.rand)), int32(below(uint32(total)+1, t.rand))
	var a, b *Server
	for d := range t.list.all() {
		if !d.usable() {
			continue
		}
		first -= d.weight
		second -= d.weight
		if a == nil && first <= 0 {
			a = d
		}
		if b == nil && second <= 0 {
			b = d
		}
		if a != nil && b != nil {
			break
		}
	}
	if a == nil || b == nil { // weights whose sum does not fit 31 bits
		return a
	}
	if b.weight*a.overhead() > a.weight*b.overhead() { // 32 bits, wrapping around
		return b
	}
	return a
}

// below draws a uniform number less than n, without bias, by multiplication and rejection (D. Lemire, Fast Random
// Integer Generation in an Interval, 2019). For n = 0 it draws from all numbers.
func below(n uint32, rand func() uint32) uint32 {
	if n == 0 {
		return rand()
	}
	product := uint64(rand()) * uint64(n)
	if uint32(product) < n {
		for reject := -n % n; uint32(product) < reject; {
			product = uint64(rand()) * uint64(n)
		}
	}
	return uint32(product >> 32)
}
