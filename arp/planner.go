package arp

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"

	"github.com/golvs/lvs/sysctl"
)

// Plan says what has to be done for a setup. Nothing is changed; in the caller's own namespace no privilege is needed.
//
// The order is: settings that hide the addresses, devices, ports, addresses, files. What is as wanted already is in the
// plan as kept.
//
// The error matches fs.ErrInvalid for an impossible setup or one that other settings of the host defeat, fs.ErrExist if
// an address, device or port exists in another form, fs.ErrNotExist for a device of SuppressDevices that does not exist,
// and is otherwise that of [Host.State].
func (h *Host) Plan(ctx context.Context, setup Setup) (Plan, error) {
	s, err := h.State(ctx)
	if err != nil {
		return Plan{}, err
	}
	return s.Plan(setup)
}

// Plan is [Host.Plan] for a state that was read before, or made up.
func (s State) Plan(setup Setup) (Plan, error) {
	setup, err := setup.canonical()
	if err != nil {
		return Plan{}, fmt.Errorf("arp: plan: %w", err)
	}
	p := planner{state: s, setup: setup}
	for _, stage := range []func() error{p.suppress, p.devices, p.returnPath, p.up, p.ports, p.addresses, p.files} {
		if err := stage(); err != nil {
			return Plan{}, fmt.Errorf("arp: plan: %w", err)
		}
	}
	p.warn()
	return Plan{Steps: p.steps, Warnings: p.warnings, before: s.journal}, nil
}

type planner struct {
	state    State
	setup    Setup
	steps    []Step
	warnings []string
	boot     []sysctl.Setting // for the next boot, the suppression first
}

func (p *planner) add(s Step) {
	if s.For == nil {
		s.For = slices.Clone(p.setup.VIPs)
	}
	p.steps = append(p.steps, s)
}

// set adds the step that gives a parameter a value, and notes it in the state, which then is as after the step.
func (p *planner) set(dev, name string, value int, reason string) {
	key := sysctl.IPv4(dev, name)
	old, exists := p.state.Settings[key]
	if !exists {
		old = p.state.Settings[sysctl.IPv4("default", name)]
	}
	s := Step{Op: SetSetting, Setting: key, Old: old, New: strconv.Itoa(value), OldAbsent: !exists, Reason: reason}
	s.Keep = exists && old == s.New
	p.add(s)
	settings := make(map[sysctl.Key]string, len(p.state.Settings)+1)
	for k, v := range p.state.Settings {
		settings[k] = v
	}
	settings[key] = s.New
	p.state.Settings = settings
}

// silent says whether a value of arp_ignore in force hides addresses that are on other devices.
func (p *planner) silent(v int) bool {
	return v == 1 || v == 2 || v == 8 || v == 3 && p.setup.Scope == ScopeHost
}

const (
	ignore   = "arp_ignore"
	announce = "arp_announce"

	whyIgnore   = "answer ARP requests only for addresses of the device asked on"
	whyAnnounce = "name no virtual address as the sender of ARP requests"
	whyLoose    = "strict filtering drops what comes out of a tunnel"
	whyLower    = "the larger of this and all counts, and %d does not suppress"
)

func (p *planner) suppress() error {
	if len(p.setup.VIPs) > 0 && !slices.ContainsFunc(p.setup.VIPs, netip.Addr.Is4) {
		return nil // IPv6 needs nothing
	}
	switch p.setup.Suppress {
	case SuppressAll:
		p.suppressAll()
	case SuppressDevices:
		return p.suppressDevices()
	}
	return nil
}

func (p *planner) suppressAll() {
	value := p.state.setting("all", ignore)
	if !p.silent(value) {
		value = 1
	}
	p.set("all", ignore, value, whyIgnore)
	p.set("all", announce, 2, whyAnnounce)
	p.boot = append(p.boot,
		sysctl.Setting{Key: sysctl.IPv4("all", ignore), Value: strconv.Itoa(value), Reason: whyIgnore},
		sysctl.Setting{Key: sysctl.IPv4("all", announce), Value: "2", Reason: whyAnnounce})
	for _, l := range p.state.Links {
		if !l.Resolves() {
			continue
		}
		p.lower(l.Name, ignore, 1, p.silent)
		p.lower(l.Name, announce, 2, func(v int) bool { return v == 2 })
	}
}

// lower sets the parameter of a device if it outweighs that of all. If an earlier setup has done so, it is kept for this
// one too: what it was before would outweigh again.
func (p *planner) lower(dev, name string, value int, hides func(int) bool) {
	v, _ := p.state.effective(dev, name)
	if hides(v) {
		before, recorded := p.was(sysctl.IPv4(dev, name))
		if !recorded {
			return
		}
		if v = sysctl.RuleOf(name).Combine(p.state.setting("all", name), before); hides(v) {
			return
		}
		value = p.state.setting(dev, name)
	}
	reason := fmt.Sprintf(whyLower, v)
	p.set(dev, name, value, reason)
	p.boot = append(p.boot, sysctl.Setting{Key: sysctl.IPv4(dev, name), Value: strconv.Itoa(value), Reason: reason})
}

