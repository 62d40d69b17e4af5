package ipvsadm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/golvs/lvs/ipvs"
)

// Program is ipvsadm: it reads a command line, carries it out, and prints what ipvsadm 1.31 prints. Beside ipvsadm's options
// it knows --json and --numeric-sort for -L, --lossless for -S and -R, and --atomic for -R.
type Program struct {
	// Open connects to the kernel. It is called once by each [Program.Run], before the arguments are looked at, as ipvsadm
	// needs the kernel for -h too.
	Open func(context.Context) (*ipvs.Client, error)

	// Resolver reads and writes names; nil knows numbers only.
	Resolver Resolver

	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// banner is what scripts ask ipvsadm for; it names the version whose behaviour this is.
const banner = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

// Run carries out a command line and returns ipvsadm's exit status: 0 for success, 1 if a listing could not be made, 2 for
// a mistake in the arguments and for a kernel that cannot be used, and 255 if the kernel refuses, or an option is unknown.
//
// The first word of args is the name that messages have for the program. Errors of writing the output are not reported,
// as ipvsadm does not, but for that of -S --lossless: a file that was cut off must not pass for a whole one.
func (p *Program) Run(ctx context.Context, args []string) int {
	name := programWord
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	r := run{p: p, name: name, parser: Parser{Resolver: p.Resolver, Extensions: true}}
	c, err := p.Open(ctx)
	if err == nil {
		defer func() { _ = c.Close() }()
		r.client = c
		r.info, err = c.Info(ctx)
	}
	if err != nil {
		text, _ := Explain(List, err)
		r.errorf("Can't initialize ipvs: %s", text)
		r.errorf("Are you sure that IP Virtual Server is built in the kernel or as module?")
		return statusMistake
	}
	op, err := r.parser.Parse(ctx, args)
	if err != nil {
		return r.mistake(err)
	}
	status, _ := r.do(ctx, op)
	return status
}

// run is one run of the program.
type run struct {
	p      *Program
	name   string
	parser Parser
	client *ipvs.Client
	info   ipvs.Info
}

func (r *run) errorf(format string, args ...any) { fmt.Fprintf(r.p.Stderr, format+"\n", args...) }

// mistake prints an error of parsing and returns its status.
func (r *run) mistake(err error) int {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		r.errorf("%v", err)
		return statusMistake
	case e.Kind == NoCommand:
		r.errorf("Try `%s -h' or '%[1]s --help' for more information.", r.name)
	default:
		r.errorf("%s", e.Text)
	}
	return e.Status()
}

// fail prints the kernel's refusal and returns its status.
func (r *run) fail(c Command, err error) int {
	text, status := Explain(c, err)
	r.errorf("%s", text)
	return status
}

// do carries out an operation. It returns the exit status, and whether a rule file goes on after it.
func (r *run) do(ctx context.Context, op Operation) (status int, goOn bool) {
	switch op.Command {
	case Help:
		fmt.Fprintf(r.p.Stdout, banner+usage, r.name)
		return 0, false
	case Version:
		_, _ = io.WriteString(r.p.Stdout, banner)
		return 0, false
	case List:
		status = r.list(ctx, op)
		return status, status == 0
	case Save:
		status = r.save(ctx, op)
		return status, status == 0
	case Restore:
		if op.Atomic {
			return r.restoreAtomically(ctx, op), false
		}
		return r.restore(ctx, op), false
	}
	if err := op.Apply(ctx, r.client); err != nil {
		return r.fail(op.Command, err), true
	}
	return 0, true
}

// resolver returns what prints names.
func (r *run) resolver(l Listing) Resolver {
	if l.Numeric {
		return nil
	}
	return r.p.Resolver
}

