package ipvs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nltest"
)

// randomRuleset returns a well-formed table. Identities come from a small set, so that two tables have much in common.
func randomRuleset(r *rand.Rand) Ruleset {
	t := Timeouts{TCP: time.Duration(1+r.IntN(3)) * 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}
	rs := Ruleset{Services: []ServiceRules{}, Daemons: []Daemon{}, Timeouts: &t}
	mixed := false
	for i := range 24 {
		if r.IntN(3) == 0 {
			continue
		}
		s := ServiceRules{Destinations: []Destination{}}
		family := []Family{IPv4, IPv6}[r.IntN(2)]
		switch i % 3 {
		case 0:
			s.ID = Mark(uint32(1+i), family)
		case 1:
			s.ID = ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(r.IntN(2)*80))}
		case 2:
			s.ID = ServiceID{Protocol: []Protocol{UDP, SCTP}[r.IntN(2)], Addr: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)), 53)}
		}
		s.Scheduler = []string{"rr", "wlc", "sh", "mh", "none"}[r.IntN(5)]
		s.Flags = []ServiceFlags{0, Persistent, Persistent | Sched1, OnePacket, 0x40000000 | Sched2}[r.IntN(5)]
		s.Timeout = time.Duration(r.IntN(3)*100) * time.Second
		if r.IntN(4) == 0 {
			s.PE = "sip"
		}
		if r.IntN(2) == 0 {
			s.Netmask = MaskBits(s.ID.AddrFamily(), 1+r.IntN(32))
		}
		for j := range r.IntN(40) {
			d := Destination{Forward: ForwardMethod(r.IntN(5)), Weight: uint32(r.IntN(4))}
			addr := netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)})
			if s.ID.AddrFamily() == IPv6 {
				addr = netip.MustParseAddr(fmt.Sprintf("fd00::%x:%x", i, j))
			}
			if r.IntN(50) == 0 {
				d.Forward, mixed = Tunnel, true
				if addr.Is4() {
					addr = netip.MustParseAddr(fmt.Sprintf("fd00::4:%x:%x", i, j))
				} else {
					addr = netip.AddrFrom4([4]byte{10, 6, byte(i), byte(j)})
				}
			}
			d.Addr = netip.AddrPortFrom(addr, 80)
			if r.IntN(3) == 0 {
				d.UpperThreshold = uint32(r.IntN(100))
				d.LowerThreshold = uint32(r.IntN(int(d.UpperThreshold) + 1))
			}
			if r.IntN(5) == 0 {
				d.Tunnel = TunnelOptions{Type: TunnelType(r.IntN(3)), Port: uint16(1 + r.IntN(9)), Flags: TunnelFlags(r.IntN(4))}
			}
			s.Destinations = append(s.Destinations, d)
		}
		rs.Services = append(rs.Services, s)
	}
	if !mixed && r.IntN(2) == 0 {
		rs.Daemons = append(rs.Daemons, Daemon{State: DaemonState(1 + r.IntN(2)), Interface: "lo", SyncID: uint32(r.IntN(256))})
	}
	return rs
}

// After Apply the table is the wanted one in every attribute, and a second Apply has nothing to do.
func TestApplyRandom(t *testing.T) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		_, c := newKernel(t, nil)
		for range 4 {
			want := randomRuleset(r)
			report, err := c.Apply(ctx, want, nil)
			if err != nil {
				t.Fatalf("%v\n%v", err, report)
			}
			have, err := c.Ruleset(ctx)
			must(t, err)
			if !have.Equal(want) {
				t.Fatalf("after Apply (-want +got):\n%s", cmp.Diff(want.normal(true), have.normal(true), equateAddrs))
			}
			if report, err := c.Apply(ctx, want, nil); err != nil || len(report.Changes) != 0 {
				t.Fatalf("a second Apply: %v\n%v", err, report)
			}
			report, err = c.Apply(ctx, want, &ApplyOptions{DiffOptions: DiffOptions{KeepOrder: true}})
			must(t, err)
			have, err = c.Ruleset(ctx)
			must(t, err)
			for i := range have.Services {
				j := slices.IndexFunc(want.Services, func(s ServiceRules) bool { return s.ID == have.Services[i].ID })
				if !slices.Equal(have.Services[i].Destinations, want.Services[j].Destinations) {
					t.Fatalf("order of %v:\n%v", have.Services[i].ID, report)
				}
			}
		}
	}
}

