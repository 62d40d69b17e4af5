package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/genetlink"

	"github.com/golvs/lvs/internal/nltest"
)

// newKernel returns an in-memory kernel and a client of its initial namespace. The client can dial it again, as one
// that Dial returned.
func newKernel(t testing.TB, cfg *nltest.Config) (*nltest.Kernel, *Client) {
	t.Helper()
	k, err := nltest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	c := newTestClient(t, k.Namespace(""), nil)
	c.redial = func(receive int) (*genetlink.Conn, error) {
		return k.Namespace("").Dial(nltest.ReceiveBuffer(receive))
	}
	return k, c
}

func newTestClient(t testing.TB, ns *nltest.Namespace, cfg *Config) *Client {
	t.Helper()
	conn, err := ns.Dial(nltest.ReceiveBuffer(receiveSize))
	if err != nil {
		t.Fatal(err)
	}
	if cfg == nil {
		cfg = &Config{}
	}
	cfg.Root = ns.FS()
	c, err := NewClient(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want one that matches %v", err, target)
	}
	if _, ok := errors.AsType[*OpError](err); !ok {
		t.Fatalf("%v is not an OpError", err)
	}
}

var (
	web  = ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	real = netip.MustParseAddrPort("10.0.0.2:8080")
)

func TestClient(t *testing.T) {
	ctx := t.Context()
	_, c := newKernel(t, nil)
	info, err := c.Info(ctx)
	must(t, err)
	if want := (Info{0x010201, 4096}); info != want {
		t.Fatalf("info %+v, want %+v", info, want)
	}

	// An empty table is an empty slice and no error.
	if list, err := c.Services(ctx); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("empty table: %v, %v", list, err)
	}
	if list, err := c.Daemons(ctx); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("no daemons: %v, %v", list, err)
	}

	// What is not there is told apart from what failed, and which of the two is not there.
	_, err = c.Service(ctx, web)
	wantError(t, err, ErrNoService)
	_, err = c.Destinations(ctx, web)
	wantError(t, err, ErrNoService)
	wantError(t, err, fs.ErrNotExist)
	_, err = c.Destination(ctx, web, real)
	wantError(t, err, ErrNoService)
	wantError(t, c.AddDestination(ctx, web, NewDestination(real)), ErrNoService)
	wantError(t, c.DeleteService(ctx, web), ErrNoService)
	wantError(t, c.Zero(ctx, web), ErrNoService)
	must(t, c.Flush(ctx))
	must(t, c.ZeroAll(ctx))

	s := Service{ID: web, Scheduler: "wlc", Flags: Persistent, Timeout: time.Hour, PE: "sip", Netmask: MaskBits(IPv4, 24)}
	must(t, c.AddService(ctx, s))
	wantError(t, c.AddService(ctx, s), ErrServiceExists)
	got, err := c.Service(ctx, web)
	must(t, err)
	if diff := cmp.Diff(ServiceStatus{Service: s}, got, equateAddrs); diff != "" {
		t.Fatalf("service (-want +got):\n%s", diff)
	}
	if list, err := c.Destinations(ctx, web); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("no destinations: %v, %v", list, err)
	}
	_, err = c.Destination(ctx, web, real)
	wantError(t, err, ErrNoDestination)

	d := Destination{Addr: real, Forward: Tunnel, Weight: 65536, UpperThreshold: 10, LowerThreshold: 5, Tunnel: TunnelOptions{GUE, 6080, Checksum}}
	must(t, c.AddDestination(ctx, web, d))
	wantError(t, c.AddDestination(ctx, web, d), ErrDestinationExists)
	before, err := c.Quiesce(ctx, web, real)
	must(t, err)
	if before.Weight != 65536 {
		t.Fatalf("weight before quiescing %d", before.Weight)
	}
	quiesced := d
	quiesced.Weight = 0
	dest, err := c.Destination(ctx, web, real)
	must(t, err)
	if diff := cmp.Diff(DestinationStatus{Destination: quiesced}, dest, equateAddrs); diff != "" {
		t.Fatalf("quiesced destination (-want +got):\n%s", diff)
	}
	must(t, c.DeleteDestination(ctx, web, real))
	wantError(t, c.DeleteDestination(ctx, web, real), ErrNoDestination)
	wantError(t, c.SetDestination(ctx, web, d), ErrNoDestination)

	must(t, c.SetTimeouts(ctx, Timeouts{UDP: 2 * time.Minute}))
	timeouts, err := c.Timeouts(ctx)
	must(t, err)
	if want := (Timeouts{900 * time.Second, 120 * time.Second, 120 * time.Second}); timeouts != want {
		t.Fatalf("timeouts %+v, want %+v", timeouts, want)
	}
	wantError(t, c.SetTimeouts(ctx, Timeouts{TCP: 8589935 * time.Second}), fs.ErrInvalid)

	must(t, c.StartDaemon(ctx, Daemon{State: Backup, Interface: "lo", SyncID: 8}))
	wantError(t, c.StartDaemon(ctx, Daemon{State: Backup, Interface: "lo"}), ErrDaemonRuns)
	wantError(t, c.StartDaemon(ctx, Daemon{State: Master, Interface: "none0"}), ErrInterface)
	daemons, err := c.Daemons(ctx)
	must(t, err)
	want := []Daemon{{State: Backup, Interface: "lo", SyncID: 8, MaxLen: 65507, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1}}
	if diff := cmp.Diff(want, daemons, equateAddrs); diff != "" {
		t.Fatalf("daemons (-want +got):\n%s", diff)
	}
	must(t, c.StopDaemon(ctx, Backup))
	wantError(t, c.StopDaemon(ctx, Backup), ErrNoDaemon)
	wantError(t, c.StopDaemon(ctx, 3), fs.ErrInvalid)

	must(t, c.DeleteService(ctx, web))
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	must(t, c.Flush(ctx))
	if list, err := c.Services(ctx); err != nil || len(list) != 0 {
		t.Fatalf("after a flush: %v, %v", list, err)
	}
}