func (r *run) list(ctx context.Context, op Operation) int {
	l := op.Listing
	switch l.Subject {
	case Connections:
		return r.listConnections(ctx, l)
	case Timeouts:
		t, err := r.client.Timeouts(ctx)
		if err != nil {
			return statusListing
		}
		r.print(l, t, func(w io.Writer) error { return WriteTimeouts(w, t) })
		return 0
	case Daemons:
		list, err := r.client.Daemons(ctx)
		if err != nil {
			return statusListing
		}
		r.print(l, list, func(w io.Writer) error { return WriteDaemons(w, list) })
		return 0
	}
	var t Table
	var err error
	if op.Service.ID == (ipvs.ServiceID{}) {
		t, err = readTable(ctx, r.client, r.info)
	} else {
		t, err = ReadService(ctx, r.client, op.Service.ID)
	}
	if err != nil {
		return r.fail(List, err)
	}
	if l.JSON {
		t.Services = t.sorted(l.Order)
	}
	r.print(l, t, func(w io.Writer) error { return l.WriteTable(ctx, w, t, r.resolver(l)) })
	return 0
}

// print writes a listing, as JSON if it is asked for.
func (r *run) print(l Listing, value any, text func(io.Writer) error) {
	if !l.JSON {
		_ = text(r.p.Stdout)
		return
	}
	e := json.NewEncoder(r.p.Stdout)
	e.SetIndent("", "  ")
	_ = e.Encode(value)
}

const connectionFile = "/proc/net/ip_vs_conn"

func (r *run) listConnections(ctx context.Context, l Listing) int {
	var err error
	if l.JSON {
		err = r.jsonConnections(ctx)
	} else {
		err = l.WriteConnections(ctx, r.p.Stdout, r.client.Connections(ctx), r.resolver(l))
	}
	if e, ok := errors.AsType[*ipvs.ParseError](err); ok {
		if e.Line == 1 {
			r.errorf("unexpected input from %s", connectionFile)
			return statusListing
		}
		r.errorf("%v", e) // the other rows are there
		return 0
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		r.errorf("cannot open file %s", connectionFile)
		return statusListing
	}
	if ctx.Err() != nil {
		return r.fail(List, ctx.Err())
	}
	return 0
}

func (r *run) jsonConnections(ctx context.Context) error {
	list := []ipvs.Connection{}
	for c, err := range r.client.Connections(ctx) {
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	r.print(Listing{JSON: true}, list, nil)
	return nil
}

func (r *run) save(ctx context.Context, op Operation) int {
	if op.Lossless {
		s, err := r.client.Snapshot(ctx)
		if err != nil {
			return r.fail(Save, err)
		}
		b := bufio.NewWriter(r.p.Stdout)
		for _, op := range Operations(s) {
			_, _ = b.WriteString(op.String() + "\n")
		}
		if err := b.Flush(); err != nil {
			r.errorf("%v", err) // what was written is no state to come back to
			return statusListing
		}
		return 0
	}
	t, err := readTable(ctx, r.client, r.info)
	if err != nil {
		return r.fail(Save, err)
	}
	_ = WriteSave(ctx, r.p.Stdout, t, r.resolver(op.Listing))
	return 0
}

// restoreAtomically carries out a whole rule file or nothing of it.
func (r *run) restoreAtomically(ctx context.Context, op Operation) int {
	p := r.parser
	p.Lossless, p.Strict = p.Lossless || op.Lossless, true
	rules, err := p.ReadRules(ctx, r.p.Stdin)
	command := Restore
	if err == nil {
		err = ApplyAll(ctx, r.client, rules)
	}
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[*RuleError](err)
	if !ok {
		return r.fail(command, err)
	}
	for _, rule := range rules {
		if rule.Line == e.Line {
			command = rule.Operation.Command
		}
	}
	text, status := Explain(command, e.Err)
	if undo, ok := errors.AsType[*UndoError](e.Err); ok {
		text, status = Explain(command, undo.Err)
		defer r.errorf("%v", undo)
	}
	if e.Column != 0 {
		r.errorf("line %d, column %d: %s", e.Line, e.Column, text)
	} else {
		r.errorf("line %d: %s", e.Line, text)
	}
	return status
}
