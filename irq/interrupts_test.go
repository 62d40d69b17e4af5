package irq

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
)

func readTable(t testing.TB, name string) Table {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := ParseInterrupts(f)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestParseInterrupts(t *testing.T) {
	table := readTable(t, "interrupts-4cpu-virtio-6.12.txt")
	if diff := cmp.Diff([]int{0, 1, 2, 3}, table.CPUs); diff != "" {
		t.Errorf("CPUs (-want +got):\n%s", diff)
	}
	row, ok := table.Row(25)
	want := Row{Label: "25", IRQ: 25, Counts: row.Counts, Description: "PCI-MSIX-0000:00:03.0   1-edge      virtio0-input.0"}
	if diff := cmp.Diff(want, row); !ok || len(row.Counts) != 4 || diff != "" {
		t.Errorf("row 25 (-want +got):\n%s", diff)
	}
	if got := row.Actions(); !slices.Equal(got, []string{"virtio0-input.0"}) {
		t.Errorf("actions %q", got)
	}
	if _, ok := table.Row(9999); ok {
		t.Error("found an interrupt that is not there")
	}
	for _, r := range table.Rows {
		if r.Label == "ERR" && (len(r.Counts) != 1 || r.IRQ != -1 || r.Actions() != nil) {
			t.Errorf("%+v", r)
		}
		if r.Label == "NMI" && (len(r.Counts) != 4 || r.Description != "Non-maskable interrupts" || r.Actions() != nil) {
			t.Errorf("%+v", r)
		}
	}

	offline := readTable(t, "interrupts-72possible-6online-6.12.txt")
	if diff := cmp.Diff([]int{0, 2, 4, 6, 8, 10}, offline.CPUs); diff != "" {
		t.Errorf("CPUs (-want +got):\n%s", diff)
	}
	if row, ok := offline.Row(25); !ok || len(row.Counts) != 6 {
		t.Errorf("row 25 of six CPUs: %+v", row)
	}
	names := readTable(t, "interrupts-2cpu-msix-names.txt")
	for irq, want := range map[int][]string{24: {"ACPI:Ged"}, 32: {"virtio0-reporting_vq"}, 36: {"virtio1-req.0"}} {
		if row, _ := names.Row(irq); !slices.Equal(row.Actions(), want) {
			t.Errorf("actions of %d: %q, want %q", irq, row.Actions(), want)
		}
	}
	if row, _ := names.Row(36); !slices.Equal(row.Counts, []uint64{0, 191927}) {
		t.Errorf("counts of 36: %v", row.Counts)
	}
}

func TestParseInterruptsForms(t *testing.T) {
	const text = "           CPU0       CPU7\n" +
		"  5:          1          2   IO-APIC   5-edge      one, two, three\n" +
		" 6:          1          2   xen-dyn    -event     eth0-q0-rx\n" +
		" 7:          1          2   GICv3  34 Level     eth 0 name\n" +
		" 8:          1          2\n" +
		" 9:          1          2 IR-PCI-MSI 524288-edge eth0\n" +
		"10:          1          2abc\n" +
		"LOC:         3          4   Local timer interrupts\n" +
		"ERR:         7\n"
	table, err := ParseInterrupts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{"5", 5, []uint64{1, 2}, "IO-APIC   5-edge      one, two, three"},
		{"6", 6, []uint64{1, 2}, "xen-dyn    -event     eth0-q0-rx"},
		{"7", 7, []uint64{1, 2}, "GICv3  34 Level     eth 0 name"},
		{"8", 8, []uint64{1, 2}, ""},
		{"9", 9, []uint64{1, 2}, "IR-PCI-MSI 524288-edge eth0"},
		{"10", 10, []uint64{1}, "2abc"},
		{"LOC", -1, []uint64{3, 4}, "Local timer interrupts"},
		{"ERR", -1, []uint64{7}, ""},
	}
	if diff := cmp.Diff(want, table.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for irq, want := range map[int][]string{5: {"one", "two", "three"}, 6: {"eth0-q0-rx"}, 7: {"eth 0 name"}, 8: nil, 9: {"eth0"}} {
		if row, _ := table.Row(irq); !slices.Equal(row.Actions(), want) {
			t.Errorf("actions of %d: %q, want %q", irq, row.Actions(), want)
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "no CPUs": "\n 1: 2\n", "other title": "CPU0 total\n", "no label": "CPU0\n 1 2\n", "empty label": "CPU0\n: 2\n", "huge CPU": "CPU99999999\n",
	} {
		if got, err := ParseInterrupts(strings.NewReader(bad)); !errors.Is(err, fs.ErrInvalid) || got.Rows != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	boom := errors.New("boom")
	if _, err := ParseInterrupts(io.MultiReader(strings.NewReader("CPU0\n"), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("a reader's failure: %v", err)
	}
}

func FuzzParseInterrupts(f *testing.F) {
	for _, name := range []string{"interrupts-4cpu-virtio-6.12.txt", "interrupts-2cpu-msix-names.txt", "interrupts-72possible-6online-6.12.txt"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("CPU0 CPU1\nERR: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := ParseInterrupts(strings.NewReader(text))
		if err != nil {
			if table.Rows != nil || table.CPUs != nil {
				t.Fatalf("table and error: %+v, %v", table, err)
			}
			return
		}
		if len(table.CPUs) == 0 {
			t.Fatal("no CPUs")
		}
		for _, row := range table.Rows {
			if row.Label == "" || len(row.Counts) > len(table.CPUs) || row.IRQ < -1 || cap(row.Counts) != len(row.Counts) {
				t.Fatalf("row %+v of %d CPUs", row, len(table.CPUs))
			}
			for _, name := range row.Actions() {
				if !strings.Contains(text, name) {
					t.Fatalf("action %q is not in the text", name)
				}
				queueOf(name, "eth0")
			}
		}
		NewRates(table, table, time.Second)
	})
}

// large is the file of a machine with many interrupts and CPUs.
func large(cpus, rows int, count func(row, cpu int) int) string {
	var b strings.Builder
	b.WriteString("     ")
	for cpu := range cpus {
		fmt.Fprintf(&b, "%11s", fmt.Sprintf("CPU%d", cpu))
	}
	b.WriteByte('\n')
	for row := range rows {
		fmt.Fprintf(&b, "%4d:", row)
		for cpu := range cpus {
			fmt.Fprintf(&b, " %10d", count(row, cpu))
		}
		fmt.Fprintf(&b, "  PCI-MSIX-0000:3b:00.0 %4d-edge      eth0-TxRx-%d\n", row, row)
	}
	return b.String()
}

func BenchmarkParseInterrupts(b *testing.B) {
	busy := large(256, 448, func(row, cpu int) int { return (row*7919 + cpu*104729) % 4000000 })
	placed := large(256, 448, func(row, cpu int) int {
		if cpu != row%256 {
			return 0
		}
		return 4000000
	})
	for name, text := range map[string]string{"busy": busy, "placed": placed} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseInterrupts(strings.NewReader(text)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(256*448), "ns/counter")
		})
	}
}

// Parsing allocates for the table, not for its rows.
func TestParseInterruptsAllocations(t *testing.T) {
	each := func(row, cpu int) int { return row * cpu }
	few, many := large(64, 10, each), large(64, 400, each)
	count := func(text string) float64 {
		return testing.AllocsPerRun(5, func() {
			if _, err := ParseInterrupts(strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		})
	}
	// Memory is taken for 64 rows at a time.
	if a, b := count(few), count(many); b-a > 390/10 {
		t.Errorf("%v allocations for 10 rows, %v for 400", a, b)
	}
}

func parse(t testing.TB, text string) Table {
	t.Helper()
	table, err := ParseInterrupts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRates(t *testing.T) {
	before := parse(t, "CPU0 CPU1 CPU2\n1: 10 4294967290 5 x  eth0-rx-0\n2: 1 1 1 x  gone\n3: 8 8 8 x  eth0-rx-1\nLOC: 1 1 1 t\nERR: 5\n")
	after := parse(t, "CPU0 CPU1 CPU3\n1: 30 4 9 x  eth0-rx-0\n3: 8 12 9 x  eth0-rx-1\n4: 9 9 9 x  new\nLOC: 101 1 1 t\nERR: 9\n")
	r := NewRates(before, after, 2*time.Second)
	if !slices.Equal(r.CPUs, []int{0, 1}) {
		t.Errorf("CPUs %v", r.CPUs)
	}
	got := map[string][]float64{}
	for _, row := range r.Rows {
		got[row.Label] = row.PerSecond
	}
	if diff := cmp.Diff(map[string][]float64{"1": {10, 5}, "3": {0, 2}, "LOC": {50, 0}}, got); diff != "" {
		t.Errorf("rates (-want +got):\n%s", diff)
	}
	if r.Rows[0].Total() != 15 || !slices.Equal(r.PerCPU(), []float64{10, 7}) {
		t.Errorf("total %v, per CPU %v", r.Rows[0].Total(), r.PerCPU())
	}
	if r := NewRates(before, after, 0); r.Rows[0].Total() != 0 {
		t.Errorf("in no time: %v", r.Rows[0].Total())
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := hostfs.NewMem(map[string]string{"proc/interrupts": "CPU0\n5: 0 x  eth0\n"})
		h, err := New(&Config{Root: m})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for i := range 10 {
				time.Sleep(900 * time.Millisecond)
				m.Set("proc/interrupts", fmt.Sprintf("CPU0\n5: %d x  eth0\n", (i+1)*600))
			}
		}()
		n := 0
		for r, err := range h.Watch(t.Context(), 3*time.Second) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Elapsed != 3*time.Second || r.Rows[0].Total() != 600 && n < 2 {
				t.Errorf("round %d: %v in %v", n, r.Rows[0].Total(), r.Elapsed)
			}
			if n++; n == 3 {
				break
			}
		}
		m.FailOpen("proc/interrupts", fs.ErrPermission)
		for _, err := range h.Watch(t.Context(), time.Second) {
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("error %v", err)
			}
		}
	})
}

