package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Part is one thing that a machine's role consists of, such as its entries in the table or a bound address.
type Part interface {
	// Start and Stop find out what is to be done. Nothing is changed yet.
	Start(ctx context.Context) (Action, error)
	Stop(ctx context.Context) (Action, error)

	// Check looks at how things are.
	Check(ctx context.Context) (Look, error)
}

// Recorder is a part that leaves a file for later runs. Of all that start or stop such parts one runs at a time.
type Recorder interface {
	Part
	RecordFile() string // empty for none
}

// lock waits for others that start or stop parts with records.
func lock(ctx context.Context, out io.Writer, parts []Part, dry bool) (unlock func(), err error) {
	for _, p := range parts {
		if r, ok := p.(Recorder); ok && r.RecordFile() != "" && !dry {
			return lockFolder(ctx, out, filepath.Dir(r.RecordFile()))
		}
	}
	return func() {}, nil
}

// lockFolder makes a folder if it is not there and takes its lock.
func lockFolder(ctx context.Context, out io.Writer, name string) (unlock func(), err error) {
	if err := os.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return LockFile(ctx, f, func() { fmt.Fprintln(out, "waiting for another start or stop to end") })
}

// Action is what a part is about to do.
type Action struct {
	Text string // each change on a line of its own, empty if nothing changes
	Kept string // what stays although it is to be stopped, and why, whole lines

	// Do does it, and takes back what it did if it fails. It may be nil. It is called without a text too, as there may be
	// something to be remembered.
	Do func(ctx context.Context) error

	// Undo takes back what Do did. It is called if a later part fails, and not needed in the last one.
	Undo func(ctx context.Context) error
}

// Look is what a part looks like.
type Look struct {
	Name     string // of the part, in JSON
	Text     string // for people, whole lines
	Value    any    // for JSON, nil for none
	Findings []Finding
	Notes    []string // worth knowing, but not wrong
}

// Finding is something wrong.
type Finding struct {
	Problem string `json:"problem"` // one sentence without a full stop
	Mend    string `json:"mend"`    // what to do about it, empty if the problem says it
}

// String returns both on one line.
func (f Finding) String() string {
	if f.Mend == "" {
		return f.Problem
	}
	return f.Problem + ": " + f.Mend
}

// Start starts the parts in order. All are planned before anything is done. If one fails, also because the context ends,
// those before it are taken back in reverse order, so that the machine is as before. With dry set it only shows what would
// be done.
func Start(ctx context.Context, out io.Writer, parts []Part, dry bool) error {
	unlock, err := lock(ctx, out, parts, dry)
	if err != nil {
		return err
	}
	defer unlock()
	var actions []Action
	for _, p := range parts {
		a, err := p.Start(ctx)
		if err != nil {
			return err
		}
		actions = append(actions, a)
	}
	var done []Action
	for _, a := range actions {
		if err := a.run(ctx, out, dry); err != nil {
			return errors.Join(err, undo(context.WithoutCancel(ctx), out, done))
		}
		if a.Text != "" {
			done = append(done, a)
		}
	}
	if len(done) == 0 {
		fmt.Fprintln(out, "nothing to do")
	}
	return nil
}

func (a Action) run(ctx context.Context, out io.Writer, dry bool) error {
	fmt.Fprint(out, a.Text)
	if dry || a.Do == nil {
		return nil
	}
	return a.Do(ctx)
}

func undo(ctx context.Context, out io.Writer, done []Action) error {
	var errs []error
	for _, a := range slices.Backward(done) {
		if a.Undo == nil {
			continue
		}
		first, _, _ := strings.Cut(a.Text, "\n")
		fmt.Fprintln(out, "taking back:", first)
		errs = append(errs, a.Undo(ctx))
	}
	return errors.Join(errs...)
}

// stopTimeout bounds what goes on after the context has ended.
const stopTimeout = 2 * time.Minute

// Stop stops the parts in reverse order, and all that can be even if one fails; but nothing is done if one of them finds a
// [Contradiction]. Once begun it goes on to the end, also when the context ends meanwhile, so that no half of a role
// remains. With dry set it only shows what would be done.
func Stop(ctx context.Context, out io.Writer, parts []Part, dry bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	unlock, err := lock(ctx, out, parts, dry)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var errs []error
	var actions []Action
	for _, p := range slices.Backward(parts) {
		a, err := p.Stop(ctx)
		if _, ok := errors.AsType[*Contradiction](err); ok {
			return err
		}
		if errs = append(errs, err); err == nil {
			actions = append(actions, a)
		}
	}
	idle := true
	for _, a := range actions {
		fmt.Fprint(out, a.Kept)
		idle = idle && a.Text == ""
		errs = append(errs, a.run(ctx, out, dry))
	}
	err = errors.Join(errs...)
	if err == nil && idle {
		fmt.Fprintln(out, "nothing to do")
	}
	return err
}

// Contradiction is the error of a flag that says something else than what start has recorded.
type Contradiction struct {
	Flag   string // as it is written, with its value
	Record string // what start did
}

// Error says both.
func (c *Contradiction) Error() string {
	return fmt.Sprintf("%s: %s, and nothing is done; stop does not need the flag", c.Flag, c.Record)
}

// Checks is a part that is only looked at.
type Checks func(ctx context.Context) (Look, error)

// Start does nothing.
func (Checks) Start(context.Context) (Action, error) { return Action{}, nil }

// Stop does nothing.
func (Checks) Stop(context.Context) (Action, error) { return Action{}, nil }

// Check calls the function.
func (c Checks) Check(ctx context.Context) (Look, error) { return c(ctx) }
