package ipvstest

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// A dice makes random legal objects.
type dice struct{ *rand.Rand }

// dice returns one, whose seed is printed.
func (b *bench) dice() dice {
	b.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LVS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			b.Fatalf("LVS_SEED: %v", err)
		}
		seed = n
	}
	b.Logf("LVS_SEED=%d", seed)
	return dice{rand.New(rand.NewPCG(seed, 0))}
}

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) addr(f ipvs.Family) netip.Addr {
	if f == ipvs.IPv4 {
		return netip.AddrFrom4([4]byte{10, byte(d.Uint32()), byte(d.Uint32()), byte(d.Uint32())})
	}
	a := [16]byte{0x20, 1, 0xd, 0xb8}
	for i := 4; i < 16; i++ {
		a[i] = byte(d.Uint32())
	}
	return netip.AddrFrom16(a)
}

func (d dice) family() ipvs.Family { return pick(d, ipvs.IPv4, ipvs.IPv6) }

func (d dice) serviceID() ipvs.ServiceID {
	if d.IntN(3) == 0 {
		return ipvs.Mark(max(d.Uint32(), 1), d.family())
	}
	return ipvs.ServiceID{
		Protocol: pick(d, ipvs.TCP, ipvs.UDP, ipvs.SCTP), Addr: netip.AddrPortFrom(d.addr(d.family()), pick(d, 0, 21, uint16(d.Uint32()))),
	}
}

