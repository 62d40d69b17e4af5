package ipvs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// onlyKernel makes a netlink socket one that only the kernel may send to: it refuses what other processes send to a
// socket that is connected to it (observed on 6.1 and 6.12). It reports whether that worked; other sockets belong to an
// in-memory kernel at the other end of a pair.
func onlyKernel(fd int) bool {
	if sa, err := unix.Getsockname(fd); err != nil {
		return false
	} else if _, ok := sa.(*unix.SockaddrNetlink); !ok {
		return false
	}
	return unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) == nil
}

// fromKernel reports whether a datagram came from port 0, the kernel's. An address of another kind belongs to an
// in-memory kernel at the other end of a socket pair.
func fromKernel(from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrNetlink)
	return !ok || sa.Pid == 0
}

// twoDatagrams is what the kernel wants to know to receive two datagrams with one system call (recvmmsg).
type twoDatagrams struct {
	headers [2]struct {
		message unix.Msghdr
		length  uint32
	}
	vectors [2]unix.Iovec
}

func (t *twoDatagrams) into(buffers *[2][]byte) {
	for i, b := range buffers {
		t.vectors[i].Base = &b[0]
		t.vectors[i].SetLen(len(b))
		t.headers[i].message.Iov = &t.vectors[i]
		t.headers[i].message.SetIovlen(1)
	}
}

// receive does not wait. It returns how many there were, 1 or 2, with their lengths.
func (t *twoDatagrams) receive(fd int, lengths *[2]int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&t.headers)),
		uintptr(len(t.headers)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range n {
		lengths[i] = int(t.headers[i].length)
	}
	return int(n), nil
}
