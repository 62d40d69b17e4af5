package arp

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
)

// Scope says how far an IPv4 address reaches, with the kernel's values.
type Scope uint8

// Scopes of an address.
const (
	ScopeGlobal Scope = 0   // everywhere
	ScopeSite   Scope = 200 // IPv6 only
	ScopeLink   Scope = 253 // on this link
	ScopeHost   Scope = 254 // on this machine; never chosen as a source, and not answered for with arp_ignore 3
)

// String returns the name ip(8) prints, or the number.
func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeSite:
		return "site"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	}
	return strconv.Itoa(int(s))
}

// AddressFlags are the flags of an address, with the kernel's values.
type AddressFlags uint32

// Flags of an address that matter here; others are kept as they are.
const (
	AddressSecondary  AddressFlags = 0x01 // IPv4: in a subnet of which the device has an address already
	AddressNoDAD      AddressFlags = 0x02 // IPv6: not looked up for duplicates before use
	AddressDADFailed  AddressFlags = 0x08 // IPv6: someone else has it, so it is not used
	AddressDeprecated AddressFlags = 0x20 // not chosen as a source
	AddressTentative  AddressFlags = 0x40 // IPv6: being looked up for duplicates, not used yet
	AddressPermanent  AddressFlags = 0x80
)

var addressFlagNames = [...]struct {
	flag AddressFlags
	name string
}{
	{AddressSecondary, "secondary"}, {AddressNoDAD, "nodad"}, {AddressDADFailed, "dadfailed"},
	{AddressDeprecated, "deprecated"}, {AddressTentative, "tentative"}, {AddressPermanent, "permanent"},
	{ifaFNoPrefix, "noprefixroute"},
}

// String returns the names of the flags joined by "|", unknown ones in hexadecimal, and "0" for none.
func (f AddressFlags) String() string {
	var names []string
	for _, n := range addressFlagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
			f &^= n.flag
		}
	}
	if f == 0 && len(names) == 0 {
		return "0"
	}
	if f != 0 {
		names = append(names, "0x"+strconv.FormatUint(uint64(f), 16))
	}
	return strings.Join(names, "|")
}

// Address is an address of a network device.
type Address struct {
	// Prefix is the address with its length: 10.0.0.100/32. The bits after the length are those of the address.
	Prefix netip.Prefix `json:"prefix"`

	// Device is the name of the device that holds it.
	Device string `json:"device"`

	// Label is an alias for old tools, the device's name or that and a colon and more, such as "lo:0"; 15 bytes at most.
	// IPv4 only. Empty when adding is the device's name.
	Label string `json:"label,omitempty"`

	// Scope is the scope of an IPv4 address; that of IPv6 follows from the address.
	Scope Scope `json:"scope,omitempty"`

	// Flags are reported by the kernel. When adding, only AddressNoDAD and AddressDeprecated are looked at, for IPv6: a
	// deprecated address is one whose preferred lifetime is zero.
	Flags AddressFlags `json:"flags,omitempty"`
}

// Addr returns the address without its length.
func (a Address) Addr() netip.Addr { return a.Prefix.Addr() }

// host says whether the prefix is a single address.
func (a Address) host() bool { return a.Prefix.IsSingleIP() }

// String returns the address with its length and device, and its label if that says more: "10.0.0.100/32 on lo".
func (a Address) String() string {
	s := a.Prefix.String() + " on " + a.Device
	if a.Label != "" && a.Label != a.Device {
		s += " (" + a.Label + ")"
	}
	return s
}

// checkVIP returns the address in its plain form, or why it cannot be a virtual address.
func checkVIP(vip netip.Addr) (netip.Addr, error) {
	plain := vip.Unmap()
	reason := ""
	switch {
	case !vip.IsValid():
		reason = "no address"
	case vip.Zone() != "":
		reason = "has a zone"
	case plain.IsUnspecified():
		reason = "the unspecified address"
	case plain.IsMulticast() || plain == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		reason = "not a unicast address"
	case plain.IsLoopback():
		reason = "a loopback address"
	case plain.IsLinkLocalUnicast() && plain.Is6():
		reason = "a link-local address"
	}
	if reason != "" {
		return netip.Addr{}, fmt.Errorf("virtual address %v: %s: %w", vip, reason, fs.ErrInvalid)
	}
	return plain, nil
}

// hostPrefix returns the address as a prefix of full length.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
