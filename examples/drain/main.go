// Program drain takes one real server out of service without dropping a connection: weight 0, wait until its connections
// are gone, delete.
//
//	go run ./examples/drain -service "TCP 192.0.2.1:80" -real 10.0.0.2:80 -n
//	go run ./examples/drain -service "TCP 192.0.2.1:80" -real 10.0.0.2:80
//	go run ./examples/drain -service "FWM 7" -real 10.0.0.2:0 -until templates -timeout 10m -keep
//
// If it is interrupted, its terminal goes away or the time is over, the weight that the server had is restored, and the exit
// status is 1. After a crash the weight stays 0 and another run goes on. The status is 0 when the server is drained, 2 after a
// mistake on the command line. LVS_KERNEL=memory:FILE uses an in-memory kernel in place of the host's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() { setup.Main("drain", run) }

const usage = `usage: drain -service SERVICE -real ADDRESS:PORT [flags]

Exit status: 0 drained, 1 failed or interrupted, with the weight restored, 2 a mistake on the command line.

`

func run(ctx context.Context, e *setup.Env, args []string) int {
	var (
		id      ipvs.ServiceID
		addr    netip.AddrPort
		opts    ipvs.DrainOptions
		netns   string
		timeout time.Duration
		asJSON  bool
	)
	fs := flag.NewFlagSet("drain", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.TextVar(&id, "service", ipvs.ServiceID{}, "`service`, such as \"TCP 192.0.2.1:80\" or \"FWM 7 IPv6\" (required)")
	fs.TextVar(&addr, "real", netip.AddrPort{}, "`address` and port of the real server (required)")
	fs.Func("until", "`what` has to be gone: active, connections or templates (default active)", func(s string) (err error) {
		if opts.Until, err = ipvs.ParseDrainTarget(s); err != nil {
			return errors.New("neither active, connections nor templates")
		}
		return nil
	})
	fs.DurationVar(&opts.Interval, "interval", time.Second, "`time` between two looks")
	fs.DurationVar(&timeout, "timeout", 0, "give up after this `time`; 0 for never")
	fs.BoolVar(&opts.Keep, "keep", false, "leave the real server in the table with weight 0")
	fs.BoolVar(&asJSON, "json", false, "print each look as a line of JSON")
	fs.BoolVar(&opts.DryRun, "n", false, "only show how much there is to wait for, and what may keep clients coming")
	fs.StringVar(&netns, "netns", "", "network namespace, a `name` or a path; default this one")
	mistake := func(format string, args ...any) int { return e.Mistake("", fmt.Errorf(format, args...)) }
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(e.Stdout, usage)
		fs.SetOutput(e.Stdout)
		fs.PrintDefaults()
		return setup.ExitOK
	case err != nil:
		return mistake("%v", err)
	case fs.NArg() > 0:
		return mistake("unexpected argument %q", fs.Arg(0))
	case id == ipvs.ServiceID{}:
		return mistake("-service is required")
	case !addr.IsValid():
		return mistake("-real is required")
	case opts.Interval <= 0:
		return mistake("-interval %v is not above 0", opts.Interval)
	case timeout < 0:
		return mistake("-timeout %v is below 0", timeout)
	}
	ctx, release := setup.Hold(ctx)
	defer release()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	c, done, err := ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: netns})
	if err != nil {
		return e.Report(err)
	}
	opts.Progress = progress(e, asJSON)
	err = c.Drain(ctx, id, addr, &opts)
	if ctx.Err() != nil && !opts.DryRun {
		weight(ctx, e, c, id, addr)
	}
	return e.Report(errors.Join(err, done()))
}

// weight says which weight a real server has after a drain that was given up.
func weight(ctx context.Context, e *setup.Env, c *ipvs.Client, id ipvs.ServiceID, addr netip.AddrPort) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if d, err := c.Destination(ctx, id, addr); err == nil {
		fmt.Fprintf(e.Stderr, "drain: given up, and the weight is %d\n", d.Weight)
	}
}

// progress prints a line when something has changed since the last one.
func progress(e *setup.Env, asJSON bool) func(ipvs.DrainProgress) {
	var last [4]uint32
	first := true
	return func(d ipvs.DrainProgress) {
		now := [4]uint32{d.Destination.Weight, d.Destination.Active, d.Destination.Inactive, d.Destination.Persistent}
		if d.Warning != "" {
			fmt.Fprintf(e.Stderr, "drain: %s\n", d.Warning)
		}
		if now == last && !first {
			return
		}
		last, first = now, false
		if asJSON {
			_ = json.NewEncoder(e.Stdout).Encode(struct {
				Seconds    float64 `json:"seconds"`
				Weight     uint32  `json:"weight"`
				Active     uint32  `json:"active"`
				Inactive   uint32  `json:"inactive"`
				Persistent uint32  `json:"persistent"`
				Left       uint32  `json:"left"`
			}{d.Elapsed.Seconds(), now[0], now[1], now[2], now[3], d.Left})
			return
		}
		fmt.Fprintf(e.Stdout, "%7.1fs  weight %d, %d active, %d inactive, %d templates: %d left\n",
			d.Elapsed.Seconds(), now[0], now[1], now[2], now[3], d.Left)
	}
}
