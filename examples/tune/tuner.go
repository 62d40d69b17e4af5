package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/irq"
	"github.com/golvs/lvs/sysctl"
)

const owner = "tune"

// tuning is all that is applied in one step, and taken back in one.
type tuning struct {
	Parameters sysctl.Plan `json:"parameters"`
	Table      *table      `json:"conn_tab,omitempty"`
	Interrupts irq.Plan    `json:"interrupts"`
	Timeouts   *timeouts   `json:"timeouts,omitempty"`
}

// table is the size of the connection table, which takes effect when the module is loaded.
type table struct {
	sysctl.ConnTabPlan
	conns uint64
}

// timeouts are those of IPVS before and after. They are not files, so they have a journal of their own.
type timeouts struct {
	Old, New ipvs.Timeouts

	// Past are those that were wanted before New, by a run that may be followed by one that was killed.
	Past []ipvs.Timeouts
}

// made says whether timeouts are those that this program has set.
func (t timeouts) made(now ipvs.Timeouts) bool { return now == t.New || slices.Contains(t.Past, now) }

// outcome says what taking back does when these are in force.
func (t timeouts) outcome(now ipvs.Timeouts) sysctl.Outcome {
	switch {
	case now == t.Old:
		return sysctl.RestoreNotNeeded
	case t.made(now):
		return sysctl.RestoreDone
	}
	return sysctl.RestoreForeign
}

// tuner carries out a run.
type tuner struct {
	*program
	options
	tree       tree
	parameters *sysctl.Host
	interrupts *irq.Host
	tuning     tuning
	findings   []sysctl.Finding
}

func newTuner(p *program, o options) (*tuner, error) {
	t := &tuner{program: p, options: o}
	folder := o.root
	if folder == "" {
		folder = "/"
	}
	var err error
	if t.tree, err = p.open(folder); err != nil {
		return nil, err
	}
	sc, ic := sysctl.Config{NetNS: o.netns}, irq.Config{}
	if o.root != "" {
		sc.Root, ic.Root = t.tree, t.tree
	}
	if t.parameters, err = sysctl.New(&sc); err != nil {
		return nil, err
	}
	t.interrupts, err = irq.New(&ic)
	return t, err
}

// journalFile is the name of a journal below the root.
func (t *tuner) journalFile(name string) string {
	return strings.TrimPrefix(path.Join("/", t.journal, name), "/")
}

// kernelClient connects to IPVS. Asking for its netlink family may load the module, so it is done only if it is there
// or must be.
func (t *tuner) kernelClient(ctx context.Context) (*ipvs.Client, func() error, error) {
	return ipvstest.Dial(ctx, t.kernel, &ipvs.Config{NetNS: t.netns, Timeout: 30 * time.Second})
}

// plan finds out what is to be done.
func (t *tuner) plan(ctx context.Context) error {
	pages, err := t.parameters.MemoryPages()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.profile.MemoryPages = pages
	var lists [][]sysctl.Setting
	for _, role := range t.roles {
		lists = append(lists, role.Settings(t.profile))
	}
	settings := sysctl.Merge(lists...)
	if t.tuning.Parameters, err = t.parameters.Plan(settings); err != nil {
		return err
	}
	if t.persist && len(settings) > 0 {
		content, err := sysctl.FormatList(owner, settings)
		if err != nil {
			return err
		}
		if err := t.parameters.AddFile(&t.tuning.Parameters, "etc/sysctl.d/90-lvs.conf", content, "for the next boot"); err != nil {
			return err
		}
		// Parameters of a module that is loaded later than sysctl.d is read would be passed over.
		if err := t.parameters.AddFile(&t.tuning.Parameters, "etc/modules-load.d/lvs.conf", []byte("# Written by "+owner+".\nip_vs\n"), "before sysctl.d is read"); err != nil {
			return err
		}
	}
	if t.conns > 0 {
		if err := t.planTable(ctx, pages); err != nil {
			return err
		}
	}
	if len(t.devices) > 0 {
		if t.tuning.Interrupts, err = t.interrupts.Plan(t.devices, irq.PlanOptions{Steering: true, Transmit: true}); err != nil {
			return err
		}
	}
	if t.options.timeouts != (ipvs.Timeouts{}) {
		return t.planTimeouts(ctx)
	}
	return nil
}

