package nltest

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"golang.org/x/sys/unix"
)

// realSocket is a generic netlink socket of the host.
type realSocket struct {
	t  testing.TB
	fd int
}

// openReal opens a socket with port id 0x1234 in a namespace.
func openReal(t testing.TB, ns *nstest.NS) *realSocket {
	t.Helper()
	s := &realSocket{t: t}
	ns.Do(t, func() {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
		if err != nil {
			t.Fatal(err)
		}
		s.fd = fd
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 0x1234}); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

func (s *realSocket) close() { _ = unix.Close(s.fd) }

// exchange sends a datagram and receives everything, as tap.exchange does.
func (s *realSocket) exchange(b []byte) [][]byte {
	s.t.Helper()
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.t.Fatal(err)
	}
	var all [][]byte
	buf := make([]byte, 1<<16)
	for {
		n, _, _, _, err := unix.Recvmsg(s.fd, buf, nil, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return all
		}
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, append([]byte(nil), buf[:n]...))
	}
}

// hostVersion returns the version of the kernel that this runs on, which must be one that is copied.
func hostVersion(t testing.TB) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if version := strings.Join(parts[:2], "."); version == "6.1" || version == "6.12" {
		return version
	}
	t.Skipf("Linux %s is not a version that this package copies", unix.ByteSliceToString(u.Release[:]))
	return ""
}

// realFamily asks the host for the number of the IPVS family.
func realFamily(t testing.TB) uint16 {
	t.Helper()
	s := openReal(t, nstest.New(t))
	defer s.close()
	e := genMessage(header{typ: typeControl, flags: flagRequest, seq: 1, cmd: ctrlGetFamily, version: 1})
	e.str(ctrlFamilyName, familyName)
	got := s.exchange(e.finish())
	if len(got) != 1 || parseHeader(got[0]).typ != typeControl {
		t.Fatalf("looking up the family: %x", got)
	}
	f, _, _ := policy{ctrlFamilyID: {kind: kindU16}}.parse(got[0][genHeaderLen:], 0)
	return f.u16(ctrlFamilyID)
}

// moreCases are requests whose answers say something about details that have no errno of their own.
var moreCases = []errnoCase{
	{name: "something malformed behind a complete service", cmd: GetService, fill: attrs(in(topService, svcID, func(e *encoder) { e.b = append(e.b, 99, 0, 1, 0) }))},
	{name: "one attribute twice", cmd: GetService, fill: attrs(in(topService, svcID, be16(svcPort, 99)))},
	{name: "trailing bytes in a daemon", cmd: DelDaemon, fill: attrs(in(topDaemon, u32(daemonState, 1), func(e *encoder) { e.b = append(e.b, 1, 2) }))},
	{name: "trailing attribute", cmd: SetConfig, fill: attrs(func(e *encoder) { e.b = append(e.b, 99, 0, 4, 0) })},
	{name: "short nest in a service", cmd: GetService, fill: attrs(in(topService, svcID, bin(svcStats, 1)))},
	{name: "short 64-bit statistics in a service", cmd: GetService, fill: attrs(in(topService, svcID, bin(svcStats64, 1)))},
	{name: "short 64-bit statistics in a destination", cmd: DelDest, fill: attrs(svc(vip), in(topDest, destID, bin(destStats64, 1)))},
	{name: "scheduler with text behind its end", cmd: SetService, fill: attrs(svc(vip, rr, bin(svcSched, []byte("rr\x00wlc\x00")...)))},
	{name: "scheduler with a long tail", cmd: SetService, fill: attrs(svc(vip, rr, bin(svcSched, []byte("rr\x00aaaaaaaaaaaaaaaaaaaaa\x00")...)))},
	{name: "engine of 16 characters", cmd: SetService, fill: attrs(svc(vip, rr, str(svcEngine, "abcdefghijklmnop")))},
	{name: "device with a long tail", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonIfname, []byte("dm0\x00aaaaaaaaaaaaaaaaaaaaaaaaa\x00")...)))},
	{name: "device not terminated", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonIfname, 'd', 'm', '0')))},
	{name: "group of 17 bytes", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", zeroes(daemonGroup6, 17)))},
	{name: "TTL empty", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonTTL)))},
	{name: "mark 0", cmd: NewService, fill: attrs(in(topService, u16(svcAF, afInet), u32(svcMark, 0), rr))},
	{name: "IPv4 broadcast of the loopback net", cmd: NewDest, fill: attrs(svc(vip), dst("127.255.255.255:80", w1))},
	{name: "site-local", cmd: NewDest, fill: attrs(svc(vip6), dst("[fec0::1]:80", w1))},
	{name: "backup on lo", cmd: NewDaemon, fill: attrs(daemonOn(stateBackup, "lo"))},
	{name: "GET_SERVICE", cmd: GetService, fill: attrs(svc(vip))},
	{name: "GET_DEST", cmd: GetDest, flags: list, fill: attrs(svc(vip))},
	{name: "GET_DAEMON", cmd: GetDaemon, flags: list},
	{name: "families", raw: func(p *tap) []byte {
		e := genMessage(header{typ: typeControl, flags: do, seq: 1, cmd: ctrlGetFamily, version: 1})
		e.str(ctrlFamilyName, "nlctrl")
		return e.finish()
	}},
	{name: "family name too long", raw: func(p *tap) []byte {
		e := genMessage(header{typ: typeControl, flags: do, seq: 1, cmd: ctrlGetFamily, version: 1})
		e.str(ctrlFamilyName, "abcdefghijklmnop")
		return e.finish()
	}},
	{name: "family of IPVS", raw: func(p *tap) []byte {
		e := genMessage(header{typ: typeControl, flags: do, seq: 1, cmd: ctrlGetFamily, version: 1})
		e.str(ctrlFamilyName, familyName)
		return e.finish()
	}},
}

