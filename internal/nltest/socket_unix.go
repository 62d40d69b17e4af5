//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nltest

import (
	"errors"
	"iter"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A socket is the program's end of a socket pair, in the shape that the netlink package expects, and the kernel's end. What
// the program does through it is watched, and executed at once.
type socket struct {
	s    *session
	file *os.File // the program's end
	raw  syscall.RawConn

	closed atomic.Bool

	// What follows is guarded by the kernel's lock.
	peer   int // the kernel's end; -1 when closed
	buffer int // the receive buffer that the system gave; a program may set another
	moving bool
	peeked bool // the program asked for the size of the datagram that it took
	inPair []inPair
}

// inPair is a datagram that lies in the socket pair.
type inPair struct {
	size int
	wake bool // no answer: it wakes a reader that is to get an error
}

// newSocket makes the socket pair of a session.
func newSocket(s *session) (*socket, error) {
	fds, err := socketPair()
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	setBuffers(fds[0], fds[1])
	c := &socket{s: s, peer: fds[1], file: os.NewFile(uintptr(fds[0]), "netlink")}
	c.buffer, _ = unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_RCVBUF)
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s.k.lock()
	s.transport = c
	s.k.mu.Unlock()
	return c, nil
}

// Close closes both ends and unblocks whoever reads. Closing again does nothing.
func (c *socket) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := c.file.Close()
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	c.s.end()
	_ = unix.Close(c.peer)
	c.peer = -1
	return os.NewSyscallError("close", err)
}

// Send sends one message.
func (c *socket) Send(m netlink.Message) error { return c.SendMessages([]netlink.Message{m}) }

// SendMessages sends messages in one call.
func (c *socket) SendMessages(msgs []netlink.Message) error {
	var b []byte
	for _, m := range msgs {
		one, err := m.MarshalBinary()
		if err != nil {
			return err
		}
		b = append(b, one...)
	}
	// The pair is passed by, so that its limits do not count; the deadline does.
	if err := c.raw.Write(func(uintptr) bool { return true }); err != nil {
		return c.ioError("sendmsg", err)
	}
	c.s.k.lock()
	if len(b) > c.s.sendBuffer-sendOverhead {
		c.s.k.mu.Unlock()
		return os.NewSyscallError("sendmsg", unix.EMSGSIZE)
	}
	c.execute()
	if !c.s.closed {
		c.s.send(b)
	}
	c.s.k.mu.Unlock()
	c.pump()
	return nil
}

// Receive receives the messages of one datagram.
func (c *socket) Receive() ([]netlink.Message, error) {
	var msgs []netlink.Message
	for m, err := range c.ReceiveIter() {
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

// ReceiveIter receives one datagram and yields its messages.
func (c *socket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		b, err := c.receive()
		if err != nil {
			yield(netlink.Message{}, err)
			return
		}
		for len(b) >= headerLen {
			n := int64(native.Uint32(b))
			if n < headerLen || n > int64(len(b)) {
				yield(netlink.Message{}, errors.New("nltest: message with a wrong length"))
				return
			}
			step := min(align(int(n)), len(b))
			var m netlink.Message
			if err := m.UnmarshalBinary(b[:step]); err != nil {
				yield(netlink.Message{}, err)
				return
			}
			if !yield(m, nil) {
				return
			}
			b = b[step:]
		}
	}
}

// receive waits for the next datagram, asks for its size and receives it, as the netlink package does on Linux.
func (c *socket) receive() ([]byte, error) {
	var b []byte
	var failed error
	err := rawConn{c}.Read(func(fd uintptr) bool {
		if b, failed = receiveDatagram(int(fd)); failed == nil {
			c.s.k.lock()
			c.peeked = true
			c.s.k.mu.Unlock()
		}
		return failed != unix.EAGAIN
	})
	if err != nil {
		return nil, c.ioError("recvmsg", err)
	}
	return b, os.NewSyscallError("recvmsg", failed)
}

// ioError gives the error of a closed socket the form it has on Linux.
func (c *socket) ioError(op string, err error) error {
	if c.closed.Load() {
		return os.NewSyscallError(op, unix.EBADF)
	}
	return err
}

// SetDeadline sets both deadlines.
func (c *socket) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// SetReadDeadline sets the deadline of receiving.
func (c *socket) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of sending, which never blocks: only one that has passed shows.
func (c *socket) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

// SetOption sets a netlink option. Those that have to do with acknowledgements and ENOBUFS take effect.
func (c *socket) SetOption(o netlink.ConnOption, on bool) error {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	switch o {
	case netlink.CapAcknowledge:
		c.s.capAck = on
	case netlink.ExtendedAcknowledge:
		c.s.extAck = on
	case netlink.NoENOBUFS:
		c.s.noENOBUFS = on
	case netlink.PacketInfo, netlink.BroadcastError, netlink.ListenAllNSID, netlink.GetStrictCheck:
	default:
		return os.NewSyscallError("setsockopt", unix.ENOPROTOOPT)
	}
	return nil
}

// SetReadBuffer sets the receive buffer as Linux does: to twice the value, and without privilege at most to twice the
// default.
func (c *socket) SetReadBuffer(bytes int) error {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	c.s.recvBuffer = c.s.doubled(bytes)
	return nil
}

// SetWriteBuffer sets the send buffer in the same way. A SyscallConn writer has what the system allows.
func (c *socket) SetWriteBuffer(bytes int) error {
	c.s.k.lock()
	c.s.sendBuffer = c.s.doubled(bytes)
	c.s.k.mu.Unlock()
	return c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
	})
}

