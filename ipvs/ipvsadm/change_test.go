package ipvsadm_test

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func TestFromChange(t *testing.T) {
	web, dns6 := tcp("192.0.2.1:80"), ipvs.ServiceID{Protocol: ipvs.UDP, Addr: netip.MustParseAddrPort("[2001:db8::1]:53")}
	server := netip.MustParseAddrPort("10.0.0.2:8080")
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.0.0.2"), 8080)
	mapped6 := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("[::ffff:192.0.2.1]:80"), Family: ipvs.IPv6}
	tests := map[string]ipvs.Change{
		"-A -t 192.0.2.1:80 -s rr": {Kind: ipvs.ServiceAdd, Service: ipvs.Service{ID: web, Scheduler: "rr"}},
		"-A -t 192.0.2.1:80 -s sh -p 300 -M 255.255.255.0 --pe sip -b sh-fallback,sh-port": {
			Kind: ipvs.ServiceAdd, Service: ipvs.Service{
				ID: web, Scheduler: "sh", Flags: ipvs.Persistent | ipvs.SHFallback | ipvs.SHPort, Timeout: 300 * time.Second,
				Netmask: ipvs.MaskBits(ipvs.IPv4, 24), PE: "sip",
			},
		},
		"-A -f 7 -s mh -b mh-port": { // the other bit is clear in a new service, whether it is written or not
			Kind: ipvs.ServiceAdd, Service: ipvs.Service{
				ID: ipvs.Mark(7, ipvs.IPv4), Scheduler: "mh", Flags: ipvs.MHPort | ipvs.MHFallback, FlagMask: ipvs.MHPort,
			},
		},
		"-E -u [2001:db8::1]:53 -s wlc -o": {
			Kind: ipvs.ServiceSet, Service: ipvs.Service{ID: dns6, Scheduler: "wlc", Flags: ipvs.OnePacket, FlagMask: ^ipvs.ServiceFlags(0)},
		},
		"-E -f 4294967295 -6 -s rr --stored-timeout 7 -M 64 -b 0x40": {
			Kind: ipvs.ServiceSet, Service: ipvs.Service{
				ID: ipvs.Mark(1<<32-1, ipvs.IPv6), Scheduler: "rr", Flags: 0x40, Timeout: 7 * time.Second, Netmask: ipvs.MaskBits(ipvs.IPv6, 64),
			},
		},
		"-D --sctp-service 192.0.2.1:80": {
			Kind: ipvs.ServiceDelete, Service: ipvs.Service{ID: ipvs.ServiceID{Protocol: ipvs.SCTP, Addr: web.Addr}, Scheduler: "rr"},
		},
		"-D -t [::ffff:192.0.2.1]:80": {Kind: ipvs.ServiceDelete, Service: ipvs.Service{ID: mapped6}},
		"-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m -w 1": {
			Kind: ipvs.DestinationAdd, Service: ipvs.Service{ID: web}, Destination: ipvs.NewDestination(server),
		},
		"-a -f 7 -r 10.0.0.2:8080 --forward 1 -w 2 -x 9 -y 3": {
			Kind: ipvs.DestinationAdd, Service: ipvs.Service{ID: ipvs.Mark(7, ipvs.IPv4)}, Destination: ipvs.Destination{
				Addr: mapped, Forward: ipvs.LocalNode, Weight: 2, UpperThreshold: 9, LowerThreshold: 3,
			},
		},
		"-e -u [2001:db8::1]:53 -r 10.0.0.2:8080 -i -w 0 --tun-type gue --tun-port 6080 --tun-csum": {
			Kind: ipvs.DestinationSet, Service: ipvs.Service{ID: dns6}, Destination: ipvs.Destination{
				Addr: server, Forward: ipvs.Tunnel, Tunnel: ipvs.TunnelOptions{Type: ipvs.GUE, Port: 6080, Flags: ipvs.Checksum},
			},
		},
		"-e -t 192.0.2.1:80 -r 10.0.0.2:8080 -g -w 65536": { // a port that ipvsadm would change
			Kind: ipvs.DestinationSet, Service: ipvs.Service{ID: web, Scheduler: "rr"},
			Destination: ipvs.Destination{Addr: server, Forward: ipvs.Route, Weight: 65536},
		},
		"-d -t 192.0.2.1:80 -r 10.0.0.2:8080": {
			Kind: ipvs.DestinationDelete, Service: ipvs.Service{ID: web}, Destination: ipvs.NewDestination(server),
		},
		"--set 900 0 2147483647": {
			Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{TCP: 900 * time.Second, UDP: (1<<31 - 1) * time.Second},
		},
		"--start-daemon master --mcast-interface eth1 --syncid 7": {
			Kind: ipvs.DaemonStart, Daemon: ipvs.Daemon{State: ipvs.Master, Interface: "eth1", SyncID: 7},
		},
		"--start-daemon backup --mcast-interface lo --syncid 0 --sync-maxlen 1400 --mcast-group ff02::81 --mcast-port 9 --mcast-ttl 3": {
			Kind: ipvs.DaemonStart, Daemon: ipvs.Daemon{
				State: ipvs.Backup, Interface: "lo", MaxLen: 1400, Group: netip.MustParseAddr("ff02::81"), Port: 9, TTL: 3,
			},
		},
		"--stop-daemon backup": {Kind: ipvs.DaemonStop, Daemon: ipvs.Daemon{State: ipvs.Backup, Interface: "lo", SyncID: 5}},
	}
	kinds := make(map[ipvs.ChangeKind]bool)
	for want, change := range tests {
		kinds[change.Kind] = true
		op, ok := ipvsadm.FromChange(change)
		if got := op.String(); !ok || got != want {
			t.Errorf("%v: %q, %v instead of %q", change, got, ok, want)
		}
	}
	for kind := ipvs.ServiceAdd; kind <= ipvs.DaemonStop; kind++ {
		if !kinds[kind] {
			t.Errorf("no change of the kind %v", kind)
		}
	}
}

