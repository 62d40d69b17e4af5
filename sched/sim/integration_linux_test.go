package sim_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

// beacon is an address that no service has: a packet to it that has arrived says that all before it have.
var beacon = netip.MustParseAddrPort("10.2.1.1:9")

// pair is a director of the running kernel, in a namespace of its own, and a simulated one; and a kernel in memory, which has
// another simulated one behind netlink and /proc. Packets come in through a pair
// of devices that are both in the namespace, because a firewall mark does not survive a change of it; what goes out to
// clients and servers vanishes in dummy devices, so that nobody answers but the test.
type pair struct {
	*sim.Director
	t       testing.TB
	ns      *nstest.NS
	kernel  *ipvs.Client
	memory  *ipvstest.Kernel
	copy    *ipvs.Client // of the kernel in memory
	start   time.Time
	tx      map[uint32]int // sockets by firewall mark
	rx      int
	head    [12]byte
	beacons uint16

	compared int
	buf      [256]byte
	table    ipvs.Snapshot // of seen, whose memory is used again
	log      []logged
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{Director: sim.New(nil), t: t, ns: nstest.New(t), tx: make(map[uint32]int)}
	for _, name := range []string{"all/rp_filter", "default/rp_filter", "all/send_redirects", "default/send_redirects"} {
		p.ns.SetSysctl(t, "net/ipv4/conf/"+name, "0")
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/icmp_ratelimit": "0", "net/ipv6/icmp/ratelimit": "0",
	} {
		p.ns.SetSysctl(t, name, value)
	}
	nstest.Veth(t, p.ns, "in", p.ns, "outside")
	p.ns.Dummy(t, "servers")
	p.ns.AddAddr(t, "servers", netip.MustParsePrefix("10.2.255.254/16"))
	p.ns.AddAddr(t, "servers", netip.MustParsePrefix("fd02::ffff/64"))
	p.ns.Dummy(t, "clients")
	p.ns.AddAddr(t, "clients", netip.MustParsePrefix("10.1.255.254/16"))
	p.ns.AddAddr(t, "clients", netip.MustParsePrefix("fd01:0:0:ffff::1/32"))
	// Routes and no addresses: the kernel makes the route to a new IPv6 address later, in the background.
	for _, vip := range []string{"10.9.0.1/32", "10.9.0.2/32", "fd09::1/128", "fd09::2/128"} {
		p.ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix(vip), Local: true})
	}
	p.ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("172.16.0.0/12"), Local: true})
	p.ns.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("fd16::/64"), Local: true})
	copy(p.head[0:], p.ns.Link(t, "in").MAC)
	copy(p.head[6:], p.ns.Link(t, "outside").MAC)
	for _, mark := range []uint32{0, 7} {
		p.tx[mark] = p.socket("outside", 0)
		if err := unix.SetsockoptInt(p.tx[mark], unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			t.Fatal(err)
		}
	}
	p.rx = p.socket("servers", unix.ETH_P_ALL)
	if err := unix.SetsockoptInt(p.rx, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.kernel, err = ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: p.ns.File(), Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.kernel.Close() })
	version := "6.1"
	if nstest.KernelAtLeast(t, 6, 2) {
		version = "6.12"
	}
	p.memory, p.copy = ipvstest.Start(t, &ipvstest.Config{Version: version})
	p.start = time.Now()
	return p
}

func (p *pair) socket(device string, protocol uint16) int {
	p.t.Helper()
	fd := -1
	var err error
	p.ns.Do(p.t, func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) })
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = unix.Close(fd) })
	var order [2]byte
	binary.BigEndian.PutUint16(order[:], protocol)
	addr := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(order[:]), Ifindex: p.ns.Link(p.t, device).Index}
	if err := unix.Bind(fd, addr); err != nil {
		p.t.Fatal(err)
	}
	return fd
}

// pin keeps the process on one processor: each has its own queue of received packets.
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
	confine(t, &first)
	t.Cleanup(func() { confine(t, &allowed) })
}

// confine moves all threads, until there is no new one.
func confine(t testing.TB, cpus *unix.CPUSet) {
	t.Helper()
	done := make(map[string]bool)
	for before := -1; len(done) > before; {
		before = len(done)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SchedSetaffinity(tid, cpus); err != nil && err != unix.ESRCH {
				t.Fatal(err)
			}
			done[thread.Name()] = true
		}
	}
}

