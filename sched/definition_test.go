package sched

import (
	"net/netip"
	"slices"
	"time"
)

// definition is the readable reference: each scheduler as a plain walk over a plain list, without any index, and
// tables rebuilt at once. It reads weight, counters and overload state of the very servers that the scheduler
// under test has, and keeps cursors, tables and caches of its own.
type definition struct {
	list  []*Server // head first
	name  string
	flags Flags
	c     Config // complete
	rand  func() uint32
	now   ticks

	cursor     *Server // rr, wrr
	cw, mw, di int32   // wrr
	table      []*Server
	entries    map[netip.Addr]*definedEntry
	checks     int
	rover      int
	checked    ticks
}

type definedEntry struct {
	set              []*Server // newest first
	lastmod, lastuse ticks
}

func (r *definition) bind(name string) {
	r.name, r.cursor = name, nil
	switch name {
	case "wrr":
		r.measure()
		r.cw = r.mw
	case "mh":
		if len(r.list) > r.mhSize() {
			panic("the caller looks after that")
		}
		r.table = nil
	case "lblc", "lblcr":
		r.entries = map[netip.Addr]*definedEntry{}
		r.checks, r.rover, r.checked = 1, 0, r.now
	}
	r.rebuild()
}

func (r *definition) add(d *Server) {
	r.list = slices.Insert(r.list, 0, d)
	r.rebuild()
	r.adjust()
}

func (r *definition) remove(d *Server) {
	i := slices.Index(r.list, d)
	if r.name == "rr" && r.cursor == d {
		r.cursor = nil
		if i > 0 {
			r.cursor = r.list[i-1]
		}
	}
	r.list = slices.Delete(r.list, i, i+1)
	r.rebuild()
	r.adjust()
}

func (r *definition) update() {
	if r.name != "dh" {
		r.rebuild()
	}
	r.adjust()
}

func (r *definition) rebuild() {
	switch r.name {
	case "dh":
		r.buildDH()
	case "sh":
		r.buildSH()
	case "mh":
		if len(r.list) <= r.mhSize() {
			r.buildMH()
		}
	}
}

func (r *definition) pick(f Flow, now time.Duration) *Server {
	r.now = r.c.ticks(now)
	switch r.name {
	case "rr":
		return r.rr()
	case "wrr":
		return r.wrr()
	case "lc":
		return r.lc()
	case "wlc":
		return r.weighted((*Server).overhead)
	case "sed":
		return r.weighted(func(d *Server) int32 { return d.active + 1 })
	case "nq":
		return r.nq()
	case "fo":
		return r.heaviest(func(*Server) bool { return true })
	case "ovf":
		return r.heaviest(func(d *Server) bool { return d.active <= d.weight })
	case "twos":
		return r.twos()
	case "dh":
		return r.dh(f)
	case "sh":
		return r.sh(f)
	case "mh":
		return r.mh(f)
	case "lblc":
		return r.lblc(f)
	case "lblcr":
		return r.lblcr(f)
	}
	return nil
}

func (r *definition) rr() *Server {
	at := slices.Index(r.list, r.cursor) // -1: before the first
	for i := at + 1; i < len(r.list); i++ {
		if r.list[i].usable() {
			r.cursor = r.list[i]
			return r.cursor
		}
	}
	for i := 0; i <= at; i++ {
		if r.list[i].usable() {
			r.cursor = r.list[i]
			return r.cursor
		}
	}
	return nil
}

func (r *definition) measure() {
	g, largest := int32(0), int32(0)
	for _, d := range r.list {
		a, b := g, d.weight
		for b > 0 {
			a, b = b, a%b
		}
		g, largest = a, max(largest, d.weight)
	}
	r.di = max(g, 1)
	r.mw = largest - (r.di - 1)
}

// adjust is what wrr does after each change.
func (r *definition) adjust() {
	if r.name != "wrr" {
		return
	}
	r.cursor = nil
	r.measure()
	if r.cw > r.mw || r.cw == 0 {
		r.cw = r.mw
	} else if r.di > 1 {
		r.cw = r.cw/r.di*r.di + 1
	}
}

func (r *definition) wrr() *Server {
	if r.mw == 0 {
		return nil
	}
	last := r.cursor
	var stop *Server
	lastPass, restarted := false, false
	at := slices.Index(r.list, r.cursor) + 1
	for {
		for ; at < len(r.list); at++ {
			d := r.list[at]
			if !d.limit.overloaded && d.weight >= r.cw {
				r.cursor = d
				return d
			}
			if d == stop {
				r.cursor = d
				return nil
			}
		}
		at = 0
		r.cw -= r.di
		if r.cw <= 0 {
			r.cw = r.mw
			if lastPass || last == nil {
				r.cursor = nil
				return nil
			}
			restarted = true
		}
		lastPass = r.cw <= r.di
		if lastPass && restarted && last != nil {
			stop = last
		}
	}
}

