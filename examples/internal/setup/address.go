package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
)

// Addresses is the part of a real server that package arp has: ARP suppression, decapsulation, and the virtual addresses.
type Addresses struct {
	Host    *arp.Host
	Program string // its name, for advice
	Setup   arp.Setup
}

// Start plans the set-up. It cannot be taken back without what earlier runs did for the same address, so it belongs at the
// end of a role, when nothing after it can fail.
func (a *Addresses) Start(ctx context.Context) (Action, error) {
	plan, err := a.Host.Plan(ctx, a.Setup)
	return hostAction(a.Host, plan), err
}

// Stop plans to take it back: what only these virtual addresses needed comes back to what it was.
func (a *Addresses) Stop(ctx context.Context) (Action, error) {
	plan, err := a.Host.PlanRelease(ctx, a.Setup.VIPs...)
	for _, vip := range a.Setup.VIPs {
		err = errors.Join(err, contradicts(plan, vip, a.Setup.Device))
	}
	return hostAction(a.Host, plan), err
}

// hostAction is the action that carries a plan out.
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

// contradicts is the error of stopping what was bound to another device than -dev says.
func contradicts(plan arp.Plan, vip netip.Addr, device string) error {
	for _, s := range plan.Steps {
		if s.Op == arp.DeleteAddress && s.Address.Addr() == vip && device != "" && s.Device != device {
			return &Contradiction{fmt.Sprintf("-dev %s", device), fmt.Sprintf("start has bound %v to %s", vip, s.Device)}
		}
	}
	return nil
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
	plan, err := a.Host.Plan(ctx, a.Setup)
	starts := err == nil && !plan.Empty() // else start would not change anything
	has4 := slices.ContainsFunc(a.Setup.VIPs, netip.Addr.Is4)
	for _, p := range problems {
		if p.Kind == arp.ReturnFiltered && !has4 {
			continue // IPv6 packets are not filtered
		}
		if !p.VIP.IsValid() || slices.Contains(a.Setup.VIPs, p.VIP) {
			l.Findings = append(l.Findings, Finding{p.String(), a.mend(p, s.VIPs, starts)})
		}
	}
	return l, nil
}

// mend says what to do about a problem, given what is bound and whether start would change anything.
func (a *Addresses) mend(p arp.Problem, bound []arp.VIPStatus, starts bool) string {
	start := fmt.Sprintf("%q", a.Program+" start -role "+RoleRealServer)
	prefix := p.VIP.String()
	if i := slices.IndexFunc(bound, func(v arp.VIPStatus) bool { return v.Address.Addr() == p.VIP && v.Address.Device == p.Device }); i >= 0 {
		prefix = bound[i].Address.Prefix.String()
	}
	switch p.Kind {
	case arp.NotBound:
		return start + " binds it"
	case arp.WrongMask, arp.WrongDevice:
		return fmt.Sprintf("\"ip address delete %s dev %s\", and then %s binds it as it should be", prefix, p.Device, start)
	case arp.BoundTwice:
		return "take it from all but one of them by \"ip address delete\""
	case arp.NotInUse:
		return "find out which other machine answers for it, and suppress or remove it there"
	case arp.DeviceDown:
		return fmt.Sprintf("\"ip link set %s up\"", p.Device)
	case arp.Proxied:
		return "set that to 0, unless it is needed"
	case arp.Answered, arp.Announced, arp.ReturnFiltered:
		if starts {
			return start + " sets what is needed"
		}
	}
	return ""
}

// VIP is the part of a director that holds the virtual address on a network card, where it answers ARP for it. What binds
// it is recorded apart from what a real server does, so that a machine that is both can stop being one of them.
type VIP struct {
	NetNS   string
	Program string // its name, for advice
	Addr    netip.Addr

	// Device is where Start binds the address, and Check expects it. If it is empty, others bind it: Start does nothing, and
	// Check is content with any device. Stop does not need it.
	Device string

	// Needed returns what else needs the address, which then stays when the part is stopped.
	Needed func(ctx context.Context) ([]ipvs.ServiceID, error)
}

// host returns the host with the record of the addresses of directors.
func (v *VIP) host() (*arp.Host, error) {
	id, err := namespaceID(v.NetNS)
	if err != nil {
		return nil, err
	}
	return arp.New(&arp.Config{NetNS: v.NetNS, Journal: fmt.Sprintf("run/lvs/vip-%s.json", id), Timeout: timeout})
}

