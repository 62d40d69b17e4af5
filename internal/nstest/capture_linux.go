package nstest

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is a captured Ethernet frame.
type Frame struct {
	Time     time.Time // by the kernel, when the frame passed the device
	Outgoing bool      // sent by this device, not received
	Data     []byte    // from the destination's hardware address on; checksums may be left to absent hardware
}

// Packet returns the IP packet in the frame.
func (f Frame) Packet() (Packet, error) {
	if len(f.Data) < ethernetHeader {
		return Packet{}, errShort
	}
	switch typ := binary.BigEndian.Uint16(f.Data[12:]); typ {
	case unix.ETH_P_IP, unix.ETH_P_IPV6:
		return ParsePacket(f.Data[ethernetHeader:])
	default:
		return Packet{}, fmt.Errorf("nstest: frame of type %#04x", typ)
	}
}

// Capture sees all frames of a device. It is safe for concurrent use.
type Capture struct {
	file *os.File
	done chan struct{} // closed when reading has ended
	stop sync.Once

	mu     sync.Mutex
	frames []Frame
	more   chan struct{} // closed and replaced when frames arrive
	err    error
}

// Capture starts to capture on a device. It ends with Stop or with the test.
func (n *NS) Capture(t testing.TB, name string) *Capture {
	t.Helper()
	fd := n.packetSocket(t, name, unix.ETH_P_ALL)
	const buffer = 32 << 20
	for opt, value := range map[int]int{unix.SO_RCVBUFFORCE: buffer, unix.SO_TIMESTAMPNS: 1} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, value); err != nil {
			unix.Close(fd)
			t.Fatalf("capture on %s: %v", name, err)
		}
	}
	c := &Capture{file: os.NewFile(uintptr(fd), "capture"), done: make(chan struct{}), more: make(chan struct{})}
	go c.read()
	t.Cleanup(func() { c.Stop() })
	return c
}

// packetSocket opens a non-blocking packet socket on a device; protocol 0 receives nothing.
func (n *NS) packetSocket(t testing.TB, name string, protocol uint16) int {
	t.Helper()
	index := n.Link(t, name).Index
	fd := -1
	var err error
	n.Do(t, func() {
		// With protocol 0 first: frames of other devices would come in before bind.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	})
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: index}); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		t.Fatalf("packet socket on %s: %v", name, err)
	}
	return fd
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// read collects frames until the capture is stopped, and then those that the kernel has seen before.
func (c *Capture) read() {
	defer close(c.done)
	conn, err := c.file.SyscallConn()
	if err != nil {
		c.err = err
		return
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		more := false
		if err := conn.Read(func(fd uintptr) bool {
			var err error
			if err = c.receive(int(fd), buf, oob); err == unix.EAGAIN {
				return false
			}
			more = err == nil
			return true
		}); err != nil {
			break // stopped
		}
		if !more {
			return
		}
	}
	stopped := time.Now()
	_ = conn.Control(func(fd uintptr) {
		for c.receive(int(fd), buf, oob) == nil {
			if frames := c.Frames(); frames[len(frames)-1].Time.After(stopped) {
				return // there may be no end of them
			}
		}
	})
}

// receive adds a frame to those that were captured. Without one the error is EAGAIN.
func (c *Capture) receive(fd int, buf, oob []byte) error {
	n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
	for err == unix.EINTR || err == unix.ENETDOWN { // the device may go down and up
		n, oobn, _, from, err = unix.Recvmsg(fd, buf, oob, 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if err != unix.EAGAIN {
			c.err = err
		}
		return err
	}
	f := Frame{Time: timestamp(oob[:oobn]), Data: append([]byte(nil), buf[:n]...)}
	if sll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Outgoing = sll.Pkttype == unix.PACKET_OUTGOING
	}
	c.frames = append(c.frames, f)
	close(c.more)
	c.more = make(chan struct{})
	return nil
}

// timestamp finds the time in a packet's control messages.
func timestamp(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

// Frames returns what was captured so far, in order.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// Wait returns the frames that match, once there are count of them, or fewer when the timeout has passed. A nil match takes all.
func (c *Capture) Wait(count int, timeout time.Duration, match func(Frame) bool) []Frame {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var matched []Frame
	seen := 0
	for {
		c.mu.Lock()
		frames, more := c.frames[seen:], c.more
		seen = len(c.frames)
		c.mu.Unlock()
		for _, f := range frames {
			if match == nil || match(f) {
				matched = append(matched, f)
			}
		}
		if len(matched) >= count {
			return matched
		}
		select {
		case <-more:
		case <-c.done:
			return matched
		case <-deadline.C:
			return matched
		}
	}
}

// Stop ends the capture and returns all frames that have passed the device before. It may be called again.
func (c *Capture) Stop() []Frame {
	c.stop.Do(func() {
		if err := c.file.SetReadDeadline(time.Unix(1, 0)); err == nil { // what has come is read nevertheless
			<-c.done
		}
		c.file.Close()
	})
	<-c.done
	return c.Frames()
}

// Dropped returns how many frames were lost since the capture began or Dropped was last called, because they came faster
// than they were read. It must not be called after Stop.
func (c *Capture) Dropped(t testing.TB) int {
	t.Helper()
	conn, err := c.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stats *unix.TpacketStats
	var statsErr error
	if err := conn.Control(func(fd uintptr) {
		stats, statsErr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		t.Fatal(err)
	}
	if statsErr != nil {
		t.Fatalf("capture statistics: %v", statsErr)
	}
	return int(stats.Drops)
}
