package ipvstest_test

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
	"github.com/golvs/lvs/sysctl"
)

func client(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 40000)
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestConnect: what clients do is what every reader of the kernel sees.
func TestConnect(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, nil)
	ns := k.Namespace("")
	must(t, c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "rr", Flags: ipvs.Persistent, Timeout: 10 * time.Minute}))
	must(t, c.AddDestination(ctx, web, ipvs.NewDestination(addr("10.0.0.1:80"))))
	must(t, c.AddDestination(ctx, web, ipvs.Destination{Addr: addr("10.0.0.2:80"), Forward: ipvs.Route, Weight: 1}))
	if r := ns.Connect(ipvstest.Flow(client(1), web)); r.Verdict != sim.Forwarded || r.Dest != addr("10.0.0.2:80") || !r.Scheduled {
		t.Fatalf("the first client: %+v", r)
	}
	ns.Connect(ipvstest.Flow(client(2), web))
	syn := sim.Packet{Flow: ipvstest.Flow(client(3), web), TCP: sim.SYN, Size: 1000}
	if r := ns.Send(syn); r.Dest != addr("10.0.0.2:80") {
		t.Fatalf("the third client: %+v", r)
	}
	if r := ns.Connect(ipvstest.Flow(client(1), ipvs.ServiceID{Protocol: ipvs.UDP, Addr: web.Addr})); r.Verdict != sim.Passed {
		t.Fatalf("a client of nobody: %+v", r)
	}
	ns.Disconnect(ipvstest.Flow(client(2), web))
	k.Advance(2 * time.Second)

	type row struct {
		Client, Dest string
		State        string
		Expires      time.Duration
	}
	var rows []row
	for conn, err := range c.Connections(ctx) {
		must(t, err)
		rows = append(rows, row{conn.Client.String(), conn.Destination.String(), conn.State, conn.Expires})
	}
	want := []row{
		{"198.51.0.1:0", "10.0.0.2:80", "ASSURED", 598 * time.Second},
		{"198.51.0.1:40000", "10.0.0.2:80", "ESTABLISHED", 898 * time.Second},
		{"198.51.0.2:0", "10.0.0.1:80", "ASSURED", 598 * time.Second},
		{"198.51.0.2:40000", "10.0.0.1:80", "TIME_WAIT", 118 * time.Second},
		{"198.51.0.3:0", "10.0.0.2:80", "NONE", 598 * time.Second},
		{"198.51.0.3:40000", "10.0.0.2:80", "SYN_RECV", 58 * time.Second},
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Client, b.Client) })
	if diff := gocmp.Diff(want, rows); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}

	counts := func(server string, active, inactive, persistent uint32) {
		t.Helper()
		d, err := c.Destination(ctx, web, addr(server))
		if err != nil || d.Active != active || d.Inactive != inactive || d.Persistent != persistent {
			t.Errorf("%s has %d active, %d inactive, %d templates, %v; want %d, %d, %d", server, d.Active, d.Inactive, d.Persistent, err, active, inactive, persistent)
		}
		table, err := ipvs.ReadTable(ns.FS())
		must(t, err)
		for _, d := range table.Services[0].Destinations {
			if d.Addr == addr(server) && (d.Active != active || d.Inactive != inactive) {
				t.Errorf("%s has in /proc %d active, %d inactive; want %d, %d", server, d.Active, d.Inactive, active, inactive)
			}
		}
	}
	counts("10.0.0.1:80", 0, 1, 1)
	counts("10.0.0.2:80", 2, 0, 2)
	stats := ipvs.Stats{
		Connections: 2, InPackets: 3, InBytes: 1080, ConnectionRate: 0, InPacketRate: 0, InByteRate: 135,
	}
	d, err := c.Destination(ctx, web, addr("10.0.0.2:80"))
	if diff := gocmp.Diff(stats, d.Stats); err != nil || diff != "" {
		t.Errorf("%v, statistics (-want +got):\n%s", err, diff)
	}
	// The other server's replies pass the director: SYN and ACK, FIN and ACK.
	total, err := c.KernelStats(ctx)
	if err != nil || total.Total.Connections != 3 || total.Total.InPackets != 7 || total.Total.OutPackets != 2 || total.CPUs[0].Connections != 3 {
		t.Errorf("%v, statistics %+v", err, total)
	}

	// Another namespace has nothing of all that, and everything ends with its time.
	if r := k.Namespace("blue").Connect(ipvstest.Flow(client(1), web)); r.Verdict != sim.Passed {
		t.Errorf("in another namespace: %+v", r)
	}
	k.Advance(900 * time.Second)
	counts("10.0.0.1:80", 0, 0, 0)
	counts("10.0.0.2:80", 0, 0, 0)
	for conn, err := range c.Connections(ctx) {
		t.Errorf("left over: %v, %v", conn, err)
	}
	if list := k.Unmodelled(); list != nil {
		t.Errorf("not followed: %v", list)
	}
}

