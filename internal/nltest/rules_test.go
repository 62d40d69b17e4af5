package nltest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// getService reads one service.
func (p *tap) getService(id ServiceID) fields {
	p.t.Helper()
	got := p.exchange(p.request(GetService, flagRequest, svc(id)))
	if len(got) != 1 || parseHeader(got[0]).typ == typeError {
		p.t.Fatalf("GET_SERVICE: %x", got)
	}
	return fieldsOf(p.t, servicePolicyAll, got[0][genHeaderLen:])
}

// servicePolicyAll also reads what only replies have.
var servicePolicyAll = append(slices.Clone(servicePolicy), rule{kind: kindNested})

// getDest reads one destination.
func (p *tap) getDest(id ServiceID, addr string) fields {
	p.t.Helper()
	entries, _ := p.dump(GetDest, svc(id))
	i := slices.Index(destNames(p.t, entries), addr)
	if i < 0 {
		p.t.Fatalf("no destination %s", addr)
	}
	return fieldsOf(p.t, destPolicy, entries[i])
}

func TestServiceFlags(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	for _, step := range []struct {
		cmd               Command
		flags, mask, want uint32
	}{
		{NewService, 0xffffffff, 0xffffffff, 0xffffffff},
		{SetService, 0, 1, 0xfffffffe},
		{SetService, 0, 0xffffffff, 0x00000002},
		{SetService, 0x3c, 0x14, 0x00000016},
	} {
		p.must(step.cmd, svc(vip, conf("rr", step.flags, step.mask, 0)))
		f := p.getService(vip)
		if got := native.Uint32(f[svcFlags]); got != step.want {
			t.Errorf("%v %x/%x: %x, want %x", step.cmd, step.flags, step.mask, got, step.want)
		}
		if mask := native.Uint32(f[svcFlags][4:]); mask != 0xffffffff {
			t.Errorf("mask %x", mask)
		}
	}
	// Four bytes of flags have a mask of 0.
	p.must(NewService, svc(udp("192.0.2.10:1"), str(svcSched, "rr"), u32(svcFlags, 5), u32(svcTimeout, 0), u32(svcNetmask, 0)))
	if got := native.Uint32(p.getService(udp("192.0.2.10:1"))[svcFlags]); got != flagHashed {
		t.Errorf("flags without a mask: %x", got)
	}
}

func TestServiceTimeoutWraps(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	p.must(NewService, svc(vip, rr))
	for in, want := range map[uint32]uint32{0: 0, 300: 300, 17179869: 17179869, 17179870: 0, 4294967295: 17179868} {
		p.must(SetService, svc(vip, conf("rr", 0, 0, in)))
		if got := p.getService(vip).u32(svcTimeout); got != want {
			t.Errorf("timeout %d: %d, want %d", in, got, want)
		}
	}
}

