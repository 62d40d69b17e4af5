package ipvstest

import (
	"fmt"
	"slices"
)

// zeroCases are requests to zero counters, as far as they go without traffic.
var zeroCases = []testCase{
	{name: "everything", run: func(b *bench) {
		b.must(cZero)
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, full(2, 7, 9, 8), u8(dTunType, 1), be16(dTunPort, 6080)))
		before := b.state()
		b.must(cZero)
		equal(b, "state", before, b.state())
	}},
	{name: "one service", run: func(b *bench) {
		b.want(eSRCH, cZero, svc(vip))
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(mark6(7), conf6("rr")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		before := b.state()
		b.must(cZero, svc(vip))
		b.must(cZero, svc(mark6(7)))
		b.must(cZero, svc(vip), dst(newRIP)) // a destination does not narrow it
		b.want(eSRCH, cZero, svc(mark4(7)))
		equal(b, "state", before, b.state())
	}},
	{name: "other attributes", run: func(b *bench) {
		b.must(cZero, dst(rip), u32(aTCP, 5))
		equal(b, "timeout", uint64(900), b.get(cGetConfig).attrs().number(aTCP))
		b.want(eINVAL, cZero, nest(aService))
	}},
}

// timeouts returns the namespace's timeouts.
func (s *socket) timeouts() [3]uint64 {
	s.t.Helper()
	a := s.get(cGetConfig).attrs()
	return [3]uint64{a.number(aTCP), a.number(aTCPFin), a.number(aUDP)}
}

// configCases are timeouts and information.
var configCases = []testCase{
	{name: "defaults", run: func(b *bench) {
		m := b.get(cGetConfig)
		equal(b, "command", uint8(cSetConfig), m.cmd())
		equal(b, "size", 44, len(m))
		equal(b, "timeouts", [3]uint64{900, 120, 300}, b.timeouts())
	}},
	{name: "what is zero or missing stays", run: func(b *bench) {
		b.must(cSetConfig, u32(aTCP, 0), u32(aTCPFin, 7))
		equal(b, "timeouts", [3]uint64{900, 7, 300}, b.timeouts())
		b.must(cSetConfig, u32(aUDP, 9))
		equal(b, "timeouts", [3]uint64{900, 7, 9}, b.timeouts())
		b.must(cSetConfig, u32(aTCP, 1), u32(aTCPFin, 2), u32(aUDP, 3))
		equal(b, "timeouts", [3]uint64{1, 2, 3}, b.timeouts())
		b.must(cSetConfig)
		equal(b, "timeouts", [3]uint64{1, 2, 3}, b.timeouts())
	}},
	{name: "all or nothing", run: func(b *bench) {
		for i := range 3 {
			values := [3]uint32{77, 78, 79}
			values[i] = 1 << 31
			b.want(eINVAL, cSetConfig, u32(aTCP, values[0]), u32(aTCPFin, values[1]), u32(aUDP, values[2]))
			equal(b, fmt.Sprint("timeouts after the refusal of ", i), [3]uint64{900, 120, 300}, b.timeouts())
		}
	}},
	{name: "limit", run: func(b *bench) {
		limit := uint32(1<<31-1) / b.ticks()
		for _, typ := range []uint16{aTCP, aTCPFin, aUDP} {
			b.must(cSetConfig, u32(typ, limit))
			equal(b, "timeout", uint64(limit), b.get(cGetConfig).attrs().number(typ))
			b.want(eINVAL, cSetConfig, u32(typ, limit+1))
		}
		if b.ticks() == 250 {
			equal(b, "observed limit", uint32(8589934), limit)
		}
	}},
	{name: "information", run: func(b *bench) {
		m := b.get(cGetInfo)
		equal(b, "command", uint8(cSetInfo), m.cmd())
		equal(b, "size", 36, len(m))
		equal(b, "version", uint64(0x010201), m.attrs().number(1))
		if size := m.attrs().number(2); size < 256 || size > 1<<27 || size&(size-1) != 0 {
			b.Errorf("table of %d buckets", size)
		}
	}},
}

