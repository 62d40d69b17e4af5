//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// endTogether makes a command that takes too long end with all that it has started: checks that hang would pile up else.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
