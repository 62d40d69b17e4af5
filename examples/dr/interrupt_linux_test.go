package main

import (
	"testing"

	"github.com/golvs/lvs/internal/nstest"
)

// Whenever a process is interrupted, or killed and stop runs after that, the machine is in the old state or the new one.
func TestIntegrationInterrupt(t *testing.T) {
	nstest.RequireKernel(t)
	ns := newMachine(t)
	program.Interrupt(t, ns, "start -role realserver -vip 192.0.2.10", "stop -role realserver -vip 192.0.2.10")
}
