package setup

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
)

// exchange sends a request and returns the bodies of the answers. An error of the kernel is a syscall.Errno.
func exchange(netns string, request []byte) (bodies [][]byte, err error) {
	err = Inside(netns, func() error {
		fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer syscall.Close(fd)
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 10}); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
			return os.NewSyscallError("sendto", err)
		}
		bodies, err = receive(fd)
		return err
	})
	return bodies, err
}

func receive(fd int) (bodies [][]byte, err error) {
	for buf := make([]byte, 1<<16); ; {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		} else if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case syscall.NLMSG_DONE:
				return bodies, nil
			case syscall.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return nil, errShort
				}
				if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
					return nil, syscall.Errno(errno)
				}
				return bodies, nil
			}
			bodies = append(bodies, append([]byte(nil), m.Data...))
			if m.Header.Flags&syscall.NLM_F_MULTI == 0 {
				return bodies, nil
			}
		}
	}
}
