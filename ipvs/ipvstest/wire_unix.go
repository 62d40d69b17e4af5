//go:build unix

package ipvstest

import (
	"errors"
	"syscall"
)

// write sends one datagram. The kernel executes it before the call returns.
func write(c syscall.RawConn, b []byte) error {
	var err error
	if waitErr := c.Write(func(fd uintptr) bool {
		_, err = syscall.Write(int(fd), b)
		return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}); waitErr != nil {
		return waitErr
	}
	return err
}

// read receives one datagram if there is one; 0 means that there is none.
func read(c syscall.RawConn, b []byte) (int, error) {
	var n int
	var err error
	if waitErr := c.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), b)
		return !errors.Is(err, syscall.EINTR)
	}); waitErr != nil {
		return 0, waitErr
	}
	if errors.Is(err, syscall.EAGAIN) {
		return 0, nil
	}
	return n, err
}

// Errors of the system calls.
var (
	errTooLong error = syscall.EMSGSIZE
	errOverrun error = syscall.ENOBUFS
)

// writeBuffer returns the size of the send buffer.
func writeBuffer(c syscall.RawConn) (n int, err error) {
	controlErr := c.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) })
	return n, errors.Join(controlErr, err)
}
