package sched

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// Flow is what schedulers read of the packet that opens a connection. Schedulers other than dh, sh, mh, lblc
// and lblcr read nothing, and the zero Flow does for them.
type Flow struct {
	// Client is the source of the packet. Only sh and mh read it, and its port only with the flag [Port];
	// leave the port 0 for a protocol other than TCP, UDP and SCTP. When the scheduled packet travels towards
	// the client (a reply, or an ICMP error about one), Client is still the client's end.
	Client netip.AddrPort

	// Destination is the address that the packet is sent to: the VIP, or for a firewall-mark service whatever
	// address the packet carries. Only dh, lblc and lblcr read it. IPv4-mapped addresses count as IPv4.
	Destination netip.Addr
}

// clientKey is what sh and mh hash of a client. The usual case does not go through fold, whose call would cost more than
// the rest of it.
func clientKey(client netip.AddrPort, flags Flags) (key uint32) {
	if a := client.Addr(); a.Is4() {
		b := a.As4()
		key = binary.BigEndian.Uint32(b[:])
	} else {
		key = fold(a)
	}
	if flags&Port != 0 {
		key += uint32(client.Port())
	}
	return key
}

// Flags of a virtual service that sh and mh read; others ignore them. Values are the kernel's
// (sched-flag-2 and sched-flag-3), shared by both schedulers.
type Flags uint32

// Flags that this package acts on.
const (
	// Fallback makes sh and mh look for another server if the client's own is quiesced or overloaded:
	// sh-fallback and mh-fallback of ipvsadm.
	Fallback Flags = 0x08
	// Port makes sh and mh hash the client's port, too: sh-port and mh-port of ipvsadm.
	Port Flags = 0x10
)

// String returns the names of the flags joined by "|", unknown bits in hex, and "0" for none.
func (f Flags) String() string {
	var names []string
	if f&Fallback != 0 {
		names = append(names, "fallback")
	}
	if f&Port != 0 {
		names = append(names, "port")
	}
	if rest := f &^ (Fallback | Port); rest != 0 {
		names = append(names, "0x"+strconv.FormatUint(uint64(rest), 16))
	}
	if names == nil {
		return "0"
	}
	return strings.Join(names, "|")
}

// Family is the address family of a virtual service.
type Family uint8

// Families of a virtual service.
const (
	// AnyFamily hashes each server's address by its own family: right for every service but an IPv4 one with
	// IPv6 servers behind tunnels.
	AnyFamily Family = 0
	// IPv4 is a service with an IPv4 address or IPv4 firewall mark. Of an IPv6 server, mh then hashes only the
	// first 32 bits.
	IPv4 Family = 4
	// IPv6 is a service with an IPv6 address or IPv6 firewall mark.
	IPv6 Family = 6
)

// String returns "any", "IPv4", "IPv6", or "family(N)" for a value this package does not know.
func (f Family) String() string {
	switch f {
	case AnyFamily:
		return "any"
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "family(" + strconv.Itoa(int(f)) + ")"
}
