package setup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Lookup returns the route that a packet to an address takes from a network namespace.
func Lookup(netns string, dst netip.Addr) (Route, error) {
	bodies, err := exchange(netns, encodeLookup(dst))
	if err != nil {
		return Route{}, fmt.Errorf("route to %v: %w", dst, err)
	}
	if len(bodies) == 0 {
		return Route{}, fmt.Errorf("route to %v: %w", dst, errShort)
	}
	return decodeRoute(bodies[0])
}

// list returns the routes of a family in the main table.
func list(netns string, like netip.Addr) ([]Route, error) {
	bodies, err := exchange(netns, encodeList(like))
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []Route
	for _, b := range bodies {
		r, err := decodeRoute(b)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		// A kernel without IPv6 answers with the routes of the other families.
		if r.table == tableMain && r.kind == rtnUnicast && r.Dst.Addr().Is4() == like.Is4() {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// Gateway is the part of a NAT real server that sends the answers to the clients through the director.
//
// Routes that are there stay. Where there is one for the very network of the clients already, such as another default
// route, the new ones are for its two halves, or their halves: the kernel prefers them, and removing them brings the old
// one back.
type Gateway struct {
	NetNS   string
	Program string         // its name, for advice
	Gateway netip.Addr     // the director; not needed to stop
	Clients []netip.Prefix // their networks, of the gateway's family
}

// change adds or deletes a route.
type change struct {
	add     bool
	dst     netip.Prefix
	gateway netip.Addr
}

func (c change) String() string {
	verb := "delete"
	if c.add {
		verb = "add"
	}
	return fmt.Sprintf("ip route %s %v via %v proto %d", verb, c.dst, c.gateway, protocolLVS)
}

func (c change) inverse() change { return change{!c.add, c.dst, c.gateway} }

func (c change) apply(netns string) error {
	if _, err := exchange(netns, encodeChange(c.add, c.dst, c.gateway)); err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

// plan compares the routes with what is wanted.
func plan(routes []Route, clients []netip.Prefix, gateway netip.Addr) (changes []change) {
	var wanted []netip.Prefix
	var want func(list []netip.Prefix)
	want = func(list []netip.Prefix) {
		for _, p := range list {
			switch i := slices.IndexFunc(routes, func(r Route) bool { return r.Dst == p && r.protocol != protocolLVS }); {
			case i < 0 && !slices.Contains(wanted, p):
				wanted = append(wanted, p)
			case i >= 0 && routes[i].Gateway != gateway:
				want(halves(p))
			}
		}
	}
	want(clients)
	for _, r := range routes {
		if r.protocol == protocolLVS && (r.Gateway != gateway || !slices.Contains(wanted, r.Dst)) {
			changes = append(changes, change{false, r.Dst, r.Gateway})
		}
	}
	for _, p := range wanted {
		if !slices.ContainsFunc(routes, func(r Route) bool {
			return r.protocol == protocolLVS && r.Dst == p && r.Gateway == gateway
		}) {
			changes = append(changes, change{true, p, gateway})
		}
	}
	return changes
}

// halves returns the two networks that make one up, or nothing for a single address.
func halves(p netip.Prefix) []netip.Prefix {
	if p.IsSingleIP() {
		return nil
	}
	upper := p.Addr().AsSlice()
	upper[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(upper)
	return []netip.Prefix{netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(a, p.Bits()+1)}
}

// Start plans to add the routes.
func (g *Gateway) Start(context.Context) (Action, error) {
	routes, err := list(g.NetNS, g.Gateway)
	if err != nil {
		return Action{}, err
	}
	return g.action(plan(routes, g.Clients, g.Gateway)), nil
}

// Stop plans to remove the routes that this package has added. A gateway that is not theirs is a [Contradiction].
func (g *Gateway) Stop(context.Context) (Action, error) {
	var changes []change
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		routes, err := list(g.NetNS, like)
		if err != nil {
			return Action{}, err
		}
		changes = append(changes, plan(routes, nil, netip.Addr{})...)
	}
	for _, c := range changes {
		if g.Gateway.IsValid() && c.gateway != g.Gateway {
			return Action{}, &Contradiction{fmt.Sprintf("-gw %v", g.Gateway), fmt.Sprintf("start has routed %v through %v", c.dst, c.gateway)}
		}
	}
	return g.action(changes), nil
}

func (g *Gateway) action(changes []change) Action {
	var text strings.Builder
	for _, c := range changes {
		fmt.Fprintln(&text, c)
	}
	undo := func(changes []change) error {
		var errs []error
		for _, c := range slices.Backward(changes) {
			errs = append(errs, c.inverse().apply(g.NetNS))
		}
		return errors.Join(errs...)
	}
	return Action{
		Text: text.String(),
		Do: func(ctx context.Context) error {
			for i, c := range changes {
				err := ctx.Err()
				if err == nil {
					err = c.apply(g.NetNS)
				}
				if err != nil {
					return errors.Join(err, undo(changes[:i]))
				}
			}
			return nil
		},
		Undo: func(context.Context) error { return undo(changes) },
	}
}

// Check says which way the answers to the clients take.
func (g *Gateway) Check(context.Context) (Look, error) {
	type way struct {
		Clients netip.Prefix `json:"clients"`
		Gateway netip.Addr   `json:"gateway,omitzero"`
	}
	l := Look{Name: "gateway"}
	var ways []way
	for _, p := range g.Clients {
		for _, a := range samples(p) {
			r, err := Lookup(g.NetNS, a)
			w := way{p, r.Gateway}
			mend := fmt.Sprintf("%q adds a route", g.Program+" start")
			if p.IsSingleIP() && err == nil {
				mend += "; if there is another for that address alone, take that away before"
			}
			switch {
			case err != nil:
				l.Findings = append(l.Findings, Finding{fmt.Sprintf("clients such as %v cannot be answered: %v", a, err), mend})
			case r.Local:
				l.Findings = append(l.Findings, Finding{fmt.Sprintf("%v, which is among the clients, is an address of this machine", a), "name the networks of the clients by -clients"})
			case r.Gateway != g.Gateway:
				by := "directly"
				if r.Gateway.IsValid() {
					by = "through " + r.Gateway.String()
				}
				l.Findings = append(l.Findings, Finding{fmt.Sprintf("clients such as %v are answered %s and not through the director %v, so they get packets that they do not expect", a, by, g.Gateway), mend})
			}
			if !slices.Contains(ways, w) && err == nil {
				ways = append(ways, w)
				l.Text += fmt.Sprintf("clients in %v are answered through %v\n", p, r.Gateway)
			}
		}
	}
	l.Value = ways
	return l, nil
}

// samples returns an address of each half of a network.
func samples(p netip.Prefix) []netip.Addr {
	if p.IsSingleIP() {
		return []netip.Addr{p.Addr()}
	}
	list := make([]netip.Addr, 2)
	for i, h := range halves(p) {
		switch list[i] = h.Addr().Next(); {
		case h == netip.PrefixFrom(netip.IPv4Unspecified(), 1):
			list[i] = netip.AddrFrom4([4]byte{1, 0, 0, 1}) // addresses that begin with zero have no routes
		case h == netip.PrefixFrom(netip.IPv6Unspecified(), 1):
			list[i] = netip.AddrFrom16([16]byte{0: 0x20, 15: 1})
		case h.IsSingleIP():
			list[i] = h.Addr()
		}
	}
	return list
}
