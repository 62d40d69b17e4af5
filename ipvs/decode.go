package ipvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/josharian/native"
	"github.com/mdlayher/netlink"
)

// The decoders of services and destinations walk the receive buffer in place and allocate nothing per object. They skip
// attributes that a newer kernel adds, keep enum values and flag bits that they do not know, and do without those that
// an older kernel does not send.

// attrs iterates over attributes.
type attrs struct {
	rest []byte
	typ  uint16
	val  []byte
	err  error
}

var errAttribute = errors.New("ipvs: attribute longer than its message")

func (a *attrs) next() bool {
	if len(a.rest) == 0 || a.err != nil {
		return false
	}
	if len(a.rest) < 4 {
		a.err = errAttribute
		return false
	}
	n := int(host.Uint16(a.rest))
	if n < 4 || n > len(a.rest) {
		a.err = errAttribute
		return false
	}
	a.typ = host.Uint16(a.rest[2:]) & attrTypeMask
	a.val = a.rest[4:n]
	a.rest = a.rest[min((n+3)&^3, len(a.rest)):]
	return true
}

// want notes an attribute that has not the length of its type.
func (a *attrs) want(n int) bool {
	if len(a.val) != n && a.err == nil {
		a.err = fmt.Errorf("ipvs: attribute %d has %d bytes instead of %d", a.typ, len(a.val), n)
	}
	return a.err == nil
}

func (a *attrs) uint8() (v uint8) {
	if a.want(1) {
		v = a.val[0]
	}
	return v
}

func (a *attrs) uint16() (v uint16) {
	if a.want(2) {
		v = host.Uint16(a.val)
	}
	return v
}

func (a *attrs) uint16BE() (v uint16) {
	if a.want(2) {
		v = binary.BigEndian.Uint16(a.val)
	}
	return v
}

func (a *attrs) uint32() (v uint32) {
	if a.want(4) {
		v = host.Uint32(a.val)
	}
	return v
}

func (a *attrs) uint64() (v uint64) {
	if a.want(8) {
		v = host.Uint64(a.val)
	}
	return v
}

// name reads a NUL-terminated string; the usual ones cost no allocation.
func (a *attrs) name() string {
	b := a.val
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	switch string(b) { // compiles to comparisons without a copy
	case "rr":
		return "rr"
	case "wrr":
		return "wrr"
	case "lc":
		return "lc"
	case "wlc":
		return "wlc"
	case "lblc":
		return "lblc"
	case "lblcr":
		return "lblcr"
	case "dh":
		return "dh"
	case "sh":
		return "sh"
	case "sed":
		return "sed"
	case "nq":
		return "nq"
	case "fo":
		return "fo"
	case "ovf":
		return "ovf"
	case "mh":
		return "mh"
	case "twos":
		return "twos"
	case "none":
		return "none"
	case "sip":
		return "sip"
	}
	return string(b)
}

