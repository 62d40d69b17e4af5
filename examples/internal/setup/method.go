package setup

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sysctl"
)

// Roles of a machine, the values of the flag -role.
const (
	RoleDirector   = "director"
	RoleRealServer = "realserver"
)

// Options are the flags of all methods.
type Options struct {
	Role      string
	Device    string // that holds the VIP
	VIP       netip.Addr
	Port      uint16
	Protocol  ipvs.Protocol
	Real      RealServers
	Scheduler string
	Persist   time.Duration
	NetNS     string
	DryRun    bool
	JSON      bool
	Watch     bool
	Interval  time.Duration
}

// Method is a program for one forwarding method: start, stop and status of a director and of a real server.
type Method struct {
	// Usage is what -h prints.
	Usage string

	// Forward is the forwarding method. Only Masquerade can change the port, and only Tunnel the family of addresses.
	Forward ipvs.ForwardMethod

	// Flags defines the flags that only this method has; nil is none.
	Flags func(fs *flag.FlagSet)

	// DirectorOnly and RealServerOnly are the names of flags that go with one role, beside those that are so for every
	// method.
	DirectorOnly, RealServerOnly []string

	// Check finds mistakes in flags that are well-formed; nil is none.
	Check func(verb string, o *Options) error

	// Director and RealServer return the parts of the roles, in the order in which they are started.
	Director, RealServer func(m *Machine) []Part

	// Demo is what the program does without a verb.
	Demo func(ctx context.Context, e *Env) error
}

// Run runs the program.
func (m *Method) Run(ctx context.Context, e *Env, args []string) int {
	if len(args) == 0 {
		return e.Report(m.Demo(ctx, e))
	}
	verb, status, over := e.Verb(m.Usage, args)
	if over {
		return status
	}
	o, fs := m.flags(e.Name, verb)
	if status, done := e.Parse(verb, fs, args[1:], func() error { return m.check(e, verb, fs, o) }); done {
		return status
	}
	if verb != "status" {
		var stop context.CancelFunc
		ctx, stop = Hold(ctx)
		defer stop()
	}
	machine, done, err := newMachine(ctx, e, o)
	if err != nil {
		return e.Report(err)
	}
	return e.Report(errors.Join(m.do(ctx, machine, verb), done()))
}

func (m *Method) flags(program, verb string) (*Options, *flag.FlagSet) {
	o := &Options{Port: 80, Protocol: ipvs.TCP}
	fs := flag.NewFlagSet(program+" "+verb, flag.ContinueOnError)
	fs.StringVar(&o.Role, "role", RoleDirector, "`role` of this machine: director or realserver")
	device := "`device` that holds the VIP; a director without it leaves the VIP to others"
	if !slices.Contains(m.DirectorOnly, "dev") {
		device += ",\na real server has a device for it that does not answer ARP"
	}
	fs.StringVar(&o.Device, "dev", "", device)
	AddrVar(fs, &o.VIP, "vip", "virtual IP `address` (required)")
	PortVar(fs, &o.Port, "port", "`port` of the service (default 80)")
	ProtocolVar(fs, &o.Protocol, "proto", "`protocol`: tcp, udp or sctp (default tcp)")
	fs.StringVar(&o.NetNS, "netns", "", "network namespace, a `name` or a path; default this one")
	if verb != "stop" {
		form := "ADDRESS or ADDRESS=WEIGHT"
		if m.Forward == ipvs.Masquerade {
			form = "ADDRESS[:PORT] or ADDRESS[:PORT]=WEIGHT"
		}
		if verb == "start" {
			form += " (required)"
		}
		fs.Var(&o.Real, "real", "real `servers`, separated by commas: "+form+"; may be repeated")
		fs.StringVar(&o.Scheduler, "scheduler", "wlc", "scheduler's `name`")
		fs.DurationVar(&o.Persist, "persist", 0, "`time` that a client stays with its server; 0 for none")
	}
	if verb == "status" {
		fs.BoolVar(&o.JSON, "json", false, "print JSON")
		fs.BoolVar(&o.Watch, "watch", false, "go on looking, and print what goes wrong and what is mended, until interrupted")
		fs.DurationVar(&o.Interval, "interval", 5*time.Second, "`time` between two looks of -watch")
	} else {
		fs.BoolVar(&o.DryRun, "n", false, "only show what would be done")
	}
	if m.Flags != nil {
		m.Flags(fs)
	}
	if verb == "stop" {
		recorded(fs)
	}
	fs.VisitAll(func(f *flag.Flag) {
		switch {
		case slices.Contains(m.directorOnly(), f.Name):
			f.Usage = "director: " + f.Usage
		case slices.Contains(m.RealServerOnly, f.Name):
			f.Usage = "real server: " + f.Usage
		}
	})
	return o, fs
}

// recorded changes the help of those flags of stop that start has recorded, or that do not matter any more.
func recorded(fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		name, _ := flag.UnquoteUsage(f)
		if name != "" {
			name = "`" + name + "` "
		}
		switch f.Name {
		case "role", "vip", "port", "proto", "netns", "n":
		case "dev", "gw":
			f.Usage = name + "that start was given: not needed, and another one is an error"
		default:
			f.Usage = name + "as for start: not needed, and not looked at"
		}
	})
}

