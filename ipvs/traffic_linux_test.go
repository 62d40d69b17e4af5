package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
)

// While Apply moves between tables that all serve some addresses, every TCP connection to these is established. In
// between the tables differ in everything that can be changed without a gap: real servers, weights, flags,
// timeouts, and other services. A real server that refuses would be seen, too.
//
// Deleting a real server at once can cut a connection off that is being opened, which the client sees as a timeout; with
// Grace none is.
func TestIntegrationApplyTraffic(t *testing.T) {
	t.Run("at once", func(t *testing.T) { applyTraffic(t, 0, 6*time.Second) })
	t.Run("with grace", func(t *testing.T) { applyTraffic(t, time.Second, 10*time.Second) })
}

func applyTraffic(t *testing.T, grace, lasting time.Duration) {
	nstest.RequireKernel(t)
	const (
		served  = 3 // services that are in every table
		others  = 6 // that are in some
		clients = 3
	)
	lab := nstest.NewLab(t, nstest.LabConfig{Clients: clients, RealServers: 4})
	for i, rs := range lab.RealServers {
		rs.NS.ServeTCP(t, netip.AddrPortFrom(rs.Addr, 80), fmt.Sprint("rs", i))
	}
	if grace > 0 {
		// Persistent clients would otherwise be sent to a real server with weight 0 until it is deleted.
		lab.Director.SetSysctl(t, "net/ipv4/vs/expire_quiescent_template", "1")
	}
	c := dialIntoNS(t, lab.Director)
	r := random(t)
	table := func() Ruleset {
		rs := Ruleset{Services: []ServiceRules{}}
		for i := range served + others {
			if i >= served && r.IntN(2) == 0 {
				continue
			}
			s := ServiceRules{Service: Service{
				ID:        ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(lab.VIP, uint16(80+i))},
				Scheduler: []string{"rr", "wlc", "wrr"}[i%3],
				Flags:     []ServiceFlags{0, Persistent}[r.IntN(2)],
				Timeout:   time.Duration(1+r.IntN(3)) * time.Second,
			}}
			some := false
			for _, j := range r.Perm(len(lab.RealServers)) {
				if some && r.IntN(2) == 0 {
					continue
				}
				d := Destination{Addr: netip.AddrPortFrom(lab.RealServers[j].Addr, 80), Weight: uint32(r.IntN(4))}
				if !some {
					d.Weight++
					some = true
				}
				s.Destinations = append(s.Destinations, d)
			}
			rs.Services = append(rs.Services, s)
		}
		return rs
	}
	if _, err := c.Apply(t.Context(), table(), nil); err != nil {
		t.Fatal(err)
	}

	var established, cut atomic.Int64
	var done atomic.Bool
	var asking sync.WaitGroup
	for i := range clients {
		asking.Go(func() {
			for n := i; !done.Load(); n++ {
				to := netip.AddrPortFrom(lab.VIP, uint16(80+n%served))
				// Each from a port of its own: to a real server, connections to several services look alike.
				from := netip.AddrPortFrom(lab.Clients[i].Addr, uint16(10000+n))
				conn, err := lab.Clients[i].NS.Dial("tcp", from, to)
				if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() && cutOff(t, c, from, to) {
					cut.Add(1)
					continue
				}
				if err != nil {
					t.Errorf("after %d connections, %v to %v: %v", established.Load(), from, to, err)
					return
				}
				established.Add(1)
				_ = conn.Close()
			}
		})
	}
	moves, changes := int64(0), 0
	for end := time.Now().Add(lasting); time.Now().Before(end) && !t.Failed(); moves++ {
		report, err := c.Apply(t.Context(), table(), &ApplyOptions{Grace: grace})
		if err != nil {
			t.Errorf("%v\n%v", err, report)
		}
		changes += len(report.Changes)
	}
	done.Store(true)
	asking.Wait()
	// The test sees what it looks for: without any service a connection is refused.
	must(t, c.Flush(t.Context()))
	if _, err := lab.Clients[0].NS.Dial("tcp", netip.AddrPort{}, netip.AddrPortFrom(lab.VIP, 80)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a service: %v, want connection refused", err)
	}
	leastMoves, mostCut := int64(10), 1+established.Load()/200
	if grace > 0 {
		leastMoves, mostCut = 5, 0
	}
	if moves < leastMoves || established.Load() < 10 || cut.Load() > mostCut {
		t.Errorf("%d connections during %d moves, %d cut off", established.Load(), moves, cut.Load())
	}
	if t.Failed() {
		return
	}
	fmt.Printf("kernel: Apply under traffic, grace %v: %d connections during %d moves with %d changes, none refused, %d cut off while they were opened\n",
		grace, established.Load(), moves, changes, cut.Load())
}

// cutOff reports whether a connection that was not established is that of a destination which is not there any more. If its
// SYN gets lost on the way and the destination is deleted before the client repeats it, the kernel drops the repetitions.
func cutOff(t *testing.T, c *Client, from, to netip.AddrPort) bool {
	list, err := c.Destinations(t.Context(), ServiceID{Protocol: TCP, Addr: to})
	if err != nil {
		t.Error(err)
	}
	for e, err := range c.Connections(t.Context()) {
		if err == nil && e.Client == from {
			t.Logf("%+v", e)
			return !slices.ContainsFunc(list, func(d DestinationStatus) bool { return d.Addr == e.Destination })
		}
	}
	return false
}