// In every state between two tables a service that has destinations before and after has one, and its capacity is not
// below the smaller of the two.
func TestDiffCapacity(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		have, want := randomRuleset(r), randomRuleset(r)
		type load struct {
			dests  int
			weight uint64
		}
		sum := func(list []Destination) (l load) {
			for _, d := range list {
				l.dests++
				l.weight += uint64(d.Weight)
			}
			return l
		}
		before, after := map[ServiceID]load{}, map[ServiceID]load{}
		state := map[ServiceID]map[netip.AddrPort]uint32{}
		for _, s := range have.Services {
			before[s.ID] = sum(s.Destinations)
			state[s.ID] = map[netip.AddrPort]uint32{}
			for _, d := range s.Destinations {
				state[s.ID][d.Addr] = d.Weight
			}
		}
		for _, s := range want.Services {
			after[s.ID] = sum(s.Destinations)
		}
		for i, c := range Diff(have, want, nil) {
			id := c.Service.ID
			switch c.Kind {
			case ServiceAdd:
				state[id] = map[netip.AddrPort]uint32{}
			case ServiceDelete:
				delete(state, id)
			case DestinationAdd, DestinationSet:
				state[id][c.Destination.Addr] = c.Destination.Weight
			case DestinationDelete:
				delete(state[id], c.Destination.Addr)
			}
			b, ok := before[id]
			a, ok2 := after[id]
			if !ok || !ok2 {
				continue
			}
			var now load
			for _, w := range state[id] {
				now.dests++
				now.weight += uint64(w)
			}
			if now.dests < min(a.dests, b.dests) || now.weight < min(a.weight, b.weight) {
				t.Fatalf("after change %d, %v: %+v, while before %+v and after %+v", i, c, now, b, a)
			}
		}
	}
}