func (p *pair) transmit(mark uint32, packet nstest.Packet) {
	p.t.Helper()
	b, err := packet.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	frame := append(p.head[:12:12], 0x08, 0x00)
	if packet.Src.Addr().Is6() {
		frame = append(p.head[:12:12], 0x86, 0xdd)
	}
	frame = append(frame, b...)
	for {
		_, err := unix.Write(p.tx[mark], frame)
		if err == nil {
			return
		}
		if err != unix.EAGAIN && err != unix.ENOBUFS && err != unix.EINTR {
			p.t.Fatal(err)
		}
	}
}

// patience limits the wait for what the kernel does on its own. On a machine that stands still now and then that can be late.
const patience = 30 * time.Second

// settle waits until the kernel has worked off all packets.
func (p *pair) settle() {
	p.t.Helper()
	p.beacons++
	src := netip.AddrPortFrom(netip.MustParseAddr("10.1.200.1"), p.beacons)
	p.transmit(0, nstest.Packet{Src: src, Dst: beacon, Proto: nstest.UDP})
	for begin := time.Now(); ; {
		n, _, err := unix.Recvfrom(p.rx, p.buf[:], 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			if took := time.Since(begin); took > patience {
				p.fail("%v after the start of the trace a packet, %v to %v, has not arrived for %v", time.Since(p.start), src, beacon, took)
			}
			time.Sleep(100 * time.Microsecond)
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if got, err := nstest.ParsePacket(p.buf[14:max(n, 14)]); err == nil && got.Src == src && got.Dst == beacon {
			return
		}
	}
}

// now is the time that has passed, which the simulated director takes over.
func (p *pair) now() time.Duration {
	now := time.Since(p.start)
	p.memory.Advance(now - p.Now())
	p.Advance(now)
	return now
}

// logged is an event, to be made a text of only if it is wanted.
type logged struct {
	at     time.Duration
	format string
	args   []any
}

func (l logged) String() string {
	return fmt.Sprintf("%v ", l.at.Round(time.Millisecond)) + fmt.Sprintf(l.format, l.args...)
}

func (p *pair) logf(format string, args ...any) {
	p.log = append(p.log, logged{p.Now(), format, args})
}

// change makes a change in all directors, which must agree whether it is possible, and the kernels how they refuse it.
func (p *pair) change(what string, in func(*ipvs.Client) error, simulated error) {
	p.t.Helper()
	p.logf("%s", what)
	kernel, memory := in(p.kernel), in(p.copy)
	if errno(kernel) != errno(memory) {
		p.fail("%s: the kernel says %v, the one in memory %v", what, kernel, memory)
	}
	if (kernel == nil) != (simulated == nil) {
		p.fail("%s: the kernel says %v, the simulator %v", what, kernel, simulated)
	}
}

// errno is what a kernel answered, 0 for success.
func errno(err error) syscall.Errno {
	if e, ok := errors.AsType[*ipvs.OpError](err); ok {
		return e.Errno
	}
	return 0
}

func (p *pair) fail(format string, args ...any) {
	p.t.Helper()
	var last strings.Builder
	for _, l := range p.log[max(0, len(p.log)-40):] {
		fmt.Fprintf(&last, "%v\n", l)
	}
	p.t.Fatalf("%s\nlast events:\n%s", fmt.Sprintf(format, args...), &last)
}

// packet sends a packet to both.
func (p *pair) packet(packet sim.Packet, server netip.AddrPort) sim.Result {
	p.t.Helper()
	p.now()
	r := p.Packet(packet)
	if m := p.memory.Namespace("").Send(packet); m != r {
		p.fail("%+v: the kernel in memory says %+v, the simulator %+v", packet, m, r)
	}
	var what fmt.Stringer = packet.TCP
	if packet.Protocol == sim.SCTP {
		what = packet.Chunk
	}
	p.logf("%v %v>%v mark %d out %v %v %q: %v %v", packet.Protocol, packet.Client, packet.Virtual, packet.Mark, packet.Out, what, packet.Payload, r.Verdict, r.Dest)
	w := nstest.Packet{Src: packet.Client, Dst: packet.Virtual, Proto: uint8(packet.Protocol)}
	if packet.Out {
		w.Src, w.Dst = server, packet.Client
	}
	w.Payload = packet.Payload
	if packet.Protocol == sim.SCTP {
		w.Payload = sctpPacket(w.Src.Port(), w.Dst.Port(), packet.Chunk)
	}
	for bit, flag := range map[sim.TCPFlags]nstest.TCPFlags{sim.FIN: nstest.FIN, sim.SYN: nstest.SYN, sim.RST: nstest.RST, sim.ACK: nstest.ACK} {
		if packet.TCP&bit != 0 && packet.Protocol == sim.TCP {
			w.Flags |= flag
		}
	}
	p.transmit(packet.Mark, w)
	return r
}

// sctpPacket is an SCTP header and the beginning of a chunk, which is all that IPVS looks at.
func sctpPacket(src, dst uint16, c sim.Chunk) []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint16(b[0:], src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[15] = byte(c), 4
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// tick waits until the kernel has done what it does a tick later, in a timer or a thread: not before has a packet that comes
// then the same effect on both.
func (p *pair) tick() {
	p.t.Helper()
	p.settle()
	time.Sleep(20 * time.Millisecond)
	p.same()
}

// same waits until both directors show the same, which it returns. A list of connections is read in parts, and the kernel
// counts those of all namespaces to find the place where to go on: with those of another trace that come and go meanwhile it
// can miss some or have some twice.
func (p *pair) same() *picture {
	p.t.Helper()
	p.settle()
	for begin, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		p.now()
		kernel, simulated := p.seen(p.kernel), p.simulated()
		if kernel.equal(simulated) {
			return kernel
		}
		if took := time.Since(begin); took > patience {
			p.fail("%v after the start of the trace the directors have differed for %v (-kernel +simulator):\n%s",
				time.Since(p.start), took, cmp.Diff(kernel, simulated, equateAddrs))
		}
		time.Sleep(pause)
	}
}

// compare compares everything. The kernel has time for what it does a tick later, in a thread that may have to wait.
func (p *pair) compare() {
	p.t.Helper()
	kernel := p.same()
	if p.compared++; p.compared%3 == 0 {
		if memory := p.seen(p.copy); !kernel.equal(memory) {
			p.fail("the kernels differ (-kernel +memory):\n%s", cmp.Diff(kernel, memory, equateAddrs))
		}
	}
}

// client is the kernel's service for a simulated one.
func realService(s sim.Service) ipvs.Service {
	out := ipvs.Service{ID: realID(s.ID), Scheduler: s.Scheduler, Flags: ipvs.ServiceFlags(s.Flags), Timeout: s.Timeout, Netmask: s.Mask, PE: s.Engine}
	return out // without a mask, it is the whole address for both
}

func realID(id sim.ServiceID) ipvs.ServiceID {
	if id.Mark != 0 {
		if id.IPv6 {
			return ipvs.Mark(id.Mark, ipvs.IPv6)
		}
		return ipvs.Mark(id.Mark, ipvs.IPv4)
	}
	return ipvs.ServiceID{Protocol: ipvs.Protocol(id.Protocol), Addr: id.Addr}
}

func realDest(d sim.Dest) ipvs.Destination {
	return ipvs.Destination{Addr: d.Addr, Forward: ipvs.ForwardMethod(d.Method), Weight: d.Weight, UpperThreshold: d.Upper, LowerThreshold: d.Lower}
}

func (p *pair) addService(s sim.Service) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change(fmt.Sprintf("add %+v", s), func(c *ipvs.Client) error { return c.AddService(context.Background(), realService(s)) }, p.AddService(s))
}

