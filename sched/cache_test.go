package sched

import (
	"net/netip"
	"testing"
	"time"
)

func to(n int) Flow {
	return Flow{Destination: netip.AddrFrom4([4]byte{172, byte(16 + n>>16), byte(n >> 8), byte(n)})}
}

// cacheOf returns the cache of an lblc or lblcr scheduler.
func cacheOf(s *Scheduler) *cache {
	if l, ok := s.algo.(*lblc); ok {
		return l.cache
	}
	return s.algo.(*lblcr).cache
}

// TestCacheExpiry lets entries grow old. Nothing goes before the check at 30:43.2, and then all that were not used for
// the expiration time go.
func TestCacheExpiry(t *testing.T) {
	const full = 30*time.Minute + 43200*time.Millisecond
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			s, servers := withWeights(t, name, Config{CacheExpiration: 20 * time.Minute, Now: time.Hour}, 1)
			d := servers[0]
			start := time.Hour
			s.Pick(to(1), start)
			s.Pick(to(2), start)
			s.Pick(to(2), start+full-20*time.Minute) // old enough
			s.Pick(to(3), start+full-20*time.Minute+4*time.Millisecond)
			s.Advance(start + full - time.Millisecond)
			if d.Cached() != 3 {
				t.Errorf("%d entries before the check, want 3", d.Cached())
			}
			s.Advance(start + full)
			if d.Cached() != 1 || cacheOf(s).find(to(3).Destination) == nil {
				t.Errorf("%d entries after the check, want the last one only", d.Cached())
			}
			s.Advance(start + 2*full - time.Millisecond)
			if d.Cached() != 1 {
				t.Error("an entry went between the checks")
			}
			s.Advance(start + 2*full)
			if d.Cached() != 0 {
				t.Error("the last entry stayed")
			}
			// A long time with nothing to check keeps the rhythm: the next check is the fifth.
			s.Advance(start + 5*full - 10*time.Minute)
			s.SetCacheExpiration(0)
			s.Pick(to(1), start+5*full-10*time.Minute)
			s.Advance(start + 5*full - time.Millisecond)
			if d.Cached() != 1 {
				t.Error("an entry went before the fifth check")
			}
			s.Advance(start + 5*full)
			if d.Cached() != 0 {
				t.Error("an entry survived the fifth check")
			}
		})
	}
}

// TestCacheRelease switches the scheduler: what the cache held is free again.
func TestCacheRelease(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		s, servers := withWeights(t, name, Config{}, 1, 1)
		for i := range 100 {
			s.Pick(to(i), 0)
		}
		if servers[0].Cached() == 0 {
			t.Errorf("%s: no entry names the server", name)
		}
		must(t, s.Remove(servers[0]))
		if servers[0].Cached() == 0 {
			t.Errorf("%s: the removal changed the cache", name)
		}
		must(t, s.Switch(None))
		if n := servers[0].Cached() + servers[1].Cached(); n != 0 {
			t.Errorf("%s: %d entries held after the switch", name, n)
		}
	}
}

// TestCacheCrowded fills caches beyond their limit and compares what a partial check drops with the definition,
// pick by pick.
func TestCacheCrowded(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, name, Config{}, 10, randomTape(1, 0))
			for i := range 5 {
				d := mustAdd(t, r.s, serverAddr(i), Settings{Weight: int32(i + 1)})
				r.def.add(d)
			}
			pick := func(n int, now time.Duration) {
				t.Helper()
				want, got := r.def.pick(to(n), now), r.s.Pick(to(n), now)
				if got != want {
					t.Fatalf("at %v destination %d goes to %v, want %v", now, n, show(got), show(want))
				}
				got.Open(Activity(n%3 == 0))
			}
			same := func() {
				t.Helper()
				c := cacheOf(r.s)
				if c.entries != len(r.def.entries) {
					t.Fatalf("%d entries, want %d", c.entries, len(r.def.entries))
				}
				found := 0
				for k := range r.def.entries {
					if c.find(k) != nil {
						found++
					}
				}
				if found != c.entries {
					t.Fatalf("%d entries of %d are the right ones", found, c.entries)
				}
			}
			for n := range 26000 { // the cache takes 24576
				pick(n, time.Duration(n/100)*time.Second)
			}
			if n := cacheOf(r.s).entries; n != 24576 {
				t.Errorf("%d entries, want the ceiling of 24576", n)
			}
			before := cacheOf(r.s).entries
			for minute := 5; minute < 20; minute++ {
				pick(minute*31, time.Duration(minute)*time.Minute)
				same()
			}
			if n := cacheOf(r.s).entries; n >= before || n > cacheLimit+1 {
				t.Errorf("%d entries after the checks, %d before", n, before)
			}
		})
	}
}

