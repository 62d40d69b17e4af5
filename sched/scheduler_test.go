package sched

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	want := []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Fatalf("names (-want +got):\n%s", diff)
	}
	for _, name := range append(Names(), None) {
		s, err := New(name, Config{Rand: counting()})
		if err != nil {
			t.Fatal(err)
		}
		if s.Name() != name {
			t.Errorf("%q calls itself %q", name, s.Name())
		}
		if d := s.Pick(Flow{}, 0); d != nil {
			t.Errorf("%s picked %v from nothing", name, d.Addr())
		}
		mustAdd(t, s, serverAddr(1), Settings{})
		if d := s.Pick(Flow{}, 0); d != nil {
			t.Errorf("%s picked the only server, of weight 0", name)
		}
		one := mustAdd(t, s, serverAddr(2), Settings{Weight: 1, Upper: 1})
		one.Open(Inactive)
		for range 3 {
			if d := s.Pick(Flow{Destination: one.Addr().Addr()}, 0); d != nil {
				t.Errorf("%s picked an overloaded server", name)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	two := func(t *testing.T) (*Scheduler, *Server) {
		s, servers := withWeights(t, "wlc", Config{}, 1, 2)
		return s, servers[0]
	}
	foreign := func(t *testing.T) *Server {
		_, d := two(t)
		return d
	}
	tests := map[string]struct {
		do   func(t *testing.T) error
		want error
	}{
		"unknown name":      {func(*testing.T) error { _, err := New("fancy", Config{}); return err }, ErrUnknownScheduler},
		"empty name":        {func(*testing.T) error { _, err := New("", Config{}); return err }, ErrUnknownScheduler},
		"twos without Rand": {func(*testing.T) error { _, err := New("twos", Config{}); return err }, ErrConfig},
		"HZ":                {func(*testing.T) error { _, err := New("rr", Config{HZ: -1}); return err }, ErrConfig},
		"sh bits":           {func(*testing.T) error { _, err := New("rr", Config{SHTableBits: 21}); return err }, ErrConfig},
		"mh index":          {func(*testing.T) error { _, err := New("rr", Config{MHTableIndex: 7}); return err }, ErrConfig},
		"switch to unknown": {func(t *testing.T) error { s, _ := two(t); return s.Switch("fancy") }, ErrUnknownScheduler},
		"switch to twos":    {func(t *testing.T) error { s, _ := two(t); return s.Switch("twos") }, ErrConfig},
		"added twice": {func(t *testing.T) error {
			s, d := two(t)
			_, err := s.Add(d.Addr(), Settings{Weight: 1})
			return err
		}, ErrDuplicateServer},
		"added twice, mapped": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(netip.MustParseAddrPort("[::ffff:10.2.0.1]:80"), Settings{Weight: 1})
			return err
		}, ErrDuplicateServer},
		"negative weight": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(serverAddr(9), Settings{Weight: -1})
			return err
		}, ErrWeight},
		"lower above upper": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(serverAddr(9), Settings{Upper: 3, Lower: 4})
			return err
		}, ErrThreshold},
		"lower without upper": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(serverAddr(9), Settings{Lower: 1})
			return err
		}, ErrThreshold},
		"upper too large": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(serverAddr(9), Settings{Upper: math.MaxInt32 + 1})
			return err
		}, ErrThreshold},
		"no address": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(netip.AddrPort{}, Settings{})
			return err
		}, ErrAddress},
		"zone": {func(t *testing.T) error {
			s, _ := two(t)
			_, err := s.Add(netip.MustParseAddrPort("[fe80::1%eth0]:80"), Settings{})
			return err
		}, ErrAddress},
		"update: negative weight": {func(t *testing.T) error { s, d := two(t); return s.Update(d, Settings{Weight: -5}) }, ErrWeight},
		"update: thresholds":      {func(t *testing.T) error { s, d := two(t); return s.Update(d, Settings{Lower: 5}) }, ErrThreshold},
		"update: nil":             {func(t *testing.T) error { s, _ := two(t); return s.Update(nil, Settings{}) }, ErrUnknownServer},
		"update: foreign":         {func(t *testing.T) error { s, _ := two(t); return s.Update(foreign(t), Settings{}) }, ErrUnknownServer},
		"update: removed": {func(t *testing.T) error {
			s, d := two(t)
			must(t, s.Remove(d))
			return s.Update(d, Settings{})
		}, ErrUnknownServer},
		"remove: nil":     {func(t *testing.T) error { s, _ := two(t); return s.Remove(nil) }, ErrUnknownServer},
		"remove: foreign": {func(t *testing.T) error { s, _ := two(t); return s.Remove(foreign(t)) }, ErrUnknownServer},
		"remove: twice": {func(t *testing.T) error {
			s, d := two(t)
			must(t, s.Remove(d))
			return s.Remove(d)
		}, ErrUnknownServer},
		"restore: nil":       {func(t *testing.T) error { s, _ := two(t); return s.Restore(nil, Settings{}) }, ErrUnknownServer},
		"restore: zero":      {func(t *testing.T) error { s, _ := two(t); return s.Restore(&Server{}, Settings{}) }, ErrAddress},
		"restore: in list":   {func(t *testing.T) error { s, d := two(t); return s.Restore(d, Settings{}) }, ErrDuplicateServer},
		"restore: elsewhere": {func(t *testing.T) error { s, _ := two(t); return s.Restore(foreign(t), Settings{}) }, ErrDuplicateServer},
		"restore: address taken": {func(t *testing.T) error {
			s, d := two(t)
			must(t, s.Remove(d))
			mustAdd(t, s, d.Addr(), Settings{})
			return s.Restore(d, Settings{})
		}, ErrDuplicateServer},
		"restore: negative weight": {func(t *testing.T) error {
			s, d := two(t)
			must(t, s.Remove(d))
			return s.Restore(d, Settings{Weight: -1})
		}, ErrWeight},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.do(t); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// TestFailedCallsChangeNothing checks that a refused call leaves list, settings and scheduler as they were.
