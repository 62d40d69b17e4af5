package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/golvs/lvs/internal/hostfs"
)

// ApplyOptions change how a plan is carried out. Nil means no journal.
type ApplyOptions struct {
	// Journal is the name of a file below the root, such as "run/lvs/sysctl.json", that records old and new values
	// before the first of them is written, so that [Host.Undo] can restore them after this process is gone, even if it
	// was killed half-way. Below run it is gone after a boot, as the values are. A journal that is there already is
	// continued: undoing goes back to before the first of the plans. Whoever uses the same journal waits for the others,
	// also in other processes, if the root is this host or has an OpenFile method like that of [os.Root]. Empty is no
	// journal.
	Journal string

	// Then, if it is set, is called when all is in force. If it fails, everything is taken back and Apply returns its
	// error: other changes of the host stand or fall with these.
	Then func(ctx context.Context) error
}

func (o *ApplyOptions) then(ctx context.Context) error {
	if o.Then == nil {
		return nil
	}
	return o.Then(ctx)
}

// Report says what [Host.Apply] did.
type Report struct {
	// Written are the parameters and files that have been changed, in that order; what was rolled back is not in it.
	Written []string

	// RolledBack is set if a failure made Apply take everything back. NotRestored are then the ones that it could not.
	RolledBack  bool
	NotRestored []Restored
}

// Restored says what became of one parameter or file when changes were taken back.
type Restored struct {
	Name    string  // the key in its dotted form, or the name of the file
	Now     string  // what it was when they were; empty if there was none
	Old     string  // what it was before the changes
	File    bool    // it is an ordinary file, and Now and Old are its content
	Created bool    // it is a file that did not exist before the changes
	Outcome Outcome // what was done
	Err     error   // why not, for RestoreFailed
}

// Outcome says what was done to take a change back.
type Outcome uint8

// Outcomes.
const (
	RestoreNotNeeded Outcome = iota // was as before already
	RestoreDone                     // is as before again
	RestoreForeign                  // someone else has changed it since; left alone
	RestoreGone                     // no longer exists, such as a parameter of a deleted interface
	RestoreFailed
)

// String returns a few words for people, or "outcome(N)".
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

var outcomeNames = [...]string{
	RestoreNotNeeded: "was as before", RestoreDone: "restored", RestoreForeign: "changed by someone else, left alone",
	RestoreGone: "no longer exists", RestoreFailed: "failed",
}

// errStale is part of the error of a plan that no longer fits the host.
var errStale = errors.New("was changed by someone else after the plan was made")

// Apply carries out a plan: it writes each value, reads it back, and writes the files last. At the first failure, also
// that ctx ends, it takes back what it has written, in reverse order. Applying a plan twice does nothing the second
// time.
//
// The error matches that of [Plan.Err] for a plan that cannot be applied here, of which nothing is then written;
// fs.ErrPermission without the privilege; fs.ErrInvalid if the kernel refuses a value; ctx.Err(); what opt.Then
// returns.
func (h *Host) Apply(ctx context.Context, p Plan, opt *ApplyOptions) (Report, error) {
	if opt == nil {
		opt = &ApplyOptions{}
	}
	if err := p.Err(); err != nil {
		return Report{}, err
	}
	if p.Empty() {
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		return Report{}, opt.then(ctx)
	}
	root, err := h.writable()
	if err != nil {
		return Report{}, err
	}
	if opt.Journal != "" {
		unlock, err := hostfs.Lock(ctx, root, opt.Journal)
		if err != nil {
			return Report{}, fmt.Errorf("sysctl: %w", err)
		}
		defer unlock()
	}
	// What is in force by now, through this plan or somebody else, is not ours to take back.
	if p = h.pending(p); p.Empty() {
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		return Report{}, opt.then(ctx)
	}
	journal := p.journal()
	var before, merged hostfs.Journal
	if opt.Journal != "" {
		before, err = hostfs.LoadJournal(root, opt.Journal)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Report{}, fmt.Errorf("sysctl: %w", err)
		}
		merged = before.Merge(journal, same)
		if err := merged.Save(root, opt.Journal); err != nil {
			return Report{}, fmt.Errorf("sysctl: journal: %w", err)
		}
	}
	var report Report
	force, err := h.write(ctx, root, p, &report)
	if err == nil && !merged.Settled() {
		if err = merged.Settle().Save(root, opt.Journal); err != nil {
			err = fmt.Errorf("sysctl: journal: %w", err)
		}
	}
	if err != nil {
		return h.rollBack(root, journal, before, report, force, err, opt)
	}
	if err := opt.then(ctx); err != nil {
		return h.rollBack(root, journal, before, report, nil, err, opt)
	}
	return report, nil
}

