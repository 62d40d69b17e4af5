package setup

import (
	"flag"
	"io"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/golvs/lvs/ipvs"
)

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

func TestRealServers(t *testing.T) {
	tests := map[string]struct {
		want RealServers
		text string // as it prints; empty is what was read
		err  string
	}{
		"10.0.0.2":                {want: RealServers{{netip.MustParseAddr("10.0.0.2"), 0, 1}}},
		"10.0.0.2=0,10.0.0.2:8=3": {want: RealServers{{netip.MustParseAddr("10.0.0.2"), 0, 0}, {netip.MustParseAddr("10.0.0.2"), 8, 3}}},
		"fd00::2,[fd00::2]:8=2":   {want: RealServers{{netip.MustParseAddr("fd00::2"), 0, 1}, {netip.MustParseAddr("fd00::2"), 8, 2}}},
		"::ffff:10.0.0.2=1":       {want: RealServers{{netip.MustParseAddr("10.0.0.2"), 0, 1}}, text: "10.0.0.2"},
		"x":                       {err: `real server "x" is not an address`},
		"":                        {err: `real server "" is not an address`},
		"fe80::1%eth0":            {err: `real server "fe80::1%eth0" is not an address`},
		"10.0.0.2:0":              {err: `real server "10.0.0.2:0" is not an address`},
		"10.0.0.2=-1":             {err: `weight "-1" of 10.0.0.2 is not a number from 0 to 2147483647`},
		"10.0.0.2=2147483648":     {err: `weight "2147483648" of 10.0.0.2 is not a number from 0 to 2147483647`},
		"10.0.0.2,10.0.0.2=2":     {err: "real server 10.0.0.2 is there twice"},
	}
	for text, tt := range tests {
		var got RealServers
		err := got.Set(text)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%q: error %v, want %s", text, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got, equateAddrs); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
		if tt.text == "" {
			tt.text = text
		}
		if got.String() != tt.text {
			t.Errorf("%q prints as %q", text, got)
		}
	}
}

func FuzzRealServers(f *testing.F) {
	for _, s := range []string{"10.0.0.2", "10.0.0.2:80=3,fd00::1", "[fd00::2]:8=2", "::ffff:10.0.0.2", "fe80::1%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var first, again RealServers
		if first.Set(s) != nil {
			return
		}
		if err := again.Set(first.String()); err != nil {
			t.Fatalf("%q prints as %q, which is refused: %v", s, first, err)
		}
		if diff := cmp.Diff(first, again, equateAddrs); diff != "" {
			t.Fatalf("%q (-first +again):\n%s", s, diff)
		}
	})
}

func TestFlags(t *testing.T) {
	var addr netip.Addr
	var port uint16
	var proto ipvs.Protocol
	var nets []netip.Prefix
	parse := func(args ...string) error {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		AddrVar(fs, &addr, "addr", "")
		PortVar(fs, &port, "port", "")
		ProtocolVar(fs, &proto, "proto", "")
		PrefixesVar(fs, &nets, "nets", "")
		return fs.Parse(args)
	}
	if err := parse("-addr", "::ffff:192.0.2.1", "-port", "65535", "-proto", "udp", "-nets", "10.0.0.0/8,::/0", "-nets", "192.0.2.1/32"); err != nil {
		t.Fatal(err)
	}
	if addr.String() != "192.0.2.1" || port != 65535 || proto != ipvs.UDP || len(nets) != 3 {
		t.Fatalf("%v %d %v %v", addr, port, proto, nets)
	}
	for _, args := range [][]string{{"-addr", "x"}, {"-addr", "fe80::1%1"}, {"-port", "0"}, {"-port", "65536"}, {"-proto", "icmp"}, {"-nets", "10.0.0.1/8"}, {"-nets", ""}} {
		if parse(args...) == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