// findNest returns the content of a nest at the top level of a message.
func findNest(b []byte, typ uint16) ([]byte, error) {
	a := attrs{rest: b}
	for a.next() {
		if a.typ == typ {
			return a.val, nil
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	return nil, fmt.Errorf("ipvs: message without attribute %d", typ)
}

// decodeService reads a message of cmdNewService.
func decodeService(b []byte, s *ServiceStatus) error {
	nest, err := findNest(b, attrService)
	if err != nil {
		return err
	}
	if decodeServiceFast(nest, s) {
		return nil
	}
	return decodeServiceNest(nest, s)
}

// decodeServiceFast reads the nest of an IPv4 service by address without persistence engine, with every attribute at its
// usual place, and reports whether it was one. Whatever it refuses is not wrong but another shape.
func decodeServiceFast(b []byte, s *ServiceStatus) bool {
	const (
		first = 44  // what comes before the scheduler's name
		last  = 244 // what comes after it
	)
	if len(b) < first+4+last {
		return false
	}
	p, name, q := (*[first]byte)(b), b[first:len(b)-last], (*[last]byte)(b[len(b)-last:])
	n := int(host.Uint16(name))
	if n < 4 || (n+3)&^3 != len(name) || host.Uint16(name[2:]) != svcScheduler {
		return false
	}
	if differs(p[0:], 6, svcAF)|
		differs(p[8:], 6, svcProtocol)|
		differs(p[16:], 20, svcAddr)|
		differs(p[36:], 6, svcPort)|
		differs(q[0:], 12, svcFlags)|
		differs(q[12:], 8, svcTimeout)|
		differs(q[20:], 8, svcNetmask)|
		differs(q[28:], 92, svcStats)|
		differs(q[120:], 124, svcStats64) != 0 {
		return false
	}
	if Family(host.Uint16(p[4:])) != IPv4 || !decodeStats64Fast(q[124:], &s.Stats) {
		return false
	}
	s.ID = ServiceID{
		Protocol: Protocol(host.Uint16(p[12:])),
		Addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[20:24])), binary.BigEndian.Uint16(p[40:])),
	}
	a := attrs{val: name[4:n]}
	s.Scheduler, s.PE = a.name(), ""
	s.Flags, s.FlagMask = ServiceFlags(host.Uint32(q[4:]))&^flagHashed, ServiceFlags(host.Uint32(q[8:]))
	if s.FlagMask == ^ServiceFlags(0) {
		s.FlagMask = 0
	}
	s.Timeout = time.Duration(host.Uint32(q[16:])) * time.Second
	s.Netmask = netip.AddrFrom4([4]byte(q[24:28]))
	return true
}

// decodeServiceNest reads the nest of a service of any shape.
func decodeServiceNest(nest []byte, s *ServiceStatus) error {
	var (
		family Family
		addr   []byte
		port   uint16
		mask   [4]byte
		stats  statsNests
	)
	*s = ServiceStatus{}
	a := attrs{rest: nest}
	for a.next() {
		switch a.typ {
		case svcAF:
			family = Family(a.uint16())
		case svcProtocol:
			s.ID.Protocol = Protocol(a.uint16())
		case svcAddr:
			addr = a.val
		case svcPort:
			port = a.uint16BE()
		case svcFWMark:
			s.ID.FWMark = a.uint32()
		case svcScheduler:
			s.Scheduler = a.name()
		case svcPE:
			s.PE = a.name()
		case svcFlags:
			if a.want(8) {
				s.Flags = ServiceFlags(host.Uint32(a.val)) &^ flagHashed
				if s.FlagMask = ServiceFlags(host.Uint32(a.val[4:])); s.FlagMask == ^ServiceFlags(0) {
					s.FlagMask = 0
				}
			}
		case svcTimeout:
			s.Timeout = time.Duration(a.uint32()) * time.Second
		case svcNetmask:
			if a.want(4) {
				mask = [4]byte(a.val)
			}
		case svcStats:
			stats.narrow = a.val
		case svcStats64:
			stats.wide = a.val
		}
	}
	if a.err != nil {
		return a.err
	}
	if err := stats.decode(&s.Stats); err != nil {
		return err
	}
	switch family {
	case IPv4:
		s.Netmask = netip.AddrFrom4(mask)
	case IPv6:
		n := host.Uint32(mask[:])
		if n > 128 {
			return fmt.Errorf("ipvs: prefix of %d bits", n)
		}
		s.Netmask = MaskBits(IPv6, int(n))
	default:
		return fmt.Errorf("ipvs: service of address %v", family)
	}
	if s.ID.FWMark != 0 {
		s.ID = Mark(s.ID.FWMark, family)
		return nil
	}
	ip, err := decodeAddr(family, addr)
	s.ID.Addr = netip.AddrPortFrom(ip, port)
	if ip.Is4In6() {
		s.ID.Family = IPv6
	}
	return err
}

// decodeDestination reads a message of cmdNewDest. Kernels before 3.18 do not say the destination's family: it is the
// service's.
func decodeDestination(b []byte, family Family, d *DestinationStatus) error {
	// Most often the nest is all that there is.
	const fast = 4 + destinationNest
	if len(b) == fast && differs(b, fast, attrDest) == 0 && decodeDestinationFast((*[destinationNest]byte)(b[4:]), d) {
		return nil
	}
	nest, err := findNest(b, attrDest)
	if err != nil {
		return err
	}
	return decodeDestinationNest(nest, family, d)
}

