//go:build !unix

package ipvstest

import (
	"errors"
	"syscall"
)

func write(syscall.RawConn, []byte) error       { return errors.ErrUnsupported }
func read(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Errors of system calls that this system does not have.
var (
	errTooLong = errors.ErrUnsupported
	errOverrun = errors.ErrUnsupported
)

func writeBuffer(syscall.RawConn) (int, error) { return 0, errors.ErrUnsupported }
