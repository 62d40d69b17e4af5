package sim_test

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// picture is what both directors must agree on. Its parts are compared and sorted as they are: to make text of them takes
// longer than all that the kernel does for a picture.
type picture struct {
	Conns    []connRow
	Dests    []destRow
	Conns0   uint64 // connections counted so far
	In, Out  uint64
	InBytes  uint64
	OutBytes uint64
}

// connRow is an entry of the connection table.
type connRow struct {
	Protocol              string
	Client, Virtual, Dest netip.AddrPort
	State, Engine, Data   string
}

func (c connRow) compare(other connRow) int {
	return cmp.Or(c.Client.Compare(other.Client), c.Virtual.Compare(other.Virtual), c.Dest.Compare(other.Dest),
		strings.Compare(c.Protocol, other.Protocol), strings.Compare(c.State, other.State),
		strings.Compare(c.Engine, other.Engine), strings.Compare(c.Data, other.Data))
}

// destRow is a destination of a service.
type destRow struct {
	Service                      ipvs.ServiceID
	Addr                         netip.AddrPort
	Weight                       uint32
	Active, Inactive, Persistent int
}

func (d destRow) compare(other destRow) int {
	return cmp.Or(d.Service.Compare(other.Service), d.Addr.Compare(other.Addr))
}

// equal reports whether two pictures are the same, an empty table being one that is not there.
func (v *picture) equal(other *picture) bool {
	return slices.Equal(v.Conns, other.Conns) && slices.Equal(v.Dests, other.Dests) && v.Conns0 == other.Conns0 &&
		v.In == other.In && v.Out == other.Out && v.InBytes == other.InBytes && v.OutBytes == other.OutBytes
}

func (p *pair) simulated() *picture {
	v := new(picture)
	for c := range p.Conns() {
		v.Conns = append(v.Conns, connRow{c.Protocol.String(), c.Client, c.Virtual, c.Dest, c.State, c.Engine, c.Data})
	}
	for s := range p.Services() {
		id := realID(s.ID)
		for d := range p.Dests(s.ID) {
			v.Dests = append(v.Dests, destRow{id, d.Addr, d.Weight, int(d.Active), int(d.Inactive), d.Persistent})
		}
	}
	slices.SortFunc(v.Conns, connRow.compare)
	slices.SortFunc(v.Dests, destRow.compare)
	n := p.Total().Counted
	v.Conns0, v.In, v.Out, v.InBytes, v.OutBytes = n.Conns, n.InPackets, n.OutPackets, n.InBytes, n.OutBytes
	return v
}

// seen is what a client reads of a kernel.
func (p *pair) seen(client *ipvs.Client) *picture {
	p.t.Helper()
	ctx := context.Background()
	v := new(picture)
	for c, err := range client.Connections(ctx) {
		if err != nil {
			p.t.Fatal(err)
		}
		v.Conns = append(v.Conns, connRow{c.Protocol, c.Client, c.Virtual, c.Destination, c.State, c.PE, c.PEData})
	}
	if err := client.SnapshotInto(ctx, &p.table); err != nil {
		p.t.Fatal(err)
	}
	for i := range p.table.Services {
		s := &p.table.Services[i]
		for j := range s.Destinations {
			d := &s.Destinations[j]
			v.Dests = append(v.Dests, destRow{s.ID, d.Addr, d.Weight, int(d.Active), int(d.Inactive), int(d.Persistent)})
		}
	}
	stats, err := client.KernelStats(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range stats.CPUs {
		v.Conns0, v.In, v.Out, v.InBytes, v.OutBytes = v.Conns0+c.Connections, v.In+c.InPackets, v.Out+c.OutPackets, v.InBytes+c.InBytes, v.OutBytes+c.OutBytes
	}
	slices.SortFunc(v.Conns, connRow.compare)
	slices.SortFunc(v.Dests, destRow.compare)
	return v
}
