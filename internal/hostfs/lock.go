package hostfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"
)

// Lock waits until nobody else, in this process or another, holds the lock that belongs to a file, such as a journal,
// until unlock is called. It goes with the process. While it is held there is an empty file beside the file, with .lock
// at the end of its name.
//
// A root without a method OpenFile like that of [os.Root] cannot be locked, and neither can any on systems without
// flock(2): Lock then returns at once. The error is ctx's or that of making the file.
func Lock(ctx context.Context, root fs.FS, name string) (unlock func(), err error) {
	name += ".lock"
	if l, ok := root.(locker); ok {
		return l.lock(ctx, name)
	}
	o, ok := root.(fileOpener)
	if !ok || !canLock {
		return func() {}, ctx.Err()
	}
	if err := mkdirAll(root, path.Dir(name)); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		f, err := o.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		err = lockFile(f)
		if err == nil && isStill(root, name, f) {
			// The file goes before the lock does, so that whoever has opened it meanwhile sees that it is another's.
			return func() { _, _ = Remove(root, name), f.Close() }, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
	}
}

// errLocked is the answer to a lock that somebody else has.
var errLocked = errors.New("locked")

// locker is a tree with locks of its own.
type locker interface {
	lock(ctx context.Context, name string) (unlock func(), err error)
}

// fileOpener has the signature of os.Root's method.
type fileOpener interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
}

// isStill says whether an open file is the one of that name: its last owner may have removed it.
func isStill(root fs.FS, name string, f *os.File) bool {
	there, err := fs.Stat(root, name)
	if err != nil {
		return false
	}
	mine, err := f.Stat()
	return err == nil && os.SameFile(mine, there)
}

// pause waits a moment before the next try, unless ctx ends.
func pause(ctx context.Context) error {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
