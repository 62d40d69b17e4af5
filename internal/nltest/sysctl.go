package nltest

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/golvs/lvs/sched/sim"
)

// knobs returns the director that keeps the namespace's sysctls.
func (ns *Namespace) knobs() *sim.Director {
	if s, ok := ns.k.path.(*Simulated); ok {
		return s.director(ns.name)
	}
	if ns.tunables == nil {
		ns.tunables = sim.New(nil)
	}
	return ns.tunables
}

// sysctls returns the names of the sysctls that there are.
func (ns *Namespace) sysctls() []string {
	var names []string
	for _, name := range ns.knobs().Sysctls() {
		switch name {
		case "lblc_expiration", "lblcr_expiration": // of these modules, which the first service loads
			if !ns.k.modules[name[:len(name)-len("_expiration")]] {
				continue
			}
		case "est_cpulist", "est_nice":
			if ns.k.facts.sampleAtAll {
				continue
			}
		}
		names = append(names, name)
	}
	return names
}

// sysctl returns the text of a sysctl.
func (ns *Namespace) sysctl(name string) string {
	if v, ok := ns.unmodelled[name]; ok {
		return v
	}
	v, _ := ns.knobs().Sysctl(name) // the name is one of its own
	return v
}

// changedSysctls returns those that differ from the defaults; nil for none.
func (ns *Namespace) changedSysctls() map[string]string {
	defaults := sim.New(nil)
	var changed map[string]string
	for _, name := range defaults.Sysctls() {
		value := ns.sysctl(name)
		if was, _ := defaults.Sysctl(name); value != was {
			if changed == nil {
				changed = make(map[string]string)
			}
			changed[name] = value
		}
	}
	return changed
}

// setSysctl writes a sysctl as far as it is modelled: of another value only the text is kept.
func (ns *Namespace) setSysctl(name, value string) error {
	err := ns.knobs().SetSysctl(name, value)
	switch {
	case errors.Is(err, sim.ErrNotModelled):
		if ns.unmodelled == nil {
			ns.unmodelled = make(map[string]string)
		}
		ns.unmodelled[name] = value
		if s, ok := ns.k.path.(*Simulated); ok {
			s.unmodelled = append(s.unmodelled, err)
		}
		return nil
	case errors.Is(err, sim.ErrSysctl):
		return fs.ErrNotExist
	case err != nil:
		return syscall.EINVAL
	}
	delete(ns.unmodelled, name)
	if name == "run_estimation" {
		ns.estimate = ns.sysctl(name) != "0"
	}
	return nil
}

// SetRunEstimation sets the sysctl run_estimation. While it is off, what readers see stands still.
func (ns *Namespace) SetRunEstimation(on bool) {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	value := "0"
	if on {
		value = "1"
	}
	_ = ns.setSysctl("run_estimation", value) // it takes every number
}
