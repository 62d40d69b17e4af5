package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func try(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), &setup.Env{Name: "persistence", Stdout: &out, Stderr: &errs, Kernel: kernel}, args)
	return status, out.String(), errs.String()
}

func TestDemo(t *testing.T) {
	status, out, errs := try(t, "")
	if status != setup.ExitOK || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	for _, want := range []string{
		`
client         port     PPC       PCC       PNMPP
198.51.100.1   80       10.0.0.3  10.0.0.3  10.0.0.3
198.51.100.2   443      10.0.0.3  10.0.0.2  10.0.0.2
198.51.100.1   443      10.0.0.2  10.0.0.3  10.0.0.3
198.51.100.2   80       10.0.0.2  10.0.0.2  10.0.0.2
198.51.100.3   80       10.0.0.3  10.0.0.3  10.0.0.3
198.51.100.1   53/udp   10.0.0.3  -         10.0.0.3
198.51.100.2   53/udp   10.0.0.2  -         10.0.0.2
198.51.100.3   8080     -         10.0.0.3  -
198.51.100.1   80       10.0.0.3  10.0.0.3  10.0.0.3
198.51.100.3   443      10.0.0.3  10.0.0.3  10.0.0.3
`, `
PCC
198.51.100.1            TCP       192.0.2.10:0            10.0.0.3:0               5m0s left
198.51.100.2            TCP       192.0.2.10:0            10.0.0.2:0               5m0s left
198.51.100.3            TCP       192.0.2.10:0            10.0.0.3:0               5m0s left

PNMPP
198.51.100.1            IP        mark 10                 10.0.0.3:0               5m0s left
198.51.100.2            IP        mark 10                 10.0.0.2:0               5m0s left
198.51.100.3            IP        mark 10                 10.0.0.3:0               5m0s left
`, `at once:

client         port     PPC       PCC       PNMPP
198.51.100.1   80       10.0.0.2  10.0.0.2  10.0.0.2
`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\nis not in\n%s", want, out)
		}
	}
}

