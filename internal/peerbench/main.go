//go:build linux && amd64

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "peerbench: %v\n", err)
		os.Exit(1)
	}
}

// options of a command line.
type options struct {
	ipvsadm, ours string // paths of the programs
	only          string // rows
	without       string
	runs          int
	settle        time.Duration
	verbose, once bool
	calls         bool
	method        int // what a child process is to measure
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	fs := flag.NewFlagSet("peerbench", flag.ContinueOnError)
	fs.StringVar(&o.ipvsadm, "ipvsadm", "/usr/sbin/ipvsadm", "`path` of ipvsadm")
	fs.StringVar(&o.ours, "ours", "", "`path` of examples/ipvsadm; without it those rows are left out")
	fs.StringVar(&o.only, "only", "", "measure these `rows` only, separated by commas: create, list, long, delete, equal, restore, print")
	fs.StringVar(&o.without, "without", "", "leave out methods whose name has this `text`, such as moby")
	fs.IntVar(&o.runs, "runs", 0, "`number` of runs of each method, of which the cheapest counts and the difference is printed; 0 for 6 of lists and 2 of the others")
	fs.DurationVar(&o.settle, "settle", 0, "`time` before each measurement in which the kernel clears away what the last one left")
	fs.BoolVar(&o.once, "once", false, "do what only reads once in a run, not three times")
	fs.BoolVar(&o.verbose, "v", false, "print each run as it ends")
	fs.BoolVar(&o.calls, "calls", true, "count system calls too, in a run of its own")
	fs.IntVar(&o.method, "method", -1, "measure the method of this `number` in this process and print JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.method >= 0 {
		return child(ctx, o, out)
	}
	if o.only != "" {
		for name := range strings.SplitSeq(o.only, ",") {
			if !slices.ContainsFunc(methods, func(m method) bool { return m.row == name }) {
				return fmt.Errorf("-only %q: there is no such row", name)
			}
		}
	}
	return parent(ctx, o, out)
}

// child measures one method in this process, which has a network namespace of its own.
func child(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "peerbench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.method >= len(methods) {
		return fmt.Errorf("there are %d methods", len(methods))
	}
	b := bench{ctx: ctx, dir: dir, settle: o.settle, once: o.once, ipvsadm: o.ipvsadm, ours: o.ours}
	r, err := b.measure(&methods[o.method])
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// result is what the runs of a method cost.
type result struct {
	measurement         // the smallest
	spread      float64 // (largest - smallest) / smallest
	calls       int
}

func parent(ctx context.Context, o options, out io.Writer) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	fmt.Fprintf(out, "Linux %s; instructions if the machine counts them, otherwise nanoseconds; user and kernel\n", unix.ByteSliceToString(u.Release[:]))
	// The kernel's caches fill with the first table; that one does not count.
	if _, err := o.run(o.command(ctx, 0)); err != nil {
		return err
	}
	worst := 0.0
	for _, row := range rows {
		var list []line
		for i := range methods {
			m := &methods[i]
			if m.row != row.name || !o.wants(m) {
				continue
			}
			r, err := o.measure(ctx, i)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", m.row, m.name, err)
			}
			list = append(list, line{m.name, *r, m.table.objects()})
			worst = max(worst, r.spread)
		}
		if len(list) > 0 {
			fmt.Fprintf(out, "\n%s\n", row.title)
			printLines(out, list)
		}
	}
	_, err := fmt.Fprintf(out, "\nrepeated runs differ by at most %.1f %%\n", 100*worst)
	return err
}

// wants reports whether a method is to be measured.
func (o options) wants(m *method) bool {
	return (o.only == "" || slices.Contains(strings.Split(o.only, ","), m.row)) && (o.without == "" || !strings.Contains(m.name, o.without)) &&
		(o.ours != "" || !strings.HasPrefix(m.name, "examples"))
}

// command returns the process that measures a method.
func (o options) command(ctx context.Context, i int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-method", strconv.Itoa(i), "-ipvsadm", o.ipvsadm, "-ours", o.ours,
		"-settle", o.settle.String(), "-once="+strconv.FormatBool(o.once))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	return cmd
}

func (o options) run(cmd *exec.Cmd) (m measurement, err error) {
	text, err := cmd.Output()
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}

// measure runs a method in processes of its own.
func (o options) measure(ctx context.Context, i int) (*result, error) {
	runs := o.runs
	if runs <= 0 {
		runs = methods[i].times()
	}
	var all []measurement
	for range runs {
		m, err := o.run(o.command(ctx, i))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%s: %s: %d\n", methods[i].row, methods[i].name, m.Nanoseconds)
		}
	}
	slices.SortFunc(all, func(a, b measurement) int { return int(a.Nanoseconds - b.Nanoseconds) })
	least, most := all[0], all[len(all)-1]
	r := &result{measurement: least, spread: float64(most.Nanoseconds-least.Nanoseconds) / float64(least.Nanoseconds)}
	if !o.calls {
		return r, nil
	}
	var err error
	o.once, o.settle = true, 0
	r.calls, err = countCalls(o.command(ctx, i))
	return r, err
}

// line is a method's line of the printed table.
type line struct {
	name string
	result
	objects int
}

// printLines prints what each method cost, and how many times the first one's cost that is.
func printLines(out io.Writer, list []line) {
	fmt.Fprintf(out, "  %-30s %14s %10s %9s %8s %12s %13s\n", "", "instructions", "an object", "× floor", "calls", "calls/object", "allocs/object")
	for _, l := range list {
		n := float64(l.objects)
		fmt.Fprintf(out, "  %-30s %14d %10.0f %9.3f %8d %12.4f %13.4f\n", l.name, l.Nanoseconds, float64(l.Nanoseconds)/n,
			float64(l.Nanoseconds)/float64(list[0].Nanoseconds), l.calls, float64(l.calls)/n, float64(l.Allocations)/n)
	}
}
