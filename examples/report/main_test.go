package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

const small = `# two servers, one of which fails
-A -t 192.0.2.1:80 -s wlc -p 30
-a -t 192.0.2.1:80 -r 10.0.0.1:80 -g -w 1
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 3
at 1
open tcp 198.51.100.1:1000 192.0.2.1:80
at 10
-d -t 192.0.2.1:80 -r 10.0.0.1:80
open tcp 198.51.100.1:1001 192.0.2.1:80
at 20
-a -t 192.0.2.1:80 -r 10.0.0.1:80 -g -w 1
-e -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 0
at 40
`

var (
	one = netip.MustParseAddrPort("10.0.0.1:80")
	two = netip.MustParseAddrPort("10.0.0.2:80")

	equateAddrs = cmpopts.EquateComparable(netip.AddrPort{})
)

func parsed(t *testing.T, text string, drains ...drain) *trace {
	t.Helper()
	tr, err := parseTrace(t.Context(), []byte(text), drains)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestTrace(t *testing.T) {
	tr := parsed(t, small, drain{server: 1, at: 5, back: 7})
	h := tr.services[0]
	want := []incident{
		{5, one, "drained", 0}, {7, one, "back", 1}, {10, one, "removed", 0}, {20, one, "back", 1}, {20, two, "drained", 0},
	}
	if diff := cmp.Diff(want, h.events, equateAddrs); diff != "" || tr.end != 40 {
		t.Errorf("it ends at %v; incidents (-want +got):\n%s", tr.end, diff)
	}
	for at, want := range map[float64]map[netip.AddrPort]uint32{
		0: {one: 1, two: 3}, 4.9: {one: 1, two: 3}, 5: {one: 0, two: 3}, 8: {one: 1, two: 3}, 10: {two: 3}, 30: {one: 1, two: 0},
	} {
		if diff := cmp.Diff(want, h.at(at), equateAddrs); diff != "" {
			t.Errorf("weights at %v (-want +got):\n%s", at, diff)
		}
	}
	text := string(tr.with("mh"))
	for _, want := range []string{
		"-A -t 192.0.2.1:80 -s mh -p 30\n",
		"at 5\n-e -t 192.0.2.1:80 -r 10.0.0.1:80 -g -w 0\nat 7\n-e -t 192.0.2.1:80 -r 10.0.0.1:80 -g -w 1\nat 10\n",
		"# two servers, one of which fails\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("with another scheduler there is no %q in\n%s", want, text)
		}
	}
	if tr.find(ipvs.TCP, netip.MustParseAddrPort("192.0.2.1:80"), 0) != h || tr.find(ipvs.UDP, netip.MustParseAddrPort("192.0.2.1:80"), 0) != nil {
		t.Error("the service is not found, or one that is not there is")
	}
}

