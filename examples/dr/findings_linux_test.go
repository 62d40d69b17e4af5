package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// Whatever can be wrong is found, with what to do about it, and nothing else.
func TestIntegrationFindings(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	vip := netip.MustParsePrefix("10.0.0.100/32")
	server := []string{"-role", "realserver", "-vip", "10.0.0.100", "-netns", l.Real[0].Path()}
	director := []string{"-vip", "10.0.0.100", "-dev", "eth0", "-real", "10.0.0.11", "-scheduler", "rr", "-netns", l.Director.Path()}
	status := func(p setuptest.Program, flags []string) (int, string) {
		t.Helper()
		status, out, errs := p.Run(t, "", append([]string{"status"}, flags...)...)
		return status, out + errs
	}
	look := func(flags []string) (int, string) { t.Helper(); return status(program, flags) }
	hasty := program // does not wait for a server that does not answer
	hasty.Hasty = true
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

	if status, out := status(hasty, append(director, "-real", "10.0.0.99")); status != setup.ExitError || !strings.Contains(out, "! 10.0.0.99:80 does not answer (") {
		t.Errorf("with a real server that is down: status %d\n%s", status, out)
	}

	faults := map[string]struct {
		make, mend func()
		flags      []string
		want       string
		asks       bool // whether others have to answer
	}{
		"no suppression": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "1") },
			server, `: "dr start -role realserver" sets what is needed`, false,
		},
		"no suppression, seen from the director": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "1") },
			director, "! " + l.Real[0].Link(t, "eth0").MAC.String() + " answers for 10.0.0.100 too: start the role of a real server there", true,
		},
		"suppression of announcements only": {
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_announce", "0") },
			func() { l.Real[0].SetSysctl(t, "net/ipv4/conf/all/arp_announce", "2") },
			server, `: "dr start -role realserver" sets what is needed`, false,
		},
		"no VIP on the real server": {
			func() { l.Real[0].DeleteAddr(t, "lo", vip) }, func() { l.Real[0].AddAddr(t, "lo", vip) },
			server, `: "dr start -role realserver" binds it`, false,
		},
		"no VIP on the director": {
			func() { l.Director.DeleteAddr(t, "eth0", vip) }, func() { l.Director.AddAddr(t, "eth0", vip) },
			director, `! 10.0.0.100 is not on eth0: "dr start" binds it`, false,
		},
	}
	for name, f := range faults {
		// A look ends after a moment, and an answer of another machine can come later, to the next one.
		patience := time.Duration(0)
		if f.asks {
			patience = 30 * time.Second
		}
		until := func(when string, want int, text string) {
			t.Helper()
			for begin := time.Now(); ; {
				status, out := look(f.flags)
				if status == want && strings.Contains(out, text) {
					return
				}
				if took := time.Since(begin); took >= patience {
					t.Errorf("%s, %s: for %v, status %d, want %d and %q in\n%s", name, when, took, status, want, text, out)
					return
				}
			}
		}
		f.make()
		until("made", setup.ExitError, f.want)
		f.mend()
		until("mended", setup.ExitOK, "")
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
	if status, out := status(hasty, director); status != setup.ExitError || !strings.Contains(out, "! 10.0.0.11 is behind the gateway 10.0.0.12") {
		t.Errorf("behind a gateway: status %d\n%s", status, out)
	}
}
