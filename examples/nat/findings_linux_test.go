package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
)

// Whatever can be wrong is found, with what to do about it, and starting again mends it.
func TestIntegrationFindings(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	server := []string{"-role", "realserver", "-gw", "10.0.2.1", "-port", "8080"}
	director := []string{"-vip", "10.0.1.100", "-dev", "eth0", "-real", "10.0.2.11:8080", "-scheduler", "rr"}
	verb := func(v string, flags []string) []string { return append([]string{v}, flags...) }
	rs := l.Real[1]
	l.Do(t, setup.ExitOK, l.Director, verb("start", director)...)
	l.Do(t, setup.ExitOK, rs, verb("start", server)...)

	if out := l.Do(t, setup.ExitError, rs, "status", "-role", "realserver", "-gw", "10.0.2.1", "-port", "81"); !strings.Contains(out, "! nothing serves tcp port 81 of 10.0.2.12: start the service") {
		t.Errorf("no service on the port:\n%s", out)
	}
	if out := l.Do(t, setup.ExitError, rs, "status", "-role", "realserver", "-gw", "10.0.9.1", "-port", "8080"); !strings.Contains(out, "! 10.0.9.1 is not on a network of this machine but behind 10.0.2.1") {
		t.Errorf("a gateway that is none:\n%s", out)
	}
	if out := l.Do(t, setup.ExitError, l.Director, append(verb("status", director), "-real", "10.0.2.12:81")...); !strings.Contains(out, "! 10.0.2.12:81 does not accept connections (") {
		t.Errorf("no service on a real server's port:\n%s", out)
	}

	l.Director.SetSysctl(t, "net/ipv4/ip_forward", "0")
	if out := l.Do(t, setup.ExitError, l.Director, verb("status", director)...); !strings.Contains(out, `! net.ipv4.ip_forward: "0" instead of "1": "nat start" sets it`) {
		t.Errorf("without forwarding:\n%s", out)
	}
	l.Do(t, setup.ExitOK, l.Director, verb("start", director)...)
	l.Do(t, setup.ExitOK, l.Director, verb("status", director)...)

	rs.DeleteAddr(t, "eth0", netip.PrefixFrom(addr(inner4, 12), 24)) // takes the routes with it
	rs.AddAddr(t, "eth0", netip.PrefixFrom(addr(inner4, 12), 24))
	if out := l.Do(t, setup.ExitError, rs, verb("status", server)...); !strings.Contains(out, `! clients such as 1.0.0.1 cannot be answered`) {
		t.Errorf("without a route:\n%s", out)
	}
	l.Do(t, setup.ExitOK, rs, verb("start", server)...)
	l.Do(t, setup.ExitOK, rs, verb("status", server)...)

	if out := l.Do(t, setup.ExitError, rs, "stop", "-role", "realserver", "-gw", "10.0.2.9"); !strings.Contains(out, "-gw 10.0.2.9: start has routed 0.0.0.0/0 through 10.0.2.1, and nothing is done") {
		t.Errorf("stop of another gateway:\n%s", out)
	}
	l.Do(t, setup.ExitOK, rs, verb("status", server)...)

	// Nothing is done when it is known that something will fail.
	if out := l.Do(t, setup.ExitError, l.Director, "start", "-vip", "10.0.1.101", "-dev", "nosuch", "-real", "10.0.2.11"); strings.Contains(out, "ipvsadm") {
		t.Errorf("a start that fails:\n%s", out)
	}
	if out := l.Do(t, setup.ExitError, l.Director, "status", "-vip", "10.0.1.101"); !strings.Contains(out, "there is no service") {
		t.Errorf("after a start that failed:\n%s", out)
	}
}
