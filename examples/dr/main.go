// Program dr sets up direct routing (LVS-DR): the director hands packets on with a new MAC address and nothing else
// changed, and the real servers answer the clients directly.
//
//	dr                                                        a demonstration, no root and no IPVS needed
//	dr start -vip 192.0.2.10 -real 10.0.0.2,10.0.0.3=2        sets up this director
//	dr status -vip 192.0.2.10 -real 10.0.0.2,10.0.0.3=2       shows it and says what differs
//	dr stop -vip 192.0.2.10                                   removes the service
//	dr start -role realserver -vip 192.0.2.10                 sets up this real server
//
// A director can hold the VIP itself: -dev eth0 binds it there. A real server holds it on lo, and must not answer ARP for
// it: that is suppressed before the address is bound, and stop brings back exactly what start has changed.
//
// With -n start and stop show what they would do. LVS_KERNEL=memory:FILE uses an in-memory kernel that keeps its state
// in FILE instead of the host's, so that the table can be tried without root; it has no devices, and neither -dev nor the
// role of a real server go with it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1 // something failed, or status found something wrong
	exitUsage = 2 // a mistake on the command line
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{stdout: os.Stdout, stderr: os.Stderr, kernel: os.Getenv("LVS_KERNEL")}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is what a run depends on.
type program struct {
	stdout, stderr io.Writer
	kernel         string // see ipvstest.Dial
}

const usage = `usage: dr [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    director: sets up the virtual service and its real servers; again: changes what differs
           realserver: suppresses ARP and binds the VIP on lo
  stop     takes that back
  status   shows how things are, and what is wrong

"dr VERB -h" shows the flags of a verb.
`

func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return p.report(p.demo(ctx))
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		fmt.Fprint(p.stdout, usage)
		return exitOK
	case "start", "stop", "status":
	default:
		fmt.Fprintf(p.stderr, "dr: unknown verb %q; \"dr -h\" shows the verbs\n", args[0])
		return exitUsage
	}
	var o options
	if err := o.parse(args[0], args[1:]); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, o.help)
		return exitOK
	} else if err != nil {
		fmt.Fprintf(p.stderr, "dr %s: %v\n", args[0], err)
		return exitUsage
	}
	if p.kernel != "" && (o.role == roleRealServer || o.device != "") {
		fmt.Fprintf(p.stderr, "dr %s: LVS_KERNEL=%s has no devices for %s\n", args[0], p.kernel, o.wantsDevice())
		return exitUsage
	}
	host, err := arp.New(&arp.Config{NetNS: o.netns, Timeout: 30 * time.Second})
	if err != nil {
		return p.report(err)
	}
	m := machine{options: o, host: host, out: p.stdout}
	if o.role == roleRealServer {
		return p.report(m.run(ctx, args[0]))
	}
	c, done, err := ipvstest.Dial(ctx, p.kernel, &ipvs.Config{NetNS: o.netns, Timeout: 30 * time.Second})
	if err != nil {
		return p.report(err)
	}
	d := director{options: o, client: c, out: p.stdout}
	switch args[0] {
	case "start":
		if o.device != "" {
			err = m.start(ctx)
		}
		if err == nil {
			if err = d.start(ctx); err != nil && o.device != "" && !o.dryRun {
				err = errors.Join(err, m.stop(context.WithoutCancel(ctx)))
			}
		}
	case "stop":
		err = d.stop(ctx)
		if o.device != "" {
			err = errors.Join(err, m.stop(ctx))
		}
	case "status":
		err = d.status(ctx)
		if o.device != "" && !o.json && (err == nil || errors.Is(err, errFindings)) {
			err = cmp.Or(m.holds(ctx), err)
		}
	}
	return p.report(errors.Join(err, done()))
}

// report prints an error, with what a person can do about it, and returns the exit status.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.stderr, "dr: %v\n", err)
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		fmt.Fprintf(p.stderr, "dr: %s\n", h.Hint())
	}
	return exitError
}

// Roles of a machine.
const (
	roleDirector   = "director"
	roleRealServer = "realserver"
)

