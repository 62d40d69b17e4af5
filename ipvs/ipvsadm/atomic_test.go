package ipvsadm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
