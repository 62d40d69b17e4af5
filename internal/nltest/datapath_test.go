package nltest

import (
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePath is a data path that counts one connection a second for everything.
type fakePath struct {
	now     time.Time
	start   time.Time
	changes []string
	inUse   bool
}

func (p *fakePath) Changed(c Change) {
	names := map[ChangeKind]string{
		ServiceAdded: "service added", ServiceEdited: "service edited", ServiceDeleted: "service deleted", DestAdded: "added",
		DestRestored: "restored", DestEdited: "edited", DestDeleted: "deleted", DestFreed: "freed", TimeoutsChanged: "timeouts",
	}
	text := []string{names[c.Kind]}
	if c.Service.ID != (ServiceID{}) {
		text = append(text, c.Service.ID.Addr.String(), c.Service.Scheduler)
	}
	if c.Dest.Addr.IsValid() {
		text = append(text, c.Dest.Addr.String(), itoa(int(c.Dest.Weight)))
	}
	if c.Kind == TimeoutsChanged {
		text = append(text, c.Timeouts.UDP.String())
	}
	p.changes = append(p.changes, strings.Join(text, " "))
}

func (p *fakePath) Cleared(string) { p.start = p.now }

func (p *fakePath) Held(namespace string, svc ServiceID, dst netip.AddrPort) bool {
	return p.Conns(namespace, svc, dst).inUse()
}

func (p *fakePath) Advance(now time.Time) { p.now = now }

func (p *fakePath) Conns(_ string, _ ServiceID, dst netip.AddrPort) Conns {
	if !p.inUse {
		return Conns{}
	}
	return Conns{Active: uint32(dst.Port())}
}

func (p *fakePath) Counters(string, ServiceID, netip.AddrPort) Counters {
	return Counters{Conns: uint64(p.now.Sub(p.start) / time.Second)}
}

func (p *fakePath) CPUs(string) []Counters { return []Counters{{Conns: 1}, {Conns: 2}} }

func (p *fakePath) Connections(string) iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		a := netip.MustParseAddrPort("10.0.0.1:1")
		yield(Connection{Protocol: 6, Client: a, Virtual: a, Dest: a, State: "NONE"})
	}
}

func TestDataPath(t *testing.T) {
	path := &fakePath{start: time.Unix(0, 0), now: time.Unix(0, 0), inUse: true}
	k := newKernel(t, &Config{DataPath: path, Start: time.Unix(0, 0)})
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	p.must(SetService, svc(vip, conf("wlc", 0, 0, 0)))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	p.must(SetDest, svc(vip), dst("10.0.0.1:80", full(3, 5, 0, 0)))
	k.Advance(4 * time.Second)
	f := p.getDest(vip, "10.0.0.1:80")
	if s := statsOf(t, f[destStats]); s.u32(1) != 4 || f.u32(destActive) != 80 {
		t.Errorf("%d connections counted, %d active", s.u32(1), f.u32(destActive))
	}
	if got := read(t, ns, "proc/net/ip_vs_stats_percpu"); !strings.Contains(got, "  1        2") || !strings.Contains(got, "  ~        4") {
		t.Errorf("statistics:\n%s", got)
	}
	if got := read(t, ns, "proc/net/ip_vs_conn"); !strings.Contains(got, "0A000001 0001") {
		t.Errorf("connections:\n%s", got)
	}
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	k.Advance(10 * time.Minute) // its connections keep it
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	path.inUse = false
	p.must(SetConfig, u32(topTimeoutUDP, 9))
	p.must(DelService, svc(vip))
	k.Advance(4 * time.Minute)
	want := []string{
		"service added 192.0.2.10:80 rr", "service edited 192.0.2.10:80 wlc",
		"added 192.0.2.10:80 wlc 10.0.0.1:80 1", "edited 192.0.2.10:80 wlc 10.0.0.1:80 5", "deleted 192.0.2.10:80 wlc 10.0.0.1:80 5",
		"restored 192.0.2.10:80 wlc 10.0.0.1:80 1", "timeouts 9s", "deleted 192.0.2.10:80 wlc 10.0.0.1:80 1",
		"service deleted 192.0.2.10:80 wlc", "freed 192.0.2.10:80 wlc 10.0.0.1:80 1",
	}
	if diff := cmp.Diff(want, path.changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// TestLoadWithDataPath checks that counters go on from the loaded ones and that the data path learns of the tables.
func TestLoadWithDataPath(t *testing.T) {
	var saved strings.Builder
	if err := busyKernel(t).Save(&saved); err != nil {
		t.Fatal(err)
	}
	path := &fakePath{}
	k := newKernel(t, &Config{DataPath: path})
	if err := k.Load(strings.NewReader(saved.String())); err != nil {
		t.Fatal(err)
	}
	path.start = k.Now()
	if len(path.changes) != 6 { // the timeouts, four services, one destination
		t.Errorf("changes %q", path.changes)
	}
	before, _ := k.Namespace("").total.view()
	k.Advance(4 * time.Second)
	if after, _ := k.Namespace("").total.view(); after.Sub(before).Conns < 3 || after.Sub(before).Conns > 5 {
		t.Errorf("total went from %+v to %+v", before, after)
	}
}
