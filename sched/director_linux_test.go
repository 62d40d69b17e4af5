package sched_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched"
	"golang.org/x/sys/unix"
)

// setting says what kind of service a director has.
type setting struct {
	v6   bool
	mark bool // a firewall-mark service with many destination addresses, not a VIP
	udp  bool
	ops  bool // one-packet scheduling, of UDP

	// sloppy lets an ACK without a SYN open a TCP connection, which is then active at once, with half the packets.
	sloppy bool
}

func (s setting) String() string {
	kind, proto := "VIP", "TCP"
	if s.mark {
		kind = "mark"
	}
	if s.udp {
		proto = "UDP"
	}
	if s.v6 {
		kind += " IPv6"
	}
	if s.ops {
		proto += " one-packet"
	}
	if s.sloppy {
		proto += " without SYN"
	}
	return kind + " " + proto
}

const (
	fwmark      = 7
	servicePort = 80
	highest     = 60 // servers have the numbers 1 to highest
)

var (
	vip4     = netip.MustParseAddr("10.9.0.1")
	vip6     = netip.MustParseAddr("fd09::1")
	beacon   = netip.MustParseAddrPort("10.2.1.1:9") // where settle sends its packets
	beacon6  = netip.MustParseAddrPort("[fd02::1:1]:9")
	markNet4 = netip.MustParsePrefix("172.16.0.0/12")
	markNet6 = netip.MustParsePrefix("fd16::/16")
	never    = 90 * 24 * time.Hour // a timeout that no test lives to see; the kernel takes little more
)

// connID identifies a connection: its client and the address that it was sent to.
type connID struct {
	client netip.AddrPort
	dest   netip.Addr
}

func (c connID) String() string { return fmt.Sprintf("%v>%v", c.client, c.dest) }

// director is an IPVS director in a network namespace of its own with one service. It gets packets through a pair of
// devices that are both in this namespace, because a firewall mark does not survive a change of the namespace, and sends
// them by direct routing to a dummy device, where the hardware address tells which server was picked. Servers do not
// answer, and there is no route to the clients.
type director struct {
	t       testing.TB
	ns      *nstest.NS
	client  *ipvs.Client
	service ipvs.Service
	setting setting
	tx, rx  int
	head    [12]byte // of each frame
	beacons uint16
	buf     [256]byte
}

// newDirector makes a director without a service, for a process that pin keeps in its place.
func newDirector(t testing.TB, kind setting) *director {
	t.Helper()
	d := &director{t: t, ns: nstest.New(t), setting: kind}
	for _, name := range []string{"ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"} {
		d.ns.SetSysctl(t, "net/"+name, "0")
	}
	d.ns.SetSysctl(t, "net/ipv4/ip_forward", "1")
	d.ns.SetSysctl(t, "net/ipv6/conf/all/forwarding", "1")
	nstest.Veth(t, d.ns, "in", d.ns, "clients")
	d.ns.Dummy(t, "servers")
	// Routes and no addresses: the kernel makes the route to a new IPv6 address later, in the background.
	d.ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("10.2.0.0/16"), Dev: "servers"})
	d.ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("fd02::/64"), Dev: "servers"})
	if kind.sloppy {
		d.ns.SetSysctl(t, "net/ipv4/vs/sloppy_tcp", "1")
	}
	if kind.mark {
		d.ns.AddRoute(t, nstest.Route{Dst: markNet4, Local: true})
		d.ns.AddRoute(t, nstest.Route{Dst: markNet6, Local: true})
	} else {
		d.ns.AddRoute(t, nstest.Route{Dst: netip.PrefixFrom(vip4, 32), Local: true})
		d.ns.AddRoute(t, nstest.Route{Dst: netip.PrefixFrom(vip6, 128), Local: true})
	}

	copy(d.head[0:], d.ns.Link(t, "in").MAC)
	copy(d.head[6:], d.ns.Link(t, "clients").MAC)
	d.tx, d.rx = d.socket("clients", 0), d.socket("servers", unix.ETH_P_ALL)
	if err := unix.SetsockoptInt(d.tx, unix.SOL_SOCKET, unix.SO_MARK, fwmark); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(d.rx, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		t.Fatal(err)
	}
	d.warm()
	var err error
	if d.client, err = ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: d.ns.File(), Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.client.Close() })
	d.do(ipvs.Change{Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{TCP: never, TCPFin: never, UDP: never}})
	return d
}

