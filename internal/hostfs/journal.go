package hostfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Edit is one change of a file, with what is needed to take it back.
type Edit struct {
	Name string `json:"name"`
	Old  string `json:"old"` // content before
	New  string `json:"new"` // content wanted

	// Past are contents that were wanted before New and may still be there: the process that wanted New may have been
	// killed before it wrote it.
	Past []string `json:"past,omitempty"`

	// Whole is set for an ordinary file that is replaced, and not for a value of the kernel's.
	Whole bool `json:"whole,omitempty"`

	// Created is set for an ordinary file that did not exist before.
	Created bool `json:"created,omitempty"`

	// Implied is set for a value that the kernel changes when an earlier edit is made.
	Implied bool `json:"implied,omitempty"`
}

// Journal is a record of edits from which they can be undone, by another process too.
type Journal struct {
	Edits []Edit `json:"edits"`
}

// Result says what became of an edit when its journal was restored.
type Result struct {
	Edit Edit
	Now  string // content found; empty if there is no file
	Outcome
	Err error // of Failed
}

// Outcome says what [Journal.Restore] did about an edit, or would do.
type Outcome uint8

// Outcomes.
const (
	Unchanged Outcome = iota // held the old content already
	Restored                 // holds the old content again
	Foreign                  // someone else has changed it since; left alone
	Gone                     // no longer exists, such as a value of a deleted network device
	Failed                   // could not be read or written
)

// Same says whether two contents of a file mean the same.
type Same func(name, a, b string) bool

// LoadJournal reads a journal. The error matches fs.ErrNotExist if there is none.
func LoadJournal(root fs.FS, name string) (Journal, error) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return Journal{}, err
	}
	var j Journal
	if err := json.Unmarshal(data, &j); err != nil {
		return Journal{}, fmt.Errorf("journal %s: %w", name, err)
	}
	for _, e := range j.Edits {
		if err := check("restore", e.Name); err != nil {
			return Journal{}, fmt.Errorf("journal %s: %w", name, err)
		}
	}
	return j, nil
}

// Save writes the journal, or removes the file if there is nothing to undo. Its directory is made if root can.
func (j Journal) Save(root WriteFS, name string) error {
	if len(j.Edits) == 0 {
		return Remove(root, name)
	}
	data, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return err
	}
	if err := mkdirAll(root, path.Dir(name)); err != nil {
		return err
	}
	return ReplaceFile(root, name, append(data, '\n'), 0o600)
}

// Merge returns the journal that undoes j and then what happened after it: for a file that both change, the content
// before j is kept if j's change was still in force. Until [Journal.Settle] the content after j counts as this journal's
// as well.
func (j Journal) Merge(later Journal, same Same) Journal {
	edits := slices.Clone(later.Edits)
	var kept []Edit
	for _, earlier := range j.Edits {
		i := slices.IndexFunc(edits, func(e Edit) bool { return e.Name == earlier.Name })
		switch {
		case i < 0:
			kept = append(kept, earlier)
		case earlier.made(same, edits[i].Old):
			past := append(slices.Clone(earlier.Past), earlier.New)
			edits[i].Old, edits[i].Created = earlier.Old, earlier.Created
			edits[i].Past = slices.DeleteFunc(past, func(p string) bool { return same(earlier.Name, p, edits[i].New) })
		}
	}
	return Journal{Edits: append(kept, edits...)}
}

// Settle returns the journal for when all of its edits have been made: only their new contents count as its own.
func (j Journal) Settle() Journal {
	j.Edits = slices.Clone(j.Edits)
	for i := range j.Edits {
		j.Edits[i].Past = nil
	}
	return j
}

// Settled says whether only the new contents of the edits count as the journal's own.
func (j Journal) Settled() bool {
	return !slices.ContainsFunc(j.Edits, func(e Edit) bool { return len(e.Past) > 0 })
}

// made says whether a content is one that the edit, or one before it, has made.
func (e Edit) made(same Same, content string) bool {
	return same(e.Name, content, e.New) || slices.ContainsFunc(e.Past, func(p string) bool { return same(e.Name, content, p) })
}

// Preview says what Restore would do, without doing it.
func (j Journal) Preview(root fs.FS, same Same) []Result {
	results := make([]Result, len(j.Edits))
	for i, e := range j.Edits {
		results[i].Edit = e
		results[i].Now, results[i].Outcome, results[i].Err = e.look(root, same, false)
	}
	return results
}

