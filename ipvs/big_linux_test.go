package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/nstest"
)

// bigRuleset has services of so many destinations each, all different.
func bigRuleset(services, dests int) Ruleset {
	at := func(first byte, i int) netip.Addr {
		return netip.AddrFrom4([4]byte{first, byte(1 + i>>16), byte(i >> 8), byte(i)})
	}
	r := Ruleset{Services: make([]ServiceRules, services)}
	for i := range r.Services {
		s := &r.Services[i]
		s.ID = ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(at(10, i), 80)}
		s.Scheduler = "wlc"
		for j := range dests {
			s.Destinations = append(s.Destinations, Destination{Addr: netip.AddrPortFrom(at(11, i*dests+j), 8080), Forward: Route, Weight: 1})
		}
	}
	return r
}

// allocated returns how often and how much f allocates. As nothing is taken back in between, that is a bound for the
// memory that f needs at any moment beside what it found.
func allocated(f func()) (times, bytes uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
}

// A table of 10,000 services and 100,000 destinations needs little memory, and none for an object that is in the memory
// of an earlier picture, or in an Apply that finds nothing to do.
func TestIntegrationBigTable(t *testing.T) {
	nstest.RequireKernel(t)
	const services, dests = 10_000, 10
	ctx := t.Context()
	_, c := dialNS(t)
	want := bigRuleset(services, dests)
	changes := Diff(Ruleset{}, want, nil)
	times, _ := allocated(func() {
		_, err := c.Do(ctx, changes)
		must(t, err)
	})
	if times > services {
		t.Errorf("Do allocates %d times for %d objects", times, len(changes))
	}
	changes = nil
	var s Snapshot
	times, bytes := allocated(func() {
		var err error
		s, err = c.Snapshot(ctx)
		must(t, err)
	})
	if times > services || bytes > 64<<20 {
		t.Errorf("Snapshot allocates %d bytes in %d pieces for %d services of %d destinations", bytes, times, services, dests)
	}
	again, _ := allocated(func() { must(t, c.SnapshotInto(ctx, &s)) })
	if again > services/10 {
		t.Errorf("the second Snapshot allocates %d times for %d services", again, services)
	}
	if have := (Ruleset{Services: s.Ruleset().Services}); !have.Equal(want) {
		t.Errorf("the table is not what was written: %d services of %d, agreed: %v", len(s.Services), services, s.Agreed)
	}
	// Nobody changes this table; what goes with other namespaces, of programs that have ended, can disturb a list.
	for begin := time.Now(); !s.Agreed; must(t, c.SnapshotInto(ctx, &s)) {
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("no two lists of a table that nobody changes agree for %v", took)
			break
		}
	}
	equal, _ := allocated(func() {
		r, err := c.Apply(ctx, want, nil)
		if err != nil || len(r.Changes) != 0 {
			t.Errorf("Apply of an equal table: %d changes, %v", len(r.Changes), err)
		}
	})
	if equal > 400 { // 276 were measured
		t.Errorf("Apply of an equal table allocates %d times for %d objects", equal, services*(1+dests))
	}
	must(t, c.Flush(ctx))
	fmt.Printf("kernel: Snapshot of 10,000 × 10: %.1f MiB in %d pieces, again in %d; an equal Apply %d\n", float64(bytes)/(1<<20), times, again, equal)
}

// Nobody but the kernel can send to a client's socket: what looks like an answer is one.
func TestIntegrationOnlyKernelSends(t *testing.T) {
	nstest.RequireKernel(t)
	ns, c := dialNS(t)
	if !c.link.io.alone {
		t.Fatal("the socket is open to everybody")
	}
	var port uint32
	must(t, c.link.raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		must(t, err)
		port = sa.(*unix.SockaddrNetlink).Pid
	}))
	send := func(port uint32) (err error) {
		ns.Do(t, func() {
			var fd int
			if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC); err != nil {
				return
			}
			defer func() { _ = unix.Close(fd) }()
			forged := beginMessage(nil, nlmsgError, 0, c.link.seq+1, 0)
			finishMessage(forged, 0)
			err = unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port})
		})
		return err
	}
	if err := send(port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("sending to the client: %v, want connection refused", err)
	}
	// The same arrives at a socket that is open to others.
	var open int
	ns.Do(t, func() {
		var err error
		open, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
		must(t, err)
		must(t, unix.Bind(open, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	})
	defer func() { _ = unix.Close(open) }()
	sa, err := unix.Getsockname(open)
	must(t, err)
	must(t, send(sa.(*unix.SockaddrNetlink).Pid))
	_, err = c.Info(t.Context())
	must(t, err)
}
