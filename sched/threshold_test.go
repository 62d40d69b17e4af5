package sched

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// flagAt opens connections up to top and closes them all again, and returns at which counts the flag was set on the
// way up and on the way down.
func flagAt(d *Server, top int) (up, down []int) {
	for n := 1; n <= top; n++ {
		d.Open(Inactive)
		if d.Overloaded() {
			up = append(up, n)
		}
	}
	for n := top - 1; n >= 0; n-- {
		d.Close(Inactive)
		if d.Overloaded() {
			down = append(down, n)
		}
	}
	return up, down
}

func TestThresholds(t *testing.T) {
	tests := []struct {
		upper, lower uint32
		legacy       bool
		up, down     []int
	}{
		{upper: 0},
		{upper: 1, up: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{upper: 2, up: []int{2, 3, 4, 5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3, 2}},
		{upper: 3, up: []int{3, 4, 5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3}},
		{upper: 4, up: []int{4, 5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3}},
		{upper: 5, up: []int{5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4}},
		{upper: 6, up: []int{6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5}},
		{upper: 7, up: []int{7, 8, 9, 10}, down: []int{9, 8, 7, 6}},
		{upper: 8, up: []int{8, 9, 10}, down: []int{9, 8, 7, 6}},
		{upper: 8, lower: 2, up: []int{8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3, 2}},
		{upper: 8, lower: 8, up: []int{8, 9, 10}, down: []int{9, 8}},
		{upper: 8, legacy: true, up: []int{8, 9, 10}, down: []int{9, 8, 7, 6}},
		{upper: 5, legacy: true, up: []int{5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4}},
		{upper: 5, lower: 2, legacy: true, up: []int{5, 6, 7, 8, 9, 10}, down: []int{9, 8, 7, 6, 5, 4, 3, 2}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d,%d,legacy=%v", tt.upper, tt.lower, tt.legacy), func(t *testing.T) {
			s, err := New("rr", Config{LegacyCounters: tt.legacy})
			must(t, err)
			d := mustAdd(t, s, serverAddr(1), Settings{Weight: 1, Upper: tt.upper, Lower: tt.lower})
			up, down := flagAt(d, 10)
			if diff := cmp.Diff(tt.up, up); diff != "" {
				t.Errorf("overloaded on the way up (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.down, down); diff != "" {
				t.Errorf("overloaded on the way down (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThresholdEdits changes thresholds while connections are open.
func TestThresholdEdits(t *testing.T) {
	type edit struct {
		upper, lower uint32
		want         bool
	}
	tests := map[string]struct {
		open   int
		legacy bool
		edits  []edit
	}{
		"between keeps, below clears":     {open: 6, edits: []edit{{5, 0, true}, {20, 3, true}, {20, 18, false}}},
		"lowered to the count":            {open: 6, edits: []edit{{20, 0, false}, {6, 0, true}}},
		"lowered below the count":         {open: 6, edits: []edit{{20, 0, false}, {2, 0, true}}},
		"zero clears":                     {open: 6, edits: []edit{{5, 0, true}, {0, 0, false}}},
		"not set between":                 {open: 6, edits: []edit{{7, 2, false}}},
		"legacy: raised clears":           {open: 6, legacy: true, edits: []edit{{5, 0, true}, {6, 0, false}}},
		"legacy: lowered sets nothing":    {open: 6, legacy: true, edits: []edit{{20, 0, false}, {3, 0, false}}},
		"legacy: lowered does not clear":  {open: 6, legacy: true, edits: []edit{{5, 0, true}, {3, 0, true}}},
		"legacy: zero clears":             {open: 6, legacy: true, edits: []edit{{5, 0, true}, {0, 0, false}}},
		"the same pair again is no event": {open: 6, edits: []edit{{5, 0, true}, {5, 0, true}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := New("rr", Config{LegacyCounters: tt.legacy})
			must(t, err)
			d := mustAdd(t, s, serverAddr(1), Settings{Weight: 1})
			if tt.legacy { // an edit cannot set the flag, so it comes from the connections
				must(t, s.Update(d, Settings{Weight: 1, Upper: tt.edits[0].upper, Lower: tt.edits[0].lower}))
			}
			for range tt.open {
				d.Open(Active)
			}
			for i, e := range tt.edits {
				must(t, s.Update(d, Settings{Weight: 1, Upper: e.upper, Lower: e.lower}))
				if d.Overloaded() != e.want {
					t.Errorf("edit %d to %d,%d: overloaded is %v, want %v", i, e.upper, e.lower, d.Overloaded(), e.want)
				}
			}
		})
	}
}

// TestThresholdReturn removes an overloaded server and brings it back: the flag stays unless the thresholds change.
func TestThresholdReturn(t *testing.T) {
	s, servers := withWeights(t, "rr", Config{}, 1)
	d := servers[0]
	must(t, s.Update(d, Settings{Weight: 1, Upper: 4, Lower: 1}))
	for range 4 {
		d.Open(Active)
	}
	must(t, s.Remove(d))
	d.Close(Active) // 3 are left, which is not below 1
	must(t, s.Restore(d, Settings{Weight: 1, Upper: 4, Lower: 1}))
	if !d.Overloaded() || s.Pick(Flow{}, 0) != nil {
		t.Error("the same thresholds cleared the flag")
	}
	must(t, s.Remove(d))
	must(t, s.Restore(d, Settings{Weight: 1, Upper: 5}))
	if d.Overloaded() || s.Pick(Flow{}, 0) != d {
		t.Error("other thresholds did not clear the flag")
	}
}
