package nltest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// statsPolicy reads a statistics nest.
var statsPolicy = policy{1: {}, 2: {}, 3: {}, 4: {}, 5: {}, 6: {}, 7: {}, 8: {}, 9: {}, 10: {}}

// statsOf decodes a statistics nest.
func statsOf(t testing.TB, nest []byte) fields {
	t.Helper()
	f, left, bad := statsPolicy.parse(nest, 0)
	if left || bad != nil || !f.has(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) {
		t.Fatalf("statistics %x", nest)
	}
	return f
}

// u64 returns a 64-bit attribute.
func (f fields) u64(i int) uint64 { return native.Uint64(f[i]) }

// TestEstimatorArithmetic replays runs that were observed on Linux.
func TestEstimatorArithmetic(t *testing.T) {
	type step struct {
		Packets, Bytes uint64 // counted before the visit
		InPPS, InBPS   uint64 // shown after it
	}
	runs := map[string][]step{
		// 1000 packets of 128 bytes in one interval, on 6.1.
		"one burst": {
			{1000, 128000, 125, 16000}, {0, 0, 94, 12000}, {0, 0, 70, 9000}, {0, 0, 53, 6750}, {0, 0, 40, 5062},
			{0, 0, 30, 3797}, {0, 0, 22, 2848}, {0, 0, 17, 2136}, {0, 0, 13, 1602}, {0, 0, 9, 1201}, {0, 0, 7, 901},
			{0, 0, 5, 676}, {0, 0, 4, 507}, {0, 0, 3, 380}, {0, 0, 2, 285}, {0, 0, 2, 214}, {0, 0, 1, 160}, {0, 0, 1, 120},
			{0, 0, 1, 90}, {0, 0, 1, 68}, {0, 0, 0, 51}, {0, 0, 0, 38}, {0, 0, 0, 28}, {0, 0, 0, 21}, {0, 0, 0, 16},
			{0, 0, 0, 12}, {0, 0, 0, 9}, {0, 0, 0, 7}, {0, 0, 0, 5}, {0, 0, 0, 4},
		},
		// The same over two intervals, on 6.12.
		"two intervals": {
			{115, 14720, 14, 1840}, {885, 113280, 121, 15540}, {0, 0, 91, 11655}, {0, 0, 68, 8741}, {0, 0, 51, 6556},
			{0, 0, 38, 4917}, {0, 0, 29, 3688}, {0, 0, 22, 2766}, {0, 0, 16, 2074}, {0, 0, 12, 1556}, {0, 0, 9, 1167},
			{0, 0, 7, 875}, {0, 0, 5, 656}, {0, 0, 4, 492}, {0, 0, 3, 369}, {0, 0, 2, 277}, {0, 0, 2, 208}, {0, 0, 1, 156},
			{0, 0, 1, 117}, {0, 0, 1, 88}, {0, 0, 1, 66}, {0, 0, 0, 49}, {0, 0, 0, 37}, {0, 0, 0, 28}, {0, 0, 0, 21},
			{0, 0, 0, 16}, {0, 0, 0, 12},
		},
		// 40 connections of one packet in one interval.
		"connections": {
			{40, 5120, 5, 640}, {0, 0, 4, 480}, {0, 0, 3, 360}, {0, 0, 2, 270}, {0, 0, 2, 202}, {0, 0, 1, 152}, {0, 0, 1, 114}, {0, 0, 1, 85},
		},
	}
	for name, run := range runs {
		for _, version := range []string{"6.1", "6.12"} {
			t.Run(name+" "+version, func(t *testing.T) {
				k := newKernel(t, &Config{Version: version})
				ns := k.Namespace("")
				p := newTap(t, ns)
				p.must(NewService, svc(vip, rr))
				var total uint64
				for i, want := range run {
					// Connections are counted like packets, and the other direction like this one.
					c := Counters{Conns: want.Packets, InPackets: want.Packets, OutPackets: want.Packets, InBytes: want.Bytes, OutBytes: want.Bytes}
					if err := ns.Count(vip, netip.AddrPort{}, c); err != nil {
						t.Fatal(err)
					}
					total += want.Packets
					k.Advance(2 * time.Second)
					f := p.getService(vip)
					s, s64 := statsOf(t, f[svcStats]), statsOf(t, f[svcStats64])
					got := []uint64{uint64(s.u32(6)), uint64(s.u32(7)), uint64(s.u32(8)), uint64(s.u32(9)), uint64(s.u32(10)), s64.u64(2)}
					expect := []uint64{want.InPPS, want.InPPS, want.InPPS, want.InBPS, want.InBPS, total}
					if diff := cmp.Diff(expect, got); diff != "" {
						t.Fatalf("visit %d: rates and packets (-want +got):\n%s", i+1, diff)
					}
					if s64.u64(6) != want.InPPS || s64.u64(10) != want.InBPS {
						t.Fatalf("visit %d: 64-bit rates %d, %d", i+1, s64.u64(6), s64.u64(10))
					}
				}
			})
		}
	}
}

