package nltest

import (
	"net/netip"
	"slices"
)

// A destKey is the identity of a destination inside its service.
type destKey struct {
	af   uint16
	addr [16]byte
	port uint16
}

func destKeyOf(a netip.AddrPort) destKey {
	af, raw := rawAddress(a.Addr())
	return destKey{af: af, addr: raw, port: a.Port()}
}

// A dest is a destination, in a service or in the trash.
type dest struct {
	*object
	svc *service // the one it is or was in

	af      uint16
	addr    [16]byte // of an IPv4 one the rest is zero
	port    uint16
	fwd     uint8
	weight  uint32
	upper   uint32
	lower   uint32
	tunType uint8
	tunPort uint16
	tunFlag uint16
	conns   Conns // without a data path

	idle bool  // in the trash: found unreferenced at an earlier look …
	when int64 // … at this time, in nanoseconds since 1970
}

func (d *dest) key() destKey { return destKey{af: d.af, addr: d.addr, port: d.port} }

func (d *dest) addrPort() netip.AddrPort { return netip.AddrPortFrom(address(d.af, d.addr), d.port) }

func (d *dest) config() Dest {
	return Dest{
		Addr: d.addrPort(), Forward: d.fwd, Weight: d.weight, Upper: d.upper, Lower: d.lower,
		TunnelType: d.tunType, TunnelPort: d.tunPort, TunnelFlags: d.tunFlag,
	}
}

// parseDest decodes a DEST nest: the identity, and with full the configuration.
func parseDest(b []byte, full bool) (*dest, Errno) {
	if b == nil {
		return nil, EINVAL
	}
	f, _, bad := destPolicy.parse(b, 0)
	if bad != nil || !f.has(destAddr, destPort) {
		return nil, EINVAL
	}
	d := &dest{af: f.u16(destAF), addr: f.addr(destAddr), port: f.be16(destPort)}
	if !full {
		return d, 0
	}
	if !f.has(destFwd, destWeight, destUpper, destLower) {
		return nil, EINVAL
	}
	d.fwd = uint8(f.u32(destFwd) & fwdMask)
	d.weight, d.upper, d.lower = f.u32(destWeight), f.u32(destUpper), f.u32(destLower)
	d.tunType, d.tunPort, d.tunFlag = f.u8(destTunType), f.be16(destTunPort), f.u16(destTunFlags)
	return d, 0
}

// resolve fills in the family that a request may leave out, and checks it. The rules for mixed families hold for NEW and
// SET, which is what full says.
func (ns *Namespace) resolve(s *service, d *dest, full bool) Errno {
	switch d.af {
	case 0:
		d.af = s.af
	case afInet, afInet6:
	default:
		return EAFNOSUPPORT
	}
	d.addr = significant(d.af, d.addr)
	if full && d.af != s.af && (d.fwd != fwdTunnel || ns.daemons != [2]*daemon{}) {
		return EINVAL
	}
	return 0
}

// inRange checks the numbers of NEW_DEST and SET_DEST.
func (d *dest) inRange() Errno {
	switch {
	case d.weight > 1<<31-1:
		return ERANGE
	case d.lower > d.upper:
		return ERANGE
	case d.upper > 1<<31-1:
		return EINVAL
	case d.tunType == tunGUE && d.tunPort == 0:
		return EINVAL
	}
	return 0
}

// addDest executes NEW_DEST.
func (ns *Namespace) addDest(s *service, r *dest) Errno {
	if errno := r.inRange(); errno != 0 {
		return errno
	}
	if s.byKey[r.key()] != nil {
		return EEXIST
	}
	kind := DestRestored
	d := ns.takeBack(s, r)
	if d == nil {
		if !ns.reachable(r.af, r.addr) {
			return EINVAL
		}
		kind, d = DestAdded, r
		d.object = ns.newObject(func() Counters { return Counters{} })
	} else if d.svc != s {
		d.zero() // the service was made anew: its destinations start at 0
	}
	counted := d.live
	d.svc = s
	d.set(r)
	s.dests = append(s.dests, d)
	s.byKey[d.key()] = d
	ns.startEstimator(d.object)
	ns.changed(kind, s, d)
	ns.countFor(d)
	// A data path may have let go of what the test kept in the trash, and count from 0.
	d.refresh()
	d.extra = d.extra.Add(counted.Sub(d.live))
	return 0
}

// countFor lets a destination count what the data path counts for it.
func (ns *Namespace) countFor(d *dest) {
	id, addr := d.svc.id(), d.addrPort()
	d.source = func() Counters { return ns.k.path.Counters(ns.name, id, addr) }
}

// set takes over what a request can change.
func (d *dest) set(r *dest) {
	d.fwd, d.weight, d.upper, d.lower = r.fwd, r.weight, r.upper, r.lower
	d.tunType, d.tunPort, d.tunFlag = r.tunType, r.tunPort, r.tunFlag
}

// editDest executes SET_DEST.
func (ns *Namespace) editDest(s *service, r *dest) Errno {
	if errno := r.inRange(); errno != 0 {
		return errno
	}
	d := s.byKey[r.key()]
	if d == nil {
		return ENOENT
	}
	d.set(r)
	ns.changed(DestEdited, s, d)
	return 0
}

// deleteDest executes DEL_DEST.
func (ns *Namespace) deleteDest(s *service, r *dest) Errno {
	d := s.byKey[r.key()]
	if d == nil {
		return ENOENT
	}
	delete(s.byKey, d.key())
	i := slices.Index(s.dests, d)
	s.dests = slices.Delete(s.dests, i, i+1)
	ns.discard(d)
	return 0
}

// mixed reports whether a destination in the namespace has another family than its service.
func (ns *Namespace) mixed() bool {
	for _, s := range ns.services() {
		for _, d := range s.dests {
			if d.af != s.af {
				return true
			}
		}
	}
	return false
}

// appendDest writes the destination as a DEST nest.
func (ns *Namespace) appendDest(e *encoder, d *dest) {
	c := ns.connsOf(d)
	e.nest(topDest, func() {
		e.attr(destAddr, d.addr[:])
		e.be16(destPort, d.port)
		e.u32(destFwd, uint32(d.fwd))
		e.u32(destWeight, d.weight)
		e.u8(destTunType, d.tunType)
		e.be16(destTunPort, d.tunPort)
		e.u16(destTunFlags, d.tunFlag)
		e.u32(destUpper, d.upper)
		e.u32(destLower, d.lower)
		e.u32(destActive, c.Active)
		e.u32(destInactive, c.Inactive)
		e.u32(destPersist, c.Persistent)
		e.u16(destAF, d.af)
		d.appendStats(e, destStats, destStats64)
	})
}
