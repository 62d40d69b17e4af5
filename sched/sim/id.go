package sim

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Protocol is an IP protocol number.
type Protocol uint8

// Protocols that IPVS schedules.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the kernel's name: "TCP", "UDP", "SCTP", "IP" for 0, or "IP_N".
func (p Protocol) String() string {
	switch p {
	case 0:
		return "IP"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return "IP_" + strconv.Itoa(int(p))
}

// ServiceID names a virtual service: by protocol, address and port, or by a firewall mark and a family.
type ServiceID struct {
	// Protocol is TCP, UDP or SCTP for a service by address, and zero for one by mark.
	Protocol Protocol

	// Addr is the virtual address and port; port 0 takes all ports that no other service takes, and the service must be
	// persistent to be of use. It is the zero value for a service by mark.
	Addr netip.AddrPort

	// Mark is the firewall mark, and zero for a service by address.
	Mark uint32

	// IPv6 is the family of a service by mark. It is false for a service by address.
	IPv6 bool
}

// String returns "TCP 192.0.2.1:80", "FWM 7" or "FWM 7 IPv6".
func (id ServiceID) String() string {
	switch {
	case id.Mark == 0:
		return id.Protocol.String() + " " + id.Addr.String()
	case id.IPv6:
		return fmt.Sprintf("FWM %d IPv6", id.Mark)
	}
	return fmt.Sprintf("FWM %d", id.Mark)
}

// is6 is the family of the service's packets.
func (id ServiceID) is6() bool {
	if id.Mark != 0 {
		return id.IPv6
	}
	return id.Addr.Addr().Is6()
}

// canonical makes equal identities comparable.
func (id ServiceID) canonical() ServiceID {
	if id.Mark != 0 {
		return ServiceID{Mark: id.Mark, IPv6: id.IPv6}
	}
	return ServiceID{Protocol: id.Protocol, Addr: unmap(id.Addr)}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// sharesTrash reports whether a destination that one service has lost comes back to the other: of services by mark the
// family does not count.
func (id ServiceID) sharesTrash(o ServiceID) bool {
	return id == o || id.Mark != 0 && id.Mark == o.Mark
}
