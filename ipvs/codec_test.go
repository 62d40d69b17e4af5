package ipvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/josharian/native"
	"github.com/mdlayher/netlink"
)

// The hot paths use the concrete type, the others the package that names the machine's order: both are the same.
func TestByteOrder(t *testing.T) {
	var a, b [8]byte
	host.PutUint64(a[:], 0x0102030405060708)
	native.Endian.PutUint64(b[:], 0x0102030405060708)
	if a != b {
		t.Fatalf("binary.NativeEndian writes %x, native.Endian %x", a, b)
	}
}

// referenceService encodes with the library's encoder what appendService encodes by itself.
func referenceService(s Service) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(attrService, func(ae *netlink.AttributeEncoder) error {
		referenceIdentity(ae, s.ID)
		ae.String(svcScheduler, s.Scheduler)
		if s.PE != "" {
			ae.String(svcPE, s.PE)
		}
		mask := uint32(s.FlagMask)
		if mask == 0 {
			mask = math.MaxUint32
		}
		ae.Bytes(svcFlags, referenceFlags(uint32(s.Flags), mask))
		ae.Uint32(svcTimeout, uint32(s.Timeout/time.Second))
		if n, ok := prefixBits(s.Netmask); ok && s.Netmask.Is6() {
			ae.Uint32(svcNetmask, uint32(n))
		} else {
			ae.Bytes(svcNetmask, s.Netmask.AsSlice())
		}
		return nil
	})
	return ae.Encode()
}

func referenceFlags(flags, mask uint32) []byte {
	b := make([]byte, 8)
	native.Endian.PutUint32(b, flags)
	native.Endian.PutUint32(b[4:], mask)
	return b
}

func referenceIdentity(ae *netlink.AttributeEncoder, id ServiceID) {
	ae.Uint16(svcAF, uint16(id.AddrFamily()))
	if id.IsMark() {
		ae.Uint32(svcFWMark, id.FWMark)
		return
	}
	ae.Uint16(svcProtocol, uint16(id.Protocol))
	ae.Bytes(svcAddr, referenceAddr(id.Addr.Addr()))
	ae.Bytes(svcPort, binary.BigEndian.AppendUint16(nil, id.Addr.Port()))
}

func referenceAddr(a netip.Addr) []byte { return append(a.AsSlice(), make([]byte, 16-a.BitLen()/8)...) }

func referenceDestination(d Destination) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(attrDest, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(destAddr, referenceAddr(d.Addr.Addr()))
		ae.Bytes(destPort, binary.BigEndian.AppendUint16(nil, d.Addr.Port()))
		ae.Uint32(destForward, uint32(d.Forward))
		ae.Uint32(destWeight, d.Weight)
		ae.Uint32(destUpper, d.UpperThreshold)
		ae.Uint32(destLower, d.LowerThreshold)
		ae.Uint16(destFamily, uint16(familyOf(d.Addr.Addr())))
		if d.Tunnel != (TunnelOptions{}) {
			ae.Uint8(destTunType, uint8(d.Tunnel.Type))
			ae.Bytes(destTunPort, binary.BigEndian.AppendUint16(nil, d.Tunnel.Port))
			ae.Uint16(destTunFlags, uint16(d.Tunnel.Flags))
		}
		return nil
	})
	return ae.Encode()
}

func fuzzAddr(ip []byte, port uint16) netip.AddrPort {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		addr = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(addr, port)
}

