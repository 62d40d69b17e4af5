package ipvs

import "golang.org/x/sys/unix"

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
