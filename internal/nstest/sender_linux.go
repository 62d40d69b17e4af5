package nstest

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Sender puts packets on a device as they are, from whatever address. It is not safe for concurrent use.
//
// All packets of a sender are sent on one processor. Each processor has its own queue of what virtual devices have to
// receive, and a sender that moved to another one could overtake itself (observed on Linux 6.1 with two processors).
type Sender struct {
	fd   int
	cpu  unix.CPUSet
	head [ethernetHeader]byte // without the type
}

// Sender returns a sender of packets that leave a device for the station with the hardware address to. To have another
// namespace receive them, take the other end of its veth pair, and its own end's address as to.
func (n *NS) Sender(t testing.TB, name string, to net.HardwareAddr) *Sender {
	t.Helper()
	from := n.Link(t, name).MAC
	if len(to) != 6 || len(from) != 6 {
		t.Fatalf("no Ethernet frame goes from %v to %v", from, to)
	}
	s := &Sender{fd: n.packetSocket(t, name, 0)}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatalf("processors: %v", err)
	}
	for cpu := range 1024 {
		if allowed.IsSet(cpu) {
			s.cpu.Set(cpu)
			break
		}
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	copy(s.head[0:], to)
	copy(s.head[6:], from)
	return s
}

// Send sends packets, in order. They may still be on their way when Send returns.
func (s *Sender) Send(t testing.TB, packets ...Packet) {
	t.Helper()
	s.pinned(t, func() {
		for _, p := range packets {
			if err := s.send(p); err != nil {
				t.Fatalf("send %v -> %v: %v", p.Src, p.Dst, err)
			}
		}
	})
}

// pinned runs f on the sender's processor.
func (s *Sender) pinned(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatalf("processors: %v", err)
	}
	if err := unix.SchedSetaffinity(0, &s.cpu); err != nil {
		t.Fatalf("processors: %v", err)
	}
	defer func() {
		if err := unix.SchedSetaffinity(0, &allowed); err != nil {
			t.Errorf("processors: %v", err)
		}
	}()
	f()
}

func (s *Sender) send(p Packet) error {
	ip, err := p.Marshal()
	if err != nil {
		return err
	}
	frame := append(s.head[:ethernetHeader:ethernetHeader], ip...)
	binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
	if ip[0]>>4 == 6 {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IPV6)
	}
	return s.write(frame)
}

// SendFrame sends an Ethernet frame as it is, its header included.
func (s *Sender) SendFrame(t testing.TB, frame []byte) {
	t.Helper()
	s.pinned(t, func() {
		if err := s.write(frame); err != nil {
			t.Fatalf("send a frame of %d bytes: %v", len(frame), err)
		}
	})
}

func (s *Sender) write(frame []byte) error {
	for begin := time.Now(); ; {
		_, err := unix.Write(s.fd, frame)
		switch err {
		case unix.EAGAIN, unix.ENOBUFS: // the device's queue is full
			if took := time.Since(begin); took > settleTimeout {
				return fmt.Errorf("the device's queue is still full after %v", took)
			}
			time.Sleep(time.Millisecond)
		case unix.EINTR:
		default:
			return err
		}
	}
}
