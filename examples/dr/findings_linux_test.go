package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
)

// Whatever can be wrong is found, with what to do about it, and nothing else.
func TestIntegrationFindings(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	vip := netip.MustParsePrefix("10.0.0.100/32")
	server := []string{"-role", "realserver", "-vip", "10.0.0.100", "-netns", l.Real[0].Path()}
	director := []string{"-vip", "10.0.0.100", "-dev", "eth0", "-real", "10.0.0.11", "-scheduler", "rr", "-netns", l.Director.Path()}
	look := func(flags []string) (int, string) {
		t.Helper()
		status, out, _ := program.Run(t, "", append([]string{"status"}, flags...)...)
		return status, out
	}
	for _, flags := range [][]string{director, server} {
		if status, out, errs := program.Run(t, "", append([]string{"start"}, flags...)...); status != setup.ExitOK {
			t.Fatalf("start: status %d, %s\n%s", status, errs, out)
		}
	}
	if status, out := look(server); status != setup.ExitError || !strings.Contains(out, "! nothing serves tcp port 80 of 10.0.0.100: start the service") {
		t.Errorf("without a service: status %d\n%s", status, out)
	}
	l.Real[0].ServeHTTP(t, netip.MustParseAddrPort("10.0.0.100:80"), "rs", nil)
	if status, out := look(director); status != setup.ExitOK || !strings.Contains(out, "- 10.0.0.11:80 does not accept connections") {
		t.Errorf("with a service for the VIP alone: status %d\n%s", status, out)
	}

	if status, out := look(append(director, "-real", "10.0.0.99")); status != setup.ExitError || !strings.Contains(out, "! 10.0.0.99:80 does not answer (") {
		t.Errorf("with a real server that is down: status %d\n%s", status, out)
	}

	faults := map[string]struct {
		make, mend func()
		flags      []string
		want       string
	}{
		"no suppression": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "1") },
			server, `: "dr start -role realserver" sets what is needed`,
		},
		"no suppression, seen from the director": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "1") },
			director, "! " + l.Real[0].Link(t, "eth0").MAC.String() + " answers for 10.0.0.100 too: start the role of a real server there",
		},
		"suppression of announcements only": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_announce", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_announce", "2") },
			server, `: "dr start -role realserver" sets what is needed`,
		},
		"no VIP on the real server": {
			func() { l.Real[0].DeleteAddr(t, "lo", vip) }, func() { l.Real[0].AddAddr(t, "lo", vip) },
			server, `: "dr start -role realserver" binds it`,
		},
		"no VIP on the director": {
			func() { l.Director.DeleteAddr(t, "eth0", vip) }, func() { l.Director.AddAddr(t, "eth0", vip) },
			director, `! 10.0.0.100 is not on eth0: "dr start" binds it`,
		},
	}
	for name, f := range faults {
		f.make()
		if status, out := look(f.flags); status != setup.ExitError || !strings.Contains(out, f.want) {
			t.Errorf("%s: status %d, want %q in\n%s", name, status, f.want, out)
		}
		f.mend()
		if status, out := look(f.flags); status != setup.ExitOK {
			t.Errorf("%s, mended: status %d\n%s", name, status, out)
		}
	}

	w := program.Watch(t, append([]string{"status", "-watch", "-interval", "100ms"}, director...)...)
	w.Expect(t, "TCP  10.0.0.100:80 rr")
	l.Director.DeleteAddr(t, "eth0", vip)
	w.Expect(t, ` ! 10.0.0.100 is not on eth0: "dr start" binds it`)
	l.Director.AddAddr(t, "eth0", vip)
	w.Expect(t, " mended: 10.0.0.100 is not on eth0")
	if status := w.Interrupt(); status != setup.ExitOK {
		t.Errorf("watch, interrupted: status %d\n%s", status, w.Output())
	}

	l.Director.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("10.0.0.11/32"), Via: netip.MustParseAddr("10.0.0.12")})
	if status, out := look(director); status != setup.ExitError || !strings.Contains(out, "! 10.0.0.11 is behind the gateway 10.0.0.12") {
		t.Errorf("behind a gateway: status %d\n%s", status, out)
	}
}