// ReadBuffer returns the receive buffer's size.
func (c *socket) ReadBuffer() (int, error) {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	return c.s.recvBuffer, nil
}

// WriteBuffer returns the send buffer's size.
func (c *socket) WriteBuffer() (int, error) {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	return c.s.sendBuffer, nil
}

// SyscallConn returns the program's end for system calls.
func (c *socket) SyscallConn() (syscall.RawConn, error) {
	if c.closed.Load() {
		return nil, os.NewSyscallError("syscallconn", unix.EBADF)
	}
	return rawConn{c}, nil
}

// pump executes what lies in the pair, finds out what the program has taken, and fills the pair up, until nothing changes.
func (c *socket) pump() {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	if c.moving {
		return // by another goroutine, which goes on until all is done
	}
	c.moving = true
	defer func() { c.moving = false }()
	for {
		moved := c.execute()
		for range c.taken() {
			moved = true
			if c.peeked {
				c.peeked = false
				c.s.receive()
			}
			c.s.take()
		}
		if !c.fill() && !moved {
			return
		}
	}
}

// execute runs the requests that a SyscallConn writer left in the pair. It reports whether there were any.
func (c *socket) execute() bool {
	any := false
	for !c.s.closed && c.peer >= 0 {
		b, err := receiveDatagram(c.peer)
		if err != nil || len(b) == 0 {
			break
		}
		c.adoptBuffer()
		c.s.send(b)
		any = true
	}
	return any
}

// adoptBuffer takes over a receive buffer that the program set by a system call.
func (c *socket) adoptBuffer() {
	_ = c.raw.Control(func(fd uintptr) {
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err == nil && n != c.buffer {
			c.buffer, c.s.recvBuffer = n, n
		}
	})
}

// taken returns how many answers the program has received since the last call.
func (c *socket) taken() int {
	if len(c.inPair) == 0 || c.s.closed {
		return 0
	}
	left := len(c.inPair)
	_ = c.raw.Control(func(fd uintptr) { left = unread(int(fd), c.inPair) })
	n := 0
	for _, d := range c.inPair[:len(c.inPair)-left] {
		if !d.wake {
			n++
		}
	}
	c.inPair = c.inPair[len(c.inPair)-left:]
	return n
}

// fill moves answers into the pair. It reports whether it moved any.
func (c *socket) fill() bool {
	moved := false
	for !c.s.closed && len(c.inPair) < pairCapacity {
		next := 0
		for _, d := range c.inPair {
			if !d.wake {
				next++
			}
		}
		switch {
		case next < len(c.s.queue):
			b := c.s.queue[next].b
			if unix.Send(c.peer, b, unix.MSG_DONTWAIT|noSignal) != nil {
				return moved // full: the rest follows when the program has taken something
			}
			c.inPair = append(c.inPair, inPair{size: len(b)})
			moved = true
		case c.s.pending != 0 && len(c.inPair) == 0:
			if unix.Send(c.peer, []byte{0}, unix.MSG_DONTWAIT|noSignal) != nil {
				return moved
			}
			c.inPair = append(c.inPair, inPair{size: 1, wake: true})
			moved = true
		default:
			return moved
		}
	}
	return moved
}

// pendingError returns the error that the next receive is to give, and removes the datagram that announced it.
func (c *socket) pendingError(fd uintptr) Errno {
	c.s.k.lock()
	defer c.s.k.mu.Unlock()
	errno := c.s.takeError()
	if errno != 0 && len(c.inPair) > 0 && c.inPair[0].wake {
		_, _, _ = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_DONTWAIT)
		c.inPair = c.inPair[1:]
	}
	return errno
}

// rawConn is the program's end with the kernel watching.
type rawConn struct{ c *socket }

// Control calls f with the descriptor.
func (r rawConn) Control(f func(fd uintptr)) error {
	var failed error
	err := r.c.raw.Control(func(fd uintptr) {
		r.c.call(fd, func(fd uintptr) bool { f(fd); return true }, &failed)
	})
	r.c.pump()
	return errors.Join(err, failed)
}

// Read calls f until it reports that it is done, each time when the descriptor may be readable.
func (r rawConn) Read(f func(fd uintptr) bool) error {
	var failed error
	err := r.c.raw.Read(func(fd uintptr) bool {
		done := r.c.call(fd, f, &failed)
		if !done {
			r.c.pump() // f may have taken something all the same
		}
		return done
	})
	r.c.pump()
	if failed != nil {
		return failed
	}
	return err
}

// Write calls f until it reports that it is done. What it sent is executed before Write returns.
func (r rawConn) Write(f func(fd uintptr) bool) error {
	err := r.c.raw.Write(func(fd uintptr) bool {
		done := f(fd)
		if !done {
			r.c.pump() // makes room
		}
		return done
	})
	r.c.pump()
	return err
}

// call calls f with the descriptor, or, when the next receive is to fail, with one on which it does so.
func (c *socket) call(fd uintptr, f func(uintptr) bool, failed *error) bool {
	if c.pendingError(fd) == 0 {
		return f(fd)
	}
	bad, err := overrunSocket()
	if err != nil {
		*failed = os.NewSyscallError("recvmsg", unix.ENOBUFS)
		return true
	}
	defer unix.Close(bad)
	return f(uintptr(bad))
}
