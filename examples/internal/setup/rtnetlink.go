package setup

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Route is a route, or the answer to the question which one a packet takes.
type Route struct {
	Dst     netip.Prefix // of an answer, the address that was asked for
	Gateway netip.Addr   // invalid for what is on the link
	Source  netip.Addr   // that packets from this machine get
	Link    int          // index of the device
	MTU     uint32       // of the route, 0 for that of the device
	AdvMSS  uint32       // that TCP tells its peers, 0 for what follows from the MTU
	Local   bool         // packets are for this machine

	protocol, kind, table uint8
}

// Numbers of rtnetlink(7), which are the same on all systems.
const (
	rtmNewRoute = 24
	rtmDelRoute = 25
	rtmGetRoute = 26

	flagRequest = 0x1
	flagAck     = 0x4
	flagDump    = 0x300
	flagExcl    = 0x200
	flagCreate  = 0x400

	rtaDst     = 1
	rtaOIF     = 4
	rtaGateway = 5
	rtaPrefSrc = 7
	rtaMetrics = 8

	rtaxMTU    = 2
	rtaxAdvMSS = 8

	rtnUnicast  = 1
	rtnLocal    = 2
	tableMain   = 254
	scopeGlobal = 0

	// protocolLVS marks the routes of this package, so that they are known again. It is none of those that
	// /etc/iproute2/rt_protos has names for.
	protocolLVS = 76

	nlmsgHeader = 16
	rtmsgSize   = 12
)

var errShort = errors.New("rtnetlink: a message ends too early")

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return 2 // AF_INET
	}
	return 10 // AF_INET6
}

// request returns a message about a route.
func request(kind, flags uint16, rtmsg [rtmsgSize]byte, attributes []byte) []byte {
	size := nlmsgHeader + rtmsgSize + len(attributes)
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, size), uint32(size))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flagRequest|flags)
	b = binary.NativeEndian.AppendUint32(b, 1) // sequence number
	b = binary.NativeEndian.AppendUint32(b, 0) // port
	return append(append(b, rtmsg[:]...), attributes...)
}

func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// encodeLookup asks which route a packet to an address takes.
func encodeLookup(dst netip.Addr) []byte {
	return request(rtmGetRoute, 0, [rtmsgSize]byte{family(dst), uint8(dst.BitLen())}, attribute(nil, rtaDst, dst.AsSlice()))
}

// encodeList asks for all routes of a family.
func encodeList(like netip.Addr) []byte {
	return request(rtmGetRoute, flagDump, [rtmsgSize]byte{family(like)}, nil)
}

// encodeChange adds or deletes a route of this package.
func encodeChange(add bool, dst netip.Prefix, gateway netip.Addr) []byte {
	head := [rtmsgSize]byte{family(dst.Addr()), uint8(dst.Bits()), 0, 0, tableMain, protocolLVS, scopeGlobal, rtnUnicast}
	attributes := attribute(attribute(nil, rtaDst, dst.Addr().AsSlice()), rtaGateway, gateway.AsSlice())
	if add {
		return request(rtmNewRoute, flagAck|flagCreate|flagExcl, head, attributes)
	}
	return request(rtmDelRoute, flagAck, head, attributes)
}

// decodeRoute reads the body of a message about a route.
func decodeRoute(b []byte) (Route, error) {
	if len(b) < rtmsgSize {
		return Route{}, errShort
	}
	r := Route{table: b[4], protocol: b[5], kind: b[7], Local: b[7] == rtnLocal}
	dst := netip.IPv4Unspecified()
	if b[0] != family(dst) {
		dst = netip.IPv6Unspecified()
	}
	bits := int(b[1])
	err := attributes(b[rtmsgSize:], func(kind uint16, value []byte) error {
		switch kind {
		case rtaDst, rtaGateway, rtaPrefSrc:
			a, ok := netip.AddrFromSlice(value)
			if !ok {
				return errShort
			}
			*map[uint16]*netip.Addr{rtaDst: &dst, rtaGateway: &r.Gateway, rtaPrefSrc: &r.Source}[kind] = a
		case rtaOIF:
			n, err := number(value)
			r.Link = int(n)
			return err
		case rtaMetrics:
			return attributes(value, func(kind uint16, value []byte) (err error) {
				switch kind {
				case rtaxMTU:
					r.MTU, err = number(value)
				case rtaxAdvMSS:
					r.AdvMSS, err = number(value)
				}
				return err
			})
		}
		return nil
	})
	if err != nil {
		return Route{}, err
	}
	r.Dst, err = dst.Prefix(bits)
	return r, err
}

func number(b []byte) (uint32, error) {
	if len(b) < 4 {
		return 0, errShort
	}
	return binary.NativeEndian.Uint32(b), nil
}

// attributes calls f for each attribute.
func attributes(b []byte, f func(kind uint16, value []byte) error) error {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return errShort
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:size]); err != nil {
			return err
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}
