// Package hostfs is the tree of the host, /proc and /sys above all, as an fs.FS that can also be written, seen from
// any network namespace.
//
//	root := hostfs.Host(hostfs.NetNS{Name: "blue"})
//	old, err := root.ReadFile("proc/sys/net/ipv4/vs/drop_entry")
//	…
//	err = root.WriteFile("proc/sys/net/ipv4/vs/drop_entry", []byte("1\n"), 0o644)
//
// Names are those of io/fs: no leading slash, no "..". [Mem] is such a tree in memory, for tests.
//
// Files below proc/net, proc/self/net, proc/thread-self/net and proc/sys/net belong to the network namespace of the
// thread that opens them. The first two are taken as proc/thread-self/net: proc/net is the namespace of the process's
// first thread, which need not be the caller's. The files of /sys belong to the namespace that mounted it, whatever
// the thread: sys/class/net does not follow [NetNS].
//
// Entering another namespace needs Linux and CAP_SYS_ADMIN in the user namespaces of the caller and of the target.
// All values are safe for concurrent use.
package hostfs

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// WriteFS is a tree that can be written. The signature of WriteFile is that of [os.Root.WriteFile].
type WriteFS interface {
	fs.FS

	// WriteFile writes a whole file. A file below proc or sys must exist and gets data in a single write.
	WriteFile(name string, data []byte, perm fs.FileMode) error
}

// replacer is a tree that can replace a file so that readers see either the old content or the new one.
type replacer interface {
	ReplaceFile(name string, data []byte, perm fs.FileMode) error
}

// ReplaceFile gives the file name new content, creating it if need be. If root has a ReplaceFile method, as those of
// this package do, or Rename and Remove methods like those of [os.Root], no reader ever sees a part of the content and a
// killed process leaves the old content or the new; otherwise it is a plain WriteFile.
func ReplaceFile(root WriteFS, name string, data []byte, perm fs.FileMode) error {
	if r, ok := root.(replacer); ok {
		return r.ReplaceFile(name, data, perm)
	}
	r, ok := root.(interface {
		remover
		Rename(from, to string) error
	})
	if !ok {
		return root.WriteFile(name, data, perm)
	}
	next := path.Join(path.Dir(name), "."+path.Base(name)+".new")
	err := root.WriteFile(next, data, perm)
	if err == nil {
		err = r.Rename(next, name)
	}
	if err != nil {
		return errors.Join(err, Remove(root, next))
	}
	return nil
}

// kernelFile says whether name is made by the kernel: such a file is not created, and a write is a command.
func kernelFile(name string) bool { return below(name, "proc") || below(name, "sys") }

// netName says whether name belongs to the network namespace of the thread that opens it, and gives the name to open
// for that.
func netName(name string) (string, bool) {
	for _, dir := range [...]string{"proc/net", "proc/self/net"} {
		if below(name, dir) {
			return "proc/thread-self/net" + name[len(dir):], true
		}
	}
	return name, below(name, "proc/thread-self/net") || below(name, "proc/sys/net")
}

func below(name, dir string) bool {
	rest, ok := strings.CutPrefix(name, dir)
	return ok && (rest == "" || rest[0] == '/')
}

func check(op, name string) error {
	if !fs.ValidPath(name) || strings.Contains(name, "\x00") {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}
