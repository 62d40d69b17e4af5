package nltest

import (
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// A DialOption changes the socket that [Namespace.Dial] opens.
type DialOption func(*session)

// Unprivileged opens the socket as a process without CAP_NET_ADMIN in the initial user namespace: everything but the
// family look-up gives EPERM.
func Unprivileged() DialOption { return func(s *session) { s.privileged = false } }

// Port gives the socket a port id, which the kernel puts into every answer; otherwise each socket has another one.
func Port(id uint32) DialOption { return func(s *session) { s.port = id } }

// ReceiveBuffer says how large a buffer the program receives with, in bytes. From the second datagram of a socket on, the
// chunks of dumps are as large as the largest receive buffer that was used on it, at least 3776 bytes and at most 32448.
// Without the option they stay at 3776, as with a program that asks for a datagram's size first.
func ReceiveBuffer(n int) DialOption { return func(s *session) { s.recvSize = n } }

// Dial opens a generic netlink socket in the namespace. The error matches os.ErrClosed if the kernel is closed, and
// errors.ErrUnsupported on a system without Unix sockets.
func (ns *Namespace) Dial(opts ...DialOption) (*genetlink.Conn, error) {
	c, err := ns.DialNetlink(opts...)
	if err != nil {
		return nil, err
	}
	return genetlink.NewConn(c), nil
}

// DialNetlink is like [Namespace.Dial], for programs that work on the netlink level.
func (ns *Namespace) DialNetlink(opts ...DialOption) (*netlink.Conn, error) {
	s, err := ns.newSession(opts)
	if err != nil {
		return nil, err
	}
	sock, err := newSocket(s)
	if err != nil {
		ns.k.lock()
		delete(ns.k.sessions, s)
		ns.k.mu.Unlock()
		return nil, fmt.Errorf("nltest: open a socket: %w", err)
	}
	return netlink.NewConn(sock, s.port), nil
}

// newSession registers a socket with the kernel.
func (ns *Namespace) newSession(opts []DialOption) (*session, error) {
	k := ns.k
	k.lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, fmt.Errorf("nltest: open a socket: kernel: %w", os.ErrClosed)
	}
	s := &session{k: k, ns: ns, privileged: true, sendBuffer: defaultBuffer, recvBuffer: defaultBuffer}
	for _, o := range opts {
		o(s)
	}
	if s.port == 0 {
		k.nextPort++
		s.port = k.nextPort
	}
	k.sessions[s] = struct{}{}
	return s, nil
}

// end removes a socket from the kernel. The kernel's lock is held.
func (s *session) end() {
	s.closed, s.dump, s.queue, s.backlog, s.heldBy = true, nil, nil, nil, nil
	delete(s.k.sessions, s)
}
