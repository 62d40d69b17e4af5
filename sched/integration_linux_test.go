package sched_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/sched"
)

const (
	defaultPicks   = 10000 // for each scheduler
	scenarioPicks  = 1000  // at most
	workers        = 12    // scenarios at a time; most of them wait for connections to expire
	shrinkDuration = time.Minute
)

// environment returns a number from the environment.
func environment(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, s, err)
	}
	return n
}

// seed returns LVS_SEED, or a number that differs from run to run, and prints it.
func seed(t testing.TB) uint64 {
	t.Helper()
	n := environment(t, "LVS_SEED", uint64(time.Now().UnixNano())%1e9)
	t.Logf("LVS_SEED=%d", n)
	return n
}

// random returns the source of random numbers of one scenario.
func random(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// combinations are the flags that sh and mh read.
var combinations = []sched.Flags{0, sched.Fallback, sched.Port, sched.Fallback | sched.Port}

// TestIntegrationSchedulers plays random events to the running kernel and to the model. LVS_PICKS is the number of picks
// for each scheduler, and LVS_SEED repeats a run.
func TestIntegrationSchedulers(t *testing.T) {
	nstest.RequireKernel(t)
	pin(t)
	seed, want := seed(t), int(environment(t, "LVS_PICKS", defaultPicks))

	type job struct {
		variant
		test string
	}
	var jobs []job
	size := max(1, min(scenarioPicks, want/len(combinations)))
	for i := range (want + size - 1) / size {
		for _, name := range compared() {
			flags := combinations[i%len(combinations)]
			jobs = append(jobs, job{variant{name, flags}, fmt.Sprintf("%s/%d", name, i)})
		}
	}
	next := make(chan job)
	go func() {
		defer close(next)
		for _, j := range jobs {
			next <- j
		}
	}()

	var mu sync.Mutex
	picks, played := make(map[variant]int), 0
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for j := range next {
				t.Run(j.test, func(t *testing.T) {
					s := generate(random(seed, j.test), j.name, j.flags, size)
					counts := compare(t, s, fmt.Sprintf("LVS_SEED=%d -run '^TestIntegrationSchedulers$/^%s$'", seed, strings.ReplaceAll(j.test, "/", "$/^")))
					mu.Lock()
					defer mu.Unlock()
					played++
					for v, n := range counts {
						picks[v] += n
					}
				})
			}
		})
	}
	group.Wait()
	if t.Failed() || played < len(jobs) {
		return // not all, if a part was asked for
	}
	for _, name := range compared() {
		total := 0
		for v, n := range picks {
			if v.name == name {
				total += n
			}
		}
		if total < want {
			t.Errorf("%s: %d picks, want %d", name, total, want)
		}
		fmt.Printf("differential: %s %d picks, 0 differences on Linux %s\n", name, total, release(t))
		if name != "sh" && name != "mh" {
			continue
		}
		for _, flags := range combinations {
			v := variant{name, flags}
			if picks[v] < want/8 {
				t.Errorf("%v: %d picks, want an eighth of %d", v, picks[v], want)
			}
			fmt.Printf("differential: %v %d picks, 0 differences on Linux %s\n", v, picks[v], release(t))
		}
	}
}

// shrinking says that a scenario with a difference is, or was, shortened. One is enough.
var shrinking atomic.Bool

// compare plays a scenario, and fails with a shorter one if the model differs. It returns the numbers of picks.
func compare(t *testing.T, s scenario, repeat string) map[variant]int {
	x := newDuel(t, s.setting, s.name, s.flags, nil)
	err := x.play(s.events)
	if err == nil {
		return x.picks
	}
	var diff *difference
	if !errors.As(err, &diff) {
		t.Fatal(err)
	}
	t.Errorf("%s, %v service: repeat with %s\n%v\nthe last events:\n%s",
		variant{s.name, s.flags}, s.setting, repeat, err, list(s.events[max(0, diff.at-20):diff.at+1]))
	if !shrinking.CompareAndSwap(false, true) {
		return nil
	}
	s.events = s.events[:diff.at+1]
	short, last := shrink(t, s)
	t.Errorf("shorter, %d events:\n%v\nplayed:\n%s", len(short.events), last, list(short.events))
	return nil
}

func list(events []event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\t%v\n", e)
	}
	return b.String()
}

// shrink leaves out events as long as what remains shows a difference, and returns what remains and the difference.
func shrink(t *testing.T, s scenario) (scenario, error) {
	deadline := time.Now().Add(shrinkDuration)
	last := errors.New("not seen a second time")
	differs := func(events []event) (bad bool) {
		t.Run("shrink", func(t *testing.T) {
			err := newDuel(t, s.setting, s.name, s.flags, nil).play(events)
			if bad = err != nil; bad {
				last = err
			}
		})
		return bad
	}
	if !differs(s.events) {
		return s, last
	}
	for size := len(s.events) / 2; size > 0; size /= 2 {
		for at := 0; at < len(s.events) && time.Now().Before(deadline); {
			end := min(at+size, len(s.events))
			if without := slices.Delete(slices.Clone(s.events), at, end); differs(without) {
				s.events = without
			} else {
				at = end
			}
		}
	}
	return s, last
}
