package ipvs

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// ServiceRules is a virtual service with its destinations.
type ServiceRules struct {
	Service
	Destinations []Destination `json:"destinations"`
}

// Ruleset is the configuration of a director: what can be written back. A part that is nil means "leave alone" to
// [Diff] and [Client.Apply]; an empty list that is not nil means none.
type Ruleset struct {
	Services []ServiceRules `json:"services"`
	Timeouts *Timeouts      `json:"timeouts,omitempty"`
	Daemons  []Daemon       `json:"daemons"`
}

// Equal reports whether two rulesets mean the same: the order of services, destinations and daemons does not matter, nor
// does it whether a default is written out.
func (r Ruleset) Equal(other Ruleset) bool { return r.equal(other, false) }

// EqualOrder is [Ruleset.Equal] for which the order matters too, as it does to schedulers. The first destination of a
// list is the last one that was added.
func (r Ruleset) EqualOrder(other Ruleset) bool { return r.equal(other, true) }

func (r Ruleset) equal(other Ruleset, order bool) bool {
	a, b := r.normal(!order), other.normal(!order)
	if (a.Services == nil) != (b.Services == nil) || (a.Daemons == nil) != (b.Daemons == nil) || (a.Timeouts == nil) != (b.Timeouts == nil) {
		return false
	}
	if a.Timeouts != nil && *a.Timeouts != *b.Timeouts {
		return false
	}
	// A daemon's packet size that is left to the kernel may be any.
	sameDaemon := func(x, y Daemon) bool { return x.fits(y) || y.fits(x) }
	return slices.EqualFunc(a.Daemons, b.Daemons, sameDaemon) && slices.EqualFunc(a.Services, b.Services, func(x, y ServiceRules) bool {
		return x.Service == y.Service && slices.Equal(x.Destinations, y.Destinations)
	})
}

// normal returns a copy in which defaults are written out and, if asked for, lists are sorted. What is not well formed
// is left as it is.
func (r Ruleset) normal(sorted bool) Ruleset {
	n := Ruleset{Timeouts: r.Timeouts, Daemons: slices.Clone(r.Daemons), Services: slices.Clone(r.Services)}
	for i := range n.Services {
		s := &n.Services[i]
		if c, err := s.Service.canonical(false); err == nil {
			s.Service = c.effect(Service{})
		}
		s.Destinations = slices.Clone(s.Destinations)
		for j := range s.Destinations {
			if c, err := s.Destinations[j].canonical(s.ID.AddrFamily()); err == nil {
				s.Destinations[j] = c
			}
		}
		if sorted {
			slices.SortStableFunc(s.Destinations, func(a, b Destination) int { return a.Addr.Compare(b.Addr) })
		}
	}
	for i := range n.Daemons {
		if c, err := n.Daemons[i].canonical(); err == nil {
			n.Daemons[i] = c.withDefaults()
		}
	}
	if sorted {
		slices.SortStableFunc(n.Services, func(a, b ServiceRules) int { return a.ID.Compare(b.ID) })
		slices.SortStableFunc(n.Daemons, func(a, b Daemon) int { return cmp.Compare(a.State, b.State) })
	}
	return n
}

