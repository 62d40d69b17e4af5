package sysctl

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite golden files from what the code says")

func lines(t testing.TB, text string) []Line {
	t.Helper()
	var list []Line
	for line, err := range ParseList(strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, line)
	}
	return list
}

func TestParseList(t *testing.T) {
	const text = "\ufeff# comment\n; comment\n\n" +
		"  net.ipv4.ip_forward=1  \r\n" +
		"-net.ipv4.conf.*.rp_filter = 2\n" +
		"kernel.core_pattern = a=b\n" +
		"net.ipv4.tcp_rmem = 4096\t131072  6291456\n" +
		"net/ipv4/conf/eth0.100/rp_filter = 0\n" +
		"/proc/sys/net/ipv4/ip_forward = 0\n" +
		"net.ipv4.tcp_fin_timeout = 120 # seconds\n" +
		"sysctl -w net.ipv4.vs.conntrack=1 net.ipv4.tcp_rmem=\"1 2 3\" net.core.somaxconn='9'\n" +
		"/sbin/sysctl -q -w net.ipv4.ip_forward=1\n" +
		"sysctl -p\n" +
		"echo 1 > /proc/sys/net/ipv4/vs/drop_entry\n" +
		"echo \"0 1\" >> '/proc/sys/net/ipv4/vs/sync_threshold'\n" +
		"echo 8 > /proc/irq/24/smp_affinity\n" +
		"net..x = 1\n" +
		"net.ipv4.tcp_sack\n" +
		"not = an assignment x\n" +
		"x y = 1\n" +
		"last.line = 1"
	want := []Line{
		{Number: 4, Key: "net/ipv4/ip_forward", Value: "1"},
		{Number: 5, Key: "net/ipv4/conf/*/rp_filter", Value: "2", IgnoreError: true},
		{Number: 6, Key: "kernel/core_pattern", Value: "a=b"},
		{Number: 7, Key: "net/ipv4/tcp_rmem", Value: "4096\t131072  6291456"},
		{Number: 8, Key: "net/ipv4/conf/eth0.100/rp_filter", Value: "0"},
		{Number: 9, Key: "net/ipv4/ip_forward", Value: "0"},
		{Number: 10, Key: "net/ipv4/tcp_fin_timeout", Value: "120", Comment: "# seconds"},
		{Number: 11, Key: "net/ipv4/vs/conntrack", Value: "1"},
		{Number: 11, Key: "net/ipv4/tcp_rmem", Value: "1 2 3"},
		{Number: 11, Key: "net/core/somaxconn", Value: "9"},
		{Number: 12, Key: "net/ipv4/ip_forward", Value: "1"},
		{Number: 13},
		{Number: 14, Key: "net/ipv4/vs/drop_entry", Value: "1"},
		{Number: 15, Key: "net/ipv4/vs/sync_threshold", Value: "0 1"},
		{Number: 16},
		{Number: 17, Value: "1", Err: fs.ErrInvalid},
		{Number: 18, Err: fs.ErrInvalid},
		{Number: 19, Key: "not", Value: "an assignment x"},
		{Number: 20, Err: fs.ErrInvalid},
		{Number: 21, Key: "last/line", Value: "1"},
	}
	if diff := cmp.Diff(want, lines(t, text), cmpopts.IgnoreFields(Line{}, "Text"), cmpopts.EquateErrors()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	boom := errors.New("boom")
	var got error
	for _, err := range ParseList(io.MultiReader(strings.NewReader("a.b = 1\n"), iotest.ErrReader(boom))) {
		got = err
	}
	if !errors.Is(got, boom) {
		t.Errorf("a reader's failure became %v", got)
	}
}

func TestFormatList(t *testing.T) {
	list := []Setting{
		{Key: IPVS("sync_threshold"), Value: "0\t1", Reason: "every packet"},
		{Key: IPv4("eth0.100", "rp_filter"), Value: "2", Optional: true},
		{Key: "net/ipv4/ip_forward", Value: " 1", Reason: "two\nlines"},
	}
	got, err := FormatList("lvs", list)
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Written by lvs.
-net/ipv4/conf/eth0.100/rp_filter = 2
# two
# lines
net.ipv4.ip_forward = 1
# every packet
net.ipv4.vs.sync_threshold = 0 1
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if list[0].Key != IPVS("sync_threshold") {
		t.Error("the caller's list was sorted")
	}
	for name, list := range map[string][]Setting{
		"value":    settingsOf("net.ipv4.vs.sync_retries", "7"),
		"twice":    settingsOf("net.ipv4.vs.sync_retries", "1", "net.ipv4.vs.sync_retries", "1"),
		"key":      {{Key: "../x", Value: "1"}},
		"new line": {{Key: "net/made/up", Value: "1\nkernel.x = 1"}},
	} {
		if got, err := FormatList("lvs", list); !errors.Is(err, fs.ErrInvalid) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := FormatList("two\nlines", nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("owner: %v", err)
	}
}

// What FormatList writes, ParseList reads.
func FuzzFormatList(f *testing.F) {
	f.Add("net.ipv4.ip_forward", "1", "why", true)
	f.Add("net.ipv4.conf.eth0/100.rp_filter", "2", "", false)
	f.Add("a.b", "x y\tz", "# reason\r", false)
	f.Add("a.b", "1 # no comment", "", false)
	f.Fuzz(func(t *testing.T, key, value, reason string, optional bool) {
		k, err := ParseKey(key)
		if err != nil {
			return
		}
		text, err := FormatList("test", []Setting{{Key: k, Value: value, Reason: reason, Optional: optional}})
		if err != nil {
			return
		}
		var got []Line
		for line, err := range ParseList(strings.NewReader(string(text))) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line)
		}
		if len(got) != 1 || got[0].Key != k || got[0].IgnoreError != optional || got[0].Err != nil {
			t.Fatalf("%q was written as %q and read as %+v", k, text, got)
		}
		if want := strings.Join(strings.Fields(value), " "); got[0].Comment == "" && strings.Join(strings.Fields(got[0].Value), " ") != want {
			t.Fatalf("value %q was written as %q and read as %q", value, text, got[0].Value)
		}
	})
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"a.b = 1\n", "sysctl -w a=\"1", "echo x > /proc/sys/a/b", "-a=1 # c", "options ip_vs conn_tab_bits=20", "\ufeff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for line, err := range ParseList(strings.NewReader(text)) {
			if err != nil {
				t.Fatal(err)
			}
			if line.Number < last || line.Text == "" {
				t.Fatalf("line %+v after line %d", line, last)
			}
			last = line.Number
			if line.Err != nil && (line.Key != "" || !errors.Is(line.Err, fs.ErrInvalid)) {
				t.Fatalf("error and key: %+v", line)
			}
			if line.Key != "" && line.Key.Valid() != nil {
				t.Fatalf("impossible key %q", line.Key)
			}
			Judge(line.Key, line.Value, Environment{Kernel: Kernel{6, 12}, Role: DirectorNAT})
			judgeOther(line.Text)
		}
	})
}

