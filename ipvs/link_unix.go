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
	write, read, readTwo, try func(fd uintptr) (done bool)

	out []byte
	n   int // bytes written
	err error

	// Datagrams that were received: their memory, lengths, how many there are, and how many of them were handed out.
	in      [2][]byte
	lengths [2]int
	have    int
	taken   int
	two     twoDatagrams

	// alone says that the kernel lets nobody but itself send to the socket, so that a sender need not be asked for.
	alone bool
}

// prepare makes the link ready for its first transfer, with receive buffers of a size.
func (l *link) prepare(size int) error {
	t := &l.io
	for i := range t.in {
		t.in[i] = make([]byte, size)
	}
	t.two.into(&t.in)
	t.write = func(fd uintptr) bool {
		for {
			t.n, t.err = unix.Write(int(fd), t.out)
			if !errors.Is(t.err, unix.EINTR) {
				return !errors.Is(t.err, unix.EAGAIN)
			}
		}
	}
	t.try = func(fd uintptr) bool {
		t.taken, t.have = 0, 0
		if t.lengths[0], t.err = t.receive(int(fd)); t.err == nil {
			t.have = 1
		}
		return true
	}
	t.read = func(fd uintptr) bool {
		t.try(fd)
		return !errors.Is(t.err, unix.EAGAIN)
	}
	t.readTwo = func(fd uintptr) bool {
		for t.taken = 0; ; {
			t.have, t.err = t.two.receive(int(fd), &t.lengths)
			if !errors.Is(t.err, unix.EINTR) {
				return !errors.Is(t.err, unix.EAGAIN)
			}
		}
	}
	if err := l.raw.Control(func(fd uintptr) { t.alone = onlyKernel(int(fd)) }); err != nil {
		return err
	}
	if !t.alone {
		return nil
	}
	// What somebody sent before would be taken for the kernel's.
	for {
		switch b, err := l.tryRecv(); {
		case err != nil && !errors.Is(err, errOverrun):
			return err
		case err == nil && len(b) == 0:
			return nil
		}
	}
}

// send writes one datagram. The kernel executes what is in it before the call returns.
func (l *link) send(b []byte) error {
	l.io.out = b
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

// recv waits for a datagram, whose bytes are valid until the next call. With two it takes another one from the socket at
// once, if there is one, for the next call.
func (l *link) recv(two bool) ([]byte, error) {
	t := &l.io
	if t.taken < t.have {
		return t.take(), nil
	}
	read := t.read
	if two && t.alone {
		read = t.readTwo
	}
	if err := l.raw.Read(read); err != nil {
		return nil, err
	}
	if t.err != nil {
		return nil, receiveError(t.err)
	}
	return t.take(), nil
}

// tryRecv returns a datagram if there is one, and nothing otherwise.
func (l *link) tryRecv() ([]byte, error) {
	t := &l.io
	if t.taken < t.have {
		return t.take(), nil
	}
	if err := l.raw.Read(t.try); err != nil {
		return nil, err
	}
	if errors.Is(t.err, unix.EAGAIN) {
		return nil, nil
	}
	if t.err != nil {
		return nil, receiveError(t.err)
	}
	return t.take(), nil
}

func (t *transfer) take() []byte {
	i := t.taken
	t.taken++
	return t.in[i][:t.lengths[i]]
}

func (t *transfer) receive(fd int) (n int, err error) {
	b := t.in[0]
	for {
		if t.alone {
			// The buffer takes whatever the kernel sends; a message that was cut off would show by its length.
			n, err = unix.Read(fd, b)
		} else {
			var flags int
			var from unix.Sockaddr
			n, _, flags, from, err = unix.Recvmsg(fd, b, nil, 0)
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
	if errors.Is(err, unix.ENOBUFS) {
		return errOverrun
	}
	return os.NewSyscallError("read", err)
}