// Undo takes back what the journal of a name says, and removes it unless an edit could not be taken back.
func Undo(ctx context.Context, root WriteFS, name string, same Same) ([]Result, error) {
	if _, err := fs.Stat(root, name); err != nil {
		return nil, fmt.Errorf("journal: %w", err) // and no folder for the lock is made
	}
	unlock, err := Lock(ctx, root, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	j, err := LoadJournal(root, name)
	if err != nil {
		return nil, err
	}
	results := j.Restore(root, same)
	if slices.ContainsFunc(results, func(r Result) bool { return r.Outcome == Failed }) {
		return results, nil
	}
	if err := Remove(root, name); err != nil {
		return results, fmt.Errorf("journal: %w", err)
	}
	return results, nil
}

// Restore takes the edits back, the last one first. A file that holds neither the old nor the new content has been
// changed by someone else and is left alone, unless its name is in force.
func (j Journal) Restore(root WriteFS, same Same, force ...string) []Result {
	results := make([]Result, len(j.Edits))
	// What follows from another edit follows from taking that back as well, so its target is found out before.
	targets := make([]string, len(j.Edits))
	for i, e := range j.Edits {
		results[i].Edit = e
		if e.Implied {
			targets[i] = e.Old
			if now, err := fs.ReadFile(root, e.Name); err == nil && !same(e.Name, string(now), e.Old) && !e.made(same, string(now)) {
				targets[i], results[i].Outcome = string(now), Foreign
			}
		}
	}
	for i := len(j.Edits) - 1; i >= 0; i-- {
		if e := j.Edits[i]; !e.Implied {
			results[i].Now, results[i].Outcome, results[i].Err = e.restore(root, same, slices.Contains(force, e.Name))
		}
	}
	for i, e := range j.Edits {
		if !e.Implied {
			continue
		}
		e.Old = targets[i]
		now, outcome, err := e.restore(root, same, true)
		results[i].Now = now
		if results[i].Outcome != Foreign || err != nil {
			results[i].Outcome, results[i].Err = outcome, err
		}
	}
	return results
}

// look says what is to be done about a file: nothing, or, with the outcome Restored, to write its old content.
func (e Edit) look(root fs.FS, same Same, force bool) (now string, outcome Outcome, err error) {
	data, err := fs.ReadFile(root, e.Name)
	now = string(data)
	switch {
	case errors.Is(err, fs.ErrNotExist) && e.Created:
		return "", Unchanged, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", Gone, nil
	case err != nil:
		return "", Failed, err
	case !e.Created && same(e.Name, now, e.Old):
		return now, Unchanged, nil
	case !force && !e.made(same, now):
		return now, Foreign, nil
	}
	return now, Restored, nil
}

func (e Edit) restore(root WriteFS, same Same, force bool) (now string, outcome Outcome, err error) {
	now, outcome, err = e.look(root, same, force)
	if outcome != Restored {
		return now, outcome, err
	}
	switch {
	case e.Created:
		err = Remove(root, e.Name)
	case e.Whole:
		err = ReplaceFile(root, e.Name, []byte(e.Old), 0o644)
	default:
		// Demanding each value in one write with its line end is a rule of /proc/sys.
		err = root.WriteFile(e.Name, []byte(strings.TrimRight(e.Old, "\n")+"\n"), 0o644)
	}
	if err != nil {
		return now, Failed, err
	}
	if !e.Created {
		data, err := fs.ReadFile(root, e.Name)
		if err != nil {
			return now, Failed, err
		}
		if !same(e.Name, string(data), e.Old) {
			return now, Failed, fmt.Errorf("%s reads back %q after writing %q", e.Name, data, e.Old)
		}
	}
	return now, Restored, nil
}

// remover and dirMaker have the signatures of os.Root's methods.
type remover interface{ Remove(name string) error }

type dirMaker interface {
	MkdirAll(name string, perm fs.FileMode) error
}

// Remove deletes a file; one that does not exist is fine. The error matches errors.ErrUnsupported if root has no
// Remove method like that of [os.Root].
func Remove(root fs.FS, name string) error {
	r, ok := root.(remover)
	if !ok {
		if _, err := fs.Stat(root, name); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return &fs.PathError{Op: "remove", Path: name, Err: errors.ErrUnsupported}
	}
	if err := r.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mkdirAll makes a directory; a root without the ability is left to say so at the write that needs it.
func mkdirAll(root fs.FS, name string) error {
	if m, ok := root.(dirMaker); ok {
		return m.MkdirAll(name, 0o755)
	}
	return nil
}
