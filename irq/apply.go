package irq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/golvs/lvs/internal/hostfs"
)

// ApplyOptions change how a plan is carried out. Nil means no journal.
type ApplyOptions struct {
	// Journal is the name of a file below the root, such as "run/lvs/irq.json", that records old and new values before
	// the first of them is written, so that [Host.Undo] can restore them after this process is gone, even if it was killed
	// half-way. A journal that is there already is continued. Whoever uses the same journal waits for the others, also in
	// other processes, if the root is this host or has an OpenFile method like that of [os.Root]. Empty is no journal.
	Journal string

	// AllOrNothing takes everything back when a change fails. Interrupts that the kernel manages itself do not count.
	AllOrNothing bool

	// Then, if it is set, is called after the last change, unless one has failed. If it fails, everything is taken back and
	// Apply returns its error: other changes of the host stand or fall with these.
	Then func(ctx context.Context) error
}

func (o *ApplyOptions) then(ctx context.Context) error {
	if o.Then == nil {
		return nil
	}
	return o.Then(ctx)
}

// Status says what became of a change.
type Status uint8

// Statuses.
const (
	Pending Status = iota // not tried
	Same                  // was in force already
	Changed
	Fixed      // the kernel places this interrupt itself, or it cannot be moved: nothing to do about it
	Vanished   // no longer exists
	RolledBack // was changed, and is as before again
	Failed
)

// String returns the status in lower case, or "status(N)".
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "status(" + strconv.Itoa(int(s)) + ")"
}

var statusNames = [...]string{
	Pending: "pending", Same: "same", Changed: "changed", Fixed: "fixed by the kernel", Vanished: "vanished",
	RolledBack: "rolled back", Failed: "failed",
}

// Result is what became of one change.
type Result struct {
	Change
	Status Status
	Err    error // of Failed and Fixed
}

// String returns one line.
func (r Result) String() string {
	what := r.NIC + " " + r.Name
	if r.Kind == Affinity {
		what = fmt.Sprintf("irq %d %s", r.IRQ, r.Name)
	}
	if r.Err != nil {
		return fmt.Sprintf("%v %s: %v: %v", r.Kind, what, r.Status, r.Err)
	}
	return fmt.Sprintf("%v %s: %v", r.Kind, what, r.Status)
}

// Apply carries out a plan and says what became of each change. A failure does not stop the others, as each interrupt
// stands for itself, unless ctx ends; with AllOrNothing everything is then taken back. What irqbalance or others have
// changed after the plan was made is changed all the same, and is what [Host.Undo] goes back to.
//
// The error joins those of the changes that failed: fs.ErrPermission without the privilege, fs.ErrInvalid for CPUs that
// are offline or do not exist, ctx.Err(), what opt.Then returns. Interrupts that cannot be moved are no error.
func (h *Host) Apply(ctx context.Context, p Plan, opt *ApplyOptions) ([]Result, error) {
	if opt == nil {
		opt = &ApplyOptions{}
	}
	results := make([]Result, len(p.Changes))
	for i, c := range p.Changes {
		results[i] = Result{Change: c, Status: Same}
		if c.Old != c.New {
			results[i].Status = Pending
		}
	}
	if p.Empty() {
		if err := ctx.Err(); err != nil {
			return results, err
		}
		return results, opt.then(ctx)
	}
	root, err := h.writable()
	if err != nil {
		return results, err
	}
	if opt.Journal != "" {
		unlock, err := hostfs.Lock(ctx, root, opt.Journal)
		if err != nil {
			return results, fmt.Errorf("irq: %w", err)
		}
		defer unlock()
	}
	journal := h.journal(results)
	var before, merged hostfs.Journal
	if opt.Journal != "" {
		before, err = hostfs.LoadJournal(root, opt.Journal)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return results, fmt.Errorf("irq: %w", err)
		}
		merged = before.Merge(journal, same)
		if err := merged.Save(root, opt.Journal); err != nil {
			return results, fmt.Errorf("irq: journal: %w", err)
		}
	}
	var errs []error
	for i := range results {
		r := &results[i]
		if r.Status != Pending {
			continue
		}
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		r.Status, r.Err = h.write(root, r.Change)
		if r.Status == Failed {
			errs = append(errs, fmt.Errorf("irq: %s: %w", r.file(), r.Err))
		}
	}
	undo := opt.AllOrNothing
	if len(errs) == 0 && !merged.Settled() {
		if err := merged.Settle().Save(root, opt.Journal); err != nil {
			errs, undo = append(errs, fmt.Errorf("irq: journal: %w", err)), true
		}
	}
	if len(errs) == 0 {
		if err := opt.then(ctx); err != nil {
			errs, undo = append(errs, err), true
		}
	}
	if len(errs) > 0 && undo {
		errs = append(errs, h.rollBack(root, results, before, opt.Journal)...)
	}
	return results, errors.Join(errs...)
}

