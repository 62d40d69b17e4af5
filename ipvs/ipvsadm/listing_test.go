package ipvsadm_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// listings are the command lines of the golden files' names.
var listings = map[string]string{
	"L": "-L", "Ln": "-Ln", "S": "-S", "S-n": "-S -n", "Ln-stats": "-Ln --stats", "Ln-rate": "-Ln --rate",
	"Ln-thresholds": "-Ln --thresholds", "Ln-persistent-conn": "-Ln --persistent-conn", "Ln-tun-info": "-Ln --tun-info",
	"Ln-stats-exact": "-Ln --stats --exact", "Ln-rate-exact": "-Ln --rate --exact", "Ln-one": "-Ln -t 10.0.0.1:80",
	"Ln-one-nosort": "-Ln -t 10.0.0.1:80 --nosort", "Lnc": "-Lnc", "Lc": "-Lc", "Lnc-persistent-conn": "-Lnc --persistent-conn",
	"L-timeout": "-L --timeout", "L-daemon": "-L --daemon",
}

// TestGoldenListings compares every listing of a state that a rule file makes.
func TestGoldenListings(t *testing.T) {
	compared := 0
	for _, state := range append([]string{"daemon", "timeout"}, states...) {
		t.Run(state, func(t *testing.T) {
			k := newKernel(t, nil)
			restore(t, dial(t, k), &ipvsadm.Parser{}, golden(t, state+".setup"))
			names := newNames()
			if state == "names" {
				maps.Copy(names.hosts, map[string]string{
					"a-very-long-virtual-server-name.example.internal":                              "10.9.9.9",
					"another-very-long-real-server-name.example.internal-zone-of-length-over-sixty": "10.9.9.8",
				})
			}
			run := runnerWith(k, names)
			for _, name := range slices.Sorted(maps.Keys(listings)) {
				files, err := filepath.Glob(filepath.Join("testdata", "golden", state+"."+name+".txt"))
				if err != nil {
					t.Fatal(err)
				}
				if len(files) == 0 {
					continue
				}
				var stdout, stderr strings.Builder
				status := run(append([]string{"ipvsadm"}, strings.Fields(listings[name])...), nil, &stdout, &stderr)
				if diff := cmp.Diff(golden(t, state+"."+name+".txt"), stdout.String()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", listings[name], diff)
				}
				if status != 0 || stderr.String() != "" {
					t.Errorf("%s: status %d, %q", listings[name], status, stderr.String())
				}
				compared++
			}
		})
	}
	if compared < 95 {
		t.Errorf("only %d listings compared", compared)
	}
}

// bigCounters are the values that were put in the place of the kernel's.
var bigCounters = map[string][5]uint64{
	"big1": {99999999, 100000000, 999999999, 1000000000, 99999999999},
	"big2": {100000000000, 99999999999999, 100000000000000, 999999999999999, 18446744073709551615},
	"big3": {4294967295, 4294967296, 4294967297, 4294967296, 12345678},
}

