package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each role is applied in a network namespace of its own on the running kernel, and taken back.
func TestIntegrationRoles(t *testing.T) {
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Skip("needs a real kernel and root: set LVS_KERNEL_TEST=1")
	}
	for _, role := range []string{"director-nat", "director-dr", "director-tun", "realserver-dr", "realserver-tun", "director-dr,high-connections,under-attack"} {
		ns := namespace(t)
		path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
		journal := t.TempDir()
		args := []string{"-netns", path, "-role", role, "-journal", journal}
		if role == "realserver-tun" {
			args = append(args, "-tunnel", "lo")
		}
		status, shown, stderr := run(t, "", "", args...)
		if status != exitOK || !strings.Contains(shown, " write ") || stderr != "" {
			t.Errorf("%s: status %d, errors %q, output:\n%s", role, status, stderr, shown)
		}
		if status, stdout, stderr := run(t, "", "", append(args, "-apply")...); status != exitOK || strings.Contains(stdout, "differs") || !strings.Contains(stdout, "applied: ") {
			t.Errorf("%s -apply: status %d, errors %q, output:\n%s", role, status, stderr, stdout)
		}
		if status, stdout, stderr := run(t, "", "", "-netns", path, "-journal", journal, "-undo", "-n"); status != exitOK || strings.Contains(stdout, "leave") || !strings.Contains(stdout, " restore\n") {
			t.Errorf("%s -undo -n: status %d, errors %q, output:\n%s", role, status, stderr, stdout)
		}
		if status, stdout, stderr := run(t, "", "", "-netns", path, "-journal", journal, "-undo"); status != exitOK || strings.Contains(stdout, "left alone") || !strings.Contains(stdout, "restored") {
			t.Errorf("%s -undo: status %d, errors %q, output:\n%s", role, status, stderr, stdout)
		}
		if _, again, _ := run(t, "", "", args...); again != shown {
			t.Errorf("%s: the plan after undo differs:\n%s\nbefore:\n%s", role, again, shown)
		}
	}
}

// namespace returns a fresh network namespace.
func namespace(t *testing.T) *os.File {
	t.Helper()
	var file *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			file, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}