// journal returns the edits of the changes that are pending. It looks at each once more: irqbalance may have changed it
// after the plan was made, or someone else may have made the same change.
func (h *Host) journal(results []Result) hostfs.Journal {
	var j hostfs.Journal
	for i := range results {
		r := &results[i]
		if r.Status != Pending {
			continue
		}
		if text, err := readText(h.root, r.file()); err == nil { // else writing fails as well, and says why
			if have, err := r.parse(text); err == nil {
				r.Old, r.oldText = have, text
			}
		}
		if r.Old == r.New {
			r.Status = Same
			continue
		}
		j.Edits = append(j.Edits, hostfs.Edit{Name: r.file(), Old: r.oldText, New: r.text()})
	}
	return j
}

// write makes a change and reads it back. If the kernel has made something else of it, the change is taken back.
func (h *Host) write(root hostfs.WriteFS, c Change) (Status, error) {
	err := root.WriteFile(c.file(), []byte(c.text()+"\n"), 0o644)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Vanished, nil
	case c.Kind == Affinity && (errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EPERM)):
		return Fixed, err // EIO on Linux 6.1, EPERM on 6.12; no privilege is EACCES
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EOVERFLOW), errors.Is(err, syscall.ERANGE):
		return Failed, &refused{err}
	case err != nil:
		return Failed, err
	}
	text, err := fs.ReadFile(h.root, c.file())
	if err != nil {
		return Failed, err
	}
	have, err := c.parse(string(text))
	if err != nil {
		return Failed, err
	}
	if have != c.New {
		err = fmt.Errorf("reads back %q after writing %q", strings.TrimSpace(string(text)), c.text())
		if have != c.Old {
			err = errors.Join(err, root.WriteFile(c.file(), []byte(strings.TrimSpace(c.oldText)+"\n"), 0o644))
		}
		return Failed, err
	}
	return Changed, nil
}

// refused is the error of CPUs that the kernel does not take.
type refused struct{ err error }

func (r *refused) Error() string        { return "CPUs that are offline or do not exist: " + r.err.Error() }
func (r *refused) Unwrap() error        { return r.err }
func (r *refused) Is(target error) bool { return target == fs.ErrInvalid }

// rollBack takes back what was changed and puts the journal back to what it was.
func (h *Host) rollBack(root hostfs.WriteFS, results []Result, before hostfs.Journal, journal string) []error {
	var undo hostfs.Journal
	var at []int
	for i, r := range results {
		if r.Status == Changed || r.Status == Failed {
			undo.Edits = append(undo.Edits, hostfs.Edit{Name: r.file(), Old: r.oldText, New: r.text()})
			at = append(at, i)
		}
	}
	var errs []error
	for k, r := range undo.Restore(root, same) {
		result := &results[at[k]]
		err := r.Err
		if r.Outcome == hostfs.Foreign {
			err = errors.New(RestoreForeign.String())
		}
		switch {
		case err != nil:
			err = fmt.Errorf("irq: restore %s: %w", r.Edit.Name, err)
			errs = append(errs, err)
			result.Status, result.Err = Failed, errors.Join(result.Err, err)
		case result.Status == Failed:
		case r.Outcome == hostfs.Gone:
			result.Status = Vanished
		default:
			result.Status = RolledBack
		}
	}
	if journal != "" {
		if len(errs) > 0 {
			before = before.Merge(undo, same)
		}
		if err := before.Save(root, journal); err != nil {
			errs = append(errs, fmt.Errorf("irq: journal: %w", err))
		}
	}
	return errs
}