func (r *definition) lc() *Server {
	var best *Server
	for _, d := range r.list {
		if d.limit.overloaded || d.weight == 0 {
			continue
		}
		if best == nil || uint32(d.overhead()) < uint32(best.overhead()) {
			best = d
		}
	}
	return best
}

func (r *definition) weighted(cost func(*Server) int32) *Server {
	var best *Server
	for _, d := range r.list {
		if d.limit.overloaded {
			continue
		}
		if best == nil {
			if d.weight > 0 {
				best = d
			}
			continue
		}
		if int64(cost(best))*int64(d.weight) > int64(cost(d))*int64(best.weight) {
			best = d
		}
	}
	return best
}

func (r *definition) nq() *Server {
	var best *Server
	for _, d := range r.list {
		if d.limit.overloaded || d.weight == 0 {
			continue
		}
		if d.active == 0 {
			return d
		}
		if best == nil || int64(best.active+1)*int64(d.weight) > int64(d.active+1)*int64(best.weight) {
			best = d
		}
	}
	return best
}

func (r *definition) heaviest(may func(*Server) bool) *Server {
	var best *Server
	for _, d := range r.list {
		if !d.limit.overloaded && d.weight > 0 && may(d) && (best == nil || d.weight > best.weight) {
			best = d
		}
	}
	return best
}

func (r *definition) twos() *Server {
	var usable []*Server
	sum := int32(0)
	for _, d := range r.list {
		if d.usable() {
			usable = append(usable, d)
			sum += d.weight
		}
	}
	if usable == nil {
		return nil
	}
	var choice [2]*Server
	var draw [2]int32
	for i := range draw {
		draw[i] = int32(unbiased(r.rand, sum+1))
	}
	for i := range draw {
		for _, d := range usable {
			draw[i] -= d.weight
			if draw[i] <= 0 {
				choice[i] = d
				break
			}
		}
	}
	if choice[1].weight*choice[0].overhead() > choice[0].weight*choice[1].overhead() {
		return choice[1]
	}
	return choice[0]
}

// unbiased accepts only draws from the largest part of the 2^32 products that all results share equally.
func unbiased(rand func() uint32, n int32) uint32 {
	for {
		p := uint64(rand()) * uint64(n)
		if p%(1<<32) >= (1<<32)%uint64(n) {
			return uint32(p / (1 << 32))
		}
	}
}

func (r *definition) buildDH() {
	r.table = make([]*Server, 256)
	for i := range r.table {
		if n := len(r.list); n > 0 {
			r.table[i] = r.list[i%n]
		}
	}
}

func (r *definition) dh(f Flow) *Server {
	d := r.table[fold(f.Destination)*0x61C88647>>24]
	if d == nil || !d.usable() {
		return nil
	}
	return d
}

func (r *definition) buildSH() {
	r.table = make([]*Server, 1<<r.c.SHTableBits)
	if len(r.list) == 0 {
		return
	}
	p, count := 0, int32(0)
	for i := range r.table {
		r.table[i] = r.list[p]
		if count++; count >= r.list[p].weight {
			p, count = (p+1)%len(r.list), 0
		}
	}
}

func (r *definition) key(f Flow) uint32 {
	if r.flags&Port != 0 {
		return fold(f.Client.Addr()) + uint32(f.Client.Port())
	}
	return fold(f.Client.Addr())
}

func (r *definition) sh(f Flow) *Server {
	n := len(r.table)
	b := int(r.key(f) * 0x61C88647 >> (32 - r.c.SHTableBits))
	d := r.table[b]
	if d == nil || d.usable() {
		return d
	}
	if r.flags&Fallback == 0 {
		return nil
	}
	for o := range n {
		d := r.table[(b+(o+b)%n)%n]
		if d == nil || d.usable() {
			return d
		}
	}
	return nil
}

func (r *definition) mhSize() int { return mhPrimes[r.c.MHTableIndex-8] }

