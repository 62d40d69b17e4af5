package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// TestMain runs the program itself, or the command of a check, where a test asks for it as a process of its own.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "connect": // a check's command
		conn, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = conn.Close()
	case os.Getenv("HEALTHCHECK_MAIN") != "":
		main()
	default:
		os.Exit(m.Run())
	}
}

func run(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{Env: &setup.Env{Name: "healthcheck", Stdout: &out, Stderr: &errs, Kernel: kernel}}
	status = p.run(t.Context(), args)
	return status, out.String(), errs.String()
}

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "web.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMistakes(t *testing.T) {
	file := write(t, `{"services": [{"service": "FWM 1", "real": [{"addr": "10.0.0.2:80"}]}]}`)
	bad := write(t, "{\n\"resync\": 1,\n\"x\": 2}")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"healthcheck: one configuration file is needed; \"healthcheck -h\" shows the flags\n", nil},
		{"healthcheck: one configuration file is needed; \"healthcheck -h\" shows the flags\n", []string{file, "x"}},
		{"healthcheck: flag provided but not defined: -x\n", []string{"-x"}},
		{"healthcheck: -check goes without -once and -n\n", []string{"-check", "-n", file}},
		{"healthcheck: -json goes with -once; on SIGUSR1 a program that goes on prints its status\n", []string{"-json", file}},
		{"healthcheck: open /nonexistent: no such file or directory\n", []string{"/nonexistent"}},
		{bad + ":2: resync: a string is wanted, not a number\n" + bad + ":3: x: unknown field; there are defaults, resync, services, through\n", []string{bad}},
	} {
		if status, out, errs := run(t, "memory:", tt.args...); status != setup.ExitUsage || out != "" || errs != tt.want {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, out, errs)
		}
	}
	if status, out, errs := run(t, "memory:", "-h"); status != setup.ExitOK || !strings.Contains(out, "-once") || errs != "" {
		t.Errorf("-h: status %d, %q, %q", status, out, errs)
	}
	if status, out, errs := run(t, "memory:", "-check", file); status != setup.ExitOK || out != file+" is well formed\n" || errs != "" {
		t.Errorf("-check: status %d, %q, %q", status, out, errs)
	}
}

// oneRound is what -json prints besides the changes.
type oneRound = status

// One round: it shows first, then acts, and then has nothing left to do.
func TestOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := write(t, fmt.Sprintf(`{"services": [{"service": "TCP 192.0.2.10:80", "persist": "300s", "checks": [{"type": "tcp"}], "real": [
		{"addr": %q, "weight": 7}, {"addr": "127.0.0.1:1"}]}]}`, ln.Addr()))
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	up := "add destination TCP 192.0.2.10:80 -> " + ln.Addr().String() + " Masq weight 7\n"
	down := "add destination TCP 192.0.2.10:80 -> 127.0.0.1:1 Masq weight 0\n"

	status, out, errs := run(t, kernel, "-n", file)
	if status != setup.ExitOK || !strings.Contains(out, up) || !strings.Contains(out, "check tcp 127.0.0.1:1 every 5s") || !strings.Contains(errs, "expire_quiescent_template") {
		t.Errorf("-n: status %d, %q, %q", status, out, errs)
	}
	for _, args := range [][]string{{"-once", "-n", file}, {"-once", file}} {
		status, out, errs = run(t, kernel, args...)
		if status != exitDown || !strings.Contains(out, up) || !strings.Contains(out, down) || !strings.Contains(out, "  down     127.0.0.1:1 weight 0\n") ||
			!strings.Contains(out, "! service TCP 192.0.2.10:80 is persistent and net.ipv4.vs.expire_quiescent_template is 0") {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
	status, out, errs = run(t, kernel, "-once", "-json", file)
	var got struct {
		oneRound
		Changes []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitDown || len(got.Changes) != 0 || got.Services[0].Real[0].State != "up" || len(got.Warnings) != 1 {
		t.Errorf("-json: status %d, %v, %q, %q", status, err, out, errs)
	}
	c, done, err := ipvstest.Dial(t.Context(), kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = done() }()
	id, _ := ipvs.ParseServiceID("TCP 192.0.2.10:80")
	list, err := c.Destinations(t.Context(), id)
	if err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestThroughNeedsKernel(t *testing.T) {
	file := write(t, `{"through": {"marks": [5, 9], "sources": ["10.0.0.1"]}, "services": [{"service": "TCP 192.0.2.10:80", "forward": "Route",
		"checks": [{"type": "tcp", "through": "vip"}], "real": [{"addr": "10.0.0.2:80"}]}]}`)
	status, _, errs := run(t, "memory:", "-once", file)
	if status != setup.ExitError || errs != "healthcheck: checks through virtual addresses need a real kernel\n" {
		t.Errorf("status %d, %q", status, errs)
	}
}
