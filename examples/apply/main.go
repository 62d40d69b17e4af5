// Program apply makes the kernel's IPVS table equal a file: it compares the two and changes what differs, so that
// connections and counters of everything else stay, and services are served on the way.
//
//	go install ./examples/apply              puts the program into the folder bin of "go env GOPATH"
//	apply rules.txt                          a rule file of ipvsadm -S, or JSON as "apply -dump" writes it
//	apply -n rules.txt                       only shows what it would do
//	apply -owned 192.0.2.0/24 rules.txt      leaves all services alone that are not in that network
//	apply -grace 1s rules.txt                real servers have weight 0 for a second before they are deleted
//	apply -n -format ipvsadm rules.txt       shows it as the lines that ipvsadm would do it with
//	apply -dump                              writes the table as JSON; with -format ipvsadm as a rule file
//
// A rule file without lines for timeouts (--set) and sync daemons leaves them as they are, and so does JSON without them. An
// empty rule file empties the table.
//
// The exit status is 0 if there is nothing to do, 3 if something was changed (with -n: would be), 1 if something failed,
// and 2 after a mistake on the command line; "go run" ends with 1 for all but the first. SIGINT, SIGTERM and SIGHUP stop it before the first change; what has begun is
// brought to its end. LVS_KERNEL=memory:FILE uses an in-memory kernel in place of the host's.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// exitChanged is the exit status if something was or would be changed.
const exitChanged = 3

func main() {
	setup.Main("apply", func(ctx context.Context, e *setup.Env, args []string) int {
		return (&program{Env: e, stdin: os.Stdin}).run(ctx, args)
	})
}

// program is what a run depends on.
type program struct {
	*setup.Env
	stdin io.Reader
}

// owners are the services that a run may touch; none means all.
type owners struct {
	nets []netip.Prefix
	ids  map[ipvs.ServiceID]bool
}