func TestFromChangeWithoutWords(t *testing.T) {
	web, server := tcp("192.0.2.1:80"), netip.MustParseAddrPort("10.0.0.2:80")
	service := func(change func(*ipvs.Service)) ipvs.Change {
		s := ipvs.Service{ID: web, Scheduler: "rr"}
		change(&s)
		return ipvs.Change{Kind: ipvs.ServiceSet, Service: s}
	}
	dest := func(change func(*ipvs.Destination)) ipvs.Change {
		d := ipvs.NewDestination(server)
		change(&d)
		return ipvs.Change{Kind: ipvs.DestinationAdd, Service: ipvs.Service{ID: web}, Destination: d}
	}
	tests := map[string]ipvs.Change{
		"zero":           {},
		"unknown kind":   {Kind: 99, Service: ipvs.Service{ID: web, Scheduler: "rr"}},
		"no service":     {Kind: ipvs.ServiceDelete},
		"no address":     {Kind: ipvs.DestinationDelete, Service: ipvs.Service{ID: web}},
		"no state":       {Kind: ipvs.DaemonStop},
		"no interface":   {Kind: ipvs.DaemonStart, Daemon: ipvs.Daemon{State: ipvs.Master}},
		"half a second":  {Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{TCP: time.Second / 2}},
		"negative time":  {Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{UDP: -time.Second}},
		"flag mask":      service(func(s *ipvs.Service) { s.FlagMask = ipvs.SHPort }),
		"no scheduler":   service(func(s *ipvs.Service) { s.Scheduler = "" }),
		"two words":      service(func(s *ipvs.Service) { s.Scheduler = "rr -o" }),
		"two lines":      service(func(s *ipvs.Service) { s.PE = "sip\n-C" }),
		"long name":      service(func(s *ipvs.Service) { s.Scheduler = strings.Repeat("x", 16) }),
		"mask of v6":     service(func(s *ipvs.Service) { s.Netmask = ipvs.MaskBits(ipvs.IPv6, 64) }),
		"mask with hole": service(func(s *ipvs.Service) { s.ID, s.Netmask = ipvs.Mark(1, ipvs.IPv6), netip.MustParseAddr("ffff::1") }),
		"GRE protocol":   service(func(s *ipvs.Service) { s.ID.Protocol = 47 }),
		"mark and more":  service(func(s *ipvs.Service) { s.ID.FWMark = 1 }),
		"weight":         dest(func(d *ipvs.Destination) { d.Weight = 1 << 31 }),
		"threshold":      dest(func(d *ipvs.Destination) { d.UpperThreshold = 1 << 31 }),
		"method":         dest(func(d *ipvs.Destination) { d.Forward = 8 }),
		"zone":           dest(func(d *ipvs.Destination) { d.Addr = netip.MustParseAddrPort("[fe80::1%lo]:80") }),
		"other family":   dest(func(d *ipvs.Destination) { d.Addr = netip.MustParseAddrPort("[2001:db8::2]:80") }),
	}
	for name, change := range tests {
		if op, ok := ipvsadm.FromChange(change); ok || op != (ipvsadm.Operation{}) {
			t.Errorf("%s: %v became %q", name, change, op)
		}
	}
}

// A plan that is printed and read again does what the plan does.
func TestFromChangeOfPlans(t *testing.T) {
	ctx := context.Background()
	applied := 0
	for seed := range uint64(100) {
		g := newGenerator(seed)
		from, to := newClient(t), newClient(t)
		g.randomState(t, from)
		g.randomState(t, to)
		have, err := from.Ruleset(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want, err := to.Ruleset(ctx)
		if err != nil {
			t.Fatal(err)
		}
		plan := ipvs.Diff(have, want, &ipvs.DiffOptions{KeepOrder: g.oneIn(2), Quiesce: g.oneIn(3), KeepExtra: g.oneIn(3)})
		var text strings.Builder
		for _, c := range plan {
			op, ok := ipvsadm.FromChange(c)
			if !ok {
				t.Fatalf("seed %d: no words for %v", seed, c)
			}
			text.WriteString(op.String() + "\n")
		}

		k := newKernel(t, nil)
		copied := dial(t, k)
		state, err := from.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ipvsadm.Operations(state) {
			if err := op.Apply(ctx, copied); err != nil {
				t.Fatal(err)
			}
		}
		var errs bytes.Buffer
		runner(k)([]string{"ipvsadm", "-R", "--lossless"}, strings.NewReader(text.String()), nil, &errs)
		report, _ := from.Do(ctx, plan) // no daemons beside destinations of another family
		if got, want := strings.Count(errs.String(), "\n"), len(plan)-report.Applied(); got != want {
			t.Fatalf("seed %d: %d lines are refused, and %d changes: %s%s", seed, got, want, errs.String(), text.String())
		}
		applied += report.Applied()
		byPlan, err := from.Ruleset(ctx)
		if err != nil {
			t.Fatal(err)
		}
		byText, err := copied.Ruleset(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !byPlan.EqualOrder(byText) {
			t.Fatalf("seed %d (-plan +text):\n%s\n%s", seed, cmp.Diff(byPlan, byText, equateAddrs), text.String())
		}
	}
	if applied < 1000 {
		t.Errorf("only %d changes", applied)
	}
}
