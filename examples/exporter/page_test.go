package main

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// published returns the text of a page that got this table, without what belongs to the scrape.
func published(t *testing.T, p *page, s *ipvs.Snapshot) string {
	t.Helper()
	p.clear()
	p.put(ipvs.Info{}, s, ipvs.Stats{})
	var b strings.Builder
	if err := writeFamilies(&b, p.filled()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A page that has seen other tables shows the same as one that has not, whatever came, went and changed, and in whatever order
// the kernel has it.
func TestPageFollows(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := limits{services: 1 + r.IntN(8), destinations: r.IntN(12), rates: r.IntN(2) == 0}
		p := newPage(l)
		for step := range 50 {
			s := randomTable(r)
			want := published(t, newPage(l), s)
			slices.Reverse(s.Services)
			for _, v := range s.Services {
				slices.Reverse(v.Destinations)
			}
			if diff := cmp.Diff(want, published(t, p, s)); diff != "" {
				t.Fatalf("seed %d, step %d (-new page +used one):\n%s", seed, step, diff)
			}
		}
	}
}

// randomTable has some of ten services, with some of four destinations each, in any order.
func randomTable(r *rand.Rand) *ipvs.Snapshot {
	s := &ipvs.Snapshot{Agreed: r.IntN(2) == 0}
	for i := range 10 {
		if r.IntN(3) == 0 {
			continue
		}
		id := ipvs.Mark(uint32(1+i), ipvs.IPv4)
		if i%2 == 0 {
			id = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 80)}
		}
		var v ipvs.ServiceSnapshot
		v.ID, v.Scheduler, v.Flags = id, []string{"rr", "wlc"}[r.IntN(2)], ipvs.ServiceFlags(r.IntN(2))
		v.Stats.InBytes = r.Uint64N(1000)
		for j := range 4 {
			if r.IntN(2) == 0 {
				var d ipvs.DestinationStatus
				d.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(j)}), 80)
				d.Weight, d.Forward, d.Active = r.Uint32N(3), ipvs.ForwardMethod(r.IntN(2)), r.Uint32N(100)
				v.Destinations = append(v.Destinations, d)
			}
		}
		r.Shuffle(len(v.Destinations), func(i, j int) { v.Destinations[i], v.Destinations[j] = v.Destinations[j], v.Destinations[i] })
		s.Services = append(s.Services, v)
	}
	r.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
	return s
}

// A scrape of services and destinations that were there before allocates for neither.
func TestPageAllocations(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	addTable(t, c)
	s, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(plenty)
	n := testing.AllocsPerRun(3, func() {
		p.clear()
		p.put(ipvs.Info{}, &s, ipvs.Stats{})
	})
	if n > 50 {
		t.Errorf("%v allocations for 1,000 services with 10,000 destinations", n)
	}
}

// What stays keeps its samples, and what has gone is not kept in memory.
func TestPageKeeps(t *testing.T) {
	p := newPage(plenty)
	s := randomTable(rand.New(rand.NewPCG(1, 1)))
	published(t, p, s)
	before := slices.Clone(p.rows)
	middle := before[len(before)/2]
	s.Services = slices.DeleteFunc(s.Services, func(v ipvs.ServiceSnapshot) bool { return v.ID == middle.id })
	published(t, p, s)
	if want := slices.DeleteFunc(before, func(r *serviceRow) bool { return r == middle }); len(before) < 3 || !slices.Equal(p.rows, want) {
		t.Errorf("rows %v, want %v", p.rows, want)
	}

	gone := make(chan bool, 1)
	runtime.AddCleanup(&p.rows[len(p.rows)-1].row[0], func(ch chan bool) { ch <- true }, gone)
	before, s.Services = nil, nil
	published(t, p, s)
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(p)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the samples of a service that has gone are still there")
}

// Text from the kernel that is no UTF-8 does not spoil a page.
func TestPageInvalidText(t *testing.T) {
	s := &ipvs.Snapshot{Daemons: []ipvs.Daemon{{State: ipvs.Master, Interface: "et\xffh"}}}
	var v ipvs.ServiceSnapshot
	v.ID, v.Scheduler = web, "r\"r\n\xfe"
	s.Services = append(s.Services, v)
	got := published(t, newPage(plenty), s)
	for _, want := range []string{"interface=\"et\uFFFDh\"", "scheduler=\"r\\\"r\\n\uFFFD\""} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// Twenty thousand services by mark make no more series than the limits allow, and are counted.
func TestPageManyMarks(t *testing.T) {
	s := &ipvs.Snapshot{Services: make([]ipvs.ServiceSnapshot, 20000)}
	for i := range s.Services {
		s.Services[i].ID = ipvs.Mark(uint32(20000-i), ipvs.IPv4)
		s.Services[i].Destinations = make([]ipvs.DestinationStatus, 1)
		s.Services[i].Destinations[0].Addr = rip1
	}
	p := newPage(limits{services: 1000, destinations: 300})
	got := published(t, p, s)
	for want, n := range map[string]int{
		"\nlvs_service_connections_total{":                       1000,
		"\nlvs_service_info{":                                    1000,
		"\nlvs_destination_weight{":                              300,
		"\nlvs_services 20000\n":                                 1,
		"\nlvs_destinations 20000\n":                             1,
		"\nlvs_omitted{kind=\"service\"} 19000\n":                1,
		"\nlvs_omitted{kind=\"destination\"} 19700\n":            1,
		"lvs_service_incoming_bytes_total{service=\"FWM 1000\"}": 1,
		"lvs_service_incoming_bytes_total{service=\"FWM 1001\"}": 0,
	} {
		if c := strings.Count(got, want); c != n {
			t.Errorf("%d of %q, want %d", c, want, n)
		}
	}
}
