package arp

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
)

// TunnelKind is the encapsulation that a device of a VS/TUN real server takes off.
type TunnelKind uint8

// Tunnel kinds. What the director wraps decides: IPVS uses IPIP, SIT or IP6TNL for its tunnel type ipip and the inside
// of gue, by the families of the real server's and the virtual address.
const (
	IPIP   TunnelKind = iota // IPv4 in IPv4
	SIT                      // IPv6 in IPv4
	IP6TNL                   // IPv4 or IPv6 in IPv6
	GRE                      // either in GRE over IPv4
	IP6GRE                   // either in GRE over IPv6
)

var tunnelKinds = [...]struct {
	name, module, fallback string
	outer                  int // bits of the outer addresses
}{
	IPIP:   {"ipip", "ipip", "tunl0", 32},
	SIT:    {"sit", "sit", "sit0", 32},
	IP6TNL: {"ip6tnl", "ip6_tunnel", "ip6tnl0", 128},
	GRE:    {"gre", "ip_gre", "gre0", 32},
	IP6GRE: {"ip6gre", "ip6_gre", "ip6gre0", 128},
}

// String returns the kernel's name of the kind, as in "ip link add type", or "tunnel(N)".
func (k TunnelKind) String() string {
	if int(k) < len(tunnelKinds) {
		return tunnelKinds[k].name
	}
	return "tunnel(" + strconv.Itoa(int(k)) + ")"
}

// ParseTunnelKind is the inverse of String. The error matches fs.ErrInvalid.
func ParseTunnelKind(s string) (TunnelKind, error) {
	for k, t := range tunnelKinds {
		if t.name == s {
			return TunnelKind(k), nil
		}
	}
	return 0, fmt.Errorf("arp: tunnel kind %q: %w", s, fs.ErrInvalid)
}

// MarshalText returns the form of String.
func (k TunnelKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseTunnelKind.
func (k *TunnelKind) UnmarshalText(text []byte) (err error) {
	*k, err = ParseTunnelKind(string(text))
	return err
}

// Fallback returns the name of the device that the kernel makes by itself when the kind's module is loaded, such as
// "tunl0". It takes all packets that no other device of the kind takes, and cannot be removed. It is absent in new
// namespaces if net.core.fb_tunnels_only_for_init_net is not 0.
func (k TunnelKind) Fallback() string {
	if int(k) < len(tunnelKinds) {
		return tunnelKinds[k].fallback
	}
	return ""
}

// Module returns the kernel module of the kind.
func (k TunnelKind) Module() string {
	if int(k) < len(tunnelKinds) {
		return tunnelKinds[k].module
	}
	return ""
}

// inner4 says whether IPv4 packets come out of the device, to which rp_filter applies.
func (k TunnelKind) inner4() bool { return k != SIT }

// Tunnel is a device that takes off the encapsulation of a VS/TUN director's packets. The zero value with a name takes
// IPv4 in IPv4 from and to any address, as the fallback device tunl0 does.
type Tunnel struct {
	Name string     `json:"name"`
	Kind TunnelKind `json:"kind"`

	// Local is the address that the outer packets come to, the RIP. Invalid means any: then the device is one of a kind
	// in its namespace, and is the fallback device if that exists.
	Local netip.Addr `json:"local,omitzero"`

	// Remote is the address that the outer packets come from, the director's. Invalid means any; one device with only
	// Local serves all directors.
	Remote netip.Addr `json:"remote,omitzero"`

	// Checksum says that GRE packets carry a checksum, as those of a director that was told so do. A device without it
	// drops them, and the fallback device gre0 is one. Other kinds have none.
	Checksum bool `json:"checksum,omitempty"`
}

// String returns the device as ip-link(8) would be told it: "lvstun0 type ipip local 10.0.0.3".
func (t Tunnel) String() string {
	s := t.Name + " type " + t.Kind.String()
	if t.Local.IsValid() {
		s += " local " + t.Local.String()
	}
	if t.Remote.IsValid() {
		s += " remote " + t.Remote.String()
	}
	if t.Checksum {
		s += " csum"
	}
	return s
}

// canonical returns the tunnel with plain addresses.
func (t Tunnel) canonical() (Tunnel, error) {
	if err := checkName(t.Name); err != nil {
		return t, err
	}
	if int(t.Kind) >= len(tunnelKinds) {
		return t, fmt.Errorf("%v: unknown kind: %w", t.Kind, fs.ErrInvalid)
	}
	for _, a := range [...]*netip.Addr{&t.Local, &t.Remote} {
		*a = a.Unmap()
		if !a.IsValid() {
			continue
		}
		if a.BitLen() != tunnelKinds[t.Kind].outer || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return t, fmt.Errorf("tunnel %s: %v cannot be the end of one of kind %v: %w", t.Name, *a, t.Kind, fs.ErrInvalid)
		}
	}
	if t.Checksum && t.Kind != GRE && t.Kind != IP6GRE {
		return t, fmt.Errorf("tunnel %s: kind %v has no checksum: %w", t.Name, t.Kind, fs.ErrInvalid)
	}
	return t, nil
}
