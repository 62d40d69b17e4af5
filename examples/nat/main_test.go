package main

import (
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
)

var program = setuptest.Method("nat", method)

func TestMain(m *testing.M) {
	program.Become()
	m.Run()
}

func TestDemo(t *testing.T) {
	status, out, errs := program.Run(t, "")
	if status != setup.ExitOK || errs != "" || !strings.Contains(out, "10.0.0.2:8080  1       6            20") {
		t.Fatalf("status %d, %s\n%s", status, errs, out)
	}
}

func TestDirector(t *testing.T) {
	kernel := "memory:" + t.TempDir() + "/kernel"
	const table = "ipvsadm -A -t 192.0.2.10:80 -s wlc\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.3:80 -m -w 2\n"
	program.Prints(t, kernel, setup.ExitOK,
		"ipvsadm -A -t 192.0.2.10:80 -s wlc\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.2:8080 -m -w 1\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.3:80 -m -w 2\n",
		"start", "-n", "-vip", "192.0.2.10", "-real", "10.0.0.2:8080,10.0.0.3=2")
	program.Prints(t, kernel, setup.ExitOK, "nothing to do\n", "stop", "-vip", "192.0.2.10")
	program.Prints(t, kernel, setup.ExitOK, table, "start", "-vip", "192.0.2.10", "-real", "10.0.0.3=2")
	program.Prints(t, kernel, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:80\n", "stop", "-vip", "192.0.2.10")
}

func TestMistakes(t *testing.T) {
	program.Mistakes(t, "", map[string][]string{
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
	})
}
