package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
)

// Addresses is the part of a real server that package arp has: ARP suppression, decapsulation, and the virtual addresses.
type Addresses struct {
	Host  *arp.Host
	Setup arp.Setup
}

// Start plans the set-up.
func (a *Addresses) Start(ctx context.Context) (Action, error) {
	plan, err := a.Host.Plan(ctx, a.Setup)
	return hostAction(a.Host, plan), err
}

// Stop plans to take it back: what only these virtual addresses needed comes back to what it was.
func (a *Addresses) Stop(ctx context.Context) (Action, error) {
	plan, err := a.Host.PlanRelease(ctx, a.Setup.VIPs...)
	return hostAction(a.Host, plan), err
}

// hostAction is the action that carries a plan out. It cannot be taken back without what earlier runs did for the same
// address, so it belongs at the end of a role, when nothing after it can fail.
func hostAction(h *arp.Host, plan arp.Plan) Action {
	a := Action{Do: func(ctx context.Context) error {
		_, err := h.Apply(ctx, plan)
		return err
	}}
	if !plan.Empty() {
		a.Text = plan.String()
	}
	return a
}

// Check says whether the addresses are bound and kept quiet about.
func (a *Addresses) Check(ctx context.Context) (Look, error) {
	s, err := a.Host.Status(ctx, a.Setup.VIPs...)
	if err != nil {
		return Look{}, err
	}
	l := Look{Name: "host", Value: s}
	problems := s.Problems
	s.Problems = nil
	l.Text = s.String()
	has4 := slices.ContainsFunc(a.Setup.VIPs, netip.Addr.Is4)
	for _, p := range problems {
		if p.Kind == arp.ReturnFiltered && !has4 {
			continue // IPv6 packets are not filtered
		}
		if !p.VIP.IsValid() || slices.Contains(a.Setup.VIPs, p.VIP) {
			l.Findings = append(l.Findings, Finding{Problem: p.String()})
		}
	}
	return l, nil
}

// VIP is the part of a director that holds the virtual address on a network card, where it answers ARP for it.
type VIP struct {
	Host    *arp.Host
	Program string // its name, for advice
	Addr    netip.Addr
	Device  string

	// Needed returns what else needs the address, which then stays when the part is stopped.
	Needed func(ctx context.Context) ([]ipvs.ServiceID, error)
}

// Start plans to bind the address. An IPv6 one is deprecated, so that the director's own packets, those of tunnels
// included, do not come from it.
func (v *VIP) Start(ctx context.Context) (Action, error) {
	links, err := v.Host.Links(ctx)
	if err != nil {
		return Action{}, err
	}
	if !slices.ContainsFunc(links, func(l arp.Link) bool { return l.Name == v.Device }) {
		return Action{}, fmt.Errorf("there is no device %q: %w", v.Device, fs.ErrNotExist) // else a dummy of that name would be made
	}
	plan, err := v.Host.Plan(ctx, arp.Setup{VIPs: []netip.Addr{v.Addr}, Device: v.Device, Suppress: arp.SuppressNone})
	return hostAction(v.Host, plan), err
}

// Stop plans to unbind it, if this package bound it and nothing else needs it.
func (v *VIP) Stop(ctx context.Context) (Action, error) {
	ids, err := v.Needed(ctx)
	if err != nil || len(ids) > 0 {
		return Action{}, err
	}
	plan, err := v.Host.PlanRelease(ctx, v.Addr)
	return hostAction(v.Host, plan), err
}

// probe is how long to wait for other machines that answer for the address.
const probe = 300 * time.Millisecond

// Check says whether the device has the address, and whether any other machine answers for it too.
func (v *VIP) Check(ctx context.Context) (Look, error) {
	l := Look{Name: "vip"}
	list, err := v.Host.Addresses(ctx)
	if err != nil {
		return l, err
	}
	i := slices.IndexFunc(list, func(a arp.Address) bool { return a.Addr() == v.Addr && a.Device == v.Device })
	if i < 0 {
		l.Findings = append(l.Findings, Finding{fmt.Sprintf("%v is not on %s", v.Addr, v.Device), fmt.Sprintf("%q binds it", v.Program+" start")})
		return l, nil
	}
	l.Value, l.Text = list[i], fmt.Sprintln(list[i])
	replies, err := v.Host.Probe(ctx, v.Device, v.Addr, &arp.ProbeOptions{Wait: probe})
	switch {
	case errors.Is(err, fs.ErrPermission):
		l.Notes = append(l.Notes, "nobody was asked who else answers for the address: that needs CAP_NET_RAW")
	case errors.Is(err, arp.ErrNoNeighbours), errors.Is(err, arp.ErrNoHardwareAddress):
	case err != nil:
		l.Findings = append(l.Findings, Finding{Problem: fmt.Sprintf("nobody can be asked for %v: %v", v.Addr, err)})
	}
	for _, r := range replies {
		l.Findings = append(l.Findings, Finding{
			fmt.Sprintf("%v answers for %v too", r.HardwareAddr, v.Addr),
			"start the role of a real server there, which suppresses ARP, or take the address from that machine",
		})
	}
	return l, nil
}