// What goes wrong elsewhere: lost attributes, misread addresses, values cut to 16 bits.
func TestLossless(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)

	mapped := ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort("[::ffff:10.0.0.1]:80")}
	plain := ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort("10.0.0.1:80")}
	must(t, c.AddService(ctx, Service{ID: mapped, Scheduler: "rr", Flags: Persistent, Timeout: time.Minute}))
	s, err := c.Service(ctx, plain)
	must(t, err)
	if s.ID != plain || s.Netmask != MaskBits(IPv4, 32) {
		t.Fatalf("a mapped address gave %v with mask %v", s.ID, s.Netmask)
	}

	six := ServiceID{Protocol: UDP, Addr: netip.MustParseAddrPort("[2001:db8::1]:5060")}
	must(t, c.AddService(ctx, Service{ID: six, Scheduler: "rr", Flags: Persistent, Timeout: time.Minute, PE: "sip"}))
	s, err = c.Service(ctx, six)
	must(t, err)
	if s.Netmask != MaskBits(IPv6, 128) {
		t.Fatalf("default mask of IPv6 %v", s.Netmask)
	}
	s.Timeout = 2 * time.Minute
	must(t, c.SetService(ctx, s.Service))
	after, err := c.Service(ctx, six)
	must(t, err)
	if diff := cmp.Diff(s, after, equateAddrs); diff != "" || after.PE != "sip" {
		t.Fatalf("a change of the timeout changed more (-want +got):\n%s", diff)
	}

	// A real server of the other family is refused before it is sent, unless tunnelled.
	k.ClearRequests()
	err = c.AddDestination(ctx, plain, NewDestination(netip.MustParseAddrPort("[2001:db8::5]:80")))
	wantError(t, err, fs.ErrInvalid)
	wantField(t, err, "Addr")
	if n := len(k.Requests()); n != 0 {
		t.Fatalf("%d requests were sent", n)
	}
	tunnelled := Destination{Addr: netip.MustParseAddrPort("[2001:db8::5]:80"), Forward: Tunnel, Weight: 1}
	must(t, c.AddDestination(ctx, plain, tunnelled))

	// The service whose address is a mapped one really.
	odd, err := ParseServiceID("TCP [::ffff:10.0.0.1]:80 IPv6")
	must(t, err)
	must(t, c.AddService(ctx, Service{ID: odd, Scheduler: "sh"}))
	list, err := c.Services(ctx)
	must(t, err)
	found := false
	for _, s := range list {
		found = found || s.ID == odd
	}
	if !found || len(list) != 3 {
		t.Fatalf("%v is not among %d services", odd, len(list))
	}
	must(t, c.DeleteService(ctx, odd))
	if _, err := c.Service(ctx, plain); err != nil {
		t.Fatalf("the IPv4 service went with the mapped one: %v", err)
	}

	// Marks of both families.
	for _, family := range []Family{IPv4, IPv6} {
		id := Mark(math.MaxUint32, family)
		must(t, c.AddService(ctx, Service{ID: id, Scheduler: "rr", Flags: OnePacket}))
		s, err := c.Service(ctx, id)
		must(t, err)
		if s.ID != id || s.Flags != OnePacket {
			t.Fatalf("mark service %+v", s)
		}
	}
}