func (d dice) scheduler() string {
	return pick(d, "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "none")
}

func (d dice) netmask(f ipvs.Family) netip.Addr {
	if f == ipvs.IPv6 {
		return ipvs.MaskBits(f, 1+d.IntN(128))
	}
	if d.IntN(3) == 0 {
		return netip.AddrFrom4([4]byte{byte(d.Uint32()), byte(d.Uint32()), byte(d.Uint32()), byte(d.Uint32())})
	}
	return ipvs.MaskBits(f, d.IntN(33))
}

func (d dice) timeout() time.Duration {
	return time.Duration(pick(d, 0, 1, 360, 4294967, d.Uint32N(4294968))) * time.Second
}

// service has every field set; the kernel's own flag bit is not one that a program sees.
func (d dice) service() ipvs.Service {
	id := d.serviceID()
	return ipvs.Service{
		ID: id, Scheduler: d.scheduler(), Flags: ipvs.ServiceFlags(pick(d, 0, 1, 4, 5, d.Uint32()) &^ 2), Timeout: d.timeout(),
		Netmask: d.netmask(id.AddrFamily()), PE: pick(d, "", "sip"),
	}
}

func (d dice) number() uint32 { return pick(d, 0, 1, 100, 65535, 65536, math.MaxInt32, d.Uint32()>>1) }

func (d dice) tunnel() ipvs.TunnelOptions {
	return ipvs.TunnelOptions{
		Type: pick(d, ipvs.IPIP, ipvs.GUE, ipvs.GRE, ipvs.TunnelType(d.Uint32())), Port: max(uint16(d.Uint32()), 1),
		Flags: pick(d, 0, ipvs.Checksum, ipvs.RemoteChecksum, ipvs.TunnelFlags(d.Uint32())),
	}
}

func (d dice) dest(f ipvs.Family) ipvs.Destination {
	x := ipvs.Destination{Forward: ipvs.ForwardMethod(d.IntN(8)), Weight: d.number(), UpperThreshold: d.number(), Tunnel: d.tunnel()}
	if x.Forward == ipvs.Tunnel {
		f = d.family()
	}
	x.Addr = netip.AddrPortFrom(d.addr(f), pick(d, 0, uint16(d.Uint32())))
	x.LowerThreshold = d.Uint32N(x.UpperThreshold + 1)
	return x
}

// rewriteCases read, change one field and write, and look what else has changed: nothing may.
var rewriteCases = []testCase{
	{name: "services", run: func(b *bench) {
		c, ctx, d := b.client(), b.ctx(), b.dice()
		for range b.u.Rounds {
			want := d.service()
			if err := c.AddService(ctx, want); err != nil {
				if errors.Is(err, ipvs.ErrServiceExists) {
					continue
				}
				b.Fatalf("%+v: %v", want, err)
			}
			check := func(what string) ipvs.Service {
				b.Helper()
				got, err := c.Service(ctx, want.ID)
				none(b, err)
				equal(b, what, want, got.Service)
				return got.Service
			}
			for field, change := range map[string]func(s *ipvs.Service){
				"Scheduler": func(s *ipvs.Service) { s.Scheduler = d.scheduler() },
				"Flags":     func(s *ipvs.Service) { s.Flags ^= pick(d, ipvs.Persistent, ipvs.OnePacket, ipvs.Sched2, 1<<31) },
				"Timeout":   func(s *ipvs.Service) { s.Timeout = d.timeout() },
				"Netmask":   func(s *ipvs.Service) { s.Netmask = d.netmask(s.ID.AddrFamily()) },
				"PE":        func(s *ipvs.Service) { s.PE = pick(d, "", "sip") },
				"nothing":   func(*ipvs.Service) {},
			} {
				read := check("before " + field)
				change(&read)
				change = nil
				none(b, c.SetService(ctx, read))
				want = read
				check("after " + field)
			}
			if d.IntN(2) == 0 {
				none(b, c.DeleteService(ctx, want.ID))
			}
		}
	}},
	{name: "destinations", run: func(b *bench) {
		c, ctx, d := b.client(), b.ctx(), b.dice()
		ids := []ipvs.ServiceID{webID, ipvs.Mark(5, ipvs.IPv6), {Protocol: ipvs.UDP, Addr: addrPort("[2001:db8::10]:53")}}
		for i, id := range ids {
			none(b, c.AddService(ctx, ipvs.Service{ID: id, Scheduler: []string{"wlc", "mh", "none"}[i]}))
		}
		for range b.u.Rounds {
			id := pick(d, ids...)
			want := d.dest(id.AddrFamily())
			if err := c.AddDestination(ctx, id, want); err != nil {
				if errors.Is(err, ipvs.ErrDestinationExists) {
					continue
				}
				b.Fatalf("%+v: %v", want, err)
			}
			check := func(what string) ipvs.Destination {
				b.Helper()
				got, err := c.Destination(ctx, id, want.Addr)
				none(b, err)
				equal(b, what, want, got.Destination)
				return got.Destination
			}
			own := want.Addr.Addr().Is4() == (id.AddrFamily() == ipvs.IPv4)
			for field, change := range map[string]func(x *ipvs.Destination){
				"Weight":         func(x *ipvs.Destination) { x.Weight = d.number() },
				"UpperThreshold": func(x *ipvs.Destination) { x.UpperThreshold = max(d.number(), x.LowerThreshold) },
				"LowerThreshold": func(x *ipvs.Destination) { x.LowerThreshold = d.Uint32N(x.UpperThreshold + 1) },
				"Tunnel":         func(x *ipvs.Destination) { x.Tunnel = d.tunnel() },
				"Forward": func(x *ipvs.Destination) {
					if own {
						x.Forward = ipvs.ForwardMethod(d.IntN(8))
					}
				},
				"nothing": func(*ipvs.Destination) {},
			} {
				read := check("before " + field)
				change(&read)
				none(b, c.SetDestination(ctx, id, read))
				want = read
				check("after " + field)
			}
			before, err := c.Quiesce(ctx, id, want.Addr)
			none(b, err)
			equal(b, "before Quiesce", want, before.Destination)
			want.Weight = 0
			check("after Quiesce")
		}
	}},
	{name: "what was listed can be added", run: func(b *bench) {
		c, ctx, d := b.client(), b.ctx(), b.dice()
		type entry struct {
			Service ipvs.Service
			Dests   []ipvs.Destination
		}
		listed := func() []entry {
			b.Helper()
			services, err := c.Services(ctx)
			none(b, err)
			var all []entry
			for _, s := range services {
				e := entry{Service: s.Service}
				dests, err := c.Destinations(ctx, s.ID)
				none(b, err)
				for _, x := range dests {
					e.Dests = append(e.Dests, x.Destination)
				}
				all = append(all, e)
			}
			slices.SortFunc(all, func(x, y entry) int { return strings.Compare(x.Service.ID.String(), y.Service.ID.String()) })
			return all
		}
		for range b.u.Rounds {
			s := d.service()
			if c.AddService(ctx, s) == nil {
				for range d.IntN(4) {
					none(b, c.AddDestination(ctx, s.ID, d.dest(s.ID.AddrFamily())))
				}
			}
		}
		first := listed()
		for round := range 2 {
			if round == 0 {
				none(b, c.Flush(ctx))
			} else {
				for _, e := range first {
					none(b, c.DeleteService(ctx, e.Service.ID))
				}
			}
			equal(b, "listed when everything is gone", 0, len(listed()))
			for _, e := range first {
				none(b, c.AddService(ctx, e.Service))
				for _, x := range slices.Backward(e.Dests) { // the newest comes first
					none(b, c.AddDestination(ctx, e.Service.ID, x))
				}
			}
			equal(b, "listed after it was added again", first, listed())
		}
	}},
	{name: "daemons", run: func(b *bench) {
		b.device("dm0", 1500)
		c, ctx, d := b.client(), b.ctx(), b.dice()
		for _, state := range []ipvs.DaemonState{ipvs.Master, ipvs.Backup} {
			want := ipvs.Daemon{
				State: state, Interface: "dm0", SyncID: d.Uint32N(256), MaxLen: 1024 + uint16(d.IntN(60000)),
				Group: pick(d, netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff02::99")), Port: uint16(1024 + d.IntN(60000)), TTL: uint8(1 + d.IntN(255)),
			}
			none(b, c.StartDaemon(ctx, want))
			got, err := c.Daemons(ctx)
			none(b, err)
			equal(b, "daemons", []ipvs.Daemon{want}, got)
			none(b, c.StopDaemon(ctx, state))
			none(b, c.StartDaemon(ctx, got[0]))
			again, err := c.Daemons(ctx)
			none(b, err)
			equal(b, "daemons", got, again)
			none(b, c.StopDaemon(ctx, state))
		}
	}},
	{name: "timeouts", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		want := ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}
		for _, change := range []func(x *ipvs.Timeouts){
			func(x *ipvs.Timeouts) { x.TCP = 7 * time.Second }, func(x *ipvs.Timeouts) { x.TCPFin = 8 * time.Second },
			func(x *ipvs.Timeouts) { x.UDP = 9 * time.Second }, func(*ipvs.Timeouts) {},
		} {
			got, err := c.Timeouts(ctx)
			none(b, err)
			equal(b, "timeouts", want, got)
			change(&got)
			none(b, c.SetTimeouts(ctx, got))
			want = got
		}
	}},
}