func (m *Method) directorOnly() []string {
	return append([]string{"real", "scheduler", "persist"}, m.DirectorOnly...)
}

// maxPersist is the longest time that ipvsadm takes, 31 days.
const maxPersist = 31 * 24 * time.Hour

// unicast says whether an address can be that of a machine.
func unicast(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }

func (m *Method) check(e *Env, verb string, fs *flag.FlagSet, o *Options) error {
	if o.Role != RoleDirector && o.Role != RoleRealServer {
		return fmt.Errorf("-role %q is neither director nor realserver", o.Role)
	}
	directorOnly := m.directorOnly()
	var err error
	fs.Visit(func(f *flag.Flag) {
		switch {
		case o.Role == RoleRealServer && slices.Contains(directorOnly, f.Name):
			err = fmt.Errorf("-%s is for directors", f.Name)
		case o.Role == RoleDirector && slices.Contains(m.RealServerOnly, f.Name):
			err = fmt.Errorf("-%s is for real servers", f.Name)
		case f.Name == "interval" && !o.Watch:
			err = errors.New("-interval is for -watch")
		}
	})
	switch {
	case err != nil:
		return err
	case !o.VIP.IsValid() && (o.Role == RoleDirector || !slices.Contains(directorOnly, "vip")):
		return errors.New("-vip is required")
	case o.VIP.IsValid() && !unicast(o.VIP):
		return fmt.Errorf("-vip %v is not the address of a machine", o.VIP)
	case verb == "start" && o.Role == RoleDirector && len(o.Real) == 0:
		return errors.New("-real is required")
	case o.Watch && o.JSON:
		return errors.New("-watch and -json exclude each other")
	case o.Watch && o.Interval <= 0:
		return errors.New("-interval is a time above zero")
	case o.Persist < 0 || o.Persist%time.Second != 0 || o.Persist > maxPersist:
		return fmt.Errorf("-persist is a time of whole seconds, up to %v", maxPersist)
	case verb != "stop" && o.Scheduler == "":
		return errors.New("-scheduler is the name of one")
	case e.Kernel != "" && o.Role == RoleRealServer:
		return fmt.Errorf("LVS_KERNEL=%s has no devices for -role %s", e.Kernel, o.Role)
	case e.Kernel != "" && o.Device != "":
		return fmt.Errorf("LVS_KERNEL=%s has no devices for -dev", e.Kernel)
	}
	destinations := o.Real.Destinations(o.Port, ipvs.Destination{})
	for i, s := range o.Real {
		switch {
		case !unicast(s.Addr):
			return fmt.Errorf("real server %v is not the address of a machine", s.Addr)
		case m.Forward != ipvs.Masquerade && s.Port != 0 && s.Port != o.Port:
			return fmt.Errorf("real server %v has port %d, and packets come to it with port %d", s.Addr, s.Port, o.Port)
		case m.Forward != ipvs.Tunnel && s.Addr.Is4() != o.VIP.Is4():
			return fmt.Errorf("real server %v and the VIP are of different families", s.Addr)
		case slices.ContainsFunc(destinations[:i], func(d ipvs.Destination) bool { return d.Addr == destinations[i].Addr }):
			return fmt.Errorf("real server %v is there twice", destinations[i].Addr)
		}
	}
	if m.Check != nil {
		return m.Check(verb, o)
	}
	return nil
}

func (m *Method) do(ctx context.Context, machine *Machine, verb string) error {
	parts := m.Director
	if machine.Role == RoleRealServer {
		parts = m.RealServer
	}
	list := parts(machine)
	if machine.memory {
		list = slices.DeleteFunc(list, func(p Part) bool { _, ok := p.(*Table); return !ok })
	}
	switch {
	case verb == "start":
		return Start(ctx, machine.Out, list, machine.DryRun)
	case verb == "stop":
		return Stop(ctx, machine.Out, list, machine.DryRun)
	case machine.Watch:
		return Watch(ctx, machine.Out, list, machine.Interval)
	}
	return Status(ctx, machine.Out, list, machine.JSON)
}

// timeout bounds each request to the kernel.
const timeout = 30 * time.Second

func newMachine(ctx context.Context, e *Env, o *Options) (*Machine, func() error, error) {
	m := &Machine{Options: *o, Program: e.Name, Out: e.Stdout, memory: e.Kernel != "", connect: cmp.Or(e.Connect, time.Second)}
	var err error
	if m.ARP, err = arp.New(&arp.Config{NetNS: o.NetNS, Timeout: timeout}); err != nil {
		return nil, nil, err
	}
	if m.Sysctl, err = sysctl.New(&sysctl.Config{NetNS: o.NetNS}); err != nil {
		return nil, nil, err
	}
	if o.Role == RoleRealServer {
		return m, func() error { return nil }, nil
	}
	if m.record, err = TableRecord(e, o.NetNS, m.NewService().ID); err != nil {
		return nil, nil, err
	}
	var done func() error
	m.Client, done, err = ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: o.NetNS, Timeout: timeout})
	return m, done, err
}
