package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// kernel is what the monitor needs of ipvs.Client.
type kernel interface {
	Apply(ctx context.Context, want ipvs.Ruleset, opts *ipvs.ApplyOptions) (ipvs.Report, error)
	Destinations(ctx context.Context, id ipvs.ServiceID) ([]ipvs.DestinationStatus, error)
}

// monitor makes the checks and keeps the table as they say.
type monitor struct {
	kernel kernel
	host   host
	log    *slog.Logger
	out    io.Writer // for the status
	new    func(question) checker
	dryRun bool

	engine  engine
	results chan outcome
	running map[string]running // by the key of the question
	probes  sync.WaitGroup
	failure string    // of the last change of the table, empty if it succeeded
	warned  []string  // what was last warned of
	mended  time.Time // when the way to real servers by virtual addresses was last changed
}

// running is a probe under way.
type running struct {
	end   context.CancelFunc
	again chan<- struct{} // has it ask at once
}

// applyTime bounds a change of the table. It is not given up half-way when the program is told to end.
const applyTime = 10 * time.Second

// retry is how soon a failed change of the table is tried again.
const retry = time.Second

// run makes the checks of a configuration, and of those that come later, until the context ends. Then the probes are gone,
// what they needed on the host is taken back, and the table serves on. A value of dump asks for the status.
func (m *monitor) run(ctx context.Context, cfg *Config, reload <-chan *Config, dump <-chan struct{}) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	m.results, m.running = make(chan outcome, 64), make(map[string]running)
	defer func() { err = errors.Join(err, m.tidy()) }()
	defer m.probes.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	if err := m.load(ctx, cfg, timer); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			m.log.Info("stopping; the table serves on")
			return nil
		case o := <-m.results:
			if m.observe(ctx, o, timer) {
				m.sync(ctx, timer)
			}
		case cfg := <-reload:
			if err := m.load(ctx, cfg, timer); err != nil {
				m.log.Error("the new configuration is not in force", errorAttrs(err)...)
			}
		case <-dump:
			if err := m.dump(); err != nil {
				m.log.Error("cannot write the status", errorAttrs(err)...)
			}
		case <-timer.C:
			m.warn(m.engine.cfg)
			m.sync(ctx, timer)
		}
	}
}

// load brings a configuration into force. Probes that it shares with the one before go on.
func (m *monitor) load(ctx context.Context, cfg *Config, timer *time.Timer) error {
	have, err := m.table(ctx, cfg)
	if err != nil {
		return err
	}
	if err := m.prepare(ctx, cfg); err != nil {
		return err
	}
	m.warned = nil // a new configuration is told everything
	m.warn(cfg)
	asked := m.engine.cfg != nil && m.engine.cfg.throughs() > 0
	added, gone := m.engine.load(cfg, have)
	for _, q := range gone {
		m.running[q.key()].end()
		delete(m.running, q.key())
	}
	m.engine.judge(time.Now())
	m.sync(ctx, timer) // the services by which virtual addresses are asked have to be there before the first question
	for _, q := range added {
		probe, cancel := context.WithCancel(ctx)
		again := make(chan struct{}, 1)
		m.running[q.key()] = running{cancel, again}
		m.probes.Go(func() { repeat(probe, q, m.new(q), m.results, again) })
	}
	if asked && cfg.throughs() == 0 {
		if err := m.host.undo(ctx); err != nil {
			m.log.Error("cannot take settings back", errorAttrs(err)...)
		}
	}
	m.log.Info("configuration in force", "services", len(cfg.Services), "checks", len(m.engine.probes),
		"new", len(added), "gone", len(gone))
	return nil
}

// observe takes a result and all that came meanwhile, and reports whether the table may have to change.
func (m *monitor) observe(ctx context.Context, o outcome, timer *time.Timer) (changed bool) {
	for {
		if m.counts(ctx, o, timer) {
			changed = m.take(o) || changed
		}
		select {
		case o = <-m.results:
		default:
			for _, t := range m.engine.judge(time.Now()) {
				if t.up {
					m.log.Info("server up", "service", t.service.String(), "real", t.addr.String())
				} else {
					m.log.Warn("server down", "service", t.service.String(), "real", t.addr.String(), "reason", t.reason)
				}
			}
			return changed
		}
	}
}