func TestDiffOptions(t *testing.T) {
	ctx := t.Context()
	_, c := newKernel(t, nil)
	other := ServiceID{Protocol: UDP, Addr: web.Addr}
	d := func(n byte, weight uint32) Destination {
		return Destination{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80), Weight: weight}
	}
	service := func(id ServiceID, dests ...Destination) ServiceRules {
		return ServiceRules{Service{ID: id, Scheduler: "rr"}, dests}
	}
	have := Ruleset{Services: []ServiceRules{service(web, d(1, 1), d(2, 2)), service(other, d(3, 3))}}
	if _, err := c.Apply(ctx, have, nil); err != nil {
		t.Fatal(err)
	}
	want := Ruleset{Services: []ServiceRules{service(web, d(1, 5), d(4, 4))}}
	tests := map[string]struct {
		opts DiffOptions
		want []string
	}{
		"all": {DiffOptions{}, []string{
			"add destination TCP 192.0.2.1:80 -> 10.0.0.4:80 Masq weight 4",
			"set destination TCP 192.0.2.1:80 -> 10.0.0.1:80 Masq weight 5",
			"delete destination TCP 192.0.2.1:80 -> 10.0.0.2:80",
			"delete service UDP 192.0.2.1:80",
		}},
		"owned": {DiffOptions{Owned: func(id ServiceID) bool { return id == web }}, []string{
			"add destination TCP 192.0.2.1:80 -> 10.0.0.4:80 Masq weight 4",
			"set destination TCP 192.0.2.1:80 -> 10.0.0.1:80 Masq weight 5",
			"delete destination TCP 192.0.2.1:80 -> 10.0.0.2:80",
		}},
		"keep weights": {DiffOptions{KeepWeights: true}, []string{
			"add destination TCP 192.0.2.1:80 -> 10.0.0.4:80 Masq weight 4",
			"delete destination TCP 192.0.2.1:80 -> 10.0.0.2:80",
			"delete service UDP 192.0.2.1:80",
		}},
		"keep extra": {DiffOptions{KeepExtra: true}, []string{
			"add destination TCP 192.0.2.1:80 -> 10.0.0.4:80 Masq weight 4",
			"set destination TCP 192.0.2.1:80 -> 10.0.0.1:80 Masq weight 5",
		}},
		"quiesce": {DiffOptions{Quiesce: true}, []string{
			"add destination TCP 192.0.2.1:80 -> 10.0.0.4:80 Masq weight 4",
			"set destination TCP 192.0.2.1:80 -> 10.0.0.1:80 Masq weight 5",
			"set destination TCP 192.0.2.1:80 -> 10.0.0.2:80 Masq weight 0",
			"set destination UDP 192.0.2.1:80 -> 10.0.0.3:80 Masq weight 0",
		}},
	}
	for name, tt := range tests {
		r, err := c.Apply(ctx, want, &ApplyOptions{DiffOptions: tt.opts, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range r.Changes {
			got = append(got, c.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || r.Applied() != 0 {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if rs, err := c.Ruleset(ctx); err != nil || len(rs.Services) != 2 {
		t.Fatalf("a dry run left %v, %v", rs, err)
	}
	_, err := c.Apply(ctx, want, &ApplyOptions{DiffOptions: DiffOptions{Owned: func(id ServiceID) bool { return id != web }}})
	wantError(t, err, fs.ErrInvalid)
	wantField(t, err, "Services[0].ID")
	want.Services[0].Destinations[1] = want.Services[0].Destinations[0]
	_, err = c.Apply(ctx, want, nil)
	wantField(t, err, "Services[0].Destinations[1].Addr")

	// Nil parts are left alone.
	if changes := Diff(have, Ruleset{}, nil); len(changes) != 0 {
		t.Errorf("nothing is wanted, and %v is planned", changes)
	}
	if changes := Diff(have, Ruleset{Services: []ServiceRules{}}, nil); len(changes) != 2 {
		t.Errorf("no service is wanted, and %v is planned", changes)
	}
}

// Whichever request fails, the report says exactly what took effect, and a second Apply gets there.
func TestApplyFaults(t *testing.T) {
	ctx := t.Context()
	r := rand.New(rand.NewPCG(7, 7))
	effects := map[string]nltest.Effect{"errno": nltest.Fail(nltest.ENOMEM), "lost": nltest.NoBuffers()}
	for name, effect := range effects {
		for _, stop := range []bool{false, true} {
			for _, nth := range []int{1, 2, 7, 40, 150} {
				k, c := newKernel(t, nil)
				first, second := randomRuleset(r), randomRuleset(r)
				if _, err := c.Apply(ctx, first, nil); err != nil {
					t.Fatal(err)
				}
				before, err := c.Ruleset(ctx)
				must(t, err)
				plan := Diff(before, second, nil)
				k.Inject(nltest.Fault{Command: nltest.Command(plan[min(nth, len(plan))-1].command()), Nth: 1, Effect: effect})
				report, err := c.do(ctx, plan, stop)
				if (err == nil) != (report.Err() == nil) {
					t.Fatalf("%s: error %v and report %v", name, err, report.Err())
				}
				// Play what the report says took effect on a copy: it must give the table that is there.
				_, copied := newKernel(t, nil)
				if _, err := copied.Apply(ctx, first, nil); err != nil {
					t.Fatal(err)
				}
				failed := 0
				for i, ch := range report.Changes {
					switch report.Outcomes[i].State {
					case Applied:
						if err := copied.change(ctx, ch); err != nil {
							t.Fatalf("%s, %d: %v should have taken effect: %v", name, nth, ch, err)
						}
					case Failed, Unclear:
						failed++
					}
				}

				got, err := c.Ruleset(ctx)
				must(t, err)
				want, err := copied.Ruleset(ctx)
				must(t, err)
				if !got.EqualOrder(want) {
					t.Fatalf("%s, stop %v, request %d: the report does not say what took effect:\n%v\n%s", name, stop, nth, report, cmp.Diff(want, got, equateAddrs))
				}
				if name == "errno" && failed == 0 {
					t.Fatalf("%s, request %d: nothing failed", name, nth)
				}
				k.ClearFaults()
				if _, err := c.Apply(ctx, second, nil); err != nil {
					t.Fatal(err)
				}
				if got, err = c.Ruleset(ctx); err != nil || !got.Equal(second) {
					t.Fatalf("%s, request %d: a second Apply does not get there: %v", name, nth, err)
				}
			}
		}
	}
}

func TestApplyGrace(t *testing.T) {
	ctx := t.Context()
	other := ServiceID{Protocol: UDP, Addr: web.Addr}
	real1 := Destination{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}
	real2 := Destination{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 2}
	real3 := Destination{Addr: netip.MustParseAddrPort("10.0.0.3:80"), Weight: 3}
	want := Ruleset{Services: []ServiceRules{{Service: Service{ID: web, Scheduler: "rr"}, Destinations: []Destination{real1}}}}
	setup := func(t *testing.T) (*nltest.Kernel, *Client) {
		k, c := newKernel(t, nil)
		have := Ruleset{Services: []ServiceRules{
			{Service: Service{ID: web, Scheduler: "rr"}, Destinations: []Destination{real1, real2}},
			{Service: Service{ID: other, Scheduler: "rr"}, Destinations: []Destination{real3}},
		}}
		if _, err := c.Apply(ctx, have, nil); err != nil {
			t.Fatal(err)
		}
		return k, c
	}
	weights := func(t *testing.T, c *Client) string {
		rs, err := c.Ruleset(ctx)
		must(t, err)
		var list []string
		for _, s := range rs.Services {
			for _, d := range s.Destinations {
				list = append(list, fmt.Sprint(s.ID, " ", d.Addr, " ", d.Weight))
			}
		}
		slices.Sort(list)
		return strings.Join(list, "\n")
	}
	end := fmt.Sprint(web, " ", real1.Addr, " ", real1.Weight)
	quiesced := fmt.Sprint(web, " ", real1.Addr, " ", real1.Weight, "\n", web, " ", real2.Addr, " 0\n", other, " ", real3.Addr, " 0")
	kinds := func(r Report) (list []ChangeKind) {
		for _, c := range r.Changes {
			list = append(list, c.Kind)
		}
		return list
	}
	plan := []ChangeKind{DestinationSet, DestinationSet, DestinationDelete, ServiceDelete}

	t.Run("waits", func(t *testing.T) {
		_, c := setup(t)
		dry, err := c.Apply(ctx, want, &ApplyOptions{Grace: time.Hour, DryRun: true})
		must(t, err)
		const grace = 30 * time.Millisecond
		start := time.Now()
		r, err := c.Apply(ctx, want, &ApplyOptions{Grace: grace})
		took := time.Since(start)
		must(t, err)
		if !slices.Equal(kinds(r), plan) || !slices.Equal(kinds(dry), plan) || r.Applied() != len(plan) || dry.Applied() != 0 {
			t.Errorf("%v\nand without doing it\n%v", r, dry)
		}
		if took < grace {
			t.Errorf("deleted after %v", took)
		}
		if have := weights(t, c); have != end {
			t.Error(have)
		}
	})
	t.Run("ended meanwhile", func(t *testing.T) {
		_, c := setup(t)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		r, err := c.Apply(short, want, &ApplyOptions{Grace: time.Hour})
		if !errors.Is(err, context.DeadlineExceeded) || r.Applied() != 2 || r.Outcomes[2].State != NotTried {
			t.Errorf("%v\n%v", err, r)
		}
		if have := weights(t, c); have != quiesced {
			t.Error(have)
		}
		// What has weight 0 already had its time.
		if r, err = c.Apply(ctx, want, &ApplyOptions{Grace: time.Hour}); err != nil || r.Applied() != 2 {
			t.Errorf("%v\n%v", err, r)
		}
		if have := weights(t, c); have != end {
			t.Error(have)
		}
	})
	t.Run("a failure before", func(t *testing.T) {
		k, c := setup(t)
		k.Inject(nltest.Fault{Command: nltest.SetDest, Nth: 1, Effect: nltest.Fail(nltest.ENOMEM)})
		r, err := c.Apply(ctx, want, &ApplyOptions{Grace: time.Hour, StopOnError: true})
		wantError(t, err, syscall.Errno(eNOMEM))
		if r.Applied() != 0 || len(r.Outcomes) != len(plan) {
			t.Error(r)
		}
	})
	t.Run("a failure before, all tried", func(t *testing.T) {
		k, c := setup(t)
		k.Inject(nltest.Fault{Command: nltest.SetDest, Nth: 1, Effect: nltest.Fail(nltest.ENOMEM)})
		r, err := c.Apply(ctx, want, &ApplyOptions{Grace: time.Millisecond})
		wantError(t, err, syscall.Errno(eNOMEM))
		if have := weights(t, c); r.Applied() != len(plan)-1 || have != end {
			t.Errorf("%v\n%s", r, have)
		}
	})
	t.Run("nothing to delete", func(t *testing.T) {
		_, c := setup(t)
		lower := Ruleset{Services: []ServiceRules{{
			Service:      Service{ID: web, Scheduler: "rr"},
			Destinations: []Destination{real1, {Addr: real2.Addr}},
		}}}
		opts := &ApplyOptions{Grace: time.Hour, DiffOptions: DiffOptions{KeepExtra: true}}
		if r, err := c.Apply(ctx, lower, opts); err != nil || r.Applied() != 1 {
			t.Errorf("%v\n%v", err, r)
		}
	})
	_, c := setup(t)
	if _, err := c.Apply(ctx, want, &ApplyOptions{Grace: -1}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

// What another process does between reading and writing is read again.
func TestApplyConflict(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	other := newTestClient(t, k.Namespace(""), nil)
	want := Ruleset{Services: []ServiceRules{{Service{ID: web, Scheduler: "wlc"}, []Destination{NewDestination(real)}}}}
	k.Inject(nltest.Fault{Command: nltest.GetDaemon, Nth: 1, Effect: nltest.AfterChunk(1, func() {
		must(t, other.AddService(ctx, Service{ID: web, Scheduler: "rr"}))
	})})
	if err := other.AddService(ctx, Service{ID: Mark(1, IPv4), Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	must(t, other.StartDaemon(ctx, Daemon{State: Backup, Interface: "lo"})) // so that the dump has a part
	report, err := c.Apply(ctx, want, nil)
	if err != nil {
		t.Fatalf("%v\n%v", err, report)
	}
	got, err := c.Ruleset(ctx)
	must(t, err)
	if !got.Equal(Ruleset{Services: want.Services, Timeouts: got.Timeouts, Daemons: got.Daemons}) {
		t.Fatalf("table %+v\n%v", got, report)
	}
}

func TestDo(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	const n = 1000
	changes := []Change{{Kind: ServiceAdd, Service: Service{ID: web, Scheduler: "rr"}}}
	for i := range n {
		d := NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80))
		changes = append(changes, Change{Kind: DestinationAdd, Service: Service{ID: web}, Destination: d})
		if i%10 == 0 {
			changes = append(changes, changes[len(changes)-1])
		}
	}
	report, err := c.Do(ctx, changes)
	wantError(t, err, ErrDestinationExists)
	if got := report.Applied(); got != n+1 {
		t.Fatalf("%d of %d changes took effect", got, len(changes))
	}
	for i := range changes {
		twice := i > 1 && changes[i] == changes[i-1]
		if (report.Outcomes[i].State == Failed) != twice || twice != errors.Is(report.Outcomes[i].Err, ErrDestinationExists) {
			t.Fatalf("change %d, %v: %+v", i, changes[i], report.Outcomes[i])
		}
	}
	sends := map[uint64]bool{}
	for _, r := range k.Requests() {
		sends[r.Sending] = true
	}
	if len(sends) > 2+len(changes)/batchRequests+2 {
		t.Errorf("%d system calls for %d changes", len(sends), len(changes))
	}
	list, err := c.Destinations(ctx, web)
	if err != nil || len(list) != n {
		t.Fatalf("%d destinations, %v", len(list), err)
	}

	// Nothing is sent if one change is not well formed.
	k.ClearRequests()
	report, err = c.Do(ctx, []Change{{Kind: ServiceDelete, Service: Service{ID: web}}, {Kind: DestinationAdd, Service: Service{ID: web}}, {}})
	wantField(t, report.Outcomes[1].Err, "Addr")
	wantField(t, report.Outcomes[2].Err, "Kind")
	if len(k.Requests()) != 0 || err == nil || report.Outcomes[0].State != NotTried {
		t.Fatalf("%d requests, %v", len(k.Requests()), err)
	}
	if report, err := c.Do(ctx, nil); err != nil || len(report.Outcomes) != 0 {
		t.Fatalf("nothing to do: %v, %v", report, err)
	}

	// A new family number.
	k.ReloadModule()
	if _, err := c.Do(ctx, changes[:2]); err != nil {
		t.Fatal(err)
	}
	// Another kernel that keeps silent.
	k.Inject(nltest.Fault{Command: nltest.DelService, Effect: nltest.Ignore()})
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	report, err = c.Do(short, []Change{{Kind: ServiceDelete, Service: Service{ID: web}}})
	if err == nil || report.Outcomes[0].State != Unclear {
		t.Fatalf("%v\n%v", err, report)
	}
	k.ClearFaults()
	must(t, c.DeleteService(ctx, web))

}

func TestRulesetJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		want := randomRuleset(r)
		b, err := json.Marshal(want)
		must(t, err)
		var got Ruleset
		must(t, json.Unmarshal(b, &got))
		if !got.EqualOrder(want) {
			t.Fatalf("back from JSON (-want +got):\n%s", cmp.Diff(want, got, equateAddrs))
		}
		if len(want.Services) > 1 {
			got.Services[0], got.Services[1] = got.Services[1], got.Services[0]
			if got.EqualOrder(want) || !got.Equal(want) {
				t.Fatal("the order of services")
			}
			got.Services[0].Flags ^= OnePacket
			if got.Equal(want) {
				t.Fatal("a flag makes no difference")
			}
		}
	}
}

// While another process adds and deletes every second service, no other service is missing or there twice.
func TestSnapshotChurn(t *testing.T) {
	ctx := t.Context()
	k, c := newKernel(t, nil)
	const n = 600
	id := func(i int) ServiceID {
		return ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), uint16(i+1))}
	}
	for i := range n {
		must(t, c.AddService(ctx, Service{ID: id(i), Scheduler: "rr"}))
		must(t, c.AddDestination(ctx, id(i), NewDestination(real)))
	}
	for i := range 300 {
		must(t, c.AddDestination(ctx, id(0), NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80))))
	}
	other := newTestClient(t, k.Namespace(""), nil)
	// In the middle of each list, half of the services that come and go are turned over.
	turn := 0
	churn := func() {
		for i := 1; i < n; i += 4 {
			j := i + turn%2*2
			if err := other.DeleteService(ctx, id(j)); errors.Is(err, ErrNoService) {
				must(t, other.AddService(ctx, Service{ID: id(j), Scheduler: "rr"}))
			} else {
				must(t, err)
			}
		}
		for i := turn % 3; i < 100; i += 3 {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80)
			if err := other.DeleteDestination(ctx, id(0), a); errors.Is(err, ErrNoDestination) {
				must(t, other.AddDestination(ctx, id(0), NewDestination(a)))
			} else {
				must(t, err)
			}
		}
		turn++
	}
	k.Inject(nltest.Fault{Command: nltest.GetService, Effect: nltest.AfterChunk(1, churn)})
	k.Inject(nltest.Fault{Command: nltest.GetDest, Effect: nltest.AfterChunk(1, func() {
		if turn++; turn%200 == 0 {
			churn()
		}
	})})
	plainLost := 0
	for range 20 {
		if plain, err := c.Services(ctx); err == nil {
			plainLost += n/2 - count(plain, func(s ServiceStatus) bool { return s.ID.Addr.Port()%2 == 1 })
		}
		s, err := c.Snapshot(ctx)
		must(t, err)
		seen := map[ServiceID]int{}
		for _, svc := range s.Services {
			seen[svc.ID]++
			if svc.ID == id(0) {
				dests := map[netip.AddrPort]int{}
				for _, d := range svc.Destinations {
					dests[d.Addr]++
				}
				for i := 100; i < 300; i++ {
					if a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80); dests[a] != 1 {
						t.Fatalf("destination %v is there %d times", a, dests[a])
					}
				}
			}
		}
		for i := 0; i < n; i += 2 {
			if seen[id(i)] != 1 {
				t.Fatalf("service %v is there %d times", id(i), seen[id(i)])
			}
		}
		for id, times := range seen {
			if times != 1 {
				t.Fatalf("service %v is there %d times", id, times)
			}
		}
	}
	if plainLost == 0 {
		t.Error("the churn does not disturb a plain list: the test proves nothing")
	}
	k.ClearFaults()
	if s, err := c.Snapshot(ctx); err != nil || !s.Agreed {
		t.Fatalf("in peace: agreed %v, %v", s.Agreed, err)
	}
}

