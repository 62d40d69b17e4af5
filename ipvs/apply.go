package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ApplyOptions say how [Client.Apply] works. The zero value, and a nil pointer to it, are the usual way.
type ApplyOptions struct {
	DiffOptions

	// DryRun makes the plan and changes nothing: every change in the report is not tried.
	DryRun bool

	// Grace, if it is not zero, is how long what is not wanted stays in the table with weight 0 before it is deleted:
	// connections that are being opened get through then, of which deleting at once cuts some off. A second is enough in
	// most networks; persistent clients need expire_quiescent_template too. If the context ends meanwhile, weights stay 0,
	// and another call goes on from there. It means nothing to what KeepOrder deletes and adds.
	Grace time.Duration

	// StopOnError ends at the first change that fails; each change is then a request of its own, which takes longer.
	// Otherwise all changes are tried.
	StopOnError bool
}

// How often Apply reads the table again when another process changes it at the same time.
const applyTries = 3

// Apply makes the kernel's table be like want: it reads the table, compares, and sends what differs, in the order and
// with the exceptions that [Diff] describes. An equal table is not touched, so that a second call does nothing.
//
// When a change fails because another process changed the table in between, the table is read and compared again, a
// few times; the report then has the changes of all rounds. What still fails is in the report and its error.
//
// Deleting a destination cuts its connections off, as everywhere in IPVS, those that are just being opened too. Grace
// spares the latter; DiffOptions.Quiesce and [Client.Drain] all of them.
//
// The error matches [fs.ErrInvalid] if want is not well formed, with the place in a [FieldError], has a service that the
// caller does not own, or Grace is negative; nothing was changed then.
func (c *Client) Apply(ctx context.Context, want Ruleset, opts *ApplyOptions) (Report, error) {
	if opts == nil {
		opts = &ApplyOptions{}
	}
	fail := func(r Report, err error) (Report, error) {
		return r, (&operation{name: "apply ruleset"}).fail(err)
	}
	if opts.Grace < 0 {
		return fail(Report{}, fieldErrorf("Grace", "%v is negative", opts.Grace))
	}
	if err := want.validateRest(); err != nil {
		return fail(Report{}, err)
	}
	if opts.Owned != nil {
		for i := range want.Services {
			if id := want.Services[i].ID; !opts.Owned(id) {
				return fail(Report{}, fieldErrorf(fmt.Sprintf("Services[%d].ID", i), "%v belongs to somebody else", id))
			}
		}
	}
	var total Report
	have, ok := c.pictures.Get().(*Snapshot)
	if !ok {
		have = &Snapshot{}
	}
	defer c.pictures.Put(have)
	for try := 1; ; try++ {
		err := c.SnapshotInto(ctx, have)
		var changes []Change
		deletes := 0
		// Services that match those of the kernel need no look at each of them before.
		if err != nil || !have.matches(&want, &opts.DiffOptions) {
			if invalid := want.validateServices(); invalid != nil {
				return fail(total, invalid)
			}
			if err != nil {
				return fail(total, err)
			}
			changes, deletes = diff(have.Ruleset(), want, &opts.DiffOptions, opts.Grace > 0)
		}
		if opts.DryRun {
			return Report{changes, make([]Outcome, len(changes))}, nil
		}
		if len(changes) == 0 {
			return total, total.Err()
		}
		r, err := c.doWithGrace(ctx, changes, deletes, opts)
		if try < applyTries && conflict(&r) && ctx.Err() == nil {
			// What failed, or was not tried for it, is planned anew with the table as it is now.
			total.add(r, func(o Outcome) bool { return o.State == Applied })
			continue
		}
		if try == 1 {
			return r, err
		}
		total.add(r, func(Outcome) bool { return true })
		return total, err
	}
}

// doWithGrace carries out changes, and waits before those from deletes on if any of the others sets a weight to 0.
func (c *Client) doWithGrace(ctx context.Context, changes []Change, deletes int, opts *ApplyOptions) (Report, error) {
	if deletes == len(changes) || !slices.ContainsFunc(changes[:deletes], func(ch Change) bool {
		return ch.Kind == DestinationSet && ch.Destination.Weight == 0
	}) {
		return c.do(ctx, changes, opts.StopOnError)
	}
	first, err := c.do(ctx, changes[:deletes], opts.StopOnError)
	r := Report{changes, slices.Concat(first.Outcomes, make([]Outcome, len(changes)-deletes))}
	if err != nil && opts.StopOnError {
		return r, err
	}
	timer := time.NewTimer(opts.Grace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return r, (&operation{name: "apply changes"}).fail(ctx.Err())
	}
	second, deleteErr := c.do(ctx, changes[deletes:], opts.StopOnError)
	copy(r.Outcomes[deletes:], second.Outcomes)
	return r, errors.Join(err, deleteErr)
}

func (r *Report) add(other Report, which func(Outcome) bool) {
	for i := range other.Outcomes {
		if which(other.Outcomes[i]) {
			r.Changes = append(r.Changes, other.Changes[i])
			r.Outcomes = append(r.Outcomes, other.Outcomes[i])
		}
	}
	r.Changes, r.Outcomes = slices.Clip(r.Changes), slices.Clip(r.Outcomes)
}

// conflict reports whether a change failed in a way that another process's change explains.
func conflict(r *Report) bool {
	for i := range r.Outcomes {
		err := r.Outcomes[i].Err
		if err == nil {
			continue
		}
		for _, target := range []error{ErrServiceExists, ErrDestinationExists, ErrNoService, ErrNoDestination, ErrDaemonRuns, ErrNoDaemon} {
			if errors.Is(err, target) {
				return true
			}
		}
	}
	return false
}
