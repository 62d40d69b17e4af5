// Program tune shows what a host needs for its role in an LVS cluster, applies it, and takes it back: kernel
// parameters, the size of the connection table, the CPUs of network interrupts, and the timeouts of IPVS.
//
//	go install ./examples/tune                            puts the program into the folder bin of "go env GOPATH"
//	tune -role director-dr -dev eth0,eth1                 shows the plan: setting, now, wanted, why
//	tune -role director-dr -dev eth0,eth1 -apply          applies it, and records what was before
//	tune -undo -n                                         shows what taking it back would do
//	tune -undo                                            restores that, also after a crash or a kill
//	tune -conns 1000000                                   sizes the connection table
//	tune -timeouts 3600,0,60 -apply                       sets the timeouts of IPVS, and leaves the second as it is
//	tune -check /etc/sysctl.conf -role realserver-dr      judges each line of a list, - for standard input
//	tune -role director-dr -check list -json              the same for a program
//
// Roles are director-nat, director-dr, director-tun, realserver-dr and realserver-tun; high-connections and under-attack
// add to one: -role director-dr,under-attack.
//
// A role needs no -dev: the parameters of a NAT director are then set for every device. With it they are set for these
// cards, and the cards' interrupts are placed.
//
// The exit status is 0, 1 if something failed, and 2 after a mistake on the command line.
//
// Nothing is written without -apply or -undo, and no privilege is needed to look. What is applied is applied in one step:
// if a part of it fails, or the program is interrupted or its terminal goes away, all is as it was before. Runs at the same time wait for each
// other. The journal is kept below /run/lvs/tune, so that it is gone after a boot, as the values are; -persist writes files
// for the next boot as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sysctl"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1 // something failed
	exitUsage = 2 // a mistake on the command line
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, kernel: os.Getenv("LVS_KERNEL"), open: openTree}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is what a run depends on.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	kernel         string // see ipvstest.Dial
	open           func(folder string) (tree, error)
}

func (p *program) run(ctx context.Context, args []string) int {
	var o options
	if err := o.parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, o.help)
		return exitOK
	} else if err != nil {
		fmt.Fprintf(p.stderr, "tune: %v\n", err)
		return exitUsage
	}
	if err := p.do(ctx, o); err != nil {
		fmt.Fprintf(p.stderr, "tune: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ntune: "))
		if oe, ok := errors.AsType[*ipvs.OpError](err); ok && oe.Hint() != "" {
			fmt.Fprintf(p.stderr, "tune: %s\n", oe.Hint())
		}
		return exitError
	}
	return exitOK
}

func (p *program) do(ctx context.Context, o options) error {
	t, err := newTuner(p, o)
	if err != nil {
		return err
	}
	if o.undo && (o.dryRun || o.json) {
		return t.showUndo(ctx)
	}
	if o.undo || o.apply {
		var stop context.CancelFunc
		ctx, stop = setup.Hold(ctx)
		defer stop()
		if _, err := fs.Stat(t.tree, t.journalFile("")); o.undo && errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(t.stdout, nothingToUndo) // and no folder is made
			return nil
		}
		unlock, err := t.lock(ctx)
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("-apply and -undo need root: %w", err)
		} else if err != nil {
			return err
		}
		defer unlock()
	}
	if o.undo {
		return t.undo(ctx)
	}
	if o.check != "" {
		if err := t.check(ctx); err != nil {
			return err
		}
	}
	if o.plans() {
		if err := t.plan(ctx); err != nil {
			return err
		}
	}
	if o.json {
		return t.printJSON()
	}
	if o.check != "" {
		t.showFindings()
	}
	if o.plans() {
		t.show()
	}
	if !o.apply {
		return nil
	}
	return t.apply(ctx)
}

// options are the flags.
type options struct {
	roles    []sysctl.Profile
	devices  []string
	conns    uint64
	timeouts ipvs.Timeouts
	profile  sysctl.Options
	check    string
	apply    bool
	undo     bool
	persist  bool
	json     bool
	dryRun   bool
	netns    string
	root     string
	journal  string

	ownJournal bool // not the usual one

	help string // filled by parse
}

// plans says whether there is something to plan, and not only a list to judge.
func (o options) plans() bool {
	return o.apply || o.conns > 0 || o.timeouts != (ipvs.Timeouts{}) || len(o.devices) > 0 || len(o.roles) > 0 && o.check == "" || o.persist
}

// deviceName refuses what cannot be the name of a network device.
func deviceName(s string) error {
	if s == "" || len(s) > 15 || s == "." || s == ".." || s == "all" || s == "default" || strings.ContainsAny(s, "/:* \t\n") {
		return fmt.Errorf("%q is no device name", s)
	}
	return nil
}

// role is the one that decides what a parameter is worth: the first that is not an addition.
func (o options) role() sysctl.Profile {
	main := slices.IndexFunc(o.roles, func(r sysctl.Profile) bool { return r != sysctl.HighConnections && r != sysctl.UnderAttack })
	switch {
	case main >= 0:
		return o.roles[main]
	case len(o.roles) > 0:
		return o.roles[0]
	}
	return sysctl.Unspecified
}

// has says whether one of some roles is wanted.
func (o options) has(roles ...sysctl.Profile) bool {
	return slices.ContainsFunc(o.roles, func(r sysctl.Profile) bool { return slices.Contains(roles, r) })
}