// withDefaults fills in the values of zero fields that do not depend on a device.
func (d Daemon) withDefaults() Daemon {
	if !d.Group.IsValid() {
		d.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	if d.Port == 0 {
		d.Port = 8848
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	return d
}

// Compare orders identities: services by address before those by mark; then by family, protocol, address, port and
// mark.
func (id ServiceID) Compare(other ServiceID) int {
	mark := func(id ServiceID) int {
		if id.IsMark() {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(mark(id), mark(other)),
		cmp.Compare(id.AddrFamily(), other.AddrFamily()),
		cmp.Compare(id.Protocol, other.Protocol),
		id.Addr.Compare(other.Addr),
		cmp.Compare(id.FWMark, other.FWMark),
	)
}

// ServiceSnapshot is a virtual service with its destinations and all counters.
type ServiceSnapshot struct {
	ServiceStatus
	Destinations []DestinationStatus `json:"destinations"`
}

// Snapshot is a picture of a namespace's table with all counters.
type Snapshot struct {
	Services []ServiceSnapshot `json:"services"` // in the kernel's order
	Timeouts Timeouts          `json:"timeouts"`
	Daemons  []Daemon          `json:"daemons"`

	// Agreed says that the services are those of one moment: their list came in one part, as up to some 90 do, or two
	// lists in a row were the same. It is false if other processes kept changing the table until the retries were used
	// up.
	Agreed bool `json:"agreed"`
}

// Ruleset returns the configuration in the picture.
func (s Snapshot) Ruleset() Ruleset {
	r := Ruleset{Services: make([]ServiceRules, len(s.Services)), Daemons: slices.Clone(s.Daemons)}
	if r.Daemons == nil {
		r.Daemons = []Daemon{}
	}
	t := s.Timeouts
	r.Timeouts = &t
	total := 0
	for i := range s.Services {
		total += len(s.Services[i].Destinations)
	}
	all := make([]Destination, 0, total)
	for i := range s.Services {
		from := len(all)
		for j := range s.Services[i].Destinations {
			all = append(all, s.Services[i].Destinations[j].Destination)
		}
		r.Services[i] = ServiceRules{s.Services[i].Service, all[from:len(all):len(all)]}
	}
	return r
}

// Ruleset returns the configuration of the namespace: the services with their destinations, the timeouts and the
// daemons, read as [Client.Snapshot] reads them.
func (c *Client) Ruleset(ctx context.Context) (Ruleset, error) {
	s, err := c.Snapshot(ctx)
	if err != nil {
		return Ruleset{}, err
	}
	return s.Ruleset(), nil
}

// Snapshot reads the whole table.
//
// The kernel itself has no consistent read: a list comes in parts, and what another process changes between two of them
// can make it miss objects that nobody touched, and have others twice. Snapshot reads the keys again until two lists
// agree, each time cut into other parts, puts together what it has seen, and asks for each service that is not in the
// last list whether it has gone. So a service or a destination that exists, unchanged, during the whole call is in the
// picture exactly once, unless each of seven lists missed it, each at another place; one that comes or goes during the
// call may be in it or not. Agreed says whether two lists agreed before the retries were used up. A client on a
// connection that was given to [NewClient] cannot cut its lists differently, and is weaker in this.
func (c *Client) Snapshot(ctx context.Context) (Snapshot, error) {
	var s Snapshot
	if err := c.exchange(ctx, func(l *link) (err error) {
		s, err = c.snapshot(ctx, l)
		return err
	}); err != nil {
		return Snapshot{}, (&operation{name: "read the table", cmd: cmdGetService}).fail(err)
	}
	return s, nil
}

// Sizes of the receive buffer, and so of the parts, of one list after the other; the kernel makes parts of up to 32,448
// bytes. A service that is close to the end of a part in one list is not in the next ones.
var listSizes = [...]int{receiveSize, 27 << 10, 23 << 10, 19 << 10, 16 << 10, 13 << 10, 11 << 10}

// snapshot reads the services until a list is known to be whole, with the destinations between two lists.
func (c *Client) snapshot(ctx context.Context, l *link) (s Snapshot, err error) {
	s.Services = []ServiceSnapshot{}
	index := make(map[ServiceID]int)
	var (
		arena arena
		seen  []int // number of the last list that had a service
		done  int   // services whose destinations were read
	)
	for try := 1; ; try++ {
		agreed := try > 1
		count := 0
		var read ServiceStatus
		lister, giveBack := l, func() {}
		if size := listSizes[try-1]; size != receiveSize {
			if lister, giveBack, err = c.another(ctx, size); err != nil {
				return s, err
			}
		}
		err := lister.request(&request{cmd: cmdGetService, flags: flagDump, reply: func(b []byte) error {
			if err := decodeService(b, &read); err != nil {
				return err
			}
			i, known := index[read.ID]
			if !known {
				i = len(s.Services)
				index[read.ID] = i
				s.Services = append(s.Services, ServiceSnapshot{})
				seen = append(seen, 0)
				agreed = false
			}
			if seen[i] != try {
				count++
			}
			// A service that was deleted and added again, or edited, may have other destinations.
			if known && read.Service != s.Services[i].Service {
				agreed = false
			}
			seen[i] = try
			s.Services[i].ServiceStatus = read
			return nil
		}})
		giveBack()
		if err != nil {
			return s, err
		}
		agreed = agreed && count == len(s.Services) || try == 1 && lister.parts <= 1
		// Ask for each one that the list does not have whether it has gone.
		gone := false
		for i := range s.Services {
			if seen[i] == try {
				continue
			}
			switch err := l.service(s.Services[i].ID, &s.Services[i].ServiceStatus); {
			case answered(err, eSRCH):
				gone = true
				seen[i] = -1
			case err != nil:
				return s, err
			}
		}
		if gone {
			s.Services, seen, done = prune(s.Services, seen, done)
			clear(index)
			for i := range s.Services {
				index[s.Services[i].ID] = i
			}
		}
		if agreed || try == len(listSizes) {
			s.Agreed = agreed
			break
		}
		for ; done < len(s.Services); done++ {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			id := s.Services[done].ID
			if s.Services[done].Destinations, err = c.wholeList(ctx, l, id, &arena); err != nil {
				return s, err
			}
		}
	}
	// Services that came with the last list.
	for ; done < len(s.Services); done++ {
		if s.Services[done].Destinations, err = c.wholeList(ctx, l, s.Services[done].ID, &arena); err != nil {
			return s, err
		}
	}
	if s.Timeouts, err = l.timeouts(); err != nil {
		return s, err
	}
	s.Daemons, err = l.daemons()
	return s, err
}

// prune takes out the services that have gone.
func prune(list []ServiceSnapshot, seen []int, done int) ([]ServiceSnapshot, []int, int) {
	n, kept := 0, 0
	for i := range list {
		if seen[i] < 0 {
			continue
		}
		if i < done {
			kept++
		}
		list[n], seen[n] = list[i], seen[i]
		n++
	}
	clear(list[n:])
	return list[:n], seen[:n], kept
}

// wholeList reads the destinations of a service that may be gone, which has none then. A list that comes in one datagram
// is one that the kernel had; a longer one is read until two agree, and what any of them had is in the result.
func (c *Client) wholeList(ctx context.Context, l *link, id ServiceID, a *arena) ([]DestinationStatus, error) {
	a.scratch = a.scratch[:0]
	read := func(l *link) error {
		family := id.AddrFamily()
		return l.request(&request{
			cmd: cmdGetDest, flags: flagDump,
			attrs: func(b []byte) []byte { return appendServiceID(b, id) },
			reply: func(b []byte) error {
				a.scratch = append(a.scratch, DestinationStatus{})
				return decodeDestination(b, family, &a.scratch[len(a.scratch)-1])
			},
		})
	}
	if err := read(l); err != nil {
		return nil, err
	}
	if l.parts <= 1 {
		return a.keep(), nil
	}
	type place struct{ at, pass int }
	index := make(map[netip.AddrPort]place, len(a.scratch))
	distinct := 0 // of the last list
	for pass, size := range listSizes {
		before := distinct
		from := 0
		if pass > 0 {
			from = len(a.scratch)
			lister, giveBack, err := c.another(ctx, size)
			if err != nil {
				return nil, err
			}
			err = read(lister)
			giveBack()
			if err != nil {
				return nil, err
			}
		}
		distinct = 0
		n := from
		for i := from; i < len(a.scratch); i++ {
			d := a.scratch[i]
			p, known := index[d.Addr]
			if !known {
				p = place{n, -1}
				n++
			}
			if p.pass != pass {
				distinct++
			}
			a.scratch[p.at] = d
			index[d.Addr] = place{p.at, pass}
		}
		a.scratch = a.scratch[:n]
		if pass > 0 && distinct == before && distinct == n {
			break
		}
	}
	return a.keep(), nil
}

// arena keeps the destinations of many services in few pieces of memory.
type arena struct {
	scratch []DestinationStatus // the list that is being read
	block   []DestinationStatus
}

// keep returns a copy of the list that was read.
func (a *arena) keep() []DestinationStatus {
	n := len(a.scratch)
	if n == 0 {
		return []DestinationStatus{}
	}
	if n > cap(a.block)-len(a.block) {
		a.block = make([]DestinationStatus, 0, max(n, 2048))
	}
	from := len(a.block)
	a.block = append(a.block, a.scratch...)
	return a.block[from:len(a.block):len(a.block)]
}

// validate finds what is not well formed, or there twice. It names the place.
func (r Ruleset) validate() error {
	services := make(map[ServiceID]bool, len(r.Services))
	dests := make(map[netip.AddrPort]bool)
	for i := range r.Services {
		s := &r.Services[i]
		c, err := s.Service.canonical(true)
		if err != nil {
			return prefixField(fmt.Sprintf("Services[%d]", i), err)
		}
		if services[c.ID] {
			return fieldErrorf(fmt.Sprintf("Services[%d].ID", i), "%v is there twice", c.ID)
		}
		services[c.ID] = true
		clear(dests)
		for j := range s.Destinations {
			d, err := s.Destinations[j].canonical(c.ID.AddrFamily())
			if err != nil {
				return prefixField(fmt.Sprintf("Services[%d].Destinations[%d]", i, j), err)
			}
			if dests[d.Addr] {
				return fieldErrorf(fmt.Sprintf("Services[%d].Destinations[%d].Addr", i, j), "%v is there twice", d.Addr)
			}
			dests[d.Addr] = true
		}
	}
	var states [3]bool
	for i := range r.Daemons {
		d, err := r.Daemons[i].canonical()
		if err != nil {
			return prefixField(fmt.Sprintf("Daemons[%d]", i), err)
		}
		if states[d.State] {
			return fieldErrorf(fmt.Sprintf("Daemons[%d].State", i), "%v is there twice", d.State)
		}
		states[d.State] = true
	}
	if r.Timeouts != nil {
		if _, err := r.Timeouts.seconds(); err != nil {
			return prefixField("Timeouts", err)
		}
	}
	return nil
}