// Numbers that can be worked out by hand.
func TestResults(t *testing.T) {
	tr := parsed(t, small)
	r := newResults(tr, 4) // of 10 s each
	line := func(at float64, client int, dest string) string {
		return fmt.Sprintf(`{"time":%v,"protocol":"tcp","client":"198.51.100.%d:1000","virtual":"192.0.2.1:80"%s,"verdict":"forwarded"}`, at, client, dest)
	}
	const first, second = `,"dest":"10.0.0.1:80"`, `,"dest":"10.0.0.2:80"`
	decisions := strings.Join([]string{
		`[{"protocol":"TCP"}]`, `{"info":{}}`, // listings
		line(1, 1, first), line(2, 2, second), line(3, 3, second), line(4, 3, first), // 3 moves
		line(11, 1, second),                                      // has to move
		line(21, 2, second), line(22, 3, first), line(23, 4, ""), // the drained server is still used; one is refused
		line(24, 1, first), // has to move
	}, "\n")
	if err := r.add("wlc", strings.NewReader(decisions)); err != nil {
		t.Fatal(err)
	}
	x := r.Services[0].Runs[0]
	if x.Connections != 9 || x.Refused != 1 || x.Moved != 1 {
		t.Errorf("%d connections, %d refused, %d moved", x.Connections, x.Refused, x.Moved)
	}
	type row struct{ Share, Due []float64 }
	var rows []row
	for _, w := range x.PerWindow {
		rows = append(rows, row{w.Share, w.Due})
	}
	want := []row{
		{[]float64{0.5, 0.5}, []float64{0.25, 0.75}},
		{[]float64{0, 1}, []float64{0, 1}},
		{[]float64{2. / 3, 1. / 3}, []float64{1, 0}},
		{[]float64{0, 0}, []float64{0, 0}},
	}
	if diff := cmp.Diff(want, rows, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
	if want := (0.25 + 0 + 1./3) / 3; math.Abs(x.Uneven-want) > 1e-9 {
		t.Errorf("uneven is %v, want %v", x.Uneven, want)
	}
	effects := []effect{
		{Seconds: 8, Before: 0.5},          // removed: 3 of the second server moved, 2 is new; nobody of the others comes back meanwhile
		{Seconds: 0},                       // back, at the moment of the next one
		{Seconds: 8, Refused: 1, Still: 1}, // drained
	}
	effects[0].Before = 1 // of one connection
	if diff := cmp.Diff(effects, x.Effects); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if err := r.add("rr", strings.NewReader(`{"time":"x"}`)); err == nil {
		t.Error("a line that is no decision is accepted")
	}
}

func runProgram(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{Env: &setup.Env{Name: "report", Stdout: &out, Stderr: &errs}, stdin: strings.NewReader(stdin)}
	status = p.run(t.Context(), args)
	return status, out.String(), errs.String()
}

// The demonstration: one file that needs no other, with a picture for each scheduler, comparison and incident.
func TestDemonstration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	status, out, errs := runProgram(t, "", "-o", file)
	if status != setup.ExitOK || out != "" || errs != "" {
		t.Fatalf("status %d, %q, %s", status, out, errs)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, foreign := range []string{"http:", "https:", "src=", "href", "url(", "<script", "@import", "<link"} {
		if strings.Contains(page, foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
	for _, want := range []string{`<meta name="viewport"`, "10.1.0.3:80 is removed at 30 s", "10.1.0.4:80 is drained at 75 s", "<title>Schedulers compared: wrr, wlc, sh, mh</title>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	pictures := regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(page, -1)
	if len(pictures) != 4+4+4 {
		t.Errorf("%d pictures", len(pictures))
	}
	for _, p := range pictures {
		dec := xml.NewDecoder(strings.NewReader(p))
		paths := 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in a picture that begins with %.100q", err, p)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" {
				paths++
			}
		}
		if paths < 5 || strings.Contains(p, "NaN") || strings.Contains(p, "Inf") {
			t.Errorf("%d paths in a picture that begins with %.100q", paths, p)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Numbers about schedulers that are known.
func TestJSON(t *testing.T) {
	status, out, errs := runProgram(t, "", "-json", "-compare", "wrr,mh")
	if status != setup.ExitOK {
		t.Fatal(errs)
	}
	var r results
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	s := r.Services[0]
	wrr, mh := s.Runs[0], s.Runs[1]
	if len(s.Incidents) != 4 || wrr.Scheduler != "wrr" || wrr.Connections < 6000 || wrr.Connections != mh.Connections {
		t.Fatalf("%d incidents, %s with %d connections, %d with %s", len(s.Incidents), wrr.Scheduler, wrr.Connections, mh.Connections, mh.Scheduler)
	}
	if wrr.Uneven > 0.02 || mh.Uneven < wrr.Uneven {
		t.Errorf("wrr is as uneven as %v, mh as %v", wrr.Uneven, mh.Uneven)
	}
	if mh.Moved*10 > wrr.Moved {
		t.Errorf("%d moved with mh, %d with wrr", mh.Moved, wrr.Moved)
	}
	for _, x := range s.Runs {
		for i, w := range x.PerWindow {
			sum, due := 0.0, 0.0
			for n := range w.Share {
				sum += w.Share[n]
				due += w.Due[n]
			}
			if math.Abs(sum-1) > 1e-9 || math.Abs(due-1) > 1e-9 {
				t.Errorf("%s: the shares of window %d add up to %v, what is due to %v", x.Scheduler, i, sum, due)
			}
		}
	}
}

// A trace of one's own, from standard input: one with a firewall mark, IPv6, and without incidents.
func TestOwnTrace(t *testing.T) {
	const text = `-A -f 7 -6 -s rr
-a -f 7 -6 -r [fd00::1]:0 -g -w 1
-A -u 192.0.2.1:53 -s rr
-a -u 192.0.2.1:53 -r 10.0.0.1 -g
at 1
open tcp [2001:db8::1]:1000 [2001:db8::2]:443 mark 7
at 2
open udp 198.51.100.1:1000 192.0.2.1:53
`
	status, out, errs := runProgram(t, text, "-compare", "rr", "-json", "-")
	if status != setup.ExitOK {
		t.Fatal(errs)
	}
	var r results
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Services {
		if len(s.Runs) != 1 || s.Runs[0].Connections != 1 || s.Runs[0].Refused != 0 {
			t.Errorf("%v: %+v", s.Service, s.Runs[0])
		}
	}
	if status, out, errs := runProgram(t, text, "-compare", "rr", "-"); status != setup.ExitOK || strings.Count(out, "<svg ") != 2*(1+3) {
		t.Errorf("status %d, %d pictures, %s", status, strings.Count(out, "<svg "), errs)
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		stdin  string
		args   []string
		status int
		want   string
	}{
		{"", []string{"x", "y"}, setup.ExitUsage, `unexpected argument "y"`},
		{"", []string{"-bogus"}, setup.ExitUsage, "flag provided but not defined: -bogus"},
		{"", []string{"-compare", "rr,frob"}, setup.ExitUsage, `unknown scheduler "frob"`},
		{"", []string{"-compare", "rr,rr"}, setup.ExitUsage, `"rr" is there twice`},
		{"", []string{"-windows", "1"}, setup.ExitUsage, "-windows 1 is not from 2 to 1000"},
		{"", []string{"-drain", "1"}, setup.ExitUsage, "not SERVER@TIME"},
		{"", []string{"/no/such/file"}, setup.ExitError, "no such file"},
		{"", []string{"-"}, setup.ExitError, "the trace has no service"},
		{"-Q\n", []string{"-"}, setup.ExitError, "trace, line 1: "},
		{"at x\n", []string{"-"}, setup.ExitError, "trace, line 1: "},
		{small, []string{"-drain", "3@1", "-"}, setup.ExitError, "there is no server 3 to drain, but 2"},
		{small + "frob\n", []string{"-"}, setup.ExitError, "frob"},
		{small, []string{"-lvssim", "/no/such/program", "-"}, setup.ExitError, "/no/such/program"},
		{small, []string{"-o", "/no/such/folder/x", "-compare", "rr", "-"}, setup.ExitError, "no such file"},
	}
	for _, tt := range tests {
		status, out, errs := runProgram(t, tt.stdin, tt.args...)
		if status != tt.status || out != "" || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("report %v: status %d, output %.80q, error %q; want %d, %q", tt.args, status, out, errs, tt.status, tt.want)
		}
	}
	if status, out, errs := runProgram(t, "", "-h"); status != setup.ExitOK || !strings.HasPrefix(out, "usage: report ") || errs != "" {
		t.Errorf("help: status %d, output %q, error %q", status, out, errs)
	}
}

// An interrupted run leaves the old file.
func TestInterrupt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var out, errs bytes.Buffer
	p := program{Env: &setup.Env{Name: "report", Stdout: &out, Stderr: &errs}, stdin: strings.NewReader(small)}
	if status := p.run(ctx, []string{"-o", file, "-"}); status != setup.ExitError || !strings.Contains(errs.String(), "context canceled") {
		t.Errorf("status %d, %s", status, errs.String())
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "old" {
		t.Errorf("the file has %q, %v", data, err)
	}
}

func TestParseDrain(t *testing.T) {
	for text, want := range map[string]drain{"1@30": {1, 30, 0}, "2@0.5-60": {2, 0.5, 60}} {
		if got, err := parseDrain(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "0@3", "x@3", "1@x", "1@-3", "1@3-2", "1@3-", "1@NaN", "1@Inf", "1@3-Inf"} {
		if got, err := parseDrain(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// What is written for another scheduler reads as the same servers and weights.
func FuzzTrace(f *testing.F) {
	f.Add(small)
	f.Add("-A -f 7 -6 -s rr\nat 3\n-C\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseTrace(t.Context(), []byte(text), nil)
		if err != nil {
			return
		}
		b, err := parseTrace(t.Context(), a.with("mh"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.services) != len(b.services) || a.end != b.end {
			t.Fatalf("%d services until %v, and %d until %v", len(a.services), a.end, len(b.services), b.end)
		}
		for i := range a.services {
			if diff := cmp.Diff(a.services[i].events, b.services[i].events, equateAddrs); diff != "" {
				t.Fatalf("incidents (-first +second):\n%s", diff)
			}
		}
	})
}