// Eight digits at once are read as one by one.
func TestShortColumns(t *testing.T) {
	one := func(text string) (uint64, bool) {
		var value [1]uint64
		n := shortColumns([]byte(text), value[:])
		return value[0], n == 1
	}
	for _, text := range []string{"0", "7", "9", "10", "99999999", "12345678", "1000000", "4000001", "00000000", "01"} {
		for _, end := range []string{"", " "} {
			column := fmt.Sprintf("%11s", text) + end
			got, ok := one(column)
			if want, err := strconv.ParseUint(text, 10, 64); err != nil || !ok || got != want {
				t.Errorf("%q: %d, %v", column, got, ok)
			}
		}
	}
	for _, column := range []string{"           ", "         1 ", "        1 1", "  123456789", " 1234567890", "          a", "   1234567:", "   /2345678", "         -1", "x         1", "        1\x002", "         \xb11",
		"          !", "         !1", "         \x101", "   \xff\xff\xff\xff\xff\xff\xff1", "   \xca\xca\xca\xca\xca\xca\xca0", "      \xff   1"} {
		if got, ok := one(column + " "); ok || len(column) != 11 {
			t.Errorf("%q: %d", column, got)
		}
	}
	if got, ok := one("          12"); ok {
		t.Errorf("a number that goes on: %d", got)
	}
	counts := make([]uint64, 5)
	if n := shortColumns([]byte("          1   12345678          0 4294967295          5"), counts); n != 3 || !slices.Equal(counts[:3], []uint64{1, 12345678, 0}) {
		t.Errorf("%d columns before a long one: %v", n, counts)
	}
}

func FuzzCounters(f *testing.F) {
	f.Add(" " + strings.Repeat("         1 ", 4) + "PCI")
	f.Add("          1 4294967295    1000000 99999999999999999999 x")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\t\n\v\f\r\u0085\u00a0") {
			return
		}
		counts := make([]uint64, 16)
		n, end := counters([]byte(line), counts)
		var want []uint64
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' }) {
			value, err := strconv.ParseUint(word, 10, 64)
			if strings.TrimLeft(word, "0123456789") != "" || len(word) > 19 || err != nil || len(want) == len(counts) {
				break
			}
			want = append(want, value)
		}
		if !slices.Equal(counts[:n], want) {
			t.Fatalf("%q: %v, want %v", line, counts[:n], want)
		}
		if end > len(line) || end > 0 && end < len(line) && line[end] != ' ' {
			t.Fatalf("%q: ends at %d", line, end)
		}
	})
}
