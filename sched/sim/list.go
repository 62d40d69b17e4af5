package sim

import (
	"iter"
	"net/netip"
	"time"
)

// ServiceStatus is a service and what was counted.
type ServiceStatus struct {
	Service
	Stats Stats
}

// DestStatus is a destination and what refers to it.
type DestStatus struct {
	Dest
	Active     int32 // connections that the kernel counts as active
	Inactive   int32 // other connections
	Persistent int   // templates, also invalidated ones
	Overloaded bool  // it reached its upper threshold
	Held       bool  // something refers to it: connections, templates, or a cache of lblc or lblcr
	Stats      Stats
}

// Services yields the services in the order in which they were added. They must not change meanwhile.
func (d *Director) Services() iter.Seq[ServiceStatus] {
	return func(yield func(ServiceStatus) bool) {
		for _, s := range d.order {
			if !yield(ServiceStatus{s.Service, s.stats.view()}) {
				return
			}
		}
	}
}

// Service returns a service.
//
// The error matches ErrNoService.
func (d *Director) Service(id ServiceID) (ServiceStatus, error) {
	s := d.services[id.canonical()]
	if s == nil {
		return ServiceStatus{}, &Error{"service", id.String(), ErrNoService}
	}
	return ServiceStatus{s.Service, s.stats.view()}, nil
}

// Dests yields the destinations of a service in the kernel's order, the one added last first; none if there is no such
// service. They must not change meanwhile.
func (d *Director) Dests(id ServiceID) iter.Seq[DestStatus] {
	return func(yield func(DestStatus) bool) {
		if s := d.services[id.canonical()]; s != nil {
			s.dests(func(t *dest) bool { return yield(t.status()) })
		}
	}
}

// Dest returns a destination, also one that was removed and is still in the trash, which is what its connections refer to.
//
// The error matches ErrNoDest, and ErrNoService as well if there is no such service.
func (d *Director) Dest(id ServiceID, addr netip.AddrPort) (DestStatus, error) {
	id, addr = id.canonical(), unmap(addr)
	t, err := d.dest(id, addr)
	if err == nil {
		return t.status(), nil
	}
	for _, t := range d.trash {
		if t.svc.ID == id && t.Dest.Addr == addr {
			return t.status(), nil
		}
	}
	return DestStatus{}, &Error{"destination", id.String() + " " + addr.String(), err}
}

func (t *dest) status() DestStatus {
	return DestStatus{t.Dest, t.server.Active(), t.server.Inactive(), t.pinned, t.server.Overloaded(), t.inUse(), t.stats.view()}
}

// Total returns the statistics of the whole director, of services that are gone as well.
func (d *Director) Total() Stats { return d.total.view() }

// Conn is an entry of the connection table: a connection or a template.
type Conn struct {
	Protocol Protocol       // 0 for the template of a firewall mark
	Client   netip.AddrPort // of a template masked, with port 0
	Virtual  netip.AddrPort // of the template of a firewall mark the mark, see [persist.Key]
	Dest     netip.AddrPort
	State    string // the kernel's word
	Expires  time.Duration
	Template bool
	Engine   string // persistence engine, of a template that has its data
	Data     string // what the engine found
}

// Len returns the number of connections and of templates.
func (d *Director) Len() (conns, templates int) { return d.conns.n, d.templates.Len() }

// Conns yields the connections, and then the templates, in no particular order. The director must not be used meanwhile.
func (d *Director) Conns() iter.Seq[Conn] {
	return func(yield func(Conn) bool) {
		more := true
		d.conns.all(func(_ uint32, c *conn) bool {
			more = yield(Conn{
				Protocol: c.key.protocol(), Client: c.key.clientAddr(), Virtual: c.key.virtualAddr(), Dest: c.server(),
				State: stateName(c.key.protocol(), c.state), Expires: c.deadline - d.now,
			})
			return more
		})
		if !more {
			return
		}
		for e := range d.templates.All() {
			k := e.Key()
			c := Conn{
				Protocol: Protocol(k.Protocol), Client: netip.AddrPortFrom(k.Client, 0), Virtual: e.Virtual(), Dest: e.Server(),
				State: e.State(), Expires: e.Deadline() - d.now, Template: true,
			}
			if k.Data != "" {
				c.Engine, c.Data = e.Engine(), k.Data
			}
			if !yield(c) {
				return
			}
		}
	}
}

func stateName(p Protocol, state uint8) string {
	switch p {
	case TCP:
		return tcpNames[state]
	case SCTP:
		return sctpNames[state]
	}
	return "UDP"
}