// A service that passes the check is encoded as the library's encoder would, and decodes to itself.
func FuzzServiceRoundTrip(f *testing.F) {
	f.Add(uint16(6), []byte{192, 0, 2, 10}, uint16(80), uint32(0), false, "wlc", "", uint32(0), uint32(0), uint32(0), []byte{255, 255, 255, 255}, 0)
	f.Add(uint16(17), netip.MustParseAddr("2001:db8::10").AsSlice(), uint16(53), uint32(0), true, "sh", "sip", uint32(0x19), uint32(0), uint32(300), []byte{}, 64)
	f.Add(uint16(0), []byte{}, uint16(0), uint32(7), false, "rr", "", uint32(4), uint32(4), uint32(0), []byte{255, 0, 255, 0}, 0)
	f.Add(uint16(6), netip.MustParseAddr("::ffff:10.0.0.1").AsSlice(), uint16(53), uint32(0), true, "a-name-of-15-by", "sixteen-bytes-pe", ^uint32(0), uint32(0), uint32(300), []byte{}, 1)
	f.Fuzz(func(t *testing.T, proto uint16, ip []byte, port uint16, mark uint32, six bool, sched, pe string, flags, flagMask, timeout uint32, mask4 []byte, bits int) {
		s := Service{
			Scheduler: sched, PE: pe, Flags: ServiceFlags(flags), FlagMask: ServiceFlags(flagMask),
			Timeout: time.Duration(timeout) * time.Second,
		}
		if mark != 0 {
			s.ID = Mark(mark, IPv4)
			if six {
				s.ID.Family = IPv6
			}
		} else {
			s.ID = ServiceID{Protocol: Protocol(proto), Addr: fuzzAddr(ip, port)}
			if six && s.ID.Addr.Addr().Is4In6() {
				s.ID.Family = IPv6
			}
		}
		if s.ID.AddrFamily() == IPv6 {
			s.Netmask = MaskBits(IPv6, bits)
		} else if a, ok := netip.AddrFromSlice(mask4); ok {
			s.Netmask = a
		}
		s, err := s.canonical(false)
		if err != nil {
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field == "" || fe.Reason == "" {
				t.Fatalf("refused without a field: %v", err)
			}
			return
		}
		got := appendService(nil, &s)
		want, err := referenceService(s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Fatalf("encoded %+v:\n%s", s, sideBySide(want, got))
		}
		var back ServiceStatus
		if err := decodeService(got, &back); err != nil {
			t.Fatal(err)
		}
		want2 := s
		want2.Flags &^= flagHashed // the kernel's own
		if want2.FlagMask == ^ServiceFlags(0) {
			want2.FlagMask = 0
		}
		if diff := cmp.Diff(ServiceStatus{Service: want2}, back, equateAddrs); diff != "" {
			t.Fatalf("after decoding (-want +got):\n%s", diff)
		}
		id, err := ParseServiceID(s.ID.String())
		if err != nil || id != s.ID {
			t.Fatalf("%q parses as %v, %v", s.ID, id, err)
		}
	})
}

// A destination that passes the check is encoded as the library's encoder would, and decodes to itself.
func FuzzDestinationRoundTrip(f *testing.F) {
	f.Add([]byte{198, 51, 100, 1}, uint16(80), uint8(3), uint32(3), uint32(100), uint32(80), uint8(0), uint16(0), uint16(0), false)
	f.Add(netip.MustParseAddr("2001:db8:1::5").AsSlice(), uint16(80), uint8(2), uint32(65536), uint32(0), uint32(0), uint8(1), uint16(6080), uint16(1), false)
	f.Add(netip.MustParseAddr("2001:db8:1::5").AsSlice(), uint16(80), uint8(7), uint32(math.MaxInt32), uint32(0), uint32(0), uint8(255), uint16(0), uint16(0xffff), true)
	f.Fuzz(func(t *testing.T, ip []byte, port uint16, forward uint8, weight, upper, lower uint32, typ uint8, tunPort, tunFlags uint16, six bool) {
		family := IPv4
		if six {
			family = IPv6
		}
		d, err := Destination{
			Addr: fuzzAddr(ip, port), Forward: ForwardMethod(forward), Weight: weight, UpperThreshold: upper, LowerThreshold: lower,
			Tunnel: TunnelOptions{TunnelType(typ), tunPort, TunnelFlags(tunFlags)},
		}.canonical(family)
		if err != nil {
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field == "" || fe.Reason == "" {
				t.Fatalf("refused without a field: %v", err)
			}
			return
		}
		got := appendDestination(nil, &d, d.Addr)
		want, err := referenceDestination(d)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Fatalf("encoded %+v:\n%s", d, sideBySide(want, got))
		}
		var back DestinationStatus
		if err := decodeDestination(got, family, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(DestinationStatus{Destination: d}, back, equateAddrs); diff != "" {
			t.Fatalf("after decoding (-want +got):\n%s", diff)
		}
	})
}

