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
//
// As JSON it loses nothing, and its field names stay as they are:
//
//	{
//	  "services": [{
//	    "id": "TCP 192.0.2.1:80", "scheduler": "wlc", "flags": "persistent", "timeout": 300000000000, "netmask": "255.255.255.255",
//	    "destinations": [{"addr": "10.0.0.2:8080", "forward": "Route", "weight": 1}]
//	  }],
//	  "timeouts": {"tcp": 900000000000, "tcpFin": 120000000000, "udp": 300000000000},
//	  "daemons": [{"state": "master", "interface": "eth0", "syncID": 1}]
//	}
//
// Times are in nanoseconds, null is a nil part, and fields that are zero may be left out. Package ipvsadm writes and reads
// rules as text.
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
	err := c.SnapshotInto(ctx, &s)
	return s, err
}

// SnapshotInto reads the whole table as [Client.Snapshot] does, into the memory of an earlier picture: a program that
// looks at its table again and again then allocates nothing for the services and destinations that the last picture had.
// Lists that were taken from the earlier picture change; s is empty after an error. Services may have been taken out of the
// earlier picture or moved in it, but no two of them may share a list of destinations.
func (c *Client) SnapshotInto(ctx context.Context, s *Snapshot) error {
	// An exchange that was left behind may still write to what it has. What lies behind the end of the list is not used:
	// who takes services out in place leaves some there whose destinations others have now.
	read := &Snapshot{Services: s.Services[:0:len(s.Services)]}
	*s = Snapshot{}
	if err := c.exchange(ctx, func(l *link) error { return c.snapshot(ctx, l, read) }); err != nil {
		return (&operation{name: "read the table", cmd: cmdGetService}).fail(err)
	}
	*s = *read
	return nil
}

// Sizes of the receive buffer, and so of the parts, of one list after the other; the kernel makes parts of up to 32,448
// bytes. A service that is close to the end of a part in one list is not in the next ones.
var listSizes = [...]int{receiveSize, 27 << 10, 23 << 10, 19 << 10, 16 << 10, 13 << 10, 11 << 10}

// snapshot reads the services until a list is known to be whole, with the destinations between two lists.
func (c *Client) snapshot(ctx context.Context, l *link, s *Snapshot) (err error) {
	if s.Services == nil {
		s.Services = []ServiceSnapshot{}
	}
	index := make(map[ServiceID]int, cap(s.Services))
	var (
		arena arena
		seen  = make([]int, 0, cap(s.Services)) // number of the last list that had a service
		done  int                               // services whose destinations were read
		read  ServiceStatus
	)
	for try := 1; ; try++ {
		agreed := try > 1
		count, at := 0, 0
		lister, giveBack := l, func() {}
		if size := listSizes[try-1]; size != receiveSize {
			if lister, giveBack, err = c.another(ctx, size); err != nil {
				return err
			}
		}
		err := lister.request(&request{cmd: cmdGetService, flags: flagDump, reply: func(b []byte) error {
			if err := decodeService(b, &read); err != nil {
				return err
			}
			// A table that nobody changes is always listed in one order.
			i, known := at, at < len(s.Services) && s.Services[at].ID == read.ID
			at++
			if !known {
				i, known = index[read.ID]
			}
			if !known {
				i = len(s.Services)
				index[read.ID] = i
				s.Services = oneMore(s.Services)
				seen = append(seen, 0)
				agreed = false
			}
			have := &s.Services[i]
			if seen[i] != try {
				count++
			}
			// A service that was deleted and added again, or edited, may have other destinations.
			if known && read.Service != have.Service {
				agreed = false
			}
			seen[i] = try
			have.ServiceStatus = read
			return nil
		}})
		giveBack()
		if err != nil {
			return err
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
				return err
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
				return err
			}
			if err := c.wholeList(ctx, l, &s.Services[done], &arena); err != nil {
				return err
			}
		}
	}
	// Services that came with the last list.
	for ; done < len(s.Services); done++ {
		if err := c.wholeList(ctx, l, &s.Services[done], &arena); err != nil {
			return err
		}
	}
	if s.Timeouts, err = l.timeouts(); err != nil {
		return err
	}
	s.Daemons, err = l.daemons()
	return err
}

