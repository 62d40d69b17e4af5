package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/ipvs"
)

var program = setuptest.Method("tun", method)

func TestMain(m *testing.M) {
	program.Become()
	m.Run()
}

func TestDemo(t *testing.T) {
	status, out, errs := program.Run(t, "")
	if status != setup.ExitOK || errs != "" || !strings.Contains(out, "10.3.0.2:80  2       12           40") {
		t.Fatalf("status %d, %s\n%s", status, errs, out)
	}
}

func TestDirector(t *testing.T) {
	tests := map[string][]string{
		"-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1":                                           nil,
		"-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 5555":            {"-type", "gue", "-tun-port", "5555"},
		"-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 5555 --tun-csum": {"-type", "gue", "-tun-port", "5555", "-csum"},
		"-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gre":                            {"-type", "gre"},
		"-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gre --tun-csum":                 {"-type", "gre", "-csum"},
	}
	for want, flags := range tests {
		kernel := "memory:" + t.TempDir() + "/kernel"
		args := append([]string{"start", "-vip", "192.0.2.10", "-real", "10.0.0.2"}, flags...)
		if status, out, errs := program.Run(t, kernel, args...); status != setup.ExitOK || !strings.HasSuffix(out, "\nipvsadm "+want+"\n") {
			t.Fatalf("tun %v: status %d, %s\n%s\nwant\n%s", args, status, errs, out, want)
		}
		args[0] = "status"
		if status, out, errs := program.Run(t, kernel, args...); status != setup.ExitOK {
			t.Fatalf("tun %v: status %d, %s\n%s", args, status, errs, out)
		}
		if status, out, _ := program.Run(t, kernel, "status", "-vip", "192.0.2.10", "-real", "10.0.0.2"); (status == setup.ExitOK) != (flags == nil) {
			t.Fatalf("tun %v, and status without -type: status %d\n%s", args, status, out)
		}
	}
}

// What unwraps the packets follows from the kind of tunnel and from both families.
func TestDevice(t *testing.T) {
	const vip4, vip6, rip4, rip6 = "192.0.2.10", "2001:db8::10", "10.0.0.2", "fd00::2"
	tests := []struct {
		kind     ipvs.TunnelType
		checksum bool
		vip, rip string
		want     arp.TunnelKind
		name     string
		overhead int
	}{
		{ipvs.IPIP, false, vip4, "", arp.IPIP, "tunl0", 20},
		{ipvs.IPIP, false, vip6, "", arp.IP6TNL, "ip6tnl0", 40},
		{ipvs.IPIP, false, vip4, rip6, arp.IP6TNL, "lvsip6tnl0", 40},
		{ipvs.IPIP, false, vip6, rip4, arp.SIT, "sit0", 20},
		{ipvs.GUE, false, vip4, "", arp.IPIP, "tunl0", 32},
		{ipvs.GUE, true, vip6, "", arp.IP6TNL, "ip6tnl0", 52},
		{ipvs.GRE, false, vip4, "", arp.GRE, "gre0", 24},
		{ipvs.GRE, true, vip4, rip4, arp.GRE, "lvsgre0", 28},
		{ipvs.GRE, false, vip6, rip6, arp.IP6GRE, "ip6gre0", 44},
		{ipvs.GRE, false, vip6, rip4, arp.GRE, "gre0", 24},
	}
	for _, tt := range tests {
		tn := tunnel{kind: tt.kind, checksum: tt.checksum}
		vip := netip.MustParseAddr(tt.vip)
		if tt.rip != "" {
			tn.rip = netip.MustParseAddr(tt.rip)
		}
		if got := tn.device(vip); got.Kind != tt.want || got.Name != tt.name || got.Checksum != (tt.checksum && tt.kind == ipvs.GRE) {
			t.Errorf("%v for %s at %s: %v, want %v %s", tt.kind, tt.vip, tt.rip, got, tt.want, tt.name)
		}
		if got := tn.overhead(tn.outer(vip)); got != tt.overhead {
			t.Errorf("%v for %s at %s takes %d bytes, want %d", tt.kind, tt.vip, tt.rip, got, tt.overhead)
		}
	}
}

func TestMistakes(t *testing.T) {
	program.Mistakes(t, "", map[string][]string{
		"-vip is required":                             {"start", "-role", "realserver"},
		"-type gue needs -tun-port":                    {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-type", "gue"},
		"-tun-port is for -type gue":                   {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-tun-port", "1"},
		"-csum is for -type gue and gre":               {"status", "-vip", "192.0.2.1", "-csum"},
		"-type gre with -csum needs -rip":              {"start", "-role", "realserver", "-vip", "192.0.2.1", "-type", "gre", "-csum"},
		"-rip is for real servers":                     {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-rip", "10.0.0.2"},
		`invalid value "x" for flag -type`:             {"start", "-vip", "192.0.2.1", "-type", "x"},
		"-type tunnel(7) is none of ipip, gue and gre": {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-type", "tunnel(7)"},
		"a port is a number from 1 to 65535":           {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-tun-port", "0"},
	})
}
