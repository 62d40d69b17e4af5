package nstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// NS is a network namespace. Its methods are safe for concurrent use.
type NS struct {
	file *os.File

	mu   sync.Mutex
	conn *netlink.Conn // rtnetlink, dialled at first use
}

// New makes a network namespace whose loopback device is up, and in which IPv6 addresses are not looked up for duplicates. It goes when the test ends, unless something still uses it.
func New(t testing.TB) *NS {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{err: os.NewSyscallError("unshare", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatalf("new network namespace: %v", r.err)
	}
	n := &NS{file: r.file}
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.conn != nil {
			n.conn.Close()
		}
		n.file.Close()
	})
	for _, name := range []string{"accept_dad", "dad_transmits", "router_solicitations"} {
		for _, scope := range []string{"all", "default"} {
			// So that link-local addresses are usable at once too. A kernel may be without IPv6.
			if err := n.writeSysctl("net/ipv6/conf/"+scope+"/"+name, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	n.Up(t, "lo")
	return n
}

// File returns the open namespace. It belongs to n and is closed when the test ends.
func (n *NS) File() *os.File { return n.file }

// Path returns a path of the namespace, which is good within this process until the test ends.
func (n *NS) Path() string { return fmt.Sprintf("/proc/self/fd/%d", n.file.Fd()) }

// Do runs f inside of the namespace, in the calling goroutine, on a thread that nothing else uses meanwhile: sockets that f
// opens belong to the namespace for ever, and files below /proc/sys/net and /proc/thread-self/net that f opens are the
// namespace's. Goroutines that f starts run elsewhere. f may end the test, and may call Do of another namespace.
func (n *NS) Do(t testing.TB, f func()) {
	t.Helper()
	if err := n.do(f); err != nil {
		t.Fatal(err)
	}
}

// do is Do for other goroutines than the test's, too.
func (n *NS) do(f func()) (err error) {
	runtime.LockOSThread()
	old, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace: %w", err)
	}
	defer old.Close()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if backErr := unix.Setns(int(old.Fd()), unix.CLONE_NEWNET); backErr != nil {
			// The thread stays locked: nobody else runs on it, and it ends with the goroutine.
			err = fmt.Errorf("leave network namespace: %w", backErr)
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
	return nil
}

// Sysctl returns a value below /proc/sys, without the newline. The name has slashes: net/ipv4/ip_forward.
func (n *NS) Sysctl(t testing.TB, name string) string {
	t.Helper()
	value, err := n.readSysctl(name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (n *NS) readSysctl(name string) (string, error) {
	var data []byte
	var err error
	doErr := n.do(func() { data, err = os.ReadFile(filepath.Join("/proc/sys", name)) })
	return strings.TrimRight(string(data), "\n"), errors.Join(doErr, err)
}

// SetSysctl sets a value below /proc/sys, named as for Sysctl. The value goes with the namespace; one that is not a
// namespace's stays.
func (n *NS) SetSysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := n.writeSysctl(name, value); err != nil {
		t.Fatal(err)
	}
}

func (n *NS) writeSysctl(name, value string) error {
	var err error
	doErr := n.do(func() { err = os.WriteFile(filepath.Join("/proc/sys", name), []byte(value+"\n"), 0) })
	return errors.Join(doErr, err)
}