// Every line of the lists that circulate gets a judgement; the golden files say which.
func TestCheckManual(t *testing.T) {
	for _, tt := range []struct {
		kernel string
		role   Profile
	}{{"6.1", DirectorNAT}, {"6.12", Unspecified}, {"6.12", DirectorDR}, {"6.12", RealServerTUN}} {
		name := fmt.Sprintf("testdata/lists/manual-%s-%v.golden", tt.kernel, tt.role)
		t.Run(name, func(t *testing.T) {
			f, err := os.Open("testdata/lists/manual.conf")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			findings, err := newHost(t, fixture(t, tt.kernel)).Check(f, tt.role)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, finding := range findings {
				fmt.Fprintln(&b, finding)
				if finding.Reason == "" {
					t.Errorf("line %d lacks a reason", finding.Number)
				}
			}
			if *update {
				if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("judgements (-want +got):\n%s", diff)
			}
		})
	}
}

// The list of a running kernel, as "sysctl -a" prints it, holds nothing harmful and nothing malformed.
func TestCheckDefaults(t *testing.T) {
	for _, kernel := range []string{"6.1", "6.12"} {
		var b strings.Builder
		for _, row := range golden(t, kernel, false) {
			if !row.absent {
				fmt.Fprintf(&b, "%v = %s\n", row.key, strings.ReplaceAll(row.value, " ", "\t"))
			}
		}
		findings, err := newHost(t, fixture(t, kernel)).Check(strings.NewReader(b.String()), Unspecified)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if f.Verdict == Harmful || f.Verdict == Malformed || f.Verdict == BadValue || f.Verdict == Removed {
				t.Errorf("%s: %v", kernel, f)
			}
		}
	}
}