const usage = `usage: tune [flags]

  tune -role director-dr -dev eth0 [-apply]    what the role needs: shown, or applied
  tune -conns 1000000 [-persist -apply]        the size of the connection table
  tune -timeouts 900,120,300 [-apply]          the timeouts of IPVS
  tune -check FILE [-role ROLE]                a judgement of each line of a sysctl list
  tune -undo [-n]                              back to what was before -apply

Without -apply or -undo nothing is changed.

`

func (o *options) parse(args []string) error {
	flags := flag.NewFlagSet("tune", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {
		var help strings.Builder
		help.WriteString(usage)
		flags.SetOutput(&help)
		flags.PrintDefaults()
		o.help = help.String()
	}
	flags.Func("role", "`roles` separated by commas: director-nat, director-dr, director-tun, realserver-dr, realserver-tun,\nand in addition high-connections, under-attack", func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			role, err := sysctl.ParseProfile(name)
			if err != nil {
				return errors.New(strings.TrimSuffix(strings.TrimPrefix(err.Error(), "sysctl: "), ": invalid argument"))
			}
			o.roles = append(o.roles, role)
		}
		return nil
	})
	flags.Func("dev", "network `cards` that carry the traffic, separated by commas: their interrupts are placed", func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			if err := deviceName(name); err != nil {
				return err
			}
			if slices.Contains(o.devices, name) {
				return fmt.Errorf("%s is named twice", name)
			}
			o.devices = append(o.devices, name)
		}
		return nil
	})
	flags.Uint64Var(&o.conns, "conns", 0, "`number` of simultaneous connections: sizes the connection table (conn_tab_bits)")
	flags.Func("timeouts", "timeouts of IPVS in `seconds`: TCP,TCPFIN,UDP; 0 leaves one as it is", o.parseTimeouts)
	flags.StringVar(&o.check, "check", "", "judge each line of this `file`, - for standard input")
	flags.Func("tunnel", "`device` that decapsulates on a tunnel real server (default tunl0)", func(s string) error {
		o.profile.Tunnel = s
		return deviceName(s)
	})
	flags.BoolVar(&o.profile.TunnelAddress, "tunnel-address", false, "the tunnel device has an address of its own")
	flags.BoolVar(&o.profile.IPv6, "ipv6", false, "there are IPv6 services")
	flags.BoolVar(&o.profile.Tracked, "tracked", false, "netfilter tracks the balanced connections")
	flags.BoolVar(&o.profile.Always, "always", false, "under-attack: defend now, not only when memory is short")
	flags.BoolVar(&o.apply, "apply", false, "apply the plan")
	flags.BoolVar(&o.dryRun, "n", false, "show the plan and do nothing, as without -apply; with -undo, show what that would do")
	flags.BoolVar(&o.json, "json", false, "print the plan and the judgements as JSON, and do nothing; so with -undo")
	flags.BoolVar(&o.undo, "undo", false, "restore what was before")
	flags.BoolVar(&o.persist, "persist", false, "also write files for the next boot: of sysctl.d for -role, of modprobe.d for -conns")
	flags.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	flags.StringVar(&o.root, "root", "", "`folder` with proc, sys and etc to use instead of this host's")
	flags.StringVar(&o.journal, "journal", "", "`folder` for what is needed to undo (default /run/lvs/tune, or tune-NAME with -netns)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.undo && (o.apply || o.plans() || o.check != ""):
		return errors.New("-undo goes with -n, -json, -netns, -root and -journal only")
	case o.apply && (o.dryRun || o.json):
		return errors.New("-apply goes neither with -n nor with -json")
	case o.root != "" && o.netns != "":
		return errors.New("-root and -netns exclude each other")
	case len(o.roles) == 0 && (o.profile.IPv6 || o.profile.Tracked):
		return errors.New("-ipv6 and -tracked go with -role")
	case (o.profile.Tunnel != "" || o.profile.TunnelAddress) && !o.has(sysctl.RealServerTUN):
		return errors.New("-tunnel and -tunnel-address go with -role realserver-tun")
	case o.profile.Always && !o.has(sysctl.UnderAttack):
		return errors.New("-always goes with -role under-attack")
	case o.persist && len(o.roles) == 0 && o.conns == 0:
		return errors.New("-persist goes with -role or -conns")
	case !o.undo && !o.plans() && o.check == "":
		return errors.New("nothing to do: give -role, -conns, -timeouts, -dev, -check or -undo; tune -h explains them")
	case o.apply && len(o.roles) == 0 && len(o.devices) == 0 && o.timeouts == (ipvs.Timeouts{}) && !(o.persist && o.conns > 0):
		return errors.New("nothing to apply: give -role, -dev or -timeouts, or -conns with -persist")
	}
	if o.ownJournal = o.journal != ""; !o.ownJournal {
		o.journal = "/run/lvs/tune"
		if o.netns != "" {
			o.journal += "-" + strings.ReplaceAll(strings.Trim(o.netns, "/"), "/", "_")
		}
	}
	o.profile.Devices = o.devices
	return nil
}

func (o *options) parseTimeouts(s string) error {
	fields := strings.Split(s, ",")
	if len(fields) != 3 {
		return errors.New("want three numbers: TCP,TCPFIN,UDP")
	}
	var d [3]time.Duration
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return fmt.Errorf("%q is no number of seconds", field)
		}
		d[i] = time.Duration(n) * time.Second
	}
	o.timeouts = ipvs.Timeouts{TCP: d[0], TCPFin: d[1], UDP: d[2]}
	return nil
}
