//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package hostfs

import (
	"errors"
	"os"
	"syscall"
)

const canLock = true

// lockFile takes the lock of an open file, which lasts until it is closed, or fails with errLocked.
func lockFile(f *os.File) error {
	_, err := retry(func() (int, error) { return 0, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
