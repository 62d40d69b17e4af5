// Program persistence shows the three ways in which IPVS keeps a client on its real server, and sets them up:
//
//   - ppc, persistent port connections: a service for each port, each with a template of its own for each client, so that
//     the ports of one client may be served by different servers
//   - pcc, persistent client connections: one service for all ports of the virtual address, so that a client has the same
//     server for every port, those of unrelated programs included
//   - pnmpp, persistent netfilter-marked packet persistence: one service for what a firewall rule marks, so that a client
//     has the same server for the ports that belong together, TCP and UDP alike
//
// Command lines:
//
//	persistence                                                    a demonstration of all three, no root and no IPVS needed
//	persistence start -kind ppc -vip 192.0.2.10 -ports 80,443,53/udp -real 10.0.0.2,10.0.0.3
//	persistence start -kind pcc -vip 192.0.2.10 -real 10.0.0.2,10.0.0.3
//	persistence start -kind pnmpp -vip 192.0.2.10 -ports 80,443,53/udp -mark 10 -real 10.0.0.2,10.0.0.3
//	persistence status -kind ppc -vip 192.0.2.10 -ports 80,443,53/udp -real 10.0.0.2,10.0.0.3
//	persistence stop -kind ppc -vip 192.0.2.10 -ports 80,443,53/udp
//
// The rule that marks packets for pnmpp is printed, for the firewall's own configuration; with -nft the program adds and
// removes it by nft(8), in a table of its own. The status shows which server each client's ports go to, and the templates.
//
// With -n start and stop show what they would do. LVS_KERNEL=memory:FILE uses an in-memory kernel that keeps its state in
// FILE instead of the host's; it has no devices and no firewall, and neither -dev nor -nft go with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() { setup.Main("persistence", run) }

const usage = `usage: persistence [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    sets up the services with their real servers, and with -nft the rule; again: changes what differs
  stop     takes that back
  status   shows how things are, which server each client has, and what is wrong

"persistence VERB -h" shows the flags of a verb.
`

// Kinds of persistence.
const (
	ppc   = "ppc"
	pcc   = "pcc"
	pnmpp = "pnmpp"
)

// options are the flags of all verbs.
type options struct {
	kind      string
	vip       netip.Addr
	ports     ports
	protocol  ipvs.Protocol
	mark      uint32
	real      setup.RealServers
	forward   ipvs.ForwardMethod
	scheduler string
	timeout   time.Duration
	mask      int // 0 for the whole address
	device    string
	netns     string
	nft       bool
	dryRun    bool
	json      bool
}

// port is a port of a protocol.
type port struct {
	protocol ipvs.Protocol
	number   uint16
}

// String returns the port in the form that ports.Set reads.
func (p port) String() string {
	if p.protocol == ipvs.TCP {
		return strconv.Itoa(int(p.number))
	}
	return fmt.Sprintf("%d/%s", p.number, strings.ToLower(p.protocol.String()))
}

// ports is a flag value: ports separated by commas, each PORT or PORT/PROTOCOL.
type ports []port

// String returns the ports in the form that Set reads.
func (p *ports) String() string {
	var words []string
	for _, one := range *p {
		words = append(words, one.String())
	}
	return strings.Join(words, ",")
}

// Set adds ports.
func (p *ports) Set(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		text, name, named := strings.Cut(word, "/")
		one := port{protocol: ipvs.TCP}
		n, err := strconv.ParseUint(text, 10, 16)
		if named && err == nil {
			one.protocol, err = ipvs.ParseProtocol(name)
		}
		if err != nil || n == 0 || one.protocol != ipvs.TCP && one.protocol != ipvs.UDP && one.protocol != ipvs.SCTP {
			return fmt.Errorf("%q is not a port such as 80 or 53/udp", word)
		}
		one.number = uint16(n)
		if slices.Contains(*p, one) {
			return fmt.Errorf("port %v is there twice", one)
		}
		*p = append(*p, one)
	}
	return nil
}

func (o *options) flags(verb string) *flag.FlagSet {
	*o = options{protocol: ipvs.TCP, mark: 1}
	fs := flag.NewFlagSet("persistence "+verb, flag.ContinueOnError)
	fs.StringVar(&o.kind, "kind", "", "`kind` of persistence: ppc, pcc or pnmpp (required)")
	setup.AddrVar(fs, &o.vip, "vip", "virtual IP `address` (required)")
	fs.Var(&o.ports, "ports", "with ppc and pnmpp: `ports` separated by commas, such as 80,443,53/udp (required)")
	setup.ProtocolVar(fs, &o.protocol, "proto", "with pcc: `protocol`, tcp, udp or sctp (default tcp)")
	fs.Func("mark", "with pnmpp: firewall `mark` of the packets (default 1)", func(s string) error {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil || n == 0 {
			return errors.New("a mark is a number from 1 to 4294967295")
		}
		o.mark = uint32(n)
		return nil
	})
	fs.StringVar(&o.device, "dev", "", "`device` that holds the VIP; without it the VIP is left to others")
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	fs.BoolVar(&o.nft, "nft", false, "with pnmpp: handle the rule that sets the mark, by nft(8)")
	if verb != "stop" {
		fs.Var(&o.real, "real", "real `servers`, separated by commas: ADDRESS or ADDRESS=WEIGHT; may be repeated")
		fs.Func("method", "how they are reached: Masq, Route or Tunnel (default Masq)", func(s string) (err error) {
			o.forward, err = ipvs.ParseForwardMethod(s)
			if err == nil && o.forward > ipvs.Route || o.forward == ipvs.LocalNode {
				err = fmt.Errorf("method %q is none of Masq, Route and Tunnel", s)
			}
			return err
		})
		fs.StringVar(&o.scheduler, "scheduler", "wlc", "scheduler's `name`")
		fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "`time` that a client stays with its server after its last new connection")
		fs.IntVar(&o.mask, "mask", 0, "`length` of the network whose clients count as one (default the whole address)")
	}
	if verb == "status" {
		fs.BoolVar(&o.json, "json", false, "print JSON")
	} else {
		fs.BoolVar(&o.dryRun, "n", false, "only show what would be done")
	}
	return fs
}

