package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestIndex compares the connection table with lists by key: the newest connection of a key is found, whatever goes.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table := newConns()
	want := make(map[key][]uint32) // the newest last
	var all []uint32
	for step := range 20000 {
		f := Flow{Protocol: TCP, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(2))}), uint16(r.IntN(300))), Virtual: addr4("192.0.2.1:80")}
		k := keyOf(&f)
		grow := step/4000%2 == 0
		switch {
		case len(want[k]) < 2 && (grow || r.IntN(4) == 0) && (len(want[k]) == 0 || 2*table.n < len(table.index)): // it does not grow with two of a key
			id := table.add(&k)
			want[k] = append(want[k], id)
			all = append(all, id)
		case len(all) > 0:
			i := r.IntN(len(all))
			id := all[i]
			all = slices.Delete(all, i, i+1)
			gone := table.at(id).key
			want[gone] = slices.DeleteFunc(want[gone], func(x uint32) bool { return x == id })
			table.remove(id)
			k = gone
		}
		newest := uint32(0)
		if list := want[k]; len(list) > 0 {
			newest = list[len(list)-1]
		}
		if got := table.find(&k); got != newest || table.n != len(all) {
			t.Fatalf("step %d: %d is found, want %d of %v; %d connections, want %d", step, got, newest, want[k], table.n, len(all))
		}
	}
	for k, list := range want {
		if len(list) > 0 && table.find(&k) != list[len(list)-1] {
			t.Fatalf("%v is not found", list)
		}
	}
	if len(table.index) < 1<<10 {
		t.Errorf("the index has not grown: %d", len(table.index))
	}
}
