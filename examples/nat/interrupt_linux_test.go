package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// Whenever start is interrupted, the machine is as before or as wanted.
func TestIntegrationInterrupt(t *testing.T) {
	nstest.RequireKernel(t)
	director := nstest.New(t)
	director.Dummy(t, "eth0")
	flags := []string{"-vip", "10.0.1.100", "-dev", "eth0", "-netns", director.Path()}
	start := append([]string{"start", "-real", "10.0.2.11,10.0.2.12,10.0.2.13"}, flags...)
	before := setuptest.Read(t, director.Path())
	begin := time.Now()
	if status, out, errs := run(t, "", start...); status != setup.ExitOK {
		t.Fatalf("start: status %d, %s\n%s", status, errs, out)
	}
	whole := time.Since(begin)
	started := setuptest.Read(t, director.Path())
	old, wanted := 0, 0
	for _, part := range []time.Duration{3, 5, 7, 9} { // tenths of the time that start takes
		if status, out, errs := run(t, "", append([]string{"stop"}, flags...)...); status != setup.ExitOK {
			t.Fatalf("stop: status %d, %s\n%s", status, errs, out)
		}
		ctx, cancel := context.WithTimeout(t.Context(), whole*part/10)
		var out bytes.Buffer
		status := method().Run(ctx, &setup.Env{Name: "nat", Stdout: &out, Stderr: &out}, start)
		cancel()
		now := setuptest.Read(t, director.Path())
		switch {
		case len(before.Diff(now)) == 0 && status == setup.ExitError:
			old++
		case len(started.Diff(now)) == 0:
			wanted++
		default:
			t.Errorf("interrupted after %v: status %d\n%s\nsince before: %q\nto what is wanted: %q", whole*part/10, status, out.String(), before.Diff(now), now.Diff(started))
		}
	}
	if t.Logf("%d times as before, %d times as wanted", old, wanted); old == 0 {
		t.Error("start was never interrupted")
	}
}
