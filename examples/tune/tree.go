package main

import (
	"context"
	"io/fs"
	"os"
	"path"

	"github.com/golvs/lvs/examples/internal/setup"
)

// tree is a folder as a root of packages sysctl and irq. The methods are those of os.Root.
type tree interface {
	fs.ReadLinkFS
	Remove(name string) error
	Rename(from, to string) error
	MkdirAll(name string, perm fs.FileMode) error
	WriteFile(name string, data []byte, perm fs.FileMode) error
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
}

// folder is a folder of this machine.
type folder struct{ *os.Root }

func openTree(name string) (tree, error) {
	root, err := os.OpenRoot(name)
	return folder{root}, err
}

func (f folder) Open(name string) (fs.File, error)    { return f.FS().Open(name) }
func (f folder) ReadLink(name string) (string, error) { return f.Readlink(name) }

// lock waits until no other run changes the same host. It goes with the process.
func (t *tuner) lock(ctx context.Context) (unlock func(), err error) {
	name := t.journalFile("lock")
	if err := t.tree.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := t.tree.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return setup.LockFile(ctx, f, nil)
}