// TestCacheGoal has a check of a crowded cache reach its goal exactly at the end of a bucket, where it must stop.
func TestCacheGoal(t *testing.T) {
	config, err := Config{}.complete()
	must(t, err)
	c := newCache(&config, 0)
	d := &Server{}
	n, last := 0, []netip.Addr(nil) // destinations of the bucket that a check comes to last
	for ; c.entries < cacheLimit || len(last) < 100; n++ {
		switch dest := to(n).Destination; {
		case bucket(dest) == 0:
			last = append(last, dest)
		case c.entries < cacheLimit:
			c.insert(dest, d, 0)
		}
	}
	size := func(b int) (n int) {
		for e := c.buckets[b]; e != nil; e = e.next {
			n++
		}
		return n
	}
	goal, b := 0, 0
	for goal == 0 || (goal*3+3)/4*4/3 != goal { // a goal that some number of surplus entries gives
		b++
		goal += size(b)
	}
	for _, dest := range last[:(goal*3+3)/4] {
		c.insert(dest, d, 0)
	}
	before := c.entries
	c.checkSome(config.ticks(cachePartial))
	if before-c.entries != goal || c.rover != b {
		t.Errorf("%d entries dropped up to bucket %d, want %d and %d", before-c.entries, c.rover, goal, b)
	}
	if d.Cached() != c.entries {
		t.Errorf("the server counts %d entries, want %d", d.Cached(), c.entries)
	}
}

// TestLBLC is the life of one entry.
func TestLBLC(t *testing.T) {
	s, servers := withWeights(t, "lblc", Config{}, 4, 8)
	one, two := servers[0], servers[1]
	two.Open(Active) // so that one is the choice of wlc
	if s.Pick(to(1), 0) != one {
		t.Fatal("the first pick is not that of wlc")
	}
	for range 4 {
		one.Open(Active)
	}
	expect := func(want *Server, why string) {
		t.Helper()
		if got := s.Pick(to(1), 0); got != want {
			t.Fatalf("%s: picked %v, want %v", why, show(got), show(want))
		}
	}
	expect(one, "as many active connections as its weight are not too many")
	one.Open(Active)
	expect(two, "too many, and the other has less than half its weight")
	expect(two, "the entry has changed")
	must(t, s.Update(two, Settings{Weight: 8, Upper: 1}))
	expect(two, "overload does not matter to an entry")
	must(t, s.Remove(two))
	expect(one, "the server of the entry is gone")
	must(t, s.Remove(one))
	expect(nil, "no server")
	must(t, s.Restore(one, Settings{Weight: 4}))
	expect(one, "the server of the entry is back")
	must(t, s.Update(one, Settings{}))
	expect(nil, "the only server is quiesced")

	// Two active connections of eight are less than half, four are not.
	for active, moves := range map[int]bool{3: true, 4: false} {
		s, servers := withWeights(t, "lblc", Config{}, 1, 8)
		for range active {
			servers[1].Open(Active)
		}
		s.Pick(to(1), 0)
		servers[0].Open(Active)
		servers[0].Open(Active)
		if got := s.Pick(to(1), 0) == servers[1]; got != moves {
			t.Errorf("%d active of weight 8: the client moves: %v, want %v", active, got, moves)
		}
	}
}

// TestLBLCR grows a set and lets it shrink again.
func TestLBLCR(t *testing.T) {
	const expiration = 10 * time.Second
	s, servers := withWeights(t, "lblcr", Config{CacheExpiration: expiration}, 2, 2, 20)
	expect := func(want *Server, now time.Duration, why string) {
		t.Helper()
		if got := s.Pick(to(1), now); got != want {
			t.Fatalf("%s: picked %v, want %v", why, show(got), show(want))
		}
	}
	one, two, three := servers[0], servers[1], servers[2]
	for range 5 {
		three.Open(Active)
	}
	expect(one, 0, "the first server of the list")
	for range 3 {
		one.Open(Active)
	}
	expect(two, 0, "the set grows")
	if one.Cached() != 1 || two.Cached() != 1 {
		t.Fatal("the set has not both servers")
	}
	expect(two, 0, "the least loaded of the set")
	for range 3 {
		two.Open(Active)
	}
	expect(three, 0, "the set grows again")
	expect(three, expiration, "not yet stable for longer than the expiration time")
	if one.Cached() != 1 || two.Cached() != 1 {
		t.Fatal("the set shrank too early")
	}
	two.Close(Active)
	expect(three, expiration+4*time.Millisecond, "the most loaded server leaves")
	if one.Cached() != 0 || two.Cached() != 1 || three.Cached() != 1 {
		t.Fatal("the wrong server left the set")
	}
	two.Close(Active)
	two.Close(Active)
	expect(two, 2*expiration+4*time.Millisecond, "stable for just the expiration time since one left")

	// The server that leaves may be the one that this packet still goes to, and a server that joins comes first:
	// among equals, the newest leaves.
	s, servers = withWeights(t, "lblcr", Config{CacheExpiration: expiration}, 1, 1)
	expect(servers[0], 0, "the first server of the list")
	servers[0].Open(Active)
	servers[0].Open(Active)
	expect(servers[1], 0, "the set grows")
	servers[1].Open(Active)
	servers[1].Open(Active)
	expect(servers[1], time.Minute, "the newest of equals leaves, and gets the packet")
	if servers[0].Cached() != 1 || servers[1].Cached() != 0 {
		t.Error("the wrong one of equals left the set")
	}
}