// Start plans to bind the address. An IPv6 one is deprecated, so that the director's own packets, those of tunnels
// included, do not come from it.
func (v *VIP) Start(ctx context.Context) (Action, error) {
	if v.Device == "" {
		return Action{}, nil
	}
	host, err := v.host()
	if err != nil {
		return Action{}, err
	}
	links, err := host.Links(ctx)
	if err != nil {
		return Action{}, err
	}
	if !slices.ContainsFunc(links, func(l arp.Link) bool { return l.Name == v.Device }) {
		return Action{}, fmt.Errorf("there is no device %q: %w", v.Device, fs.ErrNotExist) // else a dummy of that name would be made
	}
	plan, err := host.Plan(ctx, arp.Setup{VIPs: []netip.Addr{v.Addr}, Device: v.Device, Suppress: arp.SuppressNone})
	a := hostAction(host, plan)
	if slices.ContainsFunc(plan.Steps, func(s arp.Step) bool { return s.Op == arp.AddAddress && !s.Keep }) {
		a.Undo = func(ctx context.Context) error {
			_, err := host.Release(ctx, v.Addr)
			return err
		}
	}
	return a, err
}

// Stop plans to unbind it from the device to which it was bound, if nothing else needs it.
func (v *VIP) Stop(ctx context.Context) (Action, error) {
	host, err := v.host()
	if err != nil {
		return Action{}, err
	}
	plan, err := host.PlanRelease(ctx, v.Addr)
	if err == nil {
		err = contradicts(plan, v.Addr, v.Device)
	}
	if err != nil || plan.Empty() {
		return Action{}, err
	}
	if ids, err := v.Needed(ctx); err != nil || len(ids) > 0 {
		return Action{Kept: needed(v.Addr.String(), ids)}, err
	}
	return hostAction(host, plan), nil
}

// needed says that something stays for the sake of others.
func needed(what string, ids []ipvs.ServiceID) string {
	if len(ids) == 0 {
		return ""
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.String()
	}
	return fmt.Sprintf("%s stays, as it is needed for %s\n", what, strings.Join(words, ", "))
}

// probe is how long to wait for other machines that answer for the address.
const probe = 300 * time.Millisecond

// Check says whether the device has the address, and whether any other machine answers for it too.
func (v *VIP) Check(ctx context.Context) (Look, error) {
	host, err := arp.New(&arp.Config{NetNS: v.NetNS, Timeout: timeout})
	if err != nil {
		return Look{}, err
	}
	if v.Device == "" {
		return v.anywhere(ctx, host)
	}
	l := Look{Name: "vip"}
	list, err := host.Addresses(ctx)
	if err != nil {
		return l, err
	}
	i := slices.IndexFunc(list, func(a arp.Address) bool { return a.Addr() == v.Addr && a.Device == v.Device })
	if i < 0 {
		l.Findings = append(l.Findings, Finding{fmt.Sprintf("%v is not on %s", v.Addr, v.Device), fmt.Sprintf("%q binds it", v.Program+" start")})
		return l, nil
	}
	l.Value, l.Text = list[i], fmt.Sprintln(list[i])
	replies, err := host.Probe(ctx, v.Device, v.Addr, &arp.ProbeOptions{Wait: probe})
	switch {
	case errors.Is(err, fs.ErrPermission):
		l.Notes = append(l.Notes, "nobody was asked who else answers for the address: that needs CAP_NET_RAW")
	case errors.Is(err, arp.ErrNoNeighbours), errors.Is(err, arp.ErrNoHardwareAddress):
	case err != nil:
		l.Findings = append(l.Findings, Finding{fmt.Sprintf("nobody can be asked for %v: %v", v.Addr, err), fmt.Sprintf("see to it that %s is up and connected", v.Device)})
	}
	for _, r := range replies {
		l.Findings = append(l.Findings, Finding{
			fmt.Sprintf("%v answers for %v too", r.HardwareAddr, v.Addr),
			"start the role of a real server there, which suppresses ARP, or take the address from that machine",
		})
	}
	return l, nil
}

// anywhere says whether the machine has the address at all.
func (v *VIP) anywhere(ctx context.Context, host *arp.Host) (Look, error) {
	l := Look{Name: "vip"}
	state, err := host.State(ctx)
	if err == nil && !slices.ContainsFunc(state.Local, func(r arp.LocalRoute) bool { return r.Prefix.Contains(v.Addr) }) {
		l.Findings = append(l.Findings, Finding{
			fmt.Sprintf("%v is no address of this machine, so that IPVS does not get its packets", v.Addr),
			fmt.Sprintf("\"%s start -dev DEVICE\" binds it", v.Program),
		})
	}
	return l, err
}
