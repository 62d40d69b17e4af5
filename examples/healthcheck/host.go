package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golvs/lvs/sysctl"
)

// host is the machine's side of the work.
type host interface {
	// plan says which settings questions to virtual addresses need.
	plan(cfg *Config) (sysctl.Plan, error)
	apply(ctx context.Context, p sysctl.Plan) error
	undo(ctx context.Context) error // takes back what was ever applied

	// quiescent says whether templates of servers with weight 0 expire at once.
	quiescent() bool

	// warnings say what on this host keeps servers that are out of service from being left alone.
	warnings(cfg *Config) []string
}

// machine is this host.
type machine struct {
	*sysctl.Host
	journal string // where the settings of before are kept, so that they come back after a crash too
}

// newMachine returns this host, for the program with a configuration file.
func newMachine(file string) (machine, error) {
	h, err := sysctl.New(nil)
	path, pathErr := filepath.Abs(file)
	return machine{h, journal(path)}, errors.Join(err, pathErr)
}

// journal is the name of the one for a configuration file. Files of the same name in several folders have one each.
func journal(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	sum := sha256.Sum256([]byte(path))
	return fmt.Sprintf("run/lvs/healthcheck-%s-%x.json", name, sum[:6])
}

// A director takes packets from its own addresses for forged. The answers to questions to a virtual address that it holds
// itself are such packets.
func (m machine) plan(cfg *Config) (sysctl.Plan, error) {
	if cfg.throughs() == 0 {
		return sysctl.Plan{}, nil
	}
	var settings []sysctl.Setting
	for _, source := range cfg.Through.Sources {
		device, err := deviceOf(source)
		if err != nil {
			return sysctl.Plan{}, err
		}
		if source.Is4() {
			settings = append(settings, sysctl.Setting{
				Key: sysctl.IPv4(device, "accept_local"), Value: "1",
				Reason: "real servers answer checks from the virtual address, which is this machine's own",
			})
		}
	}
	p, err := m.Plan(settings)
	return p, errors.Join(err, p.Err())
}

// deviceOf returns the device that has an address.
func deviceOf(addr netip.Addr) (string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Addr() == addr
		}) {
			return d.Name, nil
		}
	}
	return "", fmt.Errorf("no device has the address %v of through.sources", addr)
}

func (m machine) apply(ctx context.Context, p sysctl.Plan) error {
	_, err := m.Apply(ctx, p, &sysctl.ApplyOptions{Journal: m.journal})
	return err
}

func (m machine) undo(ctx context.Context) error {
	_, err := m.Undo(ctx, m.journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was changed
	}
	return err
}

func (m machine) quiescent() bool { return m.isSet("expire_quiescent_template") }

func (m machine) isSet(name string) bool {
	v, err := m.Get(sysctl.IPVS(name))
	return err == nil && strings.TrimSpace(v) != "0"
}

func (m machine) warnings(cfg *Config) []string {
	return append(warnings(cfg, m.quiescent(), m.isSet("expire_nodest_conn")), m.filtered(cfg)...)
}

// filtered warns of strict return path filtering, which looks at answers from the virtual address too.
func (m machine) filtered(cfg *Config) (list []string) {
	if cfg.throughs() == 0 {
		return nil
	}
	for _, source := range cfg.Through.Sources {
		device, err := deviceOf(source)
		if err != nil || !source.Is4() {
			continue
		}
		if v, err := m.Effective(device, "rp_filter"); err == nil && v == 1 {
			list = append(list, fmt.Sprintf("rp_filter is 1 on %s: answers to checks through virtual addresses that are on another device are dropped; 2 lets them in", device))
		}
	}
	return list
}

// warnings says what two settings of IPVS mean for a configuration.
func warnings(cfg *Config, quiescent, nodest bool) (list []string) {
	for _, s := range cfg.Services {
		const persistent = "service %v is persistent and net.ipv4.vs.expire_quiescent_template is 0: clients of "
		zero := slices.ContainsFunc(s.Real, func(r Real) bool { return *r.Weight == 0 })
		switch template := s.Persist > 0 && !quiescent; {
		case template && zero && s.Action == actionQuiesce:
			list = append(list, fmt.Sprintf(persistent+"a server that fails or has weight 0 keep being sent there; set it to 1", s.Service))
		case template && zero:
			list = append(list, fmt.Sprintf(persistent+"a server of weight 0 keep being sent there; set it to 1, or leave the server out", s.Service))
		case template && s.Action == actionQuiesce:
			list = append(list, fmt.Sprintf(persistent+"a server that fails keep being sent there; set it to 1, or use the action remove", s.Service))
		}
		if s.Action == actionRemove && !nodest {
			list = append(list, fmt.Sprintf("service %v removes servers that fail and net.ipv4.vs.expire_nodest_conn is 0: "+
				"their connections hang until they time out; set it to 1", s.Service))
		}
	}
	return list
}

// noHost stands for the machine of a kernel in memory, which has no devices and no settings.
type noHost struct{}

func (noHost) plan(cfg *Config) (sysctl.Plan, error) {
	if cfg.throughs() > 0 {
		return sysctl.Plan{}, errors.New("checks through virtual addresses need a real kernel")
	}
	return sysctl.Plan{}, nil
}

func (noHost) apply(context.Context, sysctl.Plan) error { return nil }
func (noHost) undo(context.Context) error               { return nil }
func (noHost) quiescent() bool                          { return false }
func (noHost) warnings(cfg *Config) []string            { return warnings(cfg, false, false) }