// check finds mistakes in flags that are well formed.
func (o *options) check(e *setup.Env, verb string) error {
	switch {
	case o.kind != ppc && o.kind != pcc && o.kind != pnmpp:
		return errors.New("-kind is required: ppc, pcc or pnmpp")
	case !o.vip.IsValid():
		return errors.New("-vip is required")
	case o.kind == pcc && len(o.ports) > 0:
		return errors.New("-ports goes with ppc and pnmpp: pcc is for all ports")
	case o.kind != pcc && len(o.ports) == 0:
		return fmt.Errorf("-ports is required for %s", o.kind)
	case o.kind != pnmpp && o.nft:
		return fmt.Errorf("-nft goes with pnmpp: %s needs no rule", o.kind)
	case e.Kernel != "" && o.nft:
		return fmt.Errorf("LVS_KERNEL=%s has no firewall for -nft", e.Kernel)
	case e.Kernel != "" && o.device != "":
		return fmt.Errorf("LVS_KERNEL=%s has no devices for -dev", e.Kernel)
	case verb == "stop":
		return nil
	case verb == "start" && len(o.real) == 0:
		return errors.New("-real is required")
	case o.timeout < time.Second || o.timeout%time.Second != 0:
		return errors.New("-timeout is a time of whole seconds, at least one")
	case o.mask < 0 || o.mask > o.vip.BitLen():
		return fmt.Errorf("-mask is a length from 1 to %d", o.vip.BitLen())
	}
	for _, s := range o.real {
		switch {
		case s.Port != 0:
			return fmt.Errorf("real server %v has a port: all ports are kept", netip.AddrPortFrom(s.Addr, s.Port))
		case o.forward != ipvs.Tunnel && s.Addr.Is4() != o.vip.Is4():
			return fmt.Errorf("real server %v and the VIP are of different families", s.Addr)
		}
	}
	return nil
}

// requestTimeout bounds each request to the kernel.
const requestTimeout = 30 * time.Second

func run(ctx context.Context, e *setup.Env, args []string) int {
	if len(args) == 0 {
		return e.Report(demo(ctx, e.Stdout))
	}
	verb, status, over := e.Verb(usage, args)
	if over {
		return status
	}
	var o options
	if status, done := e.Parse(verb, o.flags(verb), args[1:], func() error { return o.check(e, verb) }); done {
		return status
	}
	if verb != "status" {
		var stop context.CancelFunc
		ctx, stop = setup.Hold(ctx)
		defer stop()
	}
	c, done, err := ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: o.netns, Timeout: requestTimeout})
	if err != nil {
		return e.Report(err)
	}
	parts, err := o.parts(e, c)
	switch {
	case err != nil:
	case verb == "start":
		err = setup.Start(ctx, e.Stdout, parts, o.dryRun)
	case verb == "stop":
		err = setup.Stop(ctx, e.Stdout, parts, o.dryRun)
	default:
		looks := append([]setup.Part{o.services(c)}, o.around(e, c)...)
		err = setup.Status(ctx, e.Stdout, append(looks, o.affinity(c)), o.json)
	}
	return e.Report(errors.Join(err, done()))
}

// parts are what a director consists of, in the order in which it is set up: when packets come, they are balanced. What start
// makes of each service is recorded, so that stop takes back that and no more.
func (o *options) parts(e *setup.Env, c *ipvs.Client) (parts []setup.Part, err error) {
	for _, t := range o.tables(c) {
		if t.Record, err = setup.TableRecord(e, o.netns, t.Service.ID); err != nil {
			return nil, err
		}
		parts = append(parts, t)
	}
	return append(parts, o.around(e, c)...), nil
}

// around are the parts besides the services.
func (o *options) around(e *setup.Env, c *ipvs.Client) []setup.Part {
	var parts []setup.Part
	if o.kind == pnmpp {
		parts = append(parts, &rule{options: o})
	}
	if e.Kernel != "" {
		return parts
	}
	m := setup.Machine{Program: e.Name}
	m.VIP, m.Device, m.NetNS = o.vip, o.device, o.netns
	return append(parts, m.Holds(func(ctx context.Context) ([]ipvs.ServiceID, error) { return o.others(ctx, c) }))
}
