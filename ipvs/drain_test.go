package ipvs

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nltest"
)

func drainSetup(t *testing.T, flags ServiceFlags) (*nltest.Kernel, *Client, func(active, inactive, persistent uint32)) {
	t.Helper()
	k, c := newKernel(t, nil)
	must(t, c.AddService(t.Context(), Service{ID: web, Scheduler: "rr", Flags: flags, Timeout: 300 * time.Second}))
	must(t, c.AddDestination(t.Context(), web, Destination{Addr: real, Weight: 7, UpperThreshold: 9}))
	id := nltest.ServiceID{Protocol: 6, Addr: web.Addr}
	return k, c, func(active, inactive, persistent uint32) {
		t.Helper()
		must(t, k.Namespace("").SetConns(id, real, nltest.Conns{Active: active, Inactive: inactive, Persistent: persistent}))
	}
}

func TestDrain(t *testing.T) {
	ctx := t.Context()
	for _, target := range []DrainTarget{DrainActive, DrainConnections, DrainTemplates} {
		_, c, conns := drainSetup(t, 0)
		conns(2, 2, 2)
		var left []uint32
		opts := &DrainOptions{Until: target, Interval: time.Millisecond, Progress: func(p DrainProgress) {
			left = append(left, p.Left)
			switch len(left) {
			case 1:
				if p.Destination.Weight != 7 || p.Warning != "" {
					t.Errorf("before: %+v", p)
				}
			case 2:
				conns(1, 2, 2)
			case 3:
				conns(0, 2, 2)
			case 4:
				conns(0, 0, 2)
			case 5:
				conns(0, 0, 0)
			}
			if len(left) > 1 && p.Destination.Weight != 0 {
				t.Errorf("weight %d while draining", p.Destination.Weight)
			}
		}}
		must(t, c.Drain(ctx, web, real, opts))
		want := [][]uint32{{2, 2, 1, 0}, {4, 4, 3, 2, 0}, {6, 6, 5, 4, 2, 0}}[target]
		if diff := cmp.Diff(want, left); diff != "" {
			t.Errorf("%v (-want +got):\n%s", target, diff)
		}
		_, err := c.Destination(ctx, web, real)
		wantError(t, err, ErrNoDestination)
		wantError(t, c.Drain(ctx, web, real, nil), ErrNoDestination)
	}
	_, c, _ := drainSetup(t, 0)
	must(t, c.Drain(ctx, web, real, &DrainOptions{Keep: true}))
	if d, err := c.Destination(ctx, web, real); err != nil || d.Weight != 0 || d.UpperThreshold != 9 {
		t.Errorf("kept: %+v, %v", d, err)
	}
}

// A drain that is given up restores the weight, unless it found it at 0.
func TestDrainCancelled(t *testing.T) {
	for _, weight := range []uint32{7, 0} {
		_, c, conns := drainSetup(t, 0)
		conns(1, 0, 0)
		must(t, c.SetDestination(t.Context(), web, Destination{Addr: real, Weight: weight, UpperThreshold: 9}))
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		err := c.Drain(ctx, web, real, &DrainOptions{Interval: time.Millisecond, Progress: func(DrainProgress) {
			if looks++; looks == 3 {
				cancel()
			}
		}})
		wantError(t, err, context.Canceled)
		d, err := c.Destination(t.Context(), web, real)
		if err != nil || d.Weight != weight || d.UpperThreshold != 9 {
			t.Errorf("afterwards: %+v, %v", d, err)
		}
	}
}

// Another process deletes what is being drained.
func TestDrainDeleted(t *testing.T) {
	k, c, conns := drainSetup(t, 0)
	conns(1, 0, 0)
	other := newTestClient(t, k.Namespace(""), nil)
	looks := 0
	err := c.Drain(t.Context(), web, real, &DrainOptions{Interval: time.Millisecond, Progress: func(DrainProgress) {
		if looks++; looks == 3 {
			must(t, other.DeleteService(t.Context(), web))
		}
	}})
	wantError(t, err, fs.ErrNotExist)
}

