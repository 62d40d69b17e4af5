package ipvsadm_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func stringReader(s string) io.Reader { return strings.NewReader(s) }

// states are the golden states whose counters are zero.
var states = []string{
	"empty", "fwmark", "mixed-af", "names", "pe-sip", "persistent", "sched-flags", "schedulers", "sctp", "sort",
	"sort-wrap-dests", "sort-wrap-two", "thresholds", "tunnels", "udp-ops", "v4-basic", "v6-basic", "v6-long",
}

func TestPlainTable(t *testing.T) {
	for _, state := range states {
		t.Run(state, func(t *testing.T) {
			c := newClient(t)
			restore(t, c, &ipvsadm.Parser{}, golden(t, state+".setup"))
			table, err := ipvsadm.ReadTable(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := (ipvsadm.Listing{}).WriteTable(context.Background(), &got, table, nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(golden(t, state+".Ln.txt"), got.String()); diff != "" {
				t.Fatalf("-Ln (-want +got):\n%s", diff)
			}
		})
	}
}
