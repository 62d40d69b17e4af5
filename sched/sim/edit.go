package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/persist"
	"github.com/golvs/lvs/sched"
)

// checkService is in the kernel's order.
func (d *Director) checkService(c *Service) error {
	switch p := (persist.Service{Mask: c.Mask}); {
	case c.ID.Mark == 0 && (!c.ID.Addr.Addr().IsValid() || c.ID.Addr.Addr().Zone() != ""):
		return fmt.Errorf("%w: address %v", ErrInvalid, c.ID.Addr)
	case c.Scheduler != sched.None && !slices.Contains(sched.Names(), c.Scheduler), c.Scheduler == "twos" && d.config.Rand == nil:
		return fmt.Errorf("%w %q", ErrScheduler, c.Scheduler)
	case c.Engine != "" && c.Engine != persist.EngineSIP:
		return fmt.Errorf("%w %q", ErrEngine, c.Engine)
	case c.Timeout < 0 || c.Timeout%time.Second != 0:
		return fmt.Errorf("%w: timeout %v", ErrInvalid, c.Timeout)
	case c.ID.is6() && p.Check() != nil, c.Mask.IsValid() && c.Mask.Is6() != c.ID.is6():
		return fmt.Errorf("%w: mask %v", ErrInvalid, c.Mask)
	}
	return nil
}

// AddService adds a virtual service without destinations.
//
// The error matches ErrServiceExists, ErrScheduler, ErrEngine or ErrInvalid.
func (d *Director) AddService(c Service) error {
	c.ID = c.ID.canonical()
	if d.services[c.ID] != nil {
		return &Error{"add service", c.ID.String(), ErrServiceExists}
	}
	if err := d.checkService(&c); err != nil {
		return &Error{"add service", c.ID.String(), err}
	}
	s := &service{Service: Service{ID: c.ID, Scheduler: c.Scheduler}}
	var err error
	s.sched, err = sched.New(c.Scheduler, sched.Config{Family: s.family(), Rand: d.config.Rand, Now: d.now})
	if err != nil {
		return &Error{"add service", c.ID.String(), err}
	}
	s.configure(c)
	d.setCacheExpiration(s)
	if d.config.RememberClients {
		s.clients = make(map[netip.Addr]memory)
	}
	d.services[c.ID] = s
	d.order = append(d.order, s)
	d.count(s, 1)
	return nil
}

// count keeps the numbers of services that catch the packets of others.
func (d *Director) count(s *service, n int) {
	switch {
	case s.ID.Mark != 0:
	case s.port == 0:
		d.anyPort += n
	case s.port == ftpPort:
		d.ftp += n
	}
}

// SetService changes a service; its destinations, connections and templates are not touched. Another scheduler starts from
// scratch, the same one goes on.
//
// The error matches ErrNoService, ErrScheduler, ErrEngine or ErrInvalid; it is sched.ErrTooManyServers if there are too
// many destinations for mh.
func (d *Director) SetService(c Service) error {
	c.ID = c.ID.canonical()
	s := d.services[c.ID]
	if s == nil {
		return &Error{"set service", c.ID.String(), ErrNoService}
	}
	if err := d.checkService(&c); err != nil {
		return &Error{"set service", c.ID.String(), err}
	}
	s.sched.Advance(d.now)
	if err := s.sched.Switch(c.Scheduler); err != nil {
		return &Error{"set service", c.ID.String(), err}
	}
	s.Scheduler = c.Scheduler
	s.configure(c)
	d.setCacheExpiration(s)
	return nil
}

// DeleteService removes a service and its destinations; connections and templates stay.
//
// The error matches ErrNoService.
func (d *Director) DeleteService(id ServiceID) error {
	id = id.canonical()
	s := d.services[id]
	if s == nil {
		return &Error{"delete service", id.String(), ErrNoService}
	}
	d.deleteService(s)
	d.end()
	return nil
}

func (d *Director) deleteService(s *service) {
	list := slices.Collect(s.dests)
	// Without a scheduler nothing refers to the destinations but connections and templates. It cannot fail.
	_ = s.sched.Switch(sched.None)
	for _, t := range list {
		d.discard(t)
	}
	delete(d.services, s.ID)
	d.order = slices.DeleteFunc(d.order, func(o *service) bool { return o == s })
	d.count(s, -1)
}

// Clear removes all services; connections and templates stay.
func (d *Director) Clear() {
	for _, s := range slices.Clone(d.order) {
		d.deleteService(s)
	}
	d.end()
}