// A flag mask leaves the other bits as they are.
func TestFlagMask(t *testing.T) {
	ctx := t.Context()
	_, c := newKernel(t, nil)
	s := Service{ID: web, Scheduler: "sh", Flags: SHFallback | 0x40000000}
	must(t, c.AddService(ctx, s))
	s.Flags, s.FlagMask = SHPort, SHPort|SHFallback
	must(t, c.SetService(ctx, s))
	got, err := c.Service(ctx, web)
	must(t, err)
	if want := SHPort | 0x40000000; got.Flags != want || got.FlagMask != 0 {
		t.Fatalf("flags %v, want %v", got.Flags, want)
	}
}

func TestCountersAndFiles(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, &nltest.Config{CPUs: 2})
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	must(t, c.AddDestination(ctx, web, NewDestination(real)))
	ns := k.Namespace("")
	id := nltest.ServiceID{Protocol: 6, Addr: web.Addr}
	must(t, ns.SetConns(id, real, nltest.Conns{Active: 1, Inactive: 2, Persistent: 3}))
	must(t, ns.CountOn(1, id, real, nltest.Counters{Conns: 1 << 33, InPackets: 2, OutPackets: 3, InBytes: 1 << 40, OutBytes: 5}))
	k.Advance(2 * time.Second)
	d, err := c.Destination(ctx, web, real)
	must(t, err)
	want := DestinationStatus{Destination: NewDestination(real), Active: 1, Inactive: 2, Persistent: 3, Stats: d.Stats}
	if diff := cmp.Diff(want, d, equateAddrs); diff != "" {
		t.Fatalf("destination (-want +got):\n%s", diff)
	}
	if d.Stats.Connections != 1<<33 || d.Stats.InPackets != 2 || d.Stats.OutPackets != 3 || d.Stats.InBytes != 1<<40 || d.Stats.OutBytes != 5 || d.Stats.ConnectionRate == 0 {
		t.Fatalf("statistics %+v", d.Stats)
	}
	stats, err := c.KernelStats(ctx)
	must(t, err)
	if len(stats.CPUs) != 2 || stats.CPUs[1].Connections != 1<<33 || stats.Total != d.Stats {
		t.Fatalf("kernel statistics %+v", stats)
	}
	must(t, c.Zero(ctx, web))
	if s, err := c.Service(ctx, web); err != nil || s.Stats != (Stats{}) {
		t.Fatalf("zeroed: %+v, %v", s.Stats, err)
	}

	rows := []nltest.Connection{
		{Protocol: 6, Client: netip.MustParseAddrPort("198.51.100.7:40000"), Virtual: web.Addr, Dest: real, State: "ESTABLISHED", Expires: time.Minute},
		{Client: netip.MustParseAddrPort("198.51.100.0:0"), Mark: 7, Dest: real, State: "ASSURED", Expires: time.Minute, Synced: true},
	}
	must(t, ns.SetConnections(rows))
	n := 0
	for conn, err := range c.Connections(ctx) {
		must(t, err)
		if conn.Destination != real || conn.Expires != time.Minute {
			t.Errorf("connection %+v", conn)
		}
		n++
	}
	origins := ""
	for conn, err := range c.SyncConnections(ctx) {
		must(t, err)
		origins += conn.Origin + " "
	}
	if n != 2 || origins != "LOCAL SYNC " {
		t.Fatalf("%d connections, origins %q", n, origins)
	}
	table, err := ReadTable(ns.FS())
	must(t, err)
	if len(table.Services) != 1 || table.Services[0].ID != web || table.Services[0].Destinations[0].Active != 1 {
		t.Fatalf("table %+v", table)
	}
	for range c.Connections(ctx) {
		break // a reader may stop early
	}
	must(t, c.Close())
	for _, err := range c.Connections(ctx) {
		wantError(t, err, os.ErrClosed)
	}
	_, err = c.KernelStats(ctx)
	wantError(t, err, os.ErrClosed)
}