func TestServiceEditing(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	p.must(NewService, svc(vip, conf("wlc", flagPersistent, 0xffffffff, 300), str(svcEngine, "sip")))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	f := p.getService(vip)
	if f.str(svcEngine) != "sip" || f.str(svcSched) != "wlc" || f.u32(svcTimeout) != 300 {
		t.Fatalf("service %v", f)
	}
	// A failed SET changes nothing.
	if errno := p.do(SetService, svc(vip, conf("rr", 0, 0xffffffff, 5), str(svcEngine, "what"))); errno != ENOENT {
		t.Fatal(errno)
	}
	if diff := cmp.Diff(f, p.getService(vip)); diff != "" {
		t.Fatalf("after a failed SET:\n%s", diff)
	}
	// An engine that is not repeated is removed; destinations stay.
	p.must(SetService, svc(vip, conf("rr", 0, 0, 60)))
	f = p.getService(vip)
	if f.has(svcEngine) || f.str(svcSched) != "rr" || f.u32(svcTimeout) != 60 || f.u32(svcFlags)&flagPersistent == 0 {
		t.Errorf("service %v", f)
	}
	p.getDest(vip, "10.0.0.1:80")
	// What was sent behind an IPv4 address does not come back, and it is the same service without.
	odd := udp("192.0.2.10:9")
	addr := []byte{192, 0, 2, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	p.must(NewService, in(topService, u16(svcAF, afInet), u16(svcProtocol, 17), bin(svcAddr, addr...), be16(svcPort, 9), rr))
	if got := p.getService(odd)[svcAddr]; !slices.Equal(got, append(addr[:4], make([]byte, 12)...)) {
		t.Errorf("address %v", got)
	}
	// A mark of 0 is TCP 0.0.0.0:0, and marks of both families are different services.
	p.must(NewService, in(topService, u16(svcAF, afInet), u32(svcMark, 0), rr))
	if f := p.getService(tcp("0.0.0.0:0")); f.has(svcMark) || f.u16(svcProtocol) != protoTCP {
		t.Errorf("service of mark 0: %v", f)
	}
	p.must(NewService, svc(mark(7), rr))
	p.must(NewService, svc(ServiceID{Mark: 7, IPv6: true}, conf6("wrr", 0, 0, 0, 128)))
	if f := p.getService(mark(7)); f.has(svcProtocol) || f.has(svcAddr) || f.has(svcPort) || f.str(svcSched) != "rr" {
		t.Errorf("mark service: %v", f)
	}
}

func TestDestEditing(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", full(0x2003, 65536, 100, 80), u8(destTunType, 1), be16(destTunPort, 6080), u16(destTunFlags, 2)))
	f := p.getDest(vip, "10.0.0.1:80")
	want := []uint32{3, 65536, 100, 80, 1, 6080, 2, afInet}
	values := func(f fields) []uint32 {
		return []uint32{
			f.u32(destFwd), f.u32(destWeight), f.u32(destUpper), f.u32(destLower),
			uint32(f.u8(destTunType)), uint32(f.be16(destTunPort)), uint32(f.u16(destTunFlags)), uint32(f.u16(destAF)),
		}
	}
	if diff := cmp.Diff(want, values(f)); diff != "" {
		t.Fatalf("after NEW (-want +got):\n%s", diff)
	}
	// A SET without tunnel data resets them; no address check.
	p.must(SetDest, svc(vip), dst("10.0.0.1:80", full(13, 0, 0, 0)))
	if diff := cmp.Diff([]uint32{5, 0, 0, 0, 0, 0, 0, afInet}, values(p.getDest(vip, "10.0.0.1:80"))); diff != "" {
		t.Fatalf("after SET (-want +got):\n%s", diff)
	}
	// A 4-byte address without family in an IPv6 service is an IPv6 address.
	p.must(NewService, svc(vip6, conf6("rr", 0, 0, 0, 128)))
	p.must(NewDest, svc(vip6), in(topDest, bin(destAddr, 10, 1, 0, 1), be16(destPort, 80), w1))
	p.getDest(vip6, "[a01:1::]:80")
	// The same address with another port is another destination.
	p.must(NewDest, svc(vip), dst("10.0.0.1:81", w1))
}

func TestDestOrder(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	p.must(NewService, svc(vip, rr))
	name := func(i int) string { return "10.0.0." + itoa(i) + ":80" }
	for i := 1; i <= 60; i++ {
		p.must(NewDest, svc(vip), dst(name(i), w1))
	}
	p.must(SetDest, svc(vip), dst(name(10), full(3, 5, 0, 0)))
	p.must(DelDest, svc(vip), dst(name(30)))
	p.must(NewDest, svc(vip), dst(name(30), w1))
	want := []string{name(30)}
	for i := 60; i >= 1; i-- {
		if i != 30 {
			want = append(want, name(i))
		}
	}
	entries, _ := p.dump(GetDest, svc(vip))
	if diff := cmp.Diff(want, destNames(t, entries)); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
}

func TestServiceOrder(t *testing.T) {
	for _, key := range []uint32{0, 16, 0x90, 0xabcdef37} {
		p := newTap(t, newKernel(t, &Config{HashKey: key}).Namespace("x"))
		// Two services in one bucket (ports 1 and 257+… differ in the folded port), some in others, and marks.
		ids := []ServiceID{
			tcp("0.0.0.0:1"), tcp("0.0.0.0:256"), tcp("0.0.0.0:3"), mark(1), mark(257), mark(2), udp("10.0.0.1:53"),
			tcp("[2001:db8::1]:80"), {Mark: 3, IPv6: true},
		}
		for _, id := range ids {
			c := rr
			if id.IPv6 || id.Addr.Addr().Is6() {
				c = conf6("rr", 0, 0, 0, 128)
			}
			p.must(NewService, svc(id, c))
		}
		p.must(SetService, svc(ids[0], rr)) // does not move
		bucket := func(id ServiceID) int {
			if id.Mark != 0 {
				return 256 + int((id.Mark^key)&255)
			}
			a := id.Addr.Addr().AsSlice()
			x := uint32(0)
			for i, b := range a {
				x ^= uint32(b) << (8 * (3 - i%4))
			}
			port := uint32(id.Addr.Port())
			return int((uint32(id.Protocol) ^ x ^ port>>8 ^ port ^ key) & 255)
		}
		want := slices.Clone(ids)
		slices.Reverse(want) // the newest first …
		slices.SortStableFunc(want, func(a, b ServiceID) int { return bucket(a) - bucket(b) })
		if bucket(ids[0]) != bucket(ids[1]) || bucket(mark(1)) != bucket(mark(257)) {
			t.Fatal("the example has no collision")
		}
		entries, _ := p.dump(GetService)
		var got []ServiceID
		for _, e := range entries {
			f := fieldsOf(t, servicePolicyAll, e)
			if f.has(svcMark) {
				got = append(got, ServiceID{Mark: f.u32(svcMark), IPv6: f.u16(svcAF) == afInet6})
			} else {
				a := netip.AddrPortFrom(address(f.u16(svcAF), f.addr(svcAddr)), f.be16(svcPort))
				got = append(got, ServiceID{Protocol: f.u16(svcProtocol), Addr: a})
			}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("key %x (-want +got):\n%s", key, diff)
		}
	}
}

func TestTrash(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	one := netip.MustParseAddrPort("10.0.0.1:80")
	feed := func() {
		t.Helper()
		if err := ns.Count(vip, one, Counters{Conns: 3, InPackets: 300, InBytes: 38400}); err != nil {
			t.Fatal(err)
		}
		if err := ns.SetConns(vip, one, Conns{Active: 2, Inactive: 1, Persistent: 1}); err != nil {
			t.Fatal(err)
		}
		k.Advance(2 * time.Second)
	}
	type visible struct{ Packets, Rate, Active uint32 }
	look := func() visible {
		t.Helper()
		f := p.getDest(vip, "10.0.0.1:80")
		s := statsOf(t, f[destStats])
		return visible{s.u32(2), s.u32(7), f.u32(destActive)}
	}
	feed()
	if got := look(); got != (visible{300, 37, 2}) {
		t.Fatalf("before: %+v", got)
	}
	// Back from the trash with everything, rates frozen, and with the request's configuration, at the head.
	p.must(NewDest, svc(vip), dst("10.0.0.2:80", w1))
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	k.Advance(5 * time.Second)
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", full(2, 7, 9, 8)))
	if got := look(); got != (visible{300, 37, 2}) {
		t.Fatalf("back from the trash: %+v", got)
	}
	if f := p.getDest(vip, "10.0.0.1:80"); f.u32(destFwd) != 2 || f.u32(destWeight) != 7 || f.u32(destUpper) != 9 {
		t.Fatalf("configuration: %v", f)
	}
	entries, _ := p.dump(GetDest, svc(vip))
	if got := destNames(t, entries); got[0] != "10.0.0.1:80" {
		t.Fatalf("order %v", got)
	}
	// The rates go on where they were.
	k.Advance(2 * time.Second)
	if got := look(); got != (visible{300, 28, 2}) {
		t.Fatalf("one visit later: %+v", got)
	}
	// With a service made anew the statistics start at 0, the connections do not.
	p.must(DelService, svc(vip))
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	if got := look(); got != (visible{0, 0, 2}) {
		t.Fatalf("after the service was made anew: %+v", got)
	}
	// The address is not checked on the way back.
	ns.Bare()
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	// A service of another protocol does not get it.
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	p.must(NewService, svc(udp("192.0.2.10:80"), rr))
	if errno := p.do(NewDest, svc(udp("192.0.2.10:80")), dst("10.0.0.1:80", w1)); errno != EINVAL {
		t.Fatalf("other protocol: %v", errno)
	}
	// Nor does one with a mark.
	p.must(NewService, svc(mark(7), rr))
	if errno := p.do(NewDest, svc(mark(7)), dst("10.0.0.1:80", w1)); errno != EINVAL {
		t.Fatalf("mark: %v", errno)
	}
}

// TestTrashTimer checks when an object leaves: at the first look 120 s after the one that found it unreferenced.
func TestTrashTimer(t *testing.T) {
	one := netip.MustParseAddrPort("10.0.0.1:80")
	for name, c := range map[string]struct {
		filled time.Duration // how long something else has been in the trash
		inUse  time.Duration // how long connections refer to it
		keep   time.Duration // still there …
		gone   time.Duration // … and not any more
	}{
		"alone":           {keep: 172 * time.Second, gone: 188 * time.Second},
		"to the second":   {keep: 179 * time.Second, gone: 180 * time.Second},
		"joins another":   {filled: 50 * time.Second, keep: 129 * time.Second, gone: 130 * time.Second},
		"with connection": {inUse: 70 * time.Second, keep: 239 * time.Second, gone: 240 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for _, after := range []time.Duration{c.keep, c.gone} {
				k := newKernel(t, nil)
				ns := k.Namespace("")
				p := newTap(t, ns)
				p.must(NewService, svc(vip, rr))
				if c.filled > 0 {
					p.must(NewDest, svc(vip), dst("10.0.0.2:80", w1))
					p.must(DelDest, svc(vip), dst("10.0.0.2:80"))
					k.Advance(c.filled)
				}
				p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
				if err := ns.Count(vip, one, Counters{Conns: 1}); err != nil {
					t.Fatal(err)
				}
				k.Advance(2 * time.Second)
				// The two seconds of the visit do not count: shift the trash's look by deleting now.
				start := 2 * time.Second
				p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
				if c.inUse > 0 {
					if err := ns.SetConns(vip, one, Conns{Inactive: 1}); err != nil {
						t.Fatal(err)
					}
					k.Advance(c.inUse)
					if err := ns.SetConns(vip, one, Conns{}); err != nil {
						t.Fatal(err)
					}
				}
				wait := after - c.inUse
				if c.filled > 0 {
					wait -= start
				}
				k.Advance(wait)
				p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
				conns := statsOf(t, p.getDest(vip, "10.0.0.1:80")[destStats]).u32(1)
				if want := map[bool]uint32{true: 1, false: 0}[after == c.keep]; conns != want {
					t.Errorf("after %v: %d connections, want %d", after, conns, want)
				}
			}
		})
	}
}

