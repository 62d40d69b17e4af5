package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sysctl"
)

// Settings is the part of a role that consists of kernel parameters. What they were is recorded, so that stopping brings it
// back.
type Settings struct {
	Host    *sysctl.Host
	Program string // its name, for advice
	NetNS   string
	Out     io.Writer

	// Wanted returns the parameters and their values.
	Wanted func(ctx context.Context) ([]sysctl.Setting, error)

	// Needed returns what else needs the settings, which then stay when the part is stopped.
	Needed func(ctx context.Context) ([]ipvs.ServiceID, error)
}

// journal is below run, as the values are gone after a boot too.
func (s *Settings) journal() (string, error) {
	id, err := namespaceID(s.NetNS)
	return fmt.Sprintf("run/lvs/%s-%s.json", s.Program, id), err
}

func (s *Settings) plan(ctx context.Context) (sysctl.Plan, error) {
	wanted, err := s.Wanted(ctx)
	if err != nil {
		return sysctl.Plan{}, err
	}
	return s.Host.Plan(wanted)
}

// Start plans to write what differs.
func (s *Settings) Start(ctx context.Context) (Action, error) {
	plan, err := s.plan(ctx)
	if err != nil || plan.Empty() {
		return Action{}, err
	}
	journal, err := s.journal()
	if err != nil {
		return Action{}, err
	}
	_, err = os.Stat("/" + journal)
	first := errors.Is(err, os.ErrNotExist) // else the journal goes back to before an earlier run
	before := make([]sysctl.Setting, 0, len(plan.Changes))
	for _, c := range plan.Changes {
		if c.Action == sysctl.Write || c.Action == sysctl.Follows {
			before = append(before, sysctl.Setting{Key: c.Key, Value: c.Old})
		}
	}
	return Action{
		Text: plan.String(),
		Do: func(ctx context.Context) error {
			_, err := s.Host.Apply(ctx, plan, &sysctl.ApplyOptions{Journal: journal})
			return err
		},
		Undo: func(ctx context.Context) error {
			if first {
				_, err := s.Host.Undo(ctx, journal)
				return err
			}
			back, err := s.Host.Plan(before)
			if err != nil {
				return err
			}
			_, err = s.Host.Apply(ctx, back, &sysctl.ApplyOptions{Journal: journal})
			return err
		},
	}, nil
}

// Stop plans to restore what the parameters were, if nothing else needs them.
func (s *Settings) Stop(ctx context.Context) (Action, error) {
	journal, err := s.journal()
	if err != nil {
		return Action{}, err
	}
	planned, err := s.Host.PlanUndo(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return Action{}, nil
	} else if err != nil {
		return Action{}, err
	}
	if ids, err := s.Needed(ctx); err != nil || len(ids) > 0 {
		return Action{Kept: needed("what start has recorded in /"+journal, ids)}, err
	}
	return Action{
		Text: restorations(planned),
		Do: func(ctx context.Context) error {
			results, err := s.Host.Undo(ctx, journal)
			for _, r := range results {
				if r.Outcome == sysctl.RestoreForeign && !slices.ContainsFunc(planned, func(p sysctl.Restored) bool { return p.Name == r.Name && p.Outcome == r.Outcome }) {
					fmt.Fprintf(s.Out, "%s: %v\n", r.Name, r.Outcome)
				}
			}
			return err
		},
	}, nil
}

// restorations is a table of what taking back changes, and of what it has to leave.
func restorations(list []sysctl.Restored) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tNOW\tBACK TO\tACTION")
	idle := true
	for _, r := range list {
		action := r.Outcome.String()
		switch r.Outcome {
		case sysctl.RestoreNotNeeded:
			continue
		case sysctl.RestoreDone:
			action = "restore"
		case sysctl.RestoreFailed:
			action = r.Err.Error()
		}
		idle = false
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, cmp.Or(r.Now, "-"), r.Old, action)
	}
	if _ = w.Flush(); idle { // a builder takes everything
		return ""
	}
	return text.String()
}

// Check says which parameters are not as wanted.
func (s *Settings) Check(ctx context.Context) (Look, error) {
	plan, err := s.plan(ctx)
	if err != nil {
		return Look{}, err
	}
	var l Look
	for _, d := range s.Host.Verify(plan) {
		l.Findings = append(l.Findings, Finding{strings.TrimSuffix(d.String(), "."), fmt.Sprintf("%q sets it", s.Program+" start")})
	}
	return l, nil
}