// TestReport: a report tells the clients that a change moves.
func TestReport(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, nil)
	ns := k.Namespace("")
	must(t, ns.Load(ipvs.Ruleset{Services: []ipvs.ServiceRules{{
		Service:      ipvs.Service{ID: web, Scheduler: "sh", Flags: ipvs.SHFallback},
		Destinations: []ipvs.Destination{ipvs.NewDestination(addr("10.0.0.1:80")), ipvs.NewDestination(addr("10.0.0.2:80"))},
	}}}))
	visit := func(port uint16) (onFirst int) {
		for n := range 256 {
			f := ipvstest.Flow(netip.AddrPortFrom(client(n).Addr(), port), web)
			if ns.Connect(f).Dest == addr("10.0.0.1:80") {
				onFirst++
			}
		}
		return onFirst
	}
	moved := visit(1)
	ns.BeginReport()
	if _, err := c.Quiesce(ctx, web, addr("10.0.0.1:80")); err != nil {
		t.Fatal(err)
	}
	visit(2)
	r, err := ns.Report(web)
	if err != nil || r.Clients != 256 || r.Moved != moved || moved < 100 || r.Servers[1].Conns != 256 {
		t.Errorf("%+v, %v; want %d clients to move", r, err, moved)
	}
	if _, err := ns.Report(ipvs.ServiceID{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a report of nothing: %v", err)
	}
}

// rules is a table with everything that can be configured.
func rules(scheduler string) ipvs.Ruleset {
	var list []ipvs.ServiceRules
	for i, s := range []ipvs.Service{
		{ID: web, Scheduler: scheduler},
		{ID: ipvs.Mark(7, ipvs.IPv4), Scheduler: scheduler, Flags: ipvs.Persistent, Timeout: time.Minute, Netmask: netip.MustParseAddr("255.255.255.0")},
		{ID: ipvs.ServiceID{Protocol: ipvs.UDP, Addr: addr("[fd00::1]:5060")}, Scheduler: scheduler, Flags: ipvs.Persistent, PE: "sip", Timeout: time.Minute, Netmask: netip.MustParseAddr("ffff:ffff:ffff::")},
		{ID: ipvs.ServiceID{Protocol: ipvs.SCTP, Addr: addr("192.0.2.1:9999")}, Scheduler: scheduler},
	} {
		if !s.Netmask.IsValid() {
			s.Netmask = ipvs.MaskBits(ipvs.IPv4, 32)
		}
		r := ipvs.ServiceRules{Service: s}
		for j := range 7 {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(3 * j % 7)}), 80)
			d := ipvs.Destination{Addr: a, Forward: []ipvs.ForwardMethod{ipvs.Masquerade, ipvs.Route, ipvs.Tunnel}[j%3], Weight: uint32(j + 1)}
			if s.ID.AddrFamily() == ipvs.IPv6 {
				d.Forward = ipvs.Tunnel
			}
			if d.Forward == ipvs.Tunnel {
				d.Tunnel = ipvs.TunnelOptions{Type: ipvs.GUE, Port: 6080, Flags: ipvs.Checksum}
			}
			if j == 4 {
				d.UpperThreshold, d.LowerThreshold = 20, 10
			}
			r.Destinations = append(r.Destinations, d)
		}
		list = append(list, r)
	}
	return ipvs.Ruleset{Services: list, Timeouts: &ipvs.Timeouts{TCP: 100 * time.Second, TCPFin: 20 * time.Second, UDP: 30 * time.Second}, Daemons: []ipvs.Daemon{}}
}