// The verbs on a kernel that keeps its state: -n changes nothing, a second start does nothing, stop leaves nothing.
func TestVerbs(t *testing.T) {
	for _, tt := range []struct {
		flags []string // of all verbs
		more  []string // of start and status
		want  string
	}{
		{[]string{"-kind", "ppc", "-vip", "192.0.2.10", "-ports", "80,53/udp"}, nil, "ipvsadm -A -u 192.0.2.10:53 -s wlc -p 300\n"},
		{[]string{"-kind", "pcc", "-vip", "192.0.2.10", "-proto", "udp"}, []string{"-timeout", "90s", "-mask", "24"}, "ipvsadm -A -u 192.0.2.10:0 -s wlc -p 90 -M 255.255.255.0\n"},
		{[]string{"-kind", "pnmpp", "-vip", "2001:db8::10", "-ports", "80,443", "-mark", "0x10"}, []string{"-mask", "64"}, "ipvsadm -A -f 16 -6 -s wlc -p 300 -M 64\n"},
	} {
		kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
		real := "10.0.0.2,10.0.0.3"
		if tt.flags[3] != "192.0.2.10" {
			real = "fd00::2,fd00::3"
		}
		verb := func(v string, more ...string) []string { return append(append([]string{v}, tt.flags...), more...) }
		full := func(v string, more ...string) []string {
			return verb(v, append(append(tt.more, "-real", real), more...)...)
		}
		for _, step := range []struct {
			args   []string
			status int
			want   string
		}{
			{full("start", "-n"), setup.ExitOK, tt.want},
			{full("status"), setup.ExitError, "there is no service"},
			{full("start"), setup.ExitOK, tt.want},
			{full("start"), setup.ExitOK, ""},
			{full("status"), setup.ExitOK, "persistent"},
			{full("status", "-json"), setup.ExitOK, `"affinity": {`},
			{verb("stop", "-n"), setup.ExitOK, "ipvsadm -D"},
			{full("status"), setup.ExitOK, "persistent"},
			{verb("stop"), setup.ExitOK, "ipvsadm -D"},
			{verb("stop"), setup.ExitOK, "nothing to do"},
		} {
			status, out, errs := try(t, kernel, step.args...)
			if status != step.status || !strings.Contains(out, step.want) || step.want == "" && strings.Contains(out, "ipvsadm") {
				t.Fatalf("%q: status %d\n%s%s", step.args, status, out, errs)
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	start := func(words string) []string {
		return append([]string{"start", "-vip", "192.0.2.10", "-real", "10.0.0.2"}, strings.Fields(words)...)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`persistence: unknown verb "x"; "persistence -h" shows the verbs`, []string{"x"}},
		{"persistence start: -kind is required: ppc, pcc or pnmpp", start("")},
		{"persistence start: -vip is required", []string{"start", "-kind", "pcc"}},
		{"persistence start: -real is required", []string{"start", "-kind", "pcc", "-vip", "192.0.2.10"}},
		{"persistence start: -ports goes with ppc and pnmpp: pcc is for all ports", start("-kind pcc -ports 80")},
		{"persistence start: -ports is required for ppc", start("-kind ppc")},
		{"persistence start: -nft goes with pnmpp: pcc needs no rule", start("-kind pcc -nft")},
		{"persistence start: LVS_KERNEL=memory: has no firewall for -nft", start("-kind pnmpp -ports 80 -nft")},
		{"persistence start: LVS_KERNEL=memory: has no devices for -dev", start("-kind pcc -dev eth0")},
		{"persistence start: -timeout is a time of whole seconds, at least one", start("-kind pcc -timeout 1500ms")},
		{"persistence start: -mask is a length from 1 to 32", start("-kind pcc -mask 33")},
		{"persistence start: real server 10.0.0.3:80 has a port: all ports are kept", start("-kind pcc -real 10.0.0.3:80")},
		{"persistence start: real server 2001:db8::3 and the VIP are of different families", start("-kind pcc -real 2001:db8::3")},
		{`persistence start: invalid value "80,80" for flag -ports: port 80 is there twice`, start("-kind ppc -ports 80,80")},
		{`persistence start: invalid value "53/x" for flag -ports: "53/x" is not a port such as 80 or 53/udp`, start("-kind ppc -ports 53/x")},
		{`persistence start: invalid value "0" for flag -mark: a mark is a number from 1 to 4294967295`, start("-mark 0")},
		{"persistence stop: flag provided but not defined: -real", []string{"stop", "-real", "10.0.0.2"}},
	} {
		if status, out, errs := try(t, "memory:", tt.args...); status != setup.ExitUsage || out != "" || errs != tt.want+"\n" {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, out, errs)
		}
	}
	for _, args := range [][]string{{"-h"}, {"start", "-h"}, {"stop", "-h"}, {"status", "-h"}} {
		if status, out, errs := try(t, "memory:", args...); status != setup.ExitOK || !strings.HasPrefix(out, "usage: persistence") || errs != "" {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
}

// parse reads flags of the verb start.
func parse(t *testing.T, words string) *options {
	t.Helper()
	var o options
	if err := o.flags("start").Parse(strings.Fields(words)); err != nil {
		t.Fatal(err)
	}
	return &o
}

func TestRule(t *testing.T) {
	r := rule{parse(t, "-kind pnmpp -vip 2001:db8::10 -ports 443,53/udp,8080,80 -mark 3000000010")}
	want := `table ip6 lvs_mark_3000000010 {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ip6 daddr 2001:db8::10 tcp dport { 80, 443, 8080 } meta mark set 0xb2d05e0a
		ip6 daddr 2001:db8::10 udp dport { 53 } meta mark set 0xb2d05e0a
	}
}
`
	if got := r.String(); got != want {
		t.Errorf("got\n%s", got)
	}
}

// The JSON of the status has every service, and times that say their unit.
func TestJSON(t *testing.T) {
	kernel, client := ipvstest.Start(t, nil)
	o := parse(t, "-kind ppc -vip 192.0.2.10 -ports 80,443,53/udp -real 10.0.0.2 -timeout 90s")
	var out bytes.Buffer
	parts, err := o.parts(&setup.Env{Kernel: "memory:"}, client)
	if err != nil {
		t.Fatal(err)
	}
	if err := setup.Start(t.Context(), &out, parts, false); err != nil {
		t.Fatal(err)
	}
	r := kernel.Namespace("").Connect(o.flow(netip.MustParseAddrPort("198.51.100.1:1025"), port{ipvs.TCP, 443}))
	if r.Verdict != sim.Forwarded {
		t.Fatalf("%+v", r)
	}
	out.Reset()
	if err := setup.Status(t.Context(), &out, []setup.Part{o.services(client)}, false); err != nil || strings.Count(out.String(), "Prot") != 1 || strings.Count(out.String(), "persistent 90") != 3 {
		t.Errorf("%v\n%s", err, &out)
	}
	out.Reset()
	if err := setup.Status(t.Context(), &out, []setup.Part{o.services(client), o.affinity(client)}, true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Affinity struct {
			Templates []struct{ ExpiresSeconds float64 }
		}
		Table struct {
			Services []struct {
				ID             string
				Scheduler      string
				TimeoutSeconds float64
				Timeout        *int64
				Destinations   []struct{ Addr string }
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if list := got.Affinity.Templates; len(list) != 1 || list[0].ExpiresSeconds != 90 {
		t.Errorf("templates %+v", list)
	}
	if list := got.Table.Services; len(list) != 3 {
		t.Errorf("services %+v", list)
	}
	for i, s := range got.Table.Services {
		if s.ID != o.ids()[i].String() || s.Scheduler != "wlc" || s.TimeoutSeconds != 90 || s.Timeout != nil || len(s.Destinations) != 1 {
			t.Errorf("service %+v", s)
		}
	}
}

// The entries of other services are left out.
func TestView(t *testing.T) {
	entry := func(protocol, client, virtual, server, state string) ipvs.Connection {
		return ipvs.Connection{
			Protocol: protocol, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort(virtual),
			Destination: netip.MustParseAddrPort(server), State: state, Expires: time.Minute,
		}
	}
	conns := []ipvs.Connection{
		entry("TCP", "198.51.100.2:0", "192.0.2.10:80", "10.0.0.2:80", "ASSURED"),
		entry("TCP", "198.51.100.2:0", "192.0.2.10:0", "10.0.0.2:0", "ASSURED"),
		entry("IP", "198.51.100.2:0", "0.0.0.10:0", "10.0.0.2:0", "NONE"),
		entry("IP", "198.51.100.2:0", "0.0.0.11:0", "10.0.0.2:0", "NONE"),
		entry("TCP", "198.51.100.2:1025", "192.0.2.10:80", "10.0.0.2:80", "TIME_WAIT"),
		entry("TCP", "198.51.100.2:1026", "192.0.2.10:80", "10.0.0.2:80", "TIME_WAIT"),
		entry("TCP", "198.51.100.1:1026", "192.0.2.10:80", "10.0.0.3:80", "ESTABLISHED"),
		entry("TCP", "198.51.100.1:1026", "192.0.2.10:8080", "10.0.0.3:80", "ESTABLISHED"),
		entry("UDP", "198.51.100.1:1026", "192.0.2.10:53", "10.0.0.3:53", "UDP"),
		entry("TCP", "198.51.100.1:1026", "192.0.2.11:80", "10.0.0.3:80", "ESTABLISHED"),
	}
	a1, a2, s2, s3 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	tests := map[string]view{
		"-kind ppc -ports 80": {
			[]visit{{a1, "80", s3, 1}, {a2, "80", s2, 2}},
			[]template{{"TCP", a2, netip.MustParseAddrPort("192.0.2.10:80"), 0, netip.MustParseAddrPort("10.0.0.2:80"), seconds(time.Minute)}},
		},
		"-kind pcc": {
			[]visit{{a1, "80", s3, 1}, {a1, "8080", s3, 1}, {a2, "80", s2, 2}},
			[]template{{"TCP", a2, netip.MustParseAddrPort("192.0.2.10:0"), 0, netip.MustParseAddrPort("10.0.0.2:0"), seconds(time.Minute)}},
		},
		"-kind pnmpp -mark 10 -ports 80,53/udp": {
			[]visit{{a1, "80", s3, 1}, {a1, "53/udp", s3, 1}, {a2, "80", s2, 2}},
			[]template{{"IP", a2, netip.MustParseAddrPort("0.0.0.10:0"), 10, netip.MustParseAddrPort("10.0.0.2:0"), seconds(time.Minute)}},
		},
	}
	for flags, want := range tests {
		o := parse(t, flags+" -vip 192.0.2.10")
		if diff := cmp.Diff(want, o.view(conns), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
	}
}
