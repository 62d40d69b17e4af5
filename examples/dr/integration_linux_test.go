package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
)

// Both roles on a real kernel: start does it, a second start nothing, status agrees, and stop takes all of it back.
func TestIntegrationRoles(t *testing.T) {
	nstest.RequireKernel(t)
	do := func(want int, args ...string) string {
		t.Helper()
		status, out, errs := run(t, "", args...)
		if status != want {
			t.Fatalf("dr %v: status %d, want %d; %s\n%s", args, status, want, errs, out)
		}
		return out
	}
	settings := []string{"net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/all/arp_announce"}
	for _, vip := range []string{"192.0.2.10", "2001:db8::10"} {
		ns := nstest.New(t)
		ns.Dummy(t, "eth0")
		ns.Up(t, "eth0")
		ns.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.1/24"))
		ns.AddAddr(t, "eth0", netip.MustParsePrefix("fd00::1/64"))
		ns.ServeTCP(t, netip.MustParseAddrPort("[::]:80"), "rs")
		server := []string{"-role", "realserver", "-vip", vip, "-netns", ns.Path()}
		verb := func(v string, flags []string, more ...string) []string {
			return append(append([]string{v}, flags...), more...)
		}
		values := func() (list []string) {
			for _, s := range settings {
				list = append(list, strings.TrimSpace(ns.Sysctl(t, s)))
			}
			return list
		}
		before := values()
		do(setup.ExitError, verb("status", server)...)
		do(setup.ExitOK, verb("start", server, "-n")...)
		do(setup.ExitError, verb("status", server)...)
		do(setup.ExitOK, verb("start", server)...)
		if got := values(); strings.Contains(vip, ".") && (got[0] != "1" || got[1] != "2") {
			t.Fatalf("%s: arp_ignore and arp_announce are %v", vip, got)
		}
		do(setup.ExitOK, verb("status", server)...)
		if out := do(setup.ExitOK, verb("start", server)...); !strings.Contains(out, "nothing to do") {
			t.Fatalf("%s: a second start:\n%s", vip, out)
		}
		do(setup.ExitOK, verb("stop", server)...)
		if got := values(); got[0] != before[0] || got[1] != before[1] {
			t.Fatalf("%s: %v afterwards, %v before", vip, got, before)
		}
		do(setup.ExitError, verb("status", server)...)
		if out := do(setup.ExitOK, verb("stop", server)...); !strings.Contains(out, "nothing to do") {
			t.Fatalf("%s: a second stop:\n%s", vip, out)
		}

		real := "10.0.0.1" // answers at once; that it is the director's own does not matter here
		if strings.Contains(vip, ":") {
			real = "fd00::1"
		}
		director := []string{"-vip", vip, "-dev", "eth0", "-netns", ns.Path()}
		do(setup.ExitError, verb("status", director, "-real", real)...)
		do(setup.ExitOK, verb("start", director, "-real", real)...)
		do(setup.ExitOK, verb("status", director, "-real", real)...)
		if out := do(setup.ExitOK, verb("start", director, "-real", real)...); strings.Count(out, "nothing to do") != 1 {
			t.Fatalf("%s: a second start:\n%s", vip, out)
		}
		do(setup.ExitOK, verb("stop", director)...)
		out := do(setup.ExitError, verb("status", director)...)
		if !strings.Contains(out, "there is no service") || !strings.Contains(out, "is not on eth0") {
			t.Fatalf("%s: after stop:\n%s", vip, out)
		}
		// A director whose table cannot be set up does not keep the address.
		do(setup.ExitError, verb("start", director, "-real", real, "-scheduler", "nosuch")...)
		if out := do(setup.ExitError, verb("status", director)...); !strings.Contains(out, "is not on eth0") {
			t.Fatalf("%s: after a failed start:\n%s", vip, out)
		}
	}
}
