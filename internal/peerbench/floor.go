//go:build linux && amd64

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/ipvs"
)

// Numbers of the interface, linux/netlink.h and linux/ip_vs.h.
const (
	flagRequest, flagAck, flagDump = 0x1, 0x4, 0x300

	cmdNewService, cmdGetService, cmdNewDest, cmdGetDest, cmdFlush = 1, 4, 5, 8, 17
)

// floor is the least that a Go program can do: it sends bytes that were made before with one system call, and reads the
// answer into one buffer, looking at nothing but the first message's type. If it is bare, Go's scheduler does not get
// to know of its system calls: then it is the least that any program can do.
type floor struct {
	fd     int
	family uint16
	in     []byte
	bare   bool
}

func newFloor() (*floor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	f := &floor{fd: fd, in: make([]byte, 64<<10)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1); err != nil {
			return nil, err
		}
	}
	// The look-up primes the socket: the kernel makes the parts of later lists as large as this buffer.
	request, err := message(unix.GENL_ID_CTRL, flagRequest, 3, func(ae *netlink.AttributeEncoder) { ae.String(2, "IPVS") })
	if err != nil {
		return nil, err
	}
	if err := f.send(request); err != nil {
		return nil, err
	}
	n, err := f.receive()
	if err != nil {
		return nil, err
	}
	ad, err := netlink.NewAttributeDecoder(f.in[20:n])
	if err != nil {
		return nil, err
	}
	for ad.Next() {
		if ad.Type() == 1 {
			f.family = ad.Uint16()
		}
	}
	return f, ad.Err()
}

// message encodes a request. Its sequence number stays 0: nothing is told apart here.
func message(family, flags uint16, cmd uint8, attrs func(*netlink.AttributeEncoder)) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	if attrs != nil {
		attrs(ae)
	}
	body, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(body)))
	b = binary.NativeEndian.AppendUint16(b, family)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, cmd, 1, 0, 0)
	return append(b, body...), nil
}

func (f *floor) send(b []byte) error {
	if !f.bare {
		_, err := unix.Write(f.fd, b)
		return os.NewSyscallError("write", err)
	}
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(f.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 || int(n) != len(b) {
		return os.NewSyscallError("write", errno)
	}
	return nil
}

func (f *floor) receive() (int, error) {
	if !f.bare {
		n, err := unix.Read(f.fd, f.in)
		return n, os.NewSyscallError("read", err)
	}
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(f.fd), uintptr(unsafe.Pointer(&f.in[0])), uintptr(len(f.in)))
	if errno != 0 {
		return 0, os.NewSyscallError("read", errno)
	}
	return int(n), nil
}

// answer reads the answer to a request that ends with an acknowledgement.
func (f *floor) answer() error {
	n, err := f.receive()
	if err != nil {
		return err
	}
	if n < 20 || binary.NativeEndian.Uint16(f.in[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("answer of %d bytes", n)
	}
	if code := int32(binary.NativeEndian.Uint32(f.in[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// list reads a list to its end, which comes in a datagram of its own.
func (f *floor) list(request []byte) (receives int, err error) {
	if err := f.send(request); err != nil {
		return 0, err
	}
	for {
		receives++
		if _, err := f.receive(); err != nil {
			return receives, err
		}
		if binary.NativeEndian.Uint16(f.in[4:]) == unix.NLMSG_DONE {
			return receives, nil
		}
	}
}

func serviceAttrs(ae *netlink.AttributeEncoder, id ipvs.ServiceID) error {
	ae.Uint16(1, unix.AF_INET)
	ae.Uint16(2, uint16(id.Protocol))
	ae.Bytes(3, append(id.Addr.Addr().AsSlice(), make([]byte, 12)...))
	ae.Bytes(4, binary.BigEndian.AppendUint16(nil, id.Addr.Port()))
	return nil
}

// addService, addDest and listDests encode the requests that this library sends too.
func (f *floor) addService(flags uint16, id ipvs.ServiceID) ([]byte, error) {
	return message(f.family, flags, cmdNewService, func(ae *netlink.AttributeEncoder) {
		ae.Nested(1, func(ae *netlink.AttributeEncoder) error {
			ae.String(6, "wlc")
			ae.Bytes(7, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
			ae.Uint32(8, 0)
			ae.Bytes(9, []byte{0xff, 0xff, 0xff, 0xff})
			return serviceAttrs(ae, id)
		})
	})
}

func (f *floor) addDest(flags uint16, id ipvs.ServiceID, d ipvs.Destination) ([]byte, error) {
	return message(f.family, flags, cmdNewDest, func(ae *netlink.AttributeEncoder) {
		ae.Nested(1, func(ae *netlink.AttributeEncoder) error { return serviceAttrs(ae, id) })
		ae.Nested(2, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(1, append(d.Addr.Addr().AsSlice(), make([]byte, 12)...))
			ae.Bytes(2, binary.BigEndian.AppendUint16(nil, d.Addr.Port()))
			ae.Uint32(3, uint32(d.Forward))
			ae.Uint32(4, d.Weight)
			ae.Uint32(5, 0)
			ae.Uint32(6, 0)
			ae.Uint16(11, unix.AF_INET)
			return nil
		})
	})
}

func (f *floor) listDests(id ipvs.ServiceID) ([]byte, error) {
	return message(f.family, flagRequest|flagDump, cmdGetDest, func(ae *netlink.AttributeEncoder) {
		ae.Nested(1, func(ae *netlink.AttributeEncoder) error { return serviceAttrs(ae, id) })
	})
}

// Requests in one send. More of them gain nothing.
const floorBatch = 200

// batches returns the datagrams that create a table, with an acknowledgement for the last request of each.
func (f *floor) batches(t table) ([][]byte, error) {
	var all [][]byte
	var batch []byte
	n := 0
	add := func(encode func(flags uint16) ([]byte, error)) error {
		n++
		flags := uint16(flagRequest)
		if n%floorBatch == 0 || n == t.objects() {
			flags |= flagAck
		}
		b, err := encode(flags)
		batch = append(batch, b...)
		if flags&flagAck != 0 {
			all = append(all, batch)
			batch = nil
		}
		return err
	}
	for i := range t.services {
		id := t.service(i)
		if err := add(func(flags uint16) ([]byte, error) { return f.addService(flags, id) }); err != nil {
			return nil, err
		}
		for j := range t.dests {
			if err := add(func(flags uint16) ([]byte, error) { return f.addDest(flags, id, t.destination(i, j)) }); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// create makes a table with the batches.
func (f *floor) create(batches [][]byte) error {
	for _, b := range batches {
		if err := f.send(b); err != nil {
			return err
		}
		if err := f.answer(); err != nil {
			return err
		}
	}
	return nil
}