// settleAddresses waits until packets to so many link-local addresses of a device are taken. What the kernel needs for that
// it does in the background, after it has answered the request for an address.
func settleAddresses(t *testing.T, ns *nstest.NS, device string, count int) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		var text []byte
		var err error
		ns.Do(t, func() { text, err = os.ReadFile("/proc/thread-self/net/ipv6_route") })
		if err != nil {
			t.Fatal(err)
		}
		ready := 0
		for line := range strings.Lines(string(text)) {
			w := strings.Fields(line)
			// Of a local route: the address and its length in hex, and the device at the end.
			if len(w) == 10 && strings.HasPrefix(w[0], "fe80") && w[0] != "fe800000000000000000000000000000" && w[1] == "80" && w[9] == device {
				ready++
			}
		}
		if ready >= count {
			return
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Fatalf("%s has %d link-local addresses after %v, want %d:\n%s", device, ready, took, count, text)
		}
	}
}

// TestIntegrationAnswers sends the requests of the errno matrix, and more, to the running kernel and to the one in memory, and
// compares their answers byte for byte, with and without extended acknowledgements.
func TestIntegrationAnswers(t *testing.T) {
	nstest.RequireKernel(t)
	version, family := hostVersion(t), realFamily(t)
	k := newKernel(t, &Config{Version: version, FamilyID: family, RealTime: true})
	host := nstest.New(t)
	host.Dummy(t, "dm0")
	host.Dummy(t, "dm1")
	host.Up(t, "lo")
	host.Up(t, "dm0")
	host.Down(t, "dm1")
	host.AddAddr(t, "dm0", netip.MustParsePrefix("192.168.77.1/24"))
	host.AddAddr(t, "dm0", netip.MustParsePrefix("fe80::77/64"))
	settleAddresses(t, host, "dm0", 2) // that of above, and the one that the kernel gives the device
	prepareDevices(t, k)
	ns := k.Namespace("")
	p := newTap(t, ns, Port(0x1234))
	real := openReal(t, host)
	defer real.close()
	compared := 0
	var daemons [2]*daemon // whose threads are known to run
	for _, c := range append(append([]errnoCase(nil), errnoCases...), moreCases...) {
		if c.opts != nil || c.version != "" && c.version != version {
			continue // privileges of the host are another test's matter
		}
		for _, extended := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: " extended"}[extended], func(t *testing.T) {
				p.t, real.t = t, t
				both := func(b []byte) {
					t.Helper()
					want, got := real.exchange(b), p.exchange(b)
					if ns.daemons != daemons {
						// A daemon that is stopped before its thread ran is stopped without an acknowledgement.
						nstest.SettleDaemons(t)
						daemons = ns.daemons
					}
					if len(want) != len(got) {
						t.Fatalf("request %x: %d answers, the host gives %d:\nhost %x\ngot  %x", b, len(got), len(want), want, got)
					}
					for i := range want {
						compareBytes(t, "answer "+itoa(i+1), want[i], got[i])
					}
				}
				// A clean table, what is in the trash and comes back from it excepted.
				for _, b := range [][]byte{
					p.request(FlushServices, do), p.request(DelDaemon, do, in(topDaemon, u32(daemonState, stateMaster))),
					p.request(DelDaemon, do, in(topDaemon, u32(daemonState, stateBackup))),
					p.request(SetConfig, do, u32(topTimeoutTCP, 900), u32(topTimeoutFIN, 120), u32(topTimeoutUDP, 300)),
					p.request(NewService, do, svc(vip, rr)), p.request(NewService, do, svc(vip6, conf6("rr", 0, 0, 0, 128))),
					p.request(NewDest, do, svc(vip), dst("10.0.0.1:80", w1)),
				} {
					both(b)
				}
				p.s.extAck = extended
				on := map[bool]int{true: 1}[extended]
				if err := unix.SetsockoptInt(real.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, on); err != nil {
					t.Fatal(err)
				}
				if c.before != nil {
					c.before(t, newTap(t, ns))
					log := k.Requests()
					if got := real.exchange(log[len(log)-1].Raw); len(got) != 1 || errnoOf(got[0]) != 0 {
						t.Fatalf("preparation: %x", got)
					}
					nstest.SettleDaemons(t)
					daemons = ns.daemons
				}
				flags := c.flags
				if flags == 0 {
					flags = do
				}
				req := p.request(c.cmd, flags, c.fill...)
				if c.raw != nil {
					req = c.raw(p)
				}
				both(req)
				// What became of the table.
				both(p.request(GetService, flagRequest, svc(vip)))
				both(p.request(GetDest, list, svc(vip)))
				both(p.request(GetDaemon, list))
				both(p.request(GetConfig, flagRequest))
				compared++
			})
		}
	}
	t.Logf("%d comparisons on Linux %s", compared, version)
}