// clientCases are what other libraries get wrong.
var clientCases = []testCase{
	{name: "empty lists are empty", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		services, err := c.Services(ctx)
		none(b, err)
		equal(b, "services", []ipvs.ServiceStatus{}, services)
		daemons, err := c.Daemons(ctx)
		none(b, err)
		equal(b, "daemons", []ipvs.Daemon{}, daemons)
		none(b, c.AddService(ctx, webSvc))
		dests, err := c.Destinations(ctx, webID)
		none(b, err)
		equal(b, "destinations", []ipvs.DestinationStatus{}, dests)
	}},
	{name: "destinations of a missing service", run: func(b *bench) {
		if list, err := b.client().Destinations(b.ctx(), webID); !errors.Is(err, fs.ErrNotExist) || list != nil {
			b.Fatalf("%v, %v", list, err)
		}
	}},
	{name: "IPv4-mapped addresses", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		mapped := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: addrPort("[::ffff:10.0.0.1]:80")}
		none(b, c.AddService(ctx, ipvs.Service{ID: mapped, Scheduler: "rr"}))
		none(b, c.AddDestination(ctx, mapped, ipvs.NewDestination(addrPort("[::ffff:10.0.0.2]:80"))))
		equal(b, "services", []string{"6 10.0.0.1:80"}, b.services())
		equal(b, "destinations", []string{"10.0.0.2:80"}, b.dests(tcp("10.0.0.1:80")))
		_, err := c.Destination(ctx, mapped, addrPort("[::ffff:10.0.0.2]:80"))
		none(b, err)
		none(b, c.DeleteDestination(ctx, mapped, addrPort("10.0.0.2:80")))
		none(b, c.DeleteService(ctx, mapped))
	}},
	{name: "a service whose IPv6 address is a mapped one", run: func(b *bench) {
		b.must(cNewService, svc(tcp("[::ffff:10.0.0.1]:80"), conf6("rr")))
		b.must(cNewService, svc(tcp("10.0.0.1:80"), conf("wlc")))
		c, ctx := b.client(), b.ctx()
		list, err := c.Services(ctx)
		none(b, err)
		equal(b, "services", 2, len(list))
		for _, s := range list {
			got, err := c.Service(ctx, s.ID)
			none(b, err)
			equal(b, "service", s, got)
			none(b, c.DeleteService(ctx, s.ID))
		}
		equal(b, "services", 0, len(b.services()))
	}},
	{name: "another family without a tunnel is not sent", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		direct := mixed
		direct.Forward = ipvs.Route
		b.means("direct routing", c.AddDestination(ctx, webID, direct), 0, "fs.ErrInvalid")
		none(b, c.AddDestination(ctx, webID, mixed))
		equal(b, "destinations", []string{rip6}, b.dests(vip))
	}},
	{name: "large weights", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		d := webDest
		none(b, c.AddDestination(ctx, webID, d))
		for _, d.Weight = range []uint32{65535, 65536, 1 << 20, math.MaxInt32} {
			none(b, c.SetDestination(ctx, webID, d))
			got, err := c.Destination(ctx, webID, d.Addr)
			none(b, err)
			equal(b, "weight", d.Weight, got.Weight)
		}
	}},
	{name: "a tunnel survives a change of weight", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		tunnel := ipvs.TunnelOptions{Type: ipvs.GUE, Port: 6080, Flags: ipvs.RemoteChecksum}
		none(b, c.AddDestination(ctx, webID, ipvs.Destination{Addr: addrPort(rip), Forward: ipvs.Tunnel, Weight: 1, Tunnel: tunnel}))
		got, err := c.Destination(ctx, webID, addrPort(rip))
		none(b, err)
		got.Weight = 9
		none(b, c.SetDestination(ctx, webID, got.Destination))
		got, err = c.Destination(ctx, webID, addrPort(rip))
		none(b, err)
		equal(b, "tunnel", tunnel, got.Tunnel)
		equal(b, "weight", uint32(9), got.Weight)
	}},
	{name: "an engine survives a change of timeout", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		s := ipvs.Service{ID: webID, Scheduler: "rr", Flags: ipvs.Persistent, Timeout: time.Minute, PE: "sip"}
		none(b, c.AddService(ctx, s))
		got, err := c.Service(ctx, webID)
		none(b, err)
		got.Timeout = time.Hour
		none(b, c.SetService(ctx, got.Service))
		got, err = c.Service(ctx, webID)
		none(b, err)
		equal(b, "engine", "sip", got.PE)
		equal(b, "timeout", time.Hour, got.Timeout)
	}},
	{name: "the netmask that is not given", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		for id, want := range map[ipvs.ServiceID]string{
			webID: "255.255.255.255", ipvs.Mark(1, ipvs.IPv4): "255.255.255.255", ipvs.Mark(1, ipvs.IPv6): "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			{Protocol: ipvs.UDP, Addr: addrPort("[2001:db8::1]:53")}: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		} {
			none(b, c.AddService(ctx, ipvs.Service{ID: id, Scheduler: "rr", Flags: ipvs.Persistent, Timeout: time.Minute}))
			got, err := c.Service(ctx, id)
			none(b, err)
			equal(b, id.String(), want, got.Netmask.String())
		}
		equal(b, "prefix on the wire", uint64(128), b.service(mark6(1)).number(sNetmask))
	}},
	{name: "flags by mask", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		s := ipvs.Service{ID: webID, Scheduler: "sh", Flags: ipvs.SHPort | ipvs.SHFallback}
		none(b, c.AddService(ctx, s))
		s.Flags, s.FlagMask = ipvs.Persistent, ipvs.Persistent|ipvs.SHPort
		none(b, c.SetService(ctx, s))
		got, err := c.Service(ctx, webID)
		none(b, err)
		equal(b, "flags", ipvs.Persistent|ipvs.SHFallback, got.Flags)
	}},
	{name: "a daemon that is stopped at once", run: func(b *bench) {
		b.device("dm0", 1500)
		c, ctx := b.client(), b.ctx()
		for range 5 {
			for _, state := range []ipvs.DaemonState{ipvs.Master, ipvs.Backup} {
				none(b, c.StartDaemon(ctx, ipvs.Daemon{State: state, Interface: "dm0"}))
				none(b, c.StopDaemon(ctx, state))
			}
		}
		daemons, err := c.Daemons(ctx)
		none(b, err)
		equal(b, "daemons", 0, len(daemons))
	}},
	{name: "no answer is read for another request", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		for range 20 {
			_, err := c.Info(ctx)
			none(b, err)
			_, err = c.Service(ctx, webID)
			b.means("get missing", err, eSRCH, "ErrNoService", "fs.ErrNotExist")
			none(b, c.AddService(ctx, webSvc))
			_, err = c.Timeouts(ctx)
			none(b, err)
			list, err := c.Services(ctx)
			none(b, err)
			equal(b, "services", 1, len(list))
			b.means("add again", c.AddService(ctx, webSvc), eEXIST, "ErrServiceExists", "fs.ErrExist")
			none(b, c.DeleteService(ctx, webID))
		}
	}},
	{name: "eight goroutines with one client", run: func(b *bench) {
		const services, readers = 300, 8
		c, ctx := b.client(), b.ctx()
		b.fill(services)
		start := time.Now()
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				for range b.u.Lists {
					list, err := c.Services(ctx)
					if err != nil || len(list) != services {
						b.Errorf("%d services, %v", len(list), err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.Logf("%d goroutines listed %d services %d times each in %v", readers, services, b.u.Lists, time.Since(start).Round(time.Millisecond))
	}},
	{name: "eight goroutines that change and list", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				id := ipvs.Mark(uint32(g)+1, ipvs.IPv4)
				for range 20 {
					err := errors.Join(
						c.AddService(ctx, ipvs.Service{ID: id, Scheduler: "rr"}), c.AddDestination(ctx, id, webDest),
						c.DeleteDestination(ctx, id, webDest.Addr))
					if _, e := c.Destination(ctx, id, webDest.Addr); !errors.Is(e, ipvs.ErrNoDestination) {
						err = errors.Join(err, errors.New("the destination is still there"), e)
					}
					list, e := c.Services(ctx)
					if !slices.ContainsFunc(list, func(s ipvs.ServiceStatus) bool { return s.ID == id }) {
						err = errors.Join(err, errors.New("the service is not listed"), e)
					}
					if err = errors.Join(err, c.DeleteService(ctx, id)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}},
}
