package ipvs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nstest"
)

// dialNS returns a client of a new namespace on a real kernel.
func dialNS(t *testing.T) (*nstest.NS, *Client) {
	t.Helper()
	ns := nstest.New(t)
	return ns, dialIntoNS(t, ns)
}

func dialIntoNS(t *testing.T, ns *nstest.NS) *Client {
	t.Helper()
	c, err := Dial(t.Context(), &Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	// What would go in the background with the namespace, when nobody uses it any more, would make the lists of the next
	// tests miss something: the kernel numbers their entries across all namespaces.
	t.Cleanup(func() {
		_ = c.Flush(context.Background())
		_ = c.Close()
	})
	return c
}

// random returns a source of random numbers that LVS_SEED repeats, and prints what it begins with.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1e9
	if s := os.Getenv("LVS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("LVS_SEED: %v", err)
		}
	}
	t.Logf("LVS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// After Apply a real kernel's table is the wanted one in every attribute and in its order, a second Apply has nothing to
// do, and what Do reports is what is in the table.
func TestIntegrationApply(t *testing.T) {
	nstest.RequireKernel(t)
	ctx := t.Context()
	r := random(t)
	tables, changes := 0, 0
	for range 5 {
		_, c := dialNS(t)
		for range 6 {
			want := randomRuleset(r)
			order := r.IntN(2) == 0
			report, err := c.Apply(ctx, want, &ApplyOptions{DiffOptions: DiffOptions{KeepOrder: order}})
			if err != nil {
				t.Fatalf("%v\n%v", err, report)
			}
			have, err := c.Ruleset(ctx)
			must(t, err)
			if !have.Equal(want) {
				t.Fatalf("after Apply (-want +got):\n%s", cmp.Diff(want.normal(true), have.normal(true), equateAddrs))
			}
			if again, err := c.Apply(ctx, want, &ApplyOptions{DiffOptions: DiffOptions{KeepOrder: order}}); err != nil || len(again.Changes) != 0 {
				t.Fatalf("a second Apply: %v\n%v", err, again)
			}
			tables++
			changes += len(report.Changes)
		}
		// A plan of which some changes are refused: those that the report calls applied are in the table, and no others.
		before, err := c.Ruleset(ctx)
		must(t, err)
		plan := Diff(before, randomRuleset(r), nil)
		for range 20 {
			i := r.IntN(len(plan) + 1)
			refused := Change{Kind: DestinationDelete, Service: Service{ID: Mark(9999, IPv4)}, Destination: NewDestination(real)}
			plan = append(plan[:i], append([]Change{refused}, plan[i:]...)...)
		}
		report, err := c.Do(ctx, plan)
		wantError(t, err, ErrNoService)
		_, copied := newKernel(t, nil)
		if _, err := copied.Apply(ctx, before, nil); err != nil {
			t.Fatal(err)
		}
		for i, ch := range report.Changes {
			if report.Outcomes[i].State == Applied {
				must(t, copied.change(ctx, ch))
			}
		}
		have, err := c.Ruleset(ctx)
		must(t, err)
		want, err := copied.Ruleset(ctx)
		must(t, err)
		if !have.Equal(want) {
			t.Fatalf("the report does not say what took effect (-want +got):\n%s", cmp.Diff(want.normal(true), have.normal(true), equateAddrs))
		}
	}
	fmt.Printf("kernel: Apply: %d random tables, %d changes, all equal afterwards\n", tables, changes)
}

// While another socket adds and deletes every second one of many services, no other service is missing from a snapshot
// or there twice. The kernel lists some 90 of them at a time.
func TestIntegrationSnapshotChurn(t *testing.T) {
	nstest.RequireKernel(t)
	const (
		services  = 2000
		snapshots = 60
	)
	ctx := t.Context()
	ns, c := dialNS(t)
	id := func(i int) ServiceID {
		return ServiceID{Protocol: TCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), uint16(i+1))}
	}
	var all []Change
	for i := range services {
		all = append(all, Change{Kind: ServiceAdd, Service: Service{ID: id(i), Scheduler: "rr"}})
	}
	if _, err := c.Do(ctx, all); err != nil {
		t.Fatal(err)
	}
	other := dialIntoNS(t, ns)
	churning, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	var turns atomic.Int64
	go func() {
		for i := 1; ; i = (i + 2) % services {
			err := other.DeleteService(churning, id(i))
			if errors.Is(err, ErrNoService) {
				err = other.AddService(churning, Service{ID: id(i), Scheduler: "rr"})
			}
			if churning.Err() != nil {
				stopped <- nil
				return
			}
			if err != nil {
				stopped <- err
				return
			}
			turns.Add(1)
		}
	}()
	lists, lost, twice, agreed := 0, 0, 0, 0
	for n := range snapshots {
		if n%5 == 0 { // for comparison, a plain list
			list, err := c.Services(ctx)
			must(t, err)
			lists++
			seen := make(map[ServiceID]int, services)
			for i := range list {
				seen[list[i].ID]++
			}
			for i := 0; i < services; i += 2 {
				switch n := seen[id(i)]; {
				case n == 0:
					lost++
				case n > 1:
					twice++
				}
			}
		}
		s, err := c.Snapshot(ctx)
		must(t, err)
		seen := make(map[ServiceID]int, services)
		for i := range s.Services {
			seen[s.Services[i].ID]++
		}
		for i := 0; i < services; i += 2 {
			if seen[id(i)] != 1 {
				t.Fatalf("snapshot %d: service %v is there %d times", n, id(i), seen[id(i)])
			}
		}
		for id, times := range seen {
			if times != 1 {
				t.Fatalf("snapshot %d: service %v is there %d times", n, id, times)
			}
		}
		if s.Agreed {
			agreed++
		}
	}
	stop()
	must(t, <-stopped)
	fmt.Printf("kernel: Snapshot: %d snapshots of %d services during %d changes: 0 lost, 0 twice, %d agreed; %d plain lists: %d lost, %d twice\n",
		snapshots, services, turns.Load(), agreed, lists, lost, twice)
}