// TestLoad: a table that is read from one kernel and loaded into another, and into a director, is the same table, in the same
// order, and has the same picks.
func TestLoad(t *testing.T) {
	ctx := t.Context()
	for _, scheduler := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"} {
		t.Run(scheduler, func(t *testing.T) {
			live, c := ipvstest.Start(t, &ipvstest.Config{HashKey: 0x42})
			want := rules(scheduler)
			must(t, live.Namespace("").Load(want))
			snapshot, err := c.Snapshot(ctx)
			must(t, err)
			read := snapshot.Ruleset()
			if !read.Equal(want) {
				t.Fatalf("loaded %+v\nread %+v", want, read)
			}
			other, oc := ipvstest.Start(t, &ipvstest.Config{HashKey: 0x42})
			must(t, oc.AddService(ctx, ipvs.Service{ID: ipvs.Mark(99, ipvs.IPv4), Scheduler: "rr"}))
			must(t, other.Namespace("").Load(read))
			again, err := oc.Ruleset(ctx)
			must(t, err)
			if !again.EqualOrder(read) {
				t.Fatalf("loaded %+v\nread %+v", read, again)
			}
			random := rand.New(rand.NewPCG(1, 2))
			director, err := ipvstest.NewDirector(read, &sim.Config{Rand: random.Uint32})
			must(t, err)
			picked := make(map[netip.AddrPort]bool)
			for n := range 400 {
				id := want.Services[n%4].ID
				f := ipvstest.Flow(client(n), id)
				if id.IsMark() {
					f.Protocol, f.Virtual = sim.TCP, addr("192.0.2.9:443")
				}
				if id.AddrFamily() == ipvs.IPv6 {
					f.Client = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd01:%x::1", n)), 5060)
				}
				a, b, c := live.Namespace("").Connect(f), other.Namespace("").Connect(f), director.Establish(f)
				if a != b || a != c {
					t.Fatalf("%v: %+v, %+v and %+v", f, a, b, c)
				}
				picked[a.Dest] = true
			}
			if len(picked) < 4 {
				t.Errorf("only %d servers are used", len(picked))
			}
			if list := live.Unmodelled(); list != nil {
				t.Errorf("not followed: %v", list)
			}
		})
	}
	_, err := ipvstest.NewDirector(rules("twos"), nil)
	if !errors.Is(err, sim.ErrScheduler) {
		t.Errorf("twos without random numbers: %v", err)
	}
	bad := rules("rr")
	bad.Services[0].Destinations[0].Weight = 1 << 31
	k, c := ipvstest.Start(t, nil)
	must(t, k.Namespace("").Load(rules("wrr")))
	if _, err := ipvstest.NewDirector(bad, nil); !errors.Is(err, sim.ErrRange) {
		t.Errorf("a weight out of range: %v", err)
	}
	if err := k.Namespace("").Load(bad); err == nil {
		t.Error("a weight out of range is loaded")
	}
	if left, err := c.Ruleset(t.Context()); err != nil || !left.Equal(rules("wrr")) {
		t.Errorf("refused rules have changed the table: %v, %v", left, err)
	}
}

// TestSysctl: package sysctl works on the kernel's files, and what it writes is obeyed.
func TestSysctl(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, nil)
	ns := k.Namespace("")
	must(t, ns.Load(rules("rr")))
	host, err := sysctl.New(&sysctl.Config{Root: ns.FS()})
	must(t, err)
	plan, err := host.Plan([]sysctl.Setting{
		{Key: sysctl.IPVS("expire_nodest_conn"), Value: "1"}, {Key: sysctl.IPVS("sync_threshold"), Value: "0 0"}, {Key: sysctl.IPVS("conn_reuse_mode"), Value: "1"},
	})
	must(t, err)
	if _, err := host.Apply(ctx, plan, nil); err != nil {
		t.Fatal(err)
	}
	if drift := host.Verify(plan); drift != nil {
		t.Errorf("drift %v", drift)
	}
	values, err := host.IPVS()
	if err != nil || values.ExpireNoDestConn == nil || !*values.ExpireNoDestConn {
		t.Errorf("%+v, %v", values, err)
	}
	if kernel, err := host.Kernel(); err != nil || kernel != (sysctl.Kernel{Major: 6, Minor: 12}) {
		t.Errorf("kernel %v, %v", kernel, err)
	}
	flow := ipvstest.Flow(client(1), web)
	r := ns.Connect(flow)
	must(t, c.DeleteDestination(ctx, web, r.Dest))
	for conn := range c.Connections(ctx) {
		t.Errorf("%v is left", conn)
	}
	must(t, c.Flush(ctx))

	// The kernel refuses what it would refuse, and the plan is taken back.
	bad, err := host.Plan([]sysctl.Setting{{Key: sysctl.IPVS("sloppy_tcp"), Value: "1"}, {Key: sysctl.IPVS("sync_threshold"), Value: "5 9"}})
	must(t, err)
	bad.Changes[1].New = "9 5"
	report, err := host.Apply(ctx, bad, nil)
	if !errors.Is(err, syscall.EINVAL) || !report.RolledBack {
		t.Errorf("%+v, %v", report, err)
	}
	if v, err := host.Get(sysctl.IPVS("sloppy_tcp")); err != nil || v != "0" {
		t.Errorf("sloppy_tcp %q, %v", v, err)
	}

	// A director has them from there.
	d := sim.New(nil)
	must(t, ipvstest.LoadSysctls(d, ns.FS()))
	if v, err := d.Sysctl("expire_nodest_conn"); err != nil || v != "1" {
		t.Errorf("expire_nodest_conn %q, %v", v, err)
	}
	none, err := ipvstest.New(&ipvstest.Config{NoModule: true})
	must(t, err)
	t.Cleanup(func() { _ = none.Close() })
	if err := ipvstest.LoadSysctls(d, none.Namespace("").FS()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the module: %v", err)
	}
	if r := none.Namespace("").Connect(flow); r.Verdict != sim.Passed {
		t.Errorf("without the module: %+v", r)
	}
}
