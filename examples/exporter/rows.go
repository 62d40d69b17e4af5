package main

import (
	"net/netip"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"

	"github.com/golvs/lvs/ipvs"
)

// serviceRow keeps the samples of a service, and those of its destinations.
type serviceRow struct {
	id           ipvs.ServiceID
	name         *dto.LabelPair
	row          row
	scheduler    string // that info has, as has flags
	flags        ipvs.ServiceFlags
	info         row
	destinations []*destinationRow // sorted by address
}

// destinationRow keeps the samples of a destination of a service.
type destinationRow struct {
	addr    netip.AddrPort
	name    *dto.LabelPair
	row     row
	forward ipvs.ForwardMethod // that info has
	info    row
}

func (p *page) newServiceRow(s *ipvs.ServiceSnapshot) *serviceRow {
	name := label("service", s.ID.String())
	return &serviceRow{id: s.ID, name: name, row: p.service.row(name)}
}

// putService enters a service, with the sums over all of its destinations, and no more than so many of these. It returns how
// many those are.
func (p *page) putService(r *serviceRow, s *ipvs.ServiceSnapshot, most int) int {
	if r.info == nil || r.scheduler != s.Scheduler || r.flags != s.Flags {
		r.scheduler, r.flags = s.Scheduler, s.Flags
		protocol, addr, port, mark := s.ID.Protocol.String(), s.ID.Addr.Addr().String(), strconv.Itoa(int(s.ID.Addr.Port())), ""
		if s.ID.IsMark() {
			protocol, addr, port, mark = "", "", "", strconv.FormatUint(uint64(s.ID.FWMark), 10)
		}
		r.info = p.serviceInfo.row(r.name, label("protocol", protocol), label("address", addr), label("port", port), label("mark", mark),
			label("scheduler", s.Scheduler), label("flags", s.Flags.String()))
	}
	p.serviceInfo.put(r.info, 1)

	var active, inactive, templates uint64
	p.destinations = p.destinations[:0]
	for i := range s.Destinations {
		d := &s.Destinations[i]
		active += uint64(d.Active)
		inactive += uint64(d.Inactive)
		templates += uint64(d.Persistent)
		p.destinations = append(p.destinations, d)
	}
	values := connectionValues(make([]float64, 0, 13), active, inactive, templates)
	p.service.put(r.row, statsValues(values, s.Stats)...)

	slices.SortFunc(p.destinations, func(a, b *ipvs.DestinationStatus) int { return a.Addr.Compare(b.Addr) })
	shown := p.destinations[:min(len(p.destinations), most)]
	r.destinations = follow(r.destinations, shown, func(r *destinationRow, d *ipvs.DestinationStatus) int { return r.addr.Compare(d.Addr) },
		func(d *ipvs.DestinationStatus) *destinationRow {
			name := label("destination", d.Addr.String())
			return &destinationRow{addr: d.Addr, name: name, row: p.destination.row(r.name, name)}
		})
	for i, d := range shown {
		p.putDestination(r, r.destinations[i], d)
	}
	return len(shown)
}

func (p *page) putDestination(s *serviceRow, r *destinationRow, d *ipvs.DestinationStatus) {
	if r.info == nil || r.forward != d.Forward {
		r.forward = d.Forward
		r.info = p.destinationInfo.row(s.name, r.name, label("forward", d.Forward.String()))
	}
	p.destinationInfo.put(r.info, 1)
	values := append(make([]float64, 0, 14), float64(d.Weight))
	values = connectionValues(values, uint64(d.Active), uint64(d.Inactive), uint64(d.Persistent))
	p.destination.put(r.row, statsValues(values, d.Stats)...)
}
