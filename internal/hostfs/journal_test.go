package hostfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sameText(_, a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) }

func TestJournalRestore(t *testing.T) {
	boom := errors.New("boom")
	m := NewMem(map[string]string{
		"proc/sys/a": "1\n", "proc/sys/b": "1\n", "proc/sys/c": "7\n", "proc/sys/e": "1\n", "proc/sys/f": "9\n",
		"etc/new": "n", "etc/old": "n", "etc/mine": "edited by hand",
	})
	m.FailWrite("proc/sys/e", boom)
	j := Journal{Edits: []Edit{
		{Name: "proc/sys/a", Old: "0\n", New: "1"},
		{Name: "proc/sys/b", Old: "1\n", New: "2"},
		{Name: "proc/sys/c", Old: "0\n", New: "1"},
		{Name: "proc/sys/d", Old: "0\n", New: "1"},
		{Name: "proc/sys/e", Old: "0\n", New: "1"},
		{Name: "proc/sys/f", Old: "0\n", New: "1"},
		{Name: "etc/new", New: "n", Whole: true, Created: true},
		{Name: "etc/old", Old: "o", New: "n", Whole: true},
		{Name: "etc/mine", New: "n", Whole: true, Created: true},
		{Name: "etc/none", New: "n", Whole: true, Created: true},
	}}
	var got []Outcome
	for _, r := range j.Restore(m, sameText, "proc/sys/f") {
		got = append(got, r.Outcome)
		if (r.Err != nil) != (r.Outcome == Failed) {
			t.Errorf("%s: outcome %d with error %v", r.Edit.Name, r.Outcome, r.Err)
		}
	}
	want := []Outcome{Restored, Unchanged, Foreign, Gone, Failed, Restored, Restored, Restored, Foreign, Unchanged}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	files := map[string]string{
		"proc/sys/a": "0\n", "proc/sys/b": "1\n", "proc/sys/c": "7\n", "proc/sys/e": "1\n", "proc/sys/f": "0\n",
		"etc/old": "o", "etc/mine": "edited by hand",
	}
	if diff := cmp.Diff(files, m.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// Taking back ip_forward sets the interfaces' values once more; they get back what each had.
func TestJournalRestoreImplied(t *testing.T) {
	m := NewMem(map[string]string{"proc/sys/cause": "1\n", "proc/sys/one": "1\n", "proc/sys/two": "1\n", "proc/sys/other": "5\n"})
	m.OnWrite("proc/sys/cause", func(_, data []byte) ([]byte, error) {
		for _, name := range []string{"proc/sys/one", "proc/sys/two", "proc/sys/other"} {
			m.nodes[name].data = data // the lock is held during the hook
		}
		return data, nil
	})
	j := Journal{Edits: []Edit{
		{Name: "proc/sys/cause", Old: "0\n", New: "1"},
		{Name: "proc/sys/one", Old: "0\n", New: "1", Implied: true},
		{Name: "proc/sys/two", Old: "1\n", New: "1", Implied: true},
		{Name: "proc/sys/other", Old: "0\n", New: "1", Implied: true},
	}}
	results := j.Restore(m, sameText)
	want := map[string]string{"proc/sys/cause": "0\n", "proc/sys/one": "0\n", "proc/sys/two": "1\n", "proc/sys/other": "5\n"}
	if diff := cmp.Diff(want, m.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if results[3].Outcome != Foreign {
		t.Errorf("the value that someone changed: outcome %d", results[3].Outcome)
	}
}

func TestJournalReadBack(t *testing.T) {
	m := NewMem(map[string]string{"proc/sys/a": "1\n"})
	m.OnWrite("proc/sys/a", func(_, _ []byte) ([]byte, error) { return []byte("3\n"), nil })
	r := Journal{Edits: []Edit{{Name: "proc/sys/a", Old: "0\n", New: "1\n"}}}.Restore(m, sameText)
	if r[0].Outcome != Failed || r[0].Err == nil {
		t.Errorf("a value that does not stick: %+v", r[0])
	}
}

func TestJournalMerge(t *testing.T) {
	first := Journal{Edits: []Edit{
		{Name: "kept", Old: "0", New: "1"},
		{Name: "again", Old: "0", New: "1"},
		{Name: "foreign", Old: "0", New: "1"},
		{Name: "file", New: "x", Whole: true, Created: true},
	}}
	second := Journal{Edits: []Edit{
		{Name: "again", Old: "1\n", New: "2"},
		{Name: "foreign", Old: "5", New: "2"},
		{Name: "file", Old: "x", New: "y", Whole: true},
		{Name: "new", Old: "0", New: "1"},
	}}
	want := Journal{Edits: []Edit{
		{Name: "kept", Old: "0", New: "1"},
		{Name: "again", Old: "0", New: "2", Past: []string{"1"}},
		{Name: "foreign", Old: "5", New: "2"},
		{Name: "file", New: "y", Past: []string{"x"}, Whole: true, Created: true},
		{Name: "new", Old: "0", New: "1"},
	}}
	merged := first.Merge(second, sameText)
	if diff := cmp.Diff(want, merged); diff != "" || merged.Settled() {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	// The process that wrote it was killed before it changed a thing, and so was the next.
	third := Journal{Edits: []Edit{{Name: "again", Old: "1", New: "3"}, {Name: "file", Old: "x", New: "x", Whole: true}}}
	want = Journal{Edits: []Edit{
		{Name: "kept", Old: "0", New: "1"},
		{Name: "foreign", Old: "5", New: "2"},
		{Name: "new", Old: "0", New: "1"},
		{Name: "again", Old: "0", New: "3", Past: []string{"1", "2"}},
		{Name: "file", New: "x", Past: []string{"y"}, Whole: true, Created: true},
	}}
	merged = merged.Merge(third, sameText)
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	content := map[string]string{"kept": "1", "again": "1\n", "foreign": "2", "file": "y", "new": "7"}
	m := NewMem(content)
	preview := merged.Preview(m, sameText)
	if diff := cmp.Diff(content, m.Files()); diff != "" {
		t.Errorf("Preview changed (-want +got):\n%s", diff)
	}
	results := merged.Restore(m, sameText)
	if diff := cmp.Diff(preview, results); diff != "" {
		t.Errorf("Preview and Restore (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"kept": "0\n", "again": "0\n", "foreign": "5\n", "new": "7"}, m.Files()); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	// Once all is done, what was wanted earlier is somebody else's.
	settled := merged.Settle()
	m = NewMem(map[string]string{"again": "1\n"})
	if r := settled.Restore(m, sameText); !settled.Settled() || merged.Settled() || r[3].Outcome != Foreign || r[3].Now != "1\n" {
		t.Errorf("settled: %+v", r)
	}
}

func TestJournalSaveLoad(t *testing.T) {
	tmp := t.TempDir()
	root := Dir(tmp)
	const name = "run/lvs/journal.json"
	if _, err := LoadJournal(root, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no journal: %v", err)
	}
	want := Journal{Edits: []Edit{{Name: "proc/sys/a", Old: "0\n", New: "1"}, {Name: "etc/x", New: "y", Whole: true, Created: true}}}
	if err := want.Save(root, name); err != nil {
		t.Fatal(err)
	}
	got, err := LoadJournal(root, name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	for range 2 { // an empty one leaves no file, also where there was none
		if err := (Journal{}).Save(root, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(tmp, name)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty journal left: %v", err)
	}
	for _, bad := range []string{"{", `{"edits":[{"name":"../../etc/passwd"}]}`} {
		m := NewMem(map[string]string{name: bad})
		if _, err := LoadJournal(m, name); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	if err := Remove(plain{NewMem(map[string]string{"x": ""})}, "x"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("removing where that is impossible: %v", err)
	}
}
