package arp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/internal/hostfs"
)

// Report says what [Host.Apply] did.
type Report struct {
	// Done are the steps that changed the host, in order; those that were rolled back are not in it.
	Done []Step

	// Kept are the steps whose result was there already. One that was there only at the time of Apply is among them.
	Kept []Step

	// Left are steps of a release that were not carried out because someone else has changed the thing since.
	Left []Step

	// RolledBack is set if a failure made Apply take everything back. NotRestored are then those that it could not.
	RolledBack  bool
	NotRestored []Step
}

// errLeft is the result of a step back that would change what someone else has changed since.
var errLeft = errors.New("changed by someone else since, left alone")

// Apply carries out a plan. What a setup is about to change is recorded first, so that [Host.PlanRelease] can take it
// back even if this process is killed half-way. At the first failure, also that ctx ends, a setup is rolled back; a
// release stops, and what it did not get to stays recorded. Adding what is there and removing what is not is no failure.
//
// The error matches [ErrStale] if the host was changed after the plan was made, of which nothing is then done if it was
// by another plan; fs.ErrPermission without CAP_NET_ADMIN in the namespace or without write access to the journal;
// errors.ErrUnsupported if the kernel lacks a module; fs.ErrExist if an address or device of another kind has appeared;
// ctx.Err().
func (h *Host) Apply(ctx context.Context, p Plan) (report Report, err error) {
	k, err := h.open(ctx)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = k.close() }()
	name, err := h.journalName(k)
	if err != nil {
		return Report{}, err
	}
	unlock, err := hostfs.Lock(ctx, h.root, name)
	if err != nil {
		return Report{}, fmt.Errorf("arp: %w", err)
	}
	defer unlock()
	now, err := h.loadJournal(name)
	if err != nil {
		return Report{}, err
	}
	if !now.equal(p.before) {
		return Report{}, fmt.Errorf("arp: apply: %w", ErrStale)
	}
	if p.release {
		return h.takeBack(ctx, k, name, now, p)
	}
	return h.carryOut(ctx, k, name, now, p)
}

func (h *Host) carryOut(ctx context.Context, k kernel, name string, before journal, p Plan) (Report, error) {
	var report Report
	after := before.merge(p.Steps)
	if !after.equal(before) {
		if err := h.saveJournal(name, after); err != nil {
			return report, err
		}
	}
	steps := slices.Clone(p.Steps)
	for i, s := range steps {
		if s.Keep {
			report.Kept = append(report.Kept, s)
			continue
		}
		if err := ctx.Err(); err != nil {
			return h.rollBack(name, before, report, nil, err)
		}
		err := h.do(k, &s)
		if errors.Is(err, errThere) {
			// Somebody was faster; it is theirs, so it stays when we go.
			s.Keep = true
			steps[i] = s
			report.Kept = append(report.Kept, s)
			continue
		}
		if err != nil {
			return h.rollBack(name, before, report, &s, err)
		}
		steps[i] = s
		report.Done = append(report.Done, s)
	}
	if final := before.merge(steps).settle(); !final.equal(after) {
		if err := h.saveJournal(name, final); err != nil {
			return report, err
		}
	}
	return report, nil
}

// rollBack takes back what was done, and the step that failed, if one did, of which a part may have been done.
func (h *Host) rollBack(name string, before journal, report Report, failed *Step, cause error) (Report, error) {
	report.RolledBack = true
	done := report.Done
	if failed != nil {
		done = append(done, *failed)
	}
	report.Done = nil
	// The context may have ended, but taking back has to be done.
	k, err := h.open(context.Background())
	if err != nil {
		report.NotRestored = done
		return report, errors.Join(cause, err)
	}
	defer func() { _ = k.close() }()
	for _, s := range slices.Backward(done) {
		if err := h.undo(k, s.inverse()); err != nil && !(errors.Is(err, errLeft) && failed != nil && s.same(*failed)) {
			report.NotRestored = append(report.NotRestored, s)
			cause = errors.Join(cause, fmt.Errorf("arp: roll back: %w", err))
		}
	}
	if err := h.saveJournal(name, before.merge(report.NotRestored)); err != nil {
		cause = errors.Join(cause, err)
	}
	return report, cause
}

func (h *Host) takeBack(ctx context.Context, k kernel, name string, now journal, p Plan) (Report, error) {
	var report Report
	var cause error
	for _, s := range p.Steps {
		if s.Keep {
			report.Kept = append(report.Kept, s)
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = h.undo(k, s)
		}
		switch {
		case errors.Is(err, errLeft):
			report.Left = append(report.Left, s)
		case err != nil:
			cause = err
		default:
			report.Done = append(report.Done, s)
		}
		if cause != nil {
			break
		}
	}
	handled := slices.Concat(report.Done, report.Left)
	if cause == nil {
		handled = append(handled, report.Kept...)
	}
	if after := now.forget(handled); !after.equal(now) {
		if err := h.saveJournal(name, after); err != nil {
			cause = errors.Join(cause, err)
		}
	}
	return report, cause
}

