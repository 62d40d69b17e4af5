package arp

import (
	"os"

	"golang.org/x/sys/unix"
)

// netnsCookie returns the number of the namespace of a socket. Linux 5.14.
func netnsCookie(fd uintptr) (uint64, error) {
	return unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func netnsInode(f *os.File) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return st.Ino, err
}
