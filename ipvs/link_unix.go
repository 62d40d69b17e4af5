//go:build unix

package ipvs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// send writes one datagram. The kernel executes what is in it before the call returns.
func (l *link) send(b []byte) error {
	var n int
	var err error
	if waitErr := l.raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.Write(int(fd), b)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	}); waitErr != nil {
		return waitErr
	}
	if err != nil {
		return os.NewSyscallError("write", err)
	}
	if n != len(b) {
		return errShortSend
	}
	return nil
}

// recv waits for one datagram.
func (l *link) recv(b []byte) (int, error) {
	var n int
	var err error
	if waitErr := l.raw.Read(func(fd uintptr) bool {
		n, err = recvmsg(int(fd), b)
		return !errors.Is(err, unix.EAGAIN)
	}); waitErr != nil {
		return 0, waitErr
	}
	return n, receiveError(err)
}

// tryRecv reads one datagram if there is one, and returns 0 otherwise.
func (l *link) tryRecv(b []byte) (int, error) {
	var n int
	var err error
	if waitErr := l.raw.Read(func(fd uintptr) bool {
		n, err = recvmsg(int(fd), b)
		return true
	}); waitErr != nil {
		return 0, waitErr
	}
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return n, receiveError(err)
}

func recvmsg(fd int, b []byte) (n int, err error) {
	for {
		var flags int
		var from unix.Sockaddr
		n, _, flags, from, err = unix.Recvmsg(fd, b, nil, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && !fromKernel(from):
			continue // another process may send to our port; only the kernel's word counts
		case err == nil && flags&unix.MSG_TRUNC != 0:
			return 0, errTruncated
		case err == nil && n == 0:
			return 0, os.ErrClosed // the other end of a socket pair was closed; netlink has no empty datagrams
		}
		return n, err
	}
}

func receiveError(err error) error {
	if errors.Is(err, unix.ENOBUFS) {
		return errOverrun
	}
	return os.NewSyscallError("recvmsg", err)
}
