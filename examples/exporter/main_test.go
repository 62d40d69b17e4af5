package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

func runOnce(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &setup.Env{Name: "exporter", Stdout: &out, Stderr: &errs, Kernel: "memory:" + filepath.Join(t.TempDir(), "kernel")}
	status = run(t.Context(), e, args)
	return status, out.String(), errs.String()
}

func TestOnce(t *testing.T) {
	status, out, errs := runOnce(t, "-once")
	if status != setup.ExitOK || errs != "" || !strings.Contains(out, "\nlvs_up 1\n") || !strings.Contains(out, "# TYPE lvs_connections_total counter\n") {
		t.Fatalf("status %d, %s\n%s", status, errs, out)
	}
}

// It serves on loopback, and an interrupt ends it after the scrape that is under way.
func TestServe(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	r, w := io.Pipe()
	var errs bytes.Buffer
	e := &setup.Env{Name: "exporter", Stdout: w, Stderr: &errs, Kernel: "memory:"}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, e, []string{"-listen", "127.0.0.1:0"}) }()
	line := make([]byte, 200)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(string(line[:n]))
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("it serves %q", url)
	}
	get := func(url string) (int, string) {
		t.Helper()
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := get(url); status != http.StatusOK || !strings.Contains(body, "\nlvs_up 1\n") {
		t.Fatalf("status %d\n%s", status, body)
	}
	if status, body := get(strings.TrimSuffix(url, "metrics")); status != http.StatusOK || !strings.Contains(body, "/metrics") {
		t.Fatalf("status %d\n%s", status, body)
	}
	interrupt()
	select {
	case status := <-ended:
		if status != setup.ExitOK || errs.Len() > 0 {
			t.Fatalf("status %d, %s", status, errs.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("an interrupt does not end it")
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string][]string{
		`unexpected argument "x"`:                     {"x"},
		"flag provided but not defined: -bogus":       {"-bogus"},
		`-listen "9763" is not an address and a port`: {"-listen", "9763"},
		"-timeout -1s is not above 0":                 {"-timeout", "-1s"},
		`-listen "127.0.0.1:99999" is not an address`: {"-listen", "127.0.0.1:99999"},
		"-max-services -1 is below 0":                 {"-max-services", "-1"},
		"-max-destinations -1 is below 0":             {"-max-destinations", "-1"},
	}
	for want, args := range tests {
		status, out, errs := runOnce(t, args...)
		if status != setup.ExitUsage || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("exporter %v: status %d, output %q, error %q; want %q", args, status, out, errs, want)
		}
	}
	if status, out, errs := runOnce(t, "-h"); status != setup.ExitOK || !strings.HasPrefix(out, "usage: exporter ") || errs != "" {
		t.Errorf("help: status %d, output %q, error %q", status, out, errs)
	}
	if status, _, errs := runOnce(t, "-listen", "203.0.113.1:1"); status != setup.ExitError || !strings.Contains(errs, "203.0.113.1") {
		t.Errorf("an address of somebody else: status %d, %q", status, errs)
	}
}
