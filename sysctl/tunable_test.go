package sysctl

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// The registry says what the kernels say: which parameters of IPVS exist, and the defaults of all that have one.
func TestRegistryAgainstKernels(t *testing.T) {
	for _, kernel := range []string{"6.1", "6.12"} {
		release, err := ParseKernel(kernel)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[Key]bool{}
		for _, fresh := range []bool{false, true} {
			for _, row := range golden(t, kernel, fresh) {
				tun, known := Lookup(row.key)
				ipvs := strings.HasPrefix(string(row.key), ipvsDir)
				seen[tun.Key] = true
				switch {
				case ipvs && !known:
					t.Errorf("%s: %v is not in the registry", kernel, row.key)
				case !known:
				case row.absent && !fresh && tun.Gone == (Kernel{}) && !release.Before(tun.Since) && row.key != IPVS("debug_level"):
					t.Errorf("%s: %v is absent, the registry says since %v", kernel, row.key, tun.Since)
				case row.absent && !fresh:
				case row.absent:
					if ipvs && !release.Before(tun.Since) && row.key != IPVS("debug_level") {
						t.Errorf("%s: %v is absent from a new namespace", kernel, row.key)
					}
				case tun.Gone != (Kernel{}):
					t.Errorf("%s: %v exists, the registry says gone since %v", kernel, row.key, tun.Gone)
				case release.Before(tun.Since):
					t.Errorf("%s: %v exists, the registry says since %v", kernel, row.key, tun.Since)
				case tun.Default != "" && !Same(row.key, tun.Default, row.value):
					t.Errorf("%s: default of %v is %q, the registry says %q", kernel, row.key, row.value, tun.Default)
				}
			}
		}
		for _, tun := range ipvsTunables() {
			if !seen[tun.Key] && tun.Module == "ip_vs" {
				t.Errorf("%s: %v is in the registry only", kernel, tun.Key)
			}
		}
	}
}

// What Check lets through, the kernel takes: each value that was tried on a kernel and is accepted here was accepted
// there.
func TestRangesAgainstKernels(t *testing.T) {
	tried := 0
	for _, kernel := range []string{"6.1", "6.12"} {
		f, err := os.Open("testdata/" + kernel + "/ranges.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := bufio.NewScanner(f)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			name, probes, ok := strings.Cut(in.Text(), ": ")
			if strings.HasPrefix(in.Text(), "#") || !ok {
				continue
			}
			key, err := ParseKey(name)
			if err != nil {
				t.Fatal(err)
			}
			tun, known := Lookup(key)
			if !known || tun.Kind == Text || tun.Kind == CPUs || tun.count() != 1 {
				continue
			}
			for probe := range strings.FieldsSeq(probes) {
				value, refused := strings.CutPrefix(probe, "!")
				value, back, changed := strings.Cut(value, "=>")
				err := Check(key, value)
				if err != nil && !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("Check(%v, %q): %v does not match fs.ErrInvalid", key, value, err)
				}
				if err != nil {
					continue
				}
				tried++
				if refused && !limitedByMemory(key, value) {
					t.Errorf("%s: %v = %s is accepted here and refused by the kernel", kernel, key, value)
				}
				if back = strings.Trim(back, "[]"); changed && !took(key, value, back) && !limitedByMemory(key, value) {
					t.Errorf("%s: %v = %s reads back %s, which is not recognised", kernel, key, value, back)
				}
			}
		}
		if err := in.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if tried < 1000 {
		t.Errorf("only %d values were compared", tried)
	}
}

// limitedByMemory excepts values whose bound depends on the machine.
func limitedByMemory(k Key, _ string) bool {
	return k == "net/core/netdev_budget_usecs" // at least two clock ticks
}

