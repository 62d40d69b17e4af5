package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Directories that ip-netns(8) keeps the named namespaces in; the second is where old systems had it.
const (
	netnsDir    = "/run/netns/"
	netnsDirOld = "/var/run/netns/"
)

// NetNS says which network namespace is meant. The zero value is the namespace of the calling thread at the time of
// the call.
type NetNS struct {
	// Name is a name as in ip-netns(8), that is a file below /run/netns or /var/run/netns, or, with a slash in it, the
	// path of a namespace such as /proc/1234/ns/net. It is looked up anew for each use.
	Name string

	// File is an open namespace; it stays the caller's. Only one of Name and File may be set.
	File *os.File
}

// ResolveNetNS opens the namespace that a Config means: by name or path, or by an open file. Both empty is the
// namespace of the calling thread. The caller closes the result.
//
// The error is that of [NetNS.Open].
func ResolveNetNS(nameOrPath string, file *os.File) (*os.File, error) {
	return NetNS{Name: nameOrPath, File: file}.Open()
}

// IsZero says whether n is the namespace of the calling thread.
func (n NetNS) IsZero() bool { return n.Name == "" && n.File == nil }

// String names the namespace in messages.
func (n NetNS) String() string {
	switch {
	case n.Name != "":
		return n.Name
	case n.File != nil:
		return n.File.Name()
	}
	return "the caller's"
}

// Open opens the namespace. The result is a descriptor of its own, to be closed by the caller.
//
// The error matches fs.ErrNotExist for an unknown name or path, fs.ErrInvalid for an impossible name or a file that is
// no network namespace, os.ErrClosed for a closed File, and errors.ErrUnsupported on other systems than Linux.
func (n NetNS) Open() (*os.File, error) {
	f, err := n.open()
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", n, err)
	}
	return f, nil
}

func (n NetNS) open() (*os.File, error) {
	if n.Name != "" && n.File != nil {
		return nil, fmt.Errorf("both a name and a file: %w", fs.ErrInvalid)
	}
	if n.IsZero() {
		return openNS("/proc/thread-self/ns/net")
	}
	if n.File != nil {
		return dupNS(n.File)
	}
	if strings.Contains(n.Name, "/") {
		return openNS(n.Name)
	}
	if n.Name == "." || n.Name == ".." {
		return nil, fs.ErrInvalid
	}
	f, err := openNS(netnsDir + n.Name)
	if errors.Is(err, fs.ErrNotExist) {
		if old, oldErr := openNS(netnsDirOld + n.Name); oldErr == nil {
			return old, nil
		}
	}
	return f, err
}

// Do runs fn on a thread that is in the namespace and waits for it. For the zero value, and if the calling thread is in
// the namespace already, fn runs on the calling goroutine and needs no privilege; otherwise on one of its own, locked to its thread, so that the caller's thread does not move. A thread
// that cannot go back to where it came from is not used again.
//
// The error is that of [NetNS.Open], matches fs.ErrPermission if the namespace may not be entered, or is fn's.
func (n NetNS) Do(fn func() error) error {
	if n.IsZero() {
		return fn()
	}
	target, err := n.Open()
	if err != nil {
		return err
	}
	defer target.Close()
	if there, err := alreadyIn(target, fn); there {
		return err
	}
	if entered, err := inside(target, fn); !entered {
		return fmt.Errorf("network namespace %q: %w", n, err)
	} else {
		return err
	}
}
