package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func run(t *testing.T, kernel, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{&setup.Env{Name: "apply", Stdout: &out, Stderr: &errs, Kernel: kernel}, strings.NewReader(stdin)}
	status = p.run(t.Context(), args)
	return status, out.String(), errs.String()
}

const rules = `# two services
-A -t 192.0.2.1:80 -s wlc
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 1
-a -t 192.0.2.1:80 -r 10.0.0.3:80 -g -w 2 -x 100 -y 50
-A -f 7 -6 -s rr -p 300
`

func TestApply(t *testing.T) {
	dir := t.TempDir()
	kernel := "memory:" + filepath.Join(dir, "kernel")
	file := filepath.Join(dir, "rules")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	const all = `add service TCP 192.0.2.1:80 wlc
add destination TCP 192.0.2.1:80 -> 10.0.0.2:80 Route weight 1
add destination TCP 192.0.2.1:80 -> 10.0.0.3:80 Route weight 2 thresholds 100/50
add service FWM 7 IPv6 rr persistent 5m0s mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
`
	steps := []struct {
		stdin  string
		args   []string
		status int
		out    string
	}{
		{"", []string{"-n", file}, exitChanged, all},
		{"", []string{file}, exitChanged, all},
		{"", []string{file}, setup.ExitOK, ""},
		{"-A -t 192.0.2.1:80 -s wlc\n-a -t 192.0.2.1:80 -r 10.0.0.3:80 -g -w 5 -x 100 -y 50", []string{"-owned", "192.0.2.0/24", "-"}, exitChanged,
			"set destination TCP 192.0.2.1:80 -> 10.0.0.3:80 Route weight 5 thresholds 100/50\ndelete destination TCP 192.0.2.1:80 -> 10.0.0.2:80\n"},
		{"-C", []string{"-n", "-owned", "FWM 7 IPv6", "-"}, exitChanged, "delete service FWM 7 IPv6\n"},
		{"-C", []string{"-quiesce", "-"}, exitChanged, "set destination TCP 192.0.2.1:80 -> 10.0.0.3:80 Route weight 0 thresholds 100/50\n"},
		{`{"services": null, "timeouts": {"tcp": 60000000000, "tcpFin": 0, "udp": 0}}`, []string{"-"}, exitChanged, "set timeouts tcp 1m0s tcpfin 0s udp 0s\n"},
	}
	for _, s := range steps {
		status, out, errs := run(t, kernel, s.stdin, s.args...)
		if diff := cmp.Diff(s.out, out); diff != "" || status != s.status || errs != "" {
			t.Fatalf("apply %v: status %d, want %d; %s\noutput (-want +got):\n%s", s.args, status, s.status, errs, diff)
		}
	}

	// The table as JSON, and back into an empty one.
	status, dump, errs := run(t, kernel, "", "-dump")
	if status != setup.ExitOK {
		t.Fatal(errs)
	}
	second := "memory:" + filepath.Join(dir, "second")
	if status, _, errs := run(t, second, dump, "-"); status != exitChanged {
		t.Fatal(errs)
	}
	if _, again, _ := run(t, second, "", "-dump"); again != dump {
		t.Fatalf("dump (-first +second):\n%s", cmp.Diff(dump, again))
	}
	status, out, _ := run(t, second, rules, "-json", "-")
	var rows []struct{ Kind, State string }
	if err := json.Unmarshal([]byte(out), &rows); err != nil || status != exitChanged || len(rows) == 0 || rows[0].State != "applied" {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
}

// The plan as ipvsadm's lines is a rule file: it makes the same table. So is the table.
func TestLines(t *testing.T) {
	dir := t.TempDir()
	first, second := "memory:"+filepath.Join(dir, "first"), "memory:"+filepath.Join(dir, "second")
	steps := []struct {
		stdin string
		args  []string
		out   string
	}{
		{rules, []string{"-n", "-format", "ipvsadm", "-"}, `-A -t 192.0.2.1:80 -s wlc
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 1
-a -t 192.0.2.1:80 -r 10.0.0.3:80 -g -w 2 -x 100 -y 50
-A -f 7 -6 -s rr -p 300
`},
		{rules, []string{"-format", "text", "-"}, "add service TCP 192.0.2.1:80 wlc"},
		{"-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 0", []string{"-n", "-format", "ipvsadm", "-"}, `-E -t 192.0.2.1:80 -s rr
-e -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 0
-d -t 192.0.2.1:80 -r 10.0.0.3:80
-D -f 7 -6
`},
	}
	for _, s := range steps {
		status, out, errs := run(t, first, s.stdin, s.args...)
		if status != exitChanged || errs != "" || !strings.HasPrefix(out, s.out) || s.args[0] == "-n" && out != s.out {
			t.Fatalf("apply %v: status %d; %s\n%s", s.args, status, errs, cmp.Diff(s.out, out))
		}
	}
	_, dump, _ := run(t, first, "", "-dump", "-format", "ipvsadm")
	if status, _, errs := run(t, second, dump, "-"); status != exitChanged {
		t.Fatalf("status %d, %s\n%s", status, errs, dump)
	}
	_, want, _ := run(t, first, "", "-dump")
	if _, have, _ := run(t, second, "", "-dump"); have != want {
		t.Fatalf("the table after its own rules (-want +got):\n%s", cmp.Diff(want, have))
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		stdin  string
		args   []string
		status int
		want   string
	}{
		{"", nil, setup.ExitUsage, "a file is needed"},
		{"", []string{"rules", "-n"}, setup.ExitUsage, `unexpected argument "-n" after the file; flags come before it`},
		{"", []string{"-dump", "x"}, setup.ExitUsage, `unexpected argument "x"`},
		{"", []string{"-bogus", "x"}, setup.ExitUsage, "flag provided but not defined"},
		{"", []string{"-format", "xml", "-"}, setup.ExitUsage, `-format "xml": text, json or ipvsadm`},
		{"", []string{"-json", "-format", "text", "-"}, setup.ExitUsage, "exclude each other"},
		{"", []string{"-dump", "-format", "text"}, setup.ExitUsage, "json or ipvsadm"},
		{"", []string{"-dump", "-owned", "192.0.2.0/24"}, setup.ExitUsage, "-owned has no effect with -dump"},
		{"", []string{"-keep-extra", "-quiesce", "-"}, setup.ExitUsage, "exclude each other"},
		{"", []string{"-grace", "-1s", "-"}, setup.ExitUsage, "below 0"},
		{"", []string{"-grace", "1s", "-quiesce", "-"}, setup.ExitUsage, "no effect"},
		{"", []string{"-owned", "x", "-"}, setup.ExitUsage, "not a network"},
		{"", []string{"/no/such/file"}, setup.ExitError, "no such file"},
		{"-A -t 192.0.2.1:80\n-A -t 192.0.2.1:80\n", []string{"-"}, setup.ExitError, "standard input: line 2: ipvs: add service TCP 192.0.2.1:80: service exists"},
		{"-A -t 192.0.2.1:80\n-Q\n", []string{"-"}, setup.ExitError, "2"},
		{"-L\n", []string{"-"}, setup.ExitError, "command changes nothing"},
		{`{"service": []}`, []string{"-"}, setup.ExitError, `unknown field "service"`},
		{`{"services": []} {"services": []}`, []string{"-"}, setup.ExitError, "something follows the rules"},
		{"-A -t 192.0.2.1:80\n", []string{"-owned", "10.0.0.0/8", "-"}, setup.ExitError, "TCP 192.0.2.1:80 belongs to somebody else"},
	}
	for _, tt := range tests {
		status, out, errs := run(t, "memory:", tt.stdin, tt.args...)
		if status != tt.status || out != "" || !strings.Contains(errs, tt.want) || tt.status == setup.ExitUsage && strings.Count(errs, "\n") != 1 {
			t.Errorf("apply %v: status %d, output %q, error %q; want %d, %q", tt.args, status, out, errs, tt.status, tt.want)
		}
	}
	if status, out, _ := run(t, "memory:", "", "-h"); status != setup.ExitOK || !strings.Contains(out, "usage: apply") || !strings.Contains(out, "3 changed") {
		t.Errorf("help: status %d, %q", status, out)
	}
}

// Whenever the context ends, there is the old table or the new one.
func TestInterrupt(t *testing.T) {
	var before, after ipvs.Ruleset
	for i := range 300 {
		r := ipvs.ServiceRules{Service: ipvs.Service{ID: ipvs.Mark(uint32(1+i), ipvs.IPv4), Scheduler: "rr", Netmask: ipvs.MaskBits(ipvs.IPv4, 32)}}
		before.Services = append(before.Services, r)
		r.Scheduler = "wlc"
		after.Services = append(after.Services, r)
	}
	old, changed := 0, 0
	for nth := 1; ; nth++ {
		k, c := ipvstest.Start(t, nil)
		if _, err := c.Apply(t.Context(), before, nil); err != nil {
			t.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		if _, err := k.Inject(ipvstest.Fault{Op: "list services", Nth: nth, MidDump: interrupt}); err != nil {
			t.Fatal(err)
		}
		_, err := apply(ctx, c, after, &ipvs.ApplyOptions{})
		have, readErr := c.Ruleset(t.Context())
		if readErr != nil {
			t.Fatal(readErr)
		}
		have.Timeouts, have.Daemons = nil, nil
		switch {
		case have.Equal(before) && errors.Is(err, context.Canceled):
			old++
		case have.Equal(after) && err == nil:
			changed++
		default:
			t.Fatalf("interrupted in list %d: %v, and the table is neither the old nor the new one", nth, err)
		}
		if ctx.Err() == nil {
			break
		}
	}
	if old == 0 || changed < 2 { // the last one was not interrupted
		t.Errorf("the table was the old one %d times, the new one %d times", old, changed)
	}

	// Between two changes, which are requests of their own here.
	k, c := ipvstest.Start(t, nil)
	if _, err := c.Apply(t.Context(), before, nil); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	requests := len(k.Requests())
	go func() {
		for !slices.ContainsFunc(k.Requests()[requests:], func(r ipvstest.Request) bool { return r.Op == "set service" }) {
			time.Sleep(time.Microsecond)
		}
		interrupt()
	}()
	if _, err := apply(ctx, c, after, &ipvs.ApplyOptions{StopOnError: true}); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	have, err := c.Ruleset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if have.Timeouts, have.Daemons = nil, nil; !have.Equal(after) {
		t.Error("interrupted between two changes, the table is not the new one")
	}
}
