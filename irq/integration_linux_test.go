package irq

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/hostfs"
)

// These tests change interrupts of a running kernel and put them back. They need root.

func kernelTest(t *testing.T) *Host {
	t.Helper()
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Skip("needs a real kernel and root: set LVS_KERNEL_TEST=1")
	}
	h, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The kernel's masks and lists are those of this package, for every file that has both.
func TestIntegrationFormats(t *testing.T) {
	h := kernelTest(t)
	topology, err := h.Topology()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("/proc/irq/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no interrupts: %v", err)
	}
	pairs := [][2]string{}
	for _, dir := range dirs {
		pairs = append(pairs, [2]string{dir + "/smp_affinity", dir + "/smp_affinity_list"})
	}
	for cpu := range topology.Online.All() {
		dir := "/" + cpuDir + "cpu" + CPUs(cpu).String() + "/topology/"
		pairs = append(pairs, [2]string{dir + "thread_siblings", dir + "thread_siblings_list"}, [2]string{dir + "core_siblings", dir + "core_siblings_list"})
	}
	for _, p := range pairs {
		mask, err := os.ReadFile(p[0])
		if err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadFile(p[1])
		if err != nil {
			t.Fatal(err)
		}
		a, errA := ParseMask(string(mask))
		b, errB := ParseList(string(list))
		if errA != nil || errB != nil || a != b {
			t.Errorf("%s %q is %v, %v; list %q is %v, %v", p[0], mask, a, errA, list, b, errB)
		}
		if got := b.Mask(topology.NR); got != strings.TrimSpace(string(mask)) {
			t.Errorf("%s holds %q, printed %q", p[0], mask, got)
		}
		if got := a.String(); got != strings.TrimSpace(string(list)) {
			t.Errorf("%s holds %q, printed %q", p[1], list, got)
		}
	}
}

func TestIntegrationTopology(t *testing.T) {
	h := kernelTest(t)
	topology, err := h.Topology()
	if err != nil {
		t.Fatal(err)
	}
	seen := CPUSet{}
	for _, c := range topology.Cores {
		if !seen.Intersect(c.Threads).IsEmpty() {
			t.Errorf("core %v twice", c.Threads)
		}
		seen = seen.Union(c.Threads)
	}
	if seen != topology.Online || topology.NR <= topology.Online.Max() || len(topology.Nodes) == 0 {
		t.Errorf("topology %+v", topology)
	}
	table, err := h.Interrupts()
	if err != nil {
		t.Fatal(err)
	}
	if CPUs(table.CPUs...) != topology.Online {
		t.Errorf("columns %v, online %v", table.CPUs, topology.Online)
	}
	found := false
	for _, row := range table.Rows {
		found = found || row.Label == "LOC" && len(row.Counts) == len(table.CPUs) && row.Counts[0] > 0
	}
	if !found {
		t.Errorf("no timer interrupts in %+v", table.Rows)
	}
	if _, err := h.Balancers(); err != nil {
		t.Error(err)
	}
}

// movable returns an interrupt with a user that can be moved.
func movable(t *testing.T, h *Host) int {
	t.Helper()
	table, err := h.Interrupts()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range slices.Backward(table.Rows) {
		if row.IRQ < 1 || len(row.Actions()) == 0 {
			continue
		}
		allowed, _, err := h.Affinity(row.IRQ)
		if err != nil {
			t.Fatal(err)
		}
		if hostfs.Host(hostfs.NetNS{}).WriteFile(irqDir(row.IRQ)+"smp_affinity_list", []byte(allowed.String()+"\n"), 0) == nil {
			return row.IRQ
		}
	}
	t.Fatal("no interrupt can be moved")
	return 0
}

func TestIntegrationAffinity(t *testing.T) {
	h := kernelTest(t)
	topology, err := h.Topology()
	if err != nil {
		t.Fatal(err)
	}
	if topology.Online.Len() < 2 {
		t.Fatal("needs two CPUs")
	}
	irq := movable(t, h)
	before, _, err := h.Affinity(irq)
	if err != nil {
		t.Fatal(err)
	}
	journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
	change := func(irq int, cpus CPUSet) Plan {
		t.Helper()
		old, _, err := h.Affinity(irq)
		if err != nil {
			t.Fatal(err)
		}
		return Plan{Changes: []Change{{Kind: Affinity, IRQ: irq, Old: old, New: cpus, oldText: old.String()}}}
	}
	for cpu := range topology.Online.All() {
		p := change(irq, CPUs(cpu))
		results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal})
		if err != nil || results[0].Status != Changed && results[0].Status != Same {
			t.Fatalf("irq %d to CPU %d: %v, %v", irq, cpu, results, err)
		}
		if now, _, err := h.Affinity(irq); err != nil || now != CPUs(cpu) {
			t.Errorf("irq %d to CPU %d: %v, %v", irq, cpu, now, err)
		}
	}
	if _, err := h.Undo(t.Context(), journal); err != nil {
		t.Fatal(err)
	}
	if now, _, err := h.Affinity(irq); err != nil || now != before {
		t.Errorf("after undo %v, %v, before %v", now, err, before)
	}

	// CPUs that do not exist are refused, with nothing changed; the timer cannot be moved.
	results, err := h.Apply(t.Context(), change(irq, CPUs(topology.NR)), &ApplyOptions{AllOrNothing: true})
	if !errors.Is(err, fs.ErrInvalid) || results[0].Status != Failed {
		t.Errorf("CPU %d: %v, %v", topology.NR, results, err)
	}
	if now, _, err := h.Affinity(irq); err != nil || now != before {
		t.Errorf("after a refusal %v, %v, before %v", now, err, before)
	}
	p := change(0, CPUs(1))
	p.Changes[0].Old = CPUs(0, 1)
	if results, err := h.Apply(t.Context(), p, nil); err != nil || results[0].Status != Fixed {
		t.Errorf("the timer: %v, %v", results, err)
	}
	if _, _, err := h.Affinity(99999); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such interrupt: %v", err)
	}
}

// setOnline switches CPU 1 on or off. The kernel does not do that while it is busy with other devices.
func setOnline(value string) (err error) {
	const file = "/sys/devices/system/cpu/cpu1/online"
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err = os.WriteFile(file, []byte(value+"\n"), 0)
		if took := time.Since(begin); !errors.Is(err, syscall.EBUSY) || took > 30*time.Second {
			if err != nil {
				err = fmt.Errorf("after %v: %w", took, err)
			}
			return err
		}
	}
}

// An offline CPU is refused, and has no column.
func TestIntegrationOffline(t *testing.T) {
	h := kernelTest(t)
	if err := setOnline("0"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := setOnline("1"); err != nil {
			t.Error(err)
		}
	}()
	topology, err := h.Topology()
	if err != nil {
		t.Fatal(err)
	}
	if topology.Online.Has(1) || topology.NR < 2 {
		t.Errorf("topology %+v", topology)
	}
	table, err := h.Interrupts()
	if err != nil || slices.Contains(table.CPUs, 1) {
		t.Errorf("columns %v, %v", table.CPUs, err)
	}
	irq := movable(t, h)
	old, _, err := h.Affinity(irq)
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Changes: []Change{{Kind: Affinity, IRQ: irq, Old: old, New: CPUs(1), oldText: old.String()}}}
	if old == CPUs(1) {
		t.Fatalf("irq %d is on CPU 1 only", irq)
	}
	if results, err := h.Apply(t.Context(), p, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("offline CPU: %v, %v", results, err)
	}
}