// A picture into the memory of an earlier one is the same as one into new memory, whatever the earlier one had.
func TestSnapshotInto(t *testing.T) {
	_, c := newKernel(t, nil)
	r := rand.New(rand.NewPCG(1, 2))
	var kept Snapshot
	for range 20 {
		if _, err := c.Apply(t.Context(), randomRuleset(r), nil); err != nil {
			t.Fatal(err)
		}
		fresh, err := c.Snapshot(t.Context())
		must(t, err)
		must(t, c.SnapshotInto(t.Context(), &kept))
		if diff := cmp.Diff(fresh, kept, equateAddrs); diff != "" {
			t.Fatalf("snapshot (-new memory +used memory):\n%s", diff)
		}
	}
	// The earlier picture may have been filtered in place: what is behind its end has the same destinations as what is in it.
	want := Ruleset{Services: []ServiceRules{}}
	for i := range 8 {
		want.Services = append(want.Services, ServiceRules{Service{ID: Mark(uint32(1+i), IPv4), Scheduler: "rr"}, nil})
		for j := range 3 {
			d := NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}), 80))
			want.Services[i].Destinations = append(want.Services[i].Destinations, d)
		}
	}
	if _, err := c.Apply(t.Context(), want, nil); err != nil {
		t.Fatal(err)
	}
	must(t, c.SnapshotInto(t.Context(), &kept))
	some := kept.Services[:0]
	for i, s := range kept.Services {
		if i%2 == 1 {
			some = append(some, s)
		}
	}
	kept.Services = some
	must(t, c.SnapshotInto(t.Context(), &kept))
	if have := (Ruleset{Services: kept.Ruleset().Services}); !have.Equal(want) {
		t.Fatalf("after services were taken out in place:\n%v", kept.Services)
	}
	must(t, c.Close())
	if err := c.SnapshotInto(t.Context(), &kept); err == nil || kept.Services != nil {
		t.Fatalf("after an error: %v, %d services", err, len(kept.Services))
	}
}