// A daemon's values as they come back.
type daemonValues struct {
	State, SyncID uint32
	Device        string
	MaxLen, Port  uint16
	TTL           uint8
}

func valuesOf(d attrs) daemonValues {
	return daemonValues{
		uint32(d.number(mState)), uint32(d.number(mSyncID)), d.text(mDevice), uint16(d.number(mMaxLen)), uint16(d.number(mPort)), uint8(d.number(mTTL)),
	}
}

// multicast6 is the attribute of the group ff02::51.
var multicast6 = bin(mGroup6, append(append([]byte{0xff, 2}, make([]byte, 13)...), 0x51)...)

// lengthCase tells what becomes of the length of a daemon's packets on a device of an MTU.
func lengthCase(name string, state uint32, device string, mtu int, more []byte, in, want uint16) testCase {
	return testCase{name: "length, " + name, run: func(b *bench) {
		if device != "lo" {
			b.device(device, mtu)
		}
		b.must(cNewDaemon, syncd(state, device, u16(mMaxLen, in), more))
		list := b.list(cGetDaemon)
		if len(list) != 1 {
			b.Fatalf("%d daemons", len(list))
		}
		equal(b, "length", uint64(want), list[0].number(mMaxLen))
	}}
}

// daemonCases are synchronisation daemons.
var daemonCases = slices.Concat([]testCase{
	{name: "defaults", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(backup, "dm0"))
		b.must(cNewDaemon, syncd(master, "dm0", u32(mSyncID, 300)))
		list := b.list(cGetDaemon)
		if len(list) != 2 {
			b.Fatalf("%d daemons", len(list))
		}
		equal(b, "first", daemonValues{master, 300, "dm0", 1472, 8848, 1}, valuesOf(list[0]))
		equal(b, "second", daemonValues{backup, 1, "dm0", 1472, 8848, 1}, valuesOf(list[1]))
		for _, d := range list {
			equal(b, "attributes", []uint16{mState, mDevice, mSyncID, mMaxLen, mPort, mTTL, mGroup}, d.types())
			equal(b, "group", []byte{224, 0, 0, 81}, d.get(mGroup))
		}
	}},
	{name: "every attribute", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(master, "dm0", u32(mSyncID, 1<<32-1), u16(mMaxLen, 1400), bin(mGroup, 239, 0, 0, 81), u16(mPort, 8849), u8(mTTL, 255)))
		list := b.list(cGetDaemon)
		equal(b, "daemon", daemonValues{master, 1<<32 - 1, "dm0", 1400, 8849, 255}, valuesOf(list[0]))
		equal(b, "group", []byte{239, 0, 0, 81}, list[0].get(mGroup))
	}},
	{name: "zero is the default", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(master, "dm0", u32(mSyncID, 0), u16(mMaxLen, 0), u16(mPort, 0), u8(mTTL, 0)))
		equal(b, "daemon", daemonValues{master, 0, "dm0", 1472, 8848, 1}, valuesOf(b.list(cGetDaemon)[0]))
	}},
	{name: "IPv6 group", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(backup, "dm0", multicast6))
		d := b.list(cGetDaemon)[0]
		equal(b, "attributes", []uint16{mState, mDevice, mSyncID, mMaxLen, mPort, mTTL, mGroup6}, d.types())
		equal(b, "group", multicast6[4:], d.get(mGroup6))
		equal(b, "length", uint64(1452), d.number(mMaxLen))
	}},
	{name: "an IPv4 group wins", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(backup, "dm0", multicast6, bin(mGroup, 239, 1, 2, 3)))
		d := b.list(cGetDaemon)[0]
		equal(b, "group", []byte{239, 1, 2, 3}, d.get(mGroup))
		equal(b, "IPv6 group", false, d.has(mGroup6))
	}},
	{name: "start and stop", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(master, "dm0"))
		b.want(eEXIST, cNewDaemon, syncd(master, "dm0"))
		b.must(cNewDaemon, syncd(backup, "dm0"))
		b.must(cDelDaemon, nest(aDaemon, u32(mState, master)))
		list := b.list(cGetDaemon)
		equal(b, "daemons", 1, len(list))
		equal(b, "state", uint64(backup), list[0].number(mState))
		b.want(eSRCH, cDelDaemon, nest(aDaemon, u32(mState, master)))
		b.must(cNewDaemon, syncd(master, "dm0"))
		b.must(cDelDaemon, nest(aDaemon, u32(mState, backup)))
		b.must(cDelDaemon, nest(aDaemon, u32(mState, master)))
		equal(b, "daemons", 0, len(b.list(cGetDaemon)))
	}},
	{name: "device without address", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewDaemon, syncd(master, "dm0"))
		b.must(cNewDaemon, syncd(backup, "dm0"))
	}},
	{name: "device that is down", run: func(b *bench) {
		b.device("dm0", 1500, "192.168.77.1/24")
		b.link("dm0", false)
		b.want(eNETUNREACH, cNewDaemon, syncd(master, "dm0"))
		b.must(cNewDaemon, syncd(backup, "dm0"))
		b.link("dm0", true)
		b.must(cNewDaemon, syncd(master, "dm0"))
	}},
	{name: "message sizes", run: func(b *bench) {
		for _, device := range []string{"d", "dm00", "abcdefghijklmno"} {
			b.device(device, 1500)
			b.must(cNewDaemon, syncd(master, device))
			b.must(cNewDaemon, syncd(backup, device, multicast6))
			got := slices.Concat(b.dump(cGetDaemon)...)
			equal(b, device, []int{72 + named(device), 72 + 12 + named(device)}, []int{len(got[0]), len(got[1])})
			b.must(cDelDaemon, nest(aDaemon, u32(mState, master)))
			b.must(cDelDaemon, nest(aDaemon, u32(mState, backup)))
		}
	}},
	{name: "of another namespace", run: func(b *bench) {
		other := b.another()
		b.device("dm0", 1500)
		other.device("dm0", 1500)
		b.must(cNewDaemon, syncd(backup, "dm0"))
		equal(b, "daemons", 0, len(other.list(cGetDaemon)))
		other.want(eSRCH, cDelDaemon, nest(aDaemon, u32(mState, backup)))
		other.must(cNewService, svc(vip, conf("rr")))
		other.must(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))
	}},
}, []testCase{
	lengthCase("master 0", master, "dm0", 1500, nil, 0, 1472),
	lengthCase("master 1", master, "dm0", 1500, nil, 1, 1),
	lengthCase("master 100", master, "dm0", 1500, nil, 100, 100),
	lengthCase("master 65507", master, "dm0", 1500, nil, 65507, 65507),
	lengthCase("master 65508", master, "dm0", 1500, nil, 65508, 65507),
	lengthCase("master 65535", master, "dm0", 1500, nil, 65535, 65507),
	lengthCase("master 0, MTU 9000", master, "dm0", 9000, nil, 0, 1472),
	lengthCase("master 65535, IPv6", master, "dm0", 1500, multicast6, 65535, 65487),
	lengthCase("backup 0", backup, "dm0", 1500, nil, 0, 1472),
	lengthCase("backup 1", backup, "dm0", 1500, nil, 1, 1024),
	lengthCase("backup 100", backup, "dm0", 1500, nil, 100, 1024),
	lengthCase("backup 1023", backup, "dm0", 1500, nil, 1023, 1024),
	lengthCase("backup 1473", backup, "dm0", 1500, nil, 1473, 1473),
	lengthCase("backup 65535", backup, "dm0", 1500, nil, 65535, 65507),
	lengthCase("backup 0, IPv6", backup, "dm0", 1500, multicast6, 0, 1452),
	lengthCase("backup 65535, IPv6", backup, "dm0", 1500, multicast6, 65535, 65487),
	lengthCase("backup 0, MTU 9000", backup, "dm0", 9000, nil, 0, 8972),
	lengthCase("backup 0, MTU 1280", backup, "dm0", 1280, nil, 0, 1472),
	lengthCase("backup 0, lo", backup, "lo", 65536, nil, 0, 65507),
})

// named is the size of an attribute with a name, with its padding.
func named(s string) int { return (len(s) + 5 + 3) &^ 3 }