// pending returns the plan without what is in force already.
func (h *Host) pending(p Plan) Plan {
	var left Plan
	for _, c := range p.Changes {
		if c.Action != Write && c.Action != Follows {
			continue
		}
		// One that an earlier change sets has to be written after that, whatever it is now.
		if moved := left.moves(c.Key); !moved {
			if c.Action == Follows {
				continue
			}
			if now, err := h.Get(c.Key); err == nil && took(c.Key, c.New, now) {
				continue
			}
		}
		left.Changes = append(left.Changes, c)
	}
	for _, f := range p.Files {
		if now, err := fs.ReadFile(h.root, f.Name); err != nil || string(now) != f.New {
			left.Files = append(left.Files, f)
		}
	}
	return left
}

// write does the work of Apply and records in the report what it has touched. After an error, force is the parameter
// that may hold neither the old value nor the new one, and is ours all the same: a refused write may have changed a part
// of a value that has several.
func (h *Host) write(ctx context.Context, root hostfs.WriteFS, p Plan, report *Report) (force []string, err error) {
	for i, c := range p.Changes {
		if c.Action != Write {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		wrote, err := h.writeValue(root, c, p.follows(i))
		if wrote {
			report.Written = append(report.Written, c.Key.String())
		}
		if err != nil && wrote {
			return []string{c.Key.String()}, err
		} else if err != nil {
			return nil, err
		}
	}
	for _, f := range p.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		now, err := fs.ReadFile(h.root, f.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("sysctl: %w", err)
		}
		if (err == nil) != f.Exists || string(now) != f.Old {
			return nil, fmt.Errorf("sysctl: /%s %w", f.Name, errStale)
		}
		report.Written = append(report.Written, f.Name)
		if m, ok := root.(interface {
			MkdirAll(string, fs.FileMode) error
		}); ok {
			if err := m.MkdirAll(path.Dir(f.Name), 0o755); err != nil {
				return nil, fmt.Errorf("sysctl: %w", err)
			}
		}
		if err := hostfs.ReplaceFile(root, f.Name, []byte(f.New), 0o644); err != nil {
			return nil, fmt.Errorf("sysctl: write %s: %w", f.Name, err)
		}
	}
	return nil, nil
}

// writeValue makes a change and reads it back. Its old value need not be as planned if it follows from an earlier change.
func (h *Host) writeValue(root hostfs.WriteFS, c Change, follows bool) (wrote bool, err error) {
	now, err := h.Get(c.Key)
	switch {
	case errors.Is(err, fs.ErrPermission): // write-only
	case err != nil:
		return false, err
	case took(c.Key, c.New, now):
		return false, nil
	case !Same(c.Key, now, c.Old) && !follows:
		return false, fmt.Errorf("sysctl: %v %w: %q, then %q", c.Key, errStale, c.Old, now)
	}
	if err := root.WriteFile(c.Key.Path(), []byte(c.New+"\n"), 0o644); err != nil {
		if errors.Is(err, syscall.EINVAL) {
			err = &refused{err}
		}
		return true, fmt.Errorf("sysctl: write %v = %s: %w", c.Key, c.New, err)
	}
	if now, err = h.Get(c.Key); errors.Is(err, fs.ErrPermission) {
		return true, nil
	} else if err != nil {
		return true, err
	}
	if !took(c.Key, c.New, now) {
		return true, fmt.Errorf("sysctl: %v reads back %q after writing %q", c.Key, now, c.New)
	}
	return true, nil
}

// refused is the error of a value that the kernel does not take.
type refused struct{ err error }

func (r *refused) Error() string        { return r.err.Error() }
func (r *refused) Unwrap() error        { return r.err }
func (r *refused) Is(target error) bool { return target == fs.ErrInvalid }

// rollBack takes back what the report says was touched, what is in force whatever it is now, and puts the journal back to
// what it was.
func (h *Host) rollBack(root hostfs.WriteFS, journal, before hostfs.Journal, report Report, force []string, cause error, opt *ApplyOptions) (Report, error) {
	var undo hostfs.Journal
	var forced []string
	for _, e := range journal.Edits {
		name := display(e.Name)
		if slices.Contains(report.Written, name) || e.Implied { // what has not been changed is not changed now
			undo.Edits = append(undo.Edits, e)
		}
		if slices.Contains(force, name) {
			forced = append(forced, e.Name)
		}
	}
	report.RolledBack, report.Written = true, nil
	left := before
	for _, r := range convert(undo.Restore(root, same, forced...)) {
		if r.Outcome == RestoreFailed || r.Outcome == RestoreForeign {
			report.NotRestored = append(report.NotRestored, r)
		}
	}
	if opt.Journal != "" {
		if len(report.NotRestored) > 0 {
			left = before.Merge(undo, same)
		}
		if err := left.Save(root, opt.Journal); err != nil {
			cause = errors.Join(cause, fmt.Errorf("sysctl: journal: %w", err))
		}
	}
	for _, r := range report.NotRestored {
		cause = errors.Join(cause, fmt.Errorf("sysctl: %s is not back at %q: %v", r.Name, r.Old, cmpErr(r)))
	}
	return report, cause
}

