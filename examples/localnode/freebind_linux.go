package main

import (
	"os"
	"strings"
	"syscall"
)

// ipv6FreeBind is a socket option, since Linux 4.15.
const ipv6FreeBind = 78

// freeBind lets a socket have an address that is not there yet.
func freeBind(network, _ string, c syscall.RawConn) (err error) {
	level, option := syscall.IPPROTO_IP, syscall.IP_FREEBIND
	if strings.HasSuffix(network, "6") {
		level, option = syscall.IPPROTO_IPV6, ipv6FreeBind
	}
	controlErr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), level, option, 1))
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}
