package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// ids are the virtual services of a kind.
func (o *options) ids() (list []ipvs.ServiceID) {
	switch o.kind {
	case ppc:
		for _, p := range o.ports {
			list = append(list, ipvs.ServiceID{Protocol: p.protocol, Addr: netip.AddrPortFrom(o.vip, p.number)})
		}
	case pcc:
		list = append(list, ipvs.ServiceID{Protocol: o.protocol, Addr: netip.AddrPortFrom(o.vip, 0)})
	case pnmpp:
		family := ipvs.IPv4
		if o.vip.Is6() {
			family = ipvs.IPv6
		}
		list = append(list, ipvs.Mark(o.mark, family))
	}
	return list
}

// tables are the services with their real servers.
func (o *options) tables(c *ipvs.Client) (list []*setup.Table) {
	for _, id := range o.ids() {
		s := setup.NewService(id.Protocol, o.vip, 0)
		s.ID, s.Scheduler, s.Flags, s.Timeout = id, o.scheduler, ipvs.Persistent, o.timeout
		if o.mask > 0 {
			s.Netmask = ipvs.MaskBits(id.AddrFamily(), o.mask)
		}
		list = append(list, &setup.Table{
			Client: c, Program: "persistence", Service: s, Forward: o.forward,
			Destinations: o.real.Destinations(id.Addr.Port(), ipvs.Destination{Forward: o.forward}), // port 0 keeps each packet's
		})
	}
	return list
}

// services is the part of the status that shows all services in one table.
func (o *options) services(c *ipvs.Client) setup.Checks {
	return func(ctx context.Context) (setup.Look, error) {
		list := []service{}
		all := setup.Look{Name: "table"}
		var shown ipvsadm.Table
		for _, t := range o.tables(c) {
			l, err := t.Check(ctx)
			if err != nil {
				return all, err
			}
			all.Findings, all.Notes = append(all.Findings, l.Findings...), append(all.Notes, l.Notes...)
			if table, ok := l.Value.(ipvsadm.Table); ok {
				shown.Services = append(shown.Services, table.Services...)
				for _, s := range table.Services {
					list = append(list, service{ServiceStatus: s.ServiceStatus, Seconds: seconds(s.Service.Timeout), Destinations: s.Destinations})
				}
			}
		}
		all.Value = map[string]any{"services": list}
		var text strings.Builder
		err := ipvsadm.Listing{}.WriteTable(ctx, &text, shown, nil)
		all.Text = text.String()
		return all, err
	}
}

// service is a virtual service with its real servers in JSON.
type service struct {
	ipvs.ServiceStatus
	Timeout      struct{}                 `json:"timeout,omitzero"` // hides the one of ipvs.Service, which is in nanoseconds
	Seconds      seconds                  `json:"timeoutSeconds"`
	Destinations []ipvs.DestinationStatus `json:"destinations"`
}

// others are services of the same virtual address that are not of this kind, ports and mark.
func (o *options) others(ctx context.Context, c *ipvs.Client) (list []ipvs.ServiceID, err error) {
	services, err := c.Services(ctx)
	for _, s := range services {
		if !s.ID.IsMark() && s.ID.Addr.Addr() == o.vip && !slices.Contains(o.ids(), s.ID) {
			list = append(list, s.ID)
		}
	}
	return list, err
}

// markOf is the mark that the rule gives packets for a port; 0 is none.
func (o *options) markOf(p port) uint32 {
	if o.kind == pnmpp && slices.Contains(o.ports, p) {
		return o.mark
	}
	return 0
}
