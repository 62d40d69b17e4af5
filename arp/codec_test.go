package arp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/josharian/native"
	"github.com/mdlayher/netlink"
)

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// exchange is a captured request with its answers.
type exchange struct {
	title   string
	request []byte
	answers [][]byte
}

// captured reads a file of captures by the first word of each title.
func captured(t testing.TB, version string) map[string]exchange {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "rtnetlink", version+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]exchange{}
	var now exchange
	var into *[]byte
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		title, isTitle := strings.CutPrefix(line, "### ")
		request, isRequest := strings.CutPrefix(line, "> ")
		answer, isAnswer := strings.CutPrefix(line, "< type=")
		switch {
		case isTitle:
			now, into = exchange{title: title}, nil
		case isRequest:
			into, line = &now.request, request
		case isAnswer:
			now.answers = append(now.answers, nil)
			into = &now.answers[len(now.answers)-1]
			_, line, _ = strings.Cut(answer, " ")
			_, line, _ = strings.Cut(line, " ")
		case strings.HasPrefix(line, "<"):
			into = nil
		}
		if into != nil {
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				continue // a remark
			}
			*into = append(*into, b...)
		}
		if now.title != "" {
			key, _, _ := strings.Cut(now.title, " ")
			all[key] = now
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// rows prints four bytes per row.
func rows(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); i += 4 {
		fmt.Fprintf(&s, "%3d % x\n", i, b[i:min(i+4, len(b))])
	}
	return s.String()
}

func littleEndian(t *testing.T) {
	t.Helper()
	if native.Endian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the captures are from a little-endian machine")
	}
}

var (
	vip4 = netip.MustParseAddr("10.0.0.100")
	vip6 = netip.MustParseAddr("2001:db8::100")
)

func TestEncodeGolden(t *testing.T) {
	littleEndian(t)
	const ours = netlink.Request | netlink.Acknowledge
	address := func(s, dev string) Address { return Address{Prefix: netip.MustParsePrefix(s), Device: dev} }
	v6 := address("2001:db8::100/128", "lo")
	v6.Flags = AddressNoDAD
	deprecated := v6
	deprecated.Flags |= AddressDeprecated
	rip := netip.MustParseAddr("10.0.0.3")
	tests := map[string]struct {
		got   func() (netlink.Message, error)
		flags netlink.HeaderFlags // of the capture, where ours differ
	}{
		"A1":  {got: func() (netlink.Message, error) { return encodeAddAddress(address("10.0.0.100/32", "lo"), 1) }},
		"A2":  {got: func() (netlink.Message, error) { return encodeAddAddress(address("10.0.0.100/32", "lo"), 1) }},
		"A4":  {got: func() (netlink.Message, error) { return encodeDumpAddresses(afInet) }},
		"A5":  {got: func() (netlink.Message, error) { return encodeAddAddress(address("10.0.0.100/32", "lo"), 999) }},
		"A10": {got: func() (netlink.Message, error) { return encodeDeleteAddress(address("10.0.0.100/24", "lo"), 1) }},
		"A11": {got: func() (netlink.Message, error) { return encodeDeleteAddress(address("10.0.0.100/32", "lo"), 1) }},
		"B1":  {got: func() (netlink.Message, error) { return encodeAddAddress(v6, 1) }},
		"B4":  {got: func() (netlink.Message, error) { return encodeAddAddress(deprecated, 1) }, flags: ours | netlink.Create | netlink.Replace},
		"B6":  {got: func() (netlink.Message, error) { return encodeDeleteAddress(v6, 1) }},
		"L1":  {got: func() (netlink.Message, error) { return encodeAddDummy("lvs0") }},
		"L5":  {got: func() (netlink.Message, error) { return encodeSetLink(4, true) }},
		"L9":  {got: func() (netlink.Message, error) { return encodeDeleteLink(4) }},
		"T1":  {got: func() (netlink.Message, error) { return encodeAddTunnel(Tunnel{Name: "lvstun0", Local: rip}) }},
		"T1c": {got: func() (netlink.Message, error) { return encodeAddTunnel(Tunnel{Name: "lvstun2"}) }},
	}
	for _, version := range []string{"6.1", "6.12"} {
		golden := captured(t, version)
		for name, tt := range tests {
			t.Run(version+"/"+name, func(t *testing.T) {
				want := golden[name].request
				if len(want) == 0 {
					t.Fatal("no such capture")
				}
				m, err := tt.got()
				if err != nil {
					t.Fatal(err)
				}
				if tt.flags != 0 {
					m.Header.Flags = tt.flags
				}
				m.Header.Length = uint32(16 + len(m.Data))
				m.Header.Sequence = binary.LittleEndian.Uint32(want[8:])
				got, err := m.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s\ngot\n%swant\n%s", golden[name].title, rows(got), rows(want))
				}
			})
		}
	}
}

