package sysctl

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
)

func TestConnTabArithmetic(t *testing.T) {
	for entries, want := range map[uint64]int{0: 8, 1: 8, 256: 8, 257: 9, 4096: 12, 40_000: 16, 65_536: 16, 65_537: 17, 1_000_000: 20, 1<<27 + 1: 27, 1 << 63: 27} {
		if got := ConnTabBits(entries); got != want {
			t.Errorf("ConnTabBits(%d) = %d, want %d", entries, got, want)
		}
	}
	for n, want := range map[int]uint64{8: 2 << 10, 12: 32 << 10, 16: 512 << 10, 20: 8 << 20, 24: 128 << 20, 27: 1 << 30, -1: 0} {
		if got := TableBytes(n); got != want {
			t.Errorf("TableBytes(%d) = %d, want %d", n, got, want)
		}
	}
	// Observed: 3000 connections in 250 slabs; the others by the same rule.
	for entries, want := range map[uint64]uint64{0: 0, 1: 4096, 3000: 1_024_000, 40_000: 3334 * 4096, 1_000_000: 83_334 * 4096} {
		if got := EntryBytes(entries); got != want {
			t.Errorf("EntryBytes(%d) = %d, want %d", entries, got, want)
		}
	}
}

// Values given to the module and found in force, by memory in kB, observed on Linux 6.12 and 6.1.
func TestPredictConnTabBits(t *testing.T) {
	tests := []struct {
		kernel Kernel
		kB     uint64
		want   map[int]int
	}{
		{Kernel{6, 12}, 474_752, map[int]int{0: 8, -5: 8, 7: 8, 8: 8, 16: 16, 18: 17, 27: 17, 64: 17}},
		{Kernel{6, 12}, 990_080, map[int]int{12: 12, 18: 18, 19: 18, 20: 18, 28: 18}},
		{Kernel{6, 12}, 4_015_740, map[int]int{19: 19, 20: 20, 21: 20, 27: 20}},
		{Kernel{6, 1}, 995_368, map[int]int{0: 12, -5: 12, 7: 12, 8: 8, 20: 20, 22: 22, 24: 24, 27: 0, 28: 12, 64: 12}},
		{Kernel{}, 0, map[int]int{7: 8, 20: 20, 27: 27, 28: 27}},
	}
	for _, tt := range tests {
		for n, want := range tt.want {
			got := PredictConnTabBits(n, tt.kernel, tt.kB/4)
			if got.Bits != want || (got.Note == "") != (n == want) {
				t.Errorf("%d on %v with %d kB: %+v, want %d", n, tt.kernel, tt.kB, got, want)
			}
		}
	}
}

func TestConnTab(t *testing.T) {
	const params = "sys/module/ip_vs/parameters/conn_tab_bits"
	loaded := map[string]string{params: "12\n", "sys/module/ip_vs/initstate": "live\n", "sys/module/ip_vs/refcnt": "0\n", "proc/sys/kernel/osrelease": "6.12.1\n"}
	with := func(files ...string) map[string]string {
		all := map[string]string{}
		for name, content := range loaded {
			all[name] = content
		}
		for i := 0; i < len(files); i += 2 {
			all[files[i]] = files[i+1]
		}
		return all
	}
	tests := map[string]struct {
		files map[string]string
		size  uint32
		want  ConnTab
		next  int
	}{
		"absent":                    {map[string]string{"proc/sys/kernel/osrelease": "6.12.1\n"}, 0, ConnTab{}, 12},
		"loaded":                    {loaded, 0, ConnTab{Loaded: true, Bits: 12}, 12},
		"size of the netlink reply": {with(params, "16\n"), 4096, ConnTab{Loaded: true, Bits: 12}, 12},
		"only the netlink reply":    {nil, 1 << 20, ConnTab{Loaded: true, Bits: 20}, 12},
		"users": {with("sys/module/ip_vs/refcnt", "3\n", "sys/module/ip_vs/holders/ip_vs_rr", ""), 0,
			ConnTab{Loaded: true, Bits: 12, Users: []string{"ip_vs_rr"}, References: 3}, 12},
		"built in": {map[string]string{params: "12\n", "proc/cmdline": "quiet ip_vs.conn_tab_bits=15\n", "etc/modprobe.d/x.conf": "options ip_vs conn_tab_bits=16\n"}, 0,
			ConnTab{Loaded: true, BuiltIn: true, Bits: 12, Options: []BitsOption{{"kernel command line", "15"}}}, 15},
		"built in by the list": {map[string]string{"proc/sys/kernel/osrelease": "6.12.1\n", "lib/modules/6.12.1/modules.builtin": "kernel/net/netfilter/ipvs/ip_vs.ko\n"}, 0, ConnTab{BuiltIn: true}, 12},
		"files": {with(
			"etc/modprobe.d/b.conf", "# options ip_vs conn_tab_bits=9\noptions ip-vs conn_tab_bits=10\noptions ip_vs_rr conn_tab_bits=11\n\noptions ip_vs \\\n other=1 conn-tab-bits=13\n",
			"usr/lib/modprobe.d/b.conf", "options ip_vs conn_tab_bits=27\n",
			"usr/lib/modprobe.d/a.conf", "options ip_vs conn_tab_bits=0x10\n",
			"etc/modprobe.d/README", "options ip_vs conn_tab_bits=26\n"), 0,
			ConnTab{Loaded: true, Bits: 12, Options: []BitsOption{{"/usr/lib/modprobe.d/a.conf:1", "0x10"}, {"/etc/modprobe.d/b.conf:2", "10"}, {"/etc/modprobe.d/b.conf:5", "13"}}}, 13},
		"the command line wins": {with("etc/modprobe.d/a.conf", "options ip_vs conn_tab_bits=16\n", "proc/cmdline", "ip_vs.conn_tab_bits=18 quiet\n"), 0,
			ConnTab{Loaded: true, Bits: 12, Options: []BitsOption{{"/etc/modprobe.d/a.conf:1", "16"}, {"kernel command line", "18"}}}, 18},
		"octal": {with("etc/modprobe.d/a.conf", "options ip_vs conn_tab_bits=010\n"), 0,
			ConnTab{Loaded: true, Bits: 12, Options: []BitsOption{{"/etc/modprobe.d/a.conf:1", "010"}}}, 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newHost(t, hostfs.NewMem(tt.files)).ConnTab(tt.size)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if next, err := got.Next(); err != nil || next != tt.next {
				t.Errorf("Next = %d, %v, want %d", next, err, tt.next)
			}
		})
	}
	for _, value := range []string{"abc", "12.5", "", "1_6", "0b1000", "0o20"} {
		tab := ConnTab{Options: []BitsOption{{"x", value}}}
		if n, err := tab.Next(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %d, %v", value, n, err)
		}
	}
	if _, err := newHost(t, hostfs.NewMem(nil)).ConnTab(4095); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("4095 buckets: %v", err)
	}
	if _, err := newHost(t, hostfs.NewMem(with(params, "many\n"))).ConnTab(0); err == nil {
		t.Error("a parameter file without a number")
	}
}

