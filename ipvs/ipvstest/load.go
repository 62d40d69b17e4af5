package ipvstest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched/sim"
)

// NewDirector returns a director without a kernel that has the services, the destinations and the timeouts of a ruleset, such
// as [ipvs.Client.Ruleset] reads from a live kernel: a place to try what a change would do. The order of destinations is that
// of the ruleset, which is the kernel's, as schedulers go by it; what they remember of former connections starts afresh. How
// tunnels encapsulate and synchronisation daemons have no part in scheduling. cfg may be nil; the scheduler twos needs its
// Rand. For the kernel's sysctls see [LoadSysctls].
//
// The error is an [*sim.Error]: it matches [sim.ErrScheduler], [sim.ErrInvalid] and the others of that package.
func NewDirector(rules ipvs.Ruleset, cfg *sim.Config) (*sim.Director, error) {
	d := sim.New(cfg)
	if t := rules.Timeouts; t != nil {
		if err := d.SetTimeouts(sim.Timeouts{TCP: t.TCP, TCPFin: t.TCPFin, UDP: t.UDP}); err != nil {
			return nil, err
		}
	}
	for _, s := range slices.Backward(rules.Services) {
		id := ID(s.ID)
		err := d.AddService(sim.Service{
			ID: id, Scheduler: s.Scheduler, Flags: sim.Flags(s.Flags), Timeout: s.Timeout, Mask: s.Netmask, Engine: s.PE,
		})
		if err != nil {
			return nil, err
		}
		for _, t := range slices.Backward(s.Destinations) { // a new one goes to the head of the list
			err := d.AddDest(id, sim.Dest{
				Addr: t.Addr, Method: sim.Method(t.Forward), Weight: t.Weight, Upper: t.UpperThreshold, Lower: t.LowerThreshold,
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

const sysctlDir = "proc/sys/net/ipv4/vs"

// LoadSysctls gives a director the IPVS sysctls of a host, read below root: os.DirFS("/"), or the tree of a [Namespace]. Those
// that the director does not know, and those that it has no model of, it leaves out.
//
// The error matches [fs.ErrNotExist] if the module ip_vs is not loaded, and [sim.ErrInvalid] for a text that is no value.
func LoadSysctls(d *sim.Director, root fs.FS) error {
	files, err := fs.ReadDir(root, sysctlDir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := d.Sysctl(f.Name()); err != nil {
			continue
		}
		text, err := fs.ReadFile(root, path.Join(sysctlDir, f.Name()))
		if err != nil {
			return err
		}
		if err := d.SetSysctl(f.Name(), string(text)); err != nil && !errors.Is(err, sim.ErrNotModelled) {
			return err
		}
	}
	return nil
}

// Load replaces the services of the namespace by those of a ruleset, such as [ipvs.Client.Ruleset] reads from a live kernel,
// and sets its timeouts; a part that is nil is left alone. Everything that can be configured is kept, as is the order of
// destinations, which schedulers go by; the order of services follows [Config.HashKey]. Synchronisation daemons are not
// started: the devices that they use are not there.
//
// A ruleset that is not well formed is refused and changes nothing. Otherwise the error is what the kernel answered to the
// changes that it refused; the others have been made.
func (n *Namespace) Load(rules ipvs.Ruleset) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx := context.Background()
	rules.Daemons = nil
	if _, err := c.Apply(ctx, rules, &ipvs.ApplyOptions{DryRun: true}); err != nil {
		return fmt.Errorf("ipvstest: load: %w", err)
	}
	if rules.Services != nil {
		if err := c.Flush(ctx); err != nil {
			return err
		}
	}
	var changes []ipvs.Change
	if rules.Timeouts != nil {
		changes = append(changes, ipvs.Change{Kind: ipvs.TimeoutsSet, Timeouts: *rules.Timeouts})
	}
	for _, s := range slices.Backward(rules.Services) {
		changes = append(changes, ipvs.Change{Kind: ipvs.ServiceAdd, Service: s.Service})
		for _, d := range slices.Backward(s.Destinations) { // a new one goes to the head of the list
			changes = append(changes, ipvs.Change{Kind: ipvs.DestinationAdd, Service: s.Service, Destination: d})
		}
	}
	if _, err := c.Do(ctx, changes); err != nil {
		return fmt.Errorf("ipvstest: load: %w", err)
	}
	return nil
}
