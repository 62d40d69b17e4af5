package sched

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func picks(s *Scheduler, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = owners([]*Server{s.Pick(Flow{}, 0)})[0]
	}
	return out
}

// TestWRROrder is the sequence for weights 4, 3, 2: one level at a time, not interleaved.
func TestWRROrder(t *testing.T) {
	s, _ := withWeights(t, "rr", Config{}, 4, 3, 2)
	must(t, s.Switch("wrr"))
	if diff := cmp.Diff([]int{1, 1, 2, 1, 2, 3, 1, 2, 3, 1, 1, 2}, picks(s, 12)); diff != "" {
		t.Errorf("picks (-want +got):\n%s", diff)
	}
	// Added one by one, the scheduler starts in the middle of what it thought before.
	s, servers := withWeights(t, "wrr", Config{}, 4, 3, 2)
	if diff := cmp.Diff([]int{1, 2, 3, 1, 1, 2, 1, 2, 3, 1, 2, 3}, picks(s, 12)); diff != "" {
		t.Errorf("picks after additions (-want +got):\n%s", diff)
	}
	// Even an update that changes nothing starts the walk over, at the level that the walk was at.
	must(t, s.Update(servers[1], Settings{Weight: 3}))
	if got := s.algo.(*wrr); got.cursor != head || got.level != 1 {
		t.Errorf("cursor %d, level %d after an update, want %d and 1", got.cursor, got.level, head)
	}
}

// checkPeriod demands that a period of wrr gives each server its weight divided by the greatest common divisor.
func checkPeriod(t *testing.T, weights []int32) {
	t.Helper()
	s, servers := withWeights(t, "wrr", Config{}, weights...)
	divisor, sum := int32(0), 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	if divisor == 0 {
		return
	}
	for _, w := range weights {
		sum += int(w / divisor)
	}
	if sum > 5000 {
		return
	}
	for start := range 3 { // any stretch of that length is a period
		count := make(map[*Server]int32)
		for range sum {
			count[s.Pick(Flow{}, 0)]++
		}
		for i, d := range servers {
			if count[d] != weights[i]/divisor {
				t.Fatalf("weights %v, period %d: server %d got %d, want %d", weights, start, i, count[d], weights[i]/divisor)
			}
		}
		s.Pick(Flow{}, 0)
	}
}

func TestWRRPeriod(t *testing.T) {
	for _, weights := range [][]int32{{1}, {0, 1}, {4, 3, 2}, {6, 9, 0, 12}, {100, 1}, {1000, 1000}, {1 << 30, 1 << 29}, {math.MaxInt32, 0}} {
		checkPeriod(t, weights)
	}
}

func FuzzWRRPeriod(f *testing.F) {
	f.Add([]byte{4, 3, 2}, uint8(1))
	f.Add([]byte{0, 0, 7}, uint8(6))
	f.Fuzz(func(t *testing.T, w []byte, factor uint8) {
		weights := make([]int32, min(len(w), 64))
		for i := range weights {
			weights[i] = int32(w[i]) * int32(factor)
		}
		checkPeriod(t, weights)
	})
}

// TestWRRHeavyOverloaded makes the level fall through two thousand million values in one pick.
func TestWRRHeavyOverloaded(t *testing.T) {
	s, servers := withWeights(t, "wrr", Config{}, math.MaxInt32, 1)
	must(t, s.Update(servers[0], Settings{Weight: math.MaxInt32, Upper: 1}))
	servers[0].Open(Active)
	if diff := cmp.Diff([]int{2, 2, 2}, picks(s, 3)); diff != "" {
		t.Errorf("picks (-want +got):\n%s", diff)
	}
}
