package sim_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/sched/sim"
)

// requireICount skips a test that would take minutes, unless LVS_ICOUNT=1 says that waiting takes no time here: in a
// machine that counts instructions (bin/vm -icount).
func requireICount(t *testing.T) {
	t.Helper()
	if os.Getenv("LVS_ICOUNT") != "1" {
		t.Skip("waits for minutes: run it in a machine that counts instructions, with LVS_ICOUNT=1")
	}
	nstest.RequireKernel(t)
	pin(t)
}

// The kernel's timers of 16 to 131 s fire up to 2.05 s late, and a template's next period begins that much later; what is
// shown as left is rounded down.
const (
	early = time.Second
	late  = 2200 * time.Millisecond
	tick  = 10 * time.Millisecond
)

// until waits until a time after the start.
func (p *pair) until(seconds float64) {
	p.t.Helper()
	at := time.Duration(seconds * float64(time.Second))
	time.Sleep(at - time.Since(p.start))
	if now := p.now(); now > at+100*time.Millisecond {
		p.t.Fatalf("it is %v, the test is late for %v", now, at)
	}
}

// row is an entry of the connection table.
type row struct {
	entry   string
	expires time.Duration
}

// agree compares the tables with the times left, and the counts of the destinations. It is called when no timer is due.
func (p *pair) agree(slack time.Duration) {
	p.t.Helper()
	p.settle()
	p.now()
	var kernel, simulated []row
	for c, err := range p.kernel.Connections(p.t.Context()) {
		if err != nil {
			p.t.Fatal(err)
		}
		kernel = append(kernel, row{fmt.Sprintf("%s %v %v %v %s", c.Protocol, c.Client, c.Virtual, c.Destination, c.State), c.Expires})
	}
	for c := range p.Conns() {
		simulated = append(simulated, row{fmt.Sprintf("%v %v %v %v %s", c.Protocol, c.Client, c.Virtual, c.Dest, c.State), c.Expires})
	}
	byEntry := func(a, b row) int { return strings.Compare(a.entry, b.entry) }
	slices.SortFunc(kernel, byEntry)
	slices.SortFunc(simulated, byEntry)
	if !slices.EqualFunc(kernel, simulated, func(a, b row) bool {
		d := a.expires - b.expires
		return a.entry == b.entry && d >= -early && d <= slack+tick
	}) {
		p.fail("at %v the tables differ:\nkernel    %v\nsimulator %v", p.Now(), kernel, simulated)
	}
	if k, s := p.seen(p.kernel).Dests, p.simulated().Dests; !slices.Equal(k, s) {
		p.fail("at %v the counts differ:\nkernel    %v\nsimulator %v", p.Now(), k, s)
	}
}

func service(persist int, mask string) sim.Service {
	s := sim.Service{ID: sim.ServiceID{Protocol: sim.UDP, Addr: netip.MustParseAddrPort("10.9.0.1:53")}, Scheduler: "rr"}
	if persist > 0 {
		s.Flags, s.Timeout = sim.Persistent, time.Duration(persist)*time.Second
	}
	if mask != "" {
		s.Mask = netip.MustParseAddr(mask)
	}
	return s
}

func (p *pair) serve(s sim.Service) {
	p.t.Helper()
	p.addService(s)
	for _, a := range []string{"10.2.0.11:53", "10.2.0.12:53"} {
		p.addDest(s.ID, sim.Dest{Addr: netip.MustParseAddrPort(a), Weight: 1})
	}
}

func (p *pair) udp(client string) {
	p.t.Helper()
	p.packet(sim.Packet{Flow: sim.Flow{Protocol: sim.UDP, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort("10.9.0.1:53")}}, netip.AddrPort{})
}

