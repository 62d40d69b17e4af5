// Program lvssim replays a trace of connections on a director that exists in memory only, with the scheduling, persistence
// and timeouts of the kernel, and prints where each connection goes.
//
//	go install ./examples/lvssim              puts the program into the folder bin of "go env GOPATH"
//	lvssim TRACE                              prints every decision; "-" is standard input
//	lvssim -q TRACE                           prints a summary only
//	lvssim -compare rr,wlc,mh TRACE           runs the trace with each scheduler and prints how even the load was
//	lvssim -gen -clients 500 -fail 2@30 >T    writes a trace from a few numbers
//
// A trace is a text with one event a line, and # begins a comment. Lines that begin with a dash are command lines of
// ipvsadm: -A, -E, -D, -C, -a, -e, -d, -Z and --set. The others are:
//
//	at SECONDS                                            advances the time, which begins at 0
//	sysctl NAME VALUE                                     writes an IPVS sysctl
//	open PROTO CIP:CPORT VIP:VPORT [mark N]               the first packet of a connection
//	pkt PROTO CIP:CPORT VIP:VPORT in|out FLAGS [mark N]   a further one, from the client (in) or the server (out)
//	show conns|services|stats|state                       prints a listing
//
// PROTO is tcp, udp or sctp. FLAGS of tcp are any of SYN, FIN, ACK and RST joined by commas, or -; of sctp the name of a chunk,
// such as INIT or SHUTDOWN_ACK; of udp -.
//
// Every open prints a line TIME PROTO CIP:CPORT VIP:VPORT -> RIP:RPORT, and so does a pkt that was scheduled; "-> -" says that
// there is no server. show stats prints what the kernel's estimator saw last, which comes by every two seconds, and counts
// bytes as if no packet had any data; show state counts up to now.
//
// The exit status is 0, or 1 if the director refused a change as the kernel would, or a file cannot be read, or 2 for a
// mistake in the command line or the trace.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/sched"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, terminal: isTerminal(os.Stderr)}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// isTerminal is good enough to decide about a line of progress.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// program is what a run depends on.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // standard error is one
}

// options are the flags.
type options struct {
	quiet     bool
	json      bool
	keepGoing bool
	compare   []string
	gen       bool
	seed      uint64
	generator generator
	trace     string
}

const usage = `usage: lvssim [flags] TRACE
       lvssim -compare rr,wlc,mh [flags] TRACE
       lvssim -gen [flags]

`

// parse reads the command line. Its error is flag.ErrHelp after help was printed.
func (o *options) parse(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("lvssim", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.BoolVar(&o.quiet, "q", false, "print a summary only")
	f.BoolVar(&o.json, "json", false, "print JSON, one object a line")
	f.BoolVar(&o.keepGoing, "keep-going", false, "go on after a change that was refused")
	f.Func("compare", "run the trace with each of these `schedulers`, separated by commas", func(s string) error {
		o.compare = strings.Split(s, ",")
		for _, name := range o.compare {
			if !slices.Contains(sched.Names(), name) {
				return fmt.Errorf("%q is none of the schedulers %s", name, strings.Join(sched.Names(), " "))
			}
		}
		return nil
	})
	f.BoolVar(&o.gen, "gen", false, "write a trace to standard output")
	f.Uint64Var(&o.seed, "seed", 1, "`seed` of the random numbers of twos and of -gen")
	o.generator.flags(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return err
	} else if err != nil {
		return err
	}
	var stray string
	f.Visit(func(v *flag.Flag) {
		if o.generator.owns[v.Name] != o.gen && (o.generator.owns[v.Name] || v.Name != "gen" && v.Name != "seed") {
			stray = v.Name
		}
	})
	switch {
	case stray != "" && o.gen:
		return fmt.Errorf("-%s does not go with -gen", stray)
	case stray != "":
		return fmt.Errorf("-%s needs -gen", stray)
	case o.gen && f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.gen:
		return o.generator.check()
	case f.NArg() == 0:
		return errors.New("a trace is needed; \"lvssim -h\" shows the flags")
	case f.NArg() > 1:
		return fmt.Errorf("unexpected argument %q after the trace; flags come before it", f.Arg(1))
	}
	o.trace = f.Arg(0)
	return nil
}

func (p *program) run(ctx context.Context, args []string) int {
	var o options
	if err := o.parse(args, p.stdout); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		fmt.Fprintf(p.stderr, "lvssim: %v\n", err)
		return exitUsage
	}
	out := bufio.NewWriterSize(p.stdout, 1<<16)
	var err error
	switch {
	case o.gen:
		err = o.generator.write(ctx, out, o.seed)
	case o.compare != nil:
		err = p.compare(ctx, out, &o)
	default:
		err = p.replay(ctx, out, &o)
	}
	err = errors.Join(err, out.Flush())
	if err == nil {
		return exitOK
	}
	status := exitError
	if _, ok := errors.AsType[*syntaxError](err); ok {
		status = exitUsage
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintf(p.stderr, "lvssim: %v\n", err)
	}
	return status
}

// errReported says that what is wrong was printed already.
var errReported = errors.New("changes were refused")

// open opens a trace.
func (p *program) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(setup.Input(ctx, p.stdin)), nil
	}
	return os.Open(name)
}

// replay runs the trace once.
func (p *program) replay(ctx context.Context, out *bufio.Writer, o *options) error {
	in, err := p.open(ctx, o.trace)
	if err != nil {
		return err
	}
	defer in.Close()
	r := newRunner(o, "")
	r.out, r.stderr = out, p.stderr
	r.progress = newProgress(p, o.trace)
	defer r.progress.clear()
	if err := r.run(ctx, in); err != nil {
		return err
	}
	if o.quiet {
		if err := r.summary(); err != nil {
			return err
		}
	}
	if r.refused {
		return errReported
	}
	return nil
}

// compare runs the trace once for each scheduler.
func (p *program) compare(ctx context.Context, out *bufio.Writer, o *options) error {
	var text []byte
	if o.trace == "-" {
		var err error
		if text, err = io.ReadAll(setup.Input(ctx, p.stdin)); err != nil {
			return err
		}
	}
	var rows []comparison
	refused := false
	for i, name := range o.compare {
		var in io.ReadCloser
		if text != nil {
			in = io.NopCloser(bytes.NewReader(text))
		} else {
			var err error
			if in, err = p.open(ctx, o.trace); err != nil {
				return err
			}
		}
		r := newRunner(o, name)
		r.out, r.stderr = bufio.NewWriter(io.Discard), p.stderr
		if i > 0 {
			r.stderr = io.Discard // the same again
		}
		r.progress = newProgress(p, name)
		err := r.run(ctx, in)
		r.progress.clear()
		in.Close()
		if err != nil {
			return err
		}
		refused = refused || r.refused
		rows = append(rows, r.comparison(name)...)
	}
	if err := writeComparison(out, rows, o.json); err != nil {
		return err
	}
	if refused {
		return errReported
	}
	return nil
}