// The parts for which there is no capture, byte by byte from the header files' layout.
func TestEncodeOther(t *testing.T) {
	littleEndian(t)
	tests := map[string]struct {
		message func() (netlink.Message, error)
		typ     uint16
		want    string
	}{
		"label": {
			func() (netlink.Message, error) {
				return encodeAddAddress(Address{Prefix: netip.MustParsePrefix("10.0.0.103/32"), Device: "lo", Label: "lo:0", Scope: ScopeHost}, 1)
			}, typeNewAddr, "022000fe 01000000 08000200 0a000067 08000100 0a000067 09000300 6c6f3a30 00000000",
		},
		"device's name as label": {
			func() (netlink.Message, error) {
				return encodeAddAddress(Address{Prefix: netip.MustParsePrefix("10.0.0.103/32"), Device: "lo", Label: "lo"}, 1)
			}, typeNewAddr, "02200000 01000000 08000200 0a000067 08000100 0a000067",
		},
		"gre": {
			func() (netlink.Message, error) {
				return encodeAddTunnel(Tunnel{Name: "g0", Kind: GRE, Local: netip.MustParseAddr("10.0.0.3"), Remote: netip.MustParseAddr("10.0.0.2"), Checksum: true})
			}, typeNewLink, "00000000 00000000 00000000 00000000 07000300 67300000" +
				"30001200 08000100 67726500" + "24000200 06000200 80000000 06000300 80000000 08000600 0a000003 08000700 0a000002",
		},
		"ip6tnl": {
			func() (netlink.Message, error) {
				return encodeAddTunnel(Tunnel{Name: "t6", Kind: IP6TNL, Local: vip6})
			}, typeNewLink, "00000000 00000000 00000000 00000000 07000300 74360000" +
				"28001200 0b000100 69703674 6e6c0000 18000200 14000200 20010db8 00000000 00000000 00000100",
		},
		"down": {
			func() (netlink.Message, error) { return encodeSetLink(4, false) }, typeNewLink,
			"00000000 04000000 00000000 01000000",
		},
		"local routes": {func() (netlink.Message, error) { return encodeDumpLocal(afInet) }, typeGetRoute, "02000000 ff000000 00000000"},
		"proxies":      {func() (netlink.Message, error) { return encodeDumpProxies(afInet6) }, typeGetNeigh, "0a000000 00000000 00000800"},
		"family":       {func() (netlink.Message, error) { return encodeGetFamily("fou") }, typeCtrl, "03010000 08000200 666f7500"},
		"families":     {func() (netlink.Message, error) { return encodeDumpFamilies() }, typeCtrl, "03010000"},
		"fou gue":      {func() (netlink.Message, error) { return encodeFOU(30, fouAdd, FOUPort{Port: 5555}) }, 30, "01010000 06000100 15b30000 05000200 02000000 05000400 02000000"},
		"fou plain, IPv6": {func() (netlink.Message, error) {
			return encodeFOU(30, fouAdd, FOUPort{Port: 5555, IPv6: true, Protocol: 41})
		}, 30, "01010000 06000100 15b30000 05000200 0a000000 05000300 29000000 05000400 01000000"},
		"fou delete":        {func() (netlink.Message, error) { return encodeFOU(30, fouDel, FOUPort{Port: 5555}) }, 30, "02010000 06000100 15b30000 05000200 02000000"},
		"list of fou ports": {func() (netlink.Message, error) { return encodeDumpFOU(30) }, 30, "03010000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := tt.message()
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if uint16(m.Header.Type) != tt.typ || !bytes.Equal(m.Data, want) {
				t.Errorf("type %d\ngot\n%swant\n%s", m.Header.Type, rows(m.Data), rows(want))
			}
		})
	}
}

