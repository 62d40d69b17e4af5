package sim

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/golvs/lvs/sched"
)

// A departure is the end of a connection: a time in nanoseconds and what it is the end of.
type departure struct {
	at int64
	id uint32
}

// departures is a heap with four children to a node.
type departures []departure

func (h *departures) push(d departure) {
	*h = append(*h, d)
	s := *h
	i := len(s) - 1
	for i > 0 {
		p := (i - 1) / 4
		if s[p].at <= d.at {
			break
		}
		s[i] = s[p]
		i = p
	}
	s[i] = d
}

func (h *departures) pop() departure {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	i := 0
	for {
		c := 4*i + 1
		if c >= len(s) {
			break
		}
		for k := c + 1; k < min(c+4, len(s)); k++ {
			if s[k].at < s[c].at {
				c = k
			}
		}
		if last.at <= s[c].at {
			break
		}
		s[i] = s[c]
		i = c
	}
	if len(s) > 0 {
		s[i] = last
	}
	return top
}

// Load of the benchmarks: Poisson arrivals, exponential holding times.
const benchServers = 1000

// size is the number of connections of a run: LVS_BENCH_CONNS, or a number that keeps an ordinary run short.
func size() int {
	if n, err := strconv.Atoi(os.Getenv("LVS_BENCH_CONNS")); err == nil && n > 0 {
		return n
	}
	return 1_000_000
}

// arrivals yields times of arrival and departure with so many connections at once on average, in nanoseconds.
func arrivals(n, atOnce int) func(yield func(arrival, departure int64) bool) {
	return func(yield func(int64, int64) bool) {
		r := rand.New(rand.NewPCG(1, 2))
		const rate = 1000.0 // per second
		hold := float64(atOnce) / rate
		now := 0.0
		for range n {
			now += r.ExpFloat64() / rate
			if !yield(int64(now*1e9), int64((now+hold*r.ExpFloat64())*1e9)) {
				return
			}
		}
	}
}

// BenchmarkBaseline is the straightforward version: a heap of pointers and a walk over all servers for each connection.
func BenchmarkBaseline(b *testing.B) {
	b.ReportAllocs()
	n := size()
	start := cpuTime()
	for b.Loop() {
		servers := make([]*baseServer, benchServers)
		for i := range servers {
			servers[i] = &baseServer{weight: int64(1 + i%3)}
		}
		var h baseHeap
		for at, gone := range arrivals(n, 100_000) {
			for len(h) > 0 && h[0].at <= at {
				heap.Pop(&h).(*baseConn).server.active--
			}
			best := servers[0]
			for _, s := range servers[1:] {
				if (s.active*257+s.inactive)*best.weight < (best.active*257+best.inactive)*s.weight {
					best = s
				}
			}
			best.active++
			heap.Push(&h, &baseConn{gone, best})
		}
	}
	perConn(b, n, cpuTime()-start)
}

type baseServer struct{ active, inactive, weight int64 }

type baseConn struct {
	at     int64
	server *baseServer
}

type baseHeap []*baseConn

func (h baseHeap) Len() int           { return len(h) }
func (h baseHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h baseHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *baseHeap) Push(x any)        { *h = append(*h, x.(*baseConn)) }
func (h *baseHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}

// perConn reports the processor's time for each connection, which other load of the machine disturbs less than the time
// that passes.
func perConn(b *testing.B, n int, used time.Duration) {
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/conn")
}

// BenchmarkSchedule is scheduling alone.
func BenchmarkSchedule(b *testing.B) {
	b.ReportAllocs()
	n := size()
	start := cpuTime()
	for b.Loop() {
		s, err := sched.New("wlc", sched.Config{})
		if err != nil {
			b.Fatal(err)
		}
		servers := make([]*sched.Server, benchServers)
		for i := range servers {
			servers[i], err = s.Add(benchServer(i), sched.Settings{Weight: int32(1 + i%3)})
			if err != nil {
				b.Fatal(err)
			}
			servers[i].Data = uint32(i)
		}
		var h departures
		for at, gone := range arrivals(n, 100_000) {
			for len(h) > 0 && h[0].at <= at {
				servers[h.pop().id].Close(sched.Active)
			}
			t := s.Pick(sched.Flow{}, time.Duration(at))
			t.Open(sched.Active)
			h.push(departure{gone, t.Data.(uint32)})
		}
	}
	perConn(b, n, cpuTime()-start)
}

