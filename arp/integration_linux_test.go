package arp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/sysctl"
)

// TestMain is also the program that a test starts as another process, see child.
func TestMain(m *testing.M) {
	if role := os.Getenv("LVS_ARP_CHILD"); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

var (
	clientAddr = netip.MustParseAddr("10.0.0.1")
	ripAddr    = netip.MustParseAddr("10.0.0.3")
)

// pair is a client and a real server on one cable, with their hosts.
type pair struct {
	client, rs         *nstest.NS
	clientHost, rsHost *Host
}

func hostOf(t testing.TB, ns *nstest.NS) *Host {
	t.Helper()
	h, err := New(&Config{NetNSFile: ns.File(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newPair(t testing.TB) pair {
	t.Helper()
	nstest.RequireRoot(t)
	p := pair{client: nstest.New(t), rs: nstest.New(t)}
	nstest.Veth(t, p.client, "eth0", p.rs, "eth0")
	p.client.SetMAC(t, "eth0", net.HardwareAddr{2, 0, 0, 0, 0, 0xc1})
	p.rs.SetMAC(t, "eth0", net.HardwareAddr{2, 0, 0, 0, 0, 0xa1})
	p.client.AddAddr(t, "eth0", netip.PrefixFrom(clientAddr, 24))
	p.rs.AddAddr(t, "eth0", netip.PrefixFrom(ripAddr, 24))
	p.client.AddAddr(t, "eth0", netip.MustParsePrefix("2001:db8::1/64"))
	p.rs.AddAddr(t, "eth0", netip.MustParsePrefix("2001:db8::3/64"))
	// What a new namespace starts with is up to the initial one.
	for _, name := range parameters {
		for _, dev := range []string{"all", "default", "lo", "eth0"} {
			p.rs.SetSysctl(t, string(sysctl.IPv4(dev, name)), "0")
		}
	}
	p.clientHost, p.rsHost = hostOf(t, p.client), hostOf(t, p.rs)
	settle(t, p.clientHost)
	settle(t, p.rsHost)
	return p
}

// patience limits the wait for what comes by itself. On a machine that stands still now and then that can be late.
const patience = 30 * time.Second

// settle waits until the card is running and packets to its IPv6 addresses are taken, which comes by itself.
func settle(t testing.TB, h *Host) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		s := state(t, h)
		l, _ := s.Link("eth0")
		linkLocal, missing := false, []Address(nil)
		for _, a := range s.addressesOf("eth0", false) {
			linkLocal = linkLocal || a.Addr().IsLinkLocalUnicast()
			if route, ok := s.isLocal(a.Addr()); !ok || route.Device != "eth0" || a.Flags&AddressTentative != 0 {
				missing = append(missing, a)
			}
		}
		if linkLocal && len(missing) == 0 && l.Carrier() && l.Flags&LinkRunning != 0 {
			return
		}
		if took := time.Since(begin); took > patience {
			t.Fatalf("eth0 is not ready after %v: %+v\naddresses %v\nwithout a route, or tentative: %v\nlocal routes %v", took, l, s.Addresses, missing, s.Local)
		}
	}
}

// asked says whether the real server answers the client. Silence is believed after a short time when it is expected, and
// after a long one otherwise; an answer that comes later than that can hide a mistake, but makes none.
func (p pair) asked(t testing.TB, target netip.Addr, expected bool) bool {
	t.Helper()
	begin := time.Now()
	for wait := 150 * time.Millisecond; ; wait = time.Second {
		replies, err := p.clientHost.Probe(t.Context(), "eth0", target, &ProbeOptions{Wait: wait, Count: 1})
		if err != nil {
			t.Error(err)
			return !expected
		}
		answered := len(replies) > 0
		// What is not expected can be the late answer to a question of before a change; it does not come twice.
		if answered == expected || time.Since(begin) > patience || answered && time.Since(begin) > 2*time.Second {
			if answered && !bytes.Equal(replies[0].HardwareAddr, p.rs.Link(t, "eth0").MAC) {
				t.Errorf("%v is at %v", target, replies[0].HardwareAddr)
			}
			if answered != expected {
				t.Logf("%v: answered %v after questions for %v: %v", target, answered, time.Since(begin), replies)
			}
			return answered
		}
	}
}

// arping reports whether arping(8) has an answer from a neighbour. Where none is expected, it is not left the whole second
// that it waits at least, and asks again if there is one: it can be the late answer to a question of before a change.
func (p pair) arping(t testing.TB, target netip.Addr, expected bool) bool {
	t.Helper()
	if expected {
		return p.arpingOnce(t, target, patience, 0)
	}
	return p.arpingOnce(t, target, time.Second, 500*time.Millisecond) && p.arpingOnce(t, target, time.Second, 0)
}

// arpingOnce runs arping until there is an answer, until a time has passed, or until the program is killed if that is not 0.
func (p pair) arpingOnce(t testing.TB, target netip.Addr, limit, kill time.Duration) bool {
	t.Helper()
	cmd := exec.Command("arping", "-I", "eth0", "-c", "1", "-w", fmt.Sprint(limit.Seconds()), target.String())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var err error
	p.client.Do(t, func() { err = cmd.Start() })
	if err != nil {
		t.Errorf("arping %v does not start: %v", target, err)
		return false
	}
	if kill > 0 {
		defer time.AfterFunc(kill, func() { _ = cmd.Process.Kill() }).Stop()
	}
	err = cmd.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Errorf("arping %v: %v", target, err)
	}
	answered := bytes.Contains(out.Bytes(), []byte("Unicast reply from "+target.String()+" ["))
	if answered != (err == nil) {
		t.Errorf("arping %v: %v, %s", target, err, &out)
	}
	return answered
}

func (p pair) check(t testing.TB, target netip.Addr) Exposure {
	t.Helper()
	e, err := p.rsHost.Check(t.Context(), target, "eth0", clientAddr)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func bindAll(t testing.TB, h *Host, addrs ...Address) {
	t.Helper()
	k, err := h.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	for _, a := range addrs {
		if err := k.addAddress(a); err != nil {
			t.Fatal(err)
		}
	}
}

// The truth table of arp_ignore, asked from a neighbour, equals Check in every cell.
func TestIntegrationAnswers(t *testing.T) {
	p := newPair(t)
	hidden, onCard := netip.MustParseAddr("10.0.0.101"), netip.MustParseAddr("10.0.0.102")
	outside := netip.MustParseAddr("172.16.5.5")
	bindAll(t, p.rsHost, Address{Prefix: hostPrefix(vip4), Device: "lo"}, Address{Prefix: hostPrefix(hidden), Device: "lo", Scope: ScopeHost},
		Address{Prefix: hostPrefix(onCard), Device: "eth0"}, Address{Prefix: netip.PrefixFrom(netip.MustParseAddr("10.0.9.100"), 24), Device: "lo"},
		Address{Prefix: hostPrefix(outside), Device: "lo", Scope: ScopeLink})
	targets := []netip.Addr{vip4, hidden, onCard, outside, ripAddr, netip.MustParseAddr("10.0.9.77"), netip.MustParseAddr("10.0.0.55")}
	type cell struct{ all, lo, eth0 int }
	var cells []cell
	for i := range 8 {
		cells = append(cells, cell{i >> 2 & 1, i >> 1 & 1, i & 1})
	}
	for _, v := range []int{-1, 2, 3, 4, 5, 7, 8, 9} {
		cells = append(cells, cell{all: v})
	}
	for _, c := range [][2]int{{1, 8}, {8, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4}, {9, 1}} {
		cells = append(cells, cell{all: c[0], eth0: c[1]})
	}
	yes := 0
	for _, c := range cells {
		for dev, v := range map[string]int{"all": c.all, "lo": c.lo, "eth0": c.eth0} {
			p.rs.SetSysctl(t, string(sysctl.IPv4(dev, ignore)), strconv.Itoa(v))
		}
		rs := state(t, p.rsHost)
		var wg sync.WaitGroup
		for _, target := range targets {
			e, err := rs.Check(target, "eth0", clientAddr)
			if err != nil {
				t.Fatal(err)
			}
			if e.Answers {
				yes++
			}
			wg.Go(func() {
				if got := p.asked(t, target, e.Answers); got != e.Answers {
					t.Errorf("%+v, %v: answered %v, Check says %v (%v)", c, target, got, e.Answers, e.AnswersCause)
				}
				if got := p.arping(t, target, e.Answers); got != e.Answers {
					t.Errorf("%+v, %v: arping got an answer: %v, Check says %v (%v)", c, target, got, e.Answers, e.AnswersCause)
				}
			})
		}
		wg.Wait()
	}
	if all := len(cells) * len(targets); yes == 0 || yes == all {
		t.Errorf("%d of %d answered", yes, all)
	}
	// Value 2 looks at who asks.
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", ignore)), "2")
	p.rs.SetSysctl(t, string(sysctl.IPv4("eth0", ignore)), "0")
	stranger := netip.MustParseAddr("192.168.9.1")
	e, err := p.rsHost.Check(t.Context(), ripAddr, "eth0", stranger)
	if err != nil || e.Answers {
		t.Errorf("%+v, %v", e, err)
	}
	replies, err := p.clientHost.Probe(t.Context(), "eth0", ripAddr, &ProbeOptions{Sender: stranger, Wait: 300 * time.Millisecond})
	if err != nil || len(replies) != 0 {
		t.Errorf("a stranger is answered %v, %v", replies, err)
	}
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", ignore)), "0")
	// An address conflict probe is answered alike.
	replies, err = p.clientHost.Probe(t.Context(), "eth0", vip4, &ProbeOptions{Sender: netip.IPv4Unspecified()})
	if err != nil || len(replies) != 1 {
		t.Errorf("a probe without a sender is answered %v, %v", replies, err)
	}
}

// The sender that the real server names in its own requests equals Check in every cell.
func TestIntegrationAnnounces(t *testing.T) {
	p := newPair(t)
	outside := netip.MustParseAddr("172.16.5.5")
	bindAll(t, p.rsHost, Address{Prefix: hostPrefix(vip4), Device: "lo"}, Address{Prefix: hostPrefix(outside), Device: "lo"})
	capture := p.client.Capture(t, "eth0")
	next := byte(10)
	sender := func(vip netip.Addr) netip.Addr {
		t.Helper()
		// A neighbour that nobody has asked for yet.
		target := netip.AddrFrom4([4]byte{10, 0, 0, next})
		next++
		conn, err := p.rs.Dial("udp", netip.AddrPortFrom(vip, 0), netip.AddrPortFrom(target, 9))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		frames := capture.Wait(1, patience, func(f nstest.Frame) bool {
			return len(f.Data) >= arpFrame && !f.Outgoing && f.Data[12] == 8 && f.Data[13] == 6 && bytes.Equal(f.Data[38:42], target.AsSlice())
		})
		if len(frames) == 0 {
			t.Fatalf("no request for %v in %v, after %d frames", target, patience, len(capture.Frames()))
		}
		return netip.AddrFrom4([4]byte(frames[0].Data[28:32]))
	}
	named := 0
	for _, c := range [][3]int{{0, 0, 0}, {0, 0, 2}, {0, 2, 0}, {0, 2, 2}, {2, 0, 0}, {2, 2, 2}, {1, 0, 0}, {0, 0, 1}, {3, 0, 0}, {4, 0, 0}, {2, 0, 3}, {1, 0, 2}} {
		for i, dev := range []string{"all", "lo", "eth0"} {
			p.rs.SetSysctl(t, string(sysctl.IPv4(dev, announce)), strconv.Itoa(c[i]))
		}
		for _, vip := range []netip.Addr{vip4, outside} {
			e, got := p.check(t, vip), sender(vip)
			if (got == vip) != e.Announces {
				t.Errorf("all, lo, eth0 %v, %v: the sender is %v, Check says %v (%v)", c, vip, got, e.Announces, e.AnnouncesCause)
			}
			if got == vip {
				named++
			}
		}
	}
	if named == 0 || named == 24 {
		t.Errorf("named %d times", named)
	}
}

// IPv6 answers for addresses of the card only.
func TestIntegrationSolicited(t *testing.T) {
	p := newPair(t)
	p.rs.Dummy(t, "dummy9")
	onDummy, onCard, proxied := netip.MustParseAddr("2001:db8::101"), netip.MustParseAddr("2001:db8::102"), netip.MustParseAddr("2001:db8::103")
	bindAll(t, p.rsHost, Address{Prefix: hostPrefix(vip6), Device: "lo", Flags: AddressNoDAD | AddressDeprecated},
		Address{Prefix: hostPrefix(onDummy), Device: "dummy9", Flags: AddressNoDAD}, Address{Prefix: hostPrefix(onCard), Device: "eth0", Flags: AddressNoDAD})
	for target, want := range map[netip.Addr]bool{vip6: false, onDummy: false, onCard: true, proxied: false, netip.MustParseAddr("2001:db8::3"): true} {
		if e := p.check(t, target); e.Answers != want || e.Local == (target == proxied) {
			t.Errorf("%v: Check says %+v, want answers %v, local %v; local routes %v", target, e, want, target != proxied, state(t, p.rsHost).Local)
		}
		if got := p.asked(t, target, want); got != want {
			t.Errorf("%v: answered %v, want %v", target, got, want)
		}
	}
	s, err := p.rsHost.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Addresses, func(a Address) bool { return a.Addr() == vip6 })
	if i < 0 || s.Addresses[i].Flags&(AddressNoDAD|AddressDeprecated) != AddressNoDAD|AddressDeprecated || s.Addresses[i].Flags&AddressTentative != 0 {
		t.Errorf("address %+v", s.Addresses[i])
	}
}

func state(t testing.TB, h *Host) State {
	t.Helper()
	s, err := h.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sameState compares all but what cannot be the same twice, such as a dummy's random hardware address.
var sameState = []cmp.Option{equateAddrs, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(State{}),
	cmpopts.SortSlices(func(a, b Address) bool { return a.String() < b.String() }),
	cmpopts.SortSlices(func(a, b LocalRoute) bool { return a.Prefix.String() < b.Prefix.String() })}

func TestIntegrationSetup(t *testing.T) {
	dr := Setup{VIPs: []netip.Addr{vip4, vip6}}
	local := Tunnel{Name: "lvstun0", Local: ripAddr}
	tests := map[string]Setup{
		"DR":                   dr,
		"DR on a dummy":        {VIPs: []netip.Addr{vip4, vip6}, Device: "lvs0", Label: "lvs0:1"},
		"DR, one card":         {VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth0"}, Label: "lo:0", Scope: ScopeHost},
		"TUN":                  {VIPs: []netip.Addr{vip4}, Tunnels: []Tunnel{local}},
		"TUN by tunl0 and GUE": {VIPs: []netip.Addr{vip4}, Tunnels: []Tunnel{{Name: "tunl0"}}, FOUPorts: []FOUPort{{Port: 5555}}},
		"all kinds of tunnels": {VIPs: []netip.Addr{vip4}, Device: "lo", TunnelAddress: netip.MustParseAddr("192.0.2.1"), Tunnels: []Tunnel{
			local, {Name: "lvssit0", Kind: SIT, Local: ripAddr}, {Name: "lvsip6", Kind: IP6TNL, Local: netip.MustParseAddr("2001:db8::3")},
			{Name: "lvsgre0", Kind: GRE, Local: ripAddr, Remote: clientAddr, Checksum: true},
			{Name: "lvsgre6", Kind: IP6GRE, Local: netip.MustParseAddr("2001:db8::3"), Remote: netip.MustParseAddr("2001:db8::1")}},
			FOUPorts: []FOUPort{{Port: 5555}, {Port: 5556, IPv6: true}, {Port: 5557, Protocol: 4}}},
	}
	for name, setup := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.rs.SetSysctl(t, string(sysctl.IPv4("all", announce)), "1")
			before := state(t, p.rsHost)
			plan := mustPlan(t, p.rsHost, setup)
			mustApply(t, p.rsHost, plan)
			if drift, err := p.rsHost.Verify(t.Context(), plan); err != nil || len(drift) != 0 {
				t.Errorf("drift %v, %v", drift, err)
			}
			st, err := p.rsHost.Status(t.Context(), setup.VIPs...)
			if err != nil || len(st.Problems) != 0 || len(st.VIPs) != len(setup.VIPs) {
				t.Errorf("status %v, %v", st, err)
			}
			for _, vip := range setup.VIPs {
				if p.asked(t, vip, false) {
					t.Errorf("%v is answered", vip)
				}
			}
			if !p.asked(t, ripAddr, true) {
				t.Error("the real server's own address is not answered")
			}
			for _, tunnel := range setup.Tunnels {
				links, err := p.rsHost.Links(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(links, func(l Link) bool { return l.Name == tunnel.Name })
				if i < 0 || links[i].Tunnel == nil || *links[i].Tunnel != tunnel || !links[i].Up() {
					t.Errorf("tunnel %v is %+v", tunnel, links)
				}
			}
			ports, err := p.rsHost.FOUPorts(t.Context())
			if err != nil || len(ports) != len(setup.FOUPorts) {
				t.Errorf("ports %v, %v", ports, err)
			}
			for _, port := range setup.FOUPorts {
				if !slices.Contains(ports, port) {
					t.Errorf("port %v is not in %v", port, ports)
				}
			}
			again := mustPlan(t, hostOf(t, p.rs), setup)
			if !again.Empty() {
				t.Errorf("a second plan does %v", again)
			}
			mustApply(t, p.rsHost, again)
			mustRelease(t, hostOf(t, p.rs), setup.VIPs...)
			mustRelease(t, hostOf(t, p.rs), setup.VIPs...)
			if diff := cmp.Diff(before, state(t, p.rsHost), sameState...); diff != "" {
				t.Errorf("after release (-before +after):\n%s", diff)
			}
		})
	}
}

// Stopping one of two keeps the other silent, stopping the last brings everything back.
func TestIntegrationTwoAddresses(t *testing.T) {
	p := newPair(t)
	p.rs.SetSysctl(t, string(sysctl.IPv4("eth0", announce)), "1")
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", ignore)), "3")
	before := state(t, p.rsHost)
	mustSetup(t, hostOf(t, p.rs), Setup{VIPs: []netip.Addr{vip4}})
	mustSetup(t, hostOf(t, p.rs), Setup{VIPs: []netip.Addr{second}, Device: "lvs0"})
	mustRelease(t, hostOf(t, p.rs), vip4)
	if e := p.check(t, second); !e.Hidden() || !e.Local {
		t.Errorf("%+v", e)
	}
	if p.asked(t, second, false) || p.asked(t, vip4, false) {
		t.Error("answered after the first was stopped")
	}
	mustRelease(t, hostOf(t, p.rs), second)
	if diff := cmp.Diff(before, state(t, p.rsHost), sameState...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// Adding twice and deleting twice is harmless, and the errors are those of the table.
func TestIntegrationErrors(t *testing.T) {
	p := newPair(t)
	k, err := p.rsHost.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	a4, a6 := Address{Prefix: hostPrefix(vip4), Device: "lo"}, Address{Prefix: hostPrefix(vip6), Device: "lo", Flags: AddressNoDAD | AddressDeprecated}
	tunnel := Tunnel{Name: "lvstun0", Local: ripAddr}
	gone := Address{Prefix: hostPrefix(vip4), Device: "eth9"}
	port := FOUPort{Port: 5555}
	for i, tt := range []struct {
		do    func() error
		want  error
		errno syscall.Errno
	}{
		{func() error { return k.addAddress(a4) }, nil, 0},
		{func() error { return k.addAddress(a4) }, fs.ErrExist, errnoEXIST},
		{func() error { return k.deleteAddress(a4) }, nil, 0},
		{func() error { return k.deleteAddress(a4) }, fs.ErrNotExist, errnoADDRNOTAVAIL},
		{func() error { return k.addAddress(a6) }, nil, 0},
		{func() error { return k.addAddress(a6) }, fs.ErrExist, errnoEXIST},
		{func() error { return k.deleteAddress(a6) }, nil, 0},
		{func() error { return k.deleteAddress(a6) }, fs.ErrNotExist, errnoADDRNOTAVAIL},
		{func() error { return k.addAddress(gone) }, fs.ErrNotExist, 0},
		{func() error { return k.addLink("lvs0", nil) }, nil, 0},
		{func() error { return k.addLink("lvs0", nil) }, fs.ErrExist, errnoEXIST},
		{func() error { return k.setLink("lvs0", true) }, nil, 0},
		{func() error { return k.setLink("lvs0", true) }, nil, 0},
		{func() error { return k.deleteLink("lvs0") }, nil, 0},
		{func() error { return k.deleteLink("lvs0") }, fs.ErrNotExist, 0},
		{func() error { return k.deleteLink("lo") }, errors.ErrUnsupported, errnoOPNOTSUPP},
		{func() error { return k.addLink("lvstun0", &tunnel) }, nil, 0},
		{func() error { return k.addLink("lvstun1", &Tunnel{Name: "lvstun1", Local: ripAddr}) }, fs.ErrExist, errnoEXIST},
		{func() error { return k.deleteLink("lvstun0") }, nil, 0},
		{func() error { return k.addLink("a-name-of-16-byt", nil) }, fs.ErrInvalid, errnoRANGE},
		{func() error { return k.addFOU(port) }, nil, 0},
		{func() error { return k.addFOU(port) }, fs.ErrExist, 0},
		{func() error { return k.deleteFOU(port) }, nil, 0},
		{func() error { return k.deleteFOU(port) }, fs.ErrNotExist, 0},
	} {
		err := tt.do()
		if !errors.Is(err, tt.want) || tt.errno != 0 && !errors.Is(err, tt.errno) {
			t.Errorf("request %d: %v, want %v, errno %d", i, err, tt.want, uint(tt.errno))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.rsHost.Addresses(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := hostOfName(t, "no-such-namespace").Links(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func hostOfName(t testing.TB, name string) *Host {
	t.Helper()
	h, err := New(&Config{NetNS: name})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A namespace is chosen without moving the caller's thread.
func TestIntegrationThread(t *testing.T) {
	p := newPair(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := func() string {
		s, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := own()
	h := hostOfName(t, fmt.Sprintf("/proc/self/fd/%d", p.rs.File().Fd()))
	mustSetup(t, h, Setup{VIPs: []netip.Addr{vip4}, Device: "lvs0"})
	if st, err := h.Status(t.Context()); err != nil || len(st.VIPs) != 1 || !st.VIPs[0].Recorded {
		t.Errorf("%v, %v", st, err)
	}
	mustRelease(t, h)
	if now := own(); now != was {
		t.Errorf("the thread was in %s and is in %s", was, now)
	}
	// The records of two namespaces are apart.
	mustSetup(t, p.rsHost, Setup{VIPs: []netip.Addr{vip4}})
	mustRelease(t, p.clientHost)
	if e := p.check(t, vip4); !e.Local || !e.Hidden() {
		t.Errorf("%+v", e)
	}
	mustRelease(t, p.rsHost)
}

// child is what another process does in a test: it ends itself at a step, or tries without privilege.
func child(role string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h, err := New(&Config{NetNS: os.Getenv("LVS_ARP_NETNS")})
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	setup := Setup{VIPs: []netip.Addr{vip4, vip6}, Device: "lvs0", Tunnels: []Tunnel{{Name: "lvstun0", Local: ripAddr}},
		TunnelAddress: netip.MustParseAddr("192.0.2.1"), FOUPorts: []FOUPort{{Port: 5555}}}
	switch verb, count, _ := strings.Cut(role, " "); verb {
	case "kill": // at a change of the network
		n, err := strconv.Atoi(count)
		if err != nil {
			return fail(err)
		}
		plan, err := h.Plan(ctx, setup)
		if err != nil {
			return fail(err)
		}
		connect := h.connect
		h.connect = func(ctx context.Context) (kernel, error) {
			k, err := connect(ctx)
			return &mortal{kernel: k, left: n}, err
		}
		if _, err := h.Apply(ctx, plan); err != nil {
			return fail(err)
		}
		return 3 // survived
	case "plan":
		plan, err := h.Plan(ctx, setup)
		if err != nil {
			return fail(err)
		}
		fmt.Print(plan)
		if _, err := h.Apply(ctx, plan); !errors.Is(err, fs.ErrPermission) {
			return fail(fmt.Errorf("apply: %w", err))
		}
		if err := h.Announce(ctx, "lo", nil, nil); !errors.Is(err, ErrNoNeighbours) {
			return fail(err)
		}
		return 0
	}
	return 4
}

// mortal is a kernel whose user is killed before a change, as by kill -9.
type mortal struct {
	kernel
	left int
}

func (m *mortal) tick() {
	if m.left--; m.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m *mortal) addLink(name string, t *Tunnel) error { m.tick(); return m.kernel.addLink(name, t) }
func (m *mortal) setLink(name string, up bool) error   { m.tick(); return m.kernel.setLink(name, up) }
func (m *mortal) addAddress(a Address) error           { m.tick(); return m.kernel.addAddress(a) }
func (m *mortal) addFOU(p FOUPort) error               { m.tick(); return m.kernel.addFOU(p) }

// Killing the process in the middle of Apply leaves a record from which everything comes back.
func TestIntegrationKilled(t *testing.T) {
	p := newPair(t)
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", announce)), "1")
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", "rp_filter")), "1")
	before := state(t, p.rsHost)
	changed := 0
	for n := 0; ; n++ {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("LVS_ARP_CHILD=kill %d", n), fmt.Sprintf("LVS_ARP_NETNS=/proc/%d/fd/%d", os.Getpid(), p.rs.File().Fd()))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, out)
		}
		killed := exit.Sys().(syscall.WaitStatus).Signaled()
		if !killed && exit.ExitCode() != 3 {
			t.Fatalf("%v: %s", err, out)
		}
		if cmp.Diff(before, state(t, p.rsHost), sameState...) != "" {
			changed++
		}
		mustRelease(t, hostOf(t, p.rs))
		if diff := cmp.Diff(before, state(t, p.rsHost), sameState...); diff != "" {
			t.Errorf("killed at %d (-before +after):\n%s", n, diff)
		}
		if !killed {
			if n != 8 || changed != 9 {
				t.Errorf("%d changes of the network, %d with an effect", n, changed)
			}
			return
		}
	}
}

// Everybody can see a plan; only root can carry it out.
func TestIntegrationUnprivileged(t *testing.T) {
	nstest.RequireRoot(t)
	// The test binary is where nobody else may look.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "arp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "arp.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LVS_ARP_CHILD=plan", "LVS_ARP_NETNS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "add address") {
		t.Errorf("%v: %s", err, out)
	}
}

// An address moves from one machine to another: the frames are exact, the neighbour's cache changes, and a client's
// connection goes to the new machine within a second of the announcement.
func TestIntegrationAnnounce(t *testing.T) {
	nstest.RequireRoot(t)
	client, a, b, sw := nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)
	sw.Bridge(t, "br0")
	for i, ns := range []*nstest.NS{client, a, b} {
		port := fmt.Sprint("port", i)
		nstest.Veth(t, ns, "eth0", sw, port)
		sw.SetMaster(t, port, "br0")
		ns.SetMAC(t, "eth0", net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)})
		ns.AddAddr(t, "eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24))
		ns.AddAddr(t, "eth0", netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", i+1)))
		ns.SetSysctl(t, string(sysctl.IPv4("all", ignore)), "0")
	}
	for _, ns := range []*nstest.NS{a, b} {
		for _, vip := range []netip.Addr{vip4, vip6} {
			ns.AddAddr(t, "lo", netip.PrefixFrom(vip, vip.BitLen())) // so that the server can listen
		}
	}
	for i, ns := range []*nstest.NS{a, b} {
		for _, vip := range []netip.Addr{vip4, vip6} {
			ns.ServeTCP(t, netip.AddrPortFrom(vip, 80), string(rune('a'+i)))
		}
		for _, vip := range []netip.Addr{vip4, vip6} {
			ns.DeleteAddr(t, "lo", netip.PrefixFrom(vip, vip.BitLen()))
		}
	}
	ctx := t.Context()
	hosts := []*Host{hostOf(t, a), hostOf(t, b)}
	director := Setup{VIPs: []netip.Addr{vip4, vip6}, Device: "eth0", Suppress: SuppressNone}
	mustSetup(t, hosts[0], director)
	ask := func(vip netip.Addr, want string) {
		t.Helper()
		got, err := client.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(vip, 80))
		if err != nil || got != want {
			t.Errorf("%v is served by %q, want %q, %v", vip, got, want, err)
		}
	}
	ask(vip4, "a")
	ask(vip6, "a")

	capture := client.Capture(t, "eth0")
	mustRelease(t, hosts[0], vip4, vip6)
	mustSetup(t, hosts[1], director)
	opt := &AnnounceOptions{Count: 1, Rounds: 1, Forms: []Form{RequestForm, ReplyForm, RequestBroadcastForm}}
	if err := hosts[1].Announce(ctx, "eth0", director.VIPs, opt); err != nil {
		t.Fatal(err)
	}
	macB := b.Link(t, "eth0").MAC
	announced := make(map[netip.Addr]time.Time) // when the first frame of each address came
	for _, tt := range []struct {
		form Form
		addr netip.Addr
	}{{RequestForm, vip4}, {ReplyForm, vip4}, {RequestBroadcastForm, vip4}, {RequestForm, vip6}} {
		want, err := AnnounceFrame(tt.form, tt.addr, macB, false)
		if err != nil {
			t.Fatal(err)
		}
		got := capture.Wait(1, patience, func(f nstest.Frame) bool { return bytes.Equal(f.Data, want) })
		if len(got) == 0 {
			t.Fatalf("%v of %v was not seen in %v", tt.form, tt.addr, patience)
		}
		if at, ok := announced[tt.addr]; !ok || got[0].Time.Before(at) {
			announced[tt.addr] = got[0].Time
		}
	}
	ask(vip4, "b")
	ask(vip6, "b")
	// Measured from frame to frame, by the kernel: the last one that the client sends to where the address was.
	for _, vip := range director.VIPs {
		reached := 0
		for _, f := range capture.Frames() {
			p, err := f.Packet()
			if err != nil || !f.Outgoing || p.Proto != nstest.TCP || p.Dst.Addr() != vip {
				continue
			}
			to, after := net.HardwareAddr(f.Data[:6]), f.Time.Sub(announced[vip])
			if bytes.Equal(to, macB) {
				reached++
			} else if after > time.Second {
				t.Errorf("%v after the announcement of %v the client sends to %v and not to %v", after, vip, to, macB)
			}
		}
		if reached == 0 {
			t.Errorf("no frame for %v went to %v", vip, macB)
		}
	}
	// Back again by each form alone, and several times.
	for i, form := range []Form{ReplyForm, RequestForm, RequestBroadcastForm} {
		from, to := hosts[(i+1)%2], hosts[i%2]
		mustRelease(t, from, director.VIPs...)
		mustSetup(t, to, director)
		if err := to.Announce(ctx, "eth0", director.VIPs, &AnnounceOptions{Count: 2, Interval: 10 * time.Millisecond, Rounds: 1, Forms: []Form{form}}); err != nil {
			t.Fatal(err)
		}
		ask(vip4, string(rune('a'+i%2)))
		ask(vip6, string(rune('a'+i%2)))
	}

	// Devices on which nobody would hear it.
	b.Dummy(t, "dummy9")
	nstest.Veth(t, b, "off0", b, "dark0")
	b.Down(t, "off0")
	k, err := hosts[1].open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if err := errors.Join(k.addLink("lvstun0", &Tunnel{Name: "lvstun0", Local: netip.MustParseAddr("10.0.0.3")}), k.setLink("lvstun0", true)); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]error{
		"lo": ErrNoNeighbours, "dummy9": ErrNoNeighbours, "off0": ErrDown, "dark0": ErrNoCarrier, "lvstun0": ErrNoHardwareAddress, "eth7": fs.ErrNotExist,
	} {
		err := hosts[1].Announce(ctx, device, []netip.Addr{vip4}, &AnnounceOptions{Count: 1, Rounds: 1, Foreign: true})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", device, err, want)
		}
	}
	if err := hosts[1].Announce(ctx, "eth0", []netip.Addr{netip.MustParseAddr("10.0.0.77")}, opt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an address of somebody else: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := hosts[0].Announce(short, "eth0", []netip.Addr{vip4}, &AnnounceOptions{Foreign: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cut short: %v", err)
	}
}

// Return path filtering on a tunnel: what Status says equals what comes through.
func TestIntegrationReturnPath(t *testing.T) {
	p := newPair(t)
	far := netip.MustParseAddr("203.0.113.7") // a client behind the default route
	p.rs.AddRoute(t, nstest.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: clientAddr})
	bindAll(t, p.rsHost, Address{Prefix: hostPrefix(vip4), Device: "lo"})
	conn := p.rs.ListenUDP(t, netip.AddrPortFrom(vip4, 5000))
	k, err := p.rsHost.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if err := errors.Join(k.addLink("lvstun0", &Tunnel{Name: "lvstun0", Local: ripAddr}), k.setLink("lvstun0", true)); err != nil {
		t.Fatal(err)
	}
	sender := p.client.Sender(t, "eth0", p.rs.Link(t, "eth0").MAC)
	var n byte
	arrives := func(expected bool) bool {
		t.Helper()
		n++
		inner, err := nstest.Packet{Src: netip.AddrPortFrom(far, 4000), Dst: netip.AddrPortFrom(vip4, 5000), Proto: nstest.UDP, Payload: []byte{n}}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		sender.Send(t, nstest.Packet{Src: netip.AddrPortFrom(clientAddr, 0), Dst: netip.AddrPortFrom(ripAddr, 0), Proto: nstest.IPIP, Payload: inner})
		wait := 100 * time.Millisecond
		if expected {
			wait = patience
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		for {
			got, err := conn.Read(buf)
			if err != nil {
				return false
			}
			if got == 1 && buf[0] == n {
				return true
			}
		}
	}
	passed := 0
	for _, addressed := range []bool{false, true} {
		if addressed {
			bindAll(t, p.rsHost, Address{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Device: "lvstun0"})
		}
		for all := range 3 {
			for own := range 3 {
				p.rs.SetSysctl(t, string(sysctl.IPv4("all", "rp_filter")), strconv.Itoa(all))
				p.rs.SetSysctl(t, string(sysctl.IPv4("lvstun0", "rp_filter")), strconv.Itoa(own))
				st, err := p.rsHost.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				filtered := slices.ContainsFunc(st.Problems, func(p Problem) bool { return p.Kind == ReturnFiltered })
				got := arrives(!filtered)
				if got == filtered {
					t.Errorf("all %d, tunnel %d, address %v: arrives %v, Status says filtered %v", all, own, addressed, got, filtered)
				}
				if got {
					passed++
				}
			}
		}
	}
	if passed == 0 || passed == 18 {
		t.Errorf("%d of 18 arrive", passed)
	}
	// The planner's cure works where all is strict.
	p.rs.SetSysctl(t, string(sysctl.IPv4("all", "rp_filter")), "1")
	p.rs.SetSysctl(t, string(sysctl.IPv4("lvstun0", "rp_filter")), "1")
	// The packet's outer way is the card's, where strict filtering agrees.
	mustSetup(t, p.rsHost, Setup{Tunnels: []Tunnel{{Name: "lvstun0", Local: ripAddr}}})
	if !arrives(true) {
		t.Error("nothing arrives after the setup")
	}
	mustRelease(t, p.rsHost)
	if arrives(false) {
		t.Error("it arrives after the release")
	}
}

// Status finds what scripts do wrong.
func TestIntegrationStatus(t *testing.T) {
	p := newPair(t)
	onCard := netip.MustParseAddr("10.0.0.102")
	bindAll(t, p.rsHost, Address{Prefix: netip.PrefixFrom(vip4, 24), Device: "lo"}, Address{Prefix: hostPrefix(onCard), Device: "eth0"})
	missing := netip.MustParseAddr("172.16.0.1")
	st, err := p.rsHost.Status(t.Context(), onCard, missing)
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		Kind ProblemKind
		VIP  netip.Addr
		Dev  string
	}
	var got []found
	for _, p := range st.Problems {
		got = append(got, found{p.Kind, p.VIP, p.Device})
	}
	want := []found{{WrongMask, vip4, "lo"}, {Answered, vip4, "eth0"}, {Announced, vip4, "eth0"}, {WrongDevice, onCard, "eth0"},
		{Answered, onCard, "eth0"}, {Announced, onCard, "eth0"}, {NotBound, missing, ""}}
	if diff := cmp.Diff(want, got, equateAddrs, cmpopts.SortSlices(func(a, b found) bool { return fmt.Sprint(a) < fmt.Sprint(b) })); diff != "" {
		t.Errorf("problems (-want +got):\n%s\n%v", diff, st)
	}
	// The whole subnet passes for this machine's: another address of it is answered. With a shorter length the card's
	// subnet is more specific and stays the neighbours', but the rest does not.
	other := netip.MustParseAddr("10.0.0.77")
	if !p.asked(t, other, true) || !p.check(t, other).Answers {
		t.Errorf("%v is not answered, Check says %+v", other, p.check(t, other))
	}
	p.rs.DeleteAddr(t, "lo", netip.PrefixFrom(vip4, 24))
	bindAll(t, p.rsHost, Address{Prefix: netip.PrefixFrom(vip4, 8), Device: "lo"})
	for target, want := range map[netip.Addr]bool{vip4: true, other: false, netip.MustParseAddr("10.9.9.9"): true} {
		if e := p.check(t, target); e.Answers != want {
			t.Errorf("Check says %+v", e)
		}
		if got := p.asked(t, target, want); got != want {
			t.Errorf("length 8, %v: answered %v", target, got)
		}
	}
}
