package nltest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/sched/sim"
)

// TestSimulated: a server drains while clients come, and everything is seen over netlink and in /proc.
func TestSimulated(t *testing.T) {
	k := newKernel(t, &Config{DataPath: NewSimulated(nil)})
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(SetConfig, u32(topTimeoutUDP, 20))
	service := udp("192.0.2.10:53")
	p.must(NewService, svc(service, conf("rr", 1, 1, 60)))
	p.must(NewDest, svc(service), dst("10.0.0.1:53", full(0, 1, 0, 0)))
	p.must(NewDest, svc(service), dst("10.0.0.2:53", full(0, 1, 0, 0)))
	k.Advance(time.Second)
	send := func(client, want string) {
		t.Helper()
		r, err := k.Transmit("", sim.Packet{Flow: sim.Flow{Protocol: sim.UDP, Client: netip.MustParseAddrPort(client), Virtual: service.Addr}})
		if err != nil || r.Dest.String() != want {
			t.Errorf("client %s goes to %v, %v; want %s", client, r.Dest, err, want)
		}
	}
	counts := func(server string, inactive, persistent uint32, conns uint32) {
		t.Helper()
		f := p.getDest(service, server)
		if s := statsOf(t, f[destStats]); f.u32(destInactive) != inactive || f.u32(destPersist) != persistent || s.u32(1) != conns {
			t.Errorf("%s: %d inactive, %d persistent, %d counted; want %d, %d, %d", server, f.u32(destInactive), f.u32(destPersist), s.u32(1), inactive, persistent, conns)
		}
	}
	send("203.0.113.1:1000", "10.0.0.2:53")
	send("203.0.113.2:1000", "10.0.0.1:53")
	counts("10.0.0.2:53", 1, 1, 0) // the estimator was not there yet
	k.Advance(4 * time.Second)
	counts("10.0.0.2:53", 1, 1, 1)
	p.must(SetDest, svc(service), dst("10.0.0.2:53", full(0, 0, 0, 0)))
	send("203.0.113.1:1001", "10.0.0.2:53")
	writeSysctl(t, ns, "expire_quiescent_template", "1\n")
	send("203.0.113.1:1002", "10.0.0.1:53")
	got := read(t, ns, "proc/net/ip_vs_conn")
	for _, row := range []string{
		"UDP CB007101 0000 C000020A FFFF 0A000002 FFFF NONE             60\n",
		"UDP CB007101 03E8 C000020A 0035 0A000002 0035 UDP              16\n",
		"UDP CB007101 0000 C000020A 0035 0A000001 0035 NONE             60\n",
	} {
		if !strings.Contains(got, row) {
			t.Errorf("no row %q in\n%s", row, got)
		}
	}
	if got := read(t, ns, "proc/net/ip_vs_stats_percpu"); !strings.Contains(got, "  0        4        4") {
		t.Errorf("statistics:\n%s", got)
	}
	// Removed and added again: the connections are the old ones', on both sides.
	p.must(DelDest, svc(service), dst("10.0.0.1:53"))
	k.Advance(5 * time.Second)
	p.must(NewDest, svc(service), dst("10.0.0.1:53", full(0, 1, 0, 0)))
	counts("10.0.0.1:53", 2, 2, 1)
	k.Advance(10 * time.Minute)
	counts("10.0.0.1:53", 0, 0, 2)
	if got := read(t, ns, "proc/net/ip_vs_conn"); strings.Count(got, "\n") != 1 {
		t.Errorf("connections are left:\n%s", got)
	}
	if list := k.Unmodelled(); list != nil {
		t.Errorf("not followed: %v", list)
	}
}

func TestSimulatedErrors(t *testing.T) {
	path := NewSimulated(nil)
	k := newKernel(t, &Config{DataPath: path})
	if _, err := New(&Config{DataPath: path}); err == nil {
		t.Error("one data path serves two kernels")
	}
	p := newTap(t, k.Namespace(""))
	p.must(NewService, svc(ServiceID{Protocol: 6000, Addr: netip.MustParseAddrPort("192.0.2.10:53")}, rr))
	if n := len(k.Unmodelled()); n != 1 {
		t.Errorf("%d changes were not followed, want 1", n)
	}
	plain := newKernel(t, nil)
	if _, err := plain.Transmit("", sim.Packet{}); err == nil || plain.Unmodelled() != nil {
		t.Error("a packet went through a kernel without a data path")
	}
}

