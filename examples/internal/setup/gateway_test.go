package setup

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGatewayPlan(t *testing.T) {
	all, all6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	director, other := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.254")
	route := func(dst string, via netip.Addr, protocol uint8) Route {
		return Route{Dst: netip.MustParsePrefix(dst), Gateway: via, protocol: protocol}
	}
	tests := map[string]struct {
		have    []Route
		clients []netip.Prefix
		want    string
	}{
		"no default route":         {nil, []netip.Prefix{all}, "add 0.0.0.0/0 via 10.1.0.1"},
		"director is default":      {[]Route{route("0.0.0.0/0", director, 3)}, []netip.Prefix{all}, ""},
		"other default":            {[]Route{route("0.0.0.0/0", other, 3)}, []netip.Prefix{all}, "add 0.0.0.0/1 via 10.1.0.1, add 128.0.0.0/1 via 10.1.0.1"},
		"again":                    {[]Route{route("0.0.0.0/0", other, 3), route("0.0.0.0/1", director, protocolLVS), route("128.0.0.0/1", director, protocolLVS)}, []netip.Prefix{all}, ""},
		"half is there":            {[]Route{route("0.0.0.0/0", other, 3), route("0.0.0.0/1", director, protocolLVS)}, []netip.Prefix{all}, "add 128.0.0.0/1 via 10.1.0.1"},
		"another director before":  {[]Route{route("0.0.0.0/0", other, protocolLVS)}, []netip.Prefix{all}, "delete 0.0.0.0/0 via 10.1.0.254, add 0.0.0.0/0 via 10.1.0.1"},
		"clients on the same link": {[]Route{route("10.1.0.0/24", netip.Addr{}, 2)}, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, "add 10.1.0.0/25 via 10.1.0.1, add 10.1.0.128/25 via 10.1.0.1"},
		"one client":               {nil, []netip.Prefix{netip.MustParsePrefix("10.1.0.7/32")}, "add 10.1.0.7/32 via 10.1.0.1"},
		"named twice":              {nil, []netip.Prefix{all, all}, "add 0.0.0.0/0 via 10.1.0.1"},
		"a half is taken": {
			[]Route{route("0.0.0.0/0", other, 3), route("128.0.0.0/1", other, 3)}, []netip.Prefix{all},
			"add 0.0.0.0/1 via 10.1.0.1, add 128.0.0.0/2 via 10.1.0.1, add 192.0.0.0/2 via 10.1.0.1",
		},
		"one client is taken": {[]Route{route("10.9.0.7/32", other, 3)}, []netip.Prefix{netip.MustParsePrefix("10.9.0.7/32")}, ""},
		"stop":                {[]Route{route("0.0.0.0/0", other, 3), route("0.0.0.0/1", director, protocolLVS)}, nil, "delete 0.0.0.0/1 via 10.1.0.1"},
		"IPv6":                {[]Route{route("::/0", netip.MustParseAddr("fd00::9"), 3)}, []netip.Prefix{all6}, "add ::/1 via 10.1.0.1, add 8000::/1 via 10.1.0.1"},
	}
	for name, tt := range tests {
		var words []string
		for _, c := range plan(tt.have, tt.clients, director) {
			words = append(words, strings.TrimSuffix(strings.TrimPrefix(c.String(), "ip route "), " proto 76"))
		}
		if got := strings.Join(words, ", "); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestSamples(t *testing.T) {
	for prefix, want := range map[string]string{
		"0.0.0.0/0": "1.0.0.1 128.0.0.1", "::/0": "2000::1 8000::1", "10.0.0.0/24": "10.0.0.1 10.0.0.129", "10.0.0.4/31": "10.0.0.4 10.0.0.5",
		"10.0.0.4/32": "10.0.0.4", "fd00::/64": "fd00::1 fd00::8000:0:0:1",
	} {
		var words []string
		p := netip.MustParsePrefix(prefix)
		for _, a := range samples(p) {
			words = append(words, a.String())
			if !p.Contains(a) {
				t.Errorf("%v is not in %v", a, p)
			}
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}

// What a request says comes back from the decoder, and no prefix of it is taken for a whole message.
func TestRouteRoundTrip(t *testing.T) {
	for dst, via := range map[string]string{"10.0.0.0/9": "10.128.0.1", "0.0.0.0/0": "192.0.2.1", "fc00::/7": "2001:db8::1"} {
		p, gw := netip.MustParsePrefix(dst), netip.MustParseAddr(via)
		b := encodeChange(true, p, gw)[nlmsgHeader:]
		got, err := decodeRoute(b)
		want := Route{Dst: p, Gateway: gw, protocol: protocolLVS, kind: rtnUnicast, table: tableMain}
		if diff := cmp.Diff(want, got, equateAddrs, cmp.AllowUnexported(Route{})); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got):\n%s", p, err, diff)
		}
	}
	nested := attribute(attribute(nil, rtaxMTU, []byte{1, 2, 3, 4}), rtaxAdvMSS, []byte{1, 0, 0, 1})
	b := request(rtmNewRoute, 0, [rtmsgSize]byte{2, 0, 0, 0, 254, 3, 0, rtnLocal}, attribute(attribute(nil, rtaMetrics, nested), rtaOIF, []byte{9, 0, 0, 9}))
	if r, err := decodeRoute(b[nlmsgHeader:]); err != nil || r.MTU == 0 || r.AdvMSS != 0x01000001 || r.Link != 0x09000009 || !r.Local {
		t.Errorf("%+v, %v", r, err)
	}
	if !bytes.Equal(encodeLookup(netip.MustParseAddr("10.0.0.1"))[nlmsgHeader:nlmsgHeader+2], []byte{2, 32}) {
		t.Error("a look-up does not ask for the address alone")
	}
}

func FuzzDecodeRoute(f *testing.F) {
	f.Add(encodeChange(true, netip.MustParsePrefix("10.0.0.0/9"), netip.MustParseAddr("10.128.0.1"))[nlmsgHeader:])
	f.Add(encodeLookup(netip.MustParseAddr("fd00::1"))[nlmsgHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoute(b)
		if (err == nil) != r.Dst.IsValid() {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}
