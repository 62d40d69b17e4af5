package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
)

// Whatever can be wrong is found, with what to do about it.
func TestIntegrationFindings(t *testing.T) {
	nstest.RequireKernel(t)
	l := newLab(t)
	rs := l.Real[0]
	verb := func(v string, flags []string, more ...string) []string {
		return append(append([]string{v}, flags...), more...)
	}
	expect := func(ns *nstest.NS, flags []string, want string) {
		t.Helper()
		if out := l.Do(t, setup.ExitError, ns, verb("status", flags)...); !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}

	server := []string{"-role", "realserver", "-vip", "10.0.2.100"}
	l.Do(t, setup.ExitOK, rs, verb("start", server)...)
	l.Do(t, setup.ExitOK, rs, verb("status", server)...)
	rs.SetSysctl(t, "net/ipv4/conf/tunl0/rp_filter", "1")
	expect(rs, server, "! return path filtered on tunl0")
	expect(rs, server, `: "tun start -role realserver" sets what is needed`)
	l.Do(t, setup.ExitOK, rs, verb("start", server)...)
	l.Do(t, setup.ExitOK, rs, verb("status", server)...)
	rs.Down(t, "tunl0")
	expect(rs, server, "! device down on tunl0")
	expect(rs, server, `: "ip link set tunl0 up"`)
	l.Do(t, setup.ExitOK, rs, verb("start", server)...)
	l.Do(t, setup.ExitOK, rs, verb("status", server)...)

	vip := netip.MustParsePrefix("fd00:2::100/128")
	director := []string{"-vip", "fd00:2::100", "-dev", "eth0", "-real", "fd00:11::11", "-scheduler", "rr"}
	l.Do(t, setup.ExitOK, l.Director, verb("start", director)...)
	l.Do(t, setup.ExitOK, l.Director, verb("status", director)...)
	l.Director.SetMTU(t, "eth0", 1300)
	expect(l.Director, director, "! only 1260 bytes of a client's packet fit on the way to fd00:11::11, and IPv6 needs 1280: raise the MTU of the way from 1300 to 1320")
	l.Director.SetMTU(t, "eth0", 1500)
	l.Director.DeleteAddr(t, "eth0", vip)
	l.Director.AddAddr(t, "eth0", vip) // not deprecated
	expect(l.Director, director, "! packets to fd00:11::11 would come from fd00:2::100, and a real server drops")
}