// TestIntegrationICountPostponement replays minutes of one client: a template that is postponed, and what comes of it.
func TestIntegrationICountPostponement(t *testing.T) {
	requireICount(t)
	p := newPair(t)
	p.timeouts(0, 0, 20*time.Second)
	p.serve(service(5, ""))
	p.until(0.2)
	p.udp("10.1.0.10:4000")
	for _, at := range []float64{1, 3.7} {
		p.until(at)
		p.agree(0)
	}
	p.udp("10.1.0.10:4000")
	for _, at := range []float64{4.5, 7, 16.3, 21} {
		p.until(at)
		p.agree(late)
	}
	p.until(26.7)
	p.agree(late)
	p.udp("10.1.0.10:4001")
	for _, at := range []float64{26.9, 40, 49.5, 84} {
		p.until(at)
		p.agree(0)
	}
	p.until(90)
	p.agree(0)
	if conns, templates := p.Len(); conns+templates != 0 {
		t.Errorf("%d connections, %d templates", conns, templates)
	}
}

// TestIntegrationICountEdits replays a minute in which the service is edited, deleted and made again.
func TestIntegrationICountEdits(t *testing.T) {
	requireICount(t)
	p := newPair(t)
	p.timeouts(0, 0, 4*time.Second)
	s := service(30, "")
	p.serve(s)
	steps := []struct {
		at float64
		do func()
	}{
		{0.3, func() { p.udp("10.1.0.11:4000") }},
		{6.2, nil},
		{6.4, func() { p.udp("10.1.0.11:4001") }},
		{11.5, func() { p.setService(service(100, "")) }},
		{11.8, func() { p.udp("10.1.0.11:4002") }},
		{12, func() { p.udp("10.1.0.12:4002") }},
		{17.2, func() { p.setService(service(0, "")) }},
		{17.4, func() { p.udp("10.1.0.11:4003"); p.udp("10.1.0.11:4004") }},
		{23.8, func() { p.setService(service(40, "")); p.udp("10.1.0.11:4005") }},
		{30.9, func() {
			p.setService(service(40, "255.255.255.0"))
			for i := range 3 {
				p.udp(fmt.Sprintf("10.1.0.%d:4006", 11+i))
			}
		}},
		{36, func() { p.deleteService(s.ID) }},
		{37, func() { p.addService(service(30, "")); p.udp("10.1.0.11:4007") }},
		{38, func() {
			for _, a := range []string{"10.2.0.11:53", "10.2.0.12:53"} {
				p.addDest(s.ID, sim.Dest{Addr: netip.MustParseAddrPort(a), Weight: 1})
			}
			p.udp("10.1.0.11:4008")
			p.udp("10.1.0.12:4008")
		}},
		{40, func() { p.deleteService(s.ID) }},
		{50, nil}, {60, nil}, {200, nil},
	}
	for _, step := range steps {
		p.until(step.at)
		if step.do != nil {
			step.do()
		}
		p.agree(0)
	}
}