func (t *tuner) planTable(ctx context.Context, pages uint64) error {
	var size uint32
	if _, err := fs.Stat(t.tree, "sys/module/ip_vs"); err == nil || t.kernel != "" {
		// Without the privilege the module's parameter file says it as well.
		if c, done, err := t.kernelClient(ctx); err == nil {
			if info, err := c.Info(ctx); err == nil {
				size = info.ConnTabSize
			}
			if err := done(); err != nil {
				return err
			}
		}
	}
	have, err := t.parameters.ConnTab(size)
	if err != nil {
		return err
	}
	kernel, err := t.parameters.Kernel()
	if err != nil {
		return err
	}
	plan, err := have.Plan(sysctl.ConnTabBits(t.conns), kernel, pages, owner)
	if err != nil {
		return err
	}
	t.tuning.Table = &table{plan, t.conns}
	if t.persist && plan.File != "" {
		return t.parameters.AddFile(&t.tuning.Parameters, plan.File, plan.Content, "for the next load of ip_vs")
	}
	return nil
}

func (t *tuner) planTimeouts(ctx context.Context) error {
	old, err := t.readTimeouts(ctx)
	if err != nil {
		return err
	}
	want := t.options.timeouts
	for _, f := range [...]struct{ want, old *time.Duration }{{&want.TCP, &old.TCP}, {&want.TCPFin, &old.TCPFin}, {&want.UDP, &old.UDP}} {
		if *f.want == 0 {
			*f.want = *f.old
		}
	}
	t.tuning.Timeouts = &timeouts{Old: old, New: want}
	return nil
}

// show prints the plan.
func (t *tuner) show() {
	fmt.Fprint(t.stdout, t.tuning.Parameters)
	if table := t.tuning.Table; table != nil {
		fmt.Fprint(t.stdout, table.ConnTabPlan)
		fmt.Fprintf(t.stdout, "  %d connections take %d MiB besides\n", table.conns, sysctl.EntryBytes(table.conns)>>20)
		if table.File != "" && !t.persist {
			fmt.Fprintln(t.stdout, "  -apply writes the file with -persist only")
		}
	}
	fmt.Fprint(t.stdout, t.tuning.Interrupts)
	if to := t.tuning.Timeouts; to != nil {
		fmt.Fprintf(t.stdout, "timeouts tcp tcpfin udp: %s, wanted %s\n", seconds(to.Old), seconds(to.New))
	}
	for _, w := range t.warnings() {
		fmt.Fprintln(t.stdout, "warning:", w)
	}
	if err := t.tuning.Parameters.Err(); err != nil && !t.options.apply {
		fmt.Fprintln(t.stdout, "this cannot be applied at present: see the lines with missing or refuse")
	}
}

// warnings say what the plan does not cure.
func (t *tuner) warnings() []string {
	if t.has(sysctl.RealServerDR, sysctl.RealServerTUN) && t.has(sysctl.DirectorNAT, sysctl.DirectorDR, sysctl.DirectorTUN) {
		return []string{"a director that is a real server as well answers ARP only for those virtual addresses that its network cards hold"}
	}
	return nil
}

func seconds(t ipvs.Timeouts) string {
	return fmt.Sprintf("%d %d %d", t.TCP/time.Second, t.TCPFin/time.Second, t.UDP/time.Second)
}

// apply carries out the plan and verifies it. All of it takes effect or nothing: each part is applied while those before
// it can still be taken back.
func (t *tuner) apply(ctx context.Context) error {
	var results []irq.Result
	report, err := t.parameters.Apply(ctx, t.tuning.Parameters, &sysctl.ApplyOptions{
		Journal: t.journalFile("sysctl.json"),
		Then: func(ctx context.Context) (err error) {
			results, err = t.interrupts.Apply(ctx, t.tuning.Interrupts, &irq.ApplyOptions{
				Journal: t.journalFile("irq.json"), AllOrNothing: true, Then: t.applyTimeouts,
			})
			return err
		},
	})
	moved := 0
	for _, r := range results {
		if r.Status == irq.Changed {
			moved++
		}
		if r.Err != nil {
			fmt.Fprintln(t.stdout, r)
		}
	}
	if err != nil {
		return err
	}
	for _, d := range t.parameters.Verify(t.tuning.Parameters) {
		fmt.Fprintln(t.stdout, "differs:", d)
	}
	for _, d := range t.interrupts.Verify(t.tuning.Interrupts) {
		fmt.Fprintln(t.stdout, "differs:", d)
	}
	timeouts, undo := "", "tune -undo"
	if e := t.tuning.Timeouts; e != nil && e.Old != e.New {
		timeouts = ", the timeouts of IPVS"
	}
	for _, flag := range []struct{ name, value string }{{"netns", t.options.netns}, {"root", t.options.root}, {"journal", t.options.journal}} {
		if flag.value != "" && (flag.name != "journal" || t.options.ownJournal) {
			undo += fmt.Sprintf(" -%s %s", flag.name, flag.value)
		}
	}
	fmt.Fprintf(t.stdout, "applied: %d parameters and files, %d interrupts and queues%s; %s takes it back\n", len(report.Written), moved, timeouts, undo)
	return nil
}