func TestDrainDryRun(t *testing.T) {
	_, c, conns := drainSetup(t, Persistent)
	conns(7, 0, 0)
	before, err := c.Destination(t.Context(), web, real)
	must(t, err)
	var looks []DrainProgress
	must(t, c.Drain(t.Context(), web, real, &DrainOptions{DryRun: true, Progress: func(p DrainProgress) { looks = append(looks, p) }}))
	if len(looks) != 1 || looks[0].Left != 7 || looks[0].Warning == "" {
		t.Errorf("%+v", looks)
	}
	if after, err := c.Destination(t.Context(), web, real); err != nil || after != before {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestDrainWarning(t *testing.T) {
	for value, want := range map[string]bool{"0\n": true, "1\n": false, "": true} {
		_, c, _ := drainSetup(t, Persistent)
		if value != "" {
			c.root = fstest.MapFS{"proc/sys/net/ipv4/vs/expire_quiescent_template": {Data: []byte(value)}}
		}
		var warning string
		must(t, c.Drain(t.Context(), web, real, &DrainOptions{Progress: func(p DrainProgress) { warning += p.Warning }}))
		if strings.Contains(warning, "5m0s") != want {
			t.Errorf("expire_quiescent_template %q: warning %q", value, warning)
		}
	}
}

func TestWatch(t *testing.T) {
	k, c, conns := drainSetup(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other := newTestClient(t, k.Namespace(""), nil)
	id := nltest.ServiceID{Protocol: 6, Addr: web.Addr}
	second := netip.MustParseAddrPort("10.0.0.3:80")
	count := func(n uint64) {
		t.Helper()
		must(t, k.Namespace("").Count(id, real, nltest.Counters{Conns: n, InPackets: 2 * n}))
		k.Advance(2 * time.Second)
	}
	steps := []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"service added", "destination added 10.0.0.2:8080"}},
		{func() { count(5) }, []string{"counted 10.0.0.2:8080 5 false"}},
		{func() { count(3) }, []string{"counted 10.0.0.2:8080 3 false"}},
		{func() { must(t, other.ZeroAll(ctx)) }, []string{"counted 10.0.0.2:8080 0 true"}},
		{func() { conns(1, 0, 0) }, []string{"counted 10.0.0.2:8080 0 false"}},
		{func() { must(t, other.AddDestination(ctx, web, NewDestination(second))) }, []string{"destination added 10.0.0.3:80"}},
		{func() { _, err := other.Quiesce(ctx, web, real); must(t, err) }, []string{"destination edited 10.0.0.2:8080 7"}},
		{func() { must(t, other.DeleteDestination(ctx, web, second)) }, []string{"destination removed 10.0.0.3:80"}},
		{func() { must(t, other.SetService(ctx, Service{ID: web, Scheduler: "wlc"})) }, []string{"service edited rr"}},
		{func() { must(t, other.Flush(ctx)) }, []string{"service removed"}},
	}
	var got []string
	step := 0
	steps[0].do()
	for e, err := range c.Watch(ctx, time.Millisecond) {
		must(t, err)
		text := e.Kind.String()
		switch e.Kind {
		case ServiceEdited:
			text += " " + e.ServiceBefore.Scheduler
		case DestinationAdded, DestinationRemoved:
			text += " " + e.Destination.Addr.String()
		case DestinationEdited:
			text += " " + e.Destination.Addr.String() + " " + string(rune('0'+e.DestinationBefore.Weight))
		case Counted:
			text += " " + e.Destination.Addr.String() + " " + string(rune('0'+e.Delta.Connections)) + " "
			if e.Reset {
				text += "true"
			} else {
				text += "false"
			}
		}
		got = append(got, text)
		if len(got) < len(steps[step].want) {
			continue
		}
		if diff := cmp.Diff(steps[step].want, got); diff != "" {
			t.Fatalf("step %d (-want +got):\n%s", step, diff)
		}
		got = nil
		if step++; step == len(steps) {
			cancel()
			continue
		}
		steps[step].do()
	}
	if step != len(steps) {
		t.Fatalf("%d steps", step)
	}
}

func TestWatchErrors(t *testing.T) {
	k, c, _ := drainSetup(t, 0)
	k.Inject(nltest.Fault{Command: nltest.GetService, Nth: 1, Effect: nltest.Fail(nltest.ENOMEM)})
	n := 0
	for e, err := range c.Watch(t.Context(), time.Millisecond) {
		n++
		switch {
		case n == 1 && err == nil:
			t.Fatalf("no error but %v", e.Kind)
		case n == 2 && e.Kind != ServiceAdded:
			t.Fatalf("then %v, %v", e.Kind, err)
		case n == 3:
			must(t, c.Close())
		case n > 3 && !errors.Is(err, os.ErrClosed):
			t.Fatalf("after Close %v, %v", e.Kind, err)
		}
	}
	if n != 4 {
		t.Fatalf("%d events", n)
	}
}

func TestStatsSince(t *testing.T) {
	a := Stats{Connections: 10, InBytes: 1 << 40}
	if d, reset := (Stats{Connections: 12, InBytes: 1<<40 + 5}).since(a); reset || d.Connections != 2 || d.InBytes != 5 {
		t.Errorf("%+v, %v", d, reset)
	}
	if d, reset := (Stats{Connections: 3, InBytes: 1<<40 + 5}).since(a); !reset || d.Connections != 3 || d.InBytes != 1<<40+5 {
		t.Errorf("%+v, %v", d, reset)
	}
	round := Stats{Connections: 1<<32 - 2, Narrow: true}
	if d, reset := (Stats{Connections: 3, Narrow: true}).since(round); reset || d.Connections != 5 {
		t.Errorf("%+v, %v", d, reset)
	}
}