// A list into the memory of an earlier one is the same as one into new memory, and stays there if it fits.
func TestDestinationsInto(t *testing.T) {
	_, c := newKernel(t, nil)
	r := rand.New(rand.NewPCG(5, 6))
	var kept []DestinationStatus
	stayed := 0
	for range 20 {
		if _, err := c.Apply(t.Context(), randomRuleset(r), nil); err != nil {
			t.Fatal(err)
		}
		s, err := c.Snapshot(t.Context())
		must(t, err)
		for _, service := range s.Services {
			older := kept[:cap(kept)]
			must(t, c.DestinationsInto(t.Context(), service.ID, &kept))
			if diff := cmp.Diff(service.Destinations, kept, equateAddrs); diff != "" {
				t.Fatalf("%v (-snapshot +list):\n%s", service.ID, diff)
			}
			if len(kept) > 0 && len(kept) <= len(older) {
				stayed++
				if &kept[0] != &older[0] {
					t.Fatalf("%d destinations have new memory, with room for %d", len(kept), len(older))
				}
			}
		}
	}
	if stayed == 0 {
		t.Error("no list fitted into the memory of an earlier one")
	}
	err := c.DestinationsInto(t.Context(), ServiceID{FWMark: 4711, Family: IPv4}, &kept)
	if !errors.Is(err, ErrNoService) || kept != nil {
		t.Errorf("after an error: %v, %d destinations", err, len(kept))
	}
}

