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
	var moved history
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
				begin := time.Now()
				conn, err := connect(t, lab.Clients[i].NS, from, to)
				if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
					state, isCut := cutOff(t, c, &moved, from, to, begin)
					if isCut {
						t.Logf("%v to %v was cut off: %s", from, to, state)
						cut.Add(1)
						continue
					}
					err = fmt.Errorf("%w: %s", err, state)
				}
				if err != nil {
					t.Errorf("after %d connections, %v to %v, %v after its begin: %v", established.Load(), from, to, time.Since(begin), err)
					return
				}
				established.Add(1)
				_ = conn.Close()
			}
		})
	}
	leastMoves := int64(10)
	if grace > 0 {
		leastMoves = 5
	}
	moves, changes := int64(0), 0
	start := time.Now()
	// On a slow machine it takes longer until enough has happened to say something.
	more := func() bool {
		few := moves < leastMoves || established.Load() < 10
		took := time.Since(start)
		return !t.Failed() && (took < lasting || few && took < lasting+time.Minute)
	}
	for ; more(); moves++ {
		next := table()
		moved.begin(next)
		report, err := c.Apply(t.Context(), next, &ApplyOptions{Grace: grace})
		moved.end()
		if err != nil {
			t.Errorf("%v\n%v", err, report)
		}
		changes += len(report.Changes)
	}
	lasted := time.Since(start)
	done.Store(true)
	asking.Wait()
	// The test sees what it looks for: without any service a connection is refused.
	must(t, c.Flush(t.Context()))
	if _, err := lab.Clients[0].NS.Dial("tcp", netip.AddrPort{}, netip.AddrPortFrom(lab.VIP, 80)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a service: %v, want connection refused", err)
	}
	mostCut := 1 + established.Load()/200
	if grace > 0 {
		mostCut = 0
	}
	if moves < leastMoves || established.Load() < 10 || cut.Load() > mostCut {
		t.Errorf("%d connections, want 10, during %d moves, want %d, in %v; %d cut off, at most %d may be",
			established.Load(), moves, leastMoves, lasted, cut.Load(), mostCut)
	}
	if t.Failed() {
		return
	}
	fmt.Printf("kernel: Apply under traffic, grace %v: %d connections during %d moves with %d changes, none refused, %d cut off while they were opened\n",
		grace, established.Load(), moves, changes, cut.Load())
}

// connect opens a TCP connection. It has time enough for some repetitions of what a machine that stands still loses.
func connect(t *testing.T, ns *nstest.NS, from, to netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: 12 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(from)}
	d.SetMultipathTCP(false)
	ns.Do(t, func() { conn, err = d.Dial("tcp", to.String()) })
	return conn, err
}

// history is the tables that were applied, and when.
type history struct {
	mu   sync.Mutex
	list []move
}

type move struct {
	table      Ruleset
	begin, end time.Time // of Apply; end is zero until it has returned
}

func (h *history) begin(table Ruleset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, move{table: table, begin: time.Now()})
}

func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list[len(h.list)-1].end = time.Now()
}

// absent reports whether a destination may have been missing in a service at some time since then.
func (h *history) absent(id ServiceID, dest netip.AddrPort, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.list {
		if i+1 < len(h.list) && !h.list[i+1].end.IsZero() && h.list[i+1].end.Before(since) {
			continue // the next table was there by then
		}
		for _, s := range h.list[i].table.Services {
			if s.ID == id && !slices.ContainsFunc(s.Destinations, func(d Destination) bool { return d.Addr == dest }) {
				return true
			}
		}
	}
	return false
}

// cutOff reports whether a connection that was not established is that of a destination which was deleted meanwhile. If its
// SYN gets lost on the way and the destination is deleted before the client repeats it, the kernel drops the repetitions.
// The state is what there is to see.
func cutOff(t *testing.T, c *Client, h *history, from, to netip.AddrPort, begin time.Time) (state string, is bool) {
	id := ServiceID{Protocol: TCP, Addr: to}
	list, err := c.Destinations(t.Context(), id)
	if err != nil {
		t.Error(err)
	}
	for _, d := range list {
		state += fmt.Sprintf("\n  %v weight %d", d.Addr, d.Weight)
	}
	for e, err := range c.Connections(t.Context()) {
		if err == nil && e.Client == from {
			absent := h.absent(id, e.Destination, begin)
			return fmt.Sprintf("%+v, whose destination was deleted meanwhile: %v; now there are%s", e, absent, state), absent
		}
	}
	return "no connection in the table; now there are" + state, false
}
