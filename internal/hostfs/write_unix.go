//go:build unix

package hostfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// writeOnce hands data to the kernel in one write. os.File would repeat a short write, and a file of /proc/sys
// ignores what arrives at an offset: the value is lost and the result is success. Observed on Linux 6.1 and 6.12.
func writeOnce(path string, data []byte) error {
	fd, err := retry(func() (int, error) { return syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	n, err := retry(func() (int, error) { return syscall.Write(fd, data) })
	if err == nil && n != len(data) {
		err = fmt.Errorf("%d of %d bytes taken: %w", n, len(data), io.ErrShortWrite)
	}
	if closeErr := syscall.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// syncDir makes a rename in the directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system without it
		err = nil
	}
	return errors.Join(err, d.Close())
}
