package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

// newMachine is one with a network card and a service.
func newMachine(t *testing.T) *nstest.NS {
	t.Helper()
	ns := nstest.New(t)
	ns.Dummy(t, "eth0")
	ns.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.1/24"))
	ns.AddAddr(t, "eth0", netip.MustParsePrefix("fd00::1/64"))
	ns.ServeTCP(t, netip.MustParseAddrPort("[::]:80"), "rs")
	return ns
}

// Both roles on a real kernel: start does it, a second start nothing, status agrees, and stop takes all of it back.
func TestIntegrationRoles(t *testing.T) {
	nstest.RequireKernel(t)
	ns := newMachine(t)
	compare := setuptest.Before(t, ns)
	do := func(want int, text string, verb string, flags ...string) {
		t.Helper()
		if out := program.Do(t, want, ns, append([]string{verb}, flags...)...); !strings.Contains(out, text) {
			t.Fatalf("dr %s %v: want %q in\n%s", verb, flags, text, out)
		}
	}
	for _, vip := range []string{"192.0.2.10", "2001:db8::10"} {
		server := []string{"-role", "realserver", "-vip", vip}
		do(setup.ExitError, "not bound", "status", server...)
		do(setup.ExitOK, vip, "start", append(server, "-n")...)
		do(setup.ExitError, "not bound", "status", server...)
		do(setup.ExitOK, vip, "start", server...)
		if got := ns.Sysctl(t, "net/ipv4/conf/all/arp_ignore") + ns.Sysctl(t, "net/ipv4/conf/all/arp_announce"); strings.Contains(vip, ".") && got != "12" {
			t.Fatalf("%s: arp_ignore and arp_announce are %v", vip, got)
		}
		do(setup.ExitOK, vip, "status", server...)
		do(setup.ExitOK, "nothing to do", "start", server...)
		do(setup.ExitOK, vip, "stop", server...)
		do(setup.ExitError, "not bound", "status", server...)
		do(setup.ExitOK, "nothing to do", "stop", server...)
		compare(t, vip+", a real server stopped")

		real := "10.0.0.1" // answers at once; that it is the director's own does not matter here
		if strings.Contains(vip, ":") {
			real = "fd00::1"
		}
		director := []string{"-vip", vip, "-dev", "eth0", "-real", real}
		do(setup.ExitError, "is not on eth0", "status", director...)
		do(setup.ExitOK, vip, "start", director...)
		do(setup.ExitOK, vip, "status", director...)
		do(setup.ExitOK, "nothing to do", "start", director...)
		do(setup.ExitOK, vip, "stop", "-vip", vip)
		do(setup.ExitError, "is not on eth0", "status", director...)
		// A director whose table cannot be set up does not keep the address.
		do(setup.ExitError, "unknown scheduler", "start", append(director, "-scheduler", "nosuch")...)
		compare(t, vip+", a director stopped")
	}
}

// What stop takes back is what start has done, whatever stop is told about it.
func TestIntegrationStop(t *testing.T) {
	nstest.RequireKernel(t)
	ns := newMachine(t)
	do := func(want int, text, line string) {
		t.Helper()
		if out := program.Do(t, want, ns, strings.Fields(line)...); !strings.Contains(out, text) {
			t.Fatalf("dr %s: want %q in\n%s", line, text, out)
		}
	}
	before := setuptest.Before(t, ns)
	do(setup.ExitOK, "", "start -vip 192.0.2.10 -dev eth0 -real 10.0.0.2")
	do(setup.ExitOK, "", "start -vip 192.0.2.10 -port 443 -real 10.0.0.2")
	started := setuptest.Before(t, ns)
	do(setup.ExitError, "-dev lo: start has bound 192.0.2.10 to eth0, and nothing is done", "stop -vip 192.0.2.10 -dev lo")
	do(setup.ExitOK, "nothing to do", "stop -role realserver -vip 192.0.2.10")
	do(setup.ExitOK, "nothing to do", "stop -vip 192.0.2.11")
	do(setup.ExitOK, "ipvsadm -D -t 192.0.2.10:80\n", "stop -vip 192.0.2.10 -n")
	started(t, "nothing is stopped")
	do(setup.ExitOK, "192.0.2.10 stays, as it is needed for TCP 192.0.2.10:443\n", "stop -vip 192.0.2.10 -dev eth0")
	do(setup.ExitOK, "192.0.2.10/32", "stop -vip 192.0.2.10 -port 443")
	before(t, "both services are stopped")

	// A real server that is a director of the same service, too, remains one.
	do(setup.ExitOK, "", "start -role realserver -vip 192.0.2.10")
	server := setuptest.Before(t, ns)
	do(setup.ExitOK, "", "start -vip 192.0.2.10 -real 10.0.0.2")
	do(setup.ExitOK, "ipvsadm -D", "stop -vip 192.0.2.10")
	server(t, "the director is stopped")
	do(setup.ExitError, "-dev eth0: start has bound 192.0.2.10 to lo", "stop -role realserver -vip 192.0.2.10 -dev eth0")
	do(setup.ExitOK, "net.ipv4.conf.all.arp_ignore", "stop -role realserver -vip 192.0.2.10 -n")
	server(t, "stop -n")
	do(setup.ExitOK, "", "stop -role realserver -vip 192.0.2.10")
	before(t, "the real server is stopped")

	// A service that somebody else has made is theirs again, and stays if no start has touched it.
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	service := setup.NewService(ipvs.TCP, netip.MustParseAddr("192.0.2.10"), 80)
	service.Scheduler = "rr"
	if err := c.AddService(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	theirs := setuptest.Before(t, ns)
	do(setup.ExitOK, "TCP 192.0.2.10:80 stays, as it is not start that has set it up", "stop -vip 192.0.2.10")
	do(setup.ExitOK, "ipvsadm -E", "start -vip 192.0.2.10 -real 10.0.0.2")
	do(setup.ExitOK, "ipvsadm -E -t 192.0.2.10:80 -s rr", "stop -vip 192.0.2.10")
	theirs(t, "the service of somebody else")
}
