package ipvstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The suite has a codec of its own, for requests that the client would never send and for replies byte by byte, so that
// a mistake in the client's or in the in-memory kernel's does not go unnoticed. The numbers are those of the kernel's
// user-space headers linux/ip_vs.h, linux/netlink.h and linux/genetlink.h.

var native = binary.NativeEndian

// Commands.
const (
	cNewService = 1
	cSetService = 2
	cDelService = 3
	cGetService = 4
	cNewDest    = 5
	cSetDest    = 6
	cDelDest    = 7
	cGetDest    = 8
	cNewDaemon  = 9
	cDelDaemon  = 10
	cGetDaemon  = 11
	cSetConfig  = 12
	cGetConfig  = 13
	cSetInfo    = 14
	cGetInfo    = 15
	cZero       = 16
	cFlush      = 17
)

var commandNames = [...]string{
	0: "UNSPEC", cNewService: "NEW_SERVICE", cSetService: "SET_SERVICE", cDelService: "DEL_SERVICE", cGetService: "GET_SERVICE",
	cNewDest: "NEW_DEST", cSetDest: "SET_DEST", cDelDest: "DEL_DEST", cGetDest: "GET_DEST", cNewDaemon: "NEW_DAEMON",
	cDelDaemon: "DEL_DAEMON", cGetDaemon: "GET_DAEMON", cSetConfig: "SET_CONFIG", cGetConfig: "GET_CONFIG",
	cSetInfo: "SET_INFO", cGetInfo: "GET_INFO", cZero: "ZERO", cFlush: "FLUSH",
}

func commandName(cmd uint8) string {
	if int(cmd) < len(commandNames) {
		return commandNames[cmd]
	}
	return fmt.Sprintf("command %d", cmd)
}

// Attributes: of a message, of a service, of a destination, of a daemon.
const (
	aService = 1
	aDest    = 2
	aDaemon  = 3
	aTCP     = 4
	aTCPFin  = 5
	aUDP     = 6

	sFamily   = 1
	sProtocol = 2
	sAddr     = 3
	sPort     = 4
	sMark     = 5
	sSched    = 6
	sFlags    = 7
	sTimeout  = 8
	sNetmask  = 9
	sStats    = 10
	sEngine   = 11
	sStats64  = 12

	dAddr     = 1
	dPort     = 2
	dForward  = 3
	dWeight   = 4
	dUpper    = 5
	dLower    = 6
	dActive   = 7
	dInactive = 8
	dPersist  = 9
	dStats    = 10
	dFamily   = 11
	dStats64  = 12
	dTunType  = 13
	dTunPort  = 14
	dTunFlags = 15

	mState  = 1
	mDevice = 2
	mSyncID = 3
	mMaxLen = 4
	mGroup  = 5
	mGroup6 = 6
	mPort   = 7
	mTTL    = 8
)

// The parts of netlink that matter here.
const (
	typeNoop    = 1
	typeError   = 2
	typeDone    = 3
	typeControl = 16

	flRequest = 0x1
	flMulti   = 0x2
	flAck     = 0x4
	flIntr    = 0x10
	flDump    = 0x300
	flCapped  = 0x100
	flTLVs    = 0x200

	nestedBit = 0x8000

	headerLen    = 16
	genHeaderLen = 20

	inet4 = 2
	inet6 = 10

	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// An errno is one of Linux's error numbers, on whatever system; 0 is success.
type errno int32

const (
	ePERM        errno = 1
	eNOENT       errno = 2
	eSRCH        errno = 3
	eBUSY        errno = 16
	eEXIST       errno = 17
	eNODEV       errno = 19
	eINVAL       errno = 22
	eRANGE       errno = 34
	eOPNOTSUPP   errno = 95
	eAFNOSUPPORT errno = 97
	eNETUNREACH  errno = 101
)

var errnoNames = map[errno]string{
	0: "success", ePERM: "EPERM", eNOENT: "ENOENT", eSRCH: "ESRCH", eBUSY: "EBUSY", eEXIST: "EEXIST", eNODEV: "ENODEV",
	eINVAL: "EINVAL", eRANGE: "ERANGE", eOPNOTSUPP: "EOPNOTSUPP", eAFNOSUPPORT: "EAFNOSUPPORT", eNETUNREACH: "ENETUNREACH",
}

func (e errno) String() string {
	if s, ok := errnoNames[e]; ok {
		return s
	}
	return fmt.Sprintf("errno %d", int32(e))
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// attr encodes one attribute with its padding.
func attr(typ uint16, payload []byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(payload)))
	b = native.AppendUint16(b, typ)
	return pad4(append(b, payload...))
}