// TestEstimatorState compares the moving averages themselves with the observed run.
func TestEstimatorState(t *testing.T) {
	s := &stats{live: Counters{InPackets: 1000, InBytes: 128000}}
	packets := []int64{128000, 96000, 72000, 54000, 40500, 30375, 22781, 17085, 12813, 9609, 7206, 5404, 4053, 3039, 2279, 1709, 1281, 960, 720, 540, 405, 303}
	bytes := []int64{512000, 384000, 288000, 216000, 162000, 121500, 91125, 68343, 51257, 38442, 28831, 21623, 16217, 12162, 9121, 6840, 5130, 3847, 2885, 2163}
	for i, want := range packets {
		s.visit()
		if s.avg[1] != want || i < len(bytes) && s.avg[3] != bytes[i] {
			t.Fatalf("visit %d: %d, %d", i+1, s.avg[1], s.avg[3])
		}
	}
	for range 100 {
		s.visit()
	}
	if s.avg != [5]int64{} {
		t.Errorf("the decay ends at %v", s.avg)
	}
}

func TestSamplingInstants(t *testing.T) {
	// On 6.1 a namespace has one timer, on 6.12 every object its own.
	for version, want := range map[string]time.Duration{"6.1": 500 * time.Millisecond, "6.12": 2 * time.Second} {
		k := newKernel(t, &Config{Version: version})
		ns := k.Namespace("")
		k.Advance(1500 * time.Millisecond)
		p := newTap(t, ns)
		p.must(NewService, svc(vip, rr))
		if err := ns.Count(vip, netip.AddrPort{}, Counters{Conns: 1}); err != nil {
			t.Fatal(err)
		}
		k.Advance(want - time.Nanosecond)
		if got := statsOf(t, p.getService(vip)[svcStats]).u32(1); got != 0 {
			t.Errorf("%s: visible too early", version)
		}
		k.Advance(time.Nanosecond)
		if got := statsOf(t, p.getService(vip)[svcStats]).u32(1); got != 1 {
			t.Errorf("%s: not visible in time", version)
		}
	}
}

func TestRunEstimation(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	ns.SetRunEstimation(false)
	if err := ns.Count(vip, netip.AddrPort{}, Counters{Conns: 1}); err != nil {
		t.Fatal(err)
	}
	k.Advance(time.Minute)
	if got := statsOf(t, p.getService(vip)[svcStats]).u32(1); got != 0 {
		t.Error("counters move while the estimator is off")
	}
	ns.SetRunEstimation(true)
	k.Advance(2 * time.Second)
	if got := statsOf(t, p.getService(vip)[svcStats]).u32(1); got != 1 {
		t.Error("counters do not catch up")
	}
}

func TestZero(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	other := udp("192.0.2.10:53")
	one := netip.MustParseAddrPort("10.0.0.1:80")
	p.must(NewService, svc(vip, rr))
	p.must(NewService, svc(other, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	packets := func(n uint64) Counters { return Counters{InPackets: n, InBytes: 128 * n} }
	count := func(n uint64) {
		t.Helper()
		if err := ns.Count(vip, one, packets(n)); err != nil {
			t.Fatal(err)
		}
		if err := ns.Count(other, netip.AddrPort{}, packets(n)); err != nil {
			t.Fatal(err)
		}
	}
	type seen struct{ Packets, Bytes, PPS, BPS uint64 }
	of := func(f fields, attr int) seen {
		s := statsOf(t, f[attr])
		return seen{uint64(s.u32(2)), s.u64(4), uint64(s.u32(7)), uint64(s.u32(9))}
	}
	look := func() []seen {
		total, r := ns.total.view()
		return []seen{
			of(p.getService(vip), svcStats), of(p.getDest(vip, "10.0.0.1:80"), destStats), of(p.getService(other), svcStats),
			{total.InPackets, total.InBytes, r[1], r[3]},
		}
	}
	count(1500)
	k.Advance(2 * time.Second)
	full, both := seen{1500, 192000, 187, 24000}, seen{3000, 384000, 375, 48000}
	if diff := cmp.Diff([]seen{full, full, full, both}, look()); diff != "" {
		t.Fatalf("before (-want +got):\n%s", diff)
	}
	count(300)
	p.must(Zero, svc(vip))
	if diff := cmp.Diff([]seen{{}, {}, full, both}, look()); diff != "" {
		t.Fatalf("after ZERO of one service (-want +got):\n%s", diff)
	}
	k.Advance(2500 * time.Millisecond)
	again := seen{300, 38400, 37, 4800}
	if diff := cmp.Diff([]seen{again, again}, look()[:2]); diff != "" {
		t.Fatalf("what was not sampled comes back (-want +got):\n%s", diff)
	}
	p.must(Zero)
	if diff := cmp.Diff([]seen{{}, {}, {}, {}}, look()); diff != "" {
		t.Fatalf("after ZERO of everything (-want +got):\n%s", diff)
	}
}

// TestNarrowCounters checks the 32-bit view: the low half of the difference.
func TestNarrowCounters(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	if err := ns.Count(vip, netip.AddrPort{}, Counters{Conns: 1<<32 + 5, InPackets: 1 << 33, InBytes: 1<<40 + 1}); err != nil {
		t.Fatal(err)
	}
	k.Advance(2 * time.Second)
	f := p.getService(vip)
	s, s64 := statsOf(t, f[svcStats]), statsOf(t, f[svcStats64])
	if s.u32(1) != 5 || s.u32(2) != 0 || s.u64(4) != 1<<40+1 || s64.u64(1) != 1<<32+5 || s64.u64(2) != 1<<33 {
		t.Errorf("32-bit %d %d %d, 64-bit %d %d", s.u32(1), s.u32(2), s.u64(4), s64.u64(1), s64.u64(2))
	}
}
