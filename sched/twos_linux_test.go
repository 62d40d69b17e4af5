package sched_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sort"
	"testing"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched"
)

// odds judges picks that are made at random. The rule of twos gives each server its probability for the next pick,
// exactly, from the weights and counters of the moment. Picks are turned into numbers that are uniform between 0 and 1 if
// the rule is right: the sum of the probabilities of all servers before the picked one, and a random part of its own.
// How these spread over bins of equal width is measured by chi-square. There are two such statistics, for servers in the
// order of the list and in the order of their load. A third one, normally distributed, is how often the first usable server
// was picked, compared with how often it should have been.
type odds struct {
	r     *rand.Rand
	share func(weight, sum float64, first bool) float64 // of a server in one draw
	bins  [2][bins]int
	picks int

	first    float64 // picks of the first server, less the expected number
	variance float64 // of that
}

const (
	bins = 20

	// chiBound is what a chi-square variable with bins - 1 = 19 degrees of freedom exceeds with a probability of one
	// in a million.
	chiBound = 63.7

	// zBound is what a standard normal variable exceeds, up or down, with about that probability.
	zBound = 4.9
)

// kernelShare is the probability of a server in one draw: the range of the draw has one value more than the sum of the
// weights, and it goes to the first usable server.
func kernelShare(weight, sum float64, first bool) float64 {
	if first {
		weight++
	}
	return weight / (sum + 1)
}

// candidate is a usable server.
type candidate struct {
	server   *sched.Server
	share    float64 // in one draw
	p        float64 // of being picked
	overhead int32
}

func (c *candidate) load() float64 { return float64(c.overhead) / float64(c.server.Weight()) }

// candidates returns the usable servers with their probabilities.
func (o *odds) candidates(s *sched.Scheduler) []candidate {
	var all []candidate
	sum := 0.0
	for d := range s.Servers() {
		if d.Weight() > 0 && !d.Overloaded() {
			all = append(all, candidate{server: d, overhead: 257*d.Active() + d.Inactive()})
			sum += float64(d.Weight())
		}
	}
	for i := range all {
		all[i].share = o.share(float64(all[i].server.Weight()), sum, i == 0)
	}
	for i := range all {
		for j := range all {
			first, second := &all[i], &all[j]
			if int64(second.server.Weight())*int64(first.overhead) > int64(first.server.Weight())*int64(second.overhead) {
				first = second
			}
			first.p += all[i].share * all[j].share
		}
	}
	return all
}

// judge takes a pick, before it is counted. The error is that the rule does not allow it.
func (o *odds) judge(s *sched.Scheduler, picked *sched.Server) error {
	o.picks++
	all := o.candidates(s)
	if picked == nil {
		if len(all) > 0 {
			return fmt.Errorf("nothing was picked, of %d usable servers", len(all))
		}
		return nil
	}
	if len(all) > 0 {
		p := all[0].p
		o.first -= p
		o.variance += p * (1 - p)
		if all[0].server == picked {
			o.first++
		}
	}
	for i := range o.bins {
		if i == 1 {
			sort.SliceStable(all, func(i, j int) bool { return all[i].load() < all[j].load() })
		}
		below, found := 0.0, false
		for _, c := range all {
			if c.server == picked {
				found = c.p > 0
				u := below + c.p*o.r.Float64()
				o.bins[i][min(int(u*bins), bins-1)]++
				break
			}
			below += c.p
		}
		if !found {
			return fmt.Errorf("server %s was picked against the rule", number(picked))
		}
	}
	return nil
}

// statistics describes the three and reports whether they are within their bounds.
func (o *odds) statistics() (string, bool) {
	chi, z := o.chi(), o.first/math.Sqrt(o.variance)
	text := fmt.Sprintf("chi-square %.1f and %.1f of at most %.1f, z %.2f of at most %.1f", chi[0], chi[1], chiBound, z, zBound)
	return text, chi[0] <= chiBound && chi[1] <= chiBound && math.Abs(z) <= zBound
}

func (o *odds) chi() (chi [2]float64) {
	for i, counts := range o.bins {
		n := 0
		for _, c := range counts {
			n += c
		}
		want := float64(n) / bins
		for _, c := range counts {
			chi[i] += (float64(c) - want) * (float64(c) - want) / want
		}
	}
	return chi
}