func (p *pair) setService(s sim.Service) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change(fmt.Sprintf("set %+v", s), func(c *ipvs.Client) error { return c.SetService(context.Background(), realService(s)) }, p.SetService(s))
}

func (p *pair) deleteService(id sim.ServiceID) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change("delete "+id.String(), func(c *ipvs.Client) error { return c.DeleteService(context.Background(), realID(id)) }, p.DeleteService(id))
	p.tick()
}

func (p *pair) addDest(id sim.ServiceID, d sim.Dest) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change(fmt.Sprintf("add %v %+v", id, d), func(c *ipvs.Client) error { return c.AddDestination(context.Background(), realID(id), realDest(d)) }, p.AddDest(id, d))
}

func (p *pair) setDest(id sim.ServiceID, d sim.Dest) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change(fmt.Sprintf("set %v %+v", id, d), func(c *ipvs.Client) error { return c.SetDestination(context.Background(), realID(id), realDest(d)) }, p.SetDest(id, d))
}

func (p *pair) deleteDest(id sim.ServiceID, addr netip.AddrPort) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change(fmt.Sprintf("delete %v %v", id, addr), func(c *ipvs.Client) error { return c.DeleteDestination(context.Background(), realID(id), addr) }, p.DeleteDest(id, addr))
	p.tick()
}