// TestSimulatedMarks: the template of a firewall mark, of both families, with masks.
func TestSimulatedMarks(t *testing.T) {
	k := newKernel(t, &Config{DataPath: NewSimulated(nil)})
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(ServiceID{Mark: 7, IPv6: true}, conf6("rr", 1, 1, 60, 64)))
	p.must(NewDest, svc(ServiceID{Mark: 7, IPv6: true}), dst("[fd01::1]:0", full(0, 1, 0, 0)))
	r, err := k.Transmit("", sim.Packet{TCP: sim.SYN, Flow: sim.Flow{
		Protocol: sim.TCP, Client: netip.MustParseAddrPort("[fd00::2]:1000"), Virtual: netip.MustParseAddrPort("[fd00::1]:80"), Mark: 7,
	}})
	if err != nil || r.Dest.String() != "[fd01::1]:80" {
		t.Errorf("%v, %v", r, err)
	}
	want := "IP  fd00:0000:0000:0000:0000:0000:0000:0000 0000 0000:0007:0000:0000:0000:0000:0000:0000 0000 fd01:0000:0000:0000:0000:0000:0000:0001 0000 NONE             60\n"
	if got := read(t, ns, "proc/net/ip_vs_conn"); !strings.Contains(got, want) {
		t.Errorf("connections:\n%s", got)
	}
}

// TestSimulatedAndCounted: the numbers of a test are added to those of packets, and nothing that was counted is lost when
// the module is loaded anew or a state is.
func TestSimulatedAndCounted(t *testing.T) {
	k := newKernel(t, &Config{DataPath: NewSimulated(nil)})
	ns := k.Namespace("")
	p := newTap(t, ns)
	set := func() {
		p.must(NewService, svc(vip, rr))
		p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	}
	open := func(port uint16) {
		t.Helper()
		f := sim.Flow{Protocol: sim.TCP, Client: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port), Virtual: vip.Addr}
		if r, err := k.Transmit("", sim.Packet{Flow: f, TCP: sim.SYN}); err != nil || r.Verdict != sim.Forwarded {
			t.Fatalf("%v, %v", r, err)
		}
	}
	shows := func(active, inactive, conns uint32) {
		t.Helper()
		f := p.getDest(vip, "10.0.0.1:80")
		if s := statsOf(t, f[destStats]); f.u32(destActive) != active || f.u32(destInactive) != inactive || s.u32(1) != conns {
			t.Errorf("%d active, %d inactive, %d counted; want %d, %d, %d", f.u32(destActive), f.u32(destInactive), s.u32(1), active, inactive, conns)
		}
	}
	set()
	open(1)
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	if err := ns.SetConns(vip, addr, Conns{Active: 5}); err != nil {
		t.Fatal(err)
	}
	if err := ns.Count(vip, addr, Counters{Conns: 100}); err != nil {
		t.Fatal(err)
	}
	k.Advance(2 * time.Second)
	shows(6, 0, 101)
	open(2)
	if got := read(t, ns, "proc/net/ip_vs_stats_percpu"); !strings.Contains(got, "  0       66        2") {
		t.Errorf("statistics:\n%s", got)
	}
	var saved strings.Builder
	if err := k.Save(&saved); err != nil {
		t.Fatal(err)
	}

	// The test's connections keep the destination in the trash for longer than packets do.
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	k.Advance(time.Hour)
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	k.Advance(2 * time.Second)
	shows(5, 0, 102)

	k.ReloadModule()
	set()
	shows(0, 0, 0)
	open(3)
	k.Advance(2 * time.Second)
	shows(1, 0, 1)

	if err := k.Load(strings.NewReader(saved.String())); err != nil {
		t.Fatal(err)
	}
	shows(5, 0, 101)
	open(4)
	k.Advance(2 * time.Second)
	shows(6, 0, 103)
	if got := read(t, ns, "proc/net/ip_vs_stats_percpu"); !strings.Contains(got, "  0       67        3") {
		t.Errorf("statistics:\n%s", got)
	}
}
