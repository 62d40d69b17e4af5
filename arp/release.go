package arp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/golvs/lvs/sysctl"
)

// PlanRelease says what has to be done to release virtual addresses, all that were set up if none is named: the
// addresses go first, then what was done for them alone comes back to what it was before, in reverse order. Devices,
// ports and settings that other addresses of an earlier [Setup] need stay, and ARP stays suppressed as long as someone
// else has bound a virtual address on the machine: one of length 32 on lo, a dummy or a tunnel device.
//
// Only what was recorded is taken back: an address that someone else bound is not removed, see [Host.PlanRemove]. An
// address that is not recorded is no error. The other errors are those of [Host.State].
func (h *Host) PlanRelease(ctx context.Context, vips ...netip.Addr) (Plan, error) {
	s, err := h.State(ctx)
	if err != nil {
		return Plan{}, err
	}
	return s.PlanRelease(vips...)
}

// Release is [Host.PlanRelease] and [Host.Apply].
func (h *Host) Release(ctx context.Context, vips ...netip.Addr) (Report, error) {
	p, err := h.PlanRelease(ctx, vips...)
	if err != nil {
		return Report{}, err
	}
	return h.Apply(ctx, p)
}

// PlanRelease is [Host.PlanRelease] for a state that was read before.
func (s State) PlanRelease(vips ...netip.Addr) (Plan, error) {
	vips = slices.Clone(vips)
	for i, vip := range vips {
		var err error
		if vips[i], err = checkVIP(vip); err != nil {
			return Plan{}, fmt.Errorf("arp: plan: %w", err)
		}
	}
	p := Plan{release: true, before: s.journal}
	var later []Step
	for _, entry := range slices.Backward(s.journal.Steps) {
		left := slices.DeleteFunc(slices.Clone(entry.For), func(a netip.Addr) bool { return len(vips) == 0 || slices.Contains(vips, a) })
		if len(vips) > 0 && len(left) == len(entry.For) && !entry.Orphan {
			continue // for none of them
		}
		undo := entry.inverse()
		undo.For, undo.Reason = left, "as it was before"
		switch foreign, held := s.foreign(); {
		case len(left) > 0:
			undo.Keep, undo.Reason = true, "still needed for "+join(left)
		case held && suppresses(entry):
			undo.Keep, undo.Orphan = true, true
			undo.Reason = fmt.Sprintf("still needed for %v, which someone else has bound", foreign)
		}
		if undo.Op == DeleteAddress {
			p.Steps = append(p.Steps, undo)
		} else {
			later = append(later, undo)
		}
	}
	p.Steps = append(p.Steps, later...)
	return p, nil
}

// suppresses says whether a step keeps the machine silent.
func suppresses(s Step) bool {
	if s.Op != SetSetting {
		return false
	}
	for _, name := range [...]string{ignore, announce} {
		if s.Setting == sysctl.IPv4("all", name) {
			return true
		}
	}
	return isDeviceKey(s.Setting, ignore) || isDeviceKey(s.Setting, announce)
}

// foreign returns a virtual address that nobody recorded.
func (s State) foreign() (Address, bool) {
	for _, a := range s.Addresses {
		l, ok := s.Link(a.Device)
		if !ok || l.Resolves() || !a.Addr().Is4() || !a.host() || a.Addr().IsLoopback() {
			continue
		}
		ours := slices.ContainsFunc(s.journal.Steps, func(e Step) bool {
			return e.Address != nil && e.Address.Prefix == a.Prefix && e.Address.Device == a.Device
		})
		if !ours {
			return a, true
		}
	}
	return Address{}, false
}

// Removal names things to remove, whoever made them.
type Removal struct {
	// Addresses are removed where they exist with this length on this device.
	Addresses []Address

	// Tunnels are the names of tunnel or dummy devices. The kernel does not remove a fallback device such as tunl0; it is
	// switched off instead.
	Tunnels []string

	FOUPorts []FOUPort
}

// PlanRemove says what has to be done to remove things that this package need not have made: the addresses that a script
// left behind, a tunnel. What does not exist is passed over. Settings are not touched. Nothing of it is recorded, but
// what was recorded about a removed thing is forgotten.
//
// The error matches fs.ErrInvalid for a device that is neither a tunnel nor a dummy, and is otherwise that of
// [Host.State].
func (h *Host) PlanRemove(ctx context.Context, r Removal) (Plan, error) {
	s, err := h.State(ctx)
	if err != nil {
		return Plan{}, err
	}
	return s.PlanRemove(r)
}

// PlanRemove is [Host.PlanRemove] for a state that was read before.
func (s State) PlanRemove(r Removal) (Plan, error) {
	p := Plan{release: true, before: s.journal}
	const why = "to be removed"
	for _, a := range r.Addresses {
		i := slices.IndexFunc(s.Addresses, func(have Address) bool { return have.Prefix == a.Prefix && have.Device == a.Device })
		if i >= 0 {
			p.Steps = append(p.Steps, Step{Op: DeleteAddress, Device: a.Device, Address: &s.Addresses[i], Reason: why})
		}
	}
	for _, port := range r.FOUPorts {
		if slices.Contains(s.FOUPorts, port) {
			p.Steps = append(p.Steps, Step{Op: DeleteFOU, FOU: &port, Reason: why})
		}
	}
	for _, name := range r.Tunnels {
		l, ok := s.Link(name)
		switch {
		case !ok:
		case l.Tunnel == nil && l.Kind != kindDummy:
			return Plan{}, &OpError{Op: "remove", Device: name, Err: errNotOurs}
		case l.Tunnel != nil && l.Tunnel.Kind.Fallback() == name:
			if l.Up() {
				p.Steps = append(p.Steps, Step{Op: SetDown, Device: name, Reason: "the kernel does not remove it"})
			}
		default:
			p.Steps = append(p.Steps, Step{Op: DeleteLink, Device: name, Tunnel: l.Tunnel, Reason: why})
		}
	}
	return p, nil
}

func join(addrs []netip.Addr) string {
	s := ""
	for i, a := range addrs {
		if i > 0 {
			s += ", "
		}
		s += a.String()
	}
	return s
}
