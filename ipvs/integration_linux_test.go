package ipvs_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

var (
	inNS   = ipvs.ServiceID{Protocol: ipvs.UDP, Addr: netip.MustParseAddrPort("10.1.1.1:99")}
	target = ipvs.NewDestination(netip.MustParseAddrPort("10.1.1.2:99"))
)

// dialCfg returns a client, whose namespace is left without services at the end if it may change them: the kernel numbers
// the entries of lists across all namespaces, so that what goes in the background with a namespace that nobody uses any
// more would make the lists of the next tests miss something.
func dialCfg(t *testing.T, cfg *ipvs.Config) *ipvs.Client {
	t.Helper()
	c, err := ipvs.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Geteuid() == 0 {
			_ = c.Flush(context.Background())
		}
		_ = c.Close()
	})
	return c
}

// nameNS gives a namespace a name as "ip netns add" does.
func nameNS(t *testing.T, ns *nstest.NS, name string) {
	t.Helper()
	path := filepath.Join("/run/netns", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	if err := unix.Mount(ns.Path(), path, "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// TestIntegrationNamespaces reaches one namespace by name, by path and by descriptor, and sees its table and files and not
// those of another.
func TestIntegrationNamespaces(t *testing.T) {
	nstest.RequireKernel(t)
	ctx := t.Context()
	ns, empty := nstest.New(t), nstest.New(t)
	nameNS(t, ns, "lvs-test")
	clients := map[string]*ipvs.Client{
		"name":       dialCfg(t, &ipvs.Config{NetNS: "lvs-test"}),
		"path":       dialCfg(t, &ipvs.Config{NetNS: ns.Path()}),
		"descriptor": dialCfg(t, &ipvs.Config{NetNSFile: ns.File()}),
	}
	// Also one that was dialled by who was there.
	ns.Do(t, func() { clients["inside"] = dialCfg(t, nil) })

	ns.Dummy(t, "dm0")
	ns.AddAddr(t, "dm0", netip.MustParsePrefix("10.1.1.1/24"))
	if err := clients["name"].AddService(ctx, ipvs.Service{ID: inNS, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	if err := clients["path"].AddDestination(ctx, inNS, target); err != nil {
		t.Fatal(err)
	}
	conn, err := ns.Dial("udp", netip.AddrPort{}, inNS.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	look := func(c *ipvs.Client) (services int, conns []ipvs.Connection, packets uint64) {
		t.Helper()
		list, err := c.Services(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for row, err := range c.Connections(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, row)
		}
		synced := 0
		for _, err := range c.SyncConnections(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			synced++
		}
		if synced != len(conns) {
			t.Errorf("%d connections in one file, %d in the other", len(conns), synced)
		}
		stats, err := c.KernelStats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, cpu := range stats.CPUs {
			packets += cpu.InPackets
		}
		return len(list), conns, packets
	}
	for name, c := range clients {
		services, conns, packets := look(c)
		if services != 1 || len(conns) != 1 || conns[0].Virtual != inNS.Addr || conns[0].Destination != target.Addr || packets != 1 {
			t.Errorf("by %s: %d services, connections %+v, %d packets", name, services, conns, packets)
		}
	}
	other := dialCfg(t, &ipvs.Config{NetNSFile: empty.File()})
	if services, conns, packets := look(other); services != 0 || len(conns) != 0 || packets != 0 {
		t.Errorf("elsewhere: %d services, connections %+v, %d packets", services, conns, packets)
	}

	// The thread that dialled is where it was: what it opens belongs to the caller's namespace.
	if own := dialCfg(t, nil); own != nil {
		if services, _, _ := look(own); services != 0 {
			t.Errorf("the caller's namespace has %d services", services)
		}
	}
	for name, cfg := range map[string]*ipvs.Config{
		"unknown name": {NetNS: "lvs-no-such"}, "unknown path": {NetNS: "/run/netns/lvs-no-such"},
	} {
		if _, err := ipvs.Dial(ctx, cfg); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ipvs.Dial(ctx, &ipvs.Config{NetNS: "/etc/passwd"}); err == nil {
		t.Error("a file is no namespace")
	}
	if _, err := ipvs.Dial(ctx, &ipvs.Config{NetNS: "lvs-test", NetNSFile: ns.File()}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("both: %v", err)
	}
}

// TestIntegrationProbe: all schedulers are there but twos, which 6.1 does not have.
func TestIntegrationProbe(t *testing.T) {
	nstest.RequireKernel(t)
	ctx := t.Context()
	ns := nstest.New(t)
	c := dialCfg(t, &ipvs.Config{NetNSFile: ns.File()})
	if err := c.AddService(ctx, ipvs.Service{ID: inNS, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	p, err := ipvs.Probe(ctx, &ipvs.Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	if p.IPVS != ipvs.Available || p.Privilege != ipvs.Available || p.Info.Version.String() != "1.2.1" || p.Info.ConnTabSize == 0 {
		t.Errorf("%+v", p)
	}
	for name, s := range p.Schedulers {
		want := ipvs.Available
		if name == "twos" && !nstest.KernelAtLeast(t, 6, 12) {
			want = ipvs.Missing
		}
		if s != want {
			t.Errorf("scheduler %s: %v, want %v", name, s, want)
		}
	}
	if len(p.Schedulers) != 14 || p.Engines["sip"] != ipvs.Available {
		t.Errorf("%d schedulers, engines %v", len(p.Schedulers), p.Engines)
	}
	if list, err := c.Services(ctx); err != nil || len(list) != 1 {
		t.Errorf("the probe left %v, %v", list, err)
	}
}

// asNobody runs a test of this binary in a process without privilege and returns what it prints.
func asNobody(t *testing.T, ns *nstest.NS, test string, env ...string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), append(env, "LVS_NOBODY=1")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out []byte
	var err error
	run := func() { out, err = cmd.CombinedOutput() }
	if ns != nil {
		ns.Do(t, run)
	} else {
		run()
	}
	if err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	return string(out)
}

// TestIntegrationUnprivileged: a user without privilege can dial and read the files, and is refused everything else.
func TestIntegrationUnprivileged(t *testing.T) {
	if os.Getenv("LVS_NOBODY") == "1" {
		unprivileged(t)
		return
	}
	nstest.RequireKernel(t)
	ns := nstest.New(t)
	c := dialCfg(t, &ipvs.Config{NetNSFile: ns.File()})
	if err := c.AddService(t.Context(), ipvs.Service{ID: inNS, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	if out := asNobody(t, ns, "TestIntegrationUnprivileged"); !strings.Contains(out, "--- PASS: TestIntegrationUnprivileged") {
		t.Fatalf("as nobody:\n%s", out)
	}
	if list, err := c.Services(t.Context()); err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
}

func unprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Fatal("this is root")
	}
	ctx := t.Context()
	c := dialCfg(t, nil)
	for name, err := range map[string]error{
		"info":   func() error { _, err := c.Info(ctx); return err }(),
		"list":   func() error { _, err := c.Services(ctx); return err }(),
		"add":    c.AddService(ctx, ipvs.Service{ID: inNS, Scheduler: "rr"}),
		"delete": c.DeleteService(ctx, inNS),
		"flush":  c.Flush(ctx),
		"daemon": c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Backup, Interface: "lo"}),
	} {
		oe, ok := errors.AsType[*ipvs.OpError](err)
		if !ok || !errors.Is(err, fs.ErrPermission) || oe.Errno != syscall.EPERM || oe.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.KernelStats(ctx); err != nil {
		t.Error(err)
	}
	for _, err := range c.Connections(ctx) {
		t.Errorf("a connection, or %v", err)
	}
	// Of the thread, as the process's first one is elsewhere: the namespace was entered by the parent's thread.
	table, err := ipvs.ReadTable(os.DirFS("/"))
	if err != nil || len(table.Services) != 1 || table.Services[0].ID != inNS {
		t.Errorf("table %+v, %v", table, err)
	}
	p, err := ipvs.Probe(ctx, nil)
	if err != nil || p.IPVS != ipvs.Available || p.Privilege != ipvs.Missing || p.Schedulers["rr"] != ipvs.Unknown || p.Engines["sip"] != ipvs.Unknown {
		text, _ := json.Marshal(p)
		t.Errorf("%s, %v", text, err)
	}
	if _, err := ipvs.Dial(ctx, &ipvs.Config{NetNS: "/proc/1/ns/net"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another's namespace: %v", err)
	}
}

// TestIntegrationNoIPVS is for a machine without IPVS: vm -modules none.
func TestIntegrationNoIPVS(t *testing.T) {
	if os.Getenv("LVS_NO_IPVS") != "1" {
		t.Skip("for a machine without IPVS: LVS_NO_IPVS=1 and vm -modules none")
	}
	nstest.RequireRoot(t)
	ctx := t.Context()
	_, err := ipvs.Dial(ctx, nil)
	oe, ok := errors.AsType[*ipvs.OpError](err)
	if !ok || !errors.Is(err, ipvs.ErrModule) || !strings.Contains(oe.Hint(), "modprobe ip_vs") {
		t.Errorf("Dial: %v", err)
	}
	p, err := ipvs.Probe(ctx, nil)
	if err != nil || p.IPVS != ipvs.Missing || p.Privilege != ipvs.Unknown || p.Schedulers["rr"] != ipvs.Unknown {
		t.Errorf("Probe: %+v, %v", p, err)
	}
	if _, err := ipvs.ReadTable(os.DirFS("/")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadTable: %v", err)
	}
	for _, err := range ipvs.ReadConnections(os.DirFS("/")) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadConnections: %v", err)
		}
	}
}

// loaded returns the modules of IPVS that are loaded.
func loaded(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "ip_vs") {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// TestIntegrationAutoload is for a machine that loads modules when they are asked for: vm -modules none -autoload.
func TestIntegrationAutoload(t *testing.T) {
	if os.Getenv("LVS_NOBODY") == "1" {
		dialCfg(t, nil)
		return
	}
	if os.Getenv("LVS_AUTOLOAD") != "1" {
		t.Skip("for a machine that loads modules by itself: LVS_AUTOLOAD=1 and vm -modules none -autoload")
	}
	nstest.RequireRoot(t)
	ctx := t.Context()
	expect := func(when string, want ...string) {
		t.Helper()
		if got := loaded(t); !slices.Equal(got, want) {
			t.Fatalf("%s: modules %v, want %v", when, got, want)
		}
	}
	expect("at first")
	asNobody(t, nil, "TestIntegrationAutoload") // no privilege is needed to have it loaded
	expect("after a dial", "ip_vs")
	c := dialCfg(t, nil)
	if _, err := c.Info(ctx); err != nil {
		t.Fatal(err)
	}

	// Unloaded and loaded again, the family has another number; the client finds it, and has the module loaded itself.
	// The kernel gives the module's last references up a little later.
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := unix.DeleteModule("ip_vs", unix.O_NONBLOCK)
		if err == nil {
			break
		}
		if took := time.Since(begin); took > time.Minute {
			text, _ := os.ReadFile("/proc/modules")
			t.Fatalf("unload ip_vs: %v, for %v\n%s", err, took, text)
		}
	}
	expect("after the unload")
	if _, err := c.Info(ctx); err != nil {
		t.Fatalf("after the module was unloaded: %v", err)
	}
	expect("after a request", "ip_vs")

	err := c.AddService(ctx, ipvs.Service{ID: ipvs.Mark(1, ipvs.IPv4), Scheduler: "nope"})
	if !errors.Is(err, ipvs.ErrScheduler) {
		t.Errorf("an unknown scheduler: %v", err)
	}
	for i, s := range []ipvs.Service{{Scheduler: "wlc"}, {Scheduler: "none", PE: "sip"}} {
		s.ID = ipvs.Mark(uint32(i)+1, ipvs.IPv4)
		if err := c.AddService(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	expect("after two services", "ip_vs", "ip_vs_pe_sip", "ip_vs_wlc")
	if err := c.SetService(ctx, ipvs.Service{ID: ipvs.Mark(1, ipvs.IPv4), Scheduler: "mh"}); err != nil {
		t.Fatal(err)
	}
	expect("after an edit", "ip_vs", "ip_vs_mh", "ip_vs_pe_sip", "ip_vs_wlc")
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := ipvs.Probe(ctx, nil)
	if err != nil || p.Schedulers["sh"] != ipvs.Available || p.Engines["sip"] != ipvs.Available {
		t.Errorf("%+v, %v", p, err)
	}
	if !slices.Contains(loaded(t), "ip_vs_sh") {
		t.Error("the probe did not load ip_vs_sh")
	}
}

// TestIntegrationCancel: a context ends what waits for a turn, and the client goes on.
func TestIntegrationCancel(t *testing.T) {
	nstest.RequireKernel(t)
	c := dialCfg(t, &ipvs.Config{NetNSFile: nstest.New(t).File()})
	var changes []ipvs.Change
	for i := range 200 {
		changes = append(changes, ipvs.Change{Kind: ipvs.ServiceAdd, Service: ipvs.Service{ID: ipvs.Mark(uint32(i)+1, ipvs.IPv4), Scheduler: "rr"}})
	}
	if _, err := c.Do(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		list, err := c.Services(ctx)
		cancel()
		if err == nil && len(list) != 200 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("call %d: %d services of 200, %v", i, len(list), err)
		}
		if i%10 != 0 {
			continue
		}
		if list, err = c.Services(t.Context()); err != nil || len(list) != 200 {
			t.Fatalf("after call %d: %d services of 200, %v", i, len(list), err)
		}
	}
}
