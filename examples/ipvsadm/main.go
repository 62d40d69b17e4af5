// Command ipvsadm is a drop-in for ipvsadm 1.31: same command lines, output, messages and exit statuses, in one static
// binary without libnl and popt, and much faster with large tables.
//
//	go run ./examples/ipvsadm -A -t 192.0.2.1:80 -s rr
//	go run ./examples/ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m
//	go run ./examples/ipvsadm -Ln
//
// It acts on this host's kernel, and needs root. LVS_KERNEL=memory:FILE is a kernel in memory instead, whose state is
// kept in FILE between runs, so that everything can be tried without.
//
// Beyond the original it has:
//
//	-L --json            what is listed as JSON; durations are in nanoseconds
//	-L --numeric-sort    addresses by their value; the original puts 192.168.0.1 before 10.0.0.1
//	-S --lossless        with thresholds, timeouts and daemons, and in the kernel's order, so that schedulers go on as before
//	-R --lossless        reads that form
//	-R --atomic          all lines or none; a mistake is named by its line, and # begins a comment
//
// Package ipvsadm does the work, and documents where it differs from the original.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	closeKernel := func() error { return nil }
	p := ipvsadm.Program{
		Open: func(ctx context.Context) (*ipvs.Client, error) {
			c, closer, err := ipvstest.Dial(ctx, os.Getenv("LVS_KERNEL"), nil)
			if err == nil {
				closeKernel = closer
			}
			return c, err
		},
		Resolver: ipvsadm.NewSystemResolver(nil, nil),
		Stdin:    os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	status := p.Run(ctx, os.Args)
	if err := closeKernel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return status
}
