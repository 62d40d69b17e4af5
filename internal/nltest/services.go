package nltest

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// A serviceKey is the identity of a service. Of an IPv4 address only the first four bytes count, and a service with a mark
// has nothing but family and mark.
type serviceKey struct {
	af    uint16
	mark  uint32
	proto uint16
	addr  [16]byte
	port  uint16
}

// A service is a virtual service.
type service struct {
	*object
	af, proto uint16
	addr      [16]byte // of an IPv4 one the rest is zero
	port      uint16
	mark      uint32
	sched     string
	engine    string
	flags     uint32
	timeout   uint32 // in ticks, wrapped at 32 bits
	netmask   [4]byte
	dests     []*dest // the newest is last
	byKey     map[destKey]*dest
}

func (s *service) key() serviceKey {
	if s.mark != 0 {
		return serviceKey{af: s.af, mark: s.mark}
	}
	return serviceKey{af: s.af, proto: s.proto, addr: s.addr, port: s.port}
}

// significant clears what does not belong to an address of the family.
func significant(af uint16, addr [16]byte) [16]byte {
	if af == afInet {
		clear(addr[4:])
	}
	return addr
}

// address returns the typed address.
func address(af uint16, addr [16]byte) netip.Addr {
	if af == afInet {
		return netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrFrom16(addr)
}

// rawAddress is the inverse of address.
func rawAddress(a netip.Addr) (af uint16, raw [16]byte) {
	if a.Is4() {
		b := a.As4()
		copy(raw[:], b[:])
		return afInet, raw
	}
	return afInet6, a.As16()
}

// key returns the kernel's identity of a service; that of an invalid address and no mark matches nothing.
func (id ServiceID) key() serviceKey {
	if id.Mark != 0 {
		if id.IPv6 {
			return serviceKey{af: afInet6, mark: id.Mark}
		}
		return serviceKey{af: afInet, mark: id.Mark}
	}
	if !id.Addr.IsValid() {
		return serviceKey{}
	}
	af, raw := rawAddress(id.Addr.Addr())
	return serviceKey{af: af, proto: id.Protocol, addr: raw, port: id.Addr.Port()}
}

func (s *service) id() ServiceID {
	if s.mark != 0 {
		return ServiceID{Mark: s.mark, IPv6: s.af == afInet6}
	}
	return ServiceID{Protocol: s.proto, Addr: netip.AddrPortFrom(address(s.af, s.addr), s.port), IPv6: s.af == afInet6}
}

func (s *service) config() Service {
	return Service{
		ID: s.id(), Scheduler: s.sched, Engine: s.engine, Flags: s.flags,
		Timeout: time.Duration(s.timeout/hz) * time.Second, Netmask: s.netmask,
	}
}

// bucket returns the table and the bucket in which a service with the key lives.
func (ns *Namespace) bucket(key serviceKey) *[]*service {
	k := ns.k.cfg.HashKey
	if key.mark != 0 {
		return &ns.tables[1][(key.mark^k)&255]
	}
	words := 1
	if key.af == afInet6 {
		words = 4
	}
	var a uint32
	for i := range words {
		a ^= binary.BigEndian.Uint32(key.addr[4*i:])
	}
	port := uint32(key.port)
	return &ns.tables[0][(uint32(key.proto)^a^port>>8^port^k)&255]
}

// find returns the service with the key, or nil.
func (ns *Namespace) find(key serviceKey) *service {
	for _, s := range *ns.bucket(key) {
		if s.key() == key {
			return s
		}
	}
	return nil
}

// services returns all services in the order of a dump: by table and bucket, the newest first.
func (ns *Namespace) services() []*service {
	var all []*service
	for t := range ns.tables {
		for b := range ns.tables[t] {
			for _, s := range slices.Backward(ns.tables[t][b]) {
				all = append(all, s)
			}
		}
	}
	return all
}

// A serviceRequest is a decoded SERVICE nest.
type serviceRequest struct {
	service
	flags, mask uint32
}

// parseService decodes a SERVICE nest: the identity, and with full the configuration. There is no offset in its errors
// because the kernel gives no extended acknowledgement for this nest.
func (ns *Namespace) parseService(b []byte, full bool) (*serviceRequest, Errno) {
	if b == nil {
		return nil, EINVAL
	}
	f, _, bad := servicePolicy.parse(b, 0)
	if bad != nil || !f.has(svcAF) || !f.has(svcMark) && !f.has(svcProtocol, svcAddr, svcPort) {
		return nil, EINVAL
	}
	r := &serviceRequest{}
	r.af = f.u16(svcAF)
	if r.af != afInet && (r.af != afInet6 || ns.k.cfg.NoIPv6) {
		return nil, EAFNOSUPPORT
	}
	if f.has(svcMark) {
		r.proto, r.mark = protoTCP, f.u32(svcMark)
	} else {
		// The kernel takes no more of an address than its family has.
		r.proto, r.addr, r.port = f.u16(svcProtocol), significant(r.af, f.addr(svcAddr)), f.be16(svcPort)
	}
	if !full {
		return r, 0
	}
	if !f.has(svcSched, svcFlags, svcTimeout, svcNetmask) {
		return nil, EINVAL
	}
	var flags [8]byte
	copy(flags[:], f[svcFlags])
	r.flags, r.mask = native.Uint32(flags[:]), native.Uint32(flags[4:])
	r.sched, r.engine = f.str(svcSched), f.str(svcEngine)
	r.timeout = f.u32(svcTimeout) * hz
	r.netmask = [4]byte(f[svcNetmask][:4])
	return r, 0
}

// valid checks what a service is to be.
func (ns *Namespace) valid(r *serviceRequest) Errno {
	if r.sched != "none" && !slices.Contains(ns.k.cfg.Schedulers, r.sched) {
		return ENOENT
	}
	if r.engine != "" && !slices.Contains(ns.k.cfg.Engines, r.engine) {
		return ENOENT
	}
	if plen := native.Uint32(r.netmask[:]); r.af == afInet6 && (plen < 1 || plen > 128) {
		return EINVAL
	}
	return 0
}

// addService executes NEW_SERVICE for a service that is not there.
func (ns *Namespace) addService(r *serviceRequest) Errno {
	if errno := ns.valid(r); errno != 0 {
		return errno
	}
	s := &service{}
	*s = r.service
	s.flags = r.flags&r.mask | flagHashed
	s.byKey = make(map[destKey]*dest)
	id := s.id()
	s.object = ns.newObject(func() Counters { return ns.k.path.Counters(ns.name, id, netip.AddrPort{}) })
	ns.startEstimator(s.object)
	b := ns.bucket(s.key())
	*b = append(*b, s)
	ns.k.modules[s.sched] = true
	ns.changed(ServiceAdded, s, nil)
	return 0
}

// editService executes SET_SERVICE: everything but the identity, statistics and destinations.
func (ns *Namespace) editService(s *service, r *serviceRequest) Errno {
	if errno := ns.valid(r); errno != 0 {
		return errno
	}
	s.flags = s.flags&^r.mask | r.flags&r.mask | flagHashed
	s.sched, s.engine, s.timeout, s.netmask = r.sched, r.engine, r.timeout, r.netmask
	ns.k.modules[s.sched] = true
	ns.changed(ServiceEdited, s, nil)
	return 0
}

// deleteService executes DEL_SERVICE.
func (ns *Namespace) deleteService(s *service) {
	for _, d := range s.dests {
		ns.discard(d)
	}
	s.dests, s.byKey = nil, nil
	ns.stopEstimator(s.object)
	b := ns.bucket(s.key())
	*b = slices.DeleteFunc(*b, func(x *service) bool { return x == s })
	ns.changed(ServiceDeleted, s, nil)
}

// flush executes FLUSH.
func (ns *Namespace) flush() {
	for _, s := range ns.services() {
		ns.deleteService(s)
	}
}

// zeroService executes ZERO for one service.
func (s *service) zeroService() {
	s.zero()
	for _, d := range s.dests {
		d.zero()
	}
}

// zeroAll executes ZERO without a service.
func (ns *Namespace) zeroAll() {
	for _, s := range ns.services() {
		s.zeroService()
	}
	ns.total.zero()
}

// append writes the service as a SERVICE nest.
func (s *service) append(e *encoder) {
	e.nest(topService, func() {
		e.u16(svcAF, s.af)
		if s.mark != 0 {
			e.u32(svcMark, s.mark)
		} else {
			e.u16(svcProtocol, s.proto)
			e.attr(svcAddr, s.addr[:])
			e.be16(svcPort, s.port)
		}
		e.str(svcSched, s.sched)
		if s.engine != "" {
			e.str(svcEngine, s.engine)
		}
		e.attr(svcFlags, native.AppendUint32(native.AppendUint32(nil, s.flags), 0xffffffff))
		e.u32(svcTimeout, s.timeout/hz)
		e.attr(svcNetmask, s.netmask[:])
		s.appendStats(e, svcStats, svcStats64)
	})
}
