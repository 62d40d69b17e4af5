package sched

// prober searches the table of mh for a usable server on behalf of a client whose own is not. The probes of a client go all
// over the table, in an order that depends on its address: if one of 4093 slots is usable, it takes thousands. A search
// that was in vain so far would be again until some server becomes usable, so the next one of the same client goes on from
// there.
type prober struct {
	standings []standing        // by slot of the list
	usable    int               // servers with slots of the table that are usable
	era       uint64            // changes when searches begin anew
	searches  map[uint32]search // by client key
	blind     bool              // the table has servers that are not in the list any more, and nobody tells of their changes
}

// standing says whether a server has slots of the table, and whether it is usable.
type standing uint8

const (
	absent standing = iota
	unusable
	usable
)

// search is where a search ended.
type search struct {
	era  uint64
	next uint32 // the first probe that was not in vain, or one more than there are
}

const maxSearches = 1 << 14 // that are remembered

// reset follows a new table.
func (p *prober) reset(l *list, table []*Server) {
	p.standings = make([]standing, len(l.slots))
	p.usable, p.blind = 0, false
	for _, d := range table {
		if d == nil || p.standings[d.slot] != absent {
			continue
		}
		p.standings[d.slot] = unusable
		p.note(d) // begins a new era for each that is usable; without any, nothing is searched
	}
}

// note follows a change of a server.
func (p *prober) note(d *Server) {
	if d.slot >= len(p.standings) {
		return
	}
	switch s := &p.standings[d.slot]; {
	case *s == usable && !d.usable():
		*s = unusable
		p.usable--
	case *s == unusable && d.usable():
		*s = usable
		p.usable++
		p.era++
	}
}

// search probes for the client of a key, whose own slot this is.
func (p *prober) search(table []*Server, key, slot uint32) *Server {
	if p.blind {
		d, _ := probe(table, key, slot, 0)
		return d
	}
	if p.usable == 0 {
		return nil
	}
	last := p.searches[key]
	if last.era != p.era {
		last = search{}
	}
	d, next := probe(table, key, slot, last.next)
	if now := (search{p.era, next}); now != last {
		p.remember(key, now)
	}
	return d
}

func (p *prober) remember(key uint32, s search) {
	switch {
	case p.searches == nil:
		p.searches = make(map[uint32]search)
	case len(p.searches) == maxSearches:
		clear(p.searches)
	}
	p.searches[key] = s
}

// probe returns the first usable server and the number of its probe, counted from 0, beginning with probe number next.
func probe(table []*Server, key, slot, next uint32) (*Server, uint32) {
	size := uint32(len(table))
	for ; next < size; next++ {
		d := table[hsiphash(key+(slot+next)%size, mhKeyOffset)%size]
		if d.usable() {
			return d, next
		}
	}
	return nil, size
}
