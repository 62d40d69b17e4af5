package ipvstest

import (
	"bytes"
	"fmt"
	"slices"
)

// toleranceCases are what the kernel puts up with.
var toleranceCases = []testCase{
	{name: "any version", run: func(b *bench) {
		for _, version := range []byte{0, 1, 2, 99, 255} {
			f := b.set(cGetInfo)
			f[17] = version
			got := b.exchange(f)
			if len(got) != 2 || got[0].cmd() != cSetInfo || got[0][17] != 1 || got[1].errno() != 0 {
				b.Fatalf("version %d: %v", version, got)
			}
		}
	}},
	{name: "reserved field", run: func(b *bench) {
		f := b.set(cGetInfo)
		f[18], f[19] = 1, 2
		equal(b, "outcome", errno(0), b.acked(f))
	}},
	{name: "flags that mean nothing", run: func(b *bench) {
		for _, flags := range []uint16{0x100, 0x200, 0x400, 0x800, 0x8000, 0x400 | 0x800, 0xf000, 0x10 | 0x20 | 0x8} {
			id := mark4(uint32(flags) + 1)
			equal(b, fmt.Sprintf("flags %#x", flags), errno(0), b.acked(b.request(cNewService, flRequest|flAck|flags, svc(id, conf("rr")))))
			b.service(id)
		}
	}},
	{name: "no request flag", run: func(b *bench) {
		got := b.exchange(b.request(cNewService, flAck, svc(vip, conf("rr"))))
		if len(got) != 1 || got[0].errno() != 0 {
			b.Fatalf("%v, want a success", got)
		}
		equal(b, "answers without an acknowledgement", []message(nil), b.exchange(b.request(cNewService, 0, svc(vip, conf("rr")))))
		b.want(eSRCH, cGetService, svc(vip)) // was not executed
	}},
	{name: "control message", run: func(b *bench) {
		for typ := range uint16(typeControl) {
			f := frame(typ, flRequest|flAck, b.seq+1, 0)
			b.seq++
			got := b.exchange(f)
			if len(got) != 1 || got[0].typ() != typeError || got[0].errno() != 0 {
				b.Fatalf("type %d: %v, want a success", typ, got)
			}
		}
	}},
	{name: "unknown attributes", run: func(b *bench) {
		b.must(cGetInfo, u8(77, 1), u8(0, 1), u8(300, 1))
		b.must(cNewService, u32(77, 5), svc(vip, conf("rr"), u32(99, 7), bin(0, 1, 2)))
		b.must(cNewDest, svc(vip), dst(rip, routed, u32(99, 7)))
		equal(b, "destinations", []string{rip}, b.dests(vip))
	}},
	{name: "bytes behind the last attribute", run: func(b *bench) {
		for n := 1; n <= 3; n++ {
			equal(b, fmt.Sprint(n, " bytes"), errno(0), b.acked(sized(append(b.set(cGetInfo), make([]byte, n)...))))
		}
	}},
	{name: "nests with and without their flag", run: func(b *bench) {
		b.must(cNewService, nest(aService|nestedBit, vip, conf("rr")))
		b.must(cNewDest, nest(aService, vip), nest(aDest|nestedBit, place(rip), routed))
		b.must(cNewDest, nest(aService|nestedBit, vip), nest(aDest, place(newRIP), routed))
		for _, m := range slices.Concat(b.dump(cGetService)...) {
			equal(b, "type of the reply's nest", []uint16{aService}, m.attrs().types())
		}
		for _, m := range slices.Concat(b.dump(cGetDest, svc(vip))...) {
			equal(b, "type of the reply's nest", []uint16{aDest}, m.attrs().types())
		}
	}},
	{name: "integers longer than their type", run: func(b *bench) {
		b.must(cSetConfig, u64(aTCP, 77))
		equal(b, "timeout", uint64(77), b.get(cGetConfig).attrs().number(aTCP))
		b.must(cNewService, svc(vip, str(sSched, "rr"), flagPair(0, 0), u64(sTimeout, 60), bin(sNetmask, 255, 255, 255, 0, 9, 9)))
		s := b.service(vip)
		equal(b, "timeout", uint64(60), s.number(sTimeout))
		equal(b, "netmask", []byte{255, 255, 255, 0}, s.get(sNetmask))
	}},
	{name: "the last of equal attributes counts", run: func(b *bench) {
		b.must(cSetConfig, u32(aTCP, 5), u32(aTCP, 6))
		equal(b, "timeout", uint64(6), b.get(cGetConfig).attrs().number(aTCP))
		b.must(cNewService, svc(vip, conf("rr"), str(sSched, "wlc")))
		equal(b, "scheduler", "wlc", b.service(vip).text(sSched))
	}},
	{name: "attributes in any order", run: func(b *bench) {
		b.must(cNewService, svc(slices.Concat(mask32, u32(sTimeout, 1), flagPair(0, 0), str(sSched, "rr"), be16(sPort, 80)),
			bin(sAddr, 192, 0, 2, 10), u16(sProtocol, protoTCP), u16(sFamily, inet4)))
		b.must(cNewDest, dst(rip, routed), svc(vip))
		equal(b, "destinations", []string{rip}, b.dests(vip))
	}},
	{name: "a list takes no notice of its attributes", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		equal(b, "services", 1, len(b.list(cGetService, bin(aTCP, 1), bin(aService, 1), svc(missing))))
		equal(b, "daemons", 0, len(b.list(cGetDaemon, bin(aTCP, 1))))
	}},
	{name: "looking the family up needs no privilege", run: func(b *bench) {
		s := b.unprivileged()
		equal(b, "family", b.family, s.family)
	}},
	{name: "unknown family name", run: func(b *bench) {
		got := b.exchange(b.lookup("IPVS2"))
		if len(got) != 1 || got[0].typ() != typeError || got[0].errno() != eNOENT {
			b.Fatalf("%v", got)
		}
	}},
	{name: "namespaces are apart", run: func(b *bench) {
		other := b.another()
		b.must(cNewService, svc(vip, conf("rr")))
		other.must(cNewService, svc(vip, conf("wlc")))
		other.must(cSetConfig, u32(aTCP, 5))
		b.must(cFlush)
		equal(b, "scheduler in the other namespace", "wlc", other.service(vip).text(sSched))
		equal(b, "timeout in this one", uint64(900), b.get(cGetConfig).attrs().number(aTCP))
		equal(b, "services in this one", 0, len(b.services()))
		equal(b, "table size", b.get(cGetInfo).attrs().number(2), other.get(cGetInfo).attrs().number(2))
	}},
}