// Set reads a flag's value: a network or an address for services by address, or a service.
func (o *owners) Set(s string) error {
	if p, err := netip.ParsePrefix(s); err == nil {
		o.nets = append(o.nets, p.Masked())
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		o.nets = append(o.nets, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	id, err := ipvs.ParseServiceID(s)
	if err != nil {
		return errors.New(`not a network, an address, or a service such as "TCP 192.0.2.1:80" or "FWM 7"`)
	}
	if o.ids == nil {
		o.ids = make(map[ipvs.ServiceID]bool)
	}
	o.ids[id] = true
	return nil
}

// String is what the flag package prints.
func (o *owners) String() string { return "" }

func (o *owners) owns(id ipvs.ServiceID) bool {
	for _, n := range o.nets {
		if !id.IsMark() && n.Contains(id.Addr.Addr()) {
			return true
		}
	}
	return o.ids[id]
}

const usage = `usage: apply [flags] FILE
       apply -dump [flags]

FILE is a rule file as "ipvsadm -S" writes it, or JSON as "apply -dump" does; - is standard input.
Exit status: 0 nothing to do, 3 changed (with -n: would change), 1 failed, 2 a mistake on the command line.

`

func (p *program) run(ctx context.Context, args []string) int {
	var (
		opts  ipvs.ApplyOptions
		owned owners
		cfg   = ipvs.Config{Timeout: time.Minute}
	)
	fs := flag.NewFlagSet("apply", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	dump := fs.Bool("dump", false, "write the table, as JSON unless -format says ipvsadm; change nothing")
	format := fs.String("format", "", "print changes as `text`, json or ipvsadm, and the table (-dump) as json or ipvsadm")
	asJSON := fs.Bool("json", false, "the same as -format json")
	fs.BoolVar(&opts.DryRun, "n", false, "only show what would be done")
	fs.BoolVar(&opts.StopOnError, "stop", false, "stop at the first change that fails")
	fs.BoolVar(&opts.KeepWeights, "keep-weights", false, "leave the weights of real servers that are there already")
	fs.BoolVar(&opts.KeepExtra, "keep-extra", false, "leave services and real servers that are not in the file")
	fs.BoolVar(&opts.Quiesce, "quiesce", false, "set the weight of what is not in the file to 0 instead of deleting it")
	fs.DurationVar(&opts.Grace, "grace", 0, "`time` that what is not in the file has weight 0 before it is deleted, so that connections being opened get through")
	fs.BoolVar(&opts.KeepOrder, "order", false, "bring real servers into the file's order too, by deleting and adding them")
	fs.Var(&owned, "owned", "touch only these services: a `network`, an address, \"TCP 192.0.2.1:80\" or \"FWM 7\"; may be repeated")
	fs.StringVar(&cfg.NetNS, "netns", "", "network namespace, a `name` or a path; default this one")
	mistake := func(format string, args ...any) int { return p.Mistake("", fmt.Errorf(format, args...)) }
	err := fs.Parse(args)
	idle := "" // a flag that says nothing about a dump
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains([]string{"dump", "format", "json", "netns"}, f.Name) {
			idle = f.Name
		}
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.Stdout, usage)
		fs.SetOutput(p.Stdout)
		fs.PrintDefaults()
		return setup.ExitOK
	case err != nil:
		return mistake("%v", err)
	case *dump && fs.NArg() > 0:
		return mistake("unexpected argument %q with -dump", fs.Arg(0))
	case *asJSON && *format != "" && *format != "json":
		return mistake("-json and -format %s exclude each other", *format)
	case !slices.Contains([]string{"", "text", "json", "ipvsadm"}, *format):
		return mistake("-format %q: text, json or ipvsadm", *format)
	case *dump && *format == "text":
		return mistake("-dump writes json or ipvsadm")
	case *dump && idle != "":
		return mistake("-%s has no effect with -dump", idle)
	case opts.KeepExtra && opts.Quiesce:
		return mistake("-keep-extra and -quiesce exclude each other")
	case opts.Grace < 0:
		return mistake("-grace %v is below 0", opts.Grace)
	case opts.Grace > 0 && (opts.KeepExtra || opts.Quiesce):
		return mistake("-grace has no effect with -keep-extra or -quiesce, which delete nothing")
	case !*dump && fs.NArg() != 1:
		if fs.NArg() > 1 {
			return mistake("unexpected argument %q after the file; flags come before it", fs.Arg(1))
		}
		return mistake("a file is needed; \"apply -h\" shows the flags")
	}
	if *asJSON {
		*format = "json"
	}
	if owned.nets != nil || owned.ids != nil {
		opts.Owned = owned.owns
	}
	var want ipvs.Ruleset
	if !*dump {
		var err error
		if want, err = p.read(ctx, fs.Arg(0)); err != nil {
			return p.Report(err)
		}
	}
	ctx, release := setup.Hold(ctx)
	defer release()
	c, done, err := ipvstest.Dial(ctx, p.Kernel, &cfg)
	if err != nil {
		return p.Report(err)
	}
	status := setup.ExitOK
	if *dump {
		err = p.dump(ctx, c, *format)
	} else {
		var report ipvs.Report
		report, err = apply(ctx, c, want, &opts)
		if len(report.Changes) > 0 {
			status = exitChanged
		}
		err = errors.Join(err, p.print(report, opts.DryRun, *format))
	}
	if err = errors.Join(err, done()); err != nil {
		return p.Report(err)
	}
	return status
}

// apply leaves the old table or the new one when ctx ends, and not one in between. It looks first, and once it has begun to
// change something goes on, until the client's time is over at the latest.
func apply(ctx context.Context, c *ipvs.Client, want ipvs.Ruleset, opts *ipvs.ApplyOptions) (ipvs.Report, error) {
	look := *opts
	look.DryRun = true
	plan, err := c.Apply(ctx, want, &look)
	if err != nil || opts.DryRun || len(plan.Changes) == 0 {
		return plan, err
	}
	if err := ctx.Err(); err != nil {
		return ipvs.Report{}, err
	}
	return c.Apply(context.WithoutCancel(ctx), want, opts)
}

// read reads the wanted table, JSON if it begins with a brace.
func (p *program) read(ctx context.Context, name string) (ipvs.Ruleset, error) {
	var text []byte
	var err error
	if name == "-" {
		name = "standard input"
		text, err = io.ReadAll(setup.Input(ctx, p.stdin))
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	rules := readRules
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		rules = readJSON
	}
	want, err := rules(ctx, text)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return want, err
}

func readJSON(_ context.Context, text []byte) (want ipvs.Ruleset, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		return ipvs.Ruleset{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return ipvs.Ruleset{}, fmt.Errorf("offset %d: something follows the rules", dec.InputOffset())
	}
	return want, nil
}

// readRules runs the rules on a kernel in memory and takes the table that they make, so that lines that edit and delete
// mean what they say, and those that a kernel would refuse are named.
func readRules(ctx context.Context, text []byte) (ipvs.Ruleset, error) {
	parser := ipvsadm.Parser{Strict: true, Lossless: true}
	rules, err := parser.ReadRules(ctx, bytes.NewReader(text))
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	defer func() { _ = done() }()
	for _, r := range rules {
		if !r.Operation.Command.Changes() {
			return ipvs.Ruleset{}, fmt.Errorf("line %d: %v is not a change", r.Line, r.Operation.Command)
		}
		if err := r.Operation.Apply(ctx, c); err != nil {
			return ipvs.Ruleset{}, fmt.Errorf("line %d: %w", r.Line, err)
		}
	}
	want, err := c.Ruleset(ctx)
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	// What the file does not mention stays as it is.
	mentioned := func(commands ...ipvsadm.Command) bool {
		for _, r := range rules {
			for _, c := range commands {
				if r.Operation.Command == c {
					return true
				}
			}
		}
		return false
	}
	if !mentioned(ipvsadm.SetTimeouts) {
		want.Timeouts = nil
	}
	if !mentioned(ipvsadm.StartDaemon, ipvsadm.StopDaemon) {
		want.Daemons = nil
	}
	return want, nil
}

func (p *program) dump(ctx context.Context, c *ipvs.Client, format string) error {
	rules, err := c.Ruleset(ctx)
	if err != nil {
		return err
	}
	if format == "ipvsadm" {
		// What makes an empty table this one.
		changes := ipvs.Diff(ipvs.Ruleset{Services: []ipvs.ServiceRules{}, Daemons: []ipvs.Daemon{}}, rules, nil)
		return p.lines(ipvs.Report{Changes: changes}, true)
	}
	enc := json.NewEncoder(p.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(rules)
}

// print shows the changes, or what became of those that failed.
func (p *program) print(r ipvs.Report, dryRun bool, format string) error {
	switch format {
	case "json":
		return p.printJSON(r)
	case "ipvsadm":
		return p.lines(r, dryRun)
	}
	var b strings.Builder
	for i := range r.Changes {
		if state := r.Outcomes[i].State; !dryRun && state != ipvs.Applied {
			fmt.Fprintf(&b, "%v: ", state)
		}
		fmt.Fprintln(&b, &r.Changes[i])
	}
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}

func (p *program) printJSON(r ipvs.Report) error {
	type row struct {
		ipvs.Change
		State ipvs.State `json:"state"`
		Error string     `json:"error,omitempty"`
	}
	rows := make([]row, len(r.Changes))
	for i := range rows {
		rows[i] = row{Change: r.Changes[i], State: r.Outcomes[i].State}
		if err := r.Outcomes[i].Err; err != nil {
			rows[i].Error = err.Error()
		}
	}
	enc := json.NewEncoder(p.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(rows)
}

// lines prints the changes as command lines of ipvsadm. What was not done, and what has no such line, is a comment.
func (p *program) lines(r ipvs.Report, dryRun bool) error {
	var b strings.Builder
	for i := range r.Changes {
		op, ok := ipvsadm.FromChange(r.Changes[i])
		switch {
		case !dryRun && r.Outcomes[i].State != ipvs.Applied:
			fmt.Fprintf(&b, "# %v: %v\n", r.Outcomes[i].State, &r.Changes[i])
		case !ok:
			fmt.Fprintf(&b, "# %v\n", &r.Changes[i])
		default:
			fmt.Fprintln(&b, op)
		}
	}
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}
