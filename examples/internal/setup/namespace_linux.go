package setup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
)

// setns has the number of the system call where package syscall does not know it.
var setns = map[string]uintptr{
	"386": 346, "amd64": 308, "arm": 375, "arm64": 268, "loong64": 268, "ppc64": 350, "ppc64le": 350, "riscv64": 268, "s390x": 339,
}

// Inside runs f in a network namespace, a name or a path, on a thread that does nothing else; empty is the caller's own.
// Sockets that f opens and programs that it starts stay there; goroutines that it starts do not run there. The privilege
// CAP_SYS_ADMIN is needed.
func Inside(netns string, f func() error) error {
	if netns == "" {
		return f()
	}
	file, err := os.Open(namespaceFile(netns))
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	number, ok := setns[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("network namespaces on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(number, file.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- &fs.PathError{Op: "enter network namespace", Path: file.Name(), Err: errno}
			return
		}
		done <- f()
	}()
	return <-done
}

// netnsCookie is the number of a socket option, since Linux 5.14.
const netnsCookie = 71

// namespaceID returns a text that no other network namespace has before the next boot, or, before Linux 5.14, at present.
func namespaceID(netns string) (string, error) {
	var cookie uint64
	err := Inside(netns, func() error {
		fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer syscall.Close(fd)
		b, err := syscall.GetsockoptIPMreq(fd, syscall.SOL_SOCKET, netnsCookie) // any option of eight bytes
		if err == nil {
			cookie = binary.NativeEndian.Uint64(slices.Concat(b.Multiaddr[:], b.Interface[:]))
		}
		return os.NewSyscallError("getsockopt", err)
	})
	if !errors.Is(err, syscall.ENOPROTOOPT) {
		return strconv.FormatUint(cookie, 10), err
	}
	info, err := os.Stat(namespaceFile(netns))
	if err != nil {
		return "", fmt.Errorf("network namespace: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.ErrUnsupported
	}
	return "ns" + strconv.FormatUint(stat.Ino, 10), nil
}