// flagsOf returns the flags and the mask of a service.
func (s *socket) flagsOf(id []byte) [2]uint32 {
	s.t.Helper()
	f := s.service(id).get(sFlags)
	if len(f) != 8 {
		s.t.Fatalf("flags %x", f)
	}
	return [2]uint32{native.Uint32(f), native.Uint32(f[4:])}
}

// withFlags is a complete IPv4 service with flags and mask in n bytes.
func withFlags(flags, mask uint32, n int) []byte {
	both := native.AppendUint32(native.AppendUint32(nil, flags), mask)
	return slices.Concat(str(sSched, "rr"), bin(sFlags, both[:n]...), u32(sTimeout, 0), mask32)
}

// editCases are the identity of services, and what editing them changes and leaves.
var editCases = []testCase{
	{name: "flags by mask", run: func(b *bench) {
		const all = 1<<32 - 1
		for i, step := range [][3]uint32{{all, all, all}, {0, 1, 0xfffffffe}, {0, all, 2}, {0x3c, 0x14, 0x16}, {all, 0, 0x16}, {1, 3, 0x17}} {
			cmd := uint8(cSetService)
			if i == 0 {
				cmd = cNewService
			}
			b.must(cmd, svc(vip, withFlags(step[0], step[1], 8)))
			equal(b, fmt.Sprint("step ", i), [2]uint32{step[2], all}, b.flagsOf(vip))
		}
	}},
	{name: "the mask counts in a new service too", run: func(b *bench) {
		b.must(cNewService, svc(vip, withFlags(0xff, 0x05, 8)))
		equal(b, "flags", uint32(0x07), b.flagsOf(vip)[0])
	}},
	{name: "short flags", run: func(b *bench) {
		for n := range 8 {
			id := mark4(uint32(n) + 1)
			b.must(cNewService, svc(id, withFlags(1, 0xffffffff, n)))
			want := uint32(2)
			if n > 4 {
				// Of the mask the low bytes came; on a big-endian machine its high ones.
				want |= 1 & native.Uint32(append(slices.Repeat([]byte{0xff}, n-4), make([]byte, 8-n)...))
			}
			equal(b, fmt.Sprint(n, " bytes"), want, b.flagsOf(id)[0])
		}
	}},
	{name: "a complete edit", run: func(b *bench) {
		b.must(cNewService, svc(vip, settings("rr", 1, 300, bin(sNetmask, 255, 255, 255, 0)), str(sEngine, "sip")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		s := b.service(vip)
		equal(b, "engine", "sip", s.text(sEngine))
		b.must(cSetService, svc(vip, settings("wlc", 4, 60, bin(sNetmask, 255, 255, 0, 0))))
		s = b.service(vip)
		equal(b, "scheduler", "wlc", s.text(sSched))
		equal(b, "flags", [2]uint32{6, 0xffffffff}, b.flagsOf(vip))
		equal(b, "timeout", uint64(60), s.number(sTimeout))
		equal(b, "netmask", []byte{255, 255, 0, 0}, s.get(sNetmask))
		equal(b, "destinations", []string{rip}, b.dests(vip))
	}},
	{name: "an engine that is not repeated goes", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr"), str(sEngine, "sip")))
		b.must(cSetService, svc(vip, conf("rr"), str(sEngine, "sip")))
		equal(b, "engine", "sip", b.service(vip).text(sEngine))
		b.must(cSetService, svc(vip, conf("rr")))
		equal(b, "engine", false, b.service(vip).has(sEngine))
		b.must(cSetService, svc(vip, conf("rr"), str(sEngine, "sip")))
		b.must(cSetService, svc(vip, conf("rr"), str(sEngine, "")))
		equal(b, "engine", false, b.service(vip).has(sEngine))
	}},
	{name: "an engine for any protocol and without persistence", run: func(b *bench) {
		for _, id := range [][]byte{vip, udp("192.0.2.10:5060"), address(protoSCTP, "192.0.2.10:80"), mark4(3)} {
			b.must(cNewService, svc(id, conf("rr"), str(sEngine, "sip")))
			equal(b, "engine", "sip", b.service(id).text(sEngine))
		}
	}},
	{name: "schedulers come and go", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("none")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		b.must(cNewDest, svc(vip), dst(newRIP, full(3, 0, 0, 0)))
		for _, name := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "none", "mh", "mh", "none", "none", "rr"} {
			b.must(cSetService, svc(vip, conf(name)))
			equal(b, "scheduler", name, b.service(vip).text(sSched))
			equal(b, "destinations", []string{newRIP, rip}, b.dests(vip))
		}
	}},
	{name: "a scheduler that is not there", run: func(b *bench) {
		b.must(cNewService, svc(vip, settings("sh", 1, 300, mask32), str(sEngine, "sip")))
		before := b.state()
		b.want(eNOENT, cSetService, svc(vip, conf("what")))
		b.want(eNOENT, cSetService, svc(vip, conf("rr"), str(sEngine, "what")))
		equal(b, "state", before, b.state())
	}},
	{name: "one mark in both families", run: func(b *bench) {
		b.must(cNewService, svc(mark4(7), conf("rr")))
		b.must(cNewService, svc(mark6(7), conf6("wlc")))
		b.want(eEXIST, cNewService, svc(mark4(7), conf("rr")))
		b.must(cDelService, svc(mark4(7)))
		equal(b, "services", []string{"mark 7 family 10"}, b.services())
		equal(b, "scheduler", "wlc", b.service(mark6(7)).text(sSched))
	}},
	{name: "a mark wins over an address", run: func(b *bench) {
		b.must(cNewService, svc(vip, u32(sMark, 7), conf("rr")))
		equal(b, "services", []string{"mark 7 family 2"}, b.services())
		equal(b, "attributes", []uint16{sFamily, sMark, sSched, sFlags, sTimeout, sNetmask, sStats, sStats64}, b.service(mark4(7)).types())
		b.want(eSRCH, cDelService, svc(vip))
		b.must(cDelService, svc(vip, u32(sMark, 7)))
	}},
	{name: "mark 0 is an address service", run: func(b *bench) {
		b.must(cNewService, svc(mark4(0), conf("rr")))
		b.must(cNewService, svc(mark6(0), conf6("rr")))
		got := b.services()
		slices.Sort(got)
		equal(b, "services", []string{"6 0.0.0.0:0", "6 [::]:0"}, got)
		b.must(cDelService, svc(tcp("0.0.0.0:0")))
	}},
	{name: "the largest mark", run: func(b *bench) {
		b.must(cNewService, svc(mark4(1<<32-1), conf("rr")))
		equal(b, "mark", uint64(1<<32-1), b.service(mark4(1<<32-1)).number(sMark))
	}},
	{name: "what tells services apart", run: func(b *bench) {
		ids := [][]byte{
			tcp("192.0.2.10:80"), udp("192.0.2.10:80"), address(protoSCTP, "192.0.2.10:80"), tcp("192.0.2.10:81"),
			tcp("192.0.2.11:80"), tcp("192.0.2.10:0"), tcp("[c000:20a::]:80"), tcp("[::ffff:192.0.2.10]:80"), mark4(80), mark6(80),
		}
		for _, id := range ids {
			c := conf("rr")
			if native.Uint16(id[4:]) == inet6 {
				c = conf6("rr")
			}
			b.must(cNewService, svc(id, c))
			b.want(eEXIST, cNewService, svc(id, c))
		}
		equal(b, "services", len(ids), len(b.services()))
		for _, id := range ids {
			b.must(cDelService, svc(id))
			b.want(eSRCH, cDelService, svc(id))
		}
	}},
	{name: "any protocol", run: func(b *bench) {
		for _, p := range []uint16{0, 1, 99, 255, 256, 65535} {
			b.must(cNewService, svc(address(p, "192.0.2.10:80"), conf("rr")))
			equal(b, "protocol", uint64(p), b.service(address(p, "192.0.2.10:80")).number(sProtocol))
		}
	}},
	{name: "any address", run: func(b *bench) {
		for _, a := range []string{"0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "127.0.0.1:80", "203.0.113.9:80"} {
			b.must(cNewService, svc(tcp(a), conf("rr")))
			equal(b, "name", "6 "+a, serviceName(b.service(tcp(a))))
		}
		for _, a := range []string{"[::]:80", "[ff02::1]:80", "[fe80::1]:80", "[::ffff:192.0.2.10]:80"} {
			b.must(cNewService, svc(tcp(a), conf6("rr")))
			equal(b, "name", "6 "+a, serviceName(b.service(tcp(a))))
		}
	}},
	{name: "port 0 without persistence", run: func(b *bench) {
		b.must(cNewService, svc(tcp("192.0.2.10:0"), conf("rr")))
		b.want(eSRCH, cGetService, svc(vip)) // no fallback in requests
		b.must(cNewDest, svc(tcp("192.0.2.10:0")), dst("10.0.0.1:0", routed))
		equal(b, "destinations", []string{"10.0.0.1:0"}, b.dests(tcp("192.0.2.10:0")))
	}},
	{name: "IPv4 addresses of any length", run: func(b *bench) {
		id := func(addr ...byte) []byte {
			return slices.Concat(u16(sFamily, inet4), u16(sProtocol, protoTCP), bin(sAddr, addr...), be16(sPort, 80))
		}
		b.must(cNewService, svc(id(192, 0, 2, 10), conf("rr")))
		equal(b, "address", append([]byte{192, 0, 2, 10}, make([]byte, 12)...), b.service(vip).get(sAddr))
		garbage := id(192, 0, 2, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		b.want(eEXIST, cNewService, svc(garbage, conf("rr")))
		b.must(cDelService, svc(garbage))
		b.must(cNewService, svc(garbage, conf("rr")))
		equal(b, "address", append([]byte{192, 0, 2, 10}, make([]byte, 12)...), b.service(vip).get(sAddr))
		b.must(cNewService, svc(id(), conf("rr")))
		b.must(cDelService, svc(tcp("0.0.0.0:80")))
		b.must(cNewService, svc(id(10, 1), conf("rr")))
		b.must(cDelService, svc(tcp("10.1.0.0:80")))
	}},
	{name: "netmasks", run: func(b *bench) {
		for _, m := range [][]byte{{255, 255, 255, 255}, {255, 255, 255, 0}, {0, 0, 0, 0}, {255, 0, 255, 0}, {0, 0, 0, 255}, {1, 2, 3, 4}} {
			b.must(cNewService, svc(vip, settings("rr", 1, 300, bin(sNetmask, m...))))
			equal(b, "netmask", m, b.service(vip).get(sNetmask))
			b.must(cDelService, svc(vip))
		}
		for _, n := range []uint32{1, 64, 127, 128} {
			b.must(cNewService, svc(vip6, settings("rr", 1, 300, u32(sNetmask, n))))
			equal(b, "prefix", uint64(n), b.service(vip6).number(sNetmask))
			b.must(cDelService, svc(vip6))
		}
	}},
	{name: "long timeouts wrap", run: func(b *bench) {
		hz := uint64(b.ticks())
		values := []uint32{0, 1, 360, 86400, 4294967, 17179869, 17179870, 42949672, 42949673, 1 << 31, 1<<32 - 1}
		var got []uint64
		for _, v := range values {
			b.must(cNewService, svc(mark4(1), settings("rr", 0, v, mask32)))
			got = append(got, b.service(mark4(1)).number(sTimeout))
			equal(b, fmt.Sprint(v, " s"), uint64(uint32(uint64(v)*hz))/hz, got[len(got)-1])
			b.must(cDelService, svc(mark4(1)))
		}
		if hz == 250 {
			equal(b, "observed values", []uint64{17179869, 0, 17179868}, []uint64{got[5], got[6], got[10]})
		}
	}},
	{name: "deleting a service deletes its destinations", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		b.must(cDelService, svc(vip))
		b.must(cNewService, svc(vip, conf("rr")))
		equal(b, "destinations", 0, len(b.dests(vip)))
		b.must(cNewDest, svc(vip), dst(rip, routed))
	}},
	{name: "a flush leaves daemons and timeouts", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(mark6(5), conf6("rr")))
		b.must(cNewDaemon, syncd(backup, "dm0"))
		b.must(cSetConfig, u32(aUDP, 5))
		b.must(cFlush)
		equal(b, "services", 0, len(b.services()))
		equal(b, "daemons", 1, len(b.list(cGetDaemon)))
		equal(b, "timeout", uint64(5), b.get(cGetConfig).attrs().number(aUDP))
	}},
	{name: "a new service in a used bucket comes first", run: func(b *bench) {
		// The bucket is made from port>>8 ^ port, a mark's from its low byte: these fall together whatever the key is.
		one, two, three := tcp("0.0.0.0:1"), tcp("0.0.0.0:256"), tcp("0.0.0.0:515")
		for _, id := range [][]byte{one, two, three, mark4(1), mark4(257), mark6(513)} {
			c := conf("rr")
			if native.Uint16(id[4:]) == inet6 {
				c = conf6("rr")
			}
			b.must(cNewService, svc(id, c))
		}
		equal(b, "newest first", []string{"6 0.0.0.0:515", "6 0.0.0.0:256", "6 0.0.0.0:1", "mark 513 family 10", "mark 257 family 2", "mark 1 family 2"}, b.services())
		b.must(cSetService, svc(one, conf("wlc")))
		b.must(cDelService, svc(two))
		b.must(cNewService, svc(two, conf("rr")))
		b.must(cDelService, svc(mark4(257)))
		b.must(cNewService, svc(mark4(257), conf("rr")))
		equal(b, "after an edit and a re-creation", []string{"6 0.0.0.0:256", "6 0.0.0.0:515", "6 0.0.0.0:1", "mark 257 family 2", "mark 513 family 10", "mark 1 family 2"}, b.services())
	}},
	{name: "a list has every service once", run: func(b *bench) {
		ids, _ := manyServices(120)
		var requests [][]byte
		for _, id := range ids {
			c := conf("rr")
			if native.Uint16(id[4:]) == inet6 {
				c = conf6("rr")
			}
			requests = append(requests, b.set(cNewService, svc(id, c)))
		}
		b.setup(requests...)
		var want [][]byte
		want = append(want, ids...)
		var got [][]byte
		for _, a := range b.list(cGetService) {
			got = append(got, serviceID(a))
		}
		slices.SortFunc(want, bytes.Compare)
		slices.SortFunc(got, bytes.Compare)
		equal(b, "services", want, got)
	}},
	{name: "the hash that orders services", run: func(b *bench) {
		b.version()
		ids, bucket := manyServices(120)
		var requests [][]byte
		for _, id := range ids {
			c := conf("rr")
			if native.Uint16(id[4:]) == inet6 {
				c = conf6("rr")
			}
			requests = append(requests, b.set(cNewService, svc(id, c)))
		}
		b.setup(requests...)
		var got [][]byte
		for _, a := range b.list(cGetService) {
			got = append(got, serviceID(a))
		}
		slices.Reverse(ids) // newest first
		for key := range 256 {
			want := slices.Clone(ids)
			slices.SortStableFunc(want, func(x, y []byte) int { return bucket(x, key) - bucket(y, key) })
			if slices.EqualFunc(want, got, bytes.Equal) {
				return
			}
		}
		b.Errorf("no key explains the order %v", b.services())
	}},
	{name: "what replies consist of", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(mark4(5), conf("rr"), str(sEngine, "sip")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		equal(b, "service", []uint16{sFamily, sProtocol, sAddr, sPort, sSched, sFlags, sTimeout, sNetmask, sStats, sStats64}, b.service(vip).types())
		equal(b, "service with mark and engine", []uint16{sFamily, sMark, sSched, sEngine, sFlags, sTimeout, sNetmask, sStats, sStats64}, b.service(mark4(5)).types())
		equal(b, "destination", []uint16{
			dAddr, dPort, dForward, dWeight, dTunType, dTunPort, dTunFlags, dUpper, dLower, dActive, dInactive, dPersist, dFamily, dStats, dStats64,
		}, b.dest(vip, rip).types())
		for what, list := range map[string]attrs{"narrow": parseAttrs(b.service(vip).get(sStats)), "wide": parseAttrs(b.service(vip).get(sStats64))} {
			var numbers []uint16
			for _, a := range list {
				if a.typ == 11 {
					continue // filler, where numbers of eight bytes have to be aligned
				}
				numbers = append(numbers, a.typ)
				size := 8
				if what == "narrow" && a.typ != 4 && a.typ != 5 {
					size = 4
				}
				equal(b, fmt.Sprint(what, " statistics ", a.typ), make([]byte, size), a.payload)
			}
			equal(b, what+" statistics", []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, numbers)
		}
		equal(b, "information", []uint16{1, 2}, b.get(cGetInfo).attrs().types())
		equal(b, "configuration", []uint16{aTCP, aTCPFin, aUDP}, b.get(cGetConfig).attrs().types())
	}},
}

