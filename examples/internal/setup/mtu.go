package setup

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"github.com/golvs/lvs/arp"
)

// Way returns the route to an address and what fits on it: the route's MTU, or that of its device.
func (m *Machine) Way(ctx context.Context, dst netip.Addr) (Route, int, error) {
	r, err := Lookup(m.NetNS, dst)
	if err != nil || r.MTU != 0 {
		return r, int(r.MTU), err
	}
	links, err := m.ARP.Links(ctx)
	if err != nil {
		return r, 0, err
	}
	i := slices.IndexFunc(links, func(l arp.Link) bool { return l.Index == r.Link })
	if i < 0 {
		return r, 0, nil
	}
	return r, int(links[i].MTU), nil
}

// OnLink says whether an address is reached by a device without a gateway. One that is not reached at all is not.
func (m *Machine) OnLink(ctx context.Context, addr netip.Addr, device string) (bool, error) {
	r, err := Lookup(m.NetNS, addr)
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), err == nil && r.Gateway.IsValid():
		return false, nil
	case err != nil:
		return false, err
	}
	links, err := m.ARP.Links(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(links, func(l arp.Link) bool { return l.Index == r.Link && l.Name == device }), nil
}