// Without the privilege everything but the files of /proc is refused.
func TestUnprivileged(t *testing.T) {
	ctx := t.Context()
	k, err := nltest.New(nil)
	must(t, err)
	t.Cleanup(func() { _ = k.Close() })
	conn, err := k.Namespace("").Dial(nltest.Unprivileged())
	must(t, err)
	c, err := NewClient(conn, &Config{Root: k.Namespace("").FS()})
	must(t, err)
	defer c.Close()
	_, err = c.Services(ctx)
	wantError(t, err, fs.ErrPermission)
	wantError(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}), fs.ErrPermission)
	if _, err := c.KernelStats(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := probe(ctx, c, nil)
	must(t, err)
	if p.IPVS != Available || p.Privilege != Missing || p.Schedulers["rr"] != Unknown {
		t.Fatalf("capabilities %+v", p)
	}
}

func TestNoModule(t *testing.T) {
	_, c := newKernel(t, &nltest.Config{NoModule: true})
	_, err := c.Services(t.Context())
	wantError(t, err, ErrModule)
	if oe, _ := errors.AsType[*OpError](err); oe.Hint() == "" {
		t.Fatal("no hint")
	}
	p, err := probe(t.Context(), c, nil)
	if err != nil || p.IPVS != Missing || p.Privilege != Unknown {
		t.Fatalf("capabilities %+v, %v", p, err)
	}
}

func TestProbe(t *testing.T) {
	for version, twos := range map[string]Support{"6.1": Missing, "6.12": Available} {
		k, c := newKernel(t, &nltest.Config{Version: version})
		p, err := probe(t.Context(), c, func() (*Client, error) {
			return newTestClient(t, k.Namespace("scratch"), nil), nil
		})
		must(t, err)
		want := unknownCapabilities()
		want.IPVS, want.Privilege, want.Info, want.Engines["sip"] = Available, Available, Info{0x010201, 4096}, Available
		for name := range want.Schedulers {
			want.Schedulers[name] = Available
		}
		want.Schedulers["twos"] = twos
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
		if list, err := c.Services(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("the table was touched: %v, %v", list, err)
		}
		p, err = probe(t.Context(), c, func() (*Client, error) { return nil, fs.ErrPermission })
		if err != nil || p.Schedulers["rr"] != Unknown || p.Engines["sip"] != Unknown || p.Privilege != Available {
			t.Errorf("without a namespace of its own: %+v, %v", p, err)
		}
	}
}

// The module was unloaded and loaded again: the family has another number.
func TestReload(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	k.ReloadModule()
	if list, err := c.Services(ctx); err != nil || len(list) != 0 {
		t.Fatalf("after a reload: %v, %v", list, err)
	}
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	wantError(t, c.SetService(ctx, Service{ID: web, Scheduler: "bogus"}), ErrScheduler)
	k.UnloadModule()
	wantError(t, c.DeleteService(ctx, web), ErrNoService) // the lookup loads it again
}

