package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
)

var program = setuptest.Method("dr", method)

func TestMain(m *testing.M) {
	program.Become()
	m.Run()
}

func TestDemo(t *testing.T) {
	status, out, errs := program.Run(t, "")
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
	const service = "ipvsadm -A -t 192.0.2.10:443 -s sh -p 300\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.2:443 -g -w 1\nipvsadm -a -t 192.0.2.10:443 -r 10.0.0.3:443 -g -w 0\n"
	expect := func(status int, out string, args ...string) {
		t.Helper()
		program.Prints(t, kernel, status, out, args...)
	}
	stop := []string{"stop", "-vip", "192.0.2.10", "-port", "443"}
	expect(setup.ExitError, table+`! there is no service TCP 192.0.2.10:443: "dr start" adds it`+"\n", verb("status")...)
	expect(setup.ExitOK, "nothing to do\n", stop...)
	expect(setup.ExitOK, service, verb("start", "-n")...)
	expect(setup.ExitOK, service, verb("start")...)
	expect(setup.ExitOK, "nothing to do\n", verb("start")...)
	expect(setup.ExitOK, table+`TCP  192.0.2.10:443 sh persistent 300
  -> 10.0.0.2:443                 Route   1      0          0         
  -> 10.0.0.3:443                 Route   0      0          0         
`, verb("status")...)
	expect(setup.ExitOK, "ipvsadm -E -t 192.0.2.10:443 -s wlc\nipvsadm -e -t 192.0.2.10:443 -r 10.0.0.2:443 -g -w 5\n",
		"start", "-vip", "192.0.2.10", "-port", "443", "-real", "10.0.0.2=5")
	expect(setup.ExitError, table+`TCP  192.0.2.10:443 wlc
  -> 10.0.0.2:443                 Route   5      0          0         
  -> 10.0.0.3:443                 Route   0      0          0         
! persistence is off and not 5m0s: "dr start" sets it
! 10.0.0.2:443 has weight 5 and not 1: "dr start" sets it
`, verb("status", "-scheduler", "wlc")...)
	expect(setup.ExitOK, "ipvsadm -D -t 192.0.2.10:443\n", append(stop, "-n")...)
	expect(setup.ExitOK, "ipvsadm -D -t 192.0.2.10:443\n", stop...)
	expect(setup.ExitOK, "nothing to do\n", stop...)
}

func TestStatusJSON(t *testing.T) {
	status, out, _ := program.Run(t, "memory:", "status", "-vip", "2001:db8::1", "-proto", "udp", "-json")
	var got struct {
		Table    struct{ Services []any }
		Findings []setup.Finding
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != setup.ExitError || got.Table.Services == nil || len(got.Findings) != 1 {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
}

func TestMistakes(t *testing.T) {
	program.Mistakes(t, "memory:", map[string][]string{
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
	})
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
	status, _, text := program.Run(t, "memory:", "start", "-vip", "192.0.2.1", "-real", "10.0.0.2", "-scheduler", "nosuch")
	if status != setup.ExitError || !strings.Contains(text, "unknown scheduler\ndr: look for a typing error") {
		t.Errorf("unknown scheduler: status %d, %s", status, text)
	}
}

// A reader that goes away does not end start half-way.
func TestBrokenPipe(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	var errs bytes.Buffer
	cmd := program.Command(t, "start -vip 192.0.2.10 -real 10.0.0.2")
	cmd.Env = append(cmd.Env, "LVS_KERNEL="+kernel)
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("start: %v\n%s", err, errs.String())
	}
	if status, out, _ := program.Run(t, kernel, "status", "-vip", "192.0.2.10", "-real", "10.0.0.2"); status != setup.ExitOK {
		t.Errorf("status %d\n%s", status, out)
	}
}
