package sim

import (
	"net/netip"
	"time"

	"github.com/golvs/lvs/persist"
	"github.com/golvs/lvs/sched"
)

// Flags of a service, with the kernel's values.
type Flags uint32

// Flags that this package acts on. Others are kept.
const (
	Persistent Flags = 0x0001
	OnePacket  Flags = 0x0004 // schedule each UDP packet by itself
	Fallback   Flags = 0x0008 // of sh and mh, see [sched.Fallback]
	Port       Flags = 0x0010 // of sh and mh, see [sched.Port]
)

// Service is the configuration of a virtual service.
type Service struct {
	ID ServiceID

	// Scheduler is one of [sched.Names], or "none".
	Scheduler string

	Flags Flags

	// Timeout is how long a persistent client stays with its server after its last new connection; whole seconds. The
	// kernel has no default.
	Timeout time.Duration

	// Mask tells persistent clients apart, see [persist.Service]; the zero value is the whole address.
	Mask netip.Addr

	// Engine is the persistence engine, "sip" or empty for none.
	Engine string
}

// service is a virtual service in the table.
type service struct {
	Service
	sched   *sched.Scheduler
	persist persist.Service
	port    uint16 // 0 for a mark
	stats   stats
	refused uint64 // packets that found no destination

	clients  map[netip.Addr]memory // nil unless clients are remembered
	moved    int
	switches uint64
}

func (s *service) persistent() bool { return s.Flags&Persistent != 0 }

// configure takes over all but the identity and the scheduler.
func (s *service) configure(c Service) {
	c.ID, c.Scheduler = s.ID, s.Scheduler
	s.Service = c
	s.sched.SetFlags(sched.Flags(c.Flags) & (sched.Fallback | sched.Port))
	s.port = s.ID.Addr.Port()
	s.persist = persist.Service{Virtual: s.ID.Addr, Mark: s.ID.Mark, Mask: c.Mask, Timeout: c.Timeout, Engine: c.Engine}
}

func (s *service) family() sched.Family {
	if s.ID.is6() {
		return sched.IPv6
	}
	return sched.IPv4
}

// dests walks the destinations in the kernel's order.
func (s *service) dests(yield func(*dest) bool) {
	for server := range s.sched.Servers() {
		if !yield(server.Data.(*dest)) {
			return
		}
	}
}