// TestTwosOdds judges the model's picks, which pass, and measures how wrong rules fail.
func TestTwosOdds(t *testing.T) {
	tests := map[string]struct {
		share func(weight, sum float64, first bool) float64
		pass  bool
	}{
		"the rule":            {kernelShare, true},
		"shares by weight":    {func(weight, sum float64, _ bool) float64 { return weight / sum }, false},
		"one more for others": {func(weight, sum float64, first bool) float64 { return kernelShare(weight, sum, !first) }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			o := &odds{r: r, share: test.share}
			for o.picks < 10000 {
				s, err := sched.New("twos", sched.Config{Rand: r.Uint32})
				if err != nil {
					t.Fatal(err)
				}
				g := generate(r, "twos", 0, 100)
				for _, e := range g.events {
					if e.kind == addServer && s.Find(ofServer(e.server)) == nil {
						if _, err := s.Add(ofServer(e.server), e.settings); err != nil {
							t.Fatal(err)
						}
					}
					if e.kind != open {
						continue
					}
					d := s.Pick(sched.Flow{}, 0)
					if err := o.judge(s, d); err != nil {
						t.Fatal(err)
					}
					if d != nil {
						d.Open(sched.Inactive)
						if !g.setting.udp {
							d.Move(sched.Active)
						}
						if g.setting.ops {
							d.Close(sched.Inactive)
						}
					}
				}
			}
			text, pass := o.statistics()
			if pass != test.pass {
				t.Errorf("%s: passes is %v, want %v", text, pass, test.pass)
			}
			t.Log(text)
		})
	}
	// A pick of a server that cannot be picked.
	s, err := sched.New("twos", sched.Config{Rand: rand.Uint32})
	if err != nil {
		t.Fatal(err)
	}
	quiesced, err := s.Add(ofServer(1), sched.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	o := &odds{r: rand.New(rand.NewPCG(1, 1)), share: kernelShare}
	if err := o.judge(s, quiesced); err == nil {
		t.Error("a quiesced server was picked, and that passes")
	}
	if err := o.judge(s, nil); err != nil {
		t.Error(err)
	}
}

// TestIntegrationTwos plays random events with the scheduler twos to the running kernel. Its picks cannot be foretold; they
// are judged by odds. A false alarm comes in one of 300,000 runs.
func TestIntegrationTwos(t *testing.T) {
	nstest.RequireKernel(t)
	pin(t)
	err := newDirector(t, setting{}).addService("twos", 0)
	if errors.Is(err, ipvs.ErrScheduler) && !nstest.KernelAtLeast(t, 6, 12) {
		t.Skipf("Linux %s was built without the scheduler twos", release(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	seed, want := seed(t), int(environment(t, "LVS_PICKS", defaultPicks))
	o := &odds{r: random(seed, "odds"), share: kernelShare}
	for i := 0; o.picks < want; i++ {
		name := fmt.Sprintf("twos/%d", i)
		t.Run(name, func(t *testing.T) {
			s := generate(random(seed, name), "twos", 0, min(scenarioPicks/2, want))
			s.events = without(s.events, expire)
			x := newDuel(t, s.setting, "twos", 0, rand.Uint32)
			x.follow = func(kernel *sched.Server) error { return o.judge(x.s, kernel) }
			if err := x.play(s.events); err != nil {
				t.Errorf("LVS_SEED=%d, %v service: %v", seed, s.setting, err)
			}
		})
		if t.Failed() {
			return
		}
	}
	text, pass := o.statistics()
	if !pass {
		t.Errorf("LVS_SEED=%d: %s; bins %v", seed, text, o.bins)
		return
	}
	fmt.Printf("differential: twos %d picks, 0 against the rule, %s on Linux %s\n", o.picks, text, release(t))
}

// without leaves out one kind of events.
func without(events []event, kind eventKind) []event {
	var rest []event
	for _, e := range events {
		if e.kind != kind {
			rest = append(rest, e)
		}
	}
	return rest
}

func ofServer(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(n)}), servicePort)
}
