package sched_test

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/sched"
)

// requireICount skips a test that would take hours, unless LVS_ICOUNT=1 says that waiting takes no time here: in a machine
// that counts instructions (bin/vm -icount). Such a machine has one processor. What waits at the same time as others waits
// for less of the kernel's own events: tests are parallel (go test -parallel 8; otherwise as many as there are processors).
func requireICount(t *testing.T) {
	t.Helper()
	if os.Getenv("LVS_ICOUNT") != "1" {
		t.Skip("waits for hours: run it in a machine that counts instructions, with LVS_ICOUNT=1")
	}
	nstest.RequireKernel(t)
	t.Parallel()
}

// newLongDuel is newDuel for hours. Rates, which nobody looks at, are not estimated where that can be switched off: the
// thread that does it wakes up 25 times a second.
func newLongDuel(t *testing.T, kind setting, name string) *duel {
	t.Helper()
	x := newDuel(t, kind, name, 0, nil)
	if nstest.KernelAtLeast(t, 6, 2) {
		x.d.ns.SetSysctl(t, "net/ipv4/vs/run_estimation", "0")
	}
	return x
}

// until sleeps until a time after the start of a duel.
func (x *duel) until(at time.Duration) { time.Sleep(at - x.now()) }

// expiration sets the time after which lblc or lblcr forgets.
func (x *duel) expiration(d time.Duration) {
	x.t.Helper()
	x.d.ns.SetSysctl(x.t, "net/ipv4/vs/"+x.s.Name()+"_expiration", fmt.Sprint(int(d.Seconds())))
	x.s.SetCacheExpiration(d)
}

// markAddr returns one of many addresses that carry the firewall mark.
func markAddr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16 + byte(n>>16), byte(n >> 8), byte(n)})
}

// calls returns a new connection to each address.
func calls(addrs ...netip.Addr) []event {
	var events []event
	for i, a := range addrs {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), 1024)
		events = append(events, event{kind: open, conns: []connID{{client, a}}})
	}
	return events
}

// fullPeriod is the time from one full check of the cache to the next: 30 periods of the timer.
const fullPeriod = 30 * 61440 * time.Millisecond

// checkWindow is when the kernel's nth full check of the cache can be, from the first possible moment to the last. The
// timer's first period is 60 seconds, rounded up to where the kernel's clock comes to a multiple of 512 ticks, which are
// 2.048 seconds. It begins at such a multiple from then on, so that all others are of the same length.
func checkWindow(n int) (first, last time.Duration) {
	others := time.Duration(n)*fullPeriod - fullPeriod/30
	return others + 60*time.Second, others + 62100*time.Millisecond
}

// TestIntegrationICountCacheExpiry lets the caches of lblc and lblcr grow old for an hour, with random connections and
// changes. Nothing happens while kernel and model could differ: not when a full check may be due, nor at the times which
// lie one expiration before.
func TestIntegrationICountCacheExpiry(t *testing.T) {
	requireICount(t)
	seed := seed(t)
	const end = 65 * time.Minute // two full checks
	// Events are at full ten seconds, and no difference of two of them is near an expiration.
	for name, expiration := range map[string]time.Duration{"lblc": 1205 * time.Second, "lblcr": 305 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &generator{Rand: random(seed, name), seen: make(map[connID]bool), heavy: 5, unit: 1, limited: 25}
			g.setting.mark, g.setting.sloppy = true, true
			g.name = name
			for i := range 200 {
				g.dests = append(g.dests, markAddr(i))
				g.clients = append(g.clients, netip.AddrFrom4([4]byte{11, 0, 0, byte(i)}))
			}
			x := newLongDuel(t, g.setting, name)
			x.expiration(expiration)
			fresh := 1
			for ; fresh <= 8; fresh++ {
				g.present = append(g.present, fresh)
				g.add(event{kind: addServer, server: fresh, settings: g.settings()})
			}
			forgotten := 0
			for at := 10 * time.Second; at < end; at += time.Duration(1+g.IntN(12)) * 10 * time.Second {
				if !settled(at, expiration) {
					continue
				}
				x.until(at)
				before := x.cached()
				x.s.Advance(x.now())
				forgotten += max(0, before-x.cached())
				g.open(1 + g.IntN(10))
				switch g.IntN(8) {
				case 0:
					g.set()
				case 1:
					g.remove()
					g.present = append(g.present, fresh) // never one that the kernel may have forgotten
					g.add(event{kind: addServer, server: fresh, settings: g.settings()})
					fresh++
				case 2, 3, 4:
					for range g.IntN(20) {
						g.on(fin)
					}
				}
				if err := x.play(g.events); err != nil {
					t.Fatalf("LVS_SEED=%d, %v after the start: %v", seed, at, err)
				}
				if late := x.now() - at; late > 4*time.Second {
					t.Fatalf("what is to happen in no time took %v", late)
				}
				g.events = nil
			}
			if forgotten == 0 {
				t.Error("no entry of the cache was forgotten")
			}
			t.Logf("%d picks, %d entries forgotten", x.total(), forgotten)
			fmt.Printf("differential: %s with expiration %v %d picks, 0 differences on Linux %s\n", name, expiration, x.total(), release(t))
		})
	}
}