// TestIntegrationICountTimeouts lets a connection in each state expire that can be brought about: it is there until its
// time is over, and gone soon after.
func TestIntegrationICountTimeouts(t *testing.T) {
	requireICount(t)
	p := newPair(t)
	id := sim.ServiceID{Protocol: sim.TCP, Addr: netip.MustParseAddrPort("10.9.0.1:80")}
	p.addService(sim.Service{ID: id, Scheduler: "rr"})
	nat := netip.MustParseAddrPort("10.2.0.11:8080")
	p.addDest(id, sim.Dest{Addr: nat, Weight: 1})
	in := func(f sim.TCPFlags) sim.Packet { return sim.Packet{TCP: f} }
	out := func(f sim.TCPFlags) sim.Packet { return sim.Packet{TCP: f, Out: true} }
	lives := [][]sim.Packet{
		{in(sim.SYN)},
		{in(sim.SYN), in(sim.ACK)},
		{in(sim.SYN), in(sim.ACK), in(sim.FIN)},
		{in(sim.SYN), in(sim.ACK), out(sim.FIN)},
		{in(sim.SYN), in(sim.ACK), in(sim.FIN), out(sim.FIN)},
		{in(sim.SYN), in(sim.ACK), in(sim.RST)},
		{in(sim.SYN), in(sim.ACK), in(sim.RST), out(sim.SYN)},
	}
	p.until(0.2)
	for i, life := range lives {
		for _, packet := range life {
			packet.Flow = sim.Flow{Protocol: sim.TCP, Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.10"), uint16(4000+i)), Virtual: id.Addr}
			p.packet(packet, nat)
		}
	}
	// CLOSE has 10 s, SYN_RECV and CLOSE_WAIT 60, TIME_WAIT, FIN_WAIT and SYN_SENT 120, ESTABLISHED 900.
	for _, at := range []float64{1, 9.8, 13, 59, 63.5, 119, 123.5, 899} {
		p.until(at)
		p.agree(0)
	}
	p.until(1020)
	p.agree(0)
}

// TestIntegrationICountTrash finds out how long a removed destination that nothing refers to is kept.
func TestIntegrationICountTrash(t *testing.T) {
	requireICount(t)
	for _, tt := range []struct {
		back float64
		kept bool
	}{{100, true}, {175, true}, {189, false}} {
		t.Run(fmt.Sprint(tt.back), func(t *testing.T) {
			p := newPair(t)
			s := service(0, "")
			p.timeouts(0, 0, time.Second)
			p.serve(s)
			p.udp("10.1.0.10:4000")
			p.until(15) // the connection is gone and the estimator was there
			p.deleteDest(s.ID, netip.MustParseAddrPort("10.2.0.12:53"))
			p.until(15 + tt.back)
			p.addDest(s.ID, sim.Dest{Addr: netip.MustParseAddrPort("10.2.0.12:53"), Weight: 1})
			d, err := p.kernel.Destination(t.Context(), realID(s.ID), netip.MustParseAddrPort("10.2.0.12:53"))
			if err != nil {
				t.Fatal(err)
			}
			v, err := p.Dest(s.ID, d.Addr)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]uint64{true: 1}[tt.kept]; d.Stats.Connections != want || v.Stats.Visible.Conns != want {
				t.Errorf("%d connections counted by the kernel, %d by the simulator, want %d", d.Stats.Connections, v.Stats.Visible.Conns, want)
			}
		})
	}
}

// TestIntegrationICountRates compares the counters and rates of a burst while it fades away.
func TestIntegrationICountRates(t *testing.T) {
	requireICount(t)
	p := newPair(t)
	s := service(0, "")
	p.serve(s)
	p.until(11.1) // the kernel's estimator begins late
	for i := range 300 {
		p.udp(fmt.Sprintf("10.1.0.10:%d", 4000+i))
	}
	p.settle()
	first := p.Now()
	// Both visit every two seconds, at different moments: the same numbers come in the same order.
	sequence := func(view func() [4]uint64) [][4]uint64 {
		var list [][4]uint64
		for {
			v := view()
			if v[0] != 0 && (len(list) == 0 || list[len(list)-1] != v) {
				list = append(list, v)
			}
			if len(list) == 12 {
				return list
			}
			time.Sleep(500 * time.Millisecond)
			if p.now() > first+60*time.Second {
				t.Fatalf("only %v", list)
			}
		}
	}
	kernel := sequence(func() [4]uint64 {
		v, err := p.kernel.Service(t.Context(), realID(s.ID))
		if err != nil {
			t.Fatal(err)
		}
		return [4]uint64{v.Stats.Connections, v.Stats.InPackets, v.Stats.InPacketRate, v.Stats.InByteRate}
	})
	q := sim.New(nil)
	if err := q.AddService(s); err != nil {
		t.Fatal(err)
	}
	if err := q.AddDest(s.ID, sim.Dest{Addr: netip.MustParseAddrPort("10.2.0.11:53"), Weight: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		q.Open(sim.Flow{Protocol: sim.UDP, Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.10"), uint16(4000+i)), Virtual: s.ID.Addr})
	}
	var simulated [][4]uint64
	for i := range 12 {
		q.Advance(time.Duration(2*i+2) * time.Second)
		v, err := q.Service(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		simulated = append(simulated, [4]uint64{v.Stats.Visible.Conns, v.Stats.Visible.InPackets, v.Stats.Rates.InPackets, v.Stats.Rates.InBytes})
	}
	if !slices.Equal(kernel, simulated) {
		t.Errorf("kernel    %v\nsimulator %v", kernel, simulated)
	}
}
