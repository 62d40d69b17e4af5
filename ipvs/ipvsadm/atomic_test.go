package ipvsadm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nltest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// byAddr puts destinations into an order of their own: taking back a deletion does not restore the kernel's. Statistics do
// not come back either.
func byAddr(s ipvs.Snapshot) ipvs.Snapshot {
	for i := range s.Services {
		e := &s.Services[i]
		e.Stats = ipvs.Stats{}
		for j := range e.Destinations {
			e.Destinations[j].Stats = ipvs.Stats{}
		}
		slices.SortFunc(e.Destinations, func(a, b ipvs.DestinationStatus) int { return a.Addr.Compare(b.Addr) })
	}
	slices.SortFunc(s.Services, func(a, b ipvs.ServiceSnapshot) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return s
}

// Random rules are all carried out or none of them, and which one it is agrees with carrying them out one by one.
func TestApplyAllIsAllOrNothing(t *testing.T) {
	ctx := context.Background()
	var all, none int
	for seed := range uint64(150) {
		g := newGenerator(seed)
		c, plain := newClient(t), newClient(t)
		read := func(c *ipvs.Client) ipvs.Snapshot {
			s, err := c.Snapshot(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return byAddr(s)
		}
		rules := func(n int) (list []ipvsadm.Rule) {
			for len(list) < n {
				if op, err := ipvsadm.Parse(g.change()); err == nil && (op.Command != ipvsadm.Flush || g.oneIn(5)) {
					list = append(list, ipvsadm.Rule{Line: len(list) + 1, Operation: op})
				}
			}
			return list
		}
		for _, r := range rules(40) { // something to begin with
			_ = r.Operation.Apply(ctx, c)
			_ = r.Operation.Apply(ctx, plain)
		}
		before := read(c)
		todo := rules(1 + g.IntN(6))
		err := ipvsadm.ApplyAll(ctx, c, todo)
		var want error
		var line int
		for _, r := range todo {
			line = r.Line
			if want = r.Operation.Apply(ctx, plain); want != nil {
				break
			}
		}
		if (err == nil) != (want == nil) {
			t.Fatalf("seed %d: %v instead of %v\n%v", seed, err, want, todo)
		}
		if err == nil {
			all++
			before = read(plain)
		} else {
			none++
			rule, ok := errors.AsType[*ipvsadm.RuleError](err)
			a, okA := errors.AsType[*ipvs.OpError](err)
			b, okB := errors.AsType[*ipvs.OpError](want)
			// That a daemon runs already is known without the kernel, which looks for its device first.
			daemon := ok && todo[rule.Line-1].Operation.Command == ipvsadm.StartDaemon
			if !ok || !okA || !okB || a.Errno != b.Errno && rule.Line == line && !daemon {
				t.Fatalf("seed %d: %v instead of %v\n%v", seed, err, want, todo)
			}
		}
		if diff := cmp.Diff(before, read(c), equateAddrs); diff != "" {
			t.Fatalf("seed %d: after %v (-want +got):\n%s\n%v", seed, err, diff, todo)
		}
	}
	if all < 10 || none < 10 {
		t.Errorf("%d times all, %d times nothing: the generator is too one-sided", all, none)
	}
}

// A change whose answer is lost may have been made, or not; either way nothing of it is left.
func TestApplyAllTakesBackWhatIsUnclear(t *testing.T) {
	const rules = `-A -t 192.0.2.2:80 -s rr
-a -t 192.0.2.2:80 -r 10.0.0.1:80 -m -w 1
-E -t 192.0.2.1:80 -s wlc
-e -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 7
-d -t 192.0.2.1:80 -r 10.0.0.2:80
-D -t 192.0.2.1:80
`
	todo, err := (&ipvsadm.Parser{}).ReadRules(t.Context(), strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	for effect, executed := range map[string]nltest.Effect{"executed": nltest.NoBuffers(), "ignored": nltest.Ignore()} {
		for i, command := range []nltest.Command{nltest.NewService, nltest.NewDest, nltest.SetService, nltest.SetDest, nltest.DelDest, nltest.DelService} {
			k := newKernel(t, nil)
			c := dial(t, k)
			for _, line := range []string{
				"-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 1", "-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1",
			} {
				op, err := ipvsadm.Parse(strings.Fields(line))
				if err == nil {
					err = op.Apply(t.Context(), c)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			before, err := c.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k.Inject(nltest.Fault{Command: command, Nth: 1, Effect: executed})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			err = ipvsadm.ApplyAll(ctx, c, todo)
			cancel()
			e, ok := errors.AsType[*ipvsadm.RuleError](err)
			if _, left := errors.AsType[*ipvsadm.UndoError](err); !ok || e.Line != i+1 || left {
				t.Errorf("line %d, %s: %v", i+1, effect, err)
			}
			after, err := c.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byAddr(before), byAddr(after), equateAddrs); diff != "" {
				t.Errorf("line %d, %s (-before +after):\n%s", i+1, effect, diff)
			}
		}
	}
}