// A request of the usual kind is the one that is put together attribute by attribute, and whatever is of another kind is
// left to that.
func FuzzUsualRequest(f *testing.F) {
	f.Add([]byte{192, 0, 2, 1}, uint32(0), []byte{10, 0, 0, 2}, uint16(80), uint8(3), uint32(7), uint32(100), uint32(50), uint8(0), uint16(0))
	f.Add([]byte{192, 0, 2, 1}, uint32(7), []byte{10, 0, 0, 2}, uint16(80), uint8(0), uint32(1<<31), uint32(0), uint32(50), uint8(1), uint16(6080))
	f.Add(netip.IPv6Loopback().AsSlice(), uint32(0), netip.IPv6Loopback().AsSlice(), uint16(80), uint8(2), uint32(0), uint32(0), uint32(0), uint8(0), uint16(0))
	f.Add(netip.MustParseAddr("::ffff:1.2.3.4").AsSlice(), uint32(0), []byte{10, 0, 0, 2}, uint16(80), uint8(9), uint32(0), uint32(0), uint32(0), uint8(0), uint16(0))
	var last lastService
	f.Fuzz(func(t *testing.T, vip []byte, mark uint32, ip []byte, port uint16, forward uint8, weight, upper, lower uint32, tunnel uint8, tunPort uint16) {
		c := Change{Kind: DestinationAdd, Service: Service{ID: ServiceID{Protocol: TCP, Addr: fuzzAddr(vip, 80)}}, Destination: Destination{
			Addr: fuzzAddr(ip, port), Forward: ForwardMethod(forward), Weight: weight, UpperThreshold: upper, LowerThreshold: lower,
			Tunnel: TunnelOptions{Type: TunnelType(tunnel), Port: tunPort},
		}}
		if mark != 0 {
			c.Service.ID = Mark(mark, IPv4)
		}
		if weight%2 == 1 {
			c.Kind = DestinationSet
		}
		want := beginMessage(nil, 34, flagRequest, 5, c.command())
		want, err := c.appendRequest(want, new(lastService))
		finishMessage(want, 0)
		if checked := c.check(&last); (checked == nil) != (err == nil) {
			t.Fatalf("check says %v, the encoder %v", checked, err)
		}
		got, usual := last.appendUsual(nil, 34, 5, &c)
		if usual && (err != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%v, %v\ngot  %x\nwant %x", c, err, got, want)
		}
		simple := mark == 0 && len(vip) == 4 && len(ip) == 4 && c.Destination.Tunnel == TunnelOptions{}
		if !usual && simple && err == nil {
			t.Fatalf("%v is not taken for a usual change", c)
		}
	})
}

func FuzzDaemonRoundTrip(f *testing.F) {
	f.Add(uint32(1), "dm0", uint32(5), uint16(1400), []byte{239, 0, 0, 81}, uint16(8849), uint8(4))
	f.Add(uint32(2), "lo", uint32(0), uint16(0), netip.MustParseAddr("ff02::81").AsSlice(), uint16(0), uint8(0))
	f.Fuzz(func(t *testing.T, state uint32, ifn string, id uint32, maxLen uint16, group []byte, port uint16, ttl uint8) {
		addr, _ := netip.AddrFromSlice(group)
		d, err := Daemon{DaemonState(state), ifn, id, maxLen, addr, port, ttl}.canonical()
		if err != nil {
			return
		}
		b, err := encodeDaemon(d)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeDaemon(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back, equateAddrs); diff != "" {
			t.Fatalf("after decoding (-want +got):\n%s", diff)
		}
	})
}