// A cancelled call returns at once although the kernel never answers, and the client goes on to work, whether it can
// dial again or not.
func TestCancel(t *testing.T) {
	for name, redial := range map[string]bool{"dialled": true, "given": false} {
		t.Run(name, func(t *testing.T) {
			k, c := newKernel(t, nil)
			if !redial {
				c.redial = nil
			}
			must(t, c.AddService(t.Context(), Service{ID: web, Scheduler: "rr"}))
			// On a busy machine one attempt says little: the fastest of some counts.
			const limit = 100 * time.Millisecond
			fastest := time.Hour
			for range 10 {
				k.Inject(nltest.Fault{Command: nltest.GetInfo, Nth: 1, Effect: nltest.Ignore()})
				ctx, cancel := context.WithCancel(t.Context())
				var cancelled time.Time
				time.AfterFunc(10*time.Millisecond, func() {
					cancelled = time.Now()
					cancel()
				})
				_, err := c.Info(ctx)
				wantError(t, err, context.Canceled)
				if fastest = min(fastest, time.Since(cancelled)); fastest < limit {
					break
				}
			}
			if fastest > limit {
				t.Errorf("a call returned %v after it was cancelled", fastest)
			}
			for range 3 {
				if list, err := c.Services(t.Context()); err != nil || len(list) != 1 {
					t.Fatalf("after a cancelled call: %v, %v", list, err)
				}
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	k, err := nltest.New(nil)
	must(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c := newTestClient(t, k.Namespace(""), &Config{Timeout: 20 * time.Millisecond})
	k.Inject(nltest.Fault{Command: nltest.GetInfo, Nth: 1, Effect: nltest.Ignore()})
	_, err = c.Info(context.Background())
	wantError(t, err, context.DeadlineExceeded)
	if oe, _ := errors.AsType[*OpError](err); !oe.Timeout() {
		t.Errorf("%v is not a timeout", err)
	}
	if _, err := c.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// One goroutine's cancellation does not disturb the others' requests.
func TestCancelAlone(t *testing.T) {
	_, c := newKernel(t, nil)
	ctx := t.Context()
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	for i := range 50 {
		must(t, c.AddDestination(ctx, web, NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80))))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var cancelled atomic.Int32
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
				if _, err := c.Destinations(ctx, web); err != nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("impatient call: %v", err)
					}
					cancelled.Add(1)
				}
				cancel()
				runtime.Gosched()
			}
		})
	}
	for range 300 {
		list, err := c.Destinations(ctx, web)
		if err != nil || len(list) != 50 {
			t.Errorf("patient call: %d destinations, %v", len(list), err)
			break
		}
	}
	close(stop)
	wg.Wait()
	if cancelled.Load() == 0 {
		t.Error("no call was cancelled")
	}
}

