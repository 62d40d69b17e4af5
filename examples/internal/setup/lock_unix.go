//go:build unix

package setup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// LockFile waits until no other run holds the lock of an open file or folder. It goes with the process, or when the file is
// closed, which unlock does, and LockFile if it fails. If there is somebody to wait for, waiting is called once, unless it is
// nil.
func LockFile(ctx context.Context, f *os.File, waiting func()) (unlock func(), err error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			_ = f.Close()
			return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		case waiting != nil:
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
