package sched

import (
	"fmt"
	"iter"
	"net/netip"
	"time"
)

// Config says what a scheduler needs besides its servers. The zero value suits everything but twos.
type Config struct {
	// Flags of the virtual service, read by sh and mh.
	Flags Flags

	// Family of the virtual service, read by mh; see [AnyFamily] for the zero value.
	Family Family

	// Rand returns uniformly distributed numbers. Only twos draws any, and requires it.
	Rand func() uint32

	// Now is the virtual time at which the scheduler is made. The timer of lblc and lblcr, which drops old cache
	// entries every 30th time that it runs, runs every 61.44 seconds from then. The kernel's first run can come up to
	// 1.5 seconds earlier or, with 250 ticks a second, 0.7 seconds later, as its clock happens to stand.
	Now time.Duration

	// CacheExpiration is the sysctl lblc_expiration or lblcr_expiration; 0 means its default of 24 hours.
	// [Scheduler.SetCacheExpiration] changes it.
	CacheExpiration time.Duration

	// HZ is the number of kernel clock ticks per second, in which lblc and lblcr count time; 0 means 250.
	HZ int

	// SHTableBits is the size of the table of sh, a build option of the kernel: 2^4 to 2^20 slots, 0 means the
	// default of 8, that is 256 slots.
	SHTableBits int

	// MHTableIndex is the size of the table of mh, a build option of the kernel: 8 to 17 for the largest prime
	// below 2^8 to 2^17, 0 means the default of 12, that is 4093 slots.
	MHTableIndex int

	// LegacyCounters models kernels without a counter of all connections of a server, older than those this
	// package was compared with: an active connection weighs 256 inactive ones instead of 257, and thresholds
	// are looked at whenever a connection comes or goes. These rules were not observed on a running kernel.
	LegacyCounters bool
}

const (
	defaultHZ              = 250
	defaultCacheExpiration = 24 * time.Hour
	defaultSHTableBits     = 8
	defaultMHTableIndex    = 12
)

// complete fills in defaults and checks ranges.
func (c Config) complete() (Config, error) {
	if c.HZ == 0 {
		c.HZ = defaultHZ
	}
	if c.CacheExpiration == 0 {
		c.CacheExpiration = defaultCacheExpiration
	}
	if c.SHTableBits == 0 {
		c.SHTableBits = defaultSHTableBits
	}
	if c.MHTableIndex == 0 {
		c.MHTableIndex = defaultMHTableIndex
	}
	switch {
	case c.HZ < 1 || c.HZ > 1000:
		return c, fmt.Errorf("%w: HZ %d is not in 1 to 1000", ErrConfig, c.HZ)
	case c.SHTableBits < 4 || c.SHTableBits > 20:
		return c, fmt.Errorf("%w: SHTableBits %d is not in 4 to 20", ErrConfig, c.SHTableBits)
	case c.MHTableIndex < 8 || c.MHTableIndex > 17:
		return c, fmt.Errorf("%w: MHTableIndex %d is not in 8 to 17", ErrConfig, c.MHTableIndex)
	}
	return c, nil
}

// Scheduler is the scheduler of one virtual service with its list of servers. [New] makes one. It is not safe
// for concurrent use, and calls in the same order with the same arguments give the same answers.
type Scheduler struct {
	list   list
	config Config
	now    time.Duration
	name   string
	algo   algorithm
	byAddr map[netip.AddrPort]*Server
}

// algorithm is what the kernel asks of a scheduler, and two calls that keep an index up to date. The methods are
// called after the list changed.
type algorithm interface {
	bind() error     // the list may hold servers already
	added(*Server)   // the new head of the list
	removed(*Server) // its slot is still known, and empty
	updated(*Server) // its settings; a call that repeats them counts, too
	counted(*Server) // its counters or its overload state, nothing else
	renumbered()     // servers got new slots, their order is the same
	// pick returns nil if no destination is available. It gets the parts of a Flow, which as a whole would be copied through
	// memory once more.
	pick(client netip.AddrPort, dest netip.Addr, now time.Duration) *Server
}