// An answer that comes after its call was given up is never taken for that of a later call, on a connection that cannot
// be dialled again.
func TestLateAnswers(t *testing.T) {
	k, c := newKernel(t, nil)
	c.redial = nil
	ctx := t.Context()
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	for i := range 100 {
		must(t, c.AddDestination(ctx, web, NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80))))
	}
	impatient := func(f func(context.Context) error) {
		t.Helper()
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		wantError(t, f(short), context.DeadlineExceeded)
	}
	for _, cmd := range []nltest.Command{nltest.GetInfo, nltest.GetConfig, nltest.GetService, nltest.GetDest, nltest.DelService, nltest.Zero} {
		held := k.Inject(nltest.Fault{Command: cmd, Nth: 1, Effect: nltest.Hold()})
		other := ServiceID{Protocol: UDP, Addr: web.Addr}
		impatient(func(ctx context.Context) (err error) {
			switch cmd {
			case nltest.GetInfo:
				_, err = c.Info(ctx)
			case nltest.GetConfig:
				_, err = c.Timeouts(ctx)
			case nltest.GetService:
				_, err = c.Service(ctx, web)
			case nltest.GetDest:
				_, err = c.Destinations(ctx, web)
			case nltest.DelService:
				err = c.DeleteService(ctx, other)
			case nltest.Zero:
				err = c.ZeroAll(ctx)
			}
			return err
		})
		// The socket stands still until the next call waits for its answer: the old one comes first. Each of the calls
		// would accept another's answer if it did not look.
		time.AfterFunc(10*time.Millisecond, held.Release)
		for range 2 {
			if info, err := c.Info(ctx); err != nil || info.ConnTabSize != 4096 {
				t.Fatalf("after %v: info %+v, %v", cmd, info, err)
			}
			if to, err := c.Timeouts(ctx); err != nil || to.TCP != 900*time.Second {
				t.Fatalf("after %v: timeouts %+v, %v", cmd, to, err)
			}
			if s, err := c.Service(ctx, web); err != nil || s.ID != web {
				t.Fatalf("after %v: service %+v, %v", cmd, s, err)
			}
			if list, err := c.Destinations(ctx, web); err != nil || len(list) != 100 {
				t.Fatalf("after %v: %d destinations, %v", cmd, len(list), err)
			}
			wantError(t, c.DeleteService(ctx, other), ErrNoService)
			must(t, c.Zero(ctx, web))
		}
		k.ClearFaults()
	}
}

// A request with a reply asks for no acknowledgement, which would stay in the socket.
func TestNoStrayAcknowledgement(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	for range 3 {
		if _, err := c.Info(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Timeouts(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Service(ctx, web); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range k.Requests() {
		switch reply := r.Command == nltest.GetInfo || r.Command == nltest.GetConfig || r.Command == nltest.GetService; {
		case r.Type == genlIDCtrl:
		case reply && r.Flags != flagRequest, !reply && r.Flags != flagRequest|flagAck:
			t.Errorf("%v was sent with flags %#x", r.Command, r.Flags)
		}
	}
	if b, err := c.link.tryRecv(); len(b) != 0 || err != nil {
		t.Fatalf("%d bytes are left in the socket, %v", len(b), err)
	}
}

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		effect nltest.Effect
		check  func(t *testing.T, err error)
	}{
		"errno":     {nltest.Fail(nltest.ENOMEM), func(t *testing.T, err error) { wantError(t, err, syscall.Errno(eNOMEM)) }},
		"no buffer": {nltest.NoBuffers(), func(t *testing.T, err error) { wantError(t, err, errOverrun) }},
		"truncated": {nltest.Truncate(18), func(t *testing.T, err error) {
			if err == nil {
				t.Fatal("half an answer passes")
			}
		}},
		"foreign answer first": {nltest.ForeignFirst(), func(t *testing.T, err error) { must(t, err) }},
		"reversed":             {nltest.Reverse(), func(t *testing.T, err error) { must(t, err) }},
	}
	for name, tt := range tests {
		for _, redial := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " redial ", redial), func(t *testing.T) {
				k, c := newKernel(t, nil)
				if !redial {
					c.redial = nil
				}
				must(t, c.AddService(t.Context(), Service{ID: web, Scheduler: "rr"}))
				for _, cmd := range []nltest.Command{nltest.GetInfo, nltest.Zero, nltest.GetService} {
					k.Inject(nltest.Fault{Command: cmd, Effect: tt.effect})
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					var err error
					switch cmd {
					case nltest.GetInfo:
						_, err = c.Info(ctx)
					case nltest.Zero:
						err = c.ZeroAll(ctx)
					case nltest.GetService:
						_, err = c.Services(ctx)
					}
					tt.check(t, err)
					k.ClearFaults()
					if list, err := c.Services(ctx); err != nil || len(list) != 1 {
						t.Fatalf("after the fault: %v, %v", list, err)
					}
					if _, err := c.Info(ctx); err != nil {
						t.Fatalf("after the fault: %v", err)
					}
					cancel()
				}
			})
		}
	}
}

