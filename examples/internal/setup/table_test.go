package setup

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func newTable(t *testing.T, c *ipvs.Client, real string, forward ipvs.ForwardMethod) *Table {
	t.Helper()
	var servers RealServers
	if err := servers.Set(real); err != nil {
		t.Fatal(err)
	}
	s := NewService(ipvs.TCP, netip.MustParseAddr("192.0.2.10"), 80)
	s.Scheduler = "wlc"
	return &Table{Client: c, Program: "dr", Service: s, Forward: forward, Destinations: servers.Destinations(80, ipvs.Destination{Forward: forward})}
}

// rules returns the table as a rule file.
func rules(t *testing.T, c *ipvs.Client) (list []string) {
	t.Helper()
	snapshot, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ipvsadm.Operations(snapshot) {
		list = append(list, op.String())
	}
	return list
}

// Whichever step fails, the table is as it was.
func TestTableFailure(t *testing.T) {
	for _, op := range []string{"add destination", "set destination", "set service"} {
		k, c := ipvstest.Start(t, nil)
		first := newTable(t, c, "10.0.0.1,10.0.0.2=5", ipvs.Route)
		first.Service.Scheduler = "rr"
		a, err := first.Start(t.Context())
		if err == nil {
			err = a.Do(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		before := rules(t, c)
		if _, err := k.Inject(ipvstest.Fault{Op: op, Nth: 1, Errno: 12}); err != nil {
			t.Fatal(err)
		}
		if a, err = newTable(t, c, "10.0.0.2,10.0.0.3", ipvs.Route).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Do(t.Context()); err == nil {
			t.Fatalf("%s: start succeeds", op)
		}
		if diff := cmp.Diff(before, rules(t, c)); diff != "" {
			t.Errorf("%s: left behind (-before +after):\n%s", op, diff)
		}
	}
}

// A step whose answer does not come is taken back too, whether the kernel has done it or not.
func TestTableLostAnswer(t *testing.T) {
	for _, op := range []string{"add service", "add destination", "set destination", "set service"} {
		k, c := ipvstest.Start(t, nil)
		first := newTable(t, c, "10.0.0.1=5", ipvs.Route)
		first.Service.Scheduler = "rr"
		if op == "add service" {
			first.Service.ID.Addr = netip.MustParseAddrPort("192.0.2.11:80")
		}
		a, err := first.Start(t.Context())
		if err == nil {
			err = a.Do(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		before := rules(t, c)
		if a, err = newTable(t, c, "10.0.0.1,10.0.0.2", ipvs.Route).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Inject(ipvstest.Fault{Op: op, Nth: 1, Lost: true}); err != nil {
			t.Fatal(err)
		}
		if err := a.Do(t.Context()); err == nil {
			t.Fatalf("%s: start succeeds", op)
		}
		if diff := cmp.Diff(before, rules(t, c)); diff != "" {
			t.Errorf("%s: left behind (-before +after):\n%s", op, diff)
		}
	}
}

// Undo of a second start goes back to the first.
func TestTableUndo(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	var states [][]string
	var last Action
	for _, real := range []string{"10.0.0.1=3", "10.0.0.1=4,10.0.0.2"} {
		a, err := newTable(t, c, real, ipvs.Masquerade).Start(t.Context())
		if err == nil {
			err = a.Do(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		states, last = append(states, rules(t, c)), a
	}
	if err := last.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(states[0], rules(t, c)); diff != "" || len(states[1]) != len(states[0])+1 {
		t.Fatalf("table (-first +now):\n%s", diff)
	}
}

// stop stops a table, and returns what stays.
func stop(t *testing.T, table *Table) string {
	t.Helper()
	a, err := table.Stop(t.Context())
	if err == nil && a.Do != nil {
		err = a.Do(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Kept
}

// With a record stop takes back what starts have done, and nothing else.
func TestTableRecord(t *testing.T) {
	const by = "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1\n-a -t 192.0.2.10:80 -r 10.0.0.2:80 -m -w 1\n"
	const stays = "TCP 192.0.2.10:80 stays, as it is not start that has set it up: \"ipvsadm -D -t 192.0.2.10:80\" removes it\n"
	tests := map[string]struct {
		before string   // rules
		starts []string // -real of each
		since  string   // what somebody else does
		after  string
		kept   string
	}{
		"new":                         {starts: []string{"10.0.0.1"}},
		"new, started twice":          {starts: []string{"10.0.0.1", "10.0.0.1=2,10.0.0.3"}},
		"new, used by others":         {starts: []string{"10.0.0.1"}, since: "-a -t 192.0.2.10:80 -r 10.0.0.9 -m"},
		"not started":                 {before: by, after: by, kept: stays},
		"not started, no service":     {},
		"there before":                {before: by, starts: []string{"10.0.0.1=5,10.0.0.3"}, after: by},
		"there before, started twice": {before: by, starts: []string{"10.0.0.1=5,10.0.0.3", "10.0.0.1=7,10.0.0.2=8,10.0.0.3=9"}, after: by},
		"there before, drained since": {before: by, starts: []string{"10.0.0.3"}, since: "-e -t 192.0.2.10:80 -r 10.0.0.3 -m -w 0", after: by},
		"there before, deleted since": {before: by, starts: []string{"10.0.0.1=2"}, since: "-D -t 192.0.2.10:80"},
		"there before, changed since": {
			before: by, starts: []string{"10.0.0.1=5"}, since: "-e -t 192.0.2.10:80 -r 10.0.0.1 -m -w 6",
			after: "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 6\n-a -t 192.0.2.10:80 -r 10.0.0.2:80 -m -w 1\n",
			kept:  "10.0.0.1:80 stays as it is, as somebody else has changed it since start\n",
		},
		"scheduler changed since": {
			before: "-A -t 192.0.2.10:80 -s rr", starts: []string{"10.0.0.1"}, since: "-E -t 192.0.2.10:80 -s sh",
			after: "-A -t 192.0.2.10:80 -s sh\n", kept: "TCP 192.0.2.10:80 stays as it is, as somebody else has changed it since start\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, c := ipvstest.Start(t, nil)
			do := func(lines string) {
				t.Helper()
				for line := range strings.Lines(lines) {
					op, err := ipvsadm.ParseLine(strings.TrimSpace(line))
					if err == nil {
						err = op.Apply(t.Context(), c)
					}
					if err != nil {
						t.Fatalf("%s: %v", line, err)
					}
				}
			}
			do(tt.before)
			table := newTable(t, c, "10.0.0.1", ipvs.Masquerade)
			table.Record = filepath.Join(t.TempDir(), "lvs", "record")
			for _, real := range tt.starts {
				next := newTable(t, c, real, ipvs.Masquerade)
				next.Record = table.Record
				a, err := next.Start(t.Context())
				if err == nil {
					err = a.Do(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			do(tt.since)
			kept := stop(t, table)
			var after string
			for _, line := range rules(t, c)[1:] { // after the timeouts
				after += line + "\n"
			}
			if diff := cmp.Diff(tt.after, after) + cmp.Diff(tt.kept, kept); diff != "" {
				t.Errorf("table, and what stays (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(table.Record); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the record: %v", err)
			}
		})
	}
}

// A start that fails, or is taken back, leaves the record of the one before.
func TestTableRecordFailure(t *testing.T) {
	k, c := ipvstest.Start(t, nil)
	first := newTable(t, c, "10.0.0.1", ipvs.Masquerade)
	first.Record = filepath.Join(t.TempDir(), "record")
	second := newTable(t, c, "10.0.0.1=2,10.0.0.2", ipvs.Masquerade)
	second.Record = first.Record
	for i, table := range []*Table{first, second} {
		before, _ := os.ReadFile(first.Record)
		if _, err := k.Inject(ipvstest.Fault{Op: "add destination", Nth: 1, Errno: 12}); err != nil {
			t.Fatal(err)
		}
		for try := range 3 { // one that fails, one that is taken back, and one that succeeds
			a, err := table.Start(t.Context())
			if err == nil {
				err = a.Do(t.Context())
			}
			if (err == nil) != (try > 0) {
				t.Fatalf("start %d, %d: %v", i, try, err)
			}
			if try == 1 {
				err = a.Undo(t.Context())
			}
			if after, _ := os.ReadFile(first.Record); try < 2 && (err != nil && try > 0 || string(after) != string(before)) {
				t.Fatalf("start %d, %d: %v; the record is\n%s\nand was\n%s", i, try, err, after, before)
			}
		}
	}
	stop(t, first)
	if list := rules(t, c)[1:]; len(list) != 0 {
		t.Errorf("left behind: %q", list)
	}
}

func TestTableFindings(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	a, err := newTable(t, c, "10.0.0.1,10.0.0.2=0,10.0.0.4", ipvs.Masquerade).Start(t.Context())
	if err == nil {
		err = a.Do(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	want := newTable(t, c, "10.0.0.1,10.0.0.2,10.0.0.3", ipvs.Route)
	want.Service.Scheduler, want.Service.Flags, want.Service.Timeout = "rr", ipvs.Persistent, 300*time.Second
	l, err := want.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range l.Findings {
		got = append(got, f.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"10.0.0.1:80 is forwarded by Masq and not by Route: ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.1:80 -g -w 1",
		"10.0.0.2:80 is forwarded by Masq and not by Route: ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.2:80 -g -w 1",
		`10.0.0.3:80 is not in the table: "dr start" adds it`,
		"10.0.0.4:80 is forwarded by Masq and not by Route: ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.4:80 -g -w 1",
		`persistence is off and not 5m0s: "dr start" sets it`,
		`the scheduler is wlc and not rr: "dr start" sets it`,
	}, got); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
}

// An address and settings stay as long as another service needs them.
func TestTableShares(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	table := newTable(t, c, "10.0.0.1", ipvs.Masquerade)
	shares := func() (vip, method int) {
		t.Helper()
		v, err := table.SharesVIP(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := table.SharesMethod(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(v), len(m)
	}
	for _, line := range []string{
		"-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 10.0.0.1 -m", // itself
		"-A -t 192.0.2.11:80 -s rr", "-a -t 192.0.2.11:80 -r 10.0.0.1 -g",
	} {
		op, err := ipvsadm.ParseLine(line)
		if err == nil {
			err = op.Apply(t.Context(), c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if v, m := shares(); v != 0 || m != 0 {
		t.Fatalf("%d services share the address and %d the method", v, m)
	}
	for _, line := range []string{"-A -t 192.0.2.10:443 -s rr", "-A -f 7 -s rr", "-a -f 7 -r 10.0.0.1 -m"} {
		op, err := ipvsadm.ParseLine(line)
		if err == nil {
			err = op.Apply(t.Context(), c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if v, m := shares(); v != 1 || m != 1 {
		t.Fatalf("%d services share the address and %d the method", v, m)
	}
}
