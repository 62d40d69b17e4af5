package sched

import (
	"fmt"
	"math"
	"net/netip"
)

// Settings are what an operator sets of a server.
type Settings struct {
	// Weight is the server's share of new connections, relative to the other servers; 0 to 2147483647. The zero
	// value quiesces the server: schedulers give it no new connections.
	Weight int32

	// Upper is the number of connections, active and inactive, at which the server counts as overloaded and
	// gets no new ones; 0, the zero value, means no limit. At most 2147483647.
	Upper uint32

	// Lower is the number of connections below which an overloaded server is taken back; 0 means three quarters
	// of Upper, rounded up. At most Upper.
	Lower uint32
}

func (c Settings) check() error {
	switch {
	case c.Weight < 0:
		return fmt.Errorf("%w %d", ErrWeight, c.Weight)
	case c.Upper > math.MaxInt32:
		return fmt.Errorf("%w: upper %d is above %d", ErrThreshold, c.Upper, math.MaxInt32)
	case c.Lower > c.Upper:
		return fmt.Errorf("%w: lower %d is above upper %d", ErrThreshold, c.Lower, c.Upper)
	}
	return nil
}

// Activity tells the two kinds of connections apart that the kernel counts.
type Activity bool

// The kinds of connections. A TCP connection is active from its SYN until the first FIN, RST or timeout changes
// its state; an SCTP association is active while established; UDP is never active.
const (
	Inactive Activity = false
	Active   Activity = true
)

// String returns "active" or "inactive".
func (a Activity) String() string {
	if a == Active {
		return "active"
	}
	return "inactive"
}

// Server is a real server, the destination of a virtual service, with the counters that schedulers read.
// [Scheduler.Add] makes one. A removed server keeps its counters, and its connections go on being counted;
// [Scheduler.Restore] brings it back. A Server is not safe for concurrent use.
type Server struct {
	in   *Scheduler // nil: in no list
	slot int        // place in the list of in

	weight     int32
	lastWeight int32 // weight as mh sees it: the last one set on an add, or a nonzero one set later
	active     int32
	total      int32 // active and inactive
	limit      threshold
	cached     int32 // entries of lblc and lblcr that name the server

	addr netip.AddrPort

	// Data is for the caller, who may hang its own record here to find it again after a pick.
	Data any

	_ [16]byte // to 128 bytes on 64-bit machines, so that what is above addr is in one cache line
}

// Addr returns the address and port that identify the server.
func (d *Server) Addr() netip.AddrPort { return d.addr }

// Settings returns what was set by the last Add, Update or Restore.
func (d *Server) Settings() Settings {
	return Settings{Weight: d.weight, Upper: uint32(d.limit.upper), Lower: uint32(d.limit.lower)}
}

// Weight returns the current weight.
func (d *Server) Weight() int32 { return d.weight }

// Active returns the number of active connections, ActiveConn in ipvsadm's listing.
func (d *Server) Active() int32 { return d.active }

// Inactive returns the number of inactive connections, InActConn in ipvsadm's listing.
func (d *Server) Inactive() int32 { return d.total - d.active }

// Overloaded reports whether the server reached its upper threshold and has not yet come down below the lower one.
func (d *Server) Overloaded() bool { return d.limit.overloaded }

// Available reports whether the server is in a scheduler's list.
func (d *Server) Available() bool { return d.in != nil }

// Cached returns how many entries of lblc and lblcr caches name the server. They may do so long after it was
// removed, and the kernel keeps a removed server at least as long.
func (d *Server) Cached() int { return int(d.cached) }

// Open counts a new connection to the server, after a pick or because a persistence template named the server.
// The kernel does it in two steps when the connection is an active one: opened inactive, then moved.
func (d *Server) Open(a Activity) {
	if d.total == math.MaxInt32 {
		return
	}
	d.total++
	if a == Active {
		d.active++
	}
	d.limit.opened(d.total)
	d.counted()
}

// Move counts a change of one open connection from the other kind to kind a: inactive to active when TCP leaves a
// closed state, active to inactive on FIN. It is ignored if there is no connection of the other kind.
func (d *Server) Move(a Activity) {
	switch {
	case a == Active && d.active < d.total:
		d.active++
	case a == Inactive && d.active > 0:
		d.active--
	default:
		return
	}
	d.counted()
}

// Close counts the end of a connection that was of kind a. It is ignored if there is no such connection.
func (d *Server) Close(a Activity) {
	switch {
	case a == Active && d.active > 0:
		d.active--
	case a == Inactive && d.active < d.total:
	default:
		return
	}
	d.total--
	d.limit.closed(d.total)
	d.counted()
}

// counted tells the scheduler that counters, and perhaps the overload state, changed.
func (d *Server) counted() {
	if d.in != nil {
		d.in.algo.counted(d)
	}
}

// usable is the test that most schedulers apply: not quiesced and not overloaded.
func (d *Server) usable() bool { return d.weight > 0 && !d.limit.overloaded }

// overhead weighs connections as lc, wlc, lblc, lblcr and twos do, in 32 bits that may wrap around. Since total
// includes the active ones, an active connection counts 257 times an inactive one.
func (d *Server) overhead() int32 {
	if d.limit.legacy {
		return d.active<<8 + d.Inactive()
	}
	return d.active<<8 + d.total
}
