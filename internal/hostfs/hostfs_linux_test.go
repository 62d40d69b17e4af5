package hostfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHostWritesOnce(t *testing.T) {
	// Each write of this file replaces the whole mask, and any process may write its own.
	const name = "proc/self/coredump_filter"
	root := Host(NetNS{})
	old, err := root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile(name, []byte("0x33\n"), 0); err != nil {
		t.Fatal(err)
	}
	defer root.WriteFile(name, append([]byte("0x"), old...), 0)
	if got, err := root.ReadFile(name); err != nil || strings.TrimLeft(string(got), "0") != "33\n" {
		t.Errorf("reads back %q, %v", got, err)
	}
	if err := root.WriteFile("proc/self/no-such-file", nil, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := root.WriteFile("proc/self", []byte("x"), 0); err == nil {
		t.Error("wrote a directory")
	}
}

func TestHostReads(t *testing.T) {
	root := Host(NetNS{})
	for _, name := range []string{"proc/net/dev", "proc/self/net/dev", "proc/thread-self/net/dev"} {
		data, err := root.ReadFile(name)
		if err != nil || !strings.Contains(string(data), "Inter-|") {
			t.Errorf("ReadFile(%q) = %.40q, %v", name, data, err)
		}
	}
	entries, err := root.ReadDir("proc/sys/net/ipv4/conf")
	if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "all" }) {
		t.Errorf("ReadDir = %v, %v", entries, err)
	}
	if _, err := root.Stat("proc/sys/net/ipv4/conf/all/arp_ignore"); err != nil {
		t.Error(err)
	}
}

func TestOwnNamespaceByFileAndPath(t *testing.T) {
	f, err := ResolveNetNS("", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := ResolveNetNS("", f)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	byPath, err := ResolveNetNS("/proc/self/ns/net", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer byPath.Close()
	for _, other := range []*os.File{again, byPath} {
		if inode(t, other) != inode(t, f) || other.Fd() == f.Fd() {
			t.Errorf("%v is not another descriptor of the same namespace", other.Name())
		}
	}
}

func inode(t testing.TB, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func kernelTest(t *testing.T) {
	t.Helper()
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Skip("needs a real kernel and root: set LVS_KERNEL_TEST=1")
	}
}

// newNS makes a network namespace and returns it open.
func newNS(t *testing.T) *os.File {
	t.Helper()
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread stays in the new namespace and ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.f.Close() })
	return r.f
}

func TestIntegrationNamespace(t *testing.T) {
	kernelTest(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const key = "proc/sys/net/ipv4/conf/all/arp_announce"
	here := Host(NetNS{})
	before, err := here.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	home, err := ResolveNetNS("", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()

	ns := NetNS{File: newNS(t)}
	there := Host(ns)
	if err := there.WriteFile(key, []byte("7\n"), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := there.ReadFile(key); err != nil || string(got) != "7\n" {
		t.Errorf("there: %q, %v", got, err)
	}
	if got, err := here.ReadFile(key); err != nil || string(got) != string(before) {
		t.Errorf("here: %q, %v, want %q", got, err, before)
	}

	// What was opened there is read here.
	f, err := there.Open(key)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "7\n" {
		t.Errorf("streamed: %q, %v", got, err)
	}
	for _, name := range []string{"proc/net/dev", "proc/self/net/dev", "proc/thread-self/net/dev"} {
		f, err := there.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		f.Close()
		if err != nil || !strings.Contains(string(data), "lo:") || strings.Contains(string(data), "eth0:") {
			t.Errorf("%s there: %q, %v", name, data, err)
		}
	}
	entries, err := fs.ReadDir(there, "proc/sys/net/ipv4/conf")
	if err != nil {
		t.Fatal(err)
	}
	d, err := there.Open("proc/sys/net/ipv4/conf")
	if err != nil {
		t.Fatal(err)
	}
	streamed, err := d.(fs.ReadDirFile).ReadDir(-1)
	if err != nil || len(streamed) != len(entries) || len(entries) < 3 {
		t.Errorf("directory: %v and %v, %v", entries, streamed, err)
	}

	// The caller's thread never moved.
	if now, err := ResolveNetNS("", nil); err != nil || inode(t, now) != inode(t, home) {
		t.Errorf("the calling thread is elsewhere: %v", err)
	}

	// By path and by name.
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := filepath.Join(netnsDir, "lvs-hostfs-test")
	if err := os.WriteFile(mount, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(mount)
	if _, err := (NetNS{Name: "lvs-hostfs-test"}).Open(); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name without its mount: %v, want fs.ErrInvalid", err)
	}
	if err := ns.Do(func() error {
		return unix.Mount("/proc/thread-self/ns/net", mount, "", unix.MS_BIND, "")
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(mount, unix.MNT_DETACH)
	for _, name := range []string{"lvs-hostfs-test", mount} {
		if got, err := Host(NetNS{Name: name}).ReadFile(key); err != nil || string(got) != "7\n" {
			t.Errorf("namespace %q: %q, %v", name, got, err)
		}
	}
}

func TestIntegrationGoexit(t *testing.T) {
	kernelTest(t)
	err := NetNS{File: newNS(t)}.Do(func() error { runtime.Goexit(); return nil })
	if !errors.Is(err, errGoexit) {
		t.Errorf("Do = %v", err)
	}
}

// A value that the kernel takes only in part must not pass for written.
func TestIntegrationShortWrite(t *testing.T) {
	kernelTest(t)
	root := Host(NetNS{File: newNS(t)})
	err := root.WriteFile("proc/sys/net/ipv4/tcp_fin_timeout", []byte("41 42\n"), 0)
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("two values for one: %v, want io.ErrShortWrite", err)
	}
}