func (p *pair) sysctl(name string, value int) {
	p.t.Helper()
	p.settle()
	p.now()
	p.ns.SetSysctl(p.t, "net/ipv4/vs/"+name, strconv.Itoa(value))
	root := p.memory.Namespace("").FS().(interface {
		WriteFile(name string, data []byte, perm fs.FileMode) error
	})
	if err := root.WriteFile("proc/sys/net/ipv4/vs/"+name, []byte(strconv.Itoa(value)), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.change(fmt.Sprintf("%s = %d", name, value), func(*ipvs.Client) error { return nil }, p.SetSysctl(name, strconv.Itoa(value)))
}

func (p *pair) timeouts(tcp, fin, udp time.Duration) {
	p.t.Helper()
	p.settle()
	p.now()
	p.change("timeouts", func(c *ipvs.Client) error {
		return c.SetTimeouts(context.Background(), ipvs.Timeouts{TCP: tcp, TCPFin: fin, UDP: udp})
	},
		p.SetTimeouts(sim.Timeouts{TCP: tcp, TCPFin: fin, UDP: udp}))
}

// TestIntegrationDifferential lets random traces run on the kernel and on the simulator, and compares all connections with
// their states and destinations, and all counters, which a kernel in memory must show in the same way: TCP with and without
// secure_tcp, UDP, SCTP and SIP over UDP, IPv4 in every other trace and IPv6 in those between. A server of the SIP service
// sends nothing but replies: with what it began itself the kernel makes a template for its peer, of which there is no
// model. A trace is so short that no timer fires in it; SCTP connections do not stay in a state that ends after four
// seconds.
func TestIntegrationDifferential(t *testing.T) {
	nstest.RequireKernel(t)
	pin(t)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LVS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LVS_SEED=%d", seed)
	const (
		want    = 5000
		workers = 2 // traces at a time: each of them waits for a third of its time
	)
	var (
		mu                      sync.Mutex
		opened, packets, checks int
		next                    uint64
		group                   sync.WaitGroup
	)
	for range workers {
		group.Go(func() {
			for {
				mu.Lock()
				trace, enough := next, opened >= want
				next++
				mu.Unlock()
				if enough || t.Failed() {
					return
				}
				t.Run(strconv.FormatUint(trace, 10), func(t *testing.T) {
					g := &generator{Rand: rand.New(rand.NewPCG(seed, trace)), p: newPair(t), v6: trace%2 == 1, flows: make(map[sim.Flow]*flow)}
					g.run()
					n := g.p.Total().Counted
					mu.Lock()
					defer mu.Unlock()
					opened, packets, checks = opened+int(n.Conns), packets+int(n.InPackets+n.OutPackets), checks+g.checks
				})
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Printf("differential: director %d connections, %d packets, %d comparisons, 0 differences on Linux %s\n", opened, packets, checks, unix.ByteSliceToString(u.Release[:]))
}

// TestIntegrationCorners compares cases that random traces seldom or never have.
func TestIntegrationCorners(t *testing.T) {
	nstest.RequireKernel(t)
	pin(t)
	address := netip.MustParseAddrPort
	open := func(p *pair, protocol sim.Protocol, client, virtual string, payload string) {
		t.Helper()
		f := sim.Flow{Protocol: protocol, Client: address(client), Virtual: address(virtual)}
		p.packet(sim.Packet{Flow: f, TCP: sim.SYN, Payload: []byte(payload)}, netip.AddrPort{})
	}
	tests := map[string]func(p *pair){
		"a template without connections is flushed": func(p *pair) {
			s := sim.Service{ID: sim.ServiceID{Protocol: sim.UDP, Addr: address("10.9.0.1:53")}, Scheduler: "rr", Flags: sim.Persistent | sim.OnePacket, Timeout: 100 * time.Second}
			p.addService(s)
			p.addDest(s.ID, sim.Dest{Addr: address("10.2.0.1:53"), Weight: 1})
			p.sysctl("expire_nodest_conn", 1)
			open(p, sim.UDP, "10.1.0.1:1000", "10.9.0.1:53", "")
			p.compare()
			p.deleteDest(s.ID, address("10.2.0.1:53"))
		},
		"TCP with the engine sip": func(p *pair) {
			s := sim.Service{ID: sim.ServiceID{Protocol: sim.TCP, Addr: address("10.9.0.1:5060")}, Scheduler: "rr", Flags: sim.Persistent, Timeout: 100 * time.Second, Engine: "sip"}
			p.addService(s)
			p.addDest(s.ID, sim.Dest{Addr: address("10.2.0.1:5060"), Weight: 1})
			open(p, sim.TCP, "10.1.0.1:1000", "10.9.0.1:5060", "")
		},
		"FTP without persistence": func(p *pair) {
			s := sim.Service{ID: sim.ServiceID{Protocol: sim.TCP, Addr: address("10.9.0.1:21")}, Scheduler: "rr"}
			p.addService(s)
			p.addDest(s.ID, sim.Dest{Addr: address("10.2.0.1:21"), Weight: 1, Method: sim.Route})
			open(p, sim.TCP, "10.1.0.1:1000", "10.9.0.1:2000", "")
			open(p, sim.TCP, "10.1.0.1:1001", "10.9.0.1:21", "")
			open(p, sim.TCP, "10.1.0.1:20", "10.9.0.1:21", "")
		},
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			run(p)
			p.compare()
		})
	}
}

// flow is a connection of the test.
type flow struct {
	nat    bool
	server netip.AddrPort
}

// generator makes random events.
type generator struct {
	*rand.Rand
	p        *pair
	v6       bool
	leaving  bool
	services []sim.Service
	flows    map[sim.Flow]*flow
	order    []sim.Flow
	ports    uint16
	checks   int
}

func (g *generator) one(words ...string) string { return words[g.IntN(len(words))] }

const sipPort = 5060

// addr is an address of either family with two numbers.
func (g *generator) addr(v4, v6 string, a, b int) netip.Addr {
	text := fmt.Sprintf(v4, a, b)
	if g.v6 {
		text = fmt.Sprintf(v6, a, b)
	}
	return netip.MustParseAddr(text)
}

func (g *generator) vip(n int, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(g.addr("10.9.%d.%d", "fd09::%x:%x", 0, n), port)
}

// masks of a service; those of one family must not be given to the other.
func (g *generator) mask() netip.Addr {
	if g.v6 {
		return netip.MustParseAddr(g.one("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::", "ffff:ffff:ffff::", "ffff:ffff:ffff:fffe::", "8000::"))
	}
	return netip.MustParseAddr(g.one("255.255.255.255", "255.255.255.255", "255.255.255.0", "255.255.0.1", "0.0.0.0"))
}

// run is a trace of some seconds.
func (g *generator) run() {
	p := g.p
	p.timeouts(900*time.Second, 900*time.Second, 300*time.Second)
	for _, id := range []sim.ServiceID{
		{Protocol: sim.TCP, Addr: g.vip(1, 80)},
		{Protocol: sim.TCP, Addr: g.vip(1, 81)},
		{Protocol: sim.UDP, Addr: g.vip(1, 53)},
		{Protocol: sim.UDP, Addr: g.vip(1, sipPort)},
		{Protocol: sim.SCTP, Addr: g.vip(1, 9999)},
		{Protocol: sim.TCP, Addr: g.vip(2, 0)},
		{Protocol: sim.TCP, Addr: g.vip(2, 21)},
		{Mark: 7, IPv6: g.v6},
	} {
		if g.IntN(6) == 0 {
			continue
		}
		s := g.service(id)
		p.addService(s)
		g.services = append(g.services, s)
		for n := range 2 + g.IntN(4) {
			p.addDest(id, g.dest(id, n))
		}
	}
	if len(g.services) == 0 {
		return
	}
	for range 450 {
		if time.Since(p.start) > 8*time.Second {
			break // a connection in CLOSE lives for ten
		}
		g.event()
		if g.IntN(8) == 0 {
			g.checks++
			p.compare()
		}
	}
	g.checks++
	p.compare()
}

// service is a random configuration; services with port 0 or 21 are persistent.
func (g *generator) service(id sim.ServiceID) sim.Service {
	s := sim.Service{ID: id, Scheduler: g.one("rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "mh", "fo", "ovf", "lblc", "lblcr")}
	port := id.Addr.Port()
	if port == 81 || port == 0 || port == 21 || port == sipPort || g.IntN(3) == 0 {
		s.Flags, s.Timeout, s.Mask = sim.Persistent, time.Duration(100+g.IntN(300))*time.Second, g.mask()
	}
	if port == sipPort && g.IntN(4) > 0 {
		s.Engine = "sip"
	}
	if id.Protocol == sim.UDP && g.IntN(3) == 0 {
		s.Flags |= sim.OnePacket
	}
	return s
}

// dest is a random configuration of server n.
func (g *generator) dest(id sim.ServiceID, n int) sim.Dest {
	d := sim.Dest{Weight: uint32(g.IntN(4)), Method: sim.Masquerade}
	port := id.Addr.Port()
	if n%2 == 1 || port == 21 || id.Mark == 0 && port == 0 {
		// With masquerading, the kernel tracks connections of services with port 21, and of those that share their
		// templates; it then drops the first SYN that uses a port again.
		d.Method = sim.Route
	} else if port != 0 || n == 4 {
		port = 8080 + uint16(n)
	}
	if g.IntN(8) == 0 {
		d.Upper = uint32(2 + g.IntN(6))
		d.Lower = uint32(g.IntN(3))
	}
	d.Addr = netip.AddrPortFrom(g.addr("10.2.%d.%d", "fd02::%x:%x", 0, 1+n), port)
	return d
}

func (g *generator) event() {
	p := g.p
	s := &g.services[g.IntN(len(g.services))]
	dests := slices.Collect(p.Dests(s.ID))
	switch k := g.IntN(100); {
	case k < 40:
		g.open(s.ID)
	case k < 85:
		g.further()
	case k < 90 && len(dests) > 0:
		d := dests[g.IntN(len(dests))].Dest
		d.Weight = uint32(g.IntN(4)) * uint32(g.IntN(2))
		p.setDest(s.ID, d)
	case k < 92 && len(dests) > 0:
		p.deleteDest(s.ID, dests[g.IntN(len(dests))].Addr)
	case k < 95:
		d := g.dest(s.ID, g.IntN(5))
		if !slices.ContainsFunc(dests, func(x sim.DestStatus) bool { return x.Addr == d.Addr }) {
			p.addDest(s.ID, d)
		}
	case k < 96:
		c := g.service(s.ID)
		if (c.Flags^s.Flags)&sim.OnePacket == 0 {
			*s = c
			p.setService(c)
		}
	case k < 97:
		p.deleteService(s.ID)
		p.addService(*s)
		for _, d := range dests {
			if g.IntN(4) > 0 {
				p.addDest(s.ID, d.Dest)
			}
		}
	default:
		switch g.IntN(6) {
		case 0:
			p.sysctl("expire_quiescent_template", g.IntN(2))
		case 1:
			p.sysctl("expire_nodest_conn", g.IntN(2))
		case 2:
			p.sysctl("conn_reuse_mode", g.IntN(3))
		case 3:
			p.sysctl("sloppy_tcp", g.IntN(2))
		case 4:
			p.sysctl("sloppy_sctp", g.IntN(2))
		case 5:
			p.sysctl("secure_tcp", 3*g.IntN(2))
		}
	}
}

// open begins a connection with a service, or sometimes nobody's.
func (g *generator) open(id sim.ServiceID) {
	g.ports++
	f := sim.Flow{
		Protocol: id.Protocol, Client: netip.AddrPortFrom(g.addr("10.1.%d.%d", "fd01:0:0:%x::%x", g.IntN(3), 1+g.IntN(5)), 2000+g.ports),
		Virtual: id.Addr, Mark: id.Mark,
	}
	if id.Mark != 0 {
		f.Protocol = []sim.Protocol{sim.TCP, sim.UDP, sim.SCTP}[g.IntN(3)]
		f.Virtual = netip.AddrPortFrom(g.addr("172.16.%d.%d", "fd16::%x:%x", 0, g.IntN(4)), uint16(g.IntN(3)))
	} else if id.Addr.Port() == 0 || id.Addr.Port() == 21 && g.IntN(2) == 0 {
		f.Virtual = netip.AddrPortFrom(id.Addr.Addr(), []uint16{20, 21, 22, 1023, 1024, 5000}[g.IntN(6)])
	}
	g.send(g.fill(sim.Packet{Flow: f, TCP: sim.SYN, Chunk: sim.Init}), &flow{})
}

// fill gives a packet for the SIP service a message, in some cases one that the engine refuses, and its length.
func (g *generator) fill(p sim.Packet) sim.Packet {
	if p.Protocol != sim.UDP || p.Virtual.Port() != sipPort {
		return p
	}
	id := g.one("Call-ID: %d@host\r\n", "call-id  :  %d@other.example\r\n", "i: %d\r\n", "i:%d@host\n", "Call-ID: \r\n%d", "Subject: Call-ID: %d\r\n")
	p.Payload = fmt.Appendf(nil, "INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.1\r\n"+id+"\r\nv=0\r\n", g.IntN(8))
	if g.IntN(16) == 0 {
		p.Payload = p.Payload[:g.IntN(len(p.Payload))]
	}
	p.Size = 28 + len(p.Payload)
	if g.v6 {
		p.Size += 20
	}
	return p
}

// further sends a packet of a connection that was begun, mostly a recent one.
func (g *generator) further() {
	if len(g.order) == 0 {
		return
	}
	n := len(g.order)
	f := g.order[n-1-g.IntN(min(n, 30))]
	state := g.flows[f]
	flags := []sim.TCPFlags{sim.SYN, sim.SYN | sim.ACK, sim.ACK, sim.ACK, sim.ACK, sim.FIN | sim.ACK, sim.FIN | sim.ACK, sim.FIN, sim.RST, 0}
	chunks := []sim.Chunk{
		sim.Data, sim.Sack, sim.Init, sim.InitAck, sim.CookieEcho, sim.CookieEcho, sim.CookieAck, sim.CookieAck, sim.Heartbeat, sim.ECNE,
		sim.Shutdown, sim.ShutdownAck, sim.ShutdownComplete, sim.ChunkError, sim.Abort,
	}
	p := g.fill(sim.Packet{Flow: f, TCP: flags[g.IntN(len(flags))], Chunk: chunks[g.IntN(len(chunks))]})
	if state.nat && g.IntN(2) == 0 && (f.Virtual.Port() != sipPort || g.state(f) != "") {
		p.Out, p.Mark = true, 0
	}
	g.send(p, state)
}

func (g *generator) send(p sim.Packet, state *flow) {
	k := p.Flow
	if p.Out {
		for f := range g.flows { // the mark is not part of a reply
			if g.flows[f] == state {
				k = f
			}
		}
	}
	known := g.flows[k] != nil
	r := g.p.packet(p, state.server)
	if known && (r.Scheduled || r.Verdict == sim.Passed) {
		g.p.tick() // the old entry goes
	}
	if r.Scheduled || !known {
		state.nat, state.server = false, r.Dest
		for s := range g.p.Services() {
			if s.ID.Mark != k.Mark || k.Mark == 0 && (s.ID.Protocol != k.Protocol || s.ID.Addr != k.Virtual) {
				continue
			}
			for d := range g.p.Dests(s.ID) {
				if d.Addr.Addr() == r.Dest.Addr() && d.Method == sim.Masquerade && r.Verdict == sim.Forwarded {
					state.nat = true
				}
			}
		}
	}
	if !known {
		g.flows[k] = state
		g.order = append(g.order, k)
	}
	if k.Protocol == sim.SCTP && !g.leaving {
		g.leave(k, state)
	}
}

// leave brings an SCTP connection out of a state that ends soon.
func (g *generator) leave(f sim.Flow, state *flow) {
	g.leaving = true
	defer func() { g.leaving = false }()
	if slices.Contains([]string{"INIT1", "REJECTED", "NONE"}, g.state(f)) {
		g.send(sim.Packet{Flow: f, Chunk: sim.Init}, state)
	}
}

// state returns the state of a connection; empty if there is none.
func (g *generator) state(f sim.Flow) string {
	for c := range g.p.Conns() {
		if c.Protocol == f.Protocol && c.Client == f.Client && c.Virtual == f.Virtual {
			return c.State
		}
	}
	return ""
}