// pin keeps the whole process on one processor until the test ends: each processor has its own queue of received packets,
// and a sender that moved would overtake itself.
func pin(t testing.TB) {
	t.Helper()
	var allowed, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	first.Set(cpu)
	if err := confine(&first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := confine(&allowed); err != nil {
			t.Error(err)
		}
	})
}

// confine moves all threads, until there is no new one; a thread starts where the one is that made it.
func confine(cpus *unix.CPUSet) error {
	done := make(map[string]bool)
	for before := -1; len(done) > before; {
		before = len(done)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, cpus); err != nil && err != unix.ESRCH {
				return fmt.Errorf("move thread %d: %w", tid, err)
			}
			done[thread.Name()] = true
		}
	}
	return nil
}

// socket opens a packet socket on a device.
func (d *director) socket(device string, protocol uint16) int {
	d.t.Helper()
	fd := -1
	var err error
	d.ns.Do(d.t, func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) })
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = unix.Close(fd) })
	var order [2]byte
	binary.BigEndian.PutUint16(order[:], protocol)
	addr := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(order[:]), Ifindex: d.ns.Link(d.t, device).Index}
	if err := unix.Bind(fd, addr); err != nil {
		d.t.Fatal(err)
	}
	return fd
}

// introduce makes a server known by its hardware address.
func (d *director) introduce(n int) {
	d.t.Helper()
	d.ns.AddNeighbor(d.t, "servers", d.server(n).Addr(), net.HardwareAddr{2, 0, 0, 0, 0, byte(n)})
}

// server returns the address of a server. Ports differ, because mh hashes them.
func (d *director) server(n int) netip.AddrPort {
	port := uint16(servicePort + n%3)
	if d.setting.v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 2, 15: byte(n)}), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(n)}), port)
}

func (d *director) vip() netip.Addr {
	if d.setting.v6 {
		return vip6
	}
	return vip4
}

// addService adds the service.
func (d *director) addService(scheduler string, flags sched.Flags) error {
	family, protocol := ipvs.IPv4, ipvs.TCP
	if d.setting.v6 {
		family = ipvs.IPv6
	}
	if d.setting.udp {
		protocol = ipvs.UDP
	}
	id := ipvs.ServiceID{Protocol: protocol, Addr: netip.AddrPortFrom(d.vip(), servicePort)}
	if d.setting.mark {
		id = ipvs.Mark(fwmark, family)
	}
	d.service = ipvs.Service{ID: id, Scheduler: scheduler, Flags: d.flags(flags)}
	return d.client.AddService(context.Background(), d.service)
}

func (d *director) flags(f sched.Flags) ipvs.ServiceFlags {
	flags := ipvs.ServiceFlags(f)
	if d.setting.ops {
		flags |= ipvs.OnePacket
	}
	return flags
}

// edit returns the change of the service to a scheduler and flags.
func (d *director) edit(scheduler string, flags sched.Flags) ipvs.Change {
	d.service.Scheduler, d.service.Flags = scheduler, d.flags(flags)
	return ipvs.Change{Kind: ipvs.ServiceSet, Service: d.service}
}

// destination returns a change of a destination.
func (d *director) destination(kind ipvs.ChangeKind, n int, c sched.Settings) ipvs.Change {
	return ipvs.Change{Kind: kind, Service: d.service, Destination: ipvs.Destination{
		Addr: d.server(n), Forward: ipvs.Route, Weight: uint32(c.Weight), UpperThreshold: c.Upper, LowerThreshold: c.Lower,
	}}
}

func (d *director) do(changes ...ipvs.Change) {
	d.t.Helper()
	if _, err := d.client.Do(context.Background(), changes); err != nil {
		d.t.Fatal(err)
	}
}

// packet returns a packet of a connection, the flags being those of TCP.
func (d *director) packet(id connID, flags nstest.TCPFlags) nstest.Packet {
	p := nstest.Packet{Src: id.client, Dst: netip.AddrPortFrom(id.dest, servicePort), Proto: nstest.TCP, Flags: flags}
	if d.setting.udp {
		p.Proto, p.Flags = nstest.UDP, 0
	}
	return p
}