// take takes a result and reports whether the table may have to change.
func (m *monitor) take(o outcome) (changed bool) {
	p := m.engine.probes[o.key]
	if p == nil {
		return false // of a question that is not asked any more
	}
	if o.err != nil && (!p.known || p.up) {
		of := p.Check.Fall
		if !p.known {
			of = 1 // the first answer decides
		}
		m.log.Warn("check failed", "check", p.question.String(), "error", o.err.Error(), "inARow", p.streak+1, "of", of)
	}
	before := p.reading
	changed = m.engine.observe(o)
	if p.reading != nil && (before == nil || before.Error() != p.reading.Error()) {
		m.log.Warn("check gives no weight", "check", p.question.String(), "error", p.reading.Error())
	}
	return changed
}

// table reads the services of a configuration. Those that do not exist have no entry.
func (m *monitor) table(ctx context.Context, cfg *Config) (table, error) {
	have := make(table)
	for _, s := range cfg.Services {
		list, err := m.kernel.Destinations(ctx, s.Service)
		if err != nil && !errors.Is(err, ipvs.ErrNoService) {
			return nil, err
		}
		have[s.Service] = list
	}
	return have, nil
}

// sync makes the table what it has to be, and sets the timer for the next time.
func (m *monitor) sync(ctx context.Context, timer *time.Timer) {
	report, next, err := m.apply(ctx)
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	news := failure != m.failure // what goes on failing in the same way is not said with every try
	m.failure = failure
	for i, c := range report.Changes {
		if o := report.Outcomes[i]; o.Err == nil {
			m.log.Info("table changed", "change", c.String())
			if id := c.Service.ID; id.IsMark() && m.engine.cfg.Through.owns(id.FWMark) {
				m.mended = time.Now()
			}
		} else if news {
			m.log.Error("table not changed", append([]any{"change", c.String()}, errorAttrs(o.Err)...)...)
		}
	}
	if err != nil && len(report.Changes) == 0 && news {
		m.log.Error("cannot change the table", errorAttrs(err)...)
	}
	wait := time.Duration(m.engine.cfg.Resync)
	if err != nil {
		wait = retry
	} else if next > 0 {
		wait = min(wait, next)
	}
	timer.Reset(wait)
}

func (m *monitor) apply(ctx context.Context) (report ipvs.Report, next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTime)
	defer cancel()
	have, err := m.table(ctx, m.engine.cfg)
	if err != nil {
		return report, 0, err
	}
	want, next := m.engine.want(time.Now(), have, m.host.quiescent())
	opts := ipvs.ApplyOptions{DryRun: m.dryRun}
	opts.Owned = m.engine.owned
	report, err = m.kernel.Apply(ctx, want, &opts)
	if err == nil && !m.dryRun {
		clear(m.engine.retired)
	}
	return report, next, err
}

// once makes each check once, lets the results decide, and changes the table accordingly.
func (m *monitor) once(ctx context.Context, cfg *Config) (st status, report ipvs.Report, err error) {
	defer func() { err = errors.Join(err, m.tidy()) }()
	if m.dryRun && cfg.throughs() > 0 {
		return st, report, errors.New("checks through the virtual address need changes of the host: not together with -n")
	}
	have, err := m.table(ctx, cfg)
	if err != nil {
		return st, report, err
	}
	if err := m.prepare(ctx, cfg); err != nil {
		return st, report, err
	}
	m.warn(cfg)
	added, _ := m.engine.load(cfg, have)
	if cfg.throughs() > 0 {
		if report, _, err = m.apply(ctx); err != nil {
			return st, report, err
		}
	}
	outcomes := make([]outcome, len(added))
	for i, q := range added {
		m.probes.Go(func() { outcomes[i] = askOnce(ctx, q, m.new(q)) })
	}
	m.probes.Wait()
	if err := ctx.Err(); err != nil {
		return st, report, err
	}
	for _, o := range outcomes {
		p := m.engine.probes[o.key]
		p.health = health{}
		m.engine.observe(o)
	}
	m.engine.judge(time.Now())
	for _, mb := range m.engine.members {
		mb.since = time.Time{} // nobody would be there to raise the weight
	}
	later, _, err := m.apply(ctx)
	report.Changes, report.Outcomes = append(report.Changes, later.Changes...), append(report.Outcomes, later.Outcomes...)
	return m.status(), report, err
}

