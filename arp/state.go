package arp

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/sysctl"
)

// State is what a machine looks like in one network namespace, as far as this package is concerned. [Host.State] reads
// it; planning and judging are pure functions of it, so that a test or a dry run can make one up.
type State struct {
	Links     []Link
	Addresses []Address
	Local     []LocalRoute // what the machine takes for its own
	Proxies   []Proxy      // what it answers for on behalf of others
	FOUPorts  []FOUPort

	// Settings are the kernel parameters of all interfaces, "all" and "default" that matter here: arp_ignore,
	// arp_announce, rp_filter and proxy_arp of IPv4.
	Settings map[sysctl.Key]string

	// Files are the files that [Setup.Boot] writes, by name without a leading slash, those that exist.
	Files map[string]string

	journal journal
}

// LocalRoute is a route of type local: packets for the prefix are for this machine.
type LocalRoute struct {
	Prefix netip.Prefix
	Device string
}

// Proxy is an address for which the machine answers on a device on behalf of another one.
type Proxy struct {
	Addr   netip.Addr
	Device string
}

// names of the parameters that are read for each interface.
var parameters = [...]string{"arp_ignore", "arp_announce", "rp_filter", "proxy_arp"}

// State reads the state of the namespace. No privilege is needed in the caller's own namespace. No module is loaded.
//
// The error matches fs.ErrNotExist or fs.ErrPermission if the namespace does not exist or may not be entered, and
// errors.ErrUnsupported on systems other than Linux.
func (h *Host) State(ctx context.Context) (State, error) {
	k, err := h.open(ctx)
	if err != nil {
		return State{}, err
	}
	defer k.close()
	return h.state(k)
}

func (h *Host) state(k kernel) (State, error) {
	s := State{Settings: map[sysctl.Key]string{}, Files: map[string]string{}}
	var err error
	if s.Links, err = k.links(); err != nil {
		return State{}, err
	}
	if s.Addresses, err = k.addresses(); err != nil {
		return State{}, err
	}
	if s.Local, err = k.local(); err != nil {
		return State{}, err
	}
	if s.Proxies, err = k.proxies(); err != nil {
		return State{}, err
	}
	if s.FOUPorts, err = k.fouPorts(); err != nil {
		return State{}, err
	}
	// On one thread that enters the namespace once.
	if err := h.ns.Do(func() error { return h.readSettings(&s) }); err != nil {
		return State{}, err
	}
	for _, name := range bootFiles(h.root) {
		data, err := fs.ReadFile(h.root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return State{}, explain("read /"+name, "", netip.Addr{}, err)
		}
		s.Files[name] = string(data)
	}
	name, err := h.journalName(k)
	if err != nil {
		return State{}, err
	}
	if s.journal, err = h.loadJournal(name); err != nil {
		return State{}, err
	}
	slices.SortFunc(s.Links, func(a, b Link) int { return a.Index - b.Index })
	return s, nil
}

func (h *Host) readSettings(s *State) error {
	devices := []string{"all", "default"}
	for _, l := range s.Links {
		devices = append(devices, l.Name)
	}
	for _, dev := range devices {
		for _, name := range parameters {
			key := sysctl.IPv4(dev, name)
			text, err := h.settings.Get(key)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
				continue // gone since, or not a name that could be a key's
			}
			if err != nil {
				return explain("read settings", dev, netip.Addr{}, err)
			}
			s.Settings[key] = strings.TrimSpace(text)
		}
	}
	return nil
}

// Link returns the device with a name.
func (s State) Link(name string) (Link, bool) {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return s.Links[i], true
}

// Setting returns a parameter of an interface, 0 if it is absent or no number.
func (s State) setting(dev, name string) int {
	n, _ := strconv.Atoi(s.Settings[sysctl.IPv4(dev, name)])
	return n
}

// effective returns the value in force on an interface and the key that brings it about.
func (s State) effective(dev, name string) (int, sysctl.Key) {
	all, own := s.setting("all", name), s.setting(dev, name)
	key := sysctl.IPv4("all", name)
	if own > all {
		key = sysctl.IPv4(dev, name)
	}
	return sysctl.RuleOf(name).Combine(all, own), key
}

// addressesOf returns the addresses of a device and a family.
func (s State) addressesOf(dev string, ip4 bool) []Address {
	var list []Address
	for _, a := range s.Addresses {
		if a.Device == dev && a.Addr().Is4() == ip4 {
			list = append(list, a)
		}
	}
	return list
}

// isLocal says whether packets for an address are for this machine, and by which route. The subnet of another device is
// more specific than, say, a whole 10.0.0.0/8 on lo, and wins (observed on Linux 6.1 and 6.12, without rules of ip-rule(8),
// with which table local always goes first). Other routes are not looked at.
func (s State) isLocal(addr netip.Addr) (LocalRoute, bool) {
	var best LocalRoute
	for _, r := range s.Local {
		if r.Prefix.Contains(addr) && (!best.Prefix.IsValid() || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = r
		}
	}
	for _, a := range s.Addresses {
		if l, ok := s.Link(a.Device); ok && l.Up() && l.Flags&LinkLoopback == 0 && a.Prefix.Contains(addr) && a.Prefix.Bits() > best.Prefix.Bits() && a.Addr() != addr {
			return LocalRoute{}, false
		}
	}
	return best, best.Prefix.IsValid()
}
