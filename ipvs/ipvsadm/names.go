package ipvsadm

import (
	"context"
	"net/netip"
	"strconv"

	"github.com/golvs/lvs/ipvs"
)

// Limits of ipvsadm's text buffers, in bytes.
const (
	maxAddrText   = 59 // address and port, in listings and rules
	maxLabel      = 33 // protocol, address and port of an IPv4 service in a listing
	maxServerText = 28 // address and port of an IPv4 server in a listing
)

// names writes addresses: as numbers, or with names as far as the resolver has them.
type names struct {
	ctx context.Context
	r   Resolver
}

// addrPort returns an address and a port. Without a protocol the port stays a number.
func (n names) addrPort(p ipvs.Protocol, a netip.AddrPort) string {
	return string(n.append(nil, p, a, maxAddrText))
}

// append appends what addrPort returns, but no more than limit bytes.
func (n names) append(b []byte, p ipvs.Protocol, a netip.AddrPort, limit int) []byte {
	start := len(b)
	if a.Addr().Is6() {
		b = append(b, '[')
	}
	if host := n.host(a.Addr()); host != "" {
		b = append(b, host...)
	} else {
		b = appendAddr(b, a.Addr())
	}
	if a.Addr().Is6() {
		b = append(b, ']')
	}
	b = append(b, ':')
	if port := n.port(p, a.Port()); port != "" {
		b = append(b, port...)
	} else {
		b = strconv.AppendUint(b, uint64(a.Port()), 10)
	}
	return b[:min(len(b), start+min(limit, maxAddrText))]
}

// host returns the name of an address, if there is one.
func (n names) host(a netip.Addr) string {
	if n.r == nil {
		return ""
	}
	s, err := n.r.HostName(n.ctx, a)
	if err != nil {
		return ""
	}
	return s
}

// port returns the name of a port, if there is one.
func (n names) port(p ipvs.Protocol, port uint16) string {
	if n.r == nil || p == 0 || port == 0 {
		return ""
	}
	s, err := n.r.PortName(n.ctx, p, port)
	if err != nil {
		return ""
	}
	return s
}

// appendAddr appends an address as the C library's inet_ntop writes it: other than netip it takes ::192.0.2.1 for an IPv4
// address in disguise.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is6() {
		raw := a.As16()
		if [12]byte(raw[:]) == [12]byte{} && (raw[12] != 0 || raw[13] != 0) {
			return netip.AddrFrom4([4]byte(raw[12:])).AppendTo(append(b, "::"...))
		}
	}
	return a.AppendTo(b)
}

func addrString(a netip.Addr) string { return string(appendAddr(nil, a)) }

// spaces are as many as a column can need.
const spaces = "                                                                "

// pad appends blanks until b is width bytes longer than start, with widths up to 64.
func pad(b []byte, start, width int) []byte {
	if n := start + width - len(b); n > 0 {
		b = append(b, spaces[:n]...)
	}
	return b
}

// appendLeft appends a number and blanks up to a width.
func appendLeft(b []byte, n int64, width int) []byte {
	start := len(b)
	return pad(strconv.AppendInt(b, n, 10), start, width)
}

// appendRight appends a number with blanks before it up to a width.
func appendRight(b []byte, n uint64, width int) []byte {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], n, 10)
	return append(pad(b, len(b), width-len(d)), d...)
}