// warn says what on this host keeps servers that are out of service from being left alone, as far as it is new.
func (m *monitor) warn(cfg *Config) {
	list := m.host.warnings(cfg)
	for _, w := range list {
		if !slices.Contains(m.warned, w) {
			m.log.Warn(w)
		}
	}
	m.warned = list
}

// status is what the program knows.
func (m *monitor) status() status {
	st := m.engine.status(time.Now())
	st.Warnings = append(st.Warnings, m.host.warnings(m.engine.cfg)...)
	return st
}

// prepare makes the host ready for questions to virtual addresses.
func (m *monitor) prepare(ctx context.Context, cfg *Config) error {
	plan, err := m.host.plan(cfg)
	if err != nil || plan.Empty() || m.dryRun {
		return err
	}
	m.log.Info("preparing the host for checks through virtual addresses", "changes", len(plan.Changes))
	err = m.host.apply(ctx, plan)
	m.mended = time.Now()
	return err
}

// tidy takes back what questions to virtual addresses needed: their services and the settings. The table serves on.
func (m *monitor) tidy() error {
	if m.engine.cfg == nil || m.dryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyTime)
	defer cancel()
	var err error
	if through := m.engine.cfg.Through; through != nil {
		// Wanted are none of the marks; whatever else there is stays, as it is not owned.
		opts := ipvs.ApplyOptions{}
		opts.Owned = func(id ipvs.ServiceID) bool { return id.IsMark() && through.owns(id.FWMark) }
		_, err = m.kernel.Apply(ctx, ipvs.Ruleset{Services: []ipvs.ServiceRules{}}, &opts)
	}
	return errors.Join(err, m.host.undo(ctx))
}

// dump writes the status as JSON.
func (m *monitor) dump() error {
	enc := json.NewEncoder(m.out)
	enc.SetIndent("", "  ")
	return enc.Encode(m.status())
}

// errorAttrs are an error and what a person can do about it.
func errorAttrs(err error) []any {
	attrs := []any{"error", err.Error()}
	if h, ok := errors.AsType[hinter](err); ok && h.Hint() != "" {
		attrs = append(attrs, "hint", h.Hint())
	}
	return attrs
}

// hinter is an error that knows what a person can do about it.
type hinter interface {
	error
	Hint() string
}

// planText is what would be done without checks: the settings, the questions, and the table if all servers are up.
func (m *monitor) planText(ctx context.Context, cfg *Config) (string, error) {
	plan, err := m.host.plan(cfg)
	if err != nil {
		return "", err
	}
	have, err := m.table(ctx, cfg)
	if err != nil {
		return "", err
	}
	text := ""
	if !plan.Empty() {
		text += plan.String()
	}
	added, _ := m.engine.load(cfg, have)
	for _, q := range added {
		text += fmt.Sprintf("check %v every %v, %v at most; %d failures take it out, %d successes bring it back\n",
			q, time.Duration(q.Check.Interval), time.Duration(q.Check.Timeout), q.Check.Fall, q.Check.Rise)
	}
	for _, p := range m.engine.probes {
		p.known, p.up = true, true
	}
	m.engine.judge(time.Now())
	for _, mb := range m.engine.members {
		mb.since = time.Time{}
	}
	report, _, err := m.apply(ctx)
	for _, c := range report.Changes {
		text += c.String() + "\n"
	}
	if len(report.Changes) == 0 {
		text += "with all servers up the table is as it should be\n"
	}
	return text, err
}