// decodeDestinationNest reads the nest of a destination of any shape.
func decodeDestinationNest(nest []byte, family Family, d *DestinationStatus) error {
	var (
		addr  []byte
		port  uint16
		stats statsNests
	)
	*d = DestinationStatus{}
	a := attrs{rest: nest}
	for a.next() {
		switch a.typ {
		case destAddr:
			addr = a.val
		case destPort:
			port = a.uint16BE()
		case destForward:
			v := a.uint32()
			if v > math.MaxUint8 && a.err == nil {
				a.err = fmt.Errorf("ipvs: forwarding method %#x", v)
			}
			d.Forward = ForwardMethod(v)
		case destWeight:
			d.Weight = a.uint32()
		case destUpper:
			d.UpperThreshold = a.uint32()
		case destLower:
			d.LowerThreshold = a.uint32()
		case destActive:
			d.Active = a.uint32()
		case destInactive:
			d.Inactive = a.uint32()
		case destPersistent:
			d.Persistent = a.uint32()
		case destFamily:
			if v := Family(a.uint16()); v != 0 {
				family = v
			}
		case destTunType:
			d.Tunnel.Type = TunnelType(a.uint8())
		case destTunPort:
			d.Tunnel.Port = a.uint16BE()
		case destTunFlags:
			d.Tunnel.Flags = TunnelFlags(a.uint16())
		case destStats:
			stats.narrow = a.val
		case destStats64:
			stats.wide = a.val
		}
	}
	if a.err != nil {
		return a.err
	}
	if err := stats.decode(&d.Stats); err != nil {
		return err
	}
	ip, err := decodeAddr(family, addr)
	d.Addr = netip.AddrPortFrom(ip, port)
	return err
}

// differs returns 0 if an attribute of that length, header included, and type begins at p. It never is 0 where integers
// are big-endian: there the lengths that it is asked for would be thousands of bytes.
func differs(p []byte, n, typ uint32) uint32 { return binary.LittleEndian.Uint32(p) ^ (n | typ<<16) }

// destinationNest is the size of a destination's nest as Linux 5.3 and newer write it where 64-bit values need no padding.
const destinationNest = 332

// decodeDestinationFast reads a nest with every attribute at its usual place, and reports whether it was one. Whatever it
// refuses is not wrong but another shape.
func decodeDestinationFast(p *[destinationNest]byte, d *DestinationStatus) bool {
	const (
		narrow = 116 // where the two statistics begin
		wide   = narrow + 92
	)
	wrong := differs(p[0:], 20, destAddr) |
		differs(p[20:], 6, destPort) |
		differs(p[28:], 8, destForward) |
		differs(p[36:], 8, destWeight) |
		differs(p[44:], 5, destTunType) |
		differs(p[52:], 6, destTunPort) |
		differs(p[60:], 6, destTunFlags) |
		differs(p[68:], 8, destUpper) |
		differs(p[76:], 8, destLower) |
		differs(p[84:], 8, destActive) |
		differs(p[92:], 8, destInactive) |
		differs(p[100:], 8, destPersistent) |
		differs(p[108:], 6, destFamily) |
		differs(p[narrow:], 92, destStats) |
		differs(p[wide:], 124, destStats64)
	forward := host.Uint32(p[32:])
	if wrong != 0 || forward > math.MaxUint8 || !decodeStats64Fast(p[wide+4:], &d.Stats) {
		return false
	}
	var addr netip.Addr
	switch Family(host.Uint16(p[112:])) {
	case IPv4:
		addr = netip.AddrFrom4([4]byte(p[4:8]))
	case IPv6:
		addr = netip.AddrFrom16([16]byte(p[4:20]))
	default:
		return false
	}
	d.Addr = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(p[24:]))
	d.Forward = ForwardMethod(forward)
	d.Weight = host.Uint32(p[40:])
	d.Tunnel = TunnelOptions{TunnelType(p[48]), binary.BigEndian.Uint16(p[56:]), TunnelFlags(host.Uint16(p[64:]))}
	d.UpperThreshold = host.Uint32(p[72:])
	d.LowerThreshold = host.Uint32(p[80:])
	d.Active = host.Uint32(p[88:])
	d.Inactive = host.Uint32(p[96:])
	d.Persistent = host.Uint32(p[104:])
	return true
}

