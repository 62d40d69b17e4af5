//go:build unix

package main

import (
	"os"
	"syscall"
)

// Signals that ask for the configuration to be read again, and for the status.
var (
	reloadSignals = []os.Signal{syscall.SIGHUP}
	statusSignals = []os.Signal{syscall.SIGUSR1}
)
