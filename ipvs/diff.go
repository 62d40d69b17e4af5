package ipvs

import (
	"math"
	"net/netip"
	"slices"
)

// DiffOptions restrict what [Diff] and [Client.Apply] change. The zero value, and a nil pointer to it, change whatever
// differs.
type DiffOptions struct {
	// Owned says which services the caller is responsible for; nil means all. Others are neither changed nor deleted,
	// and are refused among those that are wanted.
	Owned func(ServiceID) bool

	// KeepWeights leaves the weights of destinations that are there already as they are, for programs that leave them
	// to a health checker.
	KeepWeights bool

	// KeepExtra leaves services and destinations that are not wanted where they are.
	KeepExtra bool

	// Quiesce sets the weight of destinations that are not wanted to 0 instead of deleting them, so that their
	// connections go on, and so for all destinations of services that are not wanted; see [Client.Drain].
	Quiesce bool

	// KeepOrder brings the destinations into the wanted order too, which matters to schedulers. The kernel adds at the
	// head of its list only, so that this takes deleting and adding: for a moment a destination is not there, and a
	// packet of one of its connections that comes then is dropped.
	KeepOrder bool
}

// Diff returns the changes that make a table that is like have be like want: every attribute of every object is
// compared, what is equal is not touched, and what differs is edited rather than deleted and added. Parts of want that
// are nil are left alone. Both should be well formed; [Client.Apply] checks.
//
// The order is such that traffic is not refused on the way: first what is new is added and weights are raised, then
// weights are lowered and what is not wanted is deleted, so that a service that has destinations before and after is
// never without one, and its capacity never below the smaller of the two. There is one exception that the kernel leaves
// no way around: a service that is more specific than one that serves its packets so far is empty until its first
// destination is added.
func Diff(have, want Ruleset, opts *DiffOptions) []Change {
	if opts == nil {
		opts = &DiffOptions{}
	}
	changes, _ := diff(have, want, opts, false)
	return changes
}

// diff is Diff. With grace what is to be deleted is quiesced before; deletes is where deleting begins, and the end of the
// changes without grace or anything to delete.
func diff(have, want Ruleset, opts *DiffOptions, grace bool) (changes []Change, deletes int) {
	if want.mapped() {
		want = want.normal(false)
	}
	d := differ{opts: opts, grace: grace}
	if want.Timeouts != nil && (have.Timeouts == nil || !want.Timeouts.fits(*have.Timeouts)) {
		d.early = append(d.early, Change{Kind: TimeoutsSet, Timeouts: *want.Timeouts})
	}
	if want.Daemons != nil {
		d.daemons(have.Daemons, want.Daemons)
	}
	if want.Services != nil {
		d.services(have.Services, want.Services)
	}
	deletes = len(d.early) + len(d.add) + len(d.remove)
	if len(d.last) == 0 {
		deletes += len(d.late)
	}
	stages := [...][]Change{d.early, d.add, d.remove, d.last, d.late}
	only, filled := 0, 0
	for i := range stages {
		if len(stages[i]) > 0 {
			only = i
			filled++
		}
	}
	if filled <= 1 {
		return stages[only], deletes
	}
	return slices.Concat(stages[:]...), deletes
}

// matches reports whether [Diff] would find nothing to change, and that the services that are wanted are well formed. It
// may be wrong about a table that matches, and returns false then: what it saves is the time for those of which it is sure.
func (s *Snapshot) matches(want *Ruleset, opts *DiffOptions) bool {
	d := differ{opts: opts}
	if want.Daemons != nil {
		d.daemons(s.Daemons, want.Daemons)
	}
	if len(d.early)+len(d.late) > 0 || want.Timeouts != nil && !want.Timeouts.fits(s.Timeouts) {
		return false
	}
	if want.Services == nil {
		return true
	}
	var index map[ServiceID]int
	found := 0
	for i := range s.Services {
		have := &s.Services[i]
		j, ok := i, i < len(want.Services) && want.Services[i].ID == have.ID
		if !ok {
			if index == nil {
				index = make(map[ServiceID]int, len(want.Services))
				for k := range want.Services {
					index[want.Services[k].ID] = k
				}
			}
			j, ok = index[have.ID]
		}
		if !ok {
			if opts.KeepExtra || opts.Owned != nil && !opts.Owned(have.ID) {
				continue
			}
			return false
		}
		found++
		w := &want.Services[j]
		if !w.Service.leaves(&have.Service) || !sameDestinations(have.Destinations, w.Destinations, opts) {
			return false
		}
	}
	return found == len(want.Services)
}