func (r *definition) buildMH() {
	size := r.mhSize()
	r.table = make([]*Server, size)
	g, largest := int32(0), int32(0)
	for _, d := range r.list {
		if d.lastWeight > 0 {
			largest = max(largest, d.lastWeight)
			a, b := g, d.lastWeight
			for b > 0 {
				a, b = b, a%b
			}
			g = a
		}
	}
	if g == 0 {
		return
	}
	shift := -r.c.MHTableIndex / 2
	if r.c.MHTableIndex%2 == 1 {
		shift = -(r.c.MHTableIndex - 1) / 2
	}
	for x := largest / g; x > 0; x >>= 1 {
		shift++
	}
	shift = max(0, shift)
	pos := make([]int, len(r.list))
	skip := make([]int, len(r.list))
	for i, d := range r.list {
		v := uint32(d.addr.Port())
		if r.c.Family == IPv4 && d.addr.Addr().Is6() {
			w := d.addr.Addr().As16()
			v += fold(netip.AddrFrom4([4]byte(w[:4])))
		} else {
			v += fold(d.addr.Addr())
		}
		pos[i] = int(hsiphash(v, 2654435761)) % size
		skip[i] = int(hsiphash(v, 2654446892))%(size-1) + 1
	}
	for filled := 0; ; {
		for i, d := range r.list {
			turns := d.lastWeight / g >> shift
			if turns == 0 && d.lastWeight != 0 {
				turns = 1
			}
			for ; turns > 0; turns-- {
				for r.table[pos[i]] != nil {
					pos[i] = (pos[i] + skip[i]) % size
				}
				r.table[pos[i]] = d
				if filled++; filled == size {
					return
				}
			}
		}
	}
}

func (r *definition) mh(f Flow) *Server {
	size := uint32(r.mhSize())
	if r.table == nil {
		return nil
	}
	v := r.key(f)
	slot := hsiphash(v, 2654435761) % size
	d := r.table[slot]
	if d == nil || d.usable() {
		return d
	}
	if r.flags&Fallback == 0 {
		return nil
	}
	for o := range size {
		d := r.table[hsiphash(v+(o+slot)%size, 2654435761)%size]
		if d == nil || d.usable() {
			return d
		}
	}
	return nil
}

func (r *definition) overloaded(d *Server) bool {
	if d.active <= d.weight {
		return false
	}
	for _, x := range r.list {
		if x.active*2 < x.weight {
			return true
		}
	}
	return false
}

// expire runs the timer of lblc and lblcr.
func (r *definition) expire() {
	second := ticks(r.c.HZ)
	period := 61*second + 44*second/100
	for r.checked+period <= r.now {
		r.checked += period
		if r.checks%30 == 0 {
			for k, e := range r.entries {
				if e.lastuse+r.c.ticks(r.c.CacheExpiration) <= r.checked {
					delete(r.entries, k)
				}
			}
			r.checks = 1
			continue
		}
		if len(r.entries) <= 16384 {
			r.checks++
			continue
		}
		goal := min((len(r.entries)-16384)*4/3, 8192)
		var old [1024][]netip.Addr
		for k, e := range r.entries {
			if r.checked-e.lastuse >= 360*second {
				b := fold(k) * 0x61C88647 >> 22
				old[b] = append(old[b], k)
			}
		}
		for range 1024 {
			r.rover = (r.rover + 1) % 1024
			for _, k := range old[r.rover] {
				delete(r.entries, k)
				goal--
			}
			if goal <= 0 {
				break
			}
		}
	}
}

func (r *definition) lblc(f Flow) *Server {
	r.expire()
	e := r.entries[f.Destination]
	if e != nil {
		e.lastuse = r.now
		if d := e.set[0]; d.in != nil && d.weight > 0 && !r.overloaded(d) {
			return d
		}
	}
	d := r.weighted((*Server).overhead)
	if d == nil || e != nil && e.set[0] == d {
		return d
	}
	delete(r.entries, f.Destination)
	if len(r.entries) < 24576 {
		r.entries[f.Destination] = &definedEntry{set: []*Server{d}, lastuse: r.now}
	}
	return d
}

func (r *definition) lblcr(f Flow) *Server {
	r.expire()
	e := r.entries[f.Destination]
	if e == nil {
		d := r.weighted((*Server).overhead)
		if d != nil && len(r.entries) < 24576 {
			r.entries[f.Destination] = &definedEntry{set: []*Server{d}, lastuse: r.now, lastmod: r.now}
		}
		return d
	}
	e.lastuse = r.now
	var least, most *Server
	for _, d := range e.set {
		if d.limit.overloaded || d.in == nil {
			continue
		}
		if least == nil {
			if d.weight > 0 {
				least = d
			}
		} else if int64(least.overhead())*int64(d.weight) > int64(d.overhead())*int64(least.weight) {
			least = d
		}
	}
	if len(e.set) > 1 && r.now > e.lastmod+r.c.ticks(r.c.CacheExpiration) {
		for _, d := range e.set {
			if d.weight > 0 && (most == nil || int64(most.overhead())*int64(d.weight) < int64(d.overhead())*int64(most.weight)) {
				most = d
			}
		}
		if most != nil {
			i := slices.Index(e.set, most)
			e.set = slices.Delete(e.set, i, i+1)
			e.lastmod = r.now
		}
	}
	if least != nil && !r.overloaded(least) {
		return least
	}
	d := r.weighted((*Server).overhead)
	if d != nil && !slices.Contains(e.set, d) {
		e.set = slices.Insert(e.set, 0, d)
		e.lastmod = r.now
	}
	return d
}
