package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
)

// run runs the program on the kernel; empty is the host's.
func run(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return setuptest.Run(t, "dr", method(), kernel, args...)
}

func TestDemo(t *testing.T) {
	status, out, errs := run(t, "")
	if status != setup.ExitOK || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	for _, want := range []string{
		"ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.4:80 -g -w 2\n",
		"192.0.2.3:80  1       6            6",
		"192.0.2.3:80  0       0            6",
		"! 192.0.2.3:80 has weight 0 and not 1",
		"192.0.2.4:80  2       12           40",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the demonstration does not show %q", want)
		}
	}
}

func TestDirector(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	flags := []string{"-vip", "192.0.2.10", "-port", "443", "-real", "10.0.0.2,10.0.0.3=0", "-persist", "5m", "-scheduler", "sh"}
	verb := func(verb string, more ...string) []string { return append(append([]string{verb}, flags...), more...) }
	const table = `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
`
	steps := []struct {
		args   []string
		status int
		out    string
	}{
		{verb("status"), setup.ExitError, table + `! there is no service TCP 192.0.2.10:443: "dr start" adds it` + "\n"},
		{[]string{"stop", "-vip", "192.0.2.10", "-port", "443"}, setup.ExitOK, "nothing to do\n"},
		{verb("start", "-n"), setup.ExitOK, "ipvsadm -A -t 192.0.2.10:443 -s sh -p 300\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.2:443 -g -w 1\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.3:443 -g -w 0\n"},
		{verb("start"), setup.ExitOK, "ipvsadm -A -t 192.0.2.10:443 -s sh -p 300\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.2:443 -g -w 1\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.3:443 -g -w 0\n"},
		{verb("start"), setup.ExitOK, "nothing to do\n"},
		{verb("status"), setup.ExitOK, table + `TCP  192.0.2.10:443 sh persistent 300
  -> 10.0.0.2:443                 Route   1      0          0         
  -> 10.0.0.3:443                 Route   0      0          0         
`},
		{[]string{"start", "-vip", "192.0.2.10", "-port", "443", "-real", "10.0.0.2=5"}, setup.ExitOK, "ipvsadm -E -t 192.0.2.10:443 -s wlc\nipvsadm -e -t 192.0.2.10:443 -r 10.0.0.2:443 -g -w 5\n"},
		{verb("status", "-scheduler", "wlc"), setup.ExitError, table + `TCP  192.0.2.10:443 wlc
  -> 10.0.0.2:443                 Route   5      0          0         
  -> 10.0.0.3:443                 Route   0      0          0         
! persistence is off and not 5m0s: "dr start" sets it
! 10.0.0.2:443 has weight 5 and not 1: "dr start" sets it
`},
		{[]string{"stop", "-vip", "192.0.2.10", "-port", "443", "-n"}, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:443\n"},
		{[]string{"stop", "-vip", "192.0.2.10", "-port", "443"}, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:443\n"},
		{[]string{"stop", "-vip", "192.0.2.10", "-port", "443"}, setup.ExitOK, "nothing to do\n"},
	}
	for _, s := range steps {
		status, out, errs := run(t, kernel, s.args...)
		if diff := cmp.Diff(s.out, out); diff != "" || status != s.status {
			t.Fatalf("dr %v: status %d, want %d; %s\noutput (-want +got):\n%s", s.args, status, s.status, errs, diff)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	status, out, _ := run(t, "memory:", "status", "-vip", "2001:db8::1", "-proto", "udp", "-json")
	var got struct {
		Table    struct{ Services []any }
		Findings []setup.Finding
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != setup.ExitError || got.Table.Services == nil || len(got.Findings) != 1 {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string][]string{
		`unknown verb "frob"`:                                         {"frob"},
		"-vip is required":                                            {"stop"},
		"-real is required":                                           {"start", "-vip", "192.0.2.1"},
		`unexpected argument "x"`:                                     {"stop", "-vip", "192.0.2.1", "x"},
		"a port is a number from 1 to 65535":                          {"stop", "-vip", "192.0.2.1", "-port", "0"},
		`real server "x" is not an address`:                           {"start", "-vip", "192.0.2.1", "-real", "x"},
		`weight "-1" of 10.0.0.2 is not a number from 0 to`:           {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2=-1"},
		"real server 10.0.0.2 is there twice":                         {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2,10.0.0.2"},
		`protocol "x" is none of tcp, udp and sctp`:                   {"start", "-vip", "192.0.2.1", "-proto", "x"},
		"flag provided but not defined: -real":                        {"stop", "-real", "10.0.0.2"},
		`-role "x" is neither director nor realserver`:                {"stop", "-vip", "192.0.2.1", "-role", "x"},
		"10.0.0.2 has port 8080, and packets come to it with port 80": {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2:8080"},
		"real server fd00::2 and the VIP are of different families":   {"start", "-vip", "192.0.2.1", "-real", "fd00::2"},
		"-watch and -json exclude each other":                         {"status", "-vip", "192.0.2.1", "-watch", "-json"},
		"-persist is a time of whole seconds":                         {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-persist", "1ms"},
		"-persist is a time of whole seconds, up to 744h":             {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-persist", "745h"},
		"-interval is for -watch":                                     {"status", "-vip", "192.0.2.1", "-interval", "1s"},
		"-vip 0.0.0.0 is not the address of a machine":                {"start", "-vip", "0.0.0.0", "-real", "10.0.0.2"},
		"real server 224.0.0.1 is not the address of a machine":       {"start", "-vip", "192.0.2.1", "-real", "224.0.0.1"},
		"real server 10.0.0.2:80 is there twice":                      {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2,10.0.0.2:80"},
		"-scheduler is the name of one":                               {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-scheduler", ""},
		"-scheduler is for directors":                                 {"start", "-vip", "192.0.2.1", "-role", "realserver", "-scheduler", "rr"},
		"LVS_KERNEL=memory: has no devices for -role realse":          {"start", "-vip", "192.0.2.1", "-role", "realserver"},
		"LVS_KERNEL=memory: has no devices for -dev":                  {"start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-dev", "eth0"},
	}
	for want, args := range tests {
		status, out, errs := run(t, "memory:", args...)
		if status != setup.ExitUsage || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("dr %v: status %d, output %q, error %q; want %q", args, status, out, errs, want)
		}
	}
	for _, args := range [][]string{{"-h"}, {"start", "-h"}, {"status", "-h"}, {"stop", "--help"}} {
		if status, out, errs := run(t, "memory:", args...); status != setup.ExitOK || !strings.HasPrefix(out, "usage: dr ") || errs != "" {
			t.Errorf("dr %v: status %d, output %q, error %q", args, status, out, errs)
		}
	}
}

// What fails comes with a hint.
func TestHint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	e := setup.Env{Name: "dr", Stdout: &bytes.Buffer{}, Stderr: &errs, Kernel: "memory:"}
	if status := method().Run(ctx, &e, []string{"start", "-vip", "192.0.2.1", "-real", "10.0.0.2"}); status != setup.ExitError || !strings.Contains(errs.String(), "context canceled") {
		t.Errorf("interrupted: status %d, %s", status, errs.String())
	}
	status, _, text := run(t, "memory:", "start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-scheduler", "nosuch")
	if status != setup.ExitError || !strings.Contains(text, "unknown scheduler\ndr: look for a typing error") {
		t.Errorf("unknown scheduler: status %d, %s", status, text)
	}
}

// A reader that goes away does not end start half-way.
func TestBrokenPipe(t *testing.T) {
	if os.Getenv("TEST_BROKEN_PIPE") != "" {
		os.Args = []string{"dr", "start", "-vip", "192.0.2.10", "-real", "10.0.0.2"}
		main()
	}
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenPipe$")
	cmd.Env = append(os.Environ(), "TEST_BROKEN_PIPE=1", "LVS_KERNEL="+kernel)
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("start: %v\n%s", err, errs.String())
	}
	if status, out, _ := run(t, kernel, "status", "-vip", "192.0.2.10", "-real", "10.0.0.2"); status != setup.ExitOK {
		t.Errorf("status %d\n%s", status, out)
	}
}
