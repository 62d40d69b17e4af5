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

// addrPort writes an address and a port. Without a protocol the port stays a number.
func (n names) addrPort(p ipvs.Protocol, a netip.AddrPort) string {
	host, port := addrString(a.Addr()), strconv.Itoa(int(a.Port()))
	if n.r != nil {
		if s, err := n.r.HostName(n.ctx, a.Addr()); err == nil && s != "" {
			host = s
		}
		if p != 0 && a.Port() != 0 {
			if s, err := n.r.PortName(n.ctx, p, a.Port()); err == nil && s != "" {
				port = s
			}
		}
	}
	if a.Addr().Is6() {
		host = "[" + host + "]"
	}
	return cut(host+":"+port, maxAddrText)
}

// addrString writes an address as the C library's inet_ntop does: other than netip it takes ::192.0.2.1 for an IPv4
// address in disguise.
func addrString(a netip.Addr) string {
	b := a.As16()
	if a.Is6() && [12]byte(b[:]) == [12]byte{} && (b[12] != 0 || b[13] != 0) {
		return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
	}
	return a.String()
}
