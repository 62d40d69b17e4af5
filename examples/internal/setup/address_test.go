package setup

import (
	"net/netip"
	"testing"

	"github.com/golvs/lvs/arp"
)

// Each kind of problem comes with what to do, but for one that start cannot mend either.
func TestMend(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	bound := []arp.VIPStatus{{Address: arp.Address{Prefix: netip.PrefixFrom(vip, 24), Device: "lo"}}}
	a := Addresses{Program: "dr"}
	for kind := arp.NotBound; kind <= arp.Proxied; kind++ {
		p := arp.Problem{Kind: kind, VIP: vip, Device: "lo"}
		if a.mend(p, bound, true) == "" {
			t.Errorf("%v: nothing to do", kind)
		}
	}
	for want, p := range map[string]arp.Problem{
		`"ip address delete 192.0.2.10/24 dev lo", and then "dr start -role realserver" binds it as it should be`: {Kind: arp.WrongMask, VIP: vip, Device: "lo"},
		`"dr start -role realserver" binds it`: {Kind: arp.NotBound, VIP: vip},
		`"ip link set tunl0 up"`:               {Kind: arp.DeviceDown, Device: "tunl0"},
		"":                                     {Kind: arp.Answered, VIP: vip, Device: "eth0"},
	} {
		if got := a.mend(p, bound, false); got != want {
			t.Errorf("%v: %q, want %q", p.Kind, got, want)
		}
	}
}