// newAlgorithm returns nil for a name it does not know.
func (s *Scheduler) newAlgorithm(name string) algorithm {
	switch name {
	case "rr":
		return &rr{list: &s.list}
	case "wrr":
		return &wrr{list: &s.list}
	case "lc":
		return newLC(&s.list)
	case "wlc":
		return newWLC(&s.list)
	case "lblc":
		return &lblc{newLocality(s)}
	case "lblcr":
		return &lblcr{newLocality(s)}
	case "dh":
		return &dh{list: &s.list}
	case "sh":
		return &sh{list: &s.list, config: &s.config}
	case "sed":
		return newSED(&s.list)
	case "nq":
		return newNQ(&s.list)
	case "fo":
		return newFO(&s.list)
	case "ovf":
		return newOVF(&s.list)
	case "mh":
		return &mh{list: &s.list, config: &s.config}
	case "twos":
		return &twos{list: &s.list, rand: s.config.Rand}
	case None:
		return none{}
	}
	return nil
}

// None is the name of the scheduler that never picks a server, the kernel's state of a service without one.
// [New] and [Scheduler.Switch] accept it, [Names] does not list it.
const None = "none"

// Names returns the names of the schedulers, in the order that ipvsadm(8) documents them.
func Names() []string {
	return []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}
}

// New makes a scheduler by the name that ipvsadm -s takes, see [Names].
//
// The error matches ErrUnknownScheduler for any other name and ErrConfig for a field out of range.
func New(name string, c Config) (*Scheduler, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("sched: new %q: %w", name, err)
	}
	s := &Scheduler{config: c, now: c.Now, byAddr: make(map[netip.AddrPort]*Server)}
	s.algo = none{}
	if err := s.replace(name); err != nil {
		return nil, fmt.Errorf("sched: new %q: %w", name, err)
	}
	return s, nil
}

// Name returns the name of the current scheduler.
func (s *Scheduler) Name() string { return s.name }

// Flags returns the flags of the service.
func (s *Scheduler) Flags() Flags { return s.config.Flags }

// SetFlags changes the flags of the service from the next pick on. Nothing else is touched.
func (s *Scheduler) SetFlags(f Flags) { s.config.Flags = f }

// Switch replaces the scheduler and keeps the servers with their counters, as editing the service does. The state
// of the old scheduler (cursor, table, cache) is gone; asking for the current name changes nothing.
//
// The error matches ErrUnknownScheduler, ErrConfig for twos without Config.Rand, and ErrTooManyServers for mh; the
// last one starts the old scheduler from scratch, the others leave it alone.
func (s *Scheduler) Switch(name string) error {
	if name == s.name {
		return nil
	}
	if err := s.replace(name); err != nil {
		return fmt.Errorf("sched: switch to %q: %w", name, err)
	}
	return nil
}

func (s *Scheduler) replace(name string) error {
	algo := s.newAlgorithm(name)
	if algo == nil {
		return ErrUnknownScheduler
	}
	if name == "twos" && s.config.Rand == nil {
		return fmt.Errorf("%w: twos needs Rand", ErrConfig)
	}
	s.release()
	err := algo.bind()
	if err != nil {
		name, algo = s.name, s.newAlgorithm(s.name)
		// It fails only for mh with too many servers, and then leaves the table empty.
		_ = algo.bind()
	}
	s.name, s.algo = name, algo
	return err
}

// release gives up what the old scheduler holds on to.
func (s *Scheduler) release() {
	if c, ok := s.algo.(interface{ release() }); ok {
		c.release()
	}
}

// Add puts a new server at the head of the list. The address and the port identify it; an IPv4-mapped address
// counts as IPv4.
//
// The error matches ErrAddress, ErrWeight, ErrThreshold, or ErrDuplicateServer if the address and port are taken.
func (s *Scheduler) Add(addr netip.AddrPort, c Settings) (*Server, error) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	d := &Server{addr: addr}
	err := s.insert(d, c)
	if err != nil {
		return nil, fmt.Errorf("sched: add %v: %w", addr, err)
	}
	return d, nil
}

