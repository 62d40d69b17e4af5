package main

import (
	"net/netip"
	"testing"

	"github.com/golvs/lvs/internal/nstest"
)

// Whenever a process is interrupted, or killed and stop runs after that, the machine is in the old state or the new one.
func TestIntegrationInterrupt(t *testing.T) {
	nstest.RequireKernel(t)
	director := nstest.New(t)
	director.Dummy(t, "eth0")
	director.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.1.1/24"))
	program.Interrupt(t, director, "start -vip 10.0.1.100 -dev eth0 -real 10.0.1.11,10.0.1.12", "stop -vip 10.0.1.100")
}
