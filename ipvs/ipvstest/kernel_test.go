package ipvstest_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

var (
	web  = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	real = netip.MustParseAddrPort("10.0.0.2:80")
)

func TestKernel(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, nil)
	if err := c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "twos"}); err != nil {
		t.Fatal(err)
	}
	if err := c.AddDestination(ctx, web, ipvs.NewDestination(real)); err != nil {
		t.Fatal(err)
	}
	ns := k.Namespace("")
	if err := ns.SetConns(web, real, 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	if err := ns.Count(web, real, ipvs.Stats{Connections: 80, InBytes: 4}); err != nil {
		t.Fatal(err)
	}
	start := k.Now()
	k.Advance(2 * time.Second)
	if d := k.Now().Sub(start); d != 2*time.Second {
		t.Fatalf("the clock went %v", d)
	}
	d, err := c.Destination(ctx, web, real)
	if err != nil || d.Active != 1 || d.Inactive != 2 || d.Persistent != 3 || d.Stats.Connections != 80 || d.Stats.ConnectionRate != 10 {
		t.Fatalf("destination %+v, %v", d, err)
	}
	if err := ns.SetConns(web, netip.MustParseAddrPort("10.0.0.3:80"), 1, 1, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a destination that is not there: %v", err)
	}
	if err := ns.AddDevice("eth0", 1500, netip.MustParsePrefix("10.0.0.1/24")); err != nil {
		t.Fatal(err)
	}
	if err := c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "eth0"}); err != nil {
		t.Fatal(err)
	}
	if err := ns.SetLink("eth0", false); err != nil {
		t.Fatal(err)
	}
	want := []ipvstest.Request{{Op: "add service"}, {Op: "add destination"}, {Op: "list destinations"}, {Op: "start daemon"}}
	if diff := cmp.Diff(want, k.Requests()); diff != "" {
		t.Fatalf("requests (-want +got):\n%s", diff)
	}
	k.ReloadModule()
	if list, err := c.Services(ctx); err != nil || len(list) != 0 {
		t.Fatalf("after a reload: %v, %v", list, err)
	}
	if _, err := ipvstest.New(&ipvstest.Config{Version: "2.4"}); err == nil {
		t.Fatal("there is no such version")
	}
}

func TestInject(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, &ipvstest.Config{Version: "6.1"})
	inject := func(f ipvstest.Fault) func() {
		t.Helper()
		remove, err := k.Inject(f)
		if err != nil {
			t.Fatal(err)
		}
		return remove
	}
	remove := inject(ipvstest.Fault{Op: "add service", Errno: 12})
	err := c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "rr"})
	if !errors.Is(err, syscall.Errno(12)) {
		t.Fatalf("got %v", err)
	}
	remove()
	if err := c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	remove = inject(ipvstest.Fault{Op: "flush", Lost: true})
	if err := c.Flush(ctx); !errors.Is(err, syscall.Errno(105)) {
		t.Fatalf("got %v", err)
	}
	remove()
	remove = inject(ipvstest.Fault{})
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := c.Info(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	remove()
	if _, err := k.Inject(ipvstest.Fault{Op: "no such thing"}); !errors.Is(err, fs.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
}

// A kernel can be changed in the middle of a list, which then misses services that nobody touched.
func TestInjectMidDump(t *testing.T) {
	ctx := t.Context()
	k, c := ipvstest.Start(t, nil)
	other, err := k.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	id := func(port uint16) ipvs.ServiceID {
		return ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), port)}
	}
	for port := uint16(1); port <= 400; port++ {
		if err := c.AddService(ctx, ipvs.Service{ID: id(port), Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Services(ctx)
	if err != nil || len(list) != 400 {
		t.Fatalf("%d services, %v", len(list), err)
	}
	called := false
	if _, err := k.Inject(ipvstest.Fault{Op: "list services", MidDump: func() {
		called = true
		for _, s := range list[:3] {
			if err := other.DeleteService(ctx, s.ID); err != nil {
				t.Error(err)
			}
		}
	}}); err != nil {
		t.Fatal(err)
	}
	torn, err := c.Services(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !called || len(torn) != 397 {
		t.Fatalf("the list has %d services, called %v; want 397: the three that went were read before, and three others are skipped", len(torn), called)
	}
}

func TestDialMemory(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "state")
	for run := range 3 {
		c, done, err := ipvstest.Dial(ctx, "memory:"+file, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "rr"})
		if got := errors.Is(err, ipvs.ErrServiceExists); got != (run > 0) {
			t.Fatalf("run %d: %v", run, err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Fatalf("files left behind: %v, %v", entries, err)
	}
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := c.Services(ctx); err != nil || len(list) != 0 {
		t.Fatalf("an empty kernel has %v, %v", list, err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ipvstest.Dial(ctx, "disk:x", nil); !errors.Is(err, fs.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ipvstest.Dial(ctx, "memory:"+file, nil); err == nil {
		t.Fatal("half a state passes")
	}
}
