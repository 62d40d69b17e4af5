//go:build unix && !linux

package ipvs

import "golang.org/x/sys/unix"

func onlyKernel(int) bool { return false }

func fromKernel(unix.Sockaddr) bool { return true }

// twoDatagrams is for sockets that only the kernel may send to.
type twoDatagrams struct{}

func (*twoDatagrams) into(*[2][]byte) {}

func (*twoDatagrams) receive(int, *[2]int) (int, error) { return 0, unix.ENOSYS }
