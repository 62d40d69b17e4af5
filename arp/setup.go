package arp

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

// Suppression says on which devices the machine keeps silent about its virtual IPv4 addresses. IPv6 needs none: the
// kernel answers solicitations only for addresses of the device that they come in by.
type Suppression uint8

// Suppressions.
const (
	// SuppressAll sets net.ipv4.conf.all: on every device, those that come later included.
	SuppressAll Suppression = iota

	// SuppressDevices sets the devices of Setup.Devices only, for a machine that needs the usual behaviour on others.
	SuppressDevices

	// SuppressNone leaves ARP alone: for a director, which answers for the virtual address.
	SuppressNone
)

// String returns "all", "devices" or "none", or "suppression(N)".
func (s Suppression) String() string {
	switch s {
	case SuppressAll:
		return "all"
	case SuppressDevices:
		return "devices"
	case SuppressNone:
		return "none"
	}
	return fmt.Sprintf("suppression(%d)", uint8(s))
}

// Setup is what a host is to have. The zero value with VIPs is a VS/DR real server: the addresses on lo, ARP suppressed
// for all devices.
type Setup struct {
	// VIPs are the virtual addresses, of either family. They are bound with length 32 or 128. Without any, suppression
	// and tunnels are set up for addresses that someone else binds; only releasing everything takes that back.
	VIPs []netip.Addr

	// Device holds the virtual addresses. Empty is the first of Tunnels for IPv4, so that return path filtering can be
	// on, and lo for everything else. A device that is neither there nor in Tunnels is made, a dummy. A device that
	// speaks ARP itself, such as a network card, is refused unless Suppress is SuppressNone: the kernel always answers
	// for a device's own addresses.
	Device string

	// Label is an alias of the IPv4 addresses for old tools, such as "lo:0". Empty is none. IPv6 has no labels.
	Label string

	// Scope of the IPv4 addresses: ScopeGlobal or ScopeHost.
	Scope Scope

	// Suppress says where ARP is suppressed.
	Suppress Suppression

	// Devices are the devices for SuppressDevices: all those by which ARP for a virtual address can come in or leave.
	Devices []string

	// Tunnels are the devices that take off the encapsulation on a VS/TUN real server. A fallback device such as tunl0 is
	// used if it is there. Packets from clients come out of these devices though the way back to the clients is another
	// one, so return path filtering (rp_filter) is kept from dropping them.
	Tunnels []Tunnel

	// TunnelAddress is given, with length 32, to those of the tunnels that would have no IPv4 address: without one, loose
	// return path filtering drops everything there (observed on Linux 6.1 and 6.12). Invalid is none; then such a tunnel
	// works only where net.ipv4.conf.all.rp_filter is 0.
	TunnelAddress netip.Addr

	// FOUPorts are the UDP ports of a real server for the tunnel type gue.
	FOUPorts []FOUPort

	// Boot are the kinds of files to write, so that the next boot sets up the same. Empty is none.
	Boot []BootFormat
}

// canonical returns the setup with plain addresses and defaults filled in.
func (s Setup) canonical() (Setup, error) {
	s.VIPs, s.Tunnels, s.FOUPorts = slices.Clone(s.VIPs), slices.Clone(s.Tunnels), slices.Clone(s.FOUPorts)
	for i, vip := range s.VIPs {
		var err error
		if s.VIPs[i], err = checkVIP(vip); err != nil {
			return s, err
		}
		if slices.Contains(s.VIPs[:i], s.VIPs[i]) {
			return s, fmt.Errorf("virtual address %v: named twice: %w", vip, fs.ErrInvalid)
		}
	}
	for i := range s.Tunnels {
		var err error
		if s.Tunnels[i], err = s.Tunnels[i].canonical(); err != nil {
			return s, err
		}
		if slices.ContainsFunc(s.Tunnels[:i], func(t Tunnel) bool { return t.Name == s.Tunnels[i].Name }) {
			return s, fmt.Errorf("tunnel %s: named twice: %w", s.Tunnels[i].Name, fs.ErrInvalid)
		}
	}
	for _, p := range s.FOUPorts {
		if err := p.valid(); err != nil {
			return s, err
		}
	}
	if s.Device != "" {
		if err := checkName(s.Device); err != nil {
			return s, err
		}
	}
	for _, dev := range s.Devices {
		if err := checkName(dev); err != nil {
			return s, err
		}
	}
	if s.TunnelAddress.IsValid() {
		a, err := checkVIP(s.TunnelAddress)
		if err != nil {
			return s, err
		}
		if s.TunnelAddress = a; !a.Is4() {
			return s, fmt.Errorf("tunnel address %v: not IPv4: %w", a, fs.ErrInvalid)
		}
	}
	return s, s.valid()
}

func (s Setup) valid() error {
	has4 := slices.ContainsFunc(s.VIPs, netip.Addr.Is4)
	switch {
	case s.Scope != ScopeGlobal && s.Scope != ScopeHost:
		return fmt.Errorf("scope %v: neither global nor host: %w", s.Scope, fs.ErrInvalid)
	case s.Label != "" && (len(s.Label) > maxName || strings.ContainsFunc(s.Label, func(r rune) bool { return r <= ' ' || r == 0x7f })):
		return fmt.Errorf("label %q: 1 to %d printable bytes are allowed: %w", s.Label, maxName, fs.ErrInvalid)
	case s.Label != "" && has4 && s.Label != s.device(true) && !strings.HasPrefix(s.Label, s.device(true)+":"):
		return fmt.Errorf("label %q: must be %q or start with %q: %w", s.Label, s.device(true), s.device(true)+":", fs.ErrInvalid)
	case s.Suppress > SuppressNone:
		return fmt.Errorf("%v: unknown: %w", s.Suppress, fs.ErrInvalid)
	case s.Suppress == SuppressDevices && len(s.Devices) == 0:
		return fmt.Errorf("suppression on devices without a device: %w", fs.ErrInvalid)
	case s.Suppress != SuppressDevices && len(s.Devices) != 0:
		return fmt.Errorf("devices for suppression on %v: %w", s.Suppress, fs.ErrInvalid)
	}
	for _, b := range s.Boot {
		if int(b) >= len(bootNames) {
			return fmt.Errorf("%v: unknown: %w", b, fs.ErrInvalid)
		}
	}
	return nil
}

// device returns where addresses of a family go.
func (s Setup) device(ip4 bool) string {
	if s.Device != "" {
		return s.Device
	}
	if ip4 {
		for _, t := range s.Tunnels {
			if t.Kind.inner4() {
				return t.Name
			}
		}
	}
	return "lo"
}

// address returns how a virtual address is bound. An IPv6 one is deprecated, so that the host does not choose it as the
// source of its own connections; it is not looked up for duplicates, as every real server has it.
func (s Setup) address(vip netip.Addr) Address {
	a := Address{Prefix: hostPrefix(vip), Device: s.device(vip.Is4())}
	if vip.Is4() {
		a.Label, a.Scope = s.Label, s.Scope
	} else {
		a.Flags = AddressNoDAD | AddressDeprecated
	}
	return a
}

// tunnel returns the tunnel with a name.
func (s Setup) tunnel(name string) (Tunnel, bool) {
	i := slices.IndexFunc(s.Tunnels, func(t Tunnel) bool { return t.Name == name })
	if i < 0 {
		return Tunnel{}, false
	}
	return s.Tunnels[i], true
}
