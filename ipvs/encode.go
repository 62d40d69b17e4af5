package ipvs

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
)

// The encoders append to a buffer that is used again for the next request, so that a request for a service or a
// destination allocates nothing. Attributes go out in one fixed order. Integers are in host order, addresses and ports
// in network order.

// host is the byte order of netlink integers on the hot paths; the codec's tests hold it against josharian/native.
var host = binary.NativeEndian

// beginMessage appends the header of a request and of the generic-netlink family; finishMessage completes it.
func beginMessage(b []byte, typ, flags uint16, seq uint32, cmd uint8) []byte {
	const size = nlmHdrLen + genlHdrLen
	b = extend(b, size)
	p := (*[size]byte)(b[len(b)-size:])
	host.PutUint32(p[0:], 0) // length, not known yet
	host.PutUint16(p[4:], typ)
	host.PutUint16(p[6:], flags)
	host.PutUint32(p[8:], seq)
	host.PutUint32(p[12:], 0) // port: the kernel knows it
	p[16], p[17], p[18], p[19] = cmd, familyVersion, 0, 0
	return b
}

// finishMessage writes the length of the message that starts at an offset of b. Every attribute ends on a multiple of
// four bytes, and so does the message.
func finishMessage(b []byte, start int) { host.PutUint32(b[start:], uint32(len(b)-start)) }

// beginNest appends the header of a nest and returns where it starts.
func beginNest(b []byte, typ uint16) ([]byte, int) {
	start := len(b)
	b = host.AppendUint16(b, 0)
	return host.AppendUint16(b, typ|attrNested), start
}

func finishNest(b []byte, start int) { host.PutUint16(b[start:], uint16(len(b)-start)) }

func appendAttr16(b []byte, typ, v uint16) []byte {
	b = host.AppendUint16(b, 6)
	b = host.AppendUint16(b, typ)
	b = host.AppendUint16(b, v)
	return append(b, 0, 0)
}

func appendAttr16BE(b []byte, typ, v uint16) []byte {
	b = host.AppendUint16(b, 6)
	b = host.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, v)
	return append(b, 0, 0)
}

func appendAttr32(b []byte, typ uint16, v uint32) []byte {
	b = host.AppendUint16(b, 8)
	b = host.AppendUint16(b, typ)
	return host.AppendUint32(b, v)
}