// Drift is a change that is not in force.
type Drift struct {
	Change
	Have CPUSet

	// Effective are the CPUs that an interrupt is delivered to, if they are not all wanted. They may lag behind until
	// the next interrupt arrives.
	Effective CPUSet

	Err error // set if it could not be read
}

// String returns one line about the difference.
func (d Drift) String() string {
	what := Result{Change: d.Change, Status: Failed}.String()
	what = strings.TrimSuffix(what, ": failed")
	switch {
	case d.Err != nil:
		return what + ": " + d.Err.Error()
	case d.Have != d.New:
		return fmt.Sprintf("%s: %s instead of %s", what, orDash(d.Have), orDash(d.New))
	}
	return fmt.Sprintf("%s: still delivered to %s instead of %s", what, d.Effective, d.New)
}

// Verify reads back what a plan wants, for interrupts also where they are delivered to in fact, and returns what
// differs. Do that some seconds later as well: irqbalance moves interrupts every 10 s, and drivers forget them when
// they are reset. Interrupts that the kernel places itself always differ.
func (h *Host) Verify(p Plan) []Drift {
	var drift []Drift
	for _, c := range p.Changes {
		d := Drift{Change: c}
		text, err := readText(h.root, c.file())
		if err == nil {
			d.Have, err = c.parse(text)
		}
		d.Err = err
		if err == nil && c.Kind == Affinity {
			if _, effective, err := h.Affinity(c.IRQ); err == nil && !effective.Minus(c.New).IsEmpty() {
				d.Effective = effective
			}
		}
		if d.Err != nil || d.Have != c.New || !d.Effective.IsEmpty() {
			drift = append(drift, d)
		}
	}
	return drift
}

// Outcome says what was done to take a change back.
type Outcome uint8

// Outcomes.
const (
	RestoreNotNeeded Outcome = iota // was as before already
	RestoreDone                     // is as before again
	RestoreForeign                  // someone else has changed it since; left alone
	RestoreGone                     // no longer exists
	RestoreFailed
)

// String returns a few words for people, or "outcome(N)".
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "outcome(" + strconv.Itoa(int(o)) + ")"
}

var outcomeNames = [...]string{
	RestoreNotNeeded: "was as before", RestoreDone: "restored", RestoreForeign: "changed by someone else, left alone",
	RestoreGone: "no longer exists", RestoreFailed: "failed",
}

// Restored says what became of one file when changes were taken back.
type Restored struct {
	File    string // below the root
	Now     string // what it held when they were; empty if it is gone
	Old     string // what it held before the changes
	Outcome Outcome
	Err     error // of RestoreFailed
}

// Undo restores what the plans changed that were applied with this journal, in reverse order, and removes the journal.
// What someone else has changed since is left alone, and interrupts that have gone are passed over. If something could
// not be restored, the journal stays.
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
		err = fmt.Errorf("irq: %w", err)
	}
	results, errs := convert(done), []error{err}
	for _, r := range results {
		if r.Outcome == RestoreFailed {
			errs = append(errs, fmt.Errorf("irq: restore %s: %w", r.File, r.Err))
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
		return nil, fmt.Errorf("irq: %w", err)
	}
	return convert(j.Preview(h.root, same)), nil
}

func convert(results []hostfs.Result) []Restored {
	outcomes := [...]Outcome{
		hostfs.Unchanged: RestoreNotNeeded, hostfs.Restored: RestoreDone, hostfs.Foreign: RestoreForeign,
		hostfs.Gone: RestoreGone, hostfs.Failed: RestoreFailed,
	}
	list := make([]Restored, len(results))
	for i, r := range results {
		list[i] = Restored{
			File: r.Edit.Name, Now: strings.TrimSpace(r.Now), Old: strings.TrimSpace(r.Edit.Old), Outcome: outcomes[r.Outcome], Err: r.Err,
		}
	}
	return list
}

// same compares two contents of a file as sets of CPUs.
func same(name, a, b string) bool {
	setA, errA := parseFile(name, a)
	setB, errB := parseFile(name, b)
	if errA != nil || errB != nil {
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	return setA == setB
}