func TestFailedCallsChangeNothing(t *testing.T) {
	s, servers := withWeights(t, "wrr", Config{}, 3, 2, 1)
	s.Pick(Flow{}, 0)
	state := *s.algo.(*wrr)
	_, errAdd := s.Add(serverAddr(9), Settings{Weight: -1})
	for i, err := range []error{
		errAdd, s.Update(servers[0], Settings{Weight: -1}), s.Update(servers[0], Settings{Lower: 1}), s.Switch("fancy"), s.Switch("twos"),
	} {
		if err == nil {
			t.Errorf("call %d was not refused", i)
		}
	}
	must(t, s.Switch("wrr")) // nor does asking for the scheduler that it has
	got := *s.algo.(*wrr)
	if got.cursor != state.cursor || got.level != state.level || s.Len() != 3 || servers[0].Settings() != (Settings{Weight: 3}) {
		t.Errorf("state %+v, want %+v", got, state)
	}
}

func TestList(t *testing.T) {
	s, err := New("rr", Config{})
	must(t, err)
	for _, n := range []int{3, 9, 1} {
		mustAdd(t, s, serverAddr(n), Settings{Weight: 1})
	}
	if diff := cmp.Diff([]int{1, 9, 3}, members(s)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	nine := s.Find(serverAddr(9))
	must(t, s.Update(nine, Settings{Weight: 7}))
	if diff := cmp.Diff([]int{1, 9, 3}, members(s)); diff != "" {
		t.Errorf("list after an update (-want +got):\n%s", diff)
	}
	must(t, s.Remove(nine))
	if s.Find(serverAddr(9)) != nil || s.Len() != 2 || nine.Available() {
		t.Error("the removed server is still there")
	}
	must(t, s.Restore(nine, Settings{Weight: 2}))
	if diff := cmp.Diff([]int{9, 1, 3}, members(s)); diff != "" {
		t.Errorf("list after the return (-want +got):\n%s", diff)
	}
	if s.Find(netip.MustParseAddrPort("[::ffff:10.2.0.9]:80")) != nine {
		t.Error("the mapped address does not find the server")
	}
}

// members are the numbers of the servers in list order.
func members(s *Scheduler) []int { return owners(slices.Collect(s.Servers())) }

// TestListCompacts removes most of many servers, so that slots get new numbers, and keeps picking.
func TestListCompacts(t *testing.T) {
	for _, name := range Names() {
		s, servers := withWeights(t, name, Config{Rand: counting()}, slices.Repeat([]int32{2}, 100)...)
		for i, d := range servers {
			s.Pick(Flow{}, 0)
			if i%10 != 0 {
				must(t, s.Remove(d))
			}
		}
		if len(s.list.slots) > 40 {
			t.Errorf("%s: %d slots for %d servers", name, len(s.list.slots), s.Len())
		}
		if diff := cmp.Diff([]int{1, 11, 21, 31, 41, 51, 61, 71, 81, 91}, members(s)); diff != "" {
			t.Errorf("%s: list (-want +got):\n%s", name, diff)
		}
		for range 20 {
			if d := s.Pick(Flow{}, 0); d == nil || !d.Available() {
				t.Fatalf("%s: picked %v", name, show(d))
			}
		}
	}
}

// TestCounters counts connections, also calls that do not fit any open connection.
func TestCounters(t *testing.T) {
	_, servers := withWeights(t, "lc", Config{}, 1)
	d := servers[0]
	steps := []struct {
		do               func()
		active, inactive int32
	}{
		{func() { d.Open(Active) }, 1, 0},
		{func() { d.Open(Inactive) }, 1, 1},
		{func() { d.Move(Inactive) }, 0, 2},
		{func() { d.Move(Inactive) }, 0, 2},
		{func() { d.Close(Active) }, 0, 2},
		{func() { d.Move(Active) }, 1, 1},
		{func() { d.Move(Active) }, 2, 0},
		{func() { d.Move(Active) }, 2, 0},
		{func() { d.Close(Inactive) }, 2, 0},
		{func() { d.Close(Active) }, 1, 0},
		{func() { d.Close(Active) }, 0, 0},
		{func() { d.Close(Active) }, 0, 0},
	}
	for i, st := range steps {
		st.do()
		if d.Active() != st.active || d.Inactive() != st.inactive {
			t.Errorf("step %d: %d active and %d inactive, want %d and %d", i, d.Active(), d.Inactive(), st.active, st.inactive)
		}
	}
	d.total = math.MaxInt32
	if d.Open(Inactive); d.total != math.MaxInt32 {
		t.Errorf("the counter wrapped around to %d", d.total)
	}
}

// TestOverhead is the case that tells 257 from 256: one active connection against 256 inactive ones.
func TestOverhead(t *testing.T) {
	for legacy, want := range map[bool][]int{false: {2, 1, 2, 1}, true: {1, 2, 1, 2}} {
		s, err := New("wlc", Config{LegacyCounters: legacy})
		must(t, err)
		two := mustAdd(t, s, serverAddr(2), Settings{Weight: 1})
		for range 256 {
			two.Open(Inactive)
		}
		one := mustAdd(t, s, serverAddr(1), Settings{Weight: 1})
		one.Open(Active)
		var got []int
		for range 4 {
			d := s.Pick(Flow{}, 0)
			d.Open(Active)
			got = append(got, owners([]*Server{d})[0])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("legacy %v: picks (-want +got):\n%s", legacy, diff)
		}
	}
}

// TestRestoreElsewhere moves a server with its connections to another scheduler, as when a service is made anew.
func TestRestoreElsewhere(t *testing.T) {
	old, servers := withWeights(t, "wlc", Config{}, 1, 1)
	d := servers[0]
	d.Open(Active)
	must(t, old.Remove(d))
	s, err := New("lc", Config{})
	must(t, err)
	must(t, s.Restore(d, Settings{Weight: 1}))
	other := mustAdd(t, s, serverAddr(5), Settings{Weight: 1})
	if got := s.Pick(Flow{}, 0); got != other {
		t.Errorf("picked %v, want the server without connections", show(got))
	}
	other.Open(Active)
	d.Close(Active)
	if got := s.Pick(Flow{}, 0); got != d {
		t.Errorf("picked %v, want the one whose connection closed", show(got))
	}
}

func TestText(t *testing.T) {
	for want, got := range map[string]string{
		"0": Flags(0).String(), "fallback": Fallback.String(), "fallback|port": (Fallback | Port).String(),
		"port|0x21": (Port | 0x21).String(), "0x1": Flags(1).String(),
		"any": AnyFamily.String(), "IPv4": IPv4.String(), "IPv6": IPv6.String(), "family(9)": Family(9).String(),
		"active": Active.String(), "inactive": Inactive.String(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTimeDoesNotRunBack picks at an earlier time than before.
func TestTimeDoesNotRunBack(t *testing.T) {
	s, servers := withWeights(t, "lblc", Config{}, 1)
	for _, now := range []time.Duration{time.Hour, time.Minute, math.MinInt64, math.MaxInt64} {
		if d := s.Pick(Flow{}, now); d != servers[0] {
			t.Errorf("at %v picked %v", now, show(d))
		}
	}
}

// TestNoAllocations holds for every pick of a known flow and for counting.
func TestNoAllocations(t *testing.T) {
	for _, name := range Names() {
		s, _ := withWeights(t, name, Config{Rand: counting()}, 5, 0, 3, 9, 1, 1, 1, 2)
		f := Flow{Client: netip.MustParseAddrPort("10.1.0.7:999"), Destination: netip.MustParseAddr("fd16::1")}
		s.Pick(f, 0)
		n := testing.AllocsPerRun(1000, func() {
			if d := s.Pick(f, 0); d != nil {
				d.Open(Active)
				d.Close(Active)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations per pick", name, n)
		}
	}
}
