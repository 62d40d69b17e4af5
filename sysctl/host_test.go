package sysctl

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
)

// goldenRow is one line of testdata/*/values.txt.
type goldenRow struct {
	key    Key
	mode   string
	value  string
	absent bool
}

// golden reads the values of a kernel, in the initial network namespace or in a new one.
func golden(t testing.TB, kernel string, fresh bool) []goldenRow {
	t.Helper()
	f, err := os.Open("testdata/" + kernel + "/values.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := "init"
	var rows []goldenRow
	for in := bufio.NewScanner(f); in.Scan(); {
		if name, ok := strings.CutPrefix(in.Text(), "## "); ok {
			section = name
			continue
		}
		parts := strings.SplitN(in.Text(), "|", 3)
		if strings.HasPrefix(in.Text(), "#") || len(parts) != 3 || (section == "init") == fresh {
			continue
		}
		key, err := ParseKey(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, goldenRow{key: key, mode: parts[1], value: parts[2], absent: parts[2] == "ABSENT"})
	}
	if len(rows) < 100 {
		t.Fatalf("only %d golden values", len(rows))
	}
	return rows
}

// fixture is a host of this kernel in memory with its golden values, and two network devices.
func fixture(t testing.TB, kernel string) *hostfs.Mem {
	t.Helper()
	m := hostfs.NewMem(map[string]string{"proc/sys/kernel/osrelease": kernel + ".0-test\n", "proc/cmdline": "quiet\n"})
	for _, row := range golden(t, kernel, false) {
		if row.absent {
			continue
		}
		m.Set(row.key.Path(), row.value+"\n")
		if row.mode == "444" {
			m.ReadOnly(row.key.Path())
		}
	}
	for _, dev := range []string{"eth0", "eth1.100", "lo", "tunl0"} {
		for name, value := range map[string]string{"arp_ignore": "0", "arp_announce": "0", "rp_filter": "0", "send_redirects": "1", "forwarding": "0"} {
			m.Set(IPv4(dev, name).Path(), value+"\n")
		}
	}
	return m
}

func newHost(t testing.TB, root fs.FS) *Host {
	t.Helper()
	h, err := New(&Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]Config{
		"two namespaces":     {NetNS: "a", NetNSFile: os.Stdin},
		"root and namespace": {NetNS: "a", Root: fstest.MapFS{}},
	} {
		if _, err := New(&cfg); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(nil); err != nil {
		t.Error(err)
	}
}

func TestGetAbsent(t *testing.T) {
	tests := []struct {
		kernel string
		key    Key
		want   error
		text   string
	}{
		{"6.1", IPVS("est_nice"), errors.ErrUnsupported, "needs Linux 6.2, this is 6.1"},
		{"6.12", IPVS("debug_level"), errors.ErrUnsupported, "without IPVS debugging"},
		{"6.12", "net/ipv4/tcp_tw_recycle", errors.ErrUnsupported, "since Linux 4.12"},
		{"6.12", IPVS("lblc_expiration"), fs.ErrNotExist, "module ip_vs_lblc is not loaded"},
		{"6.12", IPVS("no_such"), fs.ErrNotExist, ""},
		{"6.12", "net/netfilter/nf_conntrack_helper", errors.ErrUnsupported, "since Linux 6.0"},
		{"6.12", IPv4("gone0", "arp_ignore"), fs.ErrNotExist, ""},
		{"6.12", "net//x", fs.ErrInvalid, "empty component"},
	}
	for _, tt := range tests {
		_, err := newHost(t, fixture(t, tt.kernel)).Get(tt.key)
		if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("Get(%v) on %s: %v, want %v with %q", tt.key, tt.kernel, err, tt.want, tt.text)
		}
	}
	bare := newHost(t, hostfs.NewMem(map[string]string{"proc/sys/kernel/osrelease": "6.12.1\n"}))
	if _, err := bare.Get(IPVS("drop_entry")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ip_vs is not loaded") {
		t.Errorf("without the module: %v", err)
	}
	if _, err := bare.Get("net/core/netdev_budget"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "initial network namespace") {
		t.Errorf("outside the initial namespace: %v", err)
	}
	if _, err := bare.IPVSKeys(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("IPVSKeys without the module: %v", err)
	}
	if _, err := bare.IPVS(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("IPVS without the module: %v", err)
	}
}

func TestExpand(t *testing.T) {
	h := newHost(t, fixture(t, "6.12"))
	got, err := h.Expand("net/ipv4/conf/*/rp_filter")
	if err != nil {
		t.Fatal(err)
	}
	want := []Key{IPv4("all", "rp_filter"), IPv4("default", "rp_filter"), IPv4("eth0", "rp_filter"), IPv4("eth1.100", "rp_filter"), IPv4("lo", "rp_filter"), IPv4("tunl0", "rp_filter")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("expanded (-want +got):\n%s", diff)
	}
	if got, err := h.Expand("net/ipv4/none/*/x"); err != nil || len(got) != 0 {
		t.Errorf("nothing to expand: %v, %v", got, err)
	}
	if got, err := h.Expand("net/no/such"); err != nil || len(got) != 1 {
		t.Errorf("no pattern: %v, %v", got, err)
	}
}

// A parameter that a newer kernel brings is reachable by its key.
func TestUnknownKeys(t *testing.T) {
	m := fixture(t, "6.12")
	m.Set(IPVS("conn_lfactor").Path(), "-4\n")
	h := newHost(t, m)
	keys, err := h.IPVSKeys()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, k := range keys {
		found = found || k == IPVS("conn_lfactor")
	}
	if !found {
		t.Errorf("%v lacks conn_lfactor", keys)
	}
	p, err := h.Plan([]Setting{{Key: IPVS("conn_lfactor"), Value: "-3"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Apply(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(IPVS("conn_lfactor")); err != nil || got != "-3" {
		t.Errorf("conn_lfactor = %q, %v", got, err)
	}
}

func TestEffective(t *testing.T) {
	// arp_ignore of all and eth0 and what is in force, observed on Linux 6.1 and 6.12.
	for _, tt := range []struct{ all, own, want int }{{0, 0, 0}, {1, 0, 1}, {0, 1, 1}, {1, 8, 8}, {8, 1, 8}, {2, 1, 2}, {1, 3, 3}, {0, -1, 0}} {
		m := fixture(t, "6.12")
		m.Set(IPv4("all", "arp_ignore").Path(), fmt.Sprintf("%d\n", tt.all))
		m.Set(IPv4("eth0", "arp_ignore").Path(), fmt.Sprintf("%d\n", tt.own))
		if got, err := newHost(t, m).Effective("eth0", "arp_ignore"); err != nil || got != tt.want {
			t.Errorf("all %d, eth0 %d: %d, %v, want %d", tt.all, tt.own, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name           string
		all, own, want int
	}{{"send_redirects", 0, 1, 1}, {"send_redirects", 0, 0, 0}, {"accept_source_route", 0, 1, 0}, {"accept_source_route", 1, 1, 1}, {"forwarding", 1, 0, 0}} {
		if got := RuleOf(tt.name).Combine(tt.all, tt.own); got != tt.want {
			t.Errorf("%s: all %d, own %d: %d, want %d", tt.name, tt.all, tt.own, got, tt.want)
		}
	}
	if _, err := newHost(t, fixture(t, "6.12")).Effective("eth9", "arp_ignore"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such interface: %v", err)
	}
}

func TestMemoryPages(t *testing.T) {
	for content, want := range map[string]uint64{"MemFree: 1 kB\nMemTotal:        474752 kB\n": 118_688, "MemTotal: x kB\n": 0, "": 0} {
		got, err := newHost(t, hostfs.NewMem(map[string]string{"proc/meminfo": content})).MemoryPages()
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", content, got, err)
		}
	}
}

// A namespace that does not exist is said to be that, and not a host where everything is missing.
func TestNoNamespace(t *testing.T) {
	h, err := New(&Config{NetNS: "no-such-namespace"})
	if err != nil {
		t.Fatal(err)
	}
	want := fs.ErrNotExist
	if runtime.GOOS != "linux" {
		want = errors.ErrUnsupported
	}
	_, errPlan := h.Plan(settingsOf("net.ipv4.vs.drop_entry", "1"))
	_, errCheck := h.Check(strings.NewReader("net.ipv4.vs.drop_entry = 1\n"), Unspecified)
	_, errGet := h.Get(IPVS("drop_entry"))
	for what, err := range map[string]error{"Plan": errPlan, "Check": errCheck, "Get": errGet} {
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "no-such-namespace") || strings.Contains(err.Error(), "ip_vs") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNoDevice(t *testing.T) {
	h := newHost(t, fixture(t, "6.12"))
	for _, key := range []Key{IPv4("tunl9", "rp_filter"), IPv6("tunl9", "forwarding"), IPv4("tunl9", "nonsense")} {
		if _, err := h.Get(key); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no device tunl9") {
			t.Errorf("%v: %v", key, err)
		}
	}
	if _, err := h.Get(IPv4("all", "nonsense")); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "device") {
		t.Errorf("no such parameter: %v", err)
	}
}