func (t *tuner) applyTimeouts(ctx context.Context) error {
	if t.tuning.Timeouts == nil || t.tuning.Timeouts.Old == t.tuning.Timeouts.New {
		return nil
	}
	entry := *t.tuning.Timeouts
	before, err := t.loadTimeouts()
	recorded := err == nil
	if recorded && before.made(entry.Old) {
		entry.Old = before.Old // undoing goes back to before the first run
		entry.Past = append(before.Past, before.New)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.saveTimeouts(entry); err != nil {
		return err
	}
	if err := t.setTimeouts(ctx, entry.New); err != nil {
		// Interrupted in the middle, it may have taken effect.
		restore, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if back := t.setTimeouts(restore, t.tuning.Timeouts.Old); back != nil {
			return errors.Join(err, back)
		}
		if recorded {
			return errors.Join(err, t.saveTimeouts(before))
		}
		return errors.Join(err, t.tree.Remove(t.journalFile("timeouts.json")))
	}
	if len(entry.Past) > 0 {
		entry.Past = nil
		return t.saveTimeouts(entry)
	}
	return nil
}

// timeoutRecord is what the journal of the timeouts holds.
type timeoutRecord struct {
	Old  ipvs.Timeouts   `json:"old"`
	New  ipvs.Timeouts   `json:"new"`
	Past []ipvs.Timeouts `json:"past,omitempty"`
}

// saveTimeouts replaces the journal of the timeouts.
func (t *tuner) saveTimeouts(entry timeouts) error {
	name := t.journalFile("timeouts.json")
	data, err := json.Marshal(timeoutRecord(entry))
	if err != nil {
		return err
	}
	if err := t.tree.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := t.tree.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return t.tree.Rename(name+".new", name)
}

func (t *tuner) loadTimeouts() (timeouts, error) {
	var entry timeouts
	data, err := fs.ReadFile(t.tree, t.journalFile("timeouts.json"))
	if err != nil {
		return entry, err
	}
	if err := json.Unmarshal(data, (*timeoutRecord)(&entry)); err != nil {
		return entry, fmt.Errorf("journal %s: %w", t.journalFile("timeouts.json"), err)
	}
	return entry, nil
}

func (t *tuner) readTimeouts(ctx context.Context) (ipvs.Timeouts, error) {
	c, done, err := t.kernelClient(ctx)
	if err != nil {
		return ipvs.Timeouts{}, err
	}
	now, err := c.Timeouts(ctx)
	return now, errors.Join(err, done())
}

func (t *tuner) setTimeouts(ctx context.Context, want ipvs.Timeouts) error {
	c, done, err := t.kernelClient(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.SetTimeouts(ctx, want), done())
}

// undo restores what was before, the last thing first.
func (t *tuner) undo(ctx context.Context) error {
	restored := 0
	var errs []error
	if entry, err := t.loadTimeouts(); err == nil {
		if err := t.undoTimeouts(ctx, entry); err != nil {
			errs = append(errs, err)
		} else {
			restored++
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	files, err := t.interrupts.Undo(ctx, t.journalFile("irq.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, r := range files {
		fmt.Fprintf(t.stdout, "/%s: %v\n", r.File, r.Outcome)
		restored++
	}
	keys, err := t.parameters.Undo(ctx, t.journalFile("sysctl.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, r := range keys {
		fmt.Fprintf(t.stdout, "%s: %v\n", r.Name, r.Outcome)
		restored++
	}
	if restored == 0 && len(errs) == 0 {
		fmt.Fprintln(t.stdout, nothingToUndo)
	}
	return errors.Join(errs...)
}

func (t *tuner) undoTimeouts(ctx context.Context, entry timeouts) error {
	c, done, err := t.kernelClient(ctx)
	if err != nil {
		return err
	}
	now, err := c.Timeouts(ctx)
	outcome := entry.outcome(now)
	if err == nil && outcome == sysctl.RestoreDone {
		err = c.SetTimeouts(ctx, entry.Old)
	}
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	fmt.Fprintln(t.stdout, "timeouts:", outcome)
	return t.tree.Remove(t.journalFile("timeouts.json"))
}

// check judges a list.
func (t *tuner) check(ctx context.Context) (err error) {
	in := setup.Input(ctx, t.stdin)
	if t.options.check != "-" {
		f, err := os.Open(t.options.check)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	t.findings, err = t.parameters.Check(in, t.role())
	return err
}

// showFindings prints a line for each of the list, and how many there are of each kind.
func (t *tuner) showFindings() {
	counts := map[sysctl.Verdict]int{}
	for _, f := range t.findings {
		fmt.Fprintln(t.stdout, f)
		counts[f.Verdict]++
	}
	var parts []string
	for _, verdict := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %v", counts[verdict], verdict))
	}
	fmt.Fprintf(t.stdout, "judged %d: %s\n", len(t.findings), cmp.Or(strings.Join(parts, ", "), "no settings"))
}
