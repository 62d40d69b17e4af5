package ipvs

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Family is an address family, with Linux's numbers.
type Family uint16

// Address families.
const (
	IPv4 Family = 2  // AF_INET
	IPv6 Family = 10 // AF_INET6
)

// String returns "IPv4", "IPv6", or "family(N)" for another value.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "family(" + strconv.Itoa(int(f)) + ")"
}

// Protocol is a transport protocol, with the numbers of the IP header.
type Protocol uint16

// The protocols that IPVS schedules.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Protocols that appear in /proc beside the three that are scheduled.
const (
	protoIP     Protocol = 0
	protoICMP   Protocol = 1
	protoICMPv6 Protocol = 58
)

var protocolNames = map[Protocol]string{
	protoIP: "IP", TCP: "TCP", UDP: "UDP", SCTP: "SCTP", protoICMP: "ICMP", protoICMPv6: "ICMPv6",
}

// String returns the kernel's name as /proc/net/ip_vs has it: "TCP", "UDP", "SCTP", "IP" for 0, or "IP_N" for a number
// without a name.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	if s, ok := protocolNames[p]; ok {
		return s
	}
	return "IP_" + strconv.Itoa(int(p))
}

// ParseProtocol is the inverse of [Protocol.String]; case does not matter.
func ParseProtocol(s string) (Protocol, error) {
	for p, name := range protocolNames {
		if strings.EqualFold(s, name) {
			return p, nil
		}
	}
	if len(s) > 3 && strings.EqualFold(s[:3], "IP_") {
		if n, err := strconv.ParseUint(s[3:], 10, 16); err == nil {
			return Protocol(n), nil
		}
	}
	return 0, fmt.Errorf("ipvs: unknown protocol %q", s)
}

// MarshalText returns the form of String.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of String.
func (p *Protocol) UnmarshalText(b []byte) (err error) {
	*p, err = ParseProtocol(string(b))
	return err
}

// ForwardMethod says how the director hands a packet to a real server.
type ForwardMethod uint8

// Forwarding methods, with the kernel's values. The kernel uses the low three bits and keeps the values 5 to 7, which
// mean nothing to it (observed on 6.1 and 6.12).
const (
	Masquerade ForwardMethod = 0 // VS/NAT: rewrites the VIP to the RIP
	LocalNode  ForwardMethod = 1 // the director is its own real server
	Tunnel     ForwardMethod = 2 // VS/TUN: encapsulates towards the RIP
	Route      ForwardMethod = 3 // VS/DR: new MAC, packet unchanged
	Bypass     ForwardMethod = 4 // transparent cache: sent on to its own address
)

var forwardNames = [...]string{Masquerade: "Masq", LocalNode: "Local", Tunnel: "Tunnel", Route: "Route", Bypass: "Bypass"}

// String returns the name that ipvsadm prints, "Bypass" for 4, or "forward(N)" for a value that this package does not know.
func (m ForwardMethod) String() string { return enumString(forwardNames[:], "forward", uint8(m)) }

// ParseForwardMethod is the inverse of [ForwardMethod.String]; case does not matter.
func ParseForwardMethod(s string) (ForwardMethod, error) {
	n, err := enumParse(forwardNames[:], "forward", s)
	return ForwardMethod(n), err
}

// MarshalText returns the form of String.
func (m ForwardMethod) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the form of String.
func (m *ForwardMethod) UnmarshalText(b []byte) (err error) {
	*m, err = ParseForwardMethod(string(b))
	return err
}

// TunnelType is the encapsulation of the forwarding method [Tunnel]; Linux 5.3 and newer, older kernels only know IPIP.
type TunnelType uint8

// Encapsulations, with the kernel's values. The kernel does not check the range (observed on 6.1 and 6.12).
const (
	IPIP TunnelType = 0
	GUE  TunnelType = 1 // generic UDP encapsulation, needs Tunnel.Port
	GRE  TunnelType = 2
)

var tunnelNames = [...]string{IPIP: "ipip", GUE: "gue", GRE: "gre"}

// String returns ipvsadm's name, or "tunnel(N)" for a value that this package does not know.
func (t TunnelType) String() string { return enumString(tunnelNames[:], "tunnel", uint8(t)) }

// ParseTunnelType is the inverse of [TunnelType.String]; case does not matter.
func ParseTunnelType(s string) (TunnelType, error) {
	n, err := enumParse(tunnelNames[:], "tunnel", s)
	return TunnelType(n), err
}

// MarshalText returns the form of String.
func (t TunnelType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the form of String.
func (t *TunnelType) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTunnelType(string(b))
	return err
}

// DaemonState is the role of a synchronisation daemon.
type DaemonState uint32

// Roles, with the kernel's values. A namespace can run one daemon of each.
const (
	Master DaemonState = 1 // multicasts this director's connections
	Backup DaemonState = 2 // receives another director's connections
)

var daemonNames = [...]string{"none", Master: "master", Backup: "backup"}

// String returns "master", "backup", "none" for 0, or "state(N)" for another value.
func (s DaemonState) String() string { return enumString(daemonNames[:], "state", uint32(s)) }

// ParseDaemonState is the inverse of [DaemonState.String]; case does not matter.
func ParseDaemonState(s string) (DaemonState, error) {
	n, err := enumParse(daemonNames[:], "state", s)
	return DaemonState(n), err
}

