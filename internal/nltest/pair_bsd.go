//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package nltest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// pairCapacity is the number of answers that lie in the pair at most: one, because these systems do not tell how many do.
const pairCapacity = 1

// noSignal is not needed: the Go runtime ignores SIGPIPE for descriptors other than 1 and 2.
const noSignal = 0

// socketPair makes two connected descriptors that keep message boundaries.
func socketPair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fds, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		err = errors.Join(err, unix.SetNonblock(fd, true))
	}
	return fds, err
}

// setBuffers makes room for a send as large as Linux allows by default, and for the answer that echoes it.
func setBuffers(program, kernel int) {
	for _, fd := range []int{program, kernel} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, defaultBuffer)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2*defaultBuffer)
	}
}

// receiveDatagram receives the next datagram, without waiting.
func receiveDatagram(fd int) ([]byte, error) {
	b := make([]byte, 2*defaultBuffer) // these systems do not tell the size beforehand
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err == nil {
			return b[:n:n], nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

// unread returns how many of the datagrams lie unread at fd: all or none.
func unread(fd int, pair []inPair) int {
	_, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err == unix.EAGAIN {
		return 0
	}
	return len(pair)
}

// overrunSocket fails: there are no netlink sockets here.
func overrunSocket() (int, error) { return -1, errors.ErrUnsupported }