// errThere is the result of a step whose result somebody else brought about meanwhile.
var errThere = errors.New("there already")

// do carries out a step of a setup.
func (h *Host) do(k kernel, s *Step) error {
	switch s.Op {
	case SetSetting:
		return h.set(s)
	case AddLink:
		return add(k.addLink(s.Device, s.Tunnel), func() (bool, error) { return hasLink(k, *s) })
	case SetUp:
		return k.setLink(s.Device, true)
	case AddFOU:
		return add(k.addFOU(*s.FOU), func() (bool, error) {
			ports, err := k.fouPorts()
			return slices.Contains(ports, *s.FOU), err
		})
	case AddAddress:
		return add(k.addAddress(*s.Address), func() (bool, error) {
			have, err := k.addresses()
			return slices.ContainsFunc(have, func(a Address) bool { return a.Prefix == s.Address.Prefix && a.Device == s.Device }), err
		})
	case WriteFile:
		return h.write(*s)
	}
	return fmt.Errorf("arp: apply %v: %w", s, fs.ErrInvalid)
}

// add decides whether something that exists already is the wanted one.
func add(err error, there func() (bool, error)) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if same, lookErr := there(); lookErr == nil && same {
		return errThere
	}
	return err
}

func hasLink(k kernel, s Step) (bool, error) {
	links, err := k.links()
	return slices.ContainsFunc(links, func(l Link) bool { return isLink(l, s) }), err
}

// isLink says whether a device is the one that AddLink makes.
func isLink(l Link, s Step) bool {
	if l.Name != s.Device {
		return false
	}
	if s.Tunnel == nil {
		return l.Kind == kindDummy
	}
	return l.Tunnel != nil && *l.Tunnel == *s.Tunnel
}

// equalValue compares two texts of a parameter as numbers.
func equalValue(a, b string) bool {
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	n, errA := strconv.Atoi(a)
	m, errB := strconv.Atoi(b)
	return a == b || errA == nil && errB == nil && n == m
}

// set writes a parameter and reads it back. Of one whose device was made after planning it notes the value before.
func (h *Host) set(s *Step) error {
	now, err := h.settings.Get(s.Setting)
	if err != nil {
		return h.explainSetting(*s, err)
	}
	now = strings.TrimSpace(now)
	switch {
	case equalValue(now, s.New):
		s.Old = now
		if s.OldAbsent {
			return nil
		}
		return errThere
	case s.OldAbsent:
		s.Old = now
	case !equalValue(now, s.Old):
		return fmt.Errorf("arp: %v was %s when the plan was made and is %s: %w", s.Setting, s.Old, now, ErrStale)
	}
	return h.writeSetting(*s)
}

func (h *Host) writeSetting(s Step) error {
	root, ok := h.root.(hostfs.WriteFS)
	if !ok {
		return h.explainSetting(s, errors.ErrUnsupported)
	}
	if err := root.WriteFile(s.Setting.Path(), []byte(s.New+"\n"), 0o644); err != nil {
		return h.explainSetting(s, err)
	}
	now, err := h.settings.Get(s.Setting)
	if err != nil {
		return h.explainSetting(s, err)
	}
	if !equalValue(now, s.New) {
		return fmt.Errorf("arp: %v reads back %q after writing %q", s.Setting, now, s.New)
	}
	return nil
}

// explainSetting adds what was to be done; permission and absence are matched already.
func (h *Host) explainSetting(s Step, err error) error {
	return fmt.Errorf("arp: set %v to %s: %w", s.Setting, s.New, err)
}

// write replaces a file, if it is as it was when the plan was made.
func (h *Host) write(s Step) error {
	now, exists, err := h.read(s.File)
	switch {
	case err != nil:
		return err
	case exists == !s.NewAbsent && now == s.New:
		return nil
	case exists == s.OldAbsent || !s.made(now):
		return fmt.Errorf("arp: /%s: %w", s.File, ErrStale)
	case s.NewAbsent:
		if err := hostfs.Remove(h.root, s.File); err != nil {
			return fmt.Errorf("arp: %w", err)
		}
		if dir := path.Dir(s.File); strings.HasSuffix(dir, ".network.d") {
			_ = hostfs.Remove(h.root, dir) // goes with the last of its files
		}
		return nil
	}
	root, ok := h.root.(hostfs.WriteFS)
	if !ok {
		return fmt.Errorf("arp: write /%s: %w", s.File, errors.ErrUnsupported)
	}
	if err := makeDir(h.root, path.Dir(s.File)); err != nil {
		return fmt.Errorf("arp: %w", err)
	}
	if err := hostfs.ReplaceFile(root, s.File, []byte(s.New), 0o644); err != nil {
		return fmt.Errorf("arp: %w", err)
	}
	return nil
}

