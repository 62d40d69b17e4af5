package nltest

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
)

// A device is a network device with its addresses.
type device struct {
	name     string
	up       bool
	mtu      int
	prefixes []netip.Prefix // address and length, unmasked
}

// device returns the device with the name, or nil.
func (ns *Namespace) device(name string) *device {
	for _, d := range ns.devices {
		if d.name == name {
			return d
		}
	}
	return nil
}

// AddDevice adds a network device with the given MTU in bytes, down and without addresses. The error is fs.ErrExist if
// there is one of that name.
func (ns *Namespace) AddDevice(name string, mtu int) error {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	if ns.device(name) != nil {
		return fmt.Errorf("nltest: device %q: %w", name, fs.ErrExist)
	}
	ns.devices = append(ns.devices, &device{name: name, mtu: mtu})
	return nil
}

// RemoveDevice removes a device with its addresses. The error is fs.ErrNotExist if there is none of that name.
func (ns *Namespace) RemoveDevice(name string) error {
	return ns.withDevice(name, func(d *device) {
		ns.devices = slices.DeleteFunc(ns.devices, func(x *device) bool { return x == d })
	})
}

// SetLink brings a device up or down. The addresses of a device that is down do not count. The error is fs.ErrNotExist if
// there is none of that name.
func (ns *Namespace) SetLink(name string, up bool) error {
	return ns.withDevice(name, func(d *device) {
		d.up = up
		ns.noteRoutes(d)
	})
}

// AddAddr gives a device an address with its prefix length. The error is fs.ErrNotExist if there is no such device.
func (ns *Namespace) AddAddr(name string, addr netip.Prefix) error {
	return ns.withDevice(name, func(d *device) {
		d.prefixes = append(d.prefixes, addr)
		ns.noteRoutes(d)
	})
}

// RemoveAddr takes an address away from a device; one that is not there is no error. The error is fs.ErrNotExist if there
// is no such device.
func (ns *Namespace) RemoveAddr(name string, addr netip.Prefix) error {
	return ns.withDevice(name, func(d *device) {
		d.prefixes = slices.DeleteFunc(d.prefixes, func(p netip.Prefix) bool { return p == addr })
	})
}

func (ns *Namespace) withDevice(name string, f func(*device)) error {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	d := ns.device(name)
	if d == nil {
		return fmt.Errorf("nltest: device %q: %w", name, fs.ErrNotExist)
	}
	f(d)
	return nil
}

// reachable reports whether an address can be that of a new destination.
func (ns *Namespace) reachable(af uint16, raw [16]byte) bool {
	a := address(af, raw)
	if af == afInet {
		return ns.reachable4(a)
	}
	if ns.local(a) {
		return true
	}
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.Is4In6()
}

// noteRoutes remembers that there is a routing table, which the first IPv4 address of a device that is up makes.
func (ns *Namespace) noteRoutes(d *device) {
	if d.up && slices.ContainsFunc(d.prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		ns.routed = true
	}
}

// reachable4 refuses what is neither local nor unicast. Before there was any IPv4 address there is no routing table to
// tell, and everything is refused.
func (ns *Namespace) reachable4(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	for _, d := range ns.devices {
		for _, p := range d.prefixes {
			if !d.up || !p.Addr().Is4() {
				continue
			}
			if p.Addr() == a {
				return true
			}
			if p.Bits() < 31 && a == broadcast(p) {
				return false
			}
		}
	}
	return ns.routed
}

// local reports whether a device that is up has the address.
func (ns *Namespace) local(a netip.Addr) bool {
	for _, d := range ns.devices {
		if d.up && slices.ContainsFunc(d.prefixes, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return true
		}
	}
	return false
}

// broadcast returns the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
