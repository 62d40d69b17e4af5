package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseModprobe(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want modprobeRequest
	}{
		"kernel":   {[]string{"-q", "--", "ip_vs_rr"}, modprobeRequest{quiet: true, names: []string{"ip_vs_rr"}}},
		"tool":     {[]string{"--", "ip_vs"}, modprobeRequest{names: []string{"ip_vs"}}},
		"options":  {[]string{"ip_vs", "a=1", "b"}, modprobeRequest{names: []string{"ip_vs"}, options: "a=1 b"}},
		"all":      {[]string{"-qa", "a", "b"}, modprobeRequest{quiet: true, names: []string{"a", "b"}}},
		"remove":   {[]string{"-r", "a", "b"}, modprobeRequest{remove: true, names: []string{"a", "b"}}},
		"all long": {[]string{"--all", "a", "b"}, modprobeRequest{names: []string{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseModprobe(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(modprobeRequest{})); diff != "" {
				t.Fatalf("request (-want +got):\n%s", diff)
			}
		})
	}
	for _, args := range [][]string{nil, {"-q"}, {"--frob", "x"}, {"-Z", "x"}} {
		if got, err := parseModprobe(args); err == nil {
			t.Errorf("%q: got %v, want an error", args, got)
		}
	}
}
