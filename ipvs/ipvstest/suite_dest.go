package ipvstest

import (
	"fmt"
	"slices"
	"time"
)

// destCases are the identity of destinations, and what editing them changes and leaves.
var destCases = []testCase{
	{name: "newest first", run: func(b *bench) {
		name := func(i int) string { return fmt.Sprintf("10.0.0.%d:80", i) }
		requests := [][]byte{b.set(cNewService, svc(vip, conf("rr")))}
		for i := 1; i <= 60; i++ {
			requests = append(requests, b.set(cNewDest, svc(vip), dst(name(i), routed)))
		}
		b.setup(requests...)
		b.must(cSetDest, svc(vip), dst(name(10), full(3, 5, 0, 0)))
		b.must(cDelDest, svc(vip), dst(name(30)))
		b.must(cNewDest, svc(vip), dst(name(30), routed))
		want := []string{name(30)}
		for i := 60; i >= 1; i-- {
			if i != 30 {
				want = append(want, name(i))
			}
		}
		equal(b, "order", want, b.dests(vip))
	}},
	{name: "a complete edit", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, full(2, 65536, 100, 80), u8(dTunType, 1), be16(dTunPort, 6080), u16(dTunFlags, 2)))
		equal(b, "after NEW", destValues{2, 65536, 1, 6080, 2, 100, 80, inet4}, b.values(vip, rip))
		b.must(cSetDest, svc(vip), dst(rip, full(3, 1<<31-1, 1<<31-1, 1<<31-1), u8(dTunType, 2), u16(dTunFlags, 65535), be16(dTunPort, 65535)))
		equal(b, "after SET", destValues{3, 1<<31 - 1, 2, 65535, 65535, 1<<31 - 1, 1<<31 - 1, inet4}, b.values(vip, rip))
	}},
	{name: "tunnel options that are not repeated go", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, full(2, 1, 0, 0), u8(dTunType, 1), be16(dTunPort, 6080), u16(dTunFlags, 1)))
		b.must(cSetDest, svc(vip), dst(rip, full(2, 1, 0, 0), be16(dTunPort, 7)))
		equal(b, "after SET", destValues{2, 1, 0, 7, 0, 0, 0, inet4}, b.values(vip, rip))
		b.must(cSetDest, svc(vip), dst(rip, full(2, 1, 0, 0)))
		equal(b, "after SET", destValues{2, 1, 0, 0, 0, 0, 0, inet4}, b.values(vip, rip))
	}},
	{name: "forwarding methods", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		for in, out := range map[uint32]uint32{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 0, 0x2003: 3, 1<<32 - 1: 7} {
			b.must(cSetDest, svc(vip), dst(rip, full(in, 1, 0, 0)))
			equal(b, fmt.Sprintf("%#x", in), out, b.values(vip, rip).Forward)
		}
	}},
	{name: "own addresses keep their method", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		for method := range uint32(5) {
			a := fmt.Sprintf("127.0.0.1:%d", method+1)
			b.must(cNewDest, svc(vip), dst(a, full(method, 1, 0, 0)))
			equal(b, a, method, b.values(vip, a).Forward)
		}
	}},
	{name: "the tunnel is kept for any method", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		for method := range uint32(5) {
			a := fmt.Sprintf("10.0.0.1:%d", method+1)
			b.must(cNewDest, svc(vip), dst(a, full(method, 1, 0, 0), u8(dTunType, 255), be16(dTunPort, 9), u16(dTunFlags, 65535)))
			equal(b, a, destValues{method, 1, 255, 9, 65535, 0, 0, inet4}, b.values(vip, a))
		}
	}},
	{name: "what tells destinations apart", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		b.must(cNewDest, svc(vip), dst("10.0.0.1:81", full(0, 1, 0, 0)))
		b.must(cNewDest, svc(vip), dst("10.0.0.1:0", full(2, 1, 0, 0)))
		b.must(cNewDest, svc(vip), dst("[a00:1::]:80", full(2, 1, 0, 0)))
		b.want(eEXIST, cNewDest, svc(vip), dst(rip, full(1, 9, 0, 0)))
		equal(b, "destinations", []string{"[a00:1::]:80", "10.0.0.1:0", "10.0.0.1:81", rip}, b.dests(vip))
		b.must(cDelDest, svc(vip), dst("[a00:1::]:80"))
		equal(b, "destinations", []string{"10.0.0.1:0", "10.0.0.1:81", rip}, b.dests(vip))
	}},
	{name: "no family means the service's", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(vip6, conf6("rr")))
		four := slices.Concat(bin(dAddr, 10, 1, 0, 1), be16(dPort, 80), routed)
		b.must(cNewDest, svc(vip), nest(aDest, four))
		b.must(cNewDest, svc(vip6), nest(aDest, four, u16(dFamily, 0)))
		equal(b, "in the IPv4 service", []string{"10.1.0.1:80"}, b.dests(vip))
		equal(b, "in the IPv6 service", []string{"[a01:1::]:80"}, b.dests(vip6))
		equal(b, "family", uint64(inet6), b.dest(vip6, "[a01:1::]:80").number(dFamily))
	}},
	{name: "addresses of any length", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		garbage := slices.Concat(bin(dAddr, 10, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), be16(dPort, 80))
		b.must(cNewDest, svc(vip), nest(aDest, garbage, routed))
		b.want(eEXIST, cNewDest, svc(vip), dst(rip, routed))
		equal(b, "address", append([]byte{10, 0, 0, 1}, make([]byte, 12)...), b.dest(vip, rip).get(dAddr))
		b.must(cDelDest, svc(vip), dst(rip))
		b.must(cNewDest, svc(vip), nest(aDest, bin(dAddr, 10), be16(dPort, 80), routed))
		equal(b, "destinations", []string{"10.0.0.0:80"}, b.dests(vip))
	}},
	{name: "mixed families", run: func(b *bench) {
		b.device("dm0", 1500)
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))
		equal(b, "family", uint64(inet6), b.dest(vip, rip6).number(dFamily))
		b.want(eINVAL, cNewDaemon, syncd(backup, "dm0"))
		b.want(eINVAL, cNewDaemon, syncd(master, "dm0"))
		b.want(eINVAL, cSetDest, svc(vip), dst(rip6, full(3, 1, 0, 0)))
		b.must(cSetDest, svc(vip), dst(rip6, full(2, 9, 0, 0)))
		b.must(cDelDest, svc(vip), dst(rip6))
		b.must(cNewDaemon, syncd(backup, "dm0"))
		b.want(eINVAL, cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))
		b.must(cDelDaemon, nest(aDaemon, u32(mState, backup)))
		b.must(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))
		b.must(cDelService, svc(vip))
		b.must(cNewDaemon, syncd(backup, "dm0"))
	}},
	{name: "no address in the namespace", run: func(b *bench) {
		n := b.bare()
		n.must(cNewService, svc(vip, conf("rr")))
		for _, a := range []string{"10.1.0.1:80", "127.0.0.1:80", "192.0.2.1:80"} {
			n.want(eINVAL, cNewDest, svc(vip), dst(a, routed))
		}
		n.must(cNewService, svc(vip6, conf6("rr")))
		n.must(cNewDest, svc(vip6), dst("[2001:db8::1]:80", routed))
		n.link("lo", true)
		n.must(cNewDest, svc(vip), dst("10.1.0.1:80", routed))
		// Once there was an address, its going makes no difference.
		n.link("lo", false)
		n.must(cNewDest, svc(vip), dst("10.1.0.2:80", routed))
	}},
	{name: "local addresses", run: func(b *bench) {
		b.device("dm0", 1500, "192.168.77.1/24", "fe80::77/64", "2001:db8:77::1/64")
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(vip6, conf6("rr")))
		b.must(cNewDest, svc(vip6), dst("[fe80::77]:80", routed))
		b.want(eINVAL, cNewDest, svc(vip6), dst("[fe80::78]:80", routed))
		b.must(cNewDest, svc(vip6), dst("[2001:db8:77::1]:80", routed))
		b.must(cNewDest, svc(vip), dst("192.168.77.1:80", routed))
		b.must(cNewDest, svc(vip), dst("192.168.77.0:80", routed))
		b.want(eINVAL, cNewDest, svc(vip), dst("192.168.77.255:80", routed))
	}},
	{name: "the address is not looked at by SET", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst("192.168.77.255:80", routed))
		b.device("dm0", 1500, "192.168.77.1/24")
		b.must(cSetDest, svc(vip), dst("192.168.77.255:80", full(0, 7, 0, 0)))
		b.want(eINVAL, cNewDest, svc(vip), dst("192.168.77.255:81", routed))
	}},
	{name: "back from the trash", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewService, svc(udp("192.0.2.10:80"), conf("rr")))
		b.must(cNewService, svc(mark4(5), conf("rr")))
		for _, id := range [][]byte{vip, mark4(5)} {
			b.must(cNewDest, svc(id), dst("192.168.77.255:80", full(3, 1, 0, 0), u8(dTunType, 2)))
			b.must(cNewDest, svc(id), dst(newRIP, routed))
			b.must(cDelDest, svc(id), dst("192.168.77.255:80"))
		}
		// Now that it is a broadcast address, only the object from the trash can come back.
		b.device("dm0", 1500, "192.168.77.1/24")
		b.want(eINVAL, cNewDest, svc(udp("192.0.2.10:80")), dst("192.168.77.255:80", routed))
		for _, id := range [][]byte{vip, mark4(5)} {
			b.want(eINVAL, cNewDest, svc(id), dst("192.168.77.255:81", routed))
			b.want(eRANGE, cNewDest, svc(id), dst("192.168.77.255:80", full(3, 1<<31, 0, 0)))
			b.must(cNewDest, svc(id), dst("192.168.77.255:80", full(2, 7, 9, 8), be16(dTunPort, 3)))
			equal(b, "configuration is the request's", destValues{2, 7, 0, 3, 0, 9, 8, inet4}, b.values(id, "192.168.77.255:80"))
			equal(b, "place is the first", []string{"192.168.77.255:80", newRIP}, b.dests(id))
		}
		// Also when the service was made anew, and only once.
		b.must(cDelService, svc(vip))
		b.must(cNewService, svc(vip, conf("wlc")))
		b.must(cNewDest, svc(vip), dst("192.168.77.255:80", routed))
		b.want(eEXIST, cNewDest, svc(vip), dst("192.168.77.255:80", routed))
	}},
	{name: "out of the trash after three minutes", run: func(b *bench) {
		if b.env.Advance == nil {
			b.Skip("the setup cannot let minutes pass")
		}
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst("192.168.77.255:80", routed))
		b.must(cDelDest, svc(vip), dst("192.168.77.255:80"))
		b.device("dm0", 1500, "192.168.77.1/24")
		b.advance(172 * time.Second)
		b.must(cNewDest, svc(vip), dst("192.168.77.255:80", routed))
		b.must(cDelDest, svc(vip), dst("192.168.77.255:80"))
		b.advance(188 * time.Second)
		b.want(eINVAL, cNewDest, svc(vip), dst("192.168.77.255:80", routed))
	}},
}

// destValues are what a destination's configuration comes back as.
type destValues struct {
	Forward, Weight, TunType, TunPort, TunFlags, Upper, Lower, Family uint32
}

func (s *socket) values(id []byte, name string) destValues {
	s.t.Helper()
	d := s.dest(id, name)
	port := d.get(dTunPort)
	return destValues{
		uint32(d.number(dForward)), uint32(d.number(dWeight)), uint32(d.number(dTunType)), uint32(port[0])<<8 | uint32(port[1]),
		uint32(d.number(dTunFlags)), uint32(d.number(dUpper)), uint32(d.number(dLower)), uint32(d.number(dFamily)),
	}
}
