package sched_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/golvs/lvs/sched"
)

// add adds 10.0.0.n:80.
func add(s *sched.Scheduler, n byte, c sched.Settings) *sched.Server {
	d, err := s.Add(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80), c)
	if err != nil {
		panic(err)
	}
	return d
}

// Ten long connections and two servers, one twice as strong.
func Example() {
	s, err := sched.New("wlc", sched.Config{})
	if err != nil {
		panic(err)
	}
	small := add(s, 1, sched.Settings{Weight: 1})
	large := add(s, 2, sched.Settings{Weight: 2})
	for range 9 {
		s.Pick(sched.Flow{}, 0).Open(sched.Active)
	}
	fmt.Println(small.Active(), large.Active())

	// All connections of the small server end.
	for range 3 {
		small.Close(sched.Active)
	}
	fmt.Println(s.Pick(sched.Flow{}, 0).Addr())
	// Output:
	// 3 6
	// 10.0.0.1:80
}

// The server that was added last comes first, and weights do not interleave.
func ExampleScheduler_Pick() {
	s, err := sched.New("wrr", sched.Config{})
	if err != nil {
		panic(err)
	}
	add(s, 3, sched.Settings{Weight: 2})
	add(s, 2, sched.Settings{Weight: 3})
	add(s, 1, sched.Settings{Weight: 4})
	for range 18 {
		fmt.Print(s.Pick(sched.Flow{}, 0).Addr().Addr().AsSlice()[3], " ")
	}
	fmt.Println()
	// Output: 1 2 3 1 1 2 1 2 3 1 2 3 1 1 2 1 2 3
}

// Quiescing a server turns its clients away under plain source hashing; with the fallback flag they go elsewhere,
// all to the same server here, and the others stay where they are.
func ExampleScheduler_SetFlags() {
	s, err := sched.New("sh", sched.Config{})
	if err != nil {
		panic(err)
	}
	for n := byte(1); n <= 4; n++ {
		add(s, n, sched.Settings{Weight: 1})
	}
	load := func() (refused int, served [5]int) {
		for i := range 256 {
			client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 40000)
			d := s.Pick(sched.Flow{Client: client}, 0)
			if d == nil {
				refused++
				continue
			}
			served[d.Addr().Addr().As4()[3]]++
		}
		return refused, served
	}
	fmt.Println(load())
	if err := s.Update(s.Find(netip.MustParseAddrPort("10.0.0.2:80")), sched.Settings{Weight: 0}); err != nil {
		panic(err)
	}
	fmt.Println(load())
	s.SetFlags(sched.Fallback)
	fmt.Println(load())
	// Output:
	// 0 [0 63 65 64 64]
	// 65 [0 63 0 64 64]
	// 0 [0 63 0 64 129]
}

// A server is overloaded from five connections on, until fewer than four are left: three quarters of five, rounded
// up.
func ExampleSettings() {
	s, err := sched.New("rr", sched.Config{})
	if err != nil {
		panic(err)
	}
	d := add(s, 1, sched.Settings{Weight: 1, Upper: 5})
	for range 5 {
		d.Open(sched.Active)
	}
	for range 3 {
		fmt.Println(d.Active(), d.Overloaded(), s.Pick(sched.Flow{}, 0) != nil)
		d.Close(sched.Active)
	}
	// Output:
	// 5 true false
	// 4 true false
	// 3 false true
}

// Changing the scheduler keeps the servers and their connections.
func ExampleScheduler_Switch() {
	s, err := sched.New("rr", sched.Config{})
	if err != nil {
		panic(err)
	}
	add(s, 1, sched.Settings{Weight: 1}).Open(sched.Active)
	add(s, 2, sched.Settings{Weight: 9})
	fmt.Println(s.Name(), s.Pick(sched.Flow{}, 0).Addr(), s.Pick(sched.Flow{}, 0).Addr())
	if err := s.Switch("lc"); err != nil {
		panic(err)
	}
	fmt.Println(s.Name(), s.Pick(sched.Flow{}, 0).Addr(), s.Pick(sched.Flow{}, 0).Addr())
	// Output:
	// rr 10.0.0.2:80 10.0.0.1:80
	// lc 10.0.0.2:80 10.0.0.2:80
}

// A removed server that comes back still has its connections, and the scheduler knows.
func ExampleScheduler_Restore() {
	s, err := sched.New("wlc", sched.Config{})
	if err != nil {
		panic(err)
	}
	a, b := add(s, 1, sched.Settings{Weight: 1}), add(s, 2, sched.Settings{Weight: 1})
	a.Open(sched.Active)
	if err := s.Remove(a); err != nil {
		panic(err)
	}
	if err := s.Restore(a, sched.Settings{Weight: 1}); err != nil {
		panic(err)
	}
	fmt.Println(a.Active(), s.Pick(sched.Flow{}, 0) == b)
	// Output: 1 true
}

// Under lblc a destination keeps its server until that one is busy and another is not. Unused destinations are
// forgotten.
func ExampleScheduler_Advance() {
	s, err := sched.New("lblc", sched.Config{CacheExpiration: time.Hour})
	if err != nil {
		panic(err)
	}
	d := add(s, 1, sched.Settings{Weight: 1})
	s.Pick(sched.Flow{Destination: netip.MustParseAddr("198.51.100.1")}, 0)
	s.Pick(sched.Flow{Destination: netip.MustParseAddr("198.51.100.2")}, 40*time.Minute)
	fmt.Println(d.Cached())
	s.Advance(62 * time.Minute) // the second check is at 61:26.4
	fmt.Println(d.Cached())
	// Output:
	// 2
	// 1
}

// The kernel draws from its random number generator; a simulation brings its own source.
func ExampleConfig() {
	seed := uint32(1)
	s, err := sched.New("twos", sched.Config{Rand: func() uint32 {
		seed ^= seed << 13
		seed ^= seed >> 17
		seed ^= seed << 5
		return seed
	}})
	if err != nil {
		panic(err)
	}
	a, b := add(s, 1, sched.Settings{Weight: 1}), add(s, 2, sched.Settings{Weight: 3})
	for range 400 {
		s.Pick(sched.Flow{}, 0).Open(sched.Active)
	}
	fmt.Println(a.Active(), b.Active())
	// Output: 100 300
}