// What Apply takes for an equal table, Diff finds nothing to change in, and it knows the tables that it made itself.
func TestMatches(t *testing.T) {
	_, c := newKernel(t, nil)
	r := rand.New(rand.NewPCG(3, 4))
	equal, different := 0, 0
	for i := range 60 {
		want := randomRuleset(r)
		if _, err := c.Apply(t.Context(), want, nil); err != nil {
			t.Fatal(err)
		}
		s, err := c.Snapshot(t.Context())
		must(t, err)
		if !s.matches(&want, &DiffOptions{}) {
			t.Fatal("the table that was just made does not match")
		}
		// One thing or two are changed in the picture.
		for range i % 3 {
			if len(s.Services) == 0 {
				break
			}
			k := r.IntN(len(s.Services))
			sv := &s.Services[k]
			switch n := len(sv.Destinations); r.IntN(6) {
			case 0:
				sv.Scheduler = "lc"
			case 1:
				s.Timeouts.UDP++
			case 2:
				s.Services = slices.Delete(s.Services, k, k+1)
			case 3:
				s.Services = append(s.Services, ServiceSnapshot{ServiceStatus: ServiceStatus{Service: Service{ID: Mark(uint32(1000+len(s.Services)), IPv4)}}})
			case 4:
				if n > 0 {
					sv.Destinations[r.IntN(n)].Weight++
				}
			case 5:
				if n > 0 {
					d := &sv.Destinations[r.IntN(n)]
					d.Addr = netip.AddrPortFrom(d.Addr.Addr(), d.Addr.Port()+1)
				}
			}
		}
		opts := DiffOptions{KeepWeights: r.IntN(2) == 0, KeepExtra: r.IntN(2) == 0, Quiesce: r.IntN(2) == 0, KeepOrder: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			opts.Owned = func(id ServiceID) bool { return !id.IsMark() }
			want.Services = slices.DeleteFunc(want.Services, func(s ServiceRules) bool { return s.ID.IsMark() })
		}
		if !s.matches(&want, &opts) {
			different++
			continue
		}
		equal++
		must(t, errors.Join(want.validateServices(), want.validateRest()))
		if changes := Diff(s.Ruleset(), want, &opts); len(changes) != 0 {
			t.Fatalf("taken for equal with %+v:\n%v", opts, changes)
		}
	}
	if equal < 10 || different < 10 {
		t.Errorf("%d tables were equal, %d different", equal, different)
	}
}

