//go:build !unix

package main

import "os/exec"

// endTogether does nothing: there are no process groups here, and only the command itself is ended.
func endTogether(*exec.Cmd) {}