// ticks finds out how many clock ticks a second has, from the largest timeout that is accepted.
func (s *socket) ticks() uint32 {
	s.t.Helper()
	for _, hz := range []uint32{100, 250, 300, 1000, 24, 48, 128, 256, 512, 1024, 1200} {
		limit := uint32(1<<31-1) / hz
		if s.do(cSetConfig, u32(aTCP, limit)) == 0 && s.do(cSetConfig, u32(aTCP, limit+1)) == eINVAL {
			s.must(cSetConfig, u32(aTCP, 900))
			return hz
		}
	}
	s.t.Fatal("no clock rate explains the limit of timeouts")
	return 0
}

// manyServices returns the identities of n different services, and the bucket of each for a hash key.
func manyServices(n int) (ids [][]byte, bucket func(id []byte, key int) int) {
	buckets := make(map[string]int)
	for i := range n {
		port := uint16(i*257 + 80)
		var id []byte
		var h int
		fold := int(port>>8) ^ int(port)
		switch i % 4 {
		case 0:
			id = tcp(fmt.Sprintf("10.%d.2.3:%d", i, port))
			h = protoTCP ^ (10<<24 | i<<16 | 2<<8 | 3) ^ fold
		case 1:
			id = udp(fmt.Sprintf("[2001:db8::%x:%x]:%d", i+1, 3*i, port))
			h = protoUDP ^ 0x20010db8 ^ ((i+1)<<16 | 3*i) ^ fold
		case 2:
			id = mark4(uint32(i * 37))
			h = 256 + (i*37)&255
		default:
			id = mark6(uint32(i * 37))
			h = 256 + (i*37)&255
		}
		if i%4 < 2 {
			h &= 255
		}
		ids = append(ids, id)
		buckets[string(id)] = h
	}
	return ids, func(id []byte, key int) int { return buckets[string(id)] ^ key }
}