// frames adds every captured message as a seed.
func frames(f *testing.F) {
	names, err := filepath.Glob("testdata/frames/*/*.hex")
	if err != nil || len(names) == 0 {
		f.Fatal("no captured frames", err)
	}
	for _, name := range names {
		f.Add(frame(f, strings.TrimSuffix(filepath.Base(name), ".hex")))
	}
}

// No input makes a decoder panic, and what the walker of the hot paths accepts, the library's decoder takes apart in the
// same way.
func FuzzDecode(f *testing.F) {
	frames(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			h, payload, next, err := nextMessage(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) {
				t.Fatal("no progress")
			}
			rest = next
			_, _, _ = decodeError(h.flags, payload)
			if len(payload) < genlHdrLen {
				continue
			}
			p := payload[genlHdrLen:]
			compareWalkers(t, p)
			s := ServiceStatus{Service: Service{PE: "x", FlagMask: 1}, Stats: Stats{Narrow: true}} // all is overwritten
			if decodeService(p, &s) == nil {
				var plain ServiceStatus
				nest, err := findNest(p, attrService)
				if err != nil {
					t.Fatal(err)
				}
				if err := decodeServiceNest(nest, &plain); err != nil || plain != s {
					t.Fatalf("%+v, %v\n%+v", plain, err, s)
				}
				if n := s.ID.AddrFamily(); n != IPv4 && n != IPv6 {
					t.Fatalf("service of family %v", n)
				}
				if id, err := ParseServiceID(s.ID.String()); err != nil || id != s.ID {
					t.Fatalf("%v parses as %v, %v", s.ID, id, err)
				}
			}
			for _, family := range []Family{IPv4, IPv6} {
				var d, plain DestinationStatus
				if decodeDestination(p, family, &d) == nil {
					if !d.Addr.IsValid() {
						t.Fatal("destination without an address")
					}
					// What knows the places finds the same as what looks for each attribute.
					nest, err := findNest(p, attrDest)
					if err != nil {
						t.Fatal(err)
					}
					if err := decodeDestinationNest(nest, family, &plain); err != nil || plain != d {
						t.Fatalf("%+v, %v\n%+v", plain, err, d)
					}
				}
			}
			_, _ = decodeInfo(p)
			_, _ = decodeTimeouts(p)
			_, _ = decodeDaemon(p)
			_, _ = decodeFamilyID(p)
		}
	})
}

func compareWalkers(t *testing.T, b []byte) {
	type attr struct {
		typ uint16
		val string
	}
	var ours, theirs []attr
	a := attrs{rest: b}
	for a.next() {
		ours = append(ours, attr{a.typ, string(a.val)})
	}
	if a.err != nil {
		return // ours is the stricter one
	}
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		t.Fatalf("the reference refuses what we accept: %v\n%x", err, b)
	}
	for ad.Next() {
		theirs = append(theirs, attr{ad.Type(), string(ad.Bytes())})
	}
	if err := ad.Err(); err != nil {
		t.Fatalf("the reference refuses what we accept: %v\n%x", err, b)
	}
	if fmt.Sprint(ours) != fmt.Sprint(theirs) {
		t.Fatalf("attributes\nours  %v\ntheirs %v", ours, theirs)
	}
}

// fillAttrs gives the content of each attribute other bytes, of statistics too. Those of the types in keep stay.
func fillAttrs(b []byte, next *byte, keep ...uint16) {
	a := attrs{rest: b}
	for a.next() {
		switch {
		case slices.Contains(keep, a.typ):
		case len(a.val) > 64:
			fillAttrs(a.val, next)
		default:
			for i := range a.val {
				*next++
				a.val[i] = *next
			}
		}
	}
}

