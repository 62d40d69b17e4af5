package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	id := func(s string) ServiceID { return ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort(s)} }
	dest := func(s string) []Destination { return []Destination{NewDestination(netip.MustParseAddrPort(s))} }
	base := Ruleset{
		Services: []ServiceRules{
			{Service{ID: id("192.0.2.1:80"), Scheduler: "rr"}, dest("10.0.0.1:80")},
			{Service{ID: id("192.0.2.2:80"), Scheduler: "rr"}, dest("10.0.0.2:80")},
		},
		Timeouts: &Timeouts{TCP: time.Minute, UDP: time.Second},
		Daemons:  []Daemon{{State: Master, Interface: "eth0"}},
	}
	over := Ruleset{
		Services: []ServiceRules{
			{Service{ID: Mark(7, IPv6), Scheduler: "sh"}, nil},
			{Service{ID: id("[::ffff:192.0.2.1]:80"), Scheduler: "wlc"}, dest("10.0.0.9:80")},
		},
		Timeouts: &Timeouts{TCP: time.Hour},
		Daemons:  []Daemon{{State: Backup, Interface: "eth1"}, {State: Master, Interface: "eth2"}},
	}
	want := Ruleset{
		Services: []ServiceRules{over.Services[1], base.Services[1], over.Services[0]},
		Timeouts: &Timeouts{TCP: time.Hour, UDP: time.Second},
		Daemons:  []Daemon{over.Daemons[1], over.Daemons[0]},
	}
	got := base.Merge(over)
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Fatalf("merged (-want +got):\n%s", diff)
	}
	got.Services[0].Scheduler, got.Timeouts.TCP, got.Daemons[0].Interface = "x", 0, "x"
	if diff := cmp.Diff(want.Services[1:], base.Merge(over).Services[1:], equateAddrs); diff != "" || base.Timeouts.TCP != time.Minute || base.Daemons[0].Interface != "eth0" {
		t.Fatalf("changing what was merged changed the parts: %v %v", base.Timeouts, base.Daemons)
	}

	// A nil part leaves alone, an empty one is not nil.
	for name, tt := range map[string]struct{ a, b, want Ruleset }{
		"nothing":      {},
		"only base":    {base, Ruleset{}, base},
		"only over":    {Ruleset{}, over, over},
		"empty is not": {Ruleset{}, Ruleset{Services: []ServiceRules{}, Daemons: []Daemon{}}, Ruleset{Services: []ServiceRules{}, Daemons: []Daemon{}}},
	} {
		if diff := cmp.Diff(tt.want, tt.a.Merge(tt.b), equateAddrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