// decodeAddr reads the 16-byte field that the kernel sends for both families; an IPv4 address is its first four bytes.
func decodeAddr(family Family, b []byte) (netip.Addr, error) {
	switch {
	case family == IPv4 && (len(b) == 16 || len(b) == 4):
		return netip.AddrFrom4([4]byte(b[:4])), nil
	case family == IPv6 && len(b) == 16:
		return netip.AddrFrom16([16]byte(b)), nil
	}
	return netip.Addr{}, fmt.Errorf("ipvs: %v address of %d bytes", family, len(b))
}

// statsNests are the two forms in which the kernel sends the same statistics.
type statsNests struct{ narrow, wide []byte }

// decode takes the wide form; kernels before 4.1 send the narrow one only.
func (n *statsNests) decode(s *Stats) error {
	switch {
	case n.wide != nil:
		return decodeStats64(n.wide, s)
	case n.narrow != nil:
		return decodeStats32(n.narrow, s)
	}
	return nil
}

func decodeStats64(b []byte, s *Stats) error {
	if decodeStats64Fast(b, s) {
		return nil
	}
	*s = Stats{}
	a := attrs{rest: b}
	for a.next() {
		if p := statsField(s, a.typ); p != nil {
			*p = a.uint64()
		}
	}
	return a.err
}

// decodeStats64Fast reads the only form that has been seen where 64-bit values need no padding, ten attributes in
// their order, and reports whether it was that one.
func decodeStats64Fast(b []byte, s *Stats) bool {
	const size = 120
	if len(b) != size {
		return false
	}
	p := (*[size]byte)(b)
	if differs(p[0:], 12, statsConns)|
		differs(p[12:], 12, statsInPkts)|
		differs(p[24:], 12, statsOutPkts)|
		differs(p[36:], 12, statsInBytes)|
		differs(p[48:], 12, statsOutBytes)|
		differs(p[60:], 12, statsCPS)|
		differs(p[72:], 12, statsInPPS)|
		differs(p[84:], 12, statsOutPPS)|
		differs(p[96:], 12, statsInBPS)|
		differs(p[108:], 12, statsOutBPS) != 0 {
		return false
	}
	s.Connections = host.Uint64(p[4:])
	s.InPackets = host.Uint64(p[16:])
	s.OutPackets = host.Uint64(p[28:])
	s.InBytes = host.Uint64(p[40:])
	s.OutBytes = host.Uint64(p[52:])
	s.ConnectionRate = host.Uint64(p[64:])
	s.InPacketRate = host.Uint64(p[76:])
	s.OutPacketRate = host.Uint64(p[88:])
	s.InByteRate = host.Uint64(p[100:])
	s.OutByteRate = host.Uint64(p[112:])
	s.Narrow = false
	return true
}

// decodeStats32 reads the older form, in which only bytes have 64 bits.
func decodeStats32(b []byte, s *Stats) error {
	*s = Stats{Narrow: true}
	a := attrs{rest: b}
	for a.next() {
		p := statsField(s, a.typ)
		switch {
		case p == nil:
		case a.typ == statsInBytes || a.typ == statsOutBytes:
			*p = a.uint64()
		default:
			*p = uint64(a.uint32())
		}
	}
	return a.err
}

func statsField(s *Stats, typ uint16) *uint64 {
	switch typ {
	case statsConns:
		return &s.Connections
	case statsInPkts:
		return &s.InPackets
	case statsOutPkts:
		return &s.OutPackets
	case statsInBytes:
		return &s.InBytes
	case statsOutBytes:
		return &s.OutBytes
	case statsCPS:
		return &s.ConnectionRate
	case statsInPPS:
		return &s.InPacketRate
	case statsOutPPS:
		return &s.OutPacketRate
	case statsInBPS:
		return &s.InByteRate
	case statsOutBPS:
		return &s.OutByteRate
	}
	return nil // padding, or newer than this package
}