func TestDecodeGolden(t *testing.T) {
	littleEndian(t)
	lo := func(s string, flags AddressFlags, label string, scope Scope) Address {
		return Address{Prefix: netip.MustParsePrefix(s), Flags: flags, Label: label, Scope: scope}
	}
	addresses := map[string][]Address{
		"A4": {lo("127.0.0.1/8", 0x80, "lo", ScopeHost), lo("10.0.0.101/32", 0x80, "lo", ScopeHost), lo("10.0.0.100/32", 0x80, "lo", 0)},
		"B5": {lo("2001:db8::100/128", 0x2a2, "", 0), lo("::1/128", 0x80, "", ScopeHost)},
	}
	links := map[string]Link{
		"L4":  {Index: 4, Name: "lvs0", Kind: "dummy", Type: 1, Flags: LinkBroadcast | LinkNoARP, MTU: 1500},
		"T2":  {Index: 3, Name: "tunl0", Kind: "ipip", Type: 768, Flags: LinkNoARP, MTU: 1480, Tunnel: &Tunnel{Name: "tunl0"}},
		"T2b": {Index: 5, Name: "lvstun0", Kind: "ipip", Type: 768, Flags: LinkNoARP, MTU: 1480, Tunnel: &Tunnel{Name: "lvstun0", Local: netip.MustParseAddr("10.0.0.3")}},
	}
	for _, version := range []string{"6.1", "6.12"} {
		golden := captured(t, version)
		for name, want := range addresses {
			t.Run(version+"/"+name, func(t *testing.T) {
				var got []Address
				for _, b := range golden[name].answers {
					a, index, ok, err := decodeAddress(b[16:])
					if err != nil || !ok || index != 1 {
						t.Fatalf("index %d, %v, %v", index, ok, err)
					}
					got = append(got, a)
				}
				if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
					t.Errorf("addresses (-want +got):\n%s", diff)
				}
			})
		}
		for name, want := range links {
			t.Run(version+"/"+name, func(t *testing.T) {
				if len(golden[name].answers) != 1 {
					t.Fatalf("%d answers", len(golden[name].answers))
				}
				got, err := decodeLink(golden[name].answers[0][16:])
				if err != nil {
					t.Fatal(err)
				}
				if len(got.HardwareAddr) == 0 {
					t.Error("no hardware address")
				}
				if diff := cmp.Diff(want, got, equateAddrs, cmpopts.IgnoreFields(Link{}, "HardwareAddr")); diff != "" {
					t.Errorf("link (-want +got):\n%s", diff)
				}
			})
		}
		t.Run(version+"/route of table main", func(t *testing.T) {
			if _, _, ok, err := decodeLocal(golden["R4"].answers[0][16:]); ok || err != nil {
				t.Errorf("taken for a local route: %v, %v", ok, err)
			}
		})
	}
}

// fuzzSeeds adds all captured answers.
func fuzzSeeds(f *testing.F) {
	for _, version := range []string{"6.1", "6.12"} {
		for _, e := range captured(f, version) {
			for _, b := range e.answers {
				if len(b) > 16 {
					f.Add(b[16:])
				}
			}
		}
	}
}

func FuzzDecodeAddress(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, index, ok, err := decodeAddress(b)
		if err != nil && ok {
			t.Fatal("both a value and an error")
		}
		if !ok {
			return
		}
		if !a.Prefix.IsValid() || a.Addr().Zone() != "" {
			t.Fatalf("invalid prefix %v", a.Prefix)
		}
		// What we would send for it reads back as the same address.
		a.Device = "x"
		a.Label = ""
		m, err := encodeAddAddress(a, index)
		if err != nil {
			t.Fatal(err)
		}
		back, backIndex, ok, err := decodeAddress(m.Data)
		if err != nil || !ok || back.Prefix != a.Prefix || backIndex != index || back.Scope != a.Scope {
			t.Fatalf("%v on %d came back as %v on %d, %v, %v", a, index, back, backIndex, ok, err)
		}
	})
}

func FuzzDecodeLink(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLink(b)
		if err != nil || l.Tunnel == nil {
			return
		}
		if l.Tunnel.Name != l.Name || l.Tunnel.Kind.String() != l.Kind {
			t.Fatalf("tunnel %v of device %s, kind %s", l.Tunnel, l.Name, l.Kind)
		}
		want, err := l.Tunnel.canonical()
		if err != nil {
			return // the kernel has no such thing
		}
		m, err := encodeAddTunnel(want)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeLink(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, back.Tunnel, equateAddrs); diff != "" {
			t.Fatalf("tunnel (-want +got):\n%s", diff)
		}
	})
}

func FuzzDecodeOther(f *testing.F) {
	fuzzSeeds(f)
	f.Add([]byte("\x01\x01\x00\x00\x06\x00\x01\x00\x15\xb3\x00\x00\x05\x00\x02\x00\x02\x00\x00\x00\x05\x00\x04\x00\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, _, ok, err := decodeLocal(b); ok && (err != nil || !p.IsValid()) {
			t.Fatalf("local route %v, %v", p, err)
		}
		if a, _, ok, err := decodeProxy(b); ok && (err != nil || !a.IsValid()) {
			t.Fatalf("proxy %v, %v", a, err)
		}
		if name, id, err := decodeFamily(b); err == nil && (id == 0 || name == "") {
			t.Fatal("family without a name or number")
		}
		if p, err := decodeFOU(b); err == nil && p.Port != 0 {
			m, err := encodeFOU(30, fouAdd, p)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := decodeFOU(m.Data); err != nil || back != p {
				t.Fatalf("%v came back as %v, %v", p, back, err)
			}
		}
	})
}