// Eight goroutines share a client; every list is whole.
func TestManyGoroutines(t *testing.T) {
	ctx := t.Context()
	_, c := newKernel(t, nil)
	const services = 300
	for i := range services {
		id := ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), uint16(i+1))}
		must(t, c.AddService(ctx, Service{ID: id, Scheduler: "rr"}))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				list, err := c.Services(ctx)
				if err != nil || len(list) != services {
					t.Errorf("%d services, %v", len(list), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Close unblocks a call that waits for the kernel and those that wait for their turn.
func TestClose(t *testing.T) {
	k, c := newKernel(t, nil)
	k.Inject(nltest.Fault{Command: nltest.GetInfo, Nth: 1, Effect: nltest.Ignore()})
	errs := make(chan error, 4)
	for i := range cap(errs) {
		go func() {
			ctx := context.Background()
			if i%2 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Minute)
				defer cancel()
			}
			_, err := c.Info(ctx)
			for err == nil { // only the first one finds a kernel that keeps silent
				_, err = c.Info(ctx)
			}
			errs <- err
		}()
	}
	time.Sleep(20 * time.Millisecond)
	must(t, c.Close())
	for range cap(errs) {
		wantError(t, <-errs, os.ErrClosed)
	}
	_, err := c.Services(t.Context())
	wantError(t, err, os.ErrClosed)
	wantError(t, c.Flush(t.Context()), os.ErrClosed)
	must(t, c.Close())
}

// The kernel stops a daemon that has not run yet without an answer.
func TestStopDaemonWithoutAnswer(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	must(t, c.StartDaemon(ctx, Daemon{State: Backup, Interface: "lo"}))
	k.Inject(nltest.Fault{Command: nltest.DelDaemon, Nth: 1, Effect: nltest.Lose()})
	must(t, c.StopDaemon(ctx, Backup))
	wantError(t, c.StopDaemon(ctx, Backup), ErrNoDaemon)
	if _, err := c.Info(ctx); err != nil {
		t.Fatal(err)
	}
}

// A client stays in its namespace.
func TestNamespaces(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	other := newTestClient(t, k.Namespace("blue"), nil)
	must(t, c.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	if list, err := other.Services(ctx); err != nil || len(list) != 0 {
		t.Fatalf("the other namespace has %v, %v", list, err)
	}
}

func TestDialErrors(t *testing.T) {
	ctx := t.Context()
	_, err := Dial(ctx, &Config{NetNS: "x", NetNSFile: os.Stdin})
	if runtime.GOOS == "linux" {
		wantField(t, err, "NetNSFile")
		_, err = Dial(ctx, &Config{NetNS: "no-such-namespace"})
		wantError(t, err, fs.ErrNotExist)
	} else {
		wantError(t, err, errors.ErrUnsupported)
	}
}

// What an abandoned list has left behind is thrown away only as long as the next call has time.
func TestDrainEnds(t *testing.T) {
	k, err := nltest.New(nil)
	must(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c := newTestClient(t, k.Namespace(""), nil) // cannot dial anew
	var changes []Change
	for i := range 3000 {
		changes = append(changes, Change{Kind: ServiceAdd, Service: Service{ID: Mark(uint32(i+1), IPv4), Scheduler: "rr"}})
	}
	_, err = c.Do(t.Context(), changes)
	must(t, err)
	held, release := context.WithTimeout(t.Context(), 10*time.Second)
	defer release()
	k.Inject(nltest.Fault{Command: nltest.GetService, Effect: nltest.AfterChunk(10, func() { <-held.Done() })})
	abandoned, abandon := context.WithCancel(t.Context())
	list := &request{cmd: cmdGetService, flags: flagDump, reply: func([]byte) error {
		if abandoned.Err() == nil {
			abandon()
			time.Sleep(10 * time.Millisecond) // until the interrupt has come
		}
		return nil
	}}
	if err := c.exchange(abandoned, func(l *link) error { return l.request(list) }); !errors.Is(err, context.Canceled) {
		t.Fatalf("the list that is given up: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := c.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Info within 100 ms: %v", err)
	}
	if held.Err() != nil {
		t.Errorf("Info within 100 ms took %v", time.Since(begin))
	}
}
