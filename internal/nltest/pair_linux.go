package nltest

import "golang.org/x/sys/unix"

// pairCapacity is the number of answers that lie in the pair at most.
const pairCapacity = 1 << 20

// noSignal keeps a send to a closed peer from raising SIGPIPE.
const noSignal = unix.MSG_NOSIGNAL

// socketPair makes two connected descriptors that keep message boundaries.
func socketPair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// setBuffers gives the program's end the send buffer that a netlink socket has by default, and the kernel's end as much as
// the system allows; what does not fit into it waits in the session.
func setBuffers(program, kernel int) {
	if n, err := unix.GetsockoptInt(program, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && n != defaultBuffer {
		_ = unix.SetsockoptInt(program, unix.SOL_SOCKET, unix.SO_SNDBUF, defaultBuffer/2) // Linux doubles it
	}
	_ = unix.SetsockoptInt(kernel, unix.SOL_SOCKET, unix.SO_SNDBUF, 4*defaultBuffer)
}

// receiveDatagram receives the next datagram whole, without waiting.
func receiveDatagram(fd int) ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		if err == nil {
			b := make([]byte, n)
			if n, _, err = unix.Recvfrom(fd, b, unix.MSG_DONTWAIT); err == nil {
				return b[:n], nil
			}
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

// unread returns how many of the datagrams, of which the last ones are the newest, lie unread at fd. Linux tells the sum of
// their sizes.
func unread(fd int, pair []inPair) int {
	bytes, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return len(pair)
	}
	n := 0
	for bytes > 0 && n < len(pair) {
		bytes -= pair[len(pair)-1-n].size
		n++
	}
	return n
}

// overrunSocket returns a netlink socket of the host whose receive buffer really overflowed, so that the next receive from it
// fails with ENOBUFS. No privilege is needed: it asks for acknowledgements of no-operations and does not read them.
func overrunSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	var b []byte
	for range 64 {
		b = append(b, message(header{typ: unix.NLMSG_NOOP, flags: flagRequest | flagAck}).finish()...)
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	if err = unix.Bind(fd, kernel); err == nil {
		err = unix.Sendto(fd, b, 0, kernel)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
