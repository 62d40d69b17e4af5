//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nltest

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
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

// itoa is strconv.Itoa for small numbers, to keep calls short.
func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
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
