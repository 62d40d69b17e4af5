package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where there are more servers than colours, those that something happens to are told apart, and drawn above the others.
func TestLooks(t *testing.T) {
	servers := func(n int) (list []netip.AddrPort) {
		for i := range n {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80))
		}
		return list
	}
	at := func(list ...int) (incidents []incident) {
		for _, n := range list {
			incidents = append(incidents, incident{Server: servers(n + 1)[n]})
		}
		return incidents
	}
	tests := map[string]struct {
		servers   int
		incidents []incident
		looks     []int
		order     []int
		key       []string
	}{
		"a colour for each": {2, at(1), []int{0, 1}, []int{0, 1}, []string{"10.0.0.0:80", "10.0.0.1:80"}},
		"two incidents": {10, at(7, 2, 2), []int{-1, -1, 0, -1, -1, -1, -1, 1, -1, -1}, []int{0, 1, 3, 4, 5, 6, 8, 9, 2, 7},
			[]string{"10.0.0.2:80", "10.0.0.7:80", "each of 8 others"}},
		"no incident": {9, nil, []int{-1, -1, -1, -1, -1, -1, -1, -1, -1}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, []string{"each of 9 servers"}},
		"too many": {10, at(0, 1, 2, 3, 4, 5, 6, 7, 8), []int{0, 1, 2, 3, 4, 5, 6, 7, -1, -1}, []int{8, 9, 0, 1, 2, 3, 4, 5, 6, 7},
			[]string{"10.0.0.0:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80", "10.0.0.6:80", "10.0.0.7:80", "each of 2 others"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &serviceResult{Servers: servers(tt.servers), Incidents: tt.incidents}
			looks := s.looks()
			if diff := cmp.Diff(tt.looks, looks); diff != "" {
				t.Errorf("looks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.order, background(looks)); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			var names []string
			for _, e := range s.key() {
				names = append(names, e.Name)
			}
			if diff := cmp.Diff(tt.key, names); diff != "" {
				t.Errorf("key (-want +got):\n%s", diff)
			}
		})
	}
}

// No two of fourteen schedulers look the same.
func TestColours(t *testing.T) {
	seen := make(map[string]int)
	for n := nobody; n < 14; n++ {
		c := string(colour(n))
		if other, taken := seen[c]; taken || !strings.Contains(c, "#") {
			t.Errorf("%d and %d are %q", other, n, c)
		}
		seen[c] = n
	}
}
