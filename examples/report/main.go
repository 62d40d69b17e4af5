// Program report draws what schedulers make of one load: it replays a trace of lvssim with each of them, and writes one HTML
// file that needs nothing else, for phones too. It shows each server's share of the connections against its weight over
// time, how uneven the load was, and what happened to clients when a server failed or was drained.
//
//	go -C examples/report run . -o /tmp/report.html                              a demonstration: a failure and a drain
//	go -C examples/report run . -compare wlc,mh -o /tmp/report.html /tmp/trace   a trace of your own
//	go -C examples/report run . -drain 1@30-50 -o /tmp/report.html /tmp/trace    the same with a drain added
//	go -C examples/report run . -json                                            the numbers
//
// The example program lvssim describes the language of traces, and writes some: lvssim -gen. This program runs it as "go tool
// lvssim", or as the program that -lvssim names. "-" is standard input. An interrupted run leaves the old file.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/sched"
)

func main() {
	setup.Main("report", func(ctx context.Context, e *setup.Env, args []string) int {
		return (&program{Env: e, stdin: os.Stdin}).run(ctx, args)
	})
}

// program is what a run depends on.
type program struct {
	*setup.Env
	stdin io.Reader
}

// options are the flags.
type options struct {
	schedulers []string
	drains     []drain
	lvssim     string
	output     string
	json       bool
	windows    int
}

// demonstration are the flags of lvssim for the trace without a name.
var demonstration = []string{"-gen", "-servers", "4", "-weights", "1,1,2,2", "-clients", "300", "-rate", "60", "-length", "120", "-hold", "exp:4", "-fail", "3@30-60"}

func (p *program) run(ctx context.Context, args []string) int {
	o := options{schedulers: []string{"wrr", "wlc", "sh", "mh"}}
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("compare", "`schedulers`, separated by commas (default wrr,wlc,sh,mh)", func(s string) error {
		o.schedulers = strings.Split(s, ",")
		for i, name := range o.schedulers {
			if !slices.Contains(sched.Names(), name) {
				return fmt.Errorf("unknown scheduler %q", name)
			}
			if slices.Contains(o.schedulers[:i], name) {
				return fmt.Errorf("%q is there twice", name)
			}
		}
		return nil
	})
	fs.Func("drain", "`SERVER@TIME` or SERVER@TIME-BACK: the weight of a server of the first service becomes 0, and what it was; may be repeated", func(s string) error {
		d, err := parseDrain(s)
		o.drains = append(o.drains, d)
		return err
	})
	fs.StringVar(&o.lvssim, "lvssim", "", "`path` of the program lvssim; default go tool lvssim")
	fs.StringVar(&o.output, "o", "", "write the `file`; default standard output")
	fs.BoolVar(&o.json, "json", false, "write the numbers as JSON")
	fs.IntVar(&o.windows, "windows", 40, "`number` of windows that the time is divided into")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(p.Stdout, "usage: report [flags] [TRACE]")
		fs.SetOutput(p.Stdout)
		fs.PrintDefaults()
		return setup.ExitOK
	case err != nil:
		return p.Mistake("", err)
	case fs.NArg() > 1:
		return p.Mistake("", fmt.Errorf("unexpected argument %q", fs.Arg(1)))
	case o.windows < 2 || o.windows > 1000:
		return p.Mistake("", fmt.Errorf("-windows %d is not from 2 to 1000", o.windows))
	}
	return p.Report(p.report(ctx, o, fs.Arg(0)))
}

func (p *program) report(ctx context.Context, o options, name string) error {
	text, err := p.trace(ctx, &o, name)
	if err != nil {
		return err
	}
	t, err := parseTrace(ctx, text, o.drains)
	if err != nil {
		return err
	}
	r := newResults(t, o.windows)
	for _, scheduler := range o.schedulers {
		decisions, err := p.lvssim(ctx, o.lvssim, t.with(scheduler), "-json", "-")
		if err != nil {
			return err
		}
		if err := r.add(scheduler, bytes.NewReader(decisions)); err != nil {
			return fmt.Errorf("lvssim with %s: %w", scheduler, err)
		}
	}
	var out bytes.Buffer
	if o.json {
		enc := json.NewEncoder(&out)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = r.page(&out)
	}
	if err != nil {
		return err
	}
	if o.output == "" {
		_, err = p.Stdout.Write(out.Bytes())
		return err
	}
	return replace(o.output, out.Bytes())
}

// trace returns the text of the trace.
func (p *program) trace(ctx context.Context, o *options, name string) ([]byte, error) {
	switch name {
	case "":
		if o.drains == nil {
			o.drains = []drain{{server: 4, at: 75, back: 100}}
		}
		return p.lvssim(ctx, o.lvssim, nil, demonstration...)
	case "-":
		return io.ReadAll(setup.Input(ctx, p.stdin))
	}
	return os.ReadFile(name)
}

// lvssim runs the program and returns its output.
func (p *program) lvssim(ctx context.Context, path string, input []byte, args ...string) ([]byte, error) {
	words := append([]string{"go", "tool", "lvssim"}, args...)
	if path != "" {
		words = append([]string{path}, args...)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("%s: %w", strings.Join(words, " "), errors.Join(err, ctx.Err()))
	}
	return out.Bytes(), nil
}

// replace writes a file in one step: whoever reads it finds the old or the new one.
func replace(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
