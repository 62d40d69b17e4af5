//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nltest

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dial opens a socket that is closed at the end of the test.
func dial(t testing.TB, ns *Namespace, opts ...DialOption) *genetlink.Conn {
	t.Helper()
	c, err := ns.Dial(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// payload is a request's attributes.
func payload(fill ...func(*encoder)) []byte {
	e := &encoder{}
	for _, f := range fill {
		f(e)
	}
	return e.b
}

// generic builds a request for a genetlink connection.
func generic(cmd Command, fill ...func(*encoder)) genetlink.Message {
	return genetlink.Message{Header: genetlink.Header{Command: uint8(cmd), Version: 1}, Data: payload(fill...)}
}

// rawOf returns the system-call view of a connection.
func rawOf(t testing.TB, c *genetlink.Conn) syscall.RawConn {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return rc
}

// rawSend sends a datagram by system call.
func rawSend(t testing.TB, rc syscall.RawConn, b []byte) error {
	t.Helper()
	var failed error
	if err := rc.Write(func(fd uintptr) bool {
		failed = unix.Sendmsg(int(fd), b, nil, nil, unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
	return failed
}

// rawReceive receives a datagram by system call.
func rawReceive(rc syscall.RawConn) ([]byte, error) {
	b := make([]byte, 1<<16)
	var n int
	var failed error
	if err := rc.Read(func(fd uintptr) bool {
		n, _, _, _, failed = unix.Recvmsg(int(fd), b, nil, unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return b[:n], nil
}

func TestGenetlinkConversation(t *testing.T) {
	k := newKernel(t, nil)
	c := dial(t, k.Namespace(""))
	f, err := c.GetFamily("IPVS")
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != 34 || f.Version != 1 || f.Name != "IPVS" || len(f.Groups) != 0 {
		t.Fatalf("family %+v", f)
	}
	flags := netlink.Request | netlink.Acknowledge
	if _, err := c.Execute(generic(NewService, svc(vip, rr)), f.ID, flags); err != nil {
		t.Fatal(err)
	}
	_, err = c.Execute(generic(NewService, svc(vip, rr)), f.ID, flags)
	var oe *netlink.OpError
	if !errors.As(err, &oe) || oe.Err.Error() != syscall.EEXIST.Error() {
		t.Fatalf("second NEW_SERVICE: %v", err)
	}
	for i := range 60 {
		d := dst("10.0.0."+itoa(i+1)+":80", w1)
		if _, err := c.Execute(generic(NewDest, svc(vip), d), f.ID, flags); err != nil {
			t.Fatal(err)
		}
	}
	msgs, err := c.Execute(generic(GetDest, svc(vip)), f.ID, netlink.Request|netlink.Dump)
	if err != nil {
		t.Fatal(err)
	}
	if len(msgs) != 60 {
		t.Fatalf("%d destinations, want 60", len(msgs))
	}
	families, err := c.ListFamilies()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 2 || families[0].Name != "nlctrl" || families[1].ID != f.ID {
		t.Fatalf("families %+v", families)
	}
}

func TestRawConversation(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	c := dial(t, ns, Port(0x1234))
	rc := rawOf(t, c)
	p := newTap(t, ns) // builds requests
	var batch []byte
	batch = append(batch, p.request(NewService, do, svc(vip, rr))...)
	batch = append(batch, p.request(NewService, do, svc(vip, rr))...)
	batch = append(batch, p.request(GetInfo, flagRequest)...)
	if err := rawSend(t, rc, batch); err != nil {
		t.Fatal(err)
	}
	// The answers are there when the send returns, all of them on Linux.
	if runtime.GOOS == "linux" {
		if err := rc.Control(func(fd uintptr) {
			for i, want := range []int{36, 20 + len(p.request(NewService, do, svc(vip, rr))), 36} {
				b := make([]byte, 1<<16)
				n, _, _, _, err := unix.Recvmsg(int(fd), b, nil, unix.MSG_DONTWAIT)
				if err != nil || n != want {
					t.Errorf("answer %d: %d bytes, %v; want %d", i, n, err, want)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRawDump(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	for i := range 200 {
		p.must(NewService, svc(tcp("192.0.2.10:"+itoa(i+1)), rr))
	}
	rc := rawOf(t, dial(t, ns, ReceiveBuffer(32768)))
	if err := rawSend(t, rc, p.request(GetService, list)); err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for {
		b, err := rawReceive(rc)
		if err != nil {
			t.Fatal(err)
		}
		if parseHeader(b).typ == typeDone {
			break
		}
		sizes = append(sizes, len(b))
	}
	// 11 in the first page, then 101 in 32448 bytes, then the rest.
	want := []int{11 * 320, 101 * 320, 88 * 320}
	if len(sizes) != 3 || sizes[0] != want[0] || sizes[1] != want[1] || sizes[2] != want[2] {
		t.Fatalf("chunks of %v bytes, want %v", sizes, want)
	}
}

func TestDeadlines(t *testing.T) {
	k := newKernel(t, nil)
	c := dial(t, k.Namespace(""))
	k.Inject(Fault{Effect: Ignore()})
	if _, err := c.Send(generic(GetInfo), 34, netlink.Request); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Receive: %v", err)
	}
	// By system call, with the deadline moved into the past from elsewhere.
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	rc := rawOf(t, c)
	errs := make(chan error)
	go func() { _, err := rawReceive(rc); errs <- err }()
	time.Sleep(10 * time.Millisecond)
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("rawReceive: %v", err)
	}
	if _, err := c.Send(generic(GetInfo), 34, netlink.Request); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Send: %v", err)
	}
	// The socket is usable afterwards.
	k.ClearFaults()
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(generic(GetInfo), 34, netlink.Request); err != nil {
		t.Fatal(err)
	}
}

func TestCloseUnblocks(t *testing.T) {
	for name, closeIt := range map[string]func(*Kernel, *genetlink.Conn) error{
		"socket": func(_ *Kernel, c *genetlink.Conn) error { return c.Close() },
		"kernel": func(k *Kernel, _ *genetlink.Conn) error { return k.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, nil)
			ns := k.Namespace("")
			c := dial(t, ns)
			rc := rawOf(t, c)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, _, err := c.Receive(); !errors.Is(err, syscall.EBADF) {
					t.Errorf("Receive: %v, want EBADF", err)
				}
			})
			wg.Go(func() {
				if _, err := rawReceive(rc); err == nil {
					t.Error("rawReceive: no error")
				}
			})
			time.Sleep(10 * time.Millisecond)
			if err := closeIt(k, c); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if _, err := c.Send(generic(GetInfo), 34, netlink.Request); !errors.Is(err, syscall.EBADF) {
				t.Errorf("Send: %v, want EBADF", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			k.mu.Lock()
			left := len(k.sessions)
			k.mu.Unlock()
			if left != 0 {
				t.Errorf("%d sessions left", left)
			}
		})
	}
	k := newKernel(t, nil)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Namespace("").Dial(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Dial on a closed kernel: %v", err)
	}
}

// TestNothingLeft opens and closes many sockets and looks for goroutines and descriptors that stay.
func TestNothingLeft(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	count := func() (goroutines, descriptors int) {
		if entries, err := os.ReadDir("/dev/fd"); err == nil {
			descriptors = len(entries)
		}
		return runtime.NumGoroutine(), descriptors
	}
	warm := dial(t, ns)
	if _, err := warm.GetFamily("IPVS"); err != nil {
		t.Fatal(err)
	}
	g0, d0 := count()
	for range 50 {
		c, err := ns.Dial()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetFamily("IPVS"); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if g, d := count(); g > g0 || d > d0 {
		t.Errorf("goroutines %d → %d, descriptors %d → %d", g0, g, d0, d)
	}
}

// TestRawENOBUFS checks that a reader by system call gets the error from its own receive, once.
func TestRawENOBUFS(t *testing.T) {
	for _, version := range []string{"6.1", "6.12"} {
		k := newKernel(t, &Config{Version: version})
		ns := k.Namespace("")
		p := newTap(t, ns)
		rc := rawOf(t, dial(t, ns))
		var batch []byte
		for i := range 1000 {
			batch = append(batch, p.request(NewService, do, svc(tcp("192.0.2.10:"+itoa(i+1)), rr))...)
		}
		if err := rawSend(t, rc, batch); err != nil {
			t.Fatal(err)
		}
		if _, err := rawReceive(rc); !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("first receive: %v", err)
		}
		for i := range k.facts.capacity() {
			b, err := rawReceive(rc)
			if err != nil || parseHeader(b).seq != uint32(i+1) {
				t.Fatalf("answer %d: %x, %v", i+1, b, err)
			}
		}
		if err := rawSend(t, rc, p.request(GetInfo, flagRequest)); err != nil {
			t.Fatal(err)
		}
		if b, err := rawReceive(rc); err != nil || parseHeader(b).seq != p.seq {
			t.Fatalf("after all: %x, %v", b, err)
		}
	}
}

// capacity is the number of acknowledgements that a new socket holds.
func (v versionFacts) capacity() int { return defaultBuffer / v.ackCost }

// TestENOBUFSWakes checks that the error reaches readers who wait already, with nothing else to read.
func TestENOBUFSWakes(t *testing.T) {
	k := newKernel(t, nil)
	k.Inject(Fault{Command: GetInfo, Effect: NoBuffers()})
	c := dial(t, k.Namespace(""))
	rc := rawOf(t, c)
	for name, receive := range map[string]func() error{
		"Receive":     func() error { _, _, err := c.Receive(); return err },
		"SyscallConn": func() error { _, err := rawReceive(rc); return err },
	} {
		errs := make(chan error)
		go func() { errs <- receive() }()
		time.Sleep(10 * time.Millisecond)
		if _, err := c.Send(generic(GetInfo), 34, netlink.Request); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, unix.ENOBUFS) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Execute(generic(GetConfig), 34, netlink.Request); err != nil {
			t.Errorf("%s, afterwards: %v", name, err)
		}
	}
	// With NETLINK_NO_ENOBUFS nothing is reported.
	if err := c.SetOption(netlink.NoENOBUFS, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(generic(GetInfo), 34, netlink.Request); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(generic(GetConfig), 34, netlink.Request); err != nil {
		t.Error(err)
	}
}

func TestSendLimits(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	c := dial(t, ns)
	rc := rawOf(t, c)
	p := newTap(t, ns)
	// A message of exactly n bytes: a big unknown attribute behind the rest is left over.
	message := func(n int) []byte {
		b := p.request(GetInfo, flagRequest)
		b = append(b, make([]byte, n-len(b))...)
		native.PutUint32(b, uint32(n))
		return b
	}
	send := func(n int) error {
		b := message(n)
		_, err := c.Send(genetlink.Message{Header: genetlink.Header{Command: b[16]}, Data: b[genHeaderLen:]}, 34, netlink.Request)
		return err
	}
	const limit = 212960
	if err := rawSend(t, rc, message(limit)); err != nil {
		t.Errorf("%d bytes by system call: %v", limit, err)
	}
	if err := rawSend(t, rc, message(limit+4)); runtime.GOOS == "linux" && !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("%d bytes by system call: %v", limit+4, err)
	}
	if err := send(limit); err != nil {
		t.Errorf("%d bytes: %v", limit, err)
	}
	if err := send(limit + 4); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("%d bytes: %v", limit+4, err)
	}
	for range 2 {
		if _, _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetWriteBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	if err := send(8388608 - 32); err != nil {
		t.Errorf("with a larger buffer: %v", err)
	}
	if err := send(8388608 - 28); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("above the larger buffer: %v", err)
	}
}

func TestReadBuffer(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	for name, c := range map[string]struct {
		opts []DialOption
		want int
	}{"privileged": {nil, 2 << 20}, "unprivileged": {[]DialOption{Unprivileged()}, 425984}} {
		conn, err := ns.DialNetlink(c.opts...)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		if got, err := conn.ReadBuffer(); err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Set by system call, it counts too.
	conn, err := ns.DialNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rc, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) }); err != nil {
		t.Fatal(err)
	}
	p := newTap(t, ns)
	var batch []byte
	for range 20 {
		batch = append(batch, p.request(Zero, do)...)
	}
	if err := rawSend(t, rc, batch); err != nil {
		t.Fatal(err)
	}
	if _, err := rawReceive(rc); runtime.GOOS == "linux" && !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("20 answers in 8192 bytes: %v", err)
	}
}

func TestOptions(t *testing.T) {
	k := newKernel(t, nil)
	c := dial(t, k.Namespace(""))
	for _, o := range []netlink.ConnOption{netlink.ExtendedAcknowledge, netlink.GetStrictCheck} {
		if err := c.SetOption(o, true); err != nil {
			t.Error(err)
		}
	}
	if err := c.SetOption(99, true); !errors.Is(err, unix.ENOPROTOOPT) {
		t.Errorf("unknown option: %v", err)
	}
	_, err := c.Execute(generic(SetConfig, u16(topTimeoutTCP, 1)), 34, netlink.Request|netlink.Acknowledge)
	var oe *netlink.OpError
	if !errors.As(err, &oe) || oe.Message != "Attribute failed policy validation" || oe.Offset != 20 {
		t.Errorf("extended acknowledgement: %+v", oe)
	}
	// A capped one carries the request's header only.
	if err := c.SetOption(netlink.CapAcknowledge, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(generic(DelService, svc(missing)), 34, netlink.Request); err != nil {
		t.Fatal(err)
	}
	if b, err := rawReceive(rawOf(t, c)); err != nil || len(b) != 36 || errnoOf(b) != ESRCH {
		t.Errorf("capped acknowledgement: %x, %v", b, err)
	}
}

func TestUnprivileged(t *testing.T) {
	k := newKernel(t, nil)
	c := dial(t, k.Namespace(""), Unprivileged())
	f, err := c.GetFamily("IPVS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(generic(GetInfo), f.ID, netlink.Request); err == nil {
		t.Error("GET_INFO without privilege")
	}
}

// TestConcurrentUse has several sockets, readers of /proc and the clock at work at once.
func TestConcurrentUse(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	newTap(t, ns).fillServices(300)
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, ns)
		wg.Go(func() {
			for range 10 {
				msgs, err := c.Execute(generic(GetService), 34, netlink.Request|netlink.Dump)
				if err != nil || len(msgs) != 300 {
					t.Errorf("%d services, %v", len(msgs), err)
					return
				}
			}
		})
	}
	writer := rawOf(t, dial(t, k.Namespace("other")))
	p := newTap(t, k.Namespace("other"))
	wg.Go(func() {
		for i := range 200 {
			if err := rawSend(t, writer, p.request(NewService, do, svc(tcp("192.0.2.10:"+itoa(i+1)), rr))); err != nil {
				t.Error(err)
			}
			if b, err := rawReceive(writer); err != nil || errnoOf(b) != 0 {
				t.Errorf("%x, %v", b, err)
			}
		}
	})
	wg.Go(func() {
		for range 50 {
			k.Advance(time.Second)
			read(t, ns, "proc/net/ip_vs")
			k.Requests()
		}
	})
	wg.Wait()
}

// TestHeldSocket has a program wait for an answer that comes when the test says so.
func TestHeldSocket(t *testing.T) {
	k := newKernel(t, nil)
	inj := k.Inject(Fault{Effect: Hold()})
	c := dial(t, k.Namespace(""))
	errs := make(chan error)
	go func() { _, err := c.Execute(generic(GetInfo), 34, netlink.Request); errs <- err }()
	select {
	case err := <-errs:
		t.Fatalf("answered while held: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	inj.Release()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// TestDumpHook changes the table between two chunks that a program receives by system call.
func TestDumpHook(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.fillServices(40)
	other := dial(t, ns)
	k.Inject(Fault{Command: GetService, Effect: AfterChunk(1, func() {
		if _, err := other.Execute(generic(FlushServices), 34, netlink.Request|netlink.Acknowledge); err != nil {
			t.Error(err)
		}
	})})
	msgs, err := dial(t, ns).Execute(generic(GetService), 34, netlink.Request|netlink.Dump)
	if err != nil || len(msgs) != 11 {
		t.Errorf("%d services, %v; want the first chunk only", len(msgs), err)
	}
	k.ClearFaults()
	k.Inject(Fault{Command: GetService, Effect: AfterChunk(1, func() {
		if _, err := other.Execute(generic(FlushServices), 34, netlink.Request|netlink.Acknowledge); err != nil {
			t.Error(err)
		}
	})})
	p.fillServices(40)
	rc := rawOf(t, dial(t, ns))
	if err := rawSend(t, rc, p.request(GetService, list)); err != nil {
		t.Fatal(err)
	}
	if b, err := rawReceive(rc); err != nil || len(b) != 11*320 {
		t.Fatalf("first chunk: %d bytes, %v", len(b), err)
	}
	if b, err := rawReceive(rc); err != nil || parseHeader(b).typ != typeDone {
		t.Fatalf("after the flush: %x, %v", b, err)
	}
}

// TestDrainingReader has a reader that takes all there is and then waits, as its function says that it is not done.
func TestDrainingReader(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.fillServices(100)
	rc := rawOf(t, dial(t, ns))
	if err := rawSend(t, rc, p.request(GetService, list)); err != nil {
		t.Fatal(err)
	}
	n := 0
	b := make([]byte, 1<<16)
	if err := rc.Read(func(fd uintptr) bool {
		for {
			size, _, _, _, err := unix.Recvmsg(int(fd), b, nil, unix.MSG_DONTWAIT)
			switch {
			case err == unix.EAGAIN:
				return false
			case err != nil:
				t.Error(err)
				return true
			case parseHeader(b).typ == typeDone:
				return true
			}
			n += size / 320
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n != 100 {
		t.Errorf("%d services, want 100", n)
	}
}

// TestPeekingReader checks that a read of the netlink connection, which asks for the size first, makes two chunks.
func TestPeekingReader(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	newTap(t, ns).fillServices(100)
	c := dial(t, ns)
	if _, err := c.Execute(generic(GetInfo), 34, netlink.Request); err != nil {
		t.Fatal(err)
	}
	var s *session
	for x := range k.sessions {
		if x.transport != nil {
			s = x
		}
	}
	k.Inject(Fault{Command: GetService, Effect: AfterChunk(2, func() {
		if len(s.queue) != 1 {
			t.Errorf("%d chunks wait when the third is made, want the second", len(s.queue))
		}
	})})
	if msgs, err := c.Execute(generic(GetService), 34, netlink.Request|netlink.Dump); err != nil || len(msgs) != 100 {
		t.Fatalf("%d services, %v", len(msgs), err)
	}
}

// TestSynctest runs exchanges in a bubble whose clock moves on by itself.
func TestSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, err := New(&Config{RealTime: true})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		ns := k.Namespace("")
		c, err := ns.Dial()
		if err != nil {
			t.Fatal(err)
		}
		began := k.Now()
		flags := netlink.Request | netlink.Acknowledge
		if _, err := c.Execute(generic(NewService, svc(vip, rr)), 34, flags); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Execute(generic(NewDest, svc(vip), dst("10.0.0.1:80", w1)), 34, flags); err != nil {
			t.Fatal(err)
		}
		one := netip.MustParseAddrPort("10.0.0.1:80")
		if err := ns.Count(vip, one, Counters{Conns: 7}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		msgs, err := c.Execute(generic(GetDest, svc(vip)), 34, netlink.Request|netlink.Dump)
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%d destinations, %v", len(msgs), err)
		}
		if got := statsOf(t, fieldsOf(t, destPolicy, msgs[0].Data)[destStats]).u32(1); got != 7 {
			t.Errorf("%d connections after a minute of sleep", got)
		}
		if d := k.Now().Sub(began); d != time.Minute {
			t.Errorf("the kernel's clock moved by %v", d)
		}
	})
}