// options are the flags of all verbs.
type options struct {
	role      string
	device    string // that holds the VIP
	vip       netip.Addr
	port      uint16
	protocol  ipvs.Protocol
	real      []ipvs.Destination
	scheduler string
	persist   time.Duration
	netns     string
	dryRun    bool
	json      bool

	help string // filled by parse
}

func (o *options) wantsDevice() string {
	if o.device != "" {
		return "-dev"
	}
	return "-role " + o.role
}

func (o *options) parse(verb string, args []string) error {
	o.port, o.protocol = 80, ipvs.TCP
	fs := flag.NewFlagSet("dr "+verb, flag.ContinueOnError)
	var help strings.Builder
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		fmt.Fprintf(&help, "usage: dr %s [flags]\n", verb)
		fs.SetOutput(&help)
		fs.PrintDefaults()
		o.help = help.String()
	}
	fs.StringVar(&o.role, "role", roleDirector, "what this machine is: director or realserver")
	fs.StringVar(&o.device, "dev", "", "`device` that holds the VIP; a director without it leaves the VIP alone, a real server uses lo")
	fs.TextVar(&o.vip, "vip", netip.Addr{}, "virtual IP `address` (required)")
	fs.Func("port", "`port` of the service (default 80)", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return errors.New("a port is a number from 1 to 65535")
		}
		o.port = uint16(n)
		return nil
	})
	fs.Func("proto", "`protocol`: tcp, udp or sctp (default tcp)", func(s string) (err error) {
		o.protocol, err = ipvs.ParseProtocol(s)
		return err
	})
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	if verb != "stop" {
		fs.Func("real", "real `servers`, separated by commas: ADDRESS or ADDRESS=WEIGHT; may be repeated", o.addReal)
		fs.StringVar(&o.scheduler, "scheduler", "wlc", "scheduler's `name`")
		fs.DurationVar(&o.persist, "persist", 0, "`time` that a client stays with its server; 0 for none")
	}
	if verb == "status" {
		fs.BoolVar(&o.json, "json", false, "print JSON")
	} else {
		fs.BoolVar(&o.dryRun, "n", false, "only show what would be done")
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.role != roleDirector && o.role != roleRealServer:
		return fmt.Errorf("-role %q is neither director nor realserver", o.role)
	case !o.vip.IsValid():
		return errors.New("-vip is required")
	case o.role == roleRealServer:
		var err error
		fs.Visit(func(f *flag.Flag) {
			switch f.Name {
			case "port", "proto", "real", "scheduler", "persist":
				err = fmt.Errorf("-%s is for directors", f.Name)
			}
		})
		if err != nil {
			return err
		}
	case verb == "start" && len(o.real) == 0:
		return errors.New("-real is required")
	}
	o.vip = o.vip.Unmap()
	for i := range o.real {
		o.real[i].Addr = netip.AddrPortFrom(o.real[i].Addr.Addr(), o.port)
	}
	return nil
}

func (o *options) addReal(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		text, weight, weighted := strings.Cut(word, "=")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("real server %q is not an address", text)
		}
		d := ipvs.NewDestination(netip.AddrPortFrom(addr.Unmap(), 0))
		d.Forward = ipvs.Route
		if weighted {
			n, err := strconv.ParseUint(weight, 10, 31)
			if err != nil {
				return fmt.Errorf("weight %q of %v is not a number from 0 to 2147483647", weight, addr)
			}
			d.Weight = uint32(n)
		}
		for _, other := range o.real {
			if other.Addr == d.Addr {
				return fmt.Errorf("real server %v is there twice", addr)
			}
		}
		o.real = append(o.real, d)
	}
	return nil
}

// service is the virtual service that the flags describe.
func (o *options) service() ipvs.Service {
	s := ipvs.Service{
		ID:        ipvs.ServiceID{Protocol: o.protocol, Addr: netip.AddrPortFrom(o.vip, o.port)},
		Scheduler: o.scheduler,
		Netmask:   ipvs.MaskBits(ipvs.IPv4, 32),
	}
	if o.vip.Is6() {
		s.Netmask = ipvs.MaskBits(ipvs.IPv6, 128)
	}
	if o.persist != 0 {
		s.Flags, s.Timeout = ipvs.Persistent, o.persist
	}
	return s
}