// Restore puts a removed server back, at the head of the list and with the counters it has now. The kernel
// does so when a destination is added again whose removed predecessor it still holds; see [Server.Cached].
// The scheduler need not be the one that the server was removed from.
//
// The error matches ErrUnknownServer for nil, ErrDuplicateServer if the server or its address is in a list
// already, ErrWeight and ErrThreshold.
func (s *Scheduler) Restore(d *Server, c Settings) error {
	if d == nil {
		return fmt.Errorf("sched: restore: %w", ErrUnknownServer)
	}
	if err := s.insert(d, c); err != nil {
		return fmt.Errorf("sched: restore %v: %w", d.addr, err)
	}
	return nil
}

func (s *Scheduler) insert(d *Server, c Settings) error {
	if err := c.check(); err != nil {
		return err
	}
	if !d.addr.IsValid() || d.addr.Addr().Zone() != "" {
		return ErrAddress
	}
	if d.in != nil || s.byAddr[d.addr] != nil {
		return ErrDuplicateServer
	}
	s.byAddr[d.addr] = d
	s.list.insert(d)
	d.in = s
	d.limit.legacy = s.config.LegacyCounters
	d.lastWeight = c.Weight
	d.set(c)
	s.algo.added(d)
	return nil
}

// Update changes weight and thresholds of a server. Connections and the place in the list stay.
//
// The error matches ErrUnknownServer, ErrWeight or ErrThreshold, and then nothing changed.
func (s *Scheduler) Update(d *Server, c Settings) error {
	if d == nil || d.in != s {
		return fmt.Errorf("sched: update: %w", ErrUnknownServer)
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("sched: update %v: %w", d.addr, err)
	}
	if c.Weight != 0 {
		d.lastWeight = c.Weight
	}
	d.set(c)
	s.algo.updated(d)
	return nil
}

func (d *Server) set(c Settings) {
	d.weight = c.Weight
	d.limit.set(int32(c.Upper), int32(c.Lower), d.total)
}

// Remove takes a server out of the list. Its connections go on being counted, see [Scheduler.Restore].
//
// The error matches ErrUnknownServer.
func (s *Scheduler) Remove(d *Server) error {
	if d == nil || d.in != s {
		return fmt.Errorf("sched: remove: %w", ErrUnknownServer)
	}
	delete(s.byAddr, d.addr)
	s.list.unlink(d)
	d.in = nil
	s.algo.removed(d)
	if s.list.compact() {
		s.algo.renumbered()
	}
	return nil
}

// Find returns the server in the list with this address and port, nil if there is none.
func (s *Scheduler) Find(addr netip.AddrPort) *Server {
	return s.byAddr[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())]
}

// Len returns the number of servers in the list.
func (s *Scheduler) Len() int { return s.list.n }

// Servers walks the list in the kernel's order, the server added last first. The list must not change meanwhile.
func (s *Scheduler) Servers() iter.Seq[*Server] { return s.list.all() }

// Pick chooses the server for a new connection, or nil if none is available; the kernel then answers with port
// unreachable, in most cases. Picking does not count the connection: the caller goes on with [Server.Open].
//
// Now is the virtual time since any fixed moment. It matters to lblc and lblcr only, and does not run backwards:
// an earlier time than that of a former call counts as that time.
func (s *Scheduler) Pick(f Flow, now time.Duration) *Server {
	s.now = max(s.now, now)
	return s.algo.pick(f.Client, f.Destination, s.now)
}

// Advance lets the timer of lblc and lblcr run up to now. Pick does that, too; calling Advance makes a difference
// only to [Server.Cached], and to what [Scheduler.Switch] and [Scheduler.SetCacheExpiration] take for the present.
func (s *Scheduler) Advance(now time.Duration) {
	s.now = max(s.now, now)
	if c, ok := s.algo.(interface{ advance(time.Duration) }); ok {
		c.advance(s.now)
	}
}

// SetCacheExpiration changes the sysctl lblc_expiration or lblcr_expiration: how long an unused entry of the cache
// stays at least, and how long a server set of lblcr must be stable before it loses a server. The kernel takes
// whole seconds. Here 0 means no time at all. What was due before is not undone by it if [Scheduler.Advance] comes
// first.
func (s *Scheduler) SetCacheExpiration(d time.Duration) { s.config.CacheExpiration = d }
