package arp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
)

// Status is the state of a real server, with what is wrong with it.
type Status struct {
	VIPs       []VIPStatus
	Interfaces []InterfaceStatus
	Tunnels    []Link
	FOUPorts   []FOUPort
	Problems   []Problem
}

// VIPStatus is a virtual address as it is bound.
type VIPStatus struct {
	Address Address // without a device if it is not bound

	// Recorded says that a [Setup] of this package bound it, so that [Host.PlanRelease] will remove it.
	Recorded bool
}

// InterfaceStatus are the values in force on a device that speaks ARP and is up.
type InterfaceStatus struct {
	Device      string
	ARPIgnore   int
	ARPAnnounce int
	RPFilter    int
}

// ProblemKind says what is wrong.
type ProblemKind uint8

// Kinds of problems.
const (
	NotBound       ProblemKind = iota // the machine does not take packets for the virtual address
	WrongMask                         // bound with another length than 32 or 128: the subnet passes for this machine's
	WrongDevice                       // bound to a device that answers for it whatever the settings
	BoundTwice                        // bound to several devices or with several lengths, but for IPv4 on tunnels only
	NotInUse                          // IPv6: looked up for duplicates, or one was found
	DeviceDown                        // the tunnel or the device of an IPv6 address is off
	Answered                          // a device answers for the virtual address
	Announced                         // a device announces the virtual address
	ReturnFiltered                    // rp_filter drops what comes out of a tunnel
	Proxied                           // proxy_arp is on, so that more may be answered for
)

var problemNames = [...]string{
	NotBound: "not bound", WrongMask: "wrong mask", WrongDevice: "wrong device", BoundTwice: "bound twice",
	NotInUse: "not in use", DeviceDown: "device down", Answered: "answered", Announced: "announced",
	ReturnFiltered: "return path filtered", Proxied: "proxied",
}

// String returns a word or two for people, or "problem(N)".
func (k ProblemKind) String() string {
	if int(k) < len(problemNames) {
		return problemNames[k]
	}
	return fmt.Sprintf("problem(%d)", uint8(k))
}

// Problem is something wrong with a virtual address or a device.
type Problem struct {
	Kind   ProblemKind
	VIP    netip.Addr // invalid if it is about a device alone
	Device string
	Text   string // one sentence without a full stop
}

// String returns the kind, what it is about, and the text.
func (p Problem) String() string {
	s := p.Kind.String()
	if p.VIP.IsValid() {
		s += " " + p.VIP.String()
	}
	if p.Device != "" {
		s += " on " + p.Device
	}
	return s + ": " + p.Text
}

// Status looks at the virtual addresses of a real server. They are those named, those recorded, and all that loopback,
// dummy and tunnel devices hold, but for loopback and link-local addresses, and the machine's own that tunnels have as
// well ([Setup.TunnelAddress]). Name them to find one that is missing or on a network card. No privilege is needed in the
// caller's own namespace.
//
// The error is that of [Host.State], or matches fs.ErrInvalid for an impossible address.
func (h *Host) Status(ctx context.Context, vips ...netip.Addr) (Status, error) {
	s, err := h.State(ctx)
	if err != nil {
		return Status{}, err
	}
	return s.Status(vips...)
}