func count[T any](list []T, f func(T) bool) (n int) {
	for _, v := range list {
		if f(v) {
			n++
		}
	}
	return n
}

// What is not well formed is refused as such, whether the table could be read or not, and whatever it does not change.
func TestApplyInvalid(t *testing.T) {
	_, c := newKernel(t, nil)
	web := ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	want := Ruleset{Services: []ServiceRules{{Service: Service{ID: web, Scheduler: "rr"}, Destinations: []Destination{
		NewDestination(netip.MustParseAddrPort("10.0.0.1:80")), NewDestination(netip.MustParseAddrPort("10.0.0.2:80")),
	}}}}
	if _, err := c.Apply(t.Context(), want, nil); err != nil {
		t.Fatal(err)
	}
	var fe *FieldError
	keep := &ApplyOptions{DiffOptions: DiffOptions{KeepWeights: true}}
	want.Services[0].Destinations[1].Weight = 1 << 31
	if _, err := c.Apply(t.Context(), want, keep); !errors.As(err, &fe) || fe.Field != "Services[0].Destinations[1].Weight" {
		t.Errorf("Apply of a weight of 1<<31 that it would not set: %v", err)
	}
	want.Services[0].Destinations[1] = want.Services[0].Destinations[0]
	if _, err := c.Apply(t.Context(), want, nil); !errors.As(err, &fe) || fe.Field != "Services[0].Destinations[1].Addr" {
		t.Errorf("Apply of a destination that is there twice: %v", err)
	}
	must(t, c.Close())
	if _, err := c.Apply(t.Context(), want, nil); !errors.As(err, &fe) {
		t.Errorf("Apply on a closed client: %v, want what is wrong with the ruleset", err)
	}
	want.Services[0].Destinations = want.Services[0].Destinations[:1]
	if _, err := c.Apply(t.Context(), want, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Apply on a closed client: %v", err)
	}
}