func benchServer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
}

// benchDirector has a service by address, and for a tenth of the clients a persistent one.
func benchDirector(b testing.TB) (*Director, [2]ServiceID) {
	d := New(nil)
	ids := [2]ServiceID{
		{Protocol: TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")},
		{Protocol: TCP, Addr: netip.MustParseAddrPort("192.0.2.2:80")},
	}
	for i, id := range ids {
		s := Service{ID: id, Scheduler: "wlc"}
		if i == 1 {
			s.Flags, s.Timeout = Persistent, 300*time.Second
		}
		if err := d.AddService(s); err != nil {
			b.Fatal(err)
		}
		for i := range benchServers {
			if err := d.AddDest(id, Dest{Addr: benchServer(i), Method: Route, Weight: uint32(1 + i%3)}); err != nil {
				b.Fatal(err)
			}
		}
	}
	// Connections are in the table for as long as they are held, and then for the ten seconds of CLOSE.
	return d, ids
}

// benchFlow is a connection of the benchmark in as little memory as possible, whose use is not the director's.
type benchFlow struct {
	client     [3]byte
	persistent bool
	port       uint16
}

func (f benchFlow) flow(ids [2]ServiceID) Flow {
	virtual := ids[0].Addr
	if f.persistent {
		virtual = ids[1].Addr
	}
	client := netip.AddrFrom4([4]byte{20, f.client[0], f.client[1], f.client[2]})
	return Flow{Protocol: TCP, Virtual: virtual, Client: netip.AddrPortFrom(client, f.port)}
}

// drive lets n connections come and go: a SYN, an ACK, and at the end a RST.
func drive(d *Director, ids [2]ServiceID, n, atOnce int) {
	r := rand.New(rand.NewPCG(3, 4))
	var h departures
	flows := make([]benchFlow, 0, 2*atOnce) // of those that are open
	var free []uint32
	for at, gone := range arrivals(n, atOnce) {
		for len(h) > 0 && h[0].at <= at {
			x := h.pop()
			d.Advance(time.Duration(x.at))
			d.Packet(Packet{Flow: flows[x.id].flow(ids), TCP: RST})
			free = append(free, x.id)
		}
		d.Advance(time.Duration(at))
		u := r.Uint64()
		f := benchFlow{[3]byte{byte(u >> 8), byte(u >> 16), byte(u >> 24)}, u%10 == 0, uint16(u>>32) | 1024}
		d.Open(f.flow(ids))
		d.Packet(Packet{Flow: f.flow(ids), TCP: ACK})
		var slot uint32
		if k := len(free); k > 0 {
			slot = free[k-1]
			free = free[:k-1]
			flows[slot] = f
		} else {
			slot = uint32(len(flows))
			flows = append(flows, f)
		}
		h.push(departure{gone, slot})
	}
}

// BenchmarkDirector is the whole director: states, timers, templates for a tenth of the clients, counters.
func BenchmarkDirector(b *testing.B) {
	for _, atOnce := range []int{10_000, 100_000, 1_000_000} {
		b.Run("at once "+strconv.Itoa(atOnce), func(b *testing.B) {
			b.ReportAllocs()
			n := max(size(), 2*atOnce)
			var bytes float64
			var used time.Duration
			for b.Loop() {
				d, ids := benchDirector(b)
				b.StopTimer()
				before := heapInUse()
				b.StartTimer()
				start := cpuTime()
				drive(d, ids, n, atOnce)
				used += cpuTime() - start
				b.StopTimer()
				conns, _ := d.Len()
				bytes = float64(heapInUse()-before) / float64(conns)
				runtime.KeepAlive(d)
				b.StartTimer()
			}
			perConn(b, n, used)
			b.ReportMetric(bytes, "bytes/live")
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(min(m.HeapAlloc, math.MaxInt64))
}