// MarshalText returns the form of String.
func (s DaemonState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the form of String.
func (s *DaemonState) UnmarshalText(b []byte) (err error) {
	*s, err = ParseDaemonState(string(b))
	return err
}

// ServiceFlags are the flag bits of a virtual service. Bits that this package does not name are kept and written back
// as they were read.
type ServiceFlags uint32

// Flags, with the kernel's values.
const (
	Persistent ServiceFlags = 0x0001 // keep a client on one server for the service's Timeout
	OnePacket  ServiceFlags = 0x0004 // schedule every UDP packet by itself (ipvsadm --ops)
	Sched1     ServiceFlags = 0x0008 // meaning belongs to the scheduler
	Sched2     ServiceFlags = 0x0010
	Sched3     ServiceFlags = 0x0020

	SHFallback = Sched1 // sh: another server when the hashed one has weight 0 or is overloaded
	SHPort     = Sched2 // sh: hash the client's port too
	MHFallback = Sched1 // mh: as SHFallback
	MHPort     = Sched2 // mh: as SHPort

	// flagHashed is the kernel's own mark for a service that is in its table: always set in replies, ignored in
	// requests (observed on 6.1 and 6.12). It is removed on reading, so that what was sent and what comes back compare
	// as equal.
	flagHashed ServiceFlags = 0x0002
)

var flagNames = map[ServiceFlags]string{
	Persistent: "persistent", OnePacket: "ops", Sched1: "flag-1", Sched2: "flag-2", Sched3: "flag-3",
}

// String returns the names of the set bits joined by "|", bits without a name in hexadecimal, and "0" for no bit.
func (f ServiceFlags) String() string { return flagString(flagNames, uint32(f)) }

// ParseServiceFlags is the inverse of [ServiceFlags.String]; case does not matter.
func ParseServiceFlags(s string) (ServiceFlags, error) {
	n, err := flagParse(flagNames, "service flag", s)
	return ServiceFlags(n), err
}

// MarshalText returns the form of String.
func (f ServiceFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads the form of String.
func (f *ServiceFlags) UnmarshalText(b []byte) (err error) {
	*f, err = ParseServiceFlags(string(b))
	return err
}

// TunnelFlags choose the checksum of GUE and GRE. Bits that this package does not name are kept and written back.
type TunnelFlags uint16

// Checksum choices, with the kernel's values; 0 sends none.
const (
	Checksum       TunnelFlags = 0x1
	RemoteChecksum TunnelFlags = 0x2 // GUE only: remote checksum offload
)

var tunnelFlagNames = map[TunnelFlags]string{Checksum: "csum", RemoteChecksum: "remcsum"}

// String returns the names of the set bits joined by "|", bits without a name in hexadecimal, and "0" for no bit.
func (f TunnelFlags) String() string { return flagString(tunnelFlagNames, uint32(f)) }

// ParseTunnelFlags is the inverse of [TunnelFlags.String]; case does not matter.
func ParseTunnelFlags(s string) (TunnelFlags, error) {
	n, err := flagParse(tunnelFlagNames, "tunnel flag", s)
	if err == nil && n > 0xffff {
		err = fmt.Errorf("ipvs: tunnel flags %q need more than 16 bits", s)
	}
	return TunnelFlags(n), err
}

// MarshalText returns the form of String.
func (f TunnelFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads the form of String.
func (f *TunnelFlags) UnmarshalText(b []byte) (err error) {
	*f, err = ParseTunnelFlags(string(b))
	return err
}

func enumString[T ~uint8 | ~uint32](names []string, kind string, n T) string {
	if uint64(n) < uint64(len(names)) {
		return names[n]
	}
	return kind + "(" + strconv.FormatUint(uint64(n), 10) + ")"
}

func enumParse(names []string, kind, s string) (uint32, error) {
	for n, name := range names {
		if strings.EqualFold(s, name) {
			return uint32(n), nil
		}
	}
	if inner, ok := strings.CutPrefix(s, kind+"("); ok {
		if digits, ok := strings.CutSuffix(inner, ")"); ok {
			width := 8
			if kind == "state" {
				width = 32
			}
			if n, err := strconv.ParseUint(digits, 10, width); err == nil {
				return uint32(n), nil
			}
		}
	}
	return 0, fmt.Errorf("ipvs: unknown %s %q", kind, s)
}

func flagString[T ~uint16 | ~uint32](names map[T]string, f uint32) string {
	if f == 0 {
		return "0"
	}
	var b strings.Builder
	var rest uint32
	for f != 0 {
		bit := uint32(1) << bits.TrailingZeros32(f)
		f &^= bit
		name, ok := names[T(bit)]
		if !ok || uint32(T(bit)) != bit {
			rest |= bit
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		b.WriteString(name)
	}
	if rest != 0 {
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		b.WriteString("0x" + strconv.FormatUint(uint64(rest), 16))
	}
	return b.String()
}

func flagParse[T ~uint16 | ~uint32](names map[T]string, kind, s string) (uint32, error) {
	var f uint32
next:
	for _, word := range strings.Split(s, "|") {
		for bit, name := range names {
			if strings.EqualFold(word, name) {
				f |= uint32(bit)
				continue next
			}
		}
		n, err := strconv.ParseUint(word, 0, 32)
		if err != nil {
			return 0, fmt.Errorf("ipvs: unknown %s %q", kind, word)
		}
		f |= uint32(n)
	}
	return f, nil
}
