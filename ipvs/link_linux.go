package ipvs

import "golang.org/x/sys/unix"

// fromKernel reports whether a datagram came from port 0, the kernel's. An address of another kind belongs to an
// in-memory kernel at the other end of a socket pair.
func fromKernel(from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrNetlink)
	return !ok || sa.Pid == 0
}
