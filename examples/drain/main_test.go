package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func runDrain(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), &setup.Env{Name: "drain", Stdout: &out, Stderr: &errs, Kernel: kernel}, args)
	return status, out.String(), errs.String()
}

func TestDrain(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	c, done, err := ipvstest.Dial(t.Context(), kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ipvs.ParseServiceID("TCP 192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddService(t.Context(), ipvs.Service{ID: id, Scheduler: "rr", Flags: ipvs.Persistent}); err != nil {
		t.Fatal(err)
	}
	var d ipvs.Destination
	if err := d.Addr.UnmarshalText([]byte("10.0.0.2:80")); err != nil {
		t.Fatal(err)
	}
	d.Weight = 3
	if err := c.AddDestination(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	flags := []string{"-service", "TCP 192.0.2.1:80", "-real", "10.0.0.2:80"}
	status, out, errs := runDrain(t, kernel, append(flags, "-n")...)
	if status != setup.ExitOK || out != "    0.0s  weight 3, 0 active, 0 inactive, 0 templates: 0 left\n" || !strings.Contains(errs, "expire_quiescent_template") {
		t.Fatalf("status %d, %q, %q", status, out, errs)
	}
	if status, _, errs = runDrain(t, kernel, append(flags, "-timeout", "1ns")...); status != setup.ExitError || !strings.Contains(errs, "given up, and the weight is 3\n") {
		t.Fatalf("status %d, %q", status, errs)
	}
	status, out, errs = runDrain(t, kernel, append(flags, "-until", "templates", "-json")...)
	if status != setup.ExitOK || !strings.Contains(out, `"weight":0`) || !strings.Contains(errs, "expire_quiescent_template") {
		t.Fatalf("status %d, %q, %q", status, out, errs)
	}
	if status, _, errs = runDrain(t, kernel, flags...); status != setup.ExitError || !strings.Contains(errs, "no such destination") {
		t.Fatalf("status %d, %q", status, errs)
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string][]string{
		"-service is required":    {"-real", "10.0.0.2:80"},
		"-real is required":       {"-service", "FWM 7"},
		"unexpected argument":     {"-service", "FWM 7", "-real", "10.0.0.2:80", "x"},
		"invalid value \"x\"":     {"-service", "x"},
		"neither active, connec":  {"-until", "x"},
		"-timeout -1s is below 0": {"-service", "FWM 7", "-real", "10.0.0.2:80", "-timeout", "-1s"},
		"-interval -1s is not":    {"-service", "FWM 7", "-real", "10.0.0.2:80", "-interval", "-1s"},
		"flag provided but not ":  {"-bogus"},
	}
	for want, args := range tests {
		if status, out, errs := runDrain(t, "memory:", args...); status != setup.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("drain %v: status %d, %q, %q; want %q", args, status, out, errs, want)
		}
	}
	if status, out, _ := runDrain(t, "memory:", "-h"); status != setup.ExitOK || !strings.HasPrefix(out, "usage: drain") {
		t.Errorf("help: status %d, %q", status, out)
	}
}