func TestMixedFamilies(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	if err := p.s.ns.AddDevice("dm0", 1500); err != nil {
		t.Fatal(err)
	}
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("[2001:db8::5]:80", full(2, 1, 0, 0)))
	if errno := p.do(NewDaemon, daemonOn(stateBackup, "dm0")); errno != EINVAL {
		t.Errorf("daemon with a mixed destination: %v", errno)
	}
	if errno := p.do(SetDest, svc(vip), dst("[2001:db8::5]:80", full(3, 1, 0, 0))); errno != EINVAL {
		t.Errorf("SET to direct route: %v", errno)
	}
	p.must(SetDest, svc(vip), dst("[2001:db8::5]:80", full(2, 9, 0, 0)))
	p.must(DelDest, svc(vip), dst("[2001:db8::5]:80"))
	p.must(NewDaemon, daemonOn(stateBackup, "dm0"))
	p.must(DelDaemon, in(topDaemon, u32(daemonState, stateBackup)))
	p.must(NewDest, svc(vip), dst("[2001:db8::5]:80", full(2, 1, 0, 0)))
}

func TestDaemonLimits(t *testing.T) {
	group6 := bin(daemonGroup6, append([]byte{0xff, 0x02}, make([]byte, 14)...)...)
	tests := []struct {
		name  string
		state uint32
		mtu   int
		group bool // IPv6
		in    uint16
		want  uint16
	}{
		{"master default", stateMaster, 1500, false, 0, 1472},
		{"master 1", stateMaster, 1500, false, 1, 1},
		{"master 100", stateMaster, 1500, false, 100, 100},
		{"master 65507", stateMaster, 1500, false, 65507, 65507},
		{"master 65508", stateMaster, 1500, false, 65508, 65507},
		{"master 65535", stateMaster, 1500, false, 65535, 65507},
		{"master default, MTU 9000", stateMaster, 9000, false, 0, 1472},
		{"backup default", stateBackup, 1500, false, 0, 1472},
		{"backup 1", stateBackup, 1500, false, 1, 1024},
		{"backup 100", stateBackup, 1500, false, 100, 1024},
		{"backup 1023", stateBackup, 1500, false, 1023, 1024},
		{"backup 1473", stateBackup, 1500, false, 1473, 1473},
		{"backup 65535", stateBackup, 1500, false, 65535, 65507},
		{"backup default, MTU 9000", stateBackup, 9000, false, 0, 8972},
		{"backup default, MTU 1280", stateBackup, 1280, false, 0, 1472},
		{"backup default, MTU 65536", stateBackup, 65536, false, 0, 65507},
		{"IPv6 master 65535", stateMaster, 1500, true, 65535, 65487},
		{"IPv6 backup default", stateBackup, 1500, true, 0, 1452},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			ns := newKernel(t, nil).Namespace("")
			if err := ns.AddDevice("dm0", c.mtu); err != nil {
				t.Fatal(err)
			}
			if err := ns.SetLink("dm0", true); err != nil {
				t.Fatal(err)
			}
			p := newTap(t, ns)
			more := attrs(u16(daemonMaxLen, c.in))
			if c.group {
				more = append(more, group6)
			}
			p.must(NewDaemon, daemonOn(c.state, "dm0", more...))
			entries, sizes := p.dump(GetDaemon)
			if len(entries) != 1 {
				t.Fatalf("%d daemons", len(entries))
			}
			f := fieldsOf(t, daemonPolicy, entries[0])
			if got := f.u16(daemonMaxLen); got != c.want {
				t.Errorf("length %d, want %d", got, c.want)
			}
			if f.u16(daemonPort) != 8848 || f.u8(daemonTTL) != 1 {
				t.Errorf("port %d, TTL %d", f.u16(daemonPort), f.u8(daemonTTL))
			}
			size, group := 80, []byte{224, 0, 0, 81}
			if c.group {
				size, group = 92, nil
			}
			if sizes[0] != size || group != nil && !slices.Equal(f[daemonGroup], group) {
				t.Errorf("size %d, want %d; group %v", sizes[0], size, f[daemonGroup])
			}
		})
	}
}

