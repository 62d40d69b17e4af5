package main

import (
	"fmt"
	"os"
)

// Exit statuses besides the program's own.
const (
	exitUsage   = 2
	exitMachine = 125
)

// exitError is an error that decides the exit status.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	guestMain() // does not return in a guest
	os.Exit(hostMain(os.Args[1:]))
}
