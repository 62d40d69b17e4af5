package ipvs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ServiceID names a virtual service within a network namespace: protocol, address and port, or a firewall mark and a
// family. It is comparable and serves as a map key; identities that this package returns are in the canonical form
// described at the fields.
type ServiceID struct {
	// Protocol is TCP, UDP or SCTP for a service by address, and zero for a service by mark.
	Protocol Protocol

	// Addr is the virtual address and port of a service by address, without zone and not an IPv4-mapped IPv6 address.
	// Port 0 takes every port of the address that no other service takes. It is the zero value for a service by mark.
	Addr netip.AddrPort

	// FWMark is the firewall mark, 1 to 4294967295, and zero for a service by address.
	FWMark uint32

	// Family is IPv4 or IPv6 for a service by mark: the same mark can be used once for each. It is zero for a service
	// by address, whose family is that of Addr; with one exception: the kernel can hold an IPv6 service whose address
	// is an IPv4-mapped one. It is returned as, and can be named by, that address with Family IPv6, while the mapped
	// address alone means the IPv4 address that it holds.
	Family Family
}

// Mark returns the identity of the service for packets of a family that carry a firewall mark.
func Mark(mark uint32, family Family) ServiceID { return ServiceID{FWMark: mark, Family: family} }

// IsMark reports whether the service is chosen by a firewall mark rather than by address.
func (id ServiceID) IsMark() bool { return id.FWMark != 0 || !id.Addr.IsValid() && id.Family != 0 }

// AddrFamily returns the family of the service's packets, whichever way they are chosen, and 0 for the zero identity.
func (id ServiceID) AddrFamily() Family {
	switch {
	case id.Family != 0:
		return id.Family
	case id.Addr.Addr().Unmap().Is4():
		return IPv4
	case id.Addr.Addr().Is6():
		return IPv6
	}
	return 0
}

// String returns "TCP 192.0.2.1:80", "UDP [2001:db8::1]:53", "FWM 7", "FWM 7 IPv6", or in the exceptional case described
// at Family "TCP [::ffff:192.0.2.1]:80 IPv6"; and "-" for the zero identity.
func (id ServiceID) String() string {
	switch {
	case id == ServiceID{}:
		return "-"
	case !id.IsMark() && id.Family == 0:
		return id.Protocol.String() + " " + id.Addr.String()
	case !id.IsMark():
		return id.Protocol.String() + " " + id.Addr.String() + " " + id.Family.String()
	}
	s := "FWM " + strconv.FormatUint(uint64(id.FWMark), 10)
	if id.Family != IPv4 {
		s += " " + id.Family.String()
	}
	return s
}

// ParseServiceID is the inverse of [ServiceID.String]. Case does not matter and any number of blanks may stand between
// the words. The result is checked as far as its form goes: a mark is not 0, an address has no zone.
func ParseServiceID(s string) (ServiceID, error) {
	words := strings.Fields(s)
	fail := func() (ServiceID, error) {
		return ServiceID{}, fmt.Errorf(`ipvs: service %q is not of the form "TCP 192.0.2.1:80", "FWM 7" or "FWM 7 IPv6"`, s)
	}
	if len(words) != 2 && len(words) != 3 {
		return fail()
	}
	var family Family
	if len(words) == 3 {
		switch {
		case strings.EqualFold(words[2], "IPv6"):
			family = IPv6
		case strings.EqualFold(words[2], "IPv4"):
			family = IPv4
		default:
			return fail()
		}
	}
	var id ServiceID
	if strings.EqualFold(words[0], "FWM") {
		n, err := strconv.ParseUint(words[1], 10, 32)
		if err != nil {
			return fail()
		}
		if family == 0 {
			family = IPv4
		}
		id = Mark(uint32(n), family)
	} else {
		p, err := ParseProtocol(words[0])
		if err != nil {
			return fail()
		}
		addr, err := netip.ParseAddrPort(words[1])
		if err != nil {
			return fail()
		}
		id = ServiceID{Protocol: p, Addr: addr, Family: family}
	}
	return id.canonical()
}

// MarshalText returns the form of String. The zero identity is an empty text.
func (id ServiceID) MarshalText() ([]byte, error) {
	if id == (ServiceID{}) {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what [ParseServiceID] reads; an empty text is the zero identity.
func (id *ServiceID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = ServiceID{}
		return nil
	}
	*id, err = ParseServiceID(string(b))
	return err
}

// canonical checks the identity and brings an address into the form that the kernel returns.
func (id ServiceID) canonical() (ServiceID, error) {
	if id.IsMark() {
		switch {
		case id.FWMark == 0:
			return id, fieldErrorf("FWMark", "0 is no mark; the kernel would take it for the service TCP 0.0.0.0:0")
		case id.Addr != netip.AddrPort{} || id.Protocol != 0:
			return id, fieldErrorf("FWMark", "a service has a mark or a protocol and an address, not both")
		case id.Family != IPv4 && id.Family != IPv6:
			return id, fieldErrorf("Family", "%v: a service by mark needs IPv4 or IPv6", id.Family)
		}
		return id, nil
	}
	if id.Family == IPv6 && id.Addr.Addr().Is4In6() && id.Addr.Addr().Zone() == "" {
		return id, nil
	}
	if id.Family != 0 {
		return id, fieldErrorf("Family", "%v: only for a service by mark; here the address says it", id.Family)
	}
	addr, err := canonicalAddr("Addr", id.Addr)
	id.Addr = addr
	return id, err
}

// canonicalAddr unmaps an IPv4-mapped IPv6 address, and refuses what cannot be sent: the kernel's field has no place
// for a zone, and would take a mapped address for an IPv6 one.
func canonicalAddr(field string, a netip.AddrPort) (netip.AddrPort, error) {
	switch {
	case a.Addr().Is4(): // the usual case, on the way of every change
		return a, nil
	case !a.Addr().IsValid():
		return a, fieldErrorf(field, "no address")
	case a.Addr().Zone() != "":
		return a, fieldErrorf(field, "%v has a zone", a.Addr())
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