// leaves reports whether a service is as it is wanted.
func (s *Service) leaves(have *Service) bool {
	usual := *s
	if !usual.Netmask.IsValid() && (have.Netmask == allOnes4 || have.Netmask == allOnes6) {
		usual.Netmask = have.Netmask
	}
	if usual == *have {
		return true
	}
	c, err := s.canonical(false)
	return err == nil && c.effect(*have) == *have
}

// sameDestinations reports whether two lists have the same destinations, each of which is once in either.
func sameDestinations(have []DestinationStatus, want []Destination, opts *DiffOptions) bool {
	if len(have) != len(want) {
		return false
	}
	var index map[netip.AddrPort]int
	for i := range have {
		// Most often the lists have the same order, or one is the other backwards.
		j := i
		if have[i].Addr != want[j].Addr {
			if opts.KeepOrder {
				return false
			}
			j = len(want) - 1 - i
		}
		switch {
		case have[i].Addr == want[j].Addr:
		case len(want) <= shortList:
			j = slices.IndexFunc(want, func(d Destination) bool { return d.Addr == have[i].Addr })
		default:
			if index == nil {
				index = make(map[netip.AddrPort]int, len(want))
				for k := range want {
					index[want[k].Addr] = k
				}
			}
			k, ok := index[have[i].Addr]
			if !ok {
				return false
			}
			j = k
		}
		if j < 0 {
			return false
		}
		w, h := &want[j], &have[i].Destination
		if *w == *h {
			continue
		}
		if !opts.KeepWeights || w.Weight > math.MaxInt32 {
			return false
		}
		kept := *w
		kept.Weight = h.Weight
		if kept != *h {
			return false
		}
	}
	return true
}

// differ collects changes for each of the stages that follow one another.
type differ struct {
	opts   *DiffOptions
	grace  bool
	early  []Change // stopping daemons, which do not go with destinations of another family
	add    []Change // what adds capacity
	remove []Change // what takes capacity away
	last   []Change // with grace, what deletes
	late   []Change // starting daemons
}

// fits reports whether the timeouts are as they are wanted: what is left zero may be anything.
func (t Timeouts) fits(have Timeouts) bool {
	return (t.TCP == 0 || t.TCP == have.TCP) && (t.TCPFin == 0 || t.TCPFin == have.TCPFin) && (t.UDP == 0 || t.UDP == have.UDP)
}

func (d *differ) daemons(have, want []Daemon) {
	for _, h := range have {
		i := slices.IndexFunc(want, func(w Daemon) bool { return w.State == h.State })
		if i < 0 || !want[i].fits(h) {
			d.early = append(d.early, Change{Kind: DaemonStop, Daemon: Daemon{State: h.State}})
		}
	}
	for _, w := range want {
		i := slices.IndexFunc(have, func(h Daemon) bool { return w.State == h.State })
		if i < 0 || !w.fits(have[i]) {
			d.late = append(d.late, Change{Kind: DaemonStart, Daemon: w})
		}
	}
}

// fits reports whether a running daemon is as it is wanted: what is left zero may be anything that the kernel chose.
func (d Daemon) fits(running Daemon) bool {
	if c, err := d.canonical(); err == nil {
		d = c.withDefaults()
	}
	if d.MaxLen == 0 {
		d.MaxLen = running.MaxLen
	}
	return d == running
}

// What is compared by walking through a list is at most this long; longer lists get an index.
const shortList = 16