func u8(typ uint16, v uint8) []byte       { return attr(typ, []byte{v}) }
func u16(typ uint16, v uint16) []byte     { return attr(typ, native.AppendUint16(nil, v)) }
func u32(typ uint16, v uint32) []byte     { return attr(typ, native.AppendUint32(nil, v)) }
func u64(typ uint16, v uint64) []byte     { return attr(typ, native.AppendUint64(nil, v)) }
func be16(typ uint16, v uint16) []byte    { return attr(typ, binary.BigEndian.AppendUint16(nil, v)) }
func str(typ uint16, s string) []byte     { return attr(typ, append([]byte(s), 0)) }
func bin(typ uint16, v ...byte) []byte    { return attr(typ, v) }
func zeroes(typ uint16, n int) []byte     { return attr(typ, make([]byte, n)) }
func nest(typ uint16, p ...[]byte) []byte { return attr(typ, slices.Concat(p...)) }

// raw16 is an address in the field of 16 bytes that serves both families.
func raw16(a netip.Addr) (family uint16, b []byte) {
	b = make([]byte, 16)
	copy(b, a.AsSlice())
	if a.Is4() {
		return inet4, b
	}
	return inet6, b
}

// address encodes the identity of a service by address, without its nest.
func address(proto uint16, s string) []byte {
	a := netip.MustParseAddrPort(s)
	family, b := raw16(a.Addr())
	return slices.Concat(u16(sFamily, family), u16(sProtocol, proto), bin(sAddr, b...), be16(sPort, a.Port()))
}

func tcp(s string) []byte { return address(protoTCP, s) }
func udp(s string) []byte { return address(protoUDP, s) }

func mark4(m uint32) []byte { return slices.Concat(u16(sFamily, inet4), u32(sMark, m)) }
func mark6(m uint32) []byte { return slices.Concat(u16(sFamily, inet6), u32(sMark, m)) }

// svc is a SERVICE nest.
func svc(id []byte, more ...[]byte) []byte { return nest(aService, id, slices.Concat(more...)) }

// flagPair is the attribute with the flags and the mask of those to write.
func flagPair(flags, mask uint32) []byte {
	return bin(sFlags, native.AppendUint32(native.AppendUint32(nil, flags), mask)...)
}

var (
	mask32    = bin(sNetmask, 255, 255, 255, 255)
	prefix128 = u32(sNetmask, 128)
)

// conf is what a complete IPv4 service needs beside its identity, conf6 that of an IPv6 service.
func conf(sched string) []byte  { return settings(sched, 0, 0, mask32) }
func conf6(sched string) []byte { return settings(sched, 0, 0, prefix128) }

func settings(sched string, flags, timeout uint32, netmask []byte) []byte {
	return slices.Concat(str(sSched, sched), flagPair(flags, 0xffffffff), u32(sTimeout, timeout), netmask)
}

// place encodes the identity of a destination, without its nest.
func place(s string) []byte {
	a := netip.MustParseAddrPort(s)
	family, b := raw16(a.Addr())
	return slices.Concat(bin(dAddr, b...), be16(dPort, a.Port()), u16(dFamily, family))
}

// dst is a DEST nest.
func dst(s string, more ...[]byte) []byte { return nest(aDest, place(s), slices.Concat(more...)) }

// full is what a complete destination needs beside its identity.
func full(forward, weight, upper, lower uint32) []byte {
	return slices.Concat(u32(dForward, forward), u32(dWeight, weight), u32(dUpper, upper), u32(dLower, lower))
}

// routed is a plain destination: direct routing, weight 1.
var routed = full(3, 1, 0, 0)

// syncd is a DAEMON nest.
func syncd(state uint32, device string, more ...[]byte) []byte {
	return nest(aDaemon, u32(mState, state), str(mDevice, device), u32(mSyncID, 1), slices.Concat(more...))
}

const (
	master = 1
	backup = 2
)

// frame encodes a message of a family.
func frame(family, flags uint16, seq uint32, cmd uint8, parts ...[]byte) []byte {
	b := make([]byte, headerLen, 256)
	native.PutUint16(b[4:], family)
	native.PutUint16(b[6:], flags)
	native.PutUint32(b[8:], seq)
	b = append(b, cmd, 1, 0, 0)
	b = append(b, slices.Concat(parts...)...)
	return sized(b)
}

// sized fills in the length of a message.
func sized(b []byte) []byte {
	native.PutUint32(b, uint32(len(b)))
	return b
}

// A message is one that was received, from its header on.
type message []byte

func (m message) typ() uint16   { return native.Uint16(m[4:]) }
func (m message) flags() uint16 { return native.Uint16(m[6:]) }
func (m message) seq() uint32   { return native.Uint32(m[8:]) }
func (m message) port() uint32  { return native.Uint32(m[12:]) }

// cmd is the generic-netlink command; a message without one has 0.
func (m message) cmd() uint8 {
	if len(m) < genHeaderLen {
		return 0
	}
	return m[16]
}