// was returns what a parameter was before an earlier setup set it.
func (p *planner) was(key sysctl.Key) (int, bool) {
	i := slices.IndexFunc(p.state.journal.Steps, Step{Op: SetSetting, Setting: key}.same)
	if i < 0 {
		return 0, false
	}
	n, _ := strconv.Atoi(p.state.journal.Steps[i].Old)
	return n, true
}

func (p *planner) suppressDevices() error {
	for _, dev := range p.setup.Devices {
		if l, ok := p.state.Link(dev); !ok {
			return &OpError{Op: "suppress", Device: dev, Err: meaning{"no such device", fs.ErrNotExist}}
		} else if !l.Resolves() {
			return &OpError{Op: "suppress", Device: dev, Err: meaning{"the device does not use ARP; the settings of the device that holds an address have no effect", fs.ErrInvalid}}
		}
		all := p.state.setting("all", ignore)
		value := p.state.setting(dev, ignore)
		if !p.silent(max(all, value)) || !p.silent(value) && all <= 0 {
			value = 1
		}
		if !p.silent(max(all, value)) {
			return p.outweighed(ignore, all)
		}
		if p.silent(all) && !p.silent(value) {
			value = 1 // of its own, should all change
		}
		p.set(dev, ignore, value, whyIgnore)
		if all := p.state.setting("all", announce); all > 2 {
			return p.outweighed(announce, all)
		}
		p.set(dev, announce, 2, whyAnnounce)
		p.boot = append(p.boot,
			sysctl.Setting{Key: sysctl.IPv4(dev, ignore), Value: strconv.Itoa(value), Reason: whyIgnore},
			sysctl.Setting{Key: sysctl.IPv4(dev, announce), Value: "2", Reason: whyAnnounce})
	}
	return nil
}

func (p *planner) outweighed(name string, all int) error {
	return fmt.Errorf("%v = %d outweighs the value of a device and does not suppress: %w", sysctl.IPv4("all", name), all, fs.ErrInvalid)
}

// devices adds what is to be made.
func (p *planner) devices() error {
	for _, t := range p.setup.Tunnels {
		s := Step{Op: AddLink, Device: t.Name, Tunnel: &t, Reason: "takes off the director's encapsulation"}
		if l, ok := p.state.Link(t.Name); ok {
			if l.Tunnel == nil || *l.Tunnel != t {
				return &OpError{Op: "add link", Device: t.Name, Err: meaning{"a device of this name exists and is another: wanted " + t.String(), fs.ErrExist}}
			}
			s.Keep = true
		}
		p.add(s)
	}
	for _, ip4 := range [...]bool{true, false} {
		vips := p.vips(ip4)
		dev := p.setup.device(ip4)
		if _, tunnel := p.setup.tunnel(dev); len(vips) == 0 || tunnel {
			continue
		}
		l, ok := p.state.Link(dev)
		switch {
		case !ok:
			s := Step{Op: AddLink, Device: dev, Reason: "holds the virtual addresses"}
			if !slices.ContainsFunc(p.steps, s.same) {
				p.add(s)
			}
		case l.Resolves() && p.setup.Suppress != SuppressNone:
			return &OpError{Op: "bind", Device: dev, Address: vips[0], Err: meaning{"the device speaks ARP, and no setting keeps it silent about its own addresses", fs.ErrInvalid}}
		case l.Kind == kindDummy:
			s := Step{Op: AddLink, Device: dev, Keep: true, Reason: "holds the virtual addresses"}
			if !slices.ContainsFunc(p.steps, s.same) {
				p.add(s)
			}
		}
	}
	return nil
}

func (p *planner) vips(ip4 bool) []netip.Addr {
	var list []netip.Addr
	for _, vip := range p.setup.VIPs {
		if vip.Is4() == ip4 {
			list = append(list, vip)
		}
	}
	return list
}

