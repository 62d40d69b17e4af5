package main

import (
	"os"
	"syscall"
)

// setMark gives the packets of a socket a firewall mark, which needs CAP_NET_ADMIN.
func setMark(mark uint32) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) {
			err = os.NewSyscallError("setsockopt SO_MARK", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, int(mark)))
		})
		if controlErr != nil {
			return controlErr
		}
		return err
	}
}
