package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/golvs/lvs/sysctl"
)

const nothingToUndo = "nothing to undo"

// undoing is one line of what -undo would do.
type undoing struct {
	Setting string `json:"setting"`
	Now     string `json:"now"`
	Back    string `json:"back_to"`
	Action  string `json:"action"`
	Error   string `json:"error,omitempty"` // it cannot even be read
}

// actions are what -undo would do, by outcome; package irq has the same ones.
var actions = [...]string{
	sysctl.RestoreNotNeeded: "keep", // is as before already
	sysctl.RestoreDone:      "restore",
	sysctl.RestoreForeign:   "leave", // changed by someone else since
	sysctl.RestoreGone:      "gone",
	sysctl.RestoreFailed:    "fail",
}

// showUndo says what undo would do, in its order, and does nothing.
func (t *tuner) showUndo(ctx context.Context) error {
	list, err := t.planUndo(ctx)
	if t.json {
		return errors.Join(err, t.writeJSON(map[string][]undoing{"undo": list}))
	}
	if len(list) == 0 {
		if err == nil {
			fmt.Fprintln(t.stdout, nothingToUndo)
		}
		return err
	}
	w := tabwriter.NewWriter(t.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tNOW\tBACK TO\tACTION")
	left := false
	for _, u := range list {
		left = left || u.Action == actions[sysctl.RestoreForeign]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Setting, cmp.Or(u.Now, "-"), cmp.Or(u.Back, "-"), strings.TrimSpace(u.Action+" "+u.Error))
	}
	err = errors.Join(err, w.Flush())
	if left {
		fmt.Fprintln(t.stdout, "leave: someone else has changed it since")
	}
	return err
}

func (t *tuner) planUndo(ctx context.Context) ([]undoing, error) {
	list := []undoing{}
	var errs []error
	add := func(name, now, back string, outcome sysctl.Outcome, err error) {
		u := undoing{Setting: name, Now: strings.ReplaceAll(now, "\t", " "), Back: strings.ReplaceAll(back, "\t", " "), Action: actions[outcome]}
		if err != nil {
			u.Error = err.Error()
			errs = append(errs, err)
		}
		list = append(list, u)
	}
	if entry, err := t.loadTimeouts(); err == nil {
		now, err := t.readTimeouts(ctx)
		if err != nil {
			errs = append(errs, err)
		} else {
			add("timeouts tcp tcpfin udp", seconds(now), seconds(entry.Old), entry.outcome(now), nil)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	files, err := t.interrupts.PlanUndo(t.journalFile("irq.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, r := range files {
		add("/"+r.File, r.Now, r.Old, sysctl.Outcome(r.Outcome), r.Err)
	}
	keys, err := t.parameters.PlanUndo(t.journalFile("sysctl.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, r := range keys {
		name, now, back := r.Name, r.Now, r.Old
		if r.File {
			name, now, back = "/"+r.Name, "present", "earlier content"
			if r.Created {
				back = "absent"
			}
			if r.Now == "" {
				now = "absent"
			}
		}
		add(name, now, back, r.Outcome, r.Err)
	}
	return list, errors.Join(errs...)
}