// errno is that of an acknowledgement or the end of a dump.
func (m message) errno() errno { return -errno(int32(native.Uint32(m[16:]))) }

// attrs are the attributes of a generic-netlink message.
func (m message) attrs() attrs { return parseAttrs(m[genHeaderLen:]) }

// inner are those of the nest that a message of IPVS consists of.
func (m message) inner() attrs { return parseAttrs(m.attrs()[0].payload) }

func (m message) String() string {
	switch {
	case m.typ() == typeError:
		return fmt.Sprintf("answer %v to %d", m.errno(), m.seq())
	case m.typ() == typeDone:
		return fmt.Sprintf("end %v of %d", m.errno(), m.seq())
	}
	return fmt.Sprintf("%s for %d", commandName(m.cmd()), m.seq())
}

// split cuts a datagram into its messages.
func split(datagram []byte) ([]message, error) {
	var list []message
	for b := datagram; len(b) > 0; {
		if len(b) < headerLen {
			return nil, fmt.Errorf("%d bytes behind the last message", len(b))
		}
		n := int(native.Uint32(b))
		if n < headerLen || n > len(b) {
			return nil, fmt.Errorf("message of %d bytes in %d", n, len(b))
		}
		list = append(list, message(b[:n:n]))
		b = b[min((n+3)&^3, len(b)):]
	}
	return list, nil
}

// An attribute is one that was received.
type attribute struct {
	typ     uint16
	payload []byte
}

// attrs are attributes in the order in which they came.
type attrs []attribute

// parseAttrs ends at what is no attribute.
func parseAttrs(b []byte) attrs {
	var list attrs
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			return append(list, attribute{0xffff, b})
		}
		list = append(list, attribute{native.Uint16(b[2:]), b[4:n:n]})
		b = b[min((n+3)&^3, len(b)):]
	}
	if len(b) > 0 {
		list = append(list, attribute{0xffff, b})
	}
	return list
}

// types are the numbers of the attributes.
func (l attrs) types() []uint16 {
	var t []uint16
	for _, a := range l {
		t = append(t, a.typ)
	}
	return t
}

// get returns the payload of an attribute, nil if there is none.
func (l attrs) get(typ uint16) []byte {
	for _, a := range l {
		if a.typ == typ {
			return a.payload
		}
	}
	return nil
}

func (l attrs) has(typ uint16) bool {
	return slices.ContainsFunc(l, func(a attribute) bool { return a.typ == typ })
}

// number returns the value of an integer of the host's byte order, and all ones if it is missing or of no integer's
// size.
func (l attrs) number(typ uint16) uint64 {
	switch b := l.get(typ); len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(native.Uint16(b))
	case 4:
		return uint64(native.Uint32(b))
	case 8:
		return native.Uint64(b)
	}
	return 1<<64 - 1
}

// text returns a string without its end, and what no string is if there is none.
func (l attrs) text(typ uint16) string {
	b := l.get(typ)
	if len(b) == 0 || b[len(b)-1] != 0 {
		return fmt.Sprintf("no string: %x", b)
	}
	return string(b[:len(b)-1])
}

// addrPort returns the address and port of a service or destination.
func (l attrs) addrPort(family, addr, port uint16) netip.AddrPort {
	b, p := l.get(addr), l.get(port)
	if len(b) != 16 || len(p) != 2 {
		return netip.AddrPort{}
	}
	a := netip.AddrFrom16([16]byte(b))
	if l.number(family) == inet4 {
		a = netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(p))
}

// serviceName names the service of a reply.
func serviceName(l attrs) string {
	if l.has(sMark) {
		return fmt.Sprintf("mark %d family %d", l.number(sMark), l.number(sFamily))
	}
	return fmt.Sprintf("%d %v", l.number(sProtocol), l.addrPort(sFamily, sAddr, sPort))
}

// serviceID returns the identity of the service of a reply in the form of a request.
func serviceID(l attrs) []byte {
	var b []byte
	for _, a := range l {
		if a.typ >= sFamily && a.typ <= sMark {
			b = append(b, attr(a.typ, a.payload)...)
		}
	}
	return b
}

// destName names the destination of a reply.
func destName(l attrs) string { return l.addrPort(dFamily, dAddr, dPort).String() }

// sideBySide shows two messages, four bytes a row.
func sideBySide(want, got []byte) string {
	var b strings.Builder
	for i := 0; i < max(len(want), len(got)); i += 4 {
		w, g := want[min(i, len(want)):min(i+4, len(want))], got[min(i, len(got)):min(i+4, len(got))]
		sign := " "
		if !bytes.Equal(w, g) {
			sign = "!"
		}
		fmt.Fprintf(&b, "%s %04x  % -11x  % -11x\n", sign, i, w, g)
	}
	return b.String()
}
