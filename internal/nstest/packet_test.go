package nstest

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var equateAddrs = cmpopts.EquateComparable(netip.AddrPort{})

func packets() map[string]Packet {
	ap := netip.MustParseAddrPort
	return map[string]Packet{
		"TCP": {Src: ap("192.0.2.1:1024"), Dst: ap("198.51.100.7:80"), Proto: TCP, Flags: SYN, Seq: 1 << 31, TTL: 64},
		"TCP over IPv6": {
			Src: ap("[2001:db8::1]:1024"), Dst: ap("[2001:db8::2]:443"), Proto: TCP, Flags: PSH | ACK, Seq: 5, Ack: 6, TTL: 1, TOS: 0x28,
			Payload: []byte("odd"),
		},
		"UDP":           {Src: ap("10.0.0.1:53"), Dst: ap("10.0.0.2:5353"), Proto: UDP, TTL: 3, ID: 7, Payload: []byte("query")},
		"UDP over IPv6": {Src: ap("[fd00::1]:1"), Dst: ap("[fd00::2]:65535"), Proto: UDP, TTL: 255},
		"tunnel":        {Src: ap("10.0.0.1:0"), Dst: ap("10.0.0.2:0"), Proto: IPIP, TTL: 64, Payload: []byte{0x45}},
	}
}

func TestPacketRoundTrip(t *testing.T) {
	for name, want := range packets() {
		t.Run(name, func(t *testing.T) {
			b, err := want.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if !ChecksumsValid(b) {
				t.Errorf("wrong checksum in % x", b)
			}
			got, err := ParsePacket(append(b, 0, 0)) // Ethernet pads
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, equateAddrs, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("packet (-want +got):\n%s", diff)
			}
			for i := range b {
				// The addresses are in all sums; UDP's length is in its own sum twice, but other bytes once.
				if name == "tunnel" && i >= ipv4Header || b[0]>>4 == 6 && i < 8 {
					continue
				}
				bad := bytes.Clone(b)
				bad[i] ^= 0x10
				if ChecksumsValid(bad) {
					t.Errorf("the checksums are valid with byte %d changed", i)
				}
			}
		})
	}
}

// The packet and its checksums were worked out by hand from RFC 791 and RFC 768: the words of the IP header add up to 0x5c3c,
// those of the pseudo header, the UDP header and the data to 0x7934.
func TestPacketBytes(t *testing.T) {
	const want = "45000021" + "00070000" + "0311a3c3" + "0a000001" + "0a000002" + "003514e9" + "000d86cb" + "7175657279"
	got, err := packets()["UDP"].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, hex.EncodeToString(got)); diff != "" {
		t.Fatalf("packet (-want +got):\n%s", diff)
	}
}

// A UDP checksum of zero means that there is none, so one that comes out as zero is sent as its complement (RFC 768).
func TestPacketZeroChecksum(t *testing.T) {
	p := packets()["UDP"]
	complements := 0
	for i := range 1 << 16 {
		p.Payload = []byte{byte(i >> 8), byte(i)}
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		switch sum := b[ipv4Header+6 : ipv4Header+8]; {
		case sum[0] == 0 && sum[1] == 0:
			t.Fatalf("payload % x has no checksum", p.Payload)
		case sum[0] == 0xff && sum[1] == 0xff:
			complements++
		}
	}
	if complements != 1 && complements != 2 {
		t.Fatalf("%d payloads of 65536 have the checksum 0xffff", complements)
	}
}

func TestPacketMistakes(t *testing.T) {
	ap := netip.MustParseAddrPort
	for name, p := range map[string]Packet{
		"no addresses": {Proto: UDP},
		"two families": {Src: ap("10.0.0.1:1"), Dst: ap("[fd00::1]:1"), Proto: UDP},
		"zone":         {Src: ap("[fe80::1%eth0]:1"), Dst: ap("[fe80::2]:1"), Proto: UDP},
		"too long":     {Src: ap("10.0.0.1:1"), Dst: ap("10.0.0.2:1"), Proto: UDP, Payload: make([]byte, 1<<16)},
	} {
		if b, err := p.Marshal(); err == nil {
			t.Errorf("%s: got %d bytes, want an error", name, len(b))
		}
	}
	mapped := Packet{Src: ap("[::ffff:10.0.0.1]:1"), Dst: ap("10.0.0.2:1"), Proto: UDP}
	if b, err := mapped.Marshal(); err != nil || b[0]>>4 != 4 {
		t.Errorf("a mapped address gave % x, %v", b, err)
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, p := range packets() {
		b, err := p.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ChecksumsValid(data)
		p, err := ParsePacket(data)
		if err != nil {
			return
		}
		if p.TTL == 0 {
			p.TTL = 1 // zero stands for the default
		}
		b, err := p.Marshal()
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if p.Src.Addr().Is4In6() || p.Dst.Addr().Is4In6() {
			return // such an IPv6 packet is sent as IPv4
		}
		again, err := ParsePacket(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again, equateAddrs, cmpopts.EquateEmpty()); diff != "" && p.Src.Port() != 0 {
			t.Fatalf("parse of marshal (-want +got):\n%s", diff)
		}
	})
}
