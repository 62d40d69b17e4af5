package persist

import (
	"net/netip"
	"time"
)

// invalidPort is what an invalidated template has in place of its ports, so that no packet finds it.
const invalidPort = 65535

// Destination is a real server as templates see it; a *sched.Server is one.
type Destination interface {
	// Addr is the server's address and configured port.
	Addr() netip.AddrPort
	// Available reports whether the server is still configured in a service, any service.
	Available() bool
	// Weight is the server's weight, 0 if it is quiesced.
	Weight() int32
}

// Entry is a template: it keeps a client on a server. [Table.Open] makes one, and it must not be used after the table
// let go of it, which does not happen before all of its connections were released.
type Entry[D Destination] struct {
	key      Key
	chain    *Entry[D] // next in the bucket
	dest     D
	port     uint16 // stored port of the server
	timeout  time.Duration
	deadline time.Duration
	index    int // in the table's heap
	controls int
	engine   string
	assured  bool
	invalid  bool
}

// Key returns what the template was made for. An invalidated one is not found by it any more.
func (e *Entry[D]) Key() Key { return e.key }

// Dest returns the server.
func (e *Entry[D]) Dest() D { return e.dest }

// Virtual returns the virtual address or mark and port as they are listed; the port of an invalidated template is 65535.
func (e *Entry[D]) Virtual() netip.AddrPort {
	if e.invalid {
		return netip.AddrPortFrom(e.key.Virtual.Addr(), invalidPort)
	}
	return e.key.Virtual
}

// Server returns the server's address and port as they are listed: the port is 65535 if the template was invalidated, and
// 0 unless it was made for packets to the service's port.
func (e *Entry[D]) Server() netip.AddrPort {
	if e.invalid {
		return netip.AddrPortFrom(e.dest.Addr().Addr(), invalidPort)
	}
	return netip.AddrPortFrom(e.dest.Addr().Addr(), e.port)
}

// Timeout is how long the template lives after each new connection: that of the service when the template was made, or
// 60 seconds once it was postponed.
func (e *Entry[D]) Timeout() time.Duration { return e.timeout }

// Deadline is when the template expires or is postponed.
func (e *Entry[D]) Deadline() time.Duration { return e.deadline }

// Connections returns the number of open connections that the template controls.
func (e *Entry[D]) Connections() int { return e.controls }

// Engine returns the name of the persistence engine that found Key().Data, empty if there is none.
func (e *Entry[D]) Engine() string { return e.engine }

// Assured reports whether one of its connections was once established; see [Table.Assure].
func (e *Entry[D]) Assured() bool { return e.assured }

// Invalid reports whether the template was given up because its server was not usable. It stays until it expires.
func (e *Entry[D]) Invalid() bool { return e.invalid }

// State returns the name in listings, "NONE" or "ASSURED".
func (e *Entry[D]) State() string {
	if e.assured {
		return "ASSURED"
	}
	return "NONE"
}