// returnPath keeps rp_filter from dropping what comes out of a tunnel. Observed on Linux 6.1 and 6.12: strict (1) drops
// it all, loose (2) drops it where the device has no IPv4 address, and the larger of all and the device counts.
func (p *planner) returnPath() error {
	const filter = "rp_filter"
	vips := p.vips(true)
	if len(vips) == 0 && len(p.setup.VIPs) > 0 {
		return nil
	}
	for _, t := range p.setup.Tunnels {
		if !t.Kind.inner4() {
			continue
		}
		bound := len(vips) > 0 && p.setup.device(true) == t.Name
		held := bound || len(p.state.addressesOf(t.Name, true)) > 0
		if p.setup.TunnelAddress.IsValid() && !bound && !p.foreignOn(t.Name) {
			held = true
			a := Address{Prefix: hostPrefix(p.setup.TunnelAddress), Device: t.Name}
			there := slices.ContainsFunc(p.state.addressesOf(t.Name, true), func(have Address) bool { return have.Prefix == a.Prefix })
			p.add(Step{Op: AddAddress, Device: t.Name, Address: &a, Keep: there, Reason: "so that return path filtering can be loose there"})
		}
		all := p.state.setting("all", filter)
		own, exists := p.state.Settings[sysctl.IPv4(t.Name, filter)]
		if !exists {
			own = p.state.Settings[sysctl.IPv4("default", filter)]
		}
		value, _ := strconv.Atoi(own)
		switch {
		case held && max(all, value) == 1:
			p.set(t.Name, filter, 2, whyLoose)
			p.boot = append(p.boot, sysctl.Setting{Key: sysctl.IPv4(t.Name, filter), Value: "2", Reason: whyLoose})
		case held:
			if exists {
				p.set(t.Name, filter, value, "drops nothing that comes out of the tunnel")
			}
			if before, recorded := p.was(sysctl.IPv4(t.Name, filter)); recorded && max(all, before) == 1 {
				p.boot = append(p.boot, sysctl.Setting{Key: sysctl.IPv4(t.Name, filter), Value: own, Reason: whyLoose})
			}
		case !held && all <= 0:
			const why = "filtering drops everything on a tunnel without an IPv4 address"
			p.set(t.Name, filter, 0, why)
			p.boot = append(p.boot, sysctl.Setting{Key: sysctl.IPv4(t.Name, filter), Value: "0", Reason: why})
		default:
			return fmt.Errorf("net.ipv4.conf.all.rp_filter = %d drops everything on %s, which has no IPv4 address: bind the virtual address there, or set TunnelAddress: %w",
				all, t.Name, fs.ErrInvalid)
		}
	}
	return nil
}

// foreignOn says whether a device has an IPv4 address that is not recorded: one that no release takes away.
func (p *planner) foreignOn(dev string) bool {
	return slices.ContainsFunc(p.state.addressesOf(dev, true), func(a Address) bool {
		bind := Step{Op: AddAddress, Device: dev, Address: &a}
		return !slices.ContainsFunc(p.state.journal.Steps, bind.same)
	})
}

// up switches on what is down: tunnels receive only then, and lo and dummies keep IPv6 addresses only then.
func (p *planner) up() error {
	var names []string
	for _, t := range p.setup.Tunnels {
		names = append(names, t.Name)
	}
	for _, ip4 := range [...]bool{true, false} {
		if dev := p.setup.device(ip4); len(p.vips(ip4)) > 0 && !slices.Contains(names, dev) {
			names = append(names, dev)
		}
	}
	for _, name := range names {
		l, ok := p.state.Link(name)
		p.add(Step{Op: SetUp, Device: name, Keep: ok && l.Up(), Reason: "takes packets only when it is up"})
	}
	// Addresses of tunnels come after their devices are up.
	slices.SortStableFunc(p.steps, func(a, b Step) int { return rank(a) - rank(b) })
	return nil
}

func rank(s Step) int {
	if s.Op == AddAddress {
		return 1
	}
	return 0
}

func (p *planner) ports() error {
	for _, port := range p.setup.FOUPorts {
		s := Step{Op: AddFOU, FOU: &port, Reason: "takes off the director's encapsulation in UDP"}
		for _, have := range p.state.FOUPorts {
			if have == port {
				s.Keep = true
			} else if have.Port == port.Port && have.IPv6 == port.IPv6 {
				return &OpError{Op: "add fou " + port.String(), Err: meaning{"the port is in use as " + have.String(), fs.ErrExist}}
			}
		}
		p.add(s)
	}
	return nil
}

func (p *planner) addresses() error {
	for _, vip := range p.setup.VIPs {
		a := p.setup.address(vip)
		s := Step{Op: AddAddress, Device: a.Device, Address: &a, For: []netip.Addr{vip}, Reason: "takes packets for the virtual address"}
		for _, have := range p.state.Addresses {
			if have.Addr() != vip {
				continue
			}
			if have.Device != a.Device || have.Prefix != a.Prefix {
				return &OpError{Op: "bind", Device: a.Device, Address: vip, Err: meaning{"the address is bound already: " + have.String(), fs.ErrExist}}
			}
			s.Keep = true
		}
		p.add(s)
	}
	return nil
}

// warn looks at the host as it will be.
func (p *planner) warn() {
	if p.setup.Suppress == SuppressNone {
		return
	}
	after := p.state
	after.Addresses = slices.Clone(after.Addresses)
	after.Local = slices.Clone(after.Local)
	for _, s := range p.steps {
		if s.Op == AddAddress && !s.Keep {
			after.Addresses = append(after.Addresses, *s.Address)
			after.Local = append(after.Local, LocalRoute{Prefix: s.Address.Prefix, Device: s.Device})
		}
	}
	for _, vip := range p.setup.VIPs {
		for _, l := range after.Links {
			if p.setup.Suppress == SuppressDevices && !slices.Contains(p.setup.Devices, l.Name) {
				continue
			}
			e, err := after.Check(vip, l.Name, netip.Addr{})
			if err != nil {
				continue
			}
			if e.Answers {
				p.warnings = append(p.warnings, fmt.Sprintf("%s will answer for %v: %v", l.Name, vip, e.AnswersCause))
			}
			if e.Announces {
				p.warnings = append(p.warnings, fmt.Sprintf("%s will announce %v: %v", l.Name, vip, e.AnnouncesCause))
			}
		}
	}
}
