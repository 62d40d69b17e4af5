package hostfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain is also the program that a test starts as another process: it takes a lock, says so, and holds it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LVS_HOSTFS_LOCK"); dir != "" {
		if _, err := Lock(context.Background(), Dir(dir), "journal"); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("locked\n")
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// osRoot is a folder whose methods are those of os.Root.
type osRoot struct {
	*os.Root
	failing bool // when a file beside another is written
}

func (r osRoot) Open(name string) (fs.File, error) { return r.Root.Open(name) }

func (r osRoot) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if r.failing && strings.HasSuffix(name, ".new") {
		return errors.Join(r.Root.WriteFile(name, data[:1], perm), fs.ErrPermission)
	}
	return r.Root.WriteFile(name, data, perm)
}

// A root with os.Root's methods never has a part of a file under its name.
func TestReplaceFileRenames(t *testing.T) {
	dir := t.TempDir()
	opened, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for failing, content := range map[bool]string{false: "new", true: "newer"} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := ReplaceFile(osRoot{opened, failing}, "file", []byte(content), 0o644)
		if errors.Is(err, fs.ErrPermission) != failing {
			t.Errorf("failing %v: %v", failing, err)
		}
		entries, errRead := os.ReadDir(dir)
		data, errFile := os.ReadFile(filepath.Join(dir, "file"))
		if err := errors.Join(errRead, errFile); err != nil || len(entries) != 1 || string(data) != map[bool]string{false: "new", true: "old"}[failing] {
			t.Errorf("failing %v: %q among %v, %v", failing, data, entries, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	opened, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for name, root := range map[string]fs.FS{"folder": Dir(dir), "os.Root": osRoot{opened, false}, "memory": NewMem(nil)} {
		t.Run(name, func(t *testing.T) {
			const journal = "run/lvs/journal.json"
			unlock, err := Lock(t.Context(), root, journal)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if _, err := Lock(ctx, root, journal); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("locked twice: %v", err)
			}
			other, err := Lock(t.Context(), root, "run/lvs/other.json")
			if err != nil {
				t.Errorf("another file: %v", err)
			}
			other()
			unlock()
			// One at a time, however many want it, and no file is left.
			inside := 0
			var mu sync.Mutex
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 5 {
						unlock, err := Lock(t.Context(), root, journal)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						if inside++; inside > 1 {
							t.Error("two at a time")
						}
						mu.Unlock()
						time.Sleep(time.Millisecond)
						mu.Lock()
						inside--
						mu.Unlock()
						unlock()
					}
				})
			}
			all.Wait()
			if _, err := fs.Stat(root, journal+".lock"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file is left: %v", err)
			}
		})
	}
	// A tree that cannot be locked is the caller's alone.
	for range 2 {
		if _, err := Lock(t.Context(), plain{NewMem(nil)}, "journal"); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), Dir(dir), "file/journal"); err == nil {
		t.Error("locked where there is no folder")
	}
}

// The lock is between processes, and goes with one that is killed.
func TestLockProcesses(t *testing.T) {
	if !canLock {
		t.Skip("no locks on this system")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "LVS_HOSTFS_LOCK="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := make([]byte, 7)
	if n, err := out.Read(line); err != nil || !strings.HasPrefix("locked\n", string(line[:n])) || n == 0 {
		t.Fatalf("the other process says %q, %v", line[:n], err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, Dir(dir), "journal"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked while another process holds it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(t.Context(), Dir(dir), "journal")
	if err != nil {
		t.Fatalf("after the other process was killed: %v", err)
	}
	unlock()
}