func appendAttrString(b []byte, typ uint16, s string) []byte {
	b = host.AppendUint16(b, uint16(4+len(s)+1))
	b = host.AppendUint16(b, typ)
	b = append(b, s...)
	b = append(b, 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendAttrAddr sends 16 bytes for either family, as the kernel does: an IPv4 address is the first four.
func appendAttrAddr(b []byte, typ uint16, a netip.Addr) []byte {
	b = host.AppendUint16(b, 20)
	b = host.AppendUint16(b, typ)
	var field [16]byte
	putAddr(&field, a)
	return append(b, field[:]...)
}

// putAttr writes the header of an attribute.
func putAttr(b []byte, n, typ uint16) {
	host.PutUint16(b, n)
	host.PutUint16(b[2:], typ)
}

// extend makes room for n bytes at the end.
func extend(b []byte, n int) []byte { return slices.Grow(b, n)[:len(b)+n] }

// Sizes of the nests that have the same shape for every service by address and every destination without a tunnel. They
// are most of what a batch consists of, and are written in place.
const (
	serviceIDSize     = 4 + 8 + 8 + 20 + 8
	destinationSize   = 4 + 20 + 6*8
	tunnelOptionsSize = 3 * 8
)

// appendServiceID appends the nest of a service that only names it.
func appendServiceID(b []byte, id ServiceID) []byte {
	if id.IsMark() {
		b, start := beginNest(b, attrService)
		b = appendIdentity(b, id)
		finishNest(b, start)
		return b
	}
	b = extend(b, serviceIDSize)
	p := (*[serviceIDSize]byte)(b[len(b)-serviceIDSize:])
	putAttr(p[0:], serviceIDSize, attrService|attrNested)
	putAttr(p[4:], 6, svcAF)
	host.PutUint32(p[8:], 0) // padding of two bytes
	host.PutUint16(p[8:], uint16(id.AddrFamily()))
	putAttr(p[12:], 6, svcProtocol)
	host.PutUint32(p[16:], 0)
	host.PutUint16(p[16:], uint16(id.Protocol))
	putAttr(p[20:], 20, svcAddr)
	putAddr((*[16]byte)(p[24:]), id.Addr.Addr())
	putAttr(p[40:], 6, svcPort)
	host.PutUint32(p[44:], 0)
	binary.BigEndian.PutUint16(p[44:], id.Addr.Port())
	return b
}

// putAddr writes the 16 bytes that either family has: an IPv4 address is the first four.
func putAddr(p *[16]byte, a netip.Addr) {
	if !a.Is4() {
		*p = a.As16()
		return
	}
	*p = [16]byte{}
	*(*[4]byte)(p[:]) = a.As4()
}

func appendIdentity(b []byte, id ServiceID) []byte {
	b = appendAttr16(b, svcAF, uint16(id.AddrFamily()))
	if id.IsMark() {
		return appendAttr32(b, svcFWMark, id.FWMark)
	}
	b = appendAttr16(b, svcProtocol, uint16(id.Protocol))
	b = appendAttrAddr(b, svcAddr, id.Addr.Addr())
	return appendAttr16BE(b, svcPort, id.Addr.Port())
}

// appendService appends the nest of a service with its whole configuration. The service is in canonical form.
func appendService(b []byte, s *Service) []byte {
	b, start := beginNest(b, attrService)
	b = appendIdentity(b, s.ID)
	b = appendAttrString(b, svcScheduler, s.Scheduler)
	if s.PE != "" {
		b = appendAttrString(b, svcPE, s.PE)
	}
	mask := s.FlagMask
	if mask == 0 {
		mask = ^ServiceFlags(0)
	}
	b = host.AppendUint16(b, 12)
	b = host.AppendUint16(b, svcFlags)
	b = host.AppendUint32(b, uint32(s.Flags))
	b = host.AppendUint32(b, uint32(mask))
	b = appendAttr32(b, svcTimeout, uint32(s.Timeout/time.Second))
	if s.ID.AddrFamily() == IPv6 {
		n, _ := prefixBits(s.Netmask)
		b = appendAttr32(b, svcNetmask, uint32(n))
	} else {
		mask4 := s.Netmask.As4() // already in network order
		b = host.AppendUint16(b, 8)
		b = host.AppendUint16(b, svcNetmask)
		b = append(b, mask4[:]...)
	}
	finishNest(b, start)
	return b
}

// appendDestinationID appends the nest of a destination that only names it.
func appendDestinationID(b []byte, addr netip.AddrPort) []byte {
	b, start := beginNest(b, attrDest)
	b = appendAttrAddr(b, destAddr, addr.Addr())
	b = appendAttr16BE(b, destPort, addr.Port())
	b = appendAttr16(b, destFamily, uint16(familyOf(addr.Addr())))
	finishNest(b, start)
	return b
}

// appendDestination appends the nest of a destination with its whole configuration, which was checked, and with its
// address in canonical form. The family is always sent: without it the kernel takes an IPv4 address in an IPv6 service for
// four bytes of an IPv6 one. Tunnel options are sent if there are any, so that kernels that do not know them serve IPIP.
func appendDestination(b []byte, d *Destination, addr netip.AddrPort) []byte {
	b = extend(b, destinationSize)
	start := len(b) - destinationSize
	p := (*[destinationSize]byte)(b[start:])
	putAttr(p[0:], destinationSize, attrDest|attrNested)
	putAttr(p[4:], 20, destAddr)
	putAddr((*[16]byte)(p[8:]), addr.Addr())
	putAttr(p[24:], 6, destPort)
	host.PutUint32(p[28:], 0) // padding of two bytes
	binary.BigEndian.PutUint16(p[28:], addr.Port())
	putAttr(p[32:], 8, destForward)
	host.PutUint32(p[36:], uint32(d.Forward))
	putAttr(p[40:], 8, destWeight)
	host.PutUint32(p[44:], d.Weight)
	putAttr(p[48:], 8, destUpper)
	host.PutUint32(p[52:], d.UpperThreshold)
	putAttr(p[56:], 8, destLower)
	host.PutUint32(p[60:], d.LowerThreshold)
	putAttr(p[64:], 6, destFamily)
	host.PutUint32(p[68:], 0)
	host.PutUint16(p[68:], uint16(familyOf(addr.Addr())))
	if d.Tunnel != (TunnelOptions{}) {
		host.PutUint16(p[:], destinationSize+tunnelOptionsSize)
		b = host.AppendUint16(b, 5)
		b = host.AppendUint16(b, destTunType)
		b = append(b, byte(d.Tunnel.Type), 0, 0, 0)
		b = appendAttr16BE(b, destTunPort, d.Tunnel.Port)
		b = appendAttr16(b, destTunFlags, uint16(d.Tunnel.Flags))
	}
	return b
}

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// The rest is not hot and uses the library's encoder.

func encodeTimeouts(t [3]uint32) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	for i, typ := range [...]uint16{attrTimeoutTCP, attrTimeoutTCPFin, attrTimeoutUDP} {
		if t[i] != 0 {
			ae.Uint32(typ, t[i])
		}
	}
	return ae.Encode()
}

// encodeDaemon encodes a daemon in canonical form. Fields left zero are not sent; the kernel has its defaults for them.
func encodeDaemon(d Daemon) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(attrDaemon, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(daemonState, uint32(d.State))
		ae.String(daemonInterface, d.Interface)
		ae.Uint32(daemonSyncID, d.SyncID)
		if d.MaxLen != 0 {
			ae.Uint16(daemonMaxLen, d.MaxLen)
		}
		switch {
		case d.Group.Is4():
			ae.Bytes(daemonGroup, d.Group.AsSlice())
		case d.Group.Is6():
			ae.Bytes(daemonGroup6, d.Group.AsSlice())
		}
		if d.Port != 0 {
			ae.Uint16(daemonPort, d.Port) // in host order, unlike every other port
		}
		if d.TTL != 0 {
			ae.Uint8(daemonTTL, d.TTL)
		}
		return nil
	})
	return ae.Encode()
}

func encodeDaemonState(s DaemonState) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(attrDaemon, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(daemonState, uint32(s))
		return nil
	})
	return ae.Encode()
}

func encodeFamilyName(name string) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(ctrlAttrFamilyName, name)
	return ae.Encode()
}