func TestDaemonPair(t *testing.T) {
	ns := newKernel(t, nil).Namespace("")
	p := newTap(t, ns)
	p.must(NewDaemon, daemonOn(stateBackup, "lo", u32(daemonSyncID, 0xffffffff)))
	p.must(NewDaemon, daemonOn(stateMaster, "lo", u32(daemonSyncID, 300), u16(daemonPort, 9000), u8(daemonTTL, 9)))
	entries, _ := p.dump(GetDaemon)
	var got [][3]uint32
	for _, e := range entries {
		f := fieldsOf(t, daemonPolicy, e)
		got = append(got, [3]uint32{f.u32(daemonState), f.u32(daemonSyncID), uint32(f.u16(daemonPort))})
	}
	if diff := cmp.Diff([][3]uint32{{1, 300, 9000}, {2, 0xffffffff, 8848}}, got); diff != "" {
		t.Fatalf("daemons (-want +got):\n%s", diff)
	}
}

func TestTimeouts(t *testing.T) {
	p := newTap(t, newKernel(t, nil).Namespace(""))
	get := func() [3]uint32 {
		got := p.exchange(p.request(GetConfig, flagRequest))
		f, _, _ := topPolicy.parse(got[0][genHeaderLen:], 0)
		return [3]uint32{f.u32(topTimeoutTCP), f.u32(topTimeoutFIN), f.u32(topTimeoutUDP)}
	}
	if got := get(); got != [3]uint32{900, 120, 300} {
		t.Errorf("defaults %v", got)
	}
	p.must(SetConfig, u32(topTimeoutTCP, 0), u32(topTimeoutFIN, 7))
	if got := get(); got != [3]uint32{900, 7, 300} {
		t.Errorf("after one change %v", got)
	}
	if errno := p.do(SetConfig, u32(topTimeoutTCP, 1), u32(topTimeoutUDP, 8589935)); errno != EINVAL {
		t.Errorf("too large: %v", errno)
	}
	if got := get(); got != [3]uint32{900, 7, 300} {
		t.Errorf("after a refusal %v", got)
	}
}

func TestNamespacesAreApart(t *testing.T) {
	k := newKernel(t, nil)
	a, b := newTap(t, k.Namespace("")), newTap(t, k.Namespace("b"))
	a.must(NewService, svc(vip, rr))
	b.must(NewService, svc(vip, conf("wlc", 0, 0, 0)))
	b.must(SetConfig, u32(topTimeoutTCP, 5))
	a.must(FlushServices)
	if entries, _ := a.dump(GetService); len(entries) != 0 {
		t.Errorf("%d services in the first", len(entries))
	}
	if got := b.getService(vip).str(svcSched); got != "wlc" {
		t.Errorf("scheduler %q in the second", got)
	}
	if got := a.exchange(a.request(GetConfig, flagRequest)); native.Uint32(got[0][genHeaderLen+4:]) != 900 {
		t.Errorf("timeouts of the first: %x", got)
	}
}