// oneMore makes the list longer by one service, with the memory of the one that was there in an earlier picture.
func oneMore(list []ServiceSnapshot) []ServiceSnapshot {
	if n := len(list); n < cap(list) {
		list = list[:n+1]
		list[n] = ServiceSnapshot{Destinations: list[n].Destinations[:0]}
		return list
	}
	return append(list, ServiceSnapshot{})
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
func (c *Client) wholeList(ctx context.Context, l *link, s *ServiceSnapshot, a *arena) error {
	id := s.ID
	a.begin(s.Destinations)
	if err := l.listDestinations(id, a); err != nil {
		return err
	}
	if l.parts <= 1 {
		s.Destinations = a.end()
		return nil
	}
	type place struct{ at, pass int }
	index := make(map[netip.AddrPort]place, len(a.list))
	distinct := 0 // of the last list
	for pass, size := range listSizes {
		before := distinct
		from := 0
		if pass > 0 {
			from = len(a.list)
			lister, giveBack, err := c.another(ctx, size)
			if err != nil {
				return err
			}
			err = lister.listDestinations(id, a)
			giveBack()
			if err != nil {
				return err
			}
		}
		distinct = 0
		n := from
		for i := from; i < len(a.list); i++ {
			d := &a.list[i]
			p, known := index[d.Addr]
			if !known {
				p = place{n, -1}
				n++
			}
			if p.pass != pass {
				distinct++
			}
			index[d.Addr] = place{p.at, pass}
			a.list[p.at] = *d
		}
		a.list = a.list[:n]
		if pass > 0 && distinct == before && distinct == n {
			break
		}
	}
	s.Destinations = a.end()
	return nil
}

// listDestinations adds the destinations of a service to the list.
func (l *link) listDestinations(id ServiceID, a *arena) error {
	return l.request(&request{
		cmd: cmdGetDest, flags: flagDump, dests: a, family: id.AddrFamily(),
		attrs: func(b []byte) []byte { return appendServiceID(b, id) },
	})
}

// validateServices finds what is not well formed, or there twice. It names the place.
func (r *Ruleset) validateServices() error {
	seen := make(map[ServiceID]struct{}, len(r.Services))
	for i := range r.Services {
		s := &r.Services[i]
		c, err := s.Service.canonical(true)
		if err != nil {
			return prefixField(fmt.Sprintf("Services[%d]", i), err)
		}
		if seen[c.ID] = struct{}{}; len(seen) <= i {
			return fieldErrorf(fmt.Sprintf("Services[%d].ID", i), "%v is there twice", c.ID)
		}
		if j, err := s.validate(c.ID.AddrFamily()); err != nil {
			return prefixField(fmt.Sprintf("Services[%d].Destinations[%d]", i, j), err)
		}
	}
	return nil
}

// validateRest is validateServices for everything else.
func (r *Ruleset) validateRest() error {
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

// validate finds the first destination that is not well formed, or there twice.
func (s *ServiceRules) validate(family Family) (place int, err error) {
	var seen map[netip.AddrPort]bool
	if len(s.Destinations) > shortList {
		seen = make(map[netip.AddrPort]bool, len(s.Destinations))
	}
	for i := range s.Destinations {
		addr, err := s.Destinations[i].checked(family)
		if err != nil {
			return i, err
		}
		twice := false
		if seen != nil {
			seen[addr] = true
			twice = len(seen) <= i
		} else {
			for j := range s.Destinations[:i] {
				if d := s.Destinations[j].Addr; d == addr || d.Addr().Is4In6() && canonicalEqual(d, addr) {
					twice = true
				}
			}
		}
		if twice {
			return i, fieldErrorf("Addr", "%v is there twice", addr)
		}
	}
	return 0, nil
}

// canonicalEqual reports whether an address is another one in canonical form.
func canonicalEqual(a, canonical netip.AddrPort) bool {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) == canonical
}