// The rest is not hot and uses the library's decoder.

// decode calls f for every attribute of b.
func decode(b []byte, f func(ad *netlink.AttributeDecoder)) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		f(ad)
	}
	return ad.Err()
}

func decodeInfo(b []byte) (info Info, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case infoVersion:
			info.Version = Version(ad.Uint32())
		case infoConnTabSize:
			info.ConnTabSize = ad.Uint32()
		}
	})
	return info, err
}

func decodeTimeouts(b []byte) (t Timeouts, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case attrTimeoutTCP:
			t.TCP = time.Duration(ad.Uint32()) * time.Second
		case attrTimeoutTCPFin:
			t.TCPFin = time.Duration(ad.Uint32()) * time.Second
		case attrTimeoutUDP:
			t.UDP = time.Duration(ad.Uint32()) * time.Second
		}
	})
	return t, err
}

func decodeDaemon(b []byte) (d Daemon, err error) {
	nest, err := findNest(b, attrDaemon)
	if err != nil {
		return d, err
	}
	err = decode(nest, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case daemonState:
			d.State = DaemonState(ad.Uint32())
		case daemonInterface:
			d.Interface = ad.String()
		case daemonSyncID:
			d.SyncID = ad.Uint32()
		case daemonMaxLen:
			d.MaxLen = ad.Uint16()
		case daemonGroup, daemonGroup6:
			ad.Do(func(b []byte) (err error) {
				var ok bool
				if d.Group, ok = netip.AddrFromSlice(b); !ok {
					err = fmt.Errorf("ipvs: multicast group of %d bytes", len(b))
				}
				return err
			})
		case daemonPort:
			d.Port = ad.Uint16()
		case daemonTTL:
			d.TTL = ad.Uint8()
		}
	})
	return d, err
}

// decodeFamilyID reads the controller's answer.
func decodeFamilyID(b []byte) (id uint16, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == ctrlAttrFamilyID {
			id = ad.Uint16()
		}
	})
	if err == nil && id < genlIDCtrl {
		err = fmt.Errorf("ipvs: family number %d", id)
	}
	return id, err
}

// header is the header of a netlink message.
type header struct {
	length     uint32
	typ, flags uint16
	seq        uint32
}

// nextMessage splits the first message off a datagram.
func nextMessage(b []byte) (h header, payload, rest []byte, err error) {
	if len(b) < nlmHdrLen {
		return h, nil, nil, fmt.Errorf("ipvs: %d bytes where a netlink message should be", len(b))
	}
	h = header{host.Uint32(b), host.Uint16(b[4:]), host.Uint16(b[6:]), host.Uint32(b[8:])}
	if h.length < nlmHdrLen || uint64(h.length) > uint64(len(b)) {
		return h, nil, nil, fmt.Errorf("ipvs: netlink message of %d bytes in a datagram of %d", h.length, len(b))
	}
	next := min((int(h.length)+3)&^3, len(b))
	return h, b[nlmHdrLen:h.length], b[next:], nil
}

// decodeError reads an error message or the end of a dump: the error number (0 is success), and the kernel's text if
// there is one.
func decodeError(flags uint16, payload []byte) (errno int32, text string, err error) {
	if len(payload) < 4 {
		return 0, "", fmt.Errorf("ipvs: error message of %d bytes", len(payload))
	}
	code := int32(native.Endian.Uint32(payload))
	if code > 0 || code == math.MinInt32 {
		return 0, "", fmt.Errorf("ipvs: error message with code %d", code)
	}
	errno = -code
	if flags&flagAckTLVs == 0 {
		return errno, "", nil
	}
	skip := 4 + nlmHdrLen
	if flags&flagCapped == 0 && len(payload) >= skip {
		skip = 4 + (int(native.Endian.Uint32(payload[4:]))+3)&^3
	}
	if skip < 0 || skip > len(payload) {
		return errno, "", nil
	}
	a := attrs{rest: payload[skip:]}
	for a.next() {
		if a.typ == extAckMsg {
			text = string(bytes.TrimRight(a.val, "\x00"))
		}
	}
	return errno, text, nil
}