func (h *Host) read(name string) (content string, exists bool, err error) {
	data, err := fs.ReadFile(h.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("arp: %w", err)
	}
	return string(data), true, nil
}

// undo carries out a step of a release. What is gone already is fine; what someone else has changed is left alone.
func (h *Host) undo(k kernel, s Step) error {
	err := h.undoStep(k, s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (h *Host) undoStep(k kernel, s Step) error {
	switch s.Op {
	case SetSetting:
		now, err := h.settings.Get(s.Setting)
		switch {
		case err != nil:
			return h.explainSetting(s, err)
		case equalValue(now, s.New):
			return nil
		case !s.made(strings.TrimSpace(now)):
			return errLeft
		}
		return h.writeSetting(s)
	case DeleteLink:
		links, err := k.links()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(links, func(l Link) bool { return l.Name == s.Device })
		switch {
		case i < 0:
			return nil
		case !isLink(links[i], s):
			return errLeft
		}
		return k.deleteLink(s.Device)
	case SetDown:
		if s.Device == "lo" {
			return nil // other programs have come to rely on it
		}
		return k.setLink(s.Device, false)
	case DeleteFOU:
		ports, err := k.fouPorts()
		switch {
		case err != nil:
			return err
		case slices.Contains(ports, *s.FOU):
			return k.deleteFOU(*s.FOU)
		case slices.ContainsFunc(ports, func(p FOUPort) bool { return p.Port == s.FOU.Port && p.IPv6 == s.FOU.IPv6 }):
			return errLeft // of another kind, which Linux 6.12 was observed to close all the same
		}
		return nil
	case DeleteAddress:
		return k.deleteAddress(*s.Address)
	case WriteFile:
		if err := h.write(s); errors.Is(err, ErrStale) {
			return errLeft
		} else {
			return err
		}
	}
	return fmt.Errorf("arp: take back %v: %w", s, fs.ErrInvalid)
}

// Verify reads the host again and returns the steps of a plan whose result is not in force, nothing if all is well.
func (h *Host) Verify(ctx context.Context, p Plan) ([]Step, error) {
	s, err := h.State(ctx)
	if err != nil {
		return nil, err
	}
	return s.Verify(p), nil
}

// Verify is [Host.Verify] for a state that was read before.
func (s State) Verify(p Plan) []Step {
	var drift []Step
	for _, step := range p.Steps {
		if p.release && step.Keep {
			continue
		}
		if !s.inForce(step) {
			drift = append(drift, step)
		}
	}
	return drift
}

func (s State) inForce(step Step) bool {
	switch step.Op {
	case SetSetting:
		now, ok := s.Settings[step.Setting]
		return !ok && step.NewAbsent || ok && equalValue(now, step.New)
	case AddLink, DeleteLink:
		return slices.ContainsFunc(s.Links, func(l Link) bool { return isLink(l, step) }) == (step.Op == AddLink) ||
			step.Op == DeleteLink && step.Tunnel != nil && step.Tunnel.Kind.Fallback() == step.Device
	case SetUp, SetDown:
		l, ok := s.Link(step.Device)
		return ok && l.Up() == (step.Op == SetUp) || !ok && step.Op == SetDown || step.Device == "lo" && step.Op == SetDown
	case AddFOU, DeleteFOU:
		return slices.Contains(s.FOUPorts, *step.FOU) == (step.Op == AddFOU)
	case AddAddress, DeleteAddress:
		return slices.ContainsFunc(s.Addresses, func(a Address) bool {
			return a.Prefix == step.Address.Prefix && a.Device == step.Device
		}) == (step.Op == AddAddress)
	case WriteFile:
		now, ok := s.Files[step.File]
		return ok == !step.NewAbsent && now == step.New
	}
	return false
}

// Addresses lists the addresses of all devices in the namespace. The error is that of [Host.State].
func (h *Host) Addresses(ctx context.Context) ([]Address, error) {
	return list(ctx, h, kernel.addresses)
}

// Links lists the network devices of the namespace; those with Tunnel set are tunnels of the kinds of this package. The
// error is that of [Host.State].
func (h *Host) Links(ctx context.Context) ([]Link, error) { return list(ctx, h, kernel.links) }

// FOUPorts lists the ports of the namespace at which an encapsulation in UDP is taken off, none without the module. The
// error is that of [Host.State].
func (h *Host) FOUPorts(ctx context.Context) ([]FOUPort, error) { return list(ctx, h, kernel.fouPorts) }

func list[T any](ctx context.Context, h *Host, read func(kernel) ([]T, error)) ([]T, error) {
	k, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = k.close() }()
	return read(k)
}
