package ipvsadm_test

import (
	"bytes"
	"context"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// randomState fills a kernel with what it accepts, ipvsadm's own limits left aside.
func (g generator) randomState(t *testing.T, c *ipvs.Client) {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.SetTimeouts(ctx, ipvs.Timeouts{
		TCP: time.Duration(1+g.IntN(8589934)) * time.Second, TCPFin: time.Second, UDP: time.Duration(1+g.IntN(1000)) * time.Second,
	}))
	mixed := g.oneIn(2)
	for i := range 1 + g.IntN(20) {
		id := ipvs.Mark(g.Uint32()|1, pick(g, ipvs.IPv4, ipvs.IPv6))
		switch g.IntN(3) {
		case 0:
			id = tcp("10.0.0.1:80")
			id.Protocol = pick(g, ipvs.TCP, ipvs.UDP, ipvs.SCTP)
			id.Addr = netip.AddrPortFrom(id.Addr.Addr(), uint16(i))
		case 1:
			id = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i))}
			if g.oneIn(4) {
				id.Addr = netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.0.0.1"), uint16(i))
				id.Family = ipvs.IPv6
			}
		}
		s := ipvs.Service{
			ID: id, Scheduler: pick(g, "rr", "sh", "mh", "none"), Flags: ipvs.ServiceFlags(g.Uint32()) &^ 2,
			Timeout: time.Duration(g.IntN(4294968)) * time.Second, PE: pick(g, "", "sip"),
			Netmask: netip.AddrFrom4([4]byte{byte(g.IntN(256)), 255, byte(g.IntN(256)), 0}),
		}
		if g.oneIn(2) {
			s.Flags &= ipvs.Persistent | ipvs.OnePacket
		}
		if id.AddrFamily() == ipvs.IPv6 {
			s.Netmask = ipvs.MaskBits(ipvs.IPv6, 1+g.IntN(128))
		}
		check(c.AddService(ctx, s))
		for j := range g.IntN(6) {
			d := ipvs.Destination{
				Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(g.IntN(255)), 0, 1}), uint16(j)),
				Forward: ipvs.ForwardMethod(g.IntN(8)), Weight: g.Uint32() >> 1, UpperThreshold: g.Uint32() >> 1,
				Tunnel: ipvs.TunnelOptions{
					Type: ipvs.TunnelType(g.IntN(256)), Port: uint16(1 + g.IntN(math.MaxUint16)), Flags: ipvs.TunnelFlags(g.Uint32()),
				},
			}
			d.LowerThreshold = g.Uint32N(d.UpperThreshold + 1)
			if g.oneIn(3) {
				d.Tunnel = ipvs.TunnelOptions{}
			}
			v6 := id.AddrFamily() == ipvs.IPv6
			if mixed && g.oneIn(4) {
				v6 = !v6
				d.Forward = ipvs.Tunnel
			}
			if v6 {
				a := netip.MustParseAddr("2001:db8::").As16()
				a[15] = byte(1 + g.IntN(255))
				d.Addr = netip.AddrPortFrom(netip.AddrFrom16(a), uint16(j))
			}
			if !mixed && d.Forward != ipvs.Tunnel || mixed || v6 == (id.AddrFamily() == ipvs.IPv6) {
				check(c.AddDestination(ctx, id, d))
			}
		}
	}
	if !mixed {
		check(c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "lo", SyncID: 7, Group: netip.MustParseAddr("224.0.1.2")}))
		check(c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Backup, Interface: "lo", MaxLen: 2000, TTL: 3, Port: 9, Group: netip.MustParseAddr("ff02::81")}))
	}
}

// A state that is saved, cleared and restored comes back equal in every attribute and in the kernel's own order.
func TestLosslessRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		g := newGenerator(seed)
		from, to := newKernel(t, nil), newKernel(t, nil)
		c := dial(t, from)
		g.randomState(t, c)
		want, err := c.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var saved, errs bytes.Buffer
		if status := runner(from)([]string{"ipvsadm", "-S", "--lossless"}, nil, &saved, &errs); status != 0 {
			t.Fatal(errs.String())
		}
		text := saved.String()
		args := []string{"ipvsadm", "-R", "--lossless"}
		if g.oneIn(2) {
			args = append(args, "--atomic")
		}
		if status := runner(to)(args, &saved, nil, &errs); status != 0 || errs.Len() != 0 {
			t.Fatalf("seed %d: %s\n%s", seed, errs.String(), text)
		}
		got, err := dial(t, to).Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s\n%s", seed, diff, text)
		}
	}
}

// What could have been made by ipvsadm is saved in words that ipvsadm reads, and the limits that -S drops are there.
func TestLosslessIsReadByAll(t *testing.T) {
	for _, state := range states {
		c := newClient(t)
		restore(t, c, &ipvsadm.Parser{}, golden(t, state+".setup"))
		want, err := c.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for _, op := range ipvsadm.Operations(want) {
			text += op.String() + "\n"
		}
		other := newClient(t)
		restore(t, other, &ipvsadm.Parser{}, text)
		got, err := other.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", state, diff, text)
		}
	}
}