func TestCheck(t *testing.T) {
	tests := []struct {
		key    Key
		value  string
		reason string // part of the reason, empty if it is accepted
	}{
		{IPVS("sync_retries"), "3", ""},
		{IPVS("sync_retries"), "4", "0 to 3"},
		{IPVS("sync_retries"), "-1", "0 to 3"},
		{IPVS("sync_retries"), "03", "not a decimal number"},
		{IPVS("sync_retries"), "0x1", "not a decimal number"},
		{IPVS("sync_retries"), "+1", "not a decimal number"},
		{IPVS("sync_retries"), "-0", "not a decimal number"},
		{IPVS("sync_retries"), "1 2", "2 values, want 1"},
		{IPVS("sync_retries"), "", "0 values, want 1"},
		{IPVS("sync_retries"), " 1\t", ""},
		{IPVS("conntrack"), "2", "0 or 1"},
		{IPVS("drop_entry"), "3", ""},
		{IPVS("drop_entry"), "2", "while 1 is active"},
		{IPVS("drop_entry"), "4", "0, 1 or 3"},
		{IPVS("sync_ports"), "8", ""},
		{IPVS("sync_ports"), "3", "power of two"},
		{IPVS("sync_ports"), "128", "1 to 64"},
		{IPVS("sync_threshold"), "3 50", ""},
		{IPVS("sync_threshold"), "0 0", ""},
		{IPVS("sync_threshold"), "3 0", ""},
		{IPVS("sync_threshold"), "3 3", "below the period"},
		{IPVS("sync_threshold"), "3", "1 values, want 2"},
		{IPVS("sync_threshold"), "-1 5", "0 to 2147483647"},
		{IPVS("sync_qlen_max"), "18446744073709551615", ""},
		{IPVS("sync_qlen_max"), "18446744073709551616", "0 to 18446744073709551615"},
		{IPVS("sync_refresh_period"), "2147483", ""},
		{IPVS("sync_refresh_period"), "2147484", "0 to 2147483"},
		{IPVS("est_nice"), "-20", ""},
		{IPVS("est_nice"), "20", "-20 to 19"},
		{IPVS("est_cpulist"), "0-3,8", ""},
		{IPVS("est_cpulist"), "", ""},
		{IPVS("est_cpulist"), "3-1", "range is empty"},
		{IPVS("est_cpulist"), "0-3:2", "not a list"},
		{IPVS("est_cpulist"), "99999", "below 8192"},
		{"net/ipv4/tcp_rmem", "4096 131072 16777216", ""},
		{"net/ipv4/tcp_rmem", "8192 4096 16777216", "must not fall"},
		{"net/ipv4/tcp_rmem", "4096 131072 16777216 7", "4 values"},
		{"net/ipv4/ip_local_port_range", "1023 65000", "1024 to 65535"},
		{IPv4("eth0", "arp_announce"), "3", "0 to 2"},
		{"net/made/up", "anything 17", ""},
		{"net/made/up", "two\nlines", "more than one line"},
		{"net/made/up", " ", "empty"},
		{"net/made/up", strings.Repeat("x", 4097), "longer than 4096"},
	}
	for _, tt := range tests {
		err := Check(tt.key, tt.value)
		var v *ValueError
		switch {
		case tt.reason == "" && err != nil:
			t.Errorf("Check(%v, %q): %v", tt.key, tt.value, err)
		case tt.reason == "":
		case !errors.As(err, &v) || !errors.Is(err, fs.ErrInvalid) || v.Key != tt.key || !strings.Contains(v.Reason, tt.reason):
			t.Errorf("Check(%v, %q): %v, want a reason with %q", tt.key, tt.value, err, tt.reason)
		}
	}
}

func TestTunablesAreComplete(t *testing.T) {
	all := Tunables()
	if !slices.IsSortedFunc(all, func(a, b Tunable) int { return strings.Compare(string(a.Key), string(b.Key)) }) {
		t.Error("not sorted")
	}
	for i, tun := range all {
		if i > 0 && all[i-1].Key == tun.Key {
			t.Errorf("%v is there twice", tun.Key)
		}
		if err := tun.Key.Valid(); err != nil {
			t.Errorf("%v: %v", tun.Key, err)
		}
		if tun.Effect == "" || tun.Range() == "" || strings.Contains(tun.Kind.String(), "(") || strings.Contains(tun.Scope.String(), "(") {
			t.Errorf("%v lacks something: %+v", tun.Key, tun)
		}
		if strings.HasPrefix(string(tun.Key), ipvsDir) && tun.Since == (Kernel{}) {
			t.Errorf("%v lacks a first kernel", tun.Key)
		}
		if tun.Default != "" {
			if err := tun.check(tun.Key, tun.Default); err != nil {
				t.Errorf("the default of %v is refused: %v", tun.Key, err)
			}
		}
		if got, ok := Lookup(tun.Key); !ok || got.Key != tun.Key {
			t.Errorf("Lookup(%v) = %v, %v", tun.Key, got.Key, ok)
		}
	}
	all[0] = Tunable{}
	if Tunables()[0].Key == "" {
		t.Error("a caller can change the registry")
	}
}

func TestSame(t *testing.T) {
	tests := []struct {
		key  Key
		a, b string
		want bool
	}{
		{IPVS("sync_threshold"), "3 50", "3\t50\n", true},
		{IPVS("sync_threshold"), "3 50", "3 51", false},
		{IPVS("sync_threshold"), "3 50", "3", false},
		{IPVS("drop_entry"), "1", "2", true},
		{IPVS("drop_entry"), "1", "3", false},
		{IPVS("est_cpulist"), "0,1,2", "0-2", true},
		{IPVS("est_cpulist"), "0-31:1/4", "0,4,8,12,16,20,24,28", true},
		{IPVS("est_cpulist"), "", "0", false},
		{IPVS("est_cpulist"), "", "\n", true},
		{"net/made/up", "a b", "a  b", true},
		{"net/made/up", "a", "b", false},
		{"net/made/up", "10", "010", false}, // octal to the kernel
	}
	for _, tt := range tests {
		if got := Same(tt.key, tt.a, tt.b); got != tt.want {
			t.Errorf("Same(%v, %q, %q) = %v", tt.key, tt.a, tt.b, got)
		}
	}
	for _, tt := range []struct {
		key        Key
		want, have string
		ok         bool
	}{
		{"net/core/rps_sock_flow_entries", "3", "4", true},
		{"net/core/rps_sock_flow_entries", "5000", "8192", true},
		{"net/core/rps_sock_flow_entries", "4096", "8192", false},
		{"net/core/rps_sock_flow_entries", "0", "8192", false},
		{"net/netfilter/nf_conntrack_buckets", "1", "512", true},
		{"net/netfilter/nf_conntrack_buckets", "1000", "999", false},
		{"net/core/somaxconn", "1000", "1024", false},
	} {
		if got := took(tt.key, tt.want, tt.have); got != tt.ok {
			t.Errorf("took(%v, %s, %s) = %v", tt.key, tt.want, tt.have, got)
		}
	}
}
