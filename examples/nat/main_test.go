package main

import (
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
)

// run runs the program on the kernel; empty is the host's.
func run(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return setuptest.Run(t, "nat", method(), kernel, args...)
}

func TestDemo(t *testing.T) {
	status, out, errs := run(t, "")
	if status != setup.ExitOK || errs != "" || !strings.Contains(out, "10.0.0.2:8080  1       6            20") {
		t.Fatalf("status %d, %s\n%s", status, errs, out)
	}
}

func TestDirector(t *testing.T) {
	kernel := "memory:" + t.TempDir() + "/kernel"
	steps := []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{"start", "-n", "-vip", "192.0.2.10", "-real", "10.0.0.2:8080,10.0.0.3=2"}, setup.ExitOK,
			"ipvsadm -A -t 192.0.2.10:80 -s wlc\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.2:8080 -m -w 1\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.3:80 -m -w 2\n"},
		{[]string{"stop", "-vip", "192.0.2.10"}, setup.ExitOK, "nothing to do\n"},
		{[]string{"start", "-vip", "192.0.2.10", "-real", "10.0.0.3=2"}, setup.ExitOK,
			"ipvsadm -A -t 192.0.2.10:80 -s wlc\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.3:80 -m -w 2\n"},
		{[]string{"stop", "-vip", "192.0.2.10"}, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:80\n"},
	}
	for _, s := range steps {
		if status, out, errs := run(t, kernel, s.args...); status != s.status || out != s.out {
			t.Fatalf("nat %v: status %d, %s\n%s\nwant\n%s", s.args, status, errs, out, s.out)
		}
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string][]string{
		"-vip is required":                                        {"start", "-real", "10.0.0.2"},
		"-gw is required":                                         {"start", "-role", "realserver"},
		"-vip is for directors":                                   {"start", "-role", "realserver", "-vip", "192.0.2.1"},
		"-dev is for directors":                                   {"start", "-role", "realserver", "-gw", "10.0.0.1", "-dev", "eth0"},
		"-gw is for real servers":                                 {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-gw", "10.0.0.1"},
		"-clients is for real servers":                            {"stop", "-vip", "192.0.2.1", "-clients", "::/0"},
		"-clients ::/0 and -gw are of different families":         {"start", "-role", "realserver", "-gw", "10.0.0.1", "-clients", "::/0"},
		"real server fd00::1 and the VIP are of different famili": {"start", "-vip", "192.0.2.1", "-real", "fd00::1"},
		"real server 10.0.0.2:80 is there twice":                  {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2,10.0.0.2:80"},
		"-gw fe80::1 is no address of the network":                {"start", "-role", "realserver", "-gw", "fe80::1"},
		`"10.0.0.1/8" is not a network`:                           {"start", "-role", "realserver", "-gw", "10.0.0.1", "-clients", "10.0.0.1/8"},
	}
	for want, args := range tests {
		status, out, errs := run(t, "", args...)
		if status != setup.ExitUsage || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("nat %v: status %d, output %q, error %q; want %q", args, status, out, errs, want)
		}
	}
	for _, args := range [][]string{{"-h"}, {"start", "-h"}, {"status", "-h"}, {"stop", "--help"}} {
		if status, out, errs := run(t, "memory:", args...); status != setup.ExitOK || !strings.HasPrefix(out, "usage: nat ") || errs != "" {
			t.Errorf("nat %v: status %d, output %q, error %q", args, status, out, errs)
		}
	}
}
