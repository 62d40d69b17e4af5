package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/golvs/lvs/ipvs"
)

// ReadRules reads a whole rule file of changes. The first mistake is returned, a [*RuleError]: a line that cannot be parsed,
// or a command that changes nothing.
func (p *Parser) ReadRules(ctx context.Context, r io.Reader) ([]Rule, error) {
	var rules []Rule
	for rule, err := range p.Rules(ctx, r) {
		if err != nil {
			return nil, err
		}
		if c := rule.Operation.Command; !c.Changes() {
			return nil, &RuleError{Line: rule.Line, Err: &Error{
				Kind: Illegal, Option: c.String(), Word: -1, Text: "the '" + c.String() + "' command changes nothing",
			}}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// UndoError says that changes were made and could not all be taken back.
type UndoError struct {
	Err  error   // why the changes ended
	Undo []error // what could not be taken back, and why
}

// Error says how many changes are left.
func (e *UndoError) Error() string {
	return fmt.Sprintf("%v; %d changes could not be undone: %v", e.Err, len(e.Undo), errors.Join(e.Undo...))
}

// Unwrap returns Err.
func (e *UndoError) Unwrap() error { return e.Err }

// ApplyAll carries out all rules or none. The current state is read and the rules are tried on a copy: what can be told
// without the kernel, above all services and destinations that are there already or are not there, is found before
// anything is changed. If the kernel refuses a rule after that, or the context ends, the changes before it are taken back,
// and the rule itself if it is not known what became of it.
//
// The error is a [*RuleError] with the line of the rule that is to blame. It wraps an [*ipvs.OpError], and in the worst
// case an [*UndoError]. Taking back does not bring counters back, nor the place of a deleted destination in the kernel's
// list, and other programs see the table in between.
func ApplyAll(ctx context.Context, c *ipvs.Client, rules []Rule) error {
	state, err := c.Snapshot(ctx)
	if err != nil {
		return err
	}
	m := newModel(state)
	undo := make([][]Operation, 0, len(rules))
	for _, r := range rules {
		back, err := m.apply(r.Operation)
		if err != nil {
			return &RuleError{Line: r.Line, Err: err}
		}
		undo = append(undo, back)
	}
	for i, r := range rules {
		err := r.Operation.Apply(ctx, c)
		if err == nil {
			continue
		}
		var failed []error
		if unclear(err) {
			failed = slices.DeleteFunc(takeBack(ctx, c, undo[i:i+1]), nothingToUndo)
		}
		if failed = append(failed, takeBack(ctx, c, undo[:i])...); len(failed) > 0 {
			err = &UndoError{err, failed}
		}
		return &RuleError{Line: r.Line, Err: err}
	}
	return nil
}

// unclear reports whether the kernel may have executed a request that failed: its answer was lost, or not waited for.
func unclear(err error) bool {
	e, ok := errors.AsType[*ipvs.OpError](err)
	return ok && (e.Errno == 0 || e.Errno == eNOBUFS) && !refused(err)
}

// nothingToUndo reports whether taking back failed because the change had not been made.
func nothingToUndo(err error) bool {
	for _, target := range []error{
		ipvs.ErrNoService, ipvs.ErrServiceExists, ipvs.ErrNoDestination, ipvs.ErrDestinationExists, ipvs.ErrNoDaemon, ipvs.ErrDaemonRuns,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// takeBack undoes changes, the last one first, also when the context has ended.
func takeBack(ctx context.Context, c *ipvs.Client, undo [][]Operation) (failed []error) {
	ctx = context.WithoutCancel(ctx)
	for _, back := range slices.Backward(undo) {
		for _, op := range back {
			if err := op.Apply(ctx, c); err != nil {
				failed = append(failed, fmt.Errorf("%v: %w", op, err))
			}
		}
	}
	return failed
}
