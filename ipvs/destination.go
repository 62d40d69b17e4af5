package ipvs

import (
	"math"
	"net/netip"
)

// Destination is the configuration of a real server of a virtual service.
//
// A literal without Weight is quiesced; [NewDestination] gives weight 1. The kernel has no partial edit:
// [Client.SetDestination] replaces everything but the address.
type Destination struct {
	// Addr is the address and port of the real server, its identity within the service; no zone, and not an IPv4-mapped
	// IPv6 address. Its family differs from the service's only with the forwarding method [Tunnel] (Linux 3.18), and
	// only while no synchronisation daemon runs. For methods other than [Masquerade] the packets keep their port; port
	// 0 is for services of every port.
	Addr netip.AddrPort `json:"addr"`

	// Forward is the forwarding method; zero is [Masquerade].
	Forward ForwardMethod `json:"forward"`

	// Weight is the share of new connections relative to the service's other destinations; no unit, 0 to 2147483647.
	// Zero quiesces: connections go on, and so do templates unless expire_quiescent_template is set; new clients are
	// sent elsewhere.
	Weight uint32 `json:"weight"`

	// UpperThreshold is the number of connections, active and inactive, from which on the destination gets no new
	// ones; 0 to 2147483647, zero means no limit.
	UpperThreshold uint32 `json:"upperThreshold,omitzero"`

	// LowerThreshold is the number of connections below which a destination that has reached its upper threshold gets
	// new ones again; at most UpperThreshold. Zero means three quarters of UpperThreshold.
	LowerThreshold uint32 `json:"lowerThreshold,omitzero"`

	// Tunnel says how the method [Tunnel] encapsulates; zero is IPIP. The kernel keeps it for other methods too.
	Tunnel TunnelOptions `json:"tunnel,omitzero"`
}

// TunnelOptions say how packets to a destination of the forwarding method [Tunnel] are encapsulated. They are read and
// written by Linux 5.3 and newer; older kernels know IPIP only.
type TunnelOptions struct {
	// Type is the encapsulation; zero is IPIP.
	Type TunnelType `json:"type"`

	// Port is the UDP destination port of GUE, 1 to 65535.
	Port uint16 `json:"port,omitzero"`

	// Flags choose the checksum of GUE and GRE; zero sends none.
	Flags TunnelFlags `json:"flags,omitzero"`
}

// NewDestination returns a destination with weight 1 and method [Masquerade].
func NewDestination(addr netip.AddrPort) Destination { return Destination{Addr: addr, Weight: 1} }

// DestinationStatus is a destination as the kernel reports it.
type DestinationStatus struct {
	Destination

	// Active is the number of connections that count as active, such as established TCP.
	Active uint32 `json:"active"`

	// Inactive is the number of other connections, such as TCP in FIN_WAIT and all of UDP.
	Inactive uint32 `json:"inactive"`

	// Persistent is the number of templates that pin clients to this destination.
	Persistent uint32 `json:"persistent"`

	Stats Stats `json:"stats"`
}

// canonical checks the destination before it is sent for a service of a family.
func (d Destination) canonical(family Family) (Destination, error) {
	addr, err := d.checked(family)
	if err == nil {
		d.Addr = addr
	}
	return d, err
}

// checked checks the destination and returns its address in canonical form.
func (d *Destination) checked(family Family) (netip.AddrPort, error) {
	addr, err := canonicalAddr("Addr", d.Addr)
	if err != nil {
		return addr, err
	}
	own := IPv4
	if addr.Addr().Is6() {
		own = IPv6
	}
	switch {
	case d.Forward > 7:
		return addr, fieldErrorf("Forward", "%v does not fit the kernel's three bits", d.Forward)
	case own != family && d.Forward != Tunnel:
		return addr, fieldErrorf("Addr", "%v in an %v service: only with the forwarding method Tunnel", addr, family)
	case d.Weight > math.MaxInt32:
		return addr, fieldErrorf("Weight", "%d is above %d", d.Weight, math.MaxInt32)
	case d.UpperThreshold > math.MaxInt32:
		return addr, fieldErrorf("UpperThreshold", "%d is above %d", d.UpperThreshold, math.MaxInt32)
	case d.LowerThreshold > d.UpperThreshold:
		return addr, fieldErrorf("LowerThreshold", "%d is above UpperThreshold %d", d.LowerThreshold, d.UpperThreshold)
	case d.Tunnel.Type == GUE && d.Tunnel.Port == 0:
		return addr, fieldErrorf("Tunnel.Port", "0: GUE needs a port")
	}
	return addr, nil
}
