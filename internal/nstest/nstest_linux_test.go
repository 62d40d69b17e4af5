package nstest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recorder is a test that notes how it ended.
type recorder struct {
	testing.TB
	skipped, failed bool
	text            string
}

func (r *recorder) Helper() {}
func (r *recorder) Skip(args ...any) {
	r.skipped, r.text = true, fmt.Sprint(args...)
	runtime.Goexit()
}
func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.failed, r.text = true, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// record runs f with a recorder.
func record(f func(*recorder)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestRequireKernel(t *testing.T) {
	t.Run("not asked for", func(t *testing.T) {
		t.Setenv("LVS_KERNEL_TEST", "")
		if r := record(func(r *recorder) { RequireKernel(r) }); !r.skipped || !strings.Contains(r.text, "LVS_KERNEL_TEST") {
			t.Fatalf("skipped %v: %q", r.skipped, r.text)
		}
	})
	t.Run("asked for", func(t *testing.T) {
		t.Setenv("LVS_KERNEL_TEST", "1")
		r := record(func(r *recorder) { RequireKernel(r) })
		_, err := os.Stat("/proc/thread-self/net/ip_vs")
		able := os.Geteuid() == 0 && err == nil
		if r.skipped || r.failed == able {
			t.Fatalf("able %v, skipped %v, failed %v: %q", able, r.skipped, r.failed, r.text)
		}
	})
}

func TestParseRelease(t *testing.T) {
	for release, want := range map[string][2]int{
		"6.1.0-56-cloud-amd64": {6, 1}, "6.12.117+deb12-cloud-amd64": {6, 12}, "7.0-rc1": {7, 0}, "5.10": {5, 10},
	} {
		major, minor, err := parseRelease(release)
		if err != nil || [2]int{major, minor} != want {
			t.Errorf("%s: got %d, %d, %v; want %v", release, major, minor, err, want)
		}
	}
	for _, release := range []string{"", "6", "6.", "x.1", "6.x1"} {
		if major, minor, err := parseRelease(release); err == nil {
			t.Errorf("%q: got %d, %d, want an error", release, major, minor)
		}
	}
}

func TestIntegrationNamespace(t *testing.T) {
	RequireKernel(t)
	netns := func() string {
		t.Helper()
		name, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	outside := netns()
	a, b := New(t), New(t)
	var inA, inB, backInA string
	a.Do(t, func() {
		inA = netns()
		b.Do(t, func() { inB = netns() })
		backInA = netns()
	})
	if inA == outside || inB == outside || inA == inB || backInA != inA {
		t.Errorf("outside %s, in a %s, in b %s, again in a %s", outside, inA, inB, backInA)
	}
	// f may end its goroutine: the next user of the thread must not be inside.
	record(func(*recorder) { a.Do(t, runtime.Goexit) })
	for range 50 {
		done := make(chan string)
		go func() { done <- netns() }()
		if got := <-done; got != outside {
			t.Fatalf("a goroutine runs in %s", got)
		}
	}
	if link, err := os.Stat(a.Path()); err != nil {
		t.Errorf("%s: %v, %v", a.Path(), link, err)
	}
	if !a.Link(t, "lo").Up {
		t.Error("lo is down")
	}

	a.SetSysctl(t, "net/ipv4/ip_forward", "1")
	if got, other := a.Sysctl(t, "net/ipv4/ip_forward"), b.Sysctl(t, "net/ipv4/ip_forward"); got != "1" || other != "0" {
		t.Errorf("ip_forward is %q, and %q elsewhere", got, other)
	}
	if r := record(func(r *recorder) { a.Sysctl(r, "net/none") }); !r.failed {
		t.Error("a sysctl that does not exist has a value")
	}
}

func TestIntegrationLinks(t *testing.T) {
	RequireKernel(t)
	ns, peer := New(t), New(t)
	Veth(t, ns, "left", peer, "right")
	if l, r := ns.Link(t, "left"), peer.Link(t, "right"); !l.Up || !r.Up || l.MAC.String() == r.MAC.String() {
		t.Errorf("left %+v, right %+v", l, r)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	ns.Down(t, "left")
	ns.SetMAC(t, "left", mac)
	ns.SetMTU(t, "left", 1400)
	if l := ns.Link(t, "left"); l.Up || l.MAC.String() != mac.String() || l.MTU != 1400 {
		t.Errorf("left %+v", l)
	}
	ns.Dummy(t, "d0")
	ns.AddAddr(t, "d0", netip.MustParsePrefix("10.9.0.1/24"))
	ns.AddAddr(t, "d0", netip.MustParsePrefix("fd00:9::1/64"))
	ns.AddRoute(t, Route{Dst: netip.MustParsePrefix("10.10.0.0/16"), Via: netip.MustParseAddr("10.9.0.2")})
	ns.AddRoute(t, Route{Dst: netip.MustParsePrefix("fd00:10::/64"), Dev: "d0"})
	ns.AddRoute(t, Route{Dst: netip.MustParsePrefix("10.11.0.0/16"), Local: true})
	// The source address that the kernel picks shows the routes.
	source := func(dst string) string {
		t.Helper()
		conn, err := ns.Dial("udp", netip.AddrPort{}, netip.MustParseAddrPort(dst))
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String()
	}
	for dst, want := range map[string]string{
		"10.9.0.7:1": "10.9.0.1", "[fd00:9::7]:1": "fd00:9::1", "10.10.1.1:1": "10.9.0.1", "[fd00:10::1]:1": "fd00:9::1",
		"10.11.1.1:1": "10.11.1.1", "10.12.0.1:1": "network is unreachable",
	} {
		if got := source(dst); !strings.Contains(got, want) {
			t.Errorf("to %s from %s, want %s", dst, got, want)
		}
	}
	ns.DeleteAddr(t, "d0", netip.MustParsePrefix("10.9.0.1/24"))
	if got := source("10.9.0.7:1"); !strings.Contains(got, "unreachable") {
		t.Errorf("after the address is gone: %s", got)
	}
	ns.DeleteLink(t, "d0")
	if _, err := ns.link("d0"); err == nil {
		t.Error("d0 is still there")
	}
	if r := record(func(r *recorder) { ns.Up(r, "d0") }); !r.failed || !strings.Contains(r.text, "d0") {
		t.Errorf("up of a device that is gone: %q", r.text)
	}
}

func TestIntegrationServers(t *testing.T) {
	RequireKernel(t)
	lab := NewLab(t, LabConfig{Clients: 2, Direct: true})
	client := lab.Clients[1]
	for i, rs := range lab.RealServers {
		name := fmt.Sprint("rs", i)
		for _, addr := range []netip.Addr{rs.Addr, rs.Addr6} {
			rs.NS.ServeTCP(t, netip.AddrPortFrom(addr, 80), name)
			rs.NS.ServeUDP(t, netip.AddrPortFrom(addr, 53), name)
			rs.NS.ServeHTTP(t, netip.AddrPortFrom(addr, 8080), name, nil)
		}
		rs.NS.ServeHTTP(t, netip.AddrPortFrom(rs.Addr, 8081), name, http.NotFoundHandler())
		for _, addr := range []netip.Addr{rs.Addr, rs.Addr6} {
			check := func(what string, got string, err error) {
				t.Helper()
				if err != nil || got != name {
					t.Errorf("%s %v: got %q, %v; want %q", what, addr, got, err, name)
				}
			}
			got, err := client.NS.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(addr, 80))
			check("TCP", got, err)
			got, err = client.NS.AskUDP(netip.AddrPort{}, netip.AddrPortFrom(addr, 53))
			check("UDP", got, err)
			got, err = client.NS.AskHTTP(netip.Addr{}, netip.AddrPortFrom(addr, 8080))
			check("HTTP", got, err)
		}
	}

	rs := lab.RealServers[0]
	src := netip.AddrPortFrom(client.Addr, 3333)
	conn, err := client.NS.Dial("tcp", src, netip.AddrPortFrom(rs.Addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().String(); got != src.String() {
		t.Errorf("connected from %s, want %v", got, src)
	}
	want := []byte("rs0\nhello")
	if _, err := conn.Write(want[4:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("%q, %v", got[:n], err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := client.NS.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(rs.Addr, 81)); err == nil || !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		t.Errorf("a port without a server: %v", err)
	}
	if got, err := client.NS.AskHTTP(netip.Addr{}, netip.AddrPortFrom(rs.Addr, 8081)); err != nil || got != "404 page not found" {
		t.Errorf("got %q, %v", got, err)
	}
	// The other host of the network, and the director's address on it.
	lab.Clients[0].NS.ServeTCP(t, netip.AddrPortFrom(lab.Clients[0].Addr, 7), "peer")
	if got, err := rs.NS.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(lab.Clients[0].Addr, 7)); err != nil || got != "peer" {
		t.Errorf("got %q, %v", got, err)
	}
	lab.Director.ServeTCP(t, netip.AddrPortFrom(lab.VIP6, 7), "director")
	if got, err := client.NS.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(lab.VIP6, 7)); err != nil || got != "director" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestIntegrationCaptureForged(t *testing.T) {
	RequireKernel(t)
	lab := NewLab(t, LabConfig{RealServers: 1})
	rs := lab.RealServers[0]
	const flows = 2000
	for name, dst := range map[string]netip.AddrPort{
		"IPv4": netip.AddrPortFrom(rs.Addr, 80), "IPv6": netip.AddrPortFrom(rs.Addr6, 80),
	} {
		t.Run(name, func(t *testing.T) {
			c := rs.NS.Capture(t, "eth0")
			s := lab.Sender(t)
			before := time.Now()
			want := make(map[netip.AddrPort]int)
			forged := func(f Frame) bool {
				p, err := f.Packet()
				_, ok := want[p.Src]
				return err == nil && !f.Outgoing && ok && p.Dst == dst && p.TTL == 63
			}
			for i := range flows {
				proto := uint8(TCP)
				if i%2 == 1 {
					proto = UDP
				}
				addr := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
				if dst.Addr().Is6() {
					addr = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
				}
				p := Packet{Src: netip.AddrPortFrom(addr, uint16(1024+i)), Dst: dst, Proto: proto, Payload: []byte("forged")}
				if proto == TCP {
					p.Flags, p.Payload = SYN, nil
				}
				want[p.Src] = i
				s.Send(t, p)
				if i%250 == 0 { // the kernel has room for 1,000 on the way
					arrived(t, c, i+1, forged)
				}
			}
			got := arrived(t, c, flows, forged)
			for i, f := range got {
				p, err := f.Packet()
				if err != nil {
					t.Fatal(err)
				}
				if want[p.Src] != i {
					t.Fatalf("packet %d arrived as number %d", want[p.Src], i)
				}
				if f.Time.Before(before.Add(-time.Second)) || f.Time.After(time.Now().Add(time.Second)) {
					t.Fatalf("packet %d has the time %v", i, f.Time)
				}
				if !ChecksumsValid(f.Data[ethernetHeader:]) {
					t.Fatalf("packet %d has a wrong checksum", i)
				}
			}
			if got := c.Wait(1, 50*time.Millisecond, func(f Frame) bool { return false }); len(got) != 0 {
				t.Errorf("%d frames matched nothing", len(got))
			}
			all := c.Stop()
			if len(all) < flows || len(c.Stop()) != len(all) {
				t.Errorf("%d frames at the end", len(all))
			}
		})
	}
}

// arrived waits until a number of frames that match has been captured.
func arrived(t *testing.T, c *Capture, count int, match func(Frame) bool) []Frame {
	t.Helper()
	got := c.Wait(count, settleTimeout, match)
	if len(got) != count {
		queues, err := os.ReadFile("/proc/net/softnet_stat")
		t.Fatalf("%d of %d packets arrived; of %d frames the capture dropped %d; /proc/net/softnet_stat, where the second number is that of packets thrown away: %s%v",
			len(got), count, len(c.Frames()), c.Dropped(t), queues, err)
	}
	return got
}

// What has passed the device before the end of the capture belongs to it, also if it was not read yet.
func TestIntegrationCaptureStop(t *testing.T) {
	RequireKernel(t)
	a, b := New(t), New(t)
	Veth(t, a, "eth0", b, "eth0")
	c, other := b.Capture(t, "eth0"), b.Capture(t, "eth0")
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, "experimental"...)
	sent := func(f Frame) bool { return bytes.HasPrefix(f.Data, frame) }
	s := a.Sender(t, "eth0", net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	const count = 20
	c.mu.Lock() // reads no more than one
	for range count {
		s.SendFrame(t, frame)
	}
	if got := other.Wait(count, settleTimeout, sent); len(got) != count {
		t.Errorf("%d of %d frames arrived", len(got), count)
	}
	all := make(chan []Frame)
	go func() { all <- c.Stop() }()
	time.Sleep(10 * time.Millisecond) // Stop comes first, or has less to do
	c.mu.Unlock()
	if got := len(slices.DeleteFunc(slices.Clone(<-all), func(f Frame) bool { return !sent(f) })); got != count {
		t.Errorf("%d of %d frames were captured", got, count)
	}
}

// Frames that a device sends are seen too, and told apart.
func TestIntegrationCaptureOutgoing(t *testing.T) {
	RequireKernel(t)
	a, b := New(t), New(t)
	Veth(t, a, "eth0", b, "eth0")
	a.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.1/24"))
	b.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.2/24"))
	a.HideVIP(t, netip.MustParseAddr("10.0.0.100"))
	c := b.Capture(t, "eth0")
	a.ServeUDP(t, netip.MustParseAddrPort("10.0.0.1:9"), "a")
	if got, err := b.AskUDP(netip.MustParseAddrPort("10.0.0.2:4000"), netip.MustParseAddrPort("10.0.0.1:9")); err != nil || got != "a" {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, outgoing := range []bool{true, false} {
		frames := c.Wait(1, settleTimeout, func(f Frame) bool {
			p, err := f.Packet()
			return err == nil && p.Proto == UDP && f.Outgoing == outgoing
		})
		if len(frames) != 1 {
			t.Fatalf("outgoing %v: %d frames", outgoing, len(frames))
		}
		p, err := frames[0].Packet()
		if err != nil || (p.Src.Port() == 4000) != outgoing {
			t.Errorf("outgoing %v: %v -> %v, %v", outgoing, p.Src, p.Dst, err)
		}
	}
	if c.Dropped(t) != 0 {
		t.Error("frames were dropped")
	}
	// Nobody answers for the hidden address.
	conn, err := b.Dial("udp", netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.100:9"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("who")); err != nil {
		t.Fatal(err)
	}
	// arp matches ARP requests (1) for the hidden address or replies (2) from it, by where in the frame it is.
	arp := func(op byte, at int) func(Frame) bool {
		return func(f Frame) bool {
			return len(f.Data) >= 42 && f.Data[12] == 8 && f.Data[13] == 6 && f.Data[21] == op && bytes.Equal(f.Data[at:at+4], []byte{10, 0, 0, 100})
		}
	}
	if asked := c.Wait(2, settleTimeout, arp(1, 38)); len(asked) < 2 {
		t.Fatalf("%d ARP requests for the hidden address", len(asked))
	}
	if answers := c.Wait(1, 0, arp(2, 28)); len(answers) > 0 {
		t.Error("the hidden address answered ARP")
	}
	b.AddNeighbor(t, "eth0", netip.MustParseAddr("10.0.0.100"), a.Link(t, "eth0").MAC)
	a.ServeUDP(t, netip.MustParseAddrPort("10.0.0.100:9"), "vip")
	if got, err := b.AskUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.100:9")); err != nil || got != "vip" {
		t.Errorf("the hidden address does not take packets: %q, %v", got, err)
	}
}

func TestIntegrationSendFrame(t *testing.T) {
	RequireKernel(t)
	a, b := New(t), New(t)
	Veth(t, a, "eth0", b, "eth0")
	c := b.Capture(t, "eth0")
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, "experimental"...)
	a.Sender(t, "eth0", net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}).SendFrame(t, frame)
	got := c.Wait(1, settleTimeout, func(f Frame) bool { return bytes.HasPrefix(f.Data, frame) })
	if len(got) != 1 {
		t.Fatal("the frame did not arrive")
	}
	if _, err := got[0].Packet(); err == nil {
		t.Error("a frame without IP has a packet")
	}
}
