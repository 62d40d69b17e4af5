package arp

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/josharian/native"
	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/hostfs"
)

// packet is a socket for the Ethernet frames of one device.
type packet struct {
	file *os.File
	raw  syscall.RawConn // of the file
}

// openPacket opens a socket in a namespace, to which it belongs for ever. An EtherType of 0 is for sending only.
func openPacket(ns hostfs.NetNS, index int, ether uint16) (*packet, error) {
	var fd int
	err := ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Bound, so that writing needs no address; the protocol is in network order in a field of the host's order.
	protocol := native.Endian.Uint16(binary.BigEndian.AppendUint16(nil, ether))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "packet")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &packet{file, raw}, nil
}

func (p *packet) close() error { return p.file.Close() }

// send sends a frame. A full queue is waited for by the runtime.
func (p *packet) send(frame []byte) error {
	const attempts = 100
	for i := 0; ; i++ {
		_, err := p.file.Write(frame)
		if errnoOf(err) != unix.ENOBUFS || i == attempts {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// receive waits for a frame until the deadline. Frames that are in the socket already it returns after that, too.
func (p *packet) receive(b []byte, deadline time.Time) (int, error) {
	if err := p.file.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := p.file.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// After the deadline Read does not look at the socket.
	var there int
	var failed error
	if err := p.raw.Control(func(fd uintptr) { there, failed = unix.Read(int(fd), b) }); err != nil {
		return 0, err
	}
	if errors.Is(failed, unix.EAGAIN) {
		return 0, err
	}
	return max(there, 0), failed
}