// AddDest adds a destination to a service, at the head of its list. If the trash holds the one that was removed before, that
// one comes back, with its connections, templates and counters.
//
// The error matches ErrNoService, ErrDestExists, ErrRange or ErrInvalid.
func (d *Director) AddDest(id ServiceID, c Dest) error {
	id, c.Addr = id.canonical(), unmap(c.Addr)
	fail := func(err error) error { return &Error{"add destination", id.String() + " " + c.Addr.String(), err} }
	s := d.services[id]
	if s == nil {
		return fail(ErrNoService)
	}
	if err := c.check(s); err != nil {
		return fail(err)
	}
	if s.sched.Find(c.Addr) != nil {
		return fail(ErrDestExists)
	}
	if i := slices.IndexFunc(d.trash, func(t *dest) bool { return t.Dest.Addr == c.Addr && t.svc.ID.sharesTrash(id) }); i >= 0 {
		t := d.trash[i]
		if err := s.sched.Restore(t.server, c.settings()); err != nil {
			return fail(err)
		}
		d.trash = slices.Delete(d.trash, i, i+1)
		if t.svc != s {
			t.stats.zero()
			t.opened, t.peak = 0, 0
		}
		t.Dest, t.svc = c, s
		return nil
	}
	if !unicast(c.Addr.Addr()) {
		return fail(fmt.Errorf("%w: %v is no address of a real server", ErrInvalid, c.Addr.Addr()))
	}
	server, err := s.sched.Add(c.Addr, c.settings())
	if err != nil {
		return fail(err)
	}
	server.Data = &dest{Dest: c, server: server, svc: s}
	return nil
}

// SetDest changes a destination; connections keep their method, and templates stay.
//
// The error matches ErrNoService, ErrNoDest, ErrRange or ErrInvalid.
func (d *Director) SetDest(id ServiceID, c Dest) error {
	id, c.Addr = id.canonical(), unmap(c.Addr)
	t, err := d.dest(id, c.Addr)
	if errors.Is(err, ErrNoService) {
		return &Error{"set destination", id.String() + " " + c.Addr.String(), err}
	}
	if bad := c.check(d.services[id]); bad != nil {
		err = bad
	}
	if err == nil {
		err = d.services[id].sched.Update(t.server, c.settings())
	}
	if err != nil {
		return &Error{"set destination", id.String() + " " + c.Addr.String(), err}
	}
	t.Dest = c
	return nil
}

// SetWeight changes nothing but the weight of a destination; 0 quiesces it.
//
// The error matches ErrNoService, ErrNoDest or ErrRange.
func (d *Director) SetWeight(id ServiceID, addr netip.AddrPort, weight uint32) error {
	t, err := d.dest(id.canonical(), unmap(addr))
	if err != nil {
		return &Error{"set weight", id.String() + " " + addr.String(), err}
	}
	c := t.Dest
	c.Weight = weight
	return d.SetDest(id, c)
}

// DeleteDest removes a destination. Its connections stay, and their packets are dropped until it is added again; under the
// sysctl expire_nodest_conn they go at once.
//
// The error matches ErrNoService or ErrNoDest.
func (d *Director) DeleteDest(id ServiceID, addr netip.AddrPort) error {
	id, addr = id.canonical(), unmap(addr)
	t, err := d.dest(id, addr)
	if err != nil {
		return &Error{"delete destination", id.String() + " " + addr.String(), err}
	}
	d.discard(t)
	d.end()
	return nil
}

func (d *Director) dest(id ServiceID, addr netip.AddrPort) (*dest, error) {
	s := d.services[id]
	if s == nil {
		return nil, ErrNoService
	}
	server := s.sched.Find(addr)
	if server == nil {
		return nil, ErrNoDest
	}
	return server.Data.(*dest), nil
}

// discard moves a destination to the trash.
func (d *Director) discard(t *dest) {
	// It is in the list, so that removing it cannot fail.
	_ = t.svc.sched.Remove(t.server)
	t.idle = false
	if len(d.trash) == 0 {
		d.look = d.now + trashLook
		d.next = min(d.next, d.look)
	}
	d.trash = append(d.trash, t)
	d.flush = d.flush || d.sysctls.expireNodestConn != 0
}

// lookAtTrash lets go of what nothing has referred to for long enough.
func (d *Director) lookAtTrash() {
	for _, s := range d.order {
		s.sched.Advance(d.now) // caches drop servers
	}
	d.trash = slices.DeleteFunc(d.trash, func(t *dest) bool {
		switch {
		case t.inUse():
			return false
		case !t.idle:
			t.idle, t.since = true, d.now
			return false
		}
		return d.now-t.since >= trashKeep
	})
	d.look = never
	if len(d.trash) > 0 {
		d.look = d.now + trashLook
	}
}

// Zero clears the visible statistics of a service and its destinations.
//
// The error matches ErrNoService.
func (d *Director) Zero(id ServiceID) error {
	s := d.services[id.canonical()]
	if s == nil {
		return &Error{"zero", id.String(), ErrNoService}
	}
	s.zero()
	return nil
}

func (s *service) zero() {
	s.stats.zero()
	s.dests(func(t *dest) bool { t.stats.zero(); return true })
}

// ZeroAll clears the visible statistics of everything.
func (d *Director) ZeroAll() {
	d.total.zero()
	for _, s := range d.order {
		s.zero()
	}
}