func (d *differ) services(have, want []ServiceRules) {
	old := make(map[ServiceID]int, len(have))
	for i := range have {
		old[have[i].ID] = i
	}
	wanted := make([]bool, len(have))
	fresh := 0 // changes for what is not there at all
	for i := range want {
		if _, ok := old[want[i].ID]; !ok {
			fresh += 1 + len(want[i].Destinations)
		}
	}
	d.add = slices.Grow(d.add, fresh)
	for i := range want {
		w := &want[i]
		s := w.Service
		if c, err := s.canonical(false); err == nil {
			s = c
		}
		j, ok := old[s.ID]
		if !ok {
			d.add = append(d.add, Change{Kind: ServiceAdd, Service: s})
			for k := len(w.Destinations) - 1; k >= 0; k-- { // the kernel's list begins with the last one
				d.add = append(d.add, destinationChange(DestinationAdd, s.ID, w.Destinations[k]))
			}
			continue
		}
		wanted[j] = true
		if s.effect(have[j].Service) != have[j].Service {
			d.add = append(d.add, Change{Kind: ServiceSet, Service: s})
		}
		d.destinations(s.ID, have[j].Destinations, w.Destinations)
	}
	for j := range have {
		if wanted[j] || d.opts.KeepExtra || d.opts.Owned != nil && !d.opts.Owned(have[j].ID) {
			continue
		}
		if d.opts.Quiesce || d.grace {
			for _, h := range have[j].Destinations {
				d.quiesce(have[j].ID, h)
			}
		}
		if !d.opts.Quiesce {
			d.delete(Change{Kind: ServiceDelete, Service: Service{ID: have[j].ID}})
		}
	}
}

func (d *differ) quiesce(id ServiceID, h Destination) {
	if h.Weight != 0 {
		h.Weight = 0
		d.remove = append(d.remove, destinationChange(DestinationSet, id, h))
	}
}

func (d *differ) delete(c Change) {
	if d.grace {
		d.last = append(d.last, c)
	} else {
		d.remove = append(d.remove, c)
	}
}

func destinationChange(kind ChangeKind, id ServiceID, dest Destination) Change {
	return Change{Kind: kind, Service: Service{ID: id}, Destination: dest}
}

func (d *differ) destinations(id ServiceID, have, want []Destination) {
	find := func(list []Destination) func(netip.AddrPort) int {
		if len(list) <= shortList {
			return func(a netip.AddrPort) int {
				return slices.IndexFunc(list, func(d Destination) bool { return d.Addr == a })
			}
		}
		index := make(map[netip.AddrPort]int, len(list))
		for i := range list {
			index[list[i].Addr] = i
		}
		return func(a netip.AddrPort) int {
			if i, ok := index[a]; ok {
				return i
			}
			return -1
		}
	}
	reorder := d.opts.KeepOrder && !ordered(have, want, find(have))
	old := find(have)
	for k := len(want) - 1; k >= 0; k-- {
		w := want[k]
		i := old(w.Addr)
		if i < 0 {
			d.add = append(d.add, destinationChange(DestinationAdd, id, w))
			continue
		}
		h := have[i]
		if d.opts.KeepWeights {
			w.Weight = h.Weight
		}
		switch {
		case reorder:
			d.add = append(d.add,
				destinationChange(DestinationDelete, id, Destination{Addr: w.Addr}), destinationChange(DestinationAdd, id, w))
		case w == h:
		case w.Weight >= h.Weight:
			d.add = append(d.add, destinationChange(DestinationSet, id, w))
		default:
			d.remove = append(d.remove, destinationChange(DestinationSet, id, w))
		}
	}
	if d.opts.KeepExtra {
		return
	}
	wanted := find(want)
	for i := range have {
		h := have[i]
		if wanted(h.Addr) >= 0 {
			continue
		}
		if d.opts.Quiesce || d.grace {
			d.quiesce(id, h)
		}
		if !d.opts.Quiesce {
			d.delete(destinationChange(DestinationDelete, id, Destination{Addr: h.Addr}))
		}
	}
}

// ordered reports whether adding what is new, which comes to the head of the kernel's list, gives the wanted order.
func ordered(have, want []Destination, old func(netip.AddrPort) int) bool {
	last := -1
	for i := range want {
		switch j := old(want[i].Addr); {
		case j < 0 && last >= 0: // something new behind something old
			return false
		case j < 0:
		case j < last:
			return false
		default:
			last = j
		}
	}
	return true
}

// mapped reports whether a destination is written as an IPv4-mapped IPv6 address.
func (r *Ruleset) mapped() bool {
	for i := range r.Services {
		for j := range r.Services[i].Destinations {
			if r.Services[i].Destinations[j].Addr.Addr().Is4In6() {
				return true
			}
		}
	}
	return false
}
