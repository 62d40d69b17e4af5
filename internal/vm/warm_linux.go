package main

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// warmUp opens a connection over loopback and closes it. The first use of some of the kernel's hashes makes it rewrite its
// own instructions a moment later; an emulated processor that is executing them just then can trap on a breakpoint that is
// gone already, and the kernel panics. While nothing else runs, nothing of the kind happens.
func warmUp() {
	connect(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	connect(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}})
	time.Sleep(50 * time.Millisecond)
}

// connect makes a TCP connection to an address of this machine and aborts it, and sends a UDP datagram. A kernel without the
// family has nothing to be warmed up.
func connect(family int, addr unix.Sockaddr) {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		server, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(server)
		client, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(client)
		if unix.Bind(server, addr) != nil {
			return
		}
		if kind == unix.SOCK_STREAM && (unix.Listen(server, 1) != nil ||
			unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) != nil) {
			return
		}
		bound, err := unix.Getsockname(server)
		if err != nil || unix.Connect(client, bound) != nil {
			return
		}
		_, _ = unix.Write(client, []byte{0})
	}
}

// keepFilters makes a network namespace that stays, in which every hook for IPv4 and IPv6 packets is in use: by a table that
// is looked at. The kernel rewrites its instructions, see warmUp, when the first user of a hook comes and when the last one
// goes, as IPVS does with the first service and the last.
func keepFilters() {
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // for ever, as the namespace is this thread's
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			lookAtTable(unix.AF_INET, unix.SOL_IP)
			lookAtTable(unix.AF_INET6, unix.SOL_IPV6)
		}
		close(done)
		select {}
	}()
	<-done
}

// keepSockets opens sockets that stay, with which the kernel takes the time of every packet, and looks at UDP for what is
// packed into it. It rewrites instructions that every packet meets when the first such socket comes, as a capture and a
// tunnel make, and again when the last one goes.
func keepSockets() {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_ENCAP, unix.UDP_ENCAP_ESPINUDP)
		}
	}
}

// lookAtTable asks for the size of the table that changes packets. A kernel without it has nothing to be kept.
func lookAtTable(family, level int) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	const getInfo = 64 // IPT_SO_GET_INFO and IP6T_SO_GET_INFO
	var info [84]byte  // a name of 32 bytes, and numbers
	copy(info[:], "mangle")
	size := uint32(len(info))
	_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
}