// settled reports whether neither a check nor, at a check, the age of what is used now could be taken in two ways.
func settled(at, expiration time.Duration) bool {
	const margin = 6 * time.Second
	for n := 1; ; n++ {
		first, last := checkWindow(n)
		if first-expiration-margin > at {
			return true
		}
		if at > first-margin && at < last+margin || at > first-expiration-margin && at < last-expiration+margin {
			return false
		}
	}
}

// cached returns how often entries of the cache name a server.
func (x *duel) cached() int {
	n := 0
	for _, d := range x.servers {
		n += d.Cached()
	}
	return n
}

func (x *duel) total() int {
	n := 0
	for _, picks := range x.picks {
		n += picks
	}
	return n
}

// TestIntegrationICountCacheTimer finds out when the kernel looks for old entries, twice, and when the model does: every
// second, another address is called, whose entry is old enough. If the entry is gone, the address has the newest server.
func TestIntegrationICountCacheTimer(t *testing.T) {
	requireICount(t)
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newLongDuel(t, setting{mark: true, udp: true, ops: true}, name)
			x.expiration(100 * time.Second)
			add := func(n int) {
				t.Helper()
				if err := x.play([]event{{kind: addServer, server: n, settings: sched.Settings{Weight: 1}}}); err != nil {
					t.Fatal(err)
				}
			}
			// call calls an address and returns the servers that the kernel and the model pick.
			call := func(addr netip.Addr) (kernel, model *sched.Server) {
				t.Helper()
				x.follow = func(d *sched.Server) error {
					kernel, model = d, x.s.Pick(sched.Flow{Destination: addr}, x.now())
					return nil
				}
				if err := x.play(calls(addr)); err != nil {
					t.Fatal(err)
				}
				return kernel, model
			}
			var before time.Duration
			for n := 1; n <= 2; n++ {
				add(n)
				first, last := checkWindow(n)
				begin := first - 2*time.Minute
				probes := int((last-begin)/time.Second) + 2
				x.until(begin - 5*time.Minute)
				for i := range probes {
					call(markAddr(1000*n + i))
				}
				add(n + 1) // comes first from now on
				newest := x.servers[n+1]
				var kernelAt, modelAt time.Duration
				for i := range probes {
					at := begin + time.Duration(i)*time.Second
					x.until(at)
					kernel, model := call(markAddr(1000*n + i))
					if kernel == newest && kernelAt == 0 {
						kernelAt = at
					}
					if model == newest && modelAt == 0 {
						modelAt = at
					}
				}
				if kernelAt < first || kernelAt > last+time.Second || modelAt < first || modelAt > last+time.Second {
					t.Errorf("check %d was in the second before %v, that of the model before %v; want both from %v to %v", n, kernelAt, modelAt, first, last)
				}
				if n == 2 && (kernelAt-before-fullPeriod).Abs() > time.Second {
					t.Errorf("%v from check to check, want %v, give or take a second", kernelAt-before, fullPeriod)
				}
				before = kernelAt
				t.Logf("full check %d was in the second before %v, that of the model before %v", n, kernelAt, modelAt)
			}
		})
	}
}

// TestIntegrationICountCacheLimits fills the cache: at 24,576 entries no more are stored, and while there are more than
// 16,384 those that have not been used for six minutes go, up to 8,192 at once, in the order of the buckets.
func TestIntegrationICountCacheLimits(t *testing.T) {
	requireICount(t)
	const limit = 24576
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newLongDuel(t, setting{mark: true, udp: true, ops: true}, name)
			play := func(events ...event) {
				t.Helper()
				if err := x.play(events); err != nil {
					t.Fatal(err)
				}
			}
			var addrs []netip.Addr
			for i := range limit + 50 {
				addrs = append(addrs, markAddr(i))
			}
			play(event{kind: addServer, server: 1, settings: sched.Settings{Weight: 1}})
			// Six minutes after the first of these, timers of both have run six times, and after the last not seven times.
			x.until(15 * time.Second)
			play(calls(addrs...)...)
			if x.now() > 55*time.Second {
				t.Fatalf("filling the cache took until %v", x.now())
			}
			if x.cached() != limit {
				t.Errorf("the model has %d entries", x.cached())
			}
			play(event{kind: addServer, server: 2, settings: sched.Settings{Weight: 1}}) // comes first from now on
			play(calls(addrs[limit-50:]...)...)
			x.until(455 * time.Second) // timers of both have run seven times
			x.s.Advance(x.now())
			if n := limit - x.cached(); n < 8192 || n > 8192+100 {
				t.Errorf("the model forgot %d entries", n)
			}
			play(calls(addrs...)...)
			fmt.Printf("differential: %s with a full cache %d picks, 0 differences on Linux %s\n", name, x.total(), release(t))
		})
	}
}