func cmpErr(r Restored) error {
	if r.Err != nil {
		return r.Err
	}
	return errors.New(r.Outcome.String())
}

// Verify reads back what a plan wants and returns the parameters and files that differ, nothing if all is in force.
func (h *Host) Verify(p Plan) []Drift {
	var drift []Drift
	for _, c := range p.Changes {
		if c.Action == Skip || c.Action == Missing || c.Action == Refuse {
			continue
		}
		have, err := h.Get(c.Key)
		if err != nil || !took(c.Key, c.New, have) {
			drift = append(drift, Drift{Name: c.Key.String(), Want: c.New, Have: have, Err: err})
		}
	}
	for _, f := range p.Files {
		have, err := fs.ReadFile(h.root, f.Name)
		if err != nil || string(have) != f.New {
			drift = append(drift, Drift{Name: f.Name, Want: f.New, Have: string(have), Err: err})
		}
	}
	return drift
}

// Drift is a parameter or file that is not as wanted.
type Drift struct {
	Name string // the key in its dotted form, or the name of the file
	Want string
	Have string
	Err  error // set if it could not be read
}

// String returns one line about the difference.
func (d Drift) String() string {
	if d.Err != nil {
		return d.Name + ": " + d.Err.Error()
	}
	return fmt.Sprintf("%s: %q instead of %q", d.Name, d.Have, d.Want)
}

// Undo restores what the plans changed that were applied with this journal, in reverse order, and removes the journal.
// What someone else has changed since is left alone, and interfaces that have gone are passed over; both are in the
// result. If something could not be restored, the journal stays.
//
// The error matches fs.ErrNotExist if there is no journal, and the reasons of those that failed.
func (h *Host) Undo(ctx context.Context, journal string) ([]Restored, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := h.writable()
	if err != nil {
		return nil, err
	}
	done, err := hostfs.Undo(ctx, root, journal, same)
	if err != nil {
		err = fmt.Errorf("sysctl: %w", err)
	}
	results, errs := convert(done), []error{err}
	for _, r := range results {
		if r.Outcome == RestoreFailed {
			errs = append(errs, fmt.Errorf("sysctl: restore %s: %w", r.Name, r.Err))
		}
	}
	return results, errors.Join(errs...)
}

// PlanUndo says what Undo would do at present, without doing it: RestoreDone stands for what it would restore. It needs
// no privilege but to read the journal.
//
// The error matches fs.ErrNotExist if there is no journal.
func (h *Host) PlanUndo(journal string) ([]Restored, error) {
	j, err := hostfs.LoadJournal(h.root, journal)
	if err != nil {
		return nil, fmt.Errorf("sysctl: %w", err)
	}
	return convert(j.Preview(h.root, same)), nil
}

// journal returns the edits of a plan. Nothing is in it that the plan does not change.
func (p Plan) journal() hostfs.Journal {
	var j hostfs.Journal
	for i, c := range p.Changes {
		if c.Action == Write || c.Action == Follows {
			j.Edits = append(j.Edits, hostfs.Edit{Name: c.Key.Path(), Old: c.Old, New: c.New, Implied: p.follows(i)})
		}
	}
	for _, f := range p.Files {
		j.Edits = append(j.Edits, hostfs.Edit{Name: f.Name, Old: f.Old, New: f.New, Whole: true, Created: !f.Exists})
	}
	return j
}

// follows says whether an earlier change of the plan makes the kernel change the parameter of change i.
func (p Plan) follows(i int) bool { return Plan{Changes: p.Changes[:i]}.moves(p.Changes[i].Key) }

// moves says whether a change of the plan makes the kernel change a parameter.
func (p Plan) moves(key Key) bool {
	return slices.ContainsFunc(p.Changes, func(cause Change) bool {
		_, ok := followsFrom(cause, key)
		return ok
	})
}

// same compares two contents of a file of a journal; a is what was wanted or found, b the other.
func same(name, a, b string) bool {
	key, ok := strings.CutPrefix(name, "proc/sys/")
	if !ok {
		return a == b
	}
	return took(Key(key), a, b) || took(Key(key), b, a)
}

func display(name string) string {
	if key, ok := strings.CutPrefix(name, "proc/sys/"); ok {
		return Key(key).String()
	}
	return name
}

func convert(results []hostfs.Result) []Restored {
	outcomes := [...]Outcome{
		hostfs.Unchanged: RestoreNotNeeded, hostfs.Restored: RestoreDone, hostfs.Foreign: RestoreForeign,
		hostfs.Gone: RestoreGone, hostfs.Failed: RestoreFailed,
	}
	list := make([]Restored, len(results))
	for i, r := range results {
		list[i] = Restored{
			Name: display(r.Edit.Name), Now: strings.TrimSuffix(r.Now, "\n"), Old: strings.TrimSuffix(r.Edit.Old, "\n"),
			File: r.Edit.Whole, Created: r.Edit.Created, Outcome: outcomes[r.Outcome], Err: r.Err,
		}
	}
	return list
}