// Status is [Host.Status] for a state that was read before.
func (s State) Status(vips ...netip.Addr) (Status, error) {
	st := Status{FOUPorts: s.FOUPorts}
	var all []netip.Addr
	add := func(a netip.Addr) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, vip := range vips {
		plain, err := checkVIP(vip)
		if err != nil {
			return Status{}, fmt.Errorf("arp: status: %w", err)
		}
		add(plain)
	}
	recorded := map[netip.Addr]bool{}
	for _, e := range s.journal.Steps {
		if e.Op == AddAddress && slices.Contains(e.For, e.Address.Addr()) {
			recorded[e.Address.Addr()] = true
			add(e.Address.Addr())
		}
	}
	helpers := map[netip.Addr]bool{} // addresses of tunnels that are no virtual addresses
	for _, e := range s.journal.Steps {
		if e.Op == AddAddress && !recorded[e.Address.Addr()] {
			helpers[e.Address.Addr()] = true
		}
	}
	for _, a := range s.Addresses {
		l, ok := s.Link(a.Device)
		if _, err := checkVIP(a.Addr()); err == nil && ok && !l.Resolves() && !helpers[a.Addr()] && !automatic.Contains(a.Addr()) && !s.own(a.Addr()) {
			add(a.Addr())
		}
	}
	for _, vip := range all {
		st.vip(s, vip, recorded[vip])
	}
	for _, l := range s.Links {
		if l.Tunnel != nil {
			st.Tunnels = append(st.Tunnels, l)
			st.tunnel(s, l)
		}
		if !l.Up() || !l.Resolves() {
			continue
		}
		i := InterfaceStatus{Device: l.Name}
		i.ARPIgnore, _ = s.effective(l.Name, ignore)
		i.ARPAnnounce, _ = s.effective(l.Name, announce)
		i.RPFilter, _ = s.effective(l.Name, "rp_filter")
		st.Interfaces = append(st.Interfaces, i)
		if v, key := s.effective(l.Name, "proxy_arp"); v != 0 && len(all) > 0 {
			st.problem(Proxied, netip.Addr{}, l.Name, fmt.Sprintf("%v = %d: it may answer for addresses that it routes", key, v))
		}
	}
	return st, nil
}

// automatic are the addresses that the kernel gives a sit device by itself, with its IPv4 address in the last bytes.
var automatic = netip.MustParsePrefix("::/96")

func (st *Status) problem(kind ProblemKind, vip netip.Addr, device, text string) {
	st.Problems = append(st.Problems, Problem{kind, vip, device, text})
}

func (st *Status) vip(s State, vip netip.Addr, recorded bool) {
	var bound []Address
	for _, a := range s.Addresses {
		if a.Addr() == vip {
			bound = append(bound, a)
		}
	}
	for _, a := range bound {
		st.VIPs = append(st.VIPs, VIPStatus{Address: a, Recorded: recorded})
		l, _ := s.Link(a.Device)
		switch {
		case l.Resolves():
			st.problem(WrongDevice, vip, a.Device, "the device always answers for its own addresses")
		case !a.host() && vip.Is4():
			st.problem(WrongMask, vip, a.Device, fmt.Sprintf("with length %d all of %v that no device's subnet covers passes for this machine's", a.Prefix.Bits(), a.Prefix.Masked()))
		case !a.host():
			st.problem(WrongMask, vip, a.Device, fmt.Sprintf("with length %d this machine sends packets for %v there", a.Prefix.Bits(), a.Prefix.Masked()))
		}
		if a.Flags&(AddressTentative|AddressDADFailed) != 0 {
			st.problem(NotInUse, vip, a.Device, "the address is "+a.Flags.String())
		}
		if !l.Up() && vip.Is6() {
			st.problem(DeviceDown, vip, a.Device, "IPv6 addresses of a device that is down are not in use")
		}
	}
	switch _, local := s.isLocal(vip); {
	case len(bound) == 0 && local:
		st.VIPs = append(st.VIPs, VIPStatus{Address: Address{Prefix: hostPrefix(vip)}, Recorded: recorded})
	case len(bound) == 0:
		st.VIPs = append(st.VIPs, VIPStatus{Address: Address{Prefix: hostPrefix(vip)}, Recorded: recorded})
		st.problem(NotBound, vip, "", "no device holds the address and no route makes it local")
	case len(bound) > 1 && !s.onTunnels(bound):
		var where []string
		for _, a := range bound {
			where = append(where, a.String())
		}
		st.problem(BoundTwice, vip, "", strings.Join(where, ", "))
	}
	for _, l := range s.Links {
		if !l.Up() || !l.Resolves() {
			continue
		}
		e, err := s.Check(vip, l.Name, netip.Addr{})
		if err != nil || !e.Local {
			continue
		}
		if e.Answers {
			st.problem(Answered, vip, l.Name, e.AnswersCause.String())
		}
		if e.Announces {
			st.problem(Announced, vip, l.Name, e.AnnouncesCause.String())
		}
	}
}

