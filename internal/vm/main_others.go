//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func guestMain() {}

func hostMain(args []string) int {
	if _, err := parseArgs(args, os.Stdout); err == errHelp {
		return 0
	}
	fmt.Fprintf(os.Stderr, "vm: needs Linux on amd64, this is %s/%s\n", runtime.GOOS, runtime.GOARCH)
	return exitMachine
}
