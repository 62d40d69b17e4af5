//go:build unix

package ipvs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// transfer is the system call that a link makes. What the socket's owner calls back is kept with it: closures over the
// variables of one call would be allocated for each.
type transfer struct {
	write, read, try func(fd uintptr) (done bool)

	b   []byte
	n   int
	err error

	// alone says that the kernel lets nobody but itself send to the socket, so that a sender need not be asked for.
	alone bool
}

// prepare makes the link ready for its first transfer.
func (l *link) prepare() error {
	t := &l.io
	t.write = func(fd uintptr) bool {
		for {
			t.n, t.err = unix.Write(int(fd), t.b)
			if !errors.Is(t.err, unix.EINTR) {
				return !errors.Is(t.err, unix.EAGAIN)
			}
		}
	}
	t.read = func(fd uintptr) bool {
		t.n, t.err = t.receive(int(fd))
		return !errors.Is(t.err, unix.EAGAIN)
	}
	t.try = func(fd uintptr) bool {
		t.n, t.err = t.receive(int(fd))
		return true
	}
	if err := l.raw.Control(func(fd uintptr) { t.alone = onlyKernel(int(fd)) }); err != nil {
		return err
	}
	if !t.alone {
		return nil
	}
	// What somebody sent before would be taken for the kernel's.
	for {
		switch n, err := l.tryRecv(l.in); {
		case err != nil && !errors.Is(err, errOverrun):
			return err
		case err == nil && n == 0:
			return nil
		}
	}
}

// send writes one datagram. The kernel executes what is in it before the call returns.
func (l *link) send(b []byte) error {
	l.io.b = b
	if err := l.raw.Write(l.io.write); err != nil {
		return err
	}
	if l.io.err != nil {
		return os.NewSyscallError("write", l.io.err)
	}
	if l.io.n != len(b) {
		return errShortSend
	}
	return nil
}

// recv waits for one datagram.
func (l *link) recv(b []byte) (int, error) {
	l.io.b = b
	if err := l.raw.Read(l.io.read); err != nil {
		return 0, err
	}
	return l.io.n, receiveError(l.io.err)
}

// tryRecv reads one datagram if there is one, and returns 0 otherwise.
func (l *link) tryRecv(b []byte) (int, error) {
	l.io.b = b
	if err := l.raw.Read(l.io.try); err != nil {
		return 0, err
	}
	if errors.Is(l.io.err, unix.EAGAIN) {
		return 0, nil
	}
	return l.io.n, receiveError(l.io.err)
}

func (t *transfer) receive(fd int) (n int, err error) {
	for {
		if t.alone {
			// The buffer takes whatever the kernel sends; a message that was cut off would show by its length.
			n, err = unix.Read(fd, t.b)
		} else {
			var flags int
			var from unix.Sockaddr
			n, _, flags, from, err = unix.Recvmsg(fd, t.b, nil, 0)
			if err == nil && !fromKernel(from) {
				continue // another process may send to our port; only the kernel's word counts
			}
			if err == nil && flags&unix.MSG_TRUNC != 0 {
				return 0, errTruncated
			}
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n == 0:
			return 0, os.ErrClosed // the other end of a socket pair was closed; netlink has no empty datagrams
		}
		return n, err
	}
}

func receiveError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOBUFS) {
		return errOverrun
	}
	return os.NewSyscallError("read", err)
}