func TestConnTabPlan(t *testing.T) {
	kernel := Kernel{6, 12}
	tests := map[string]struct {
		tab  ConnTab
		bits int
		want string
	}{
		"reload now": {ConnTab{Loaded: true, Bits: 12}, 20, "conn_tab_bits 20: 1048576 buckets, 8192 KiB\n" +
			"  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=20\n" +
			"  reload now: delete all services, then modprobe -r ip_vs && modprobe ip_vs; all connections are lost\n"},
		"in use": {ConnTab{Loaded: true, Bits: 12, Users: []string{"ip_vs_rr"}, References: 2}, 16, "conn_tab_bits 16: 65536 buckets, 512 KiB\n" +
			"  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=16\n" +
			"  before a reload: module ip_vs_rr uses ip_vs: unload it\n" +
			"  before a reload: 1 more uses, such as synchronisation daemons: stop them\n"},
		"not loaded": {ConnTab{}, 16, "conn_tab_bits 16: 65536 buckets, 512 KiB\n  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=16\n"},
		"built in": {ConnTab{Loaded: true, BuiltIn: true, Bits: 12}, 16, "conn_tab_bits 16: 65536 buckets, 512 KiB\n" +
			"  kernel command line: ip_vs.conn_tab_bits=16\n  before a reload: IPVS is built into the kernel: change the command line and boot\n"},
		"command line": {ConnTab{Options: []BitsOption{{"kernel command line", "18"}}}, 16, "conn_tab_bits 16: 65536 buckets, 512 KiB\n" +
			"  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=16\n  kernel command line: ip_vs.conn_tab_bits=16\n" +
			"  before a reload: the kernel's command line sets another value: change it and boot\n"},
		"capped": {ConnTab{}, 24, "conn_tab_bits 24: 16777216 buckets, 128 MiB\n  expected in force: 20 (the most with this memory is 20)\n" +
			"  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=24\n"},
		"done":                    {ConnTab{Loaded: true, Bits: 16, Options: []BitsOption{{"x", "16"}}}, 16, "conn_tab_bits is 16 already\n"},
		"done as far as possible": {ConnTab{Loaded: true, Bits: 20, Options: []BitsOption{{"x", "24"}}}, 24, "conn_tab_bits is 20 already instead of 24: the most with this memory is 20\n"},
		"only until a reload": {ConnTab{Loaded: true, Bits: 16}, 16, "conn_tab_bits 16: 65536 buckets, 512 KiB\n" +
			"  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=16\n" +
			"  reload now: delete all services, then modprobe -r ip_vs && modprobe ip_vs; all connections are lost\n"},
	}
	for name, tt := range tests {
		p, err := tt.tab.Plan(tt.bits, kernel, 1_000_000, "lvs")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, p.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if p.File != "" && !strings.Contains(string(p.Content), "\noptions ip_vs conn_tab_bits=") {
			t.Errorf("%s: file %q", name, p.Content)
		}
	}
	for _, n := range []int{7, 28, -1} {
		if _, err := (ConnTab{}).Plan(n, kernel, 0, "lvs"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d bits: %v", n, err)
		}
	}
	if _, err := (ConnTab{}).Plan(16, kernel, 0, "a\nb"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("owner: %v", err)
	}
}

func FuzzParseModprobe(f *testing.F) {
	f.Add("options ip_vs conn_tab_bits=20\n")
	f.Add("options ip-vs \\\nconn-tab-bits=\"9\"")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for n, value := range parseModprobe(text, "ip_vs", "conn_tab_bits") {
			if n < last || n < 1 || n > strings.Count(text, "\n")+1 {
				t.Fatalf("line %d after %d", n, last)
			}
			if !strings.Contains(text, value) || !strings.Contains(text, "options") {
				t.Fatalf("value %q is not in the text", value)
			}
			last = n
		}
	})
}