// TestGoldenCounters: of a server's counters the original keeps the low 32 bits, but for the bytes; what it has lost is
// taken away here before printing, so that the rest can be compared.
func TestGoldenCounters(t *testing.T) {
	for state, v := range bigCounters {
		for _, name := range []string{"Ln-stats", "Ln-stats-exact", "Ln-rate", "Ln-rate-exact"} {
			t.Run(state+"."+name, func(t *testing.T) {
				c := newClient(t)
				restore(t, c, &ipvsadm.Parser{}, golden(t, state+".setup"))
				table, err := ipvsadm.ReadTable(context.Background(), c)
				if err != nil {
					t.Fatal(err)
				}
				whole := ipvs.Stats{
					Connections: v[0], InPackets: v[1], OutPackets: v[2], InBytes: v[3], OutBytes: v[4], ConnectionRate: v[0],
					InPacketRate: v[1], OutPacketRate: v[2], InByteRate: v[3], OutByteRate: v[4],
				}
				low := func(n uint64) uint64 { return uint64(uint32(n)) }
				cut := ipvs.Stats{
					Connections: low(v[0]), InPackets: low(v[1]), OutPackets: low(v[2]), InBytes: v[3], OutBytes: v[4],
					ConnectionRate: low(v[0]), InPacketRate: low(v[1]), OutPacketRate: low(v[2]), InByteRate: low(v[3]),
					OutByteRate: low(v[4]),
				}
				for i := range table.Services {
					table.Services[i].Stats = whole
					for j := range table.Services[i].Destinations {
						table.Services[i].Destinations[j].Stats = cut
					}
				}
				op, err := ipvsadm.Parse(strings.Fields(listings[name]))
				if err != nil {
					t.Fatal(err)
				}
				var got strings.Builder
				if err := op.Listing.WriteTable(context.Background(), &got, table, nil); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(golden(t, state+"."+name+".txt"), got.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestGoldenConnections(t *testing.T) {
	for _, state := range []string{"conn", "connlong", "traffic"} {
		proc := state + ".proc"
		if state == "traffic" {
			proc = "traffic.proc-ip_vs_conn.txt"
		}
		text := golden(t, proc)
		for _, name := range []string{"Lnc", "Lc", "Lnc-persistent-conn"} {
			if state == "traffic" && name != "Lnc" {
				continue
			}
			t.Run(state+"."+name, func(t *testing.T) {
				op, err := ipvsadm.Parse(strings.Fields(listings[name]))
				if err != nil {
					t.Fatal(err)
				}
				var r ipvsadm.Resolver
				if !op.Listing.Numeric {
					r = newNames()
				}
				var got strings.Builder
				err = op.Listing.WriteConnections(context.Background(), &got, ipvs.ParseConnections(strings.NewReader(text)), r)
				if err != nil {
					t.Fatal(err)
				}
				want := golden(t, state+"."+name+".txt")
				text := got.String()
				switch state {
				case "connlong":
					want = withoutGarbage(t, want, op.Listing.View)
				case "traffic": // the file was read a moment before the listing
					want, text = seconds.ReplaceAllString(want, "00:00"), seconds.ReplaceAllString(text, "00:00")
				}
				if diff := cmp.Diff(want, text); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

var seconds = regexp.MustCompile(`\b\d\d:\d\d\b`)

// withoutGarbage takes out what the original makes of the rest of a line that is too long for it, and puts the rest
// where it belongs.
func withoutGarbage(t *testing.T, want string, v ipvsadm.View) string {
	t.Helper()
	lines := strings.SplitAfter(want, "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[3], "zzzzzzzz\x01 ") {
		t.Fatalf("not the expected garbage:\n%s", want)
	}
	if v == ipvsadm.PersistentConns {
		data := strings.Count(golden(t, "connlong.proc"), "z")
		lines[2] = strings.TrimRight(lines[2], "z\n") + strings.Repeat("z", data) + "\n"
	}
	return strings.Join(slices.Delete(lines, 3, 4), "")
}

func TestConnectionErrors(t *testing.T) {
	const title = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
	const row = "TCP 0A090001 CA73 0A090001 0050 0A090002 1F90 ESTABLISHED     899\n"
	tests := map[string]struct {
		files                  fstest.MapFS
		status, rows           int
		stderr, stderrContains string
	}{
		"missing": {files: fstest.MapFS{}, status: 1, stderr: "cannot open file /proc/net/ip_vs_conn\n"},
		"empty":   {files: procFile(""), status: 1, stderr: "unexpected input from /proc/net/ip_vs_conn\n"},
		"title":   {files: procFile(title)},
		"broken":  {files: procFile(title + row + "TCP nonsense\n" + row), rows: 2, stderrContains: "ip_vs_conn:3:"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, nil)
			var stdout, stderr strings.Builder
			p := program(k, nil, nil, &stdout, &stderr)
			p.Open = func(context.Context) (*ipvs.Client, error) {
				conn, err := k.Namespace("").Dial()
				if err != nil {
					return nil, err
				}
				return ipvs.NewClient(conn, &ipvs.Config{Root: tt.files})
			}
			if status := p.Run(context.Background(), []string{"ipvsadm", "-Lnc"}); status != tt.status {
				t.Errorf("status %d", status)
			}
			if tt.stderrContains == "" && stderr.String() != tt.stderr || !strings.Contains(stderr.String(), tt.stderrContains) {
				t.Errorf("standard error %q", stderr.String())
			}
			if n := strings.Count(stdout.String(), "14:59"); n != tt.rows || tt.status != 0 && stdout.String() != "" {
				t.Errorf("%d rows in %q", n, stdout.String())
			}
		})
	}
}

func procFile(text string) fstest.MapFS {
	return fstest.MapFS{"proc/thread-self/net/ip_vs_conn": &fstest.MapFile{Data: []byte(text)}}
}

// A connection list that breaks off gives what came before.
func TestConnectionsBreakOff(t *testing.T) {
	broken := errors.New("broken")
	var list iter.Seq2[ipvs.Connection, error] = func(yield func(ipvs.Connection, error) bool) {
		_ = yield(ipvs.Connection{Protocol: "TCP"}, nil) && yield(ipvs.Connection{}, broken) && yield(ipvs.Connection{}, fs.ErrClosed)
	}
	var got strings.Builder
	err := ipvsadm.Listing{}.WriteConnections(context.Background(), &got, list, nil)
	if !errors.Is(err, broken) || errors.Is(err, fs.ErrClosed) || strings.Count(got.String(), "\n") != 3 {
		t.Errorf("%v and %q", err, got.String())
	}
}

// The order of servers whose addresses are so far apart that ipvsadm's comparison is none, as it was seen on a real kernel.
func TestOrderOfFarAddresses(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "order.txt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		added, listed, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		if !ok {
			continue
		}
		n++
		c := newClient(t)
		rules := "-A -f 1\n"
		for _, addr := range strings.Fields(added) {
			rules += "-a -f 1 -r " + addr + "\n"
		}
		restore(t, c, &ipvsadm.Parser{}, rules)
		table, err := ipvsadm.ReadTable(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := (ipvsadm.Listing{}).WriteTable(context.Background(), &b, table, nil); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(b.String()) {
			if addr, ok := strings.CutPrefix(line, "  -> "); ok && addr[0] != 'R' {
				got = append(got, strings.TrimSuffix(strings.Fields(addr)[0], ":0"))
			}
		}
		if diff := cmp.Diff(strings.Fields(listed), got); diff != "" {
			t.Errorf("added %s (-want +got):\n%s", added, diff)
		}
	}
	if n != 45 {
		t.Errorf("%d orders", n)
	}
}

// The text of addresses where netip and the C library could differ, as ipvsadm printed it.
func TestAddressText(t *testing.T) {
	for addr, want := range map[string]string{
		"::10.0.0.1": "[::10.0.0.1]", "::1:0": "[::0.1.0.0]", "::1": "[::1]", "::": "[::]", "::a:b:c": "[::a:b:c]",
		"::ffff:1.2.3.4": "[::ffff:1.2.3.4]", "::ffff:0:1.2.3.4": "[::ffff:0:102:304]", "1:0:0:2::3": "[1:0:0:2::3]",
		"1:0:2:3:4:5:6:7": "[1:0:2:3:4:5:6:7]", "::fffe:1.2.3.4": "[::fffe:102:304]", "64:ff9b::1.2.3.4": "[64:ff9b::102:304]",
		"1:2:3:4:5:6:7::": "[1:2:3:4:5:6:7:0]", "::2:3:4:5:6:7:8": "[0:2:3:4:5:6:7:8]", "::0.0.255.255": "[::ffff]", "0:0:0:1::": "[0:0:0:1::]",
	} {
		op, err := ipvsadm.Parse([]string{"-A", "-t", "[" + addr + "]:80"})
		if err != nil {
			t.Fatal(err)
		}
		table := ipvsadm.Table{Services: []ipvs.ServiceSnapshot{{ServiceStatus: ipvs.ServiceStatus{Service: op.Service}}}}
		var b strings.Builder
		if err := ipvsadm.WriteSave(context.Background(), &b, table, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != "-A -t "+want+":80 -s wlc\n" {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