// onTunnels says whether an IPv4 address is on tunnel devices only, once on each: a [Setup.TunnelAddress] is put on several
// of them, which without a record is known by nothing else.
func (s State) onTunnels(bound []Address) bool {
	seen := map[string]bool{}
	for _, a := range bound {
		l, ok := s.Link(a.Device)
		if !ok || l.Tunnel == nil || !a.Addr().Is4() || !a.host() || seen[a.Device] {
			return false
		}
		seen[a.Device] = true
	}
	return true
}

// own says whether an address is the machine's own and not a virtual one: packets for a tunnel are addressed to it, or a
// card has it with its subnet, and beside the card only tunnels do.
func (s State) own(addr netip.Addr) bool {
	var onTunnels []Address
	card := false
	for _, a := range s.Addresses {
		if a.Addr() != addr {
			continue
		}
		if l, ok := s.Link(a.Device); ok && l.Resolves() && !a.host() {
			card = true
		} else {
			onTunnels = append(onTunnels, a)
		}
	}
	return s.onTunnels(onTunnels) &&
		(card || slices.ContainsFunc(s.Links, func(l Link) bool { return l.Tunnel != nil && l.Tunnel.Local == addr }))
}

// tunnel looks at a device that could take off an encapsulation: one that is not the fallback, or is used.
func (st *Status) tunnel(s State, l Link) {
	own := s.addressesOf(l.Name, true)
	if l.Tunnel.Kind.Fallback() == l.Name && !l.Up() && len(own) == 0 {
		return
	}
	if !l.Up() {
		st.problem(DeviceDown, netip.Addr{}, l.Name, "the tunnel takes packets only when it is up")
	}
	if !l.Tunnel.Kind.inner4() {
		return
	}
	v, key := s.effective(l.Name, "rp_filter")
	switch {
	case v == 1:
		st.problem(ReturnFiltered, netip.Addr{}, l.Name, fmt.Sprintf("%v = %d drops all that comes out of the tunnel", key, v))
	case v > 1 && len(own) == 0:
		st.problem(ReturnFiltered, netip.Addr{}, l.Name, fmt.Sprintf("%v = %d drops all that comes out of a tunnel without an IPv4 address", key, v))
	}
}

// String returns the addresses, devices and problems as tables.
func (st Status) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if len(st.VIPs) > 0 {
		fmt.Fprintln(w, "VIP\tDEVICE\tRECORDED")
	}
	for _, v := range st.VIPs {
		dev, recorded := v.Address.Device, "no"
		if dev == "" {
			dev = "-"
		}
		if v.Recorded {
			recorded = "yes"
		}
		fmt.Fprintf(w, "%v\t%s\t%s\n", v.Address.Prefix, dev, recorded)
	}
	w.Flush()
	if len(st.Interfaces) > 0 {
		fmt.Fprintln(w, "INTERFACE\tARP_IGNORE\tARP_ANNOUNCE\tRP_FILTER")
	}
	for _, i := range st.Interfaces {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", i.Device, i.ARPIgnore, i.ARPAnnounce, i.RPFilter)
	}
	w.Flush()
	for _, t := range st.Tunnels {
		state := "down"
		if t.Up() {
			state = "up"
		}
		fmt.Fprintf(&b, "tunnel %v %s\n", *t.Tunnel, state)
	}
	for _, p := range st.FOUPorts {
		fmt.Fprintf(&b, "fou %v\n", p)
	}
	for _, p := range st.Problems {
		fmt.Fprintf(&b, "problem: %v\n", p)
	}
	return b.String()
}