// The usual shapes are read from fixed places: every field from its own, and over whatever was there.
func TestDecodeFast(t *testing.T) {
	if host.Uint16([]byte{1, 0}) != 1 {
		t.Skip("where integers are big-endian nothing has the usual shape")
	}
	next := byte(0)
	const dest = "23-get-dest-dump-gue"
	b := payload(t, dest, frame(t, dest)[nlmHdrLen])
	fillAttrs(b[4:], &next, destFamily, destForward)
	host.PutUint32(b[4+32:], uint32(Tunnel))
	fast := DestinationStatus{Stats: Stats{Narrow: true}}
	if differs(b, uint32(len(b)), attrDest) != 0 || !decodeDestinationFast((*[destinationNest]byte)(b[4:]), &fast) {
		t.Fatal("the usual shape of a destination is not known")
	}
	var plain DestinationStatus
	must(t, decodeDestinationNest(b[4:], IPv4, &plain))
	if diff := cmp.Diff(plain, fast, equateAddrs); diff != "" || fast.Stats.OutByteRate == 0 {
		t.Fatalf("destination (-attribute by attribute +at once):\n%s", diff)
	}

	const service = "16-get-service-reply"
	b = payload(t, service, frame(t, service)[nlmHdrLen])
	fillAttrs(b[4:], &next, svcAF, svcScheduler)
	fastService := ServiceStatus{Service: Service{PE: "x", FlagMask: 1}, Stats: Stats{Narrow: true}}
	if !decodeServiceFast(b[4:], &fastService) {
		t.Fatal("the usual shape of a service is not known")
	}
	var plainService ServiceStatus
	must(t, decodeServiceNest(b[4:], &plainService))
	if diff := cmp.Diff(plainService, fastService, equateAddrs); diff != "" || fastService.FlagMask == 0 || fastService.Stats.OutByteRate == 0 {
		t.Fatalf("service (-attribute by attribute +at once):\n%s", diff)
	}
}

// The kernel's answers are exact down to the length of each attribute; a wrong one is an error and not a wrong value.
func TestDecodeLengths(t *testing.T) {
	for _, name := range []string{"16-get-service-reply", "23-get-dest-dump-gue"} {
		whole := payload(t, name, frame(t, name)[nlmHdrLen])
		decodeAny := func(b []byte) error {
			if strings.Contains(name, "service") {
				return decodeService(b, new(ServiceStatus))
			}
			return decodeDestination(b, IPv4, new(DestinationStatus))
		}
		if err := decodeAny(whole); err != nil {
			t.Fatal(err)
		}
		// Shorten each attribute of the nest by one byte in turn. A string may have any length, and the narrow
		// statistics are not looked at when there are wide ones.
		for off := 4; off < len(whole); {
			n := int(host.Uint16(whole[off:]))
			b := bytes.Clone(whole)
			host.PutUint16(b[off:], uint16(n-1))
			typ := host.Uint16(whole[off+2:])
			service := strings.Contains(name, "service")
			if service && (typ == svcScheduler || typ == svcStats) || !service && typ == destStats {
				off += (n + 3) &^ 3
				continue
			}
			if err := decodeAny(b); err == nil {
				t.Errorf("%s: attribute %d with %d bytes passes", name, typ, n-1-4)
			}
			off += (n + 3) &^ 3
		}
	}
}

