package main

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
)

// interrupter is the output of a program, which it interrupts when something has been written a number of times.
type interrupter struct {
	bytes.Buffer
	after int
	stop  context.CancelFunc
}

func (i *interrupter) Write(p []byte) (int, error) {
	if i.after--; i.after == 0 {
		i.stop()
	}
	return i.Buffer.Write(p)
}

// Whichever part is about to be started when start is interrupted, the machine is as before.
func TestIntegrationInterrupt(t *testing.T) {
	nstest.RequireKernel(t)
	director := nstest.New(t)
	director.Dummy(t, "eth0")
	before := setuptest.Read(t, director.Path())
	for after := 1; ; after++ {
		ctx, stop := context.WithCancel(t.Context())
		out := &interrupter{after: after, stop: stop}
		status := method().Run(ctx, &setup.Env{Name: "nat", Stdout: out, Stderr: &bytes.Buffer{}},
			[]string{"start", "-vip", "10.0.1.100", "-dev", "eth0", "-real", "10.0.2.11,10.0.2.12", "-netns", director.Path()})
		interrupted := ctx.Err() != nil
		stop()
		if !interrupted {
			if status != setup.ExitOK || after < 4 {
				t.Fatalf("status %d after %d interruptions, want those of the table, the settings and the address\n%s", status, after-1, out)
			}
			return
		}
		if diff := before.Diff(setuptest.Read(t, director.Path())); status != setup.ExitError || diff != nil {
			t.Errorf("interruption %d: status %d\n%s\nsince before: %q", after, status, out, diff)
		}
	}
}

// Whenever a process is interrupted, or killed and stop runs after that, the machine is in the old state or the new one.
func TestIntegrationInterruptProcess(t *testing.T) {
	nstest.RequireKernel(t)
	director := nstest.New(t)
	director.Dummy(t, "eth0")
	director.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.1.1/24"))
	program.Interrupt(t, director, 2, "start -vip 10.0.1.100 -dev eth0 -real 10.0.1.11,10.0.1.12", "stop -vip 10.0.1.100")
}
