package sim

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/golvs/lvs/sched"
)

// Method is a forwarding method, with the kernel's values.
type Method uint8

// Forwarding methods. Only with Masquerade the replies pass the director.
const (
	Masquerade Method = 0
	LocalNode  Method = 1
	Tunnel     Method = 2
	Route      Method = 3
	Bypass     Method = 4
)

var methodNames = [...]string{"Masq", "Local", "Tunnel", "Route", "Bypass"}

// String returns "Masq", "Local", "Tunnel", "Route", "Bypass", or "method(N)" for a value this package does not know.
func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return "method(" + strconv.Itoa(int(m)) + ")"
}

// Dest is the configuration of a destination, a real server of a service.
type Dest struct {
	// Addr names the destination within its service. Port 0 keeps the packet's port.
	Addr netip.AddrPort

	Method Method // the zero value is Masquerade

	// Weight is the share of new connections, 0 to 2147483647; the zero value is quiesced.
	Weight uint32

	// Upper and Lower are the numbers of connections at which the destination becomes overloaded, and below which it is
	// taken back; 0 for none, and three quarters of Upper. See [sched.Settings].
	Upper, Lower uint32
}

func (c Dest) settings() sched.Settings {
	return sched.Settings{Weight: int32(c.Weight), Upper: c.Upper, Lower: c.Lower}
}

// check is in the kernel's order.
func (c Dest) check(s *service) error {
	switch a := c.Addr.Addr(); {
	case !a.IsValid() || a.Zone() != "":
		return fmt.Errorf("%w: address %v", ErrInvalid, a)
	case a.Is6() != s.ID.is6() && c.Method != Tunnel:
		return fmt.Errorf("%w: a destination of another family needs a tunnel", ErrInvalid)
	case c.Weight > math.MaxInt32:
		return fmt.Errorf("%w: weight %d", ErrRange, c.Weight)
	case c.Lower > c.Upper:
		return fmt.Errorf("%w: lower threshold %d is above the upper one, %d", ErrRange, c.Lower, c.Upper)
	case c.Upper > math.MaxInt32:
		return fmt.Errorf("%w: upper threshold %d", ErrInvalid, c.Upper)
	}
	return nil
}

// unicast reports whether a destination can have the address. A director without devices knows no broadcast addresses but one.
func unicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		!(a.Is6() && a.IsLinkLocalUnicast())
}

// dest is a destination in a service or in the trash.
type dest struct {
	Dest
	server *sched.Server
	svc    *service // the one it is or was in
	pinned int      // templates
	stats  stats

	idle  bool          // in the trash: found unreferenced …
	since time.Duration // … at this time

	opened uint64 // connections since the report began
	peak   int32  // most connections at a time since then
}

func (d *dest) Available() bool      { return d.server.Available() }
func (d *dest) Weight() int32        { return d.server.Weight() }
func (d *dest) Addr() netip.AddrPort { return d.Dest.Addr }

// connections is the number of connections, active and inactive.
func (d *dest) connections() int32 { return d.server.Active() + d.server.Inactive() }

func (d *dest) inUse() bool {
	return d.connections() != 0 || d.pinned != 0 || d.server.Cached() != 0
}

// open counts a connection.
func (d *dest) open(a sched.Activity) {
	d.server.Open(a)
	d.opened++
	d.peak = max(d.peak, d.connections())
}