// Kernels before 3.18, 4.1 and 5.3 send less.
func TestDecodeOldKernel(t *testing.T) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(attrDest, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(destAddr, netip.MustParseAddr("2001:db8::5").AsSlice())
		ae.Bytes(destPort, []byte{0, 80})
		ae.Uint32(destForward, 3)
		ae.Uint32(destWeight, 5)
		ae.Uint32(destUpper, 0)
		ae.Uint32(destLower, 0)
		ae.Uint32(destActive, 1)
		ae.Uint32(destInactive, 2)
		ae.Uint32(destPersistent, 3)
		ae.Nested(destStats, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(statsConns, 6)
			ae.Uint32(statsInPkts, math.MaxUint32)
			ae.Uint64(statsInBytes, 1<<40)
			ae.Uint32(statsCPS, 7)
			return nil
		})
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got DestinationStatus
	if err := decodeDestination(b, IPv6, &got); err != nil {
		t.Fatal(err)
	}
	want := DestinationStatus{
		Destination: Destination{Addr: netip.MustParseAddrPort("[2001:db8::5]:80"), Forward: Route, Weight: 5},
		Active:      1, Inactive: 2, Persistent: 3,
		Stats: Stats{Connections: 6, InPackets: math.MaxUint32, InBytes: 1 << 40, ConnectionRate: 7, Narrow: true},
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Fatalf("destination (-want +got):\n%s", diff)
	}
}

// A newer kernel may add attributes, and 64-bit statistics count whichever comes first.
func TestDecodeNewKernel(t *testing.T) {
	stats := func(width int) func(ae *netlink.AttributeEncoder) error {
		return func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(11, nil) // padding
			if width == 64 {
				ae.Uint64(statsConns, 1<<33)
			} else {
				ae.Uint32(statsConns, 0)
			}
			ae.Uint32(99, 1)
			return nil
		}
	}
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(77, 1)
	ae.Nested(attrService, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(200, 1)
		ae.Nested(svcStats64, stats(64))
		ae.Nested(svcStats, stats(32))
		referenceIdentity(ae, goldenTCP.ID)
		ae.String(svcScheduler, "brandnew")
		ae.Bytes(svcFlags, referenceFlags(0xf0000002, math.MaxUint32))
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got ServiceStatus
	if err := decodeService(b, &got); err != nil {
		t.Fatal(err)
	}
	want := ServiceStatus{
		Service: Service{ID: goldenTCP.ID, Scheduler: "brandnew", Flags: 0xf0000000, Netmask: netip.IPv4Unspecified()},
		Stats:   Stats{Connections: 1 << 33},
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Fatalf("service (-want +got):\n%s", diff)
	}
}

func BenchmarkEncodeDestination(b *testing.B) {
	d, err := goldenRoute.canonical(IPv4)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = beginMessage(buf[:0], 34, flagRequest|flagAck, 1, cmdNewDest)
		buf = appendDestination(appendServiceID(buf, goldenTCP.ID), &d, d.Addr)
		finishMessage(buf, 0)
	}
}

// BenchmarkEncodeChange encodes the request as a batch does, where the change before was about the same service.
func BenchmarkEncodeChange(b *testing.B) {
	c := Change{Kind: DestinationSet, Service: Service{ID: goldenTCP.ID}, Destination: goldenRoute}
	var last lastService
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		var usual bool
		if buf, usual = last.appendUsual(buf[:0], 34, 1, &c); !usual {
			b.Fatal("not a usual change")
		}
	}
}

// BenchmarkEncodeDestinationReference is the same with the library's encoder.
func BenchmarkEncodeDestinationReference(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := referenceDestination(goldenRoute); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode1000Destinations decodes a dump of 1,000 destinations as it lies in the receive buffer.
func BenchmarkDecode1000Destinations(b *testing.B) {
	dump := bytes.Repeat(frame(b, "23-get-dest-dump-gue"), 1000)
	list := make([]DestinationStatus, 1000)
	b.ReportAllocs()
	for b.Loop() {
		i := 0
		for rest := dump; len(rest) > 0; i++ {
			var p []byte
			var err error
			if _, p, rest, err = nextMessage(rest); err != nil {
				b.Fatal(err)
			}
			if err := decodeDestination(p[genlHdrLen:], IPv4, &list[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/dest")
}
