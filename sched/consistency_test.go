package sched

import (
	"slices"
	"testing"
)

// FuzzConsistency changes the servers of a scheduler at random. Then the scheduler must pick like one that was made
// just now from the same list, for all those whose state the kernel makes anew at each change, or that have none. The
// cursors of rr and wrr depend on the past, but not after switching to another scheduler and back. The hash
// schedulers must also answer the same flow alike.
func FuzzConsistency(f *testing.F) {
	for i := range Names() {
		f.Add(uint8(i), uint8(i), randomTape(uint64(100+i), 200).bytes)
	}
	f.Fuzz(func(t *testing.T, name, most uint8, data []byte) {
		names := []string{"lc", "wlc", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "rr", "wrr"}
		r := newRun(t, names[int(name)%len(names)], Config{MHTableIndex: 8}, 1+int(most)%60, &tape{data})
		for r.tape.more() {
			r.step(t)
		}
		fresh, err := New(None, r.s.config)
		must(t, err)
		copies := make(map[*Server]*Server)
		for _, d := range slices.Backward(slices.Collect(r.s.Servers())) {
			c := mustAdd(t, fresh, d.addr, d.Settings())
			c.lastWeight, c.active, c.total, c.limit = d.lastWeight, d.active, d.total, d.limit
			copies[d] = c
		}
		fresh.SetFlags(r.s.Flags())
		if r.s.Name() == "rr" || r.s.Name() == "wrr" {
			must(t, r.s.Switch(None))
			must(t, r.s.Switch(names[int(name)%len(names)]))
		}
		must(t, fresh.Switch(r.s.Name()))
		r.tape = randomTape(uint64(len(data)), 400)
		for r.tape.more() {
			flow := r.flow()
			got, want := r.s.Pick(flow, 0), fresh.Pick(flow, 0)
			if got != nil && copies[got] != want || got == nil && want != nil {
				t.Fatalf("%s: picked %v, a new scheduler %v", r.s.Name(), show(got), show(want))
			}
			switch r.s.Name() {
			case "dh", "sh", "mh":
				if again := r.s.Pick(flow, 0); again != got {
					t.Fatalf("%s: the same flow went to %v and then to %v", r.s.Name(), show(got), show(again))
				}
			}
			if got != nil {
				got.Open(Active)
				want.Open(Active)
			}
		}
	})
}