// No profile sets what the judge finds harmful, useless or bad, and every setting has a reason.
func TestProfilesPassTheJudge(t *testing.T) {
	options := []Options{{}, {Devices: []string{"eth0"}, IPv6: true, Tracked: true, Always: true, MemoryPages: 1 << 20}, {Tunnel: "lvstun0", TunnelAddress: true}}
	for _, profile := range Profiles() {
		if got, err := ParseProfile(profile.String()); err != nil || got != profile {
			t.Errorf("ParseProfile(%q) = %v, %v", profile.String(), got, err)
		}
		for _, o := range options {
			list := profile.Settings(o)
			if len(list) == 0 {
				t.Errorf("%v sets nothing", profile)
			}
			for _, s := range list {
				if s.Reason == "" {
					t.Errorf("%v: %v lacks a reason", profile, s.Key)
				}
				if err := s.valid(); err != nil {
					t.Errorf("%v: %v", profile, err)
				}
				if _, ok := Lookup(s.Key); !ok {
					t.Errorf("%v: %v is not in the registry", profile, s.Key)
				}
				if j := Judge(s.Key, s.Value, Environment{Kernel: Kernel{6, 12}, Role: profile}); j.Verdict != Fine && j.Verdict != Default {
					t.Errorf("%v: %v = %s: %v, %s", profile, s.Key, s.Value, j.Verdict, j.Reason)
				}
			}
			for _, kernel := range []string{"6.1", "6.12"} {
				h := newHost(t, forwarder{fixture(t, kernel)})
				p, err := h.Plan(list)
				if err != nil {
					t.Errorf("%v on %s: %v", profile, kernel, err)
					continue
				}
				if o.Tunnel == "" {
					if _, err := h.Apply(t.Context(), p, nil); err != nil {
						t.Errorf("%v on %s: %v", profile, kernel, err)
					}
				}
			}
		}
	}
	if len(Unspecified.Settings(Options{})) != 0 {
		t.Error("no role sets something")
	}
	if _, err := ParseProfile("director"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "director-nat") {
		t.Errorf("unknown profile: %v", err)
	}
	if _, err := ParseProfile("unspecified"); err == nil {
		t.Error("unspecified is no profile to ask for")
	}
}

func TestProfileValues(t *testing.T) {
	value := func(p Profile, o Options, key string) string {
		for _, s := range p.Settings(o) {
			if s.Key.String() == key {
				return s.Value
			}
		}
		return ""
	}
	tests := []struct {
		profile Profile
		o       Options
		key     string
		want    string
	}{
		{DirectorNAT, Options{}, "net.ipv4.ip_forward", "1"},
		{DirectorNAT, Options{}, "net.ipv6.conf.all.forwarding", ""},
		{DirectorNAT, Options{IPv6: true}, "net.ipv6.conf.all.forwarding", "1"},
		{DirectorNAT, Options{Devices: []string{"eth0.1"}}, "net.ipv4.conf.eth0/1.send_redirects", "0"},
		{DirectorNAT, Options{Devices: []string{"eth0.1"}}, "net.ipv4.conf.all.send_redirects", "0"},
		{DirectorNAT, Options{Devices: []string{"eth0.1"}}, "net.ipv4.conf.*.send_redirects", ""},
		{DirectorNAT, Options{}, "net.ipv4.conf.*.send_redirects", "0"},
		{DirectorNAT, Options{}, "net.ipv4.vs.conntrack", ""},
		{DirectorNAT, Options{Tracked: true}, "net.ipv4.vs.conntrack", "1"},
		{DirectorDR, Options{}, "net.ipv4.ip_forward", ""},
		{DirectorDR, Options{}, "net.ipv4.conf.all.arp_ignore", ""},
		{RealServerDR, Options{}, "net.ipv4.conf.all.arp_ignore", "1"},
		{RealServerDR, Options{}, "net.ipv4.conf.all.arp_announce", "2"},
		{RealServerDR, Options{}, "net.ipv4.conf.all.rp_filter", ""},
		{RealServerTUN, Options{}, "net.ipv4.conf.tunl0.rp_filter", "0"},
		{RealServerTUN, Options{}, "net.ipv4.conf.all.rp_filter", "0"},
		{RealServerTUN, Options{TunnelAddress: true, Tunnel: "ipip1"}, "net.ipv4.conf.ipip1.rp_filter", "2"},
		{RealServerTUN, Options{TunnelAddress: true}, "net.ipv4.conf.all.rp_filter", ""},
		{UnderAttack, Options{}, "net.ipv4.vs.secure_tcp", "1"},
		{UnderAttack, Options{Always: true}, "net.ipv4.vs.drop_entry", "3"},
		{UnderAttack, Options{}, "net.ipv4.vs.amemthresh", ""},
		{UnderAttack, Options{MemoryPages: 1 << 20}, "net.ipv4.vs.amemthresh", "32768"},
		{UnderAttack, Options{MemoryPages: 1 << 40}, "net.ipv4.vs.amemthresh", "2147483647"},
	}
	for _, tt := range tests {
		if got := value(tt.profile, tt.o, tt.key); got != tt.want {
			t.Errorf("%v with %+v: %s = %q, want %q", tt.profile, tt.o, tt.key, got, tt.want)
		}
	}
	merged := Merge(RealServerDR.Settings(Options{}), HighConnections.Settings(Options{}))
	seen := map[Key]string{}
	for _, s := range merged {
		if seen[s.Key] != "" {
			t.Errorf("%v twice", s.Key)
		}
		seen[s.Key] = s.Value
	}
	if seen["net/core/somaxconn"] != "65535" {
		t.Errorf("the later list does not win: somaxconn = %s", seen["net/core/somaxconn"])
	}
}