func (d *director) send(p nstest.Packet) {
	ip, err := p.Marshal()
	if err != nil {
		d.t.Fatal(err)
	}
	frame := append(d.head[:12:12], 0x08, 0x00)
	if ip[0]>>4 == 6 {
		frame = append(d.head[:12:12], 0x86, 0xdd)
	}
	frame = append(frame, ip...)
	for {
		switch _, err := unix.Write(d.tx, frame); err {
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			time.Sleep(time.Millisecond) // the device's queue is full
		case nil:
			return
		default:
			d.t.Fatal(err)
		}
	}
}

// warm waits until packets of both families get through: the kernel switches new devices on in the background.
func (d *director) warm() {
	d.t.Helper()
	waiting := map[netip.AddrPort]netip.AddrPort{
		beacon:  netip.MustParseAddrPort("10.1.0.1:1"),
		beacon6: netip.MustParseAddrPort("[fd01::1]:1"),
	}
	for deadline := time.Now().Add(30 * time.Second); len(waiting) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("no packet gets through to %v", waiting)
		}
		for dst, src := range waiting {
			d.send(nstest.Packet{Src: src, Dst: dst, Proto: nstest.UDP})
		}
		for {
			n, _, err := unix.Recvfrom(d.rx, d.buf[:], unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			if p, err := nstest.ParsePacket(d.buf[min(14, n):n]); err == nil {
				delete(waiting, p.Dst)
			}
		}
	}
}

// arrival is a packet that was sent to a server.
type arrival struct {
	conn   connID
	server int
	flags  nstest.TCPFlags
}

// settle waits until the director has done with all that was sent, and returns what arrived at servers since the last
// call, in order. A last packet that is merely forwarded follows the others through the same queue.
func (d *director) settle() []arrival {
	d.beacons = max(1, d.beacons+1)
	id := d.beacons
	d.send(nstest.Packet{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, 1}), 1), Dst: beacon, Proto: nstest.UDP, ID: id})
	var arrivals []arrival
	for deadline := time.Now().Add(30 * time.Second); ; {
		n, _, err := unix.Recvfrom(d.rx, d.buf[:], unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if time.Now().After(deadline) {
				d.t.Fatalf("beacon %d, sent through the director 30 s ago, does not come out of it; %d packets did", id, len(arrivals))
			}
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(d.rx), Events: unix.POLLIN}}, 100)
			continue
		case nil:
		default:
			d.t.Fatal(err)
		}
		if n < 14 || d.buf[12] != 0x08 && d.buf[12] != 0x86 {
			continue
		}
		p, err := nstest.ParsePacket(d.buf[14:n])
		if err != nil {
			continue
		}
		if p.Dst == beacon && p.ID == 0 {
			continue // of warm
		}
		if p.Dst == beacon {
			if p.ID != id {
				d.t.Fatalf("beacon %d arrived instead of %d", p.ID, id)
			}
			return arrivals
		}
		if p.Dst.Port() != servicePort || p.Proto != nstest.TCP && p.Proto != nstest.UDP {
			continue // what the kernel sends on its own
		}
		if [5]byte(d.buf[:5]) != [5]byte{2} {
			d.t.Fatalf("%v -> %v was sent to % x", p.Src, p.Dst, d.buf[:6])
		}
		arrivals = append(arrivals, arrival{connID{p.Src, p.Dst.Addr()}, int(d.buf[5]), p.Flags})
	}
}

// counters describes the servers in the order of the list, in the form of [duel.counters].
func (d *director) counters() string {
	d.t.Helper()
	list, err := d.client.Destinations(context.Background(), d.service.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	var b strings.Builder
	for _, x := range list {
		a := x.Addr.Addr().AsSlice()
		fmt.Fprintf(&b, "%d:%d/%d/%d ", a[len(a)-1], x.Weight, x.Active, x.Inactive)
	}
	return b.String()
}

// release returns the running kernel's release.
func release(t testing.TB) string {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(uts.Release[:])
}
