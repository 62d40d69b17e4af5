package irq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
)

const journalFile = "run/lvs/irq.json"

func TestQueueOf(t *testing.T) {
	for action, want := range map[string]int{
		"eth0-TxRx-0": 0, "eth0-TxRx-12": 12, "eth0-rx-3": 3, "eth0-tx-3": 3, "i40e-eth0-TxRx-7": 7, "ice-eth0-TxRx-1": 1,
		"virtio0-input.0": 0, "virtio0-output.11": 11, "mlx5_comp4@pci:0000:5e:00.0": 4, "mlx4-1@0000:05:00.0": 1,
		"eth0-fp-2": 2, "eth0-Tx-Rx-5": 5, "eth0-rxtx-6": 6, "gve-ntfy-blk9@pci:0000:00:04.0": 9, "eth0-q1-rx": 1,
		"eth0-q1-tx": 1, "eth0-4": 4,
		"virtio0-config": -1, "eth0": -1, "i40e-0000:18:00.0:misc": -1, "mlx5_async0@pci:0000:5e:00.0": -1,
		"ena-mgmnt@pci:0000:00:05.0": -1, "eth0-event-25": -1, "timer": -1, "eth0:lsc": -1, "wan-0": -2, "": -1,
		"eth0-99999999": -1,
	} {
		device := "eth0"
		if want == -2 {
			device, want = "wan-0", -1
		}
		got, ok := queueOf(action, device)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("queueOf(%q) = %d, want %d", action, got, want)
		}
	}
}

func TestReadNIC(t *testing.T) {
	root := machine{nr: 4, cores: single(4)}.tree()
	addNIC(root, "eth0", 0, 30, 2, 4)
	// A virtio card: its own directory has no interrupts, the PCI device above has.
	root.Link(netDir+"eth1", "../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth1")
	const pci = "sys/devices/pci0000:00/0000:00:03.0/"
	root.Link(pci+"virtio0/net/eth1/device", "../../../virtio0")
	root.Set(pci+"numa_node", "-1\n")
	root.Set(pci+"virtio0/net/eth1/queues/rx-0/rps_cpus", "0\n")
	root.Set(pci+"virtio0/net/eth1/queues/tx-0/tx_maxrate", "0\n")
	for _, irq := range []string{"24", "25", "26"} {
		root.Set(pci+"msi_irqs/"+irq, "msix\n")
	}
	// One with a line interrupt, a bridge, and what is no device.
	root.Set(netDir+"eth10/queues/rx-0/rps_cpus", "0\n")
	root.Set(netDir+"eth10/device/irq", "11\n")
	root.Set(netDir+"br0/queues/rx-0/rps_cpus", "0\n")
	root.Set(netDir+"bonding_masters", "\n")
	root.Set("proc/interrupts", root.Files()["proc/interrupts"]+
		"24: 0 PCI-MSIX   0-edge      virtio0-config\n25: 0 PCI-MSIX   1-edge      virtio0-input.0\n26: 0 PCI-MSIX   2-edge      virtio0-output.0\n11: 0 IO-APIC  11-fasteoi   uhci_hcd:usb1, eth10\n")

	got, err := NICs(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []NIC{
		{Name: "eth0", Node: 0, RX: 2, TX: 2, Control: []Interrupt{{30, "eth0"}}, Queues: []Queue{{0, []Interrupt{{31, "eth0-TxRx-0"}}}, {1, []Interrupt{{32, "eth0-TxRx-1"}}}}},
		{Name: "eth1", Node: -1, RX: 1, TX: 1, Control: []Interrupt{{24, "virtio0-config"}}, Queues: []Queue{{0, []Interrupt{{25, "virtio0-input.0"}, {26, "virtio0-output.0"}}}}},
		{Name: "eth10", Node: -1, RX: 1, Queues: []Queue{{0, []Interrupt{{11, "uhci_hcd:usb1"}}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cards (-want +got):\n%s", diff)
	}
	if got, err := ReadNIC(root, "br0"); err != nil || len(got.Queues) != 0 || got.RX != 1 {
		t.Errorf("bridge: %+v, %v", got, err)
	}
	if _, err := ReadNIC(root, "eth7"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such card: %v", err)
	}
	for _, bad := range []string{"", "..", "a/b", "."} {
		if _, err := ReadNIC(root, bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ReadNIC(%q): %v", bad, err)
		}
	}
	for _, tt := range [][2]string{{"eth2", "eth10"}, {"eth1", "eth01"}, {"a", "b"}, {"eth", "eth0"}, {"eth9a", "eth10"}} {
		if natural(tt[0], tt[1]) >= 0 && tt[0] != "eth1" || natural(tt[1], tt[0]) <= 0 && tt[0] != "eth1" || natural(tt[0], tt[0]) != 0 {
			t.Errorf("natural order of %v", tt)
		}
	}
	if natural("eth1", "eth01") == 0 || natural("eth1", "eth01") != -natural("eth01", "eth1") {
		t.Error("eth1 and eth01 are not ordered")
	}
}

// host returns a machine of four cores with eth0 (two queues) and eth1 (one).
func host(t testing.TB) (*Host, *hostfs.Mem) {
	root := machine{nr: 4, cores: single(4)}.tree()
	addNIC(root, "eth0", 0, 30, 2, 4)
	addNIC(root, "eth1", 0, 40, 1, 4)
	return newHost(t, root), root
}

func TestPlanApplyVerifyUndo(t *testing.T) {
	h, root := host(t)
	before := root.Files()
	p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{Steering: true, Transmit: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `KIND      WHAT                NOW  WANTED  WHY
affinity  irq 31 eth0-TxRx-0  0-3  1       eth0 queue 0, node 0
affinity  irq 32 eth0-TxRx-1  0-3  2       eth0 queue 1, node 0
affinity  irq 41 eth1-TxRx-0  0-3  3       eth1 queue 0, node 0
xps       eth0 tx-0           -    1       the CPU that gets the queue's interrupt
xps       eth0 tx-1           -    2       the CPU that gets the queue's interrupt
rps       eth0 rx-0           -    -       a queue for each core: nothing to hand on
rps       eth0 rx-1           -    -       a queue for each core: nothing to hand on
rps       eth1 rx-0           -    0       cores that serve no interrupt of the card
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if len(root.Writes()) != 0 || p.Empty() {
		t.Errorf("planning wrote %v", root.Writes())
	}
	results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if want := map[bool]Status{true: Same, false: Changed}[r.Old == r.New]; r.Status != want {
			t.Errorf("%v, want %v", r, want)
		}
	}
	var written []string
	for _, w := range root.Writes() {
		if w.Name != journalFile {
			written = append(written, w.Name+"="+strings.TrimSpace(w.Data))
		}
	}
	wantWritten := []string{
		"proc/irq/31/smp_affinity_list=1", "proc/irq/32/smp_affinity_list=2", "proc/irq/41/smp_affinity_list=3",
		"sys/class/net/eth0/queues/tx-0/xps_cpus=2", "sys/class/net/eth0/queues/tx-1/xps_cpus=4", "sys/class/net/eth1/queues/rx-0/rps_cpus=1",
	}
	if diff := cmp.Diff(wantWritten, written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}

	// The interrupts are still delivered to CPU 0, which Verify says; then they are not.
	if drift := h.Verify(p); len(drift) != 3 || !strings.Contains(drift[0].String(), "still delivered to 0 instead of 1") {
		t.Errorf("drift %v", drift)
	}
	for irq, cpu := range map[int]string{31: "1\n", 32: "2\n", 41: "3\n"} {
		root.Set(irqDir(irq)+"effective_affinity_list", cpu)
	}
	if drift := h.Verify(p); len(drift) != 0 {
		t.Errorf("drift %v", drift)
	}
	if again, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{Steering: true, Transmit: true}); err != nil || !again.Empty() {
		t.Errorf("second plan %v, %v", again, err)
	} else if _, err := h.Apply(t.Context(), again, &ApplyOptions{Journal: journalFile}); err != nil {
		t.Error(err)
	}

	// Something moves one interrupt, and another one goes.
	root.Set(irqDir(32)+"smp_affinity_list", "0\n")
	root.Remove(strings.TrimSuffix(irqDir(41), "/"))
	if drift := h.Verify(p); len(drift) != 2 || drift[0].Have != CPUs(0) || !strings.Contains(drift[0].String(), "irq 32 eth0-TxRx-1: 0 instead of 2") || !errors.Is(drift[1].Err, fs.ErrNotExist) {
		t.Errorf("drift %v", drift)
	}
	restored, err := h.Undo(t.Context(), journalFile)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]Outcome{}
	for _, r := range restored {
		outcomes[r.File] = r.Outcome
	}
	wantOutcomes := map[string]Outcome{
		"proc/irq/31/smp_affinity_list": RestoreDone, "proc/irq/32/smp_affinity_list": RestoreForeign, "proc/irq/41/smp_affinity_list": RestoreGone,
		"sys/class/net/eth0/queues/tx-0/xps_cpus": RestoreDone, "sys/class/net/eth0/queues/tx-1/xps_cpus": RestoreDone, "sys/class/net/eth1/queues/rx-0/rps_cpus": RestoreDone,
	}
	if diff := cmp.Diff(wantOutcomes, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for name, content := range root.Files() {
		if !strings.Contains(name, "effective") && name != irqDir(32)+"smp_affinity_list" && before[name] != content {
			t.Errorf("%s holds %q after undo, %q before", name, content, before[name])
		}
	}
	if _, err := h.Undo(t.Context(), journalFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undo without a journal: %v", err)
	}
}

func statuses(results []Result) []Status {
	var list []Status
	for _, r := range results {
		list = append(list, r.Status)
	}
	return list
}

func TestApplyFailures(t *testing.T) {
	const first, second, third = "proc/irq/31/smp_affinity_list", "proc/irq/32/smp_affinity_list", "proc/irq/41/smp_affinity_list"
	tests := map[string]struct {
		prepare func(*hostfs.Mem)
		want    []Status
		err     error
	}{
		"managed, Linux 6.1":  {func(m *hostfs.Mem) { m.FailWrite(second, syscall.EIO) }, []Status{Changed, Fixed, Changed}, nil},
		"managed, Linux 6.12": {func(m *hostfs.Mem) { m.FailWrite(second, syscall.EPERM) }, []Status{Changed, Fixed, Changed}, nil},
		"gone":                {func(m *hostfs.Mem) { m.Remove(second) }, []Status{Changed, Vanished, Changed}, nil},
		"offline CPU":         {func(m *hostfs.Mem) { m.FailWrite(second, syscall.EINVAL) }, []Status{Changed, Failed, Changed}, fs.ErrInvalid},
		"no such CPU":         {func(m *hostfs.Mem) { m.FailWrite(second, syscall.ERANGE) }, []Status{Changed, Failed, Changed}, fs.ErrInvalid},
		"no vectors":          {func(m *hostfs.Mem) { m.FailWrite(second, syscall.ENOSPC) }, []Status{Changed, Failed, Changed}, syscall.ENOSPC},
		"no privilege": {func(m *hostfs.Mem) {
			for _, f := range []string{first, second, third} {
				m.FailWrite(f, syscall.EACCES)
			}
		}, []Status{Failed, Failed, Failed}, fs.ErrPermission},
		"does not stick": {func(m *hostfs.Mem) {
			m.OnWrite(second, func(old, _ []byte) ([]byte, error) { return old, nil })
		}, []Status{Changed, Failed, Changed}, nil},
		"does not stick whole": {func(m *hostfs.Mem) { // as CPUs that are offline in rps_cpus
			m.OnWrite(second, func(_, data []byte) ([]byte, error) {
				if string(data) == "2\n" {
					return []byte("0\n"), nil
				}
				return data, nil
			})
		}, []Status{Changed, Failed, Changed}, nil},
	}
	for name, tt := range tests {
		for _, all := range []bool{false, true} {
			h, root := host(t)
			before := root.Files()
			p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tt.prepare(root)
			results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile, AllOrNothing: all})
			failed := false
			want := append([]Status{}, tt.want...)
			for i := range want {
				failed = failed || want[i] == Failed
			}
			for i := range want {
				if all && failed && want[i] == Changed {
					want[i] = RolledBack
				}
			}
			if diff := cmp.Diff(want, statuses(results)); diff != "" {
				t.Errorf("%s, all %v (-want +got):\n%s", name, all, diff)
			}
			if (err != nil) != failed || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("%s: %v", name, err)
			}
			if now := root.Files()[second]; failed && now != "" && now != before[second] {
				t.Errorf("%s, all %v: the change that failed left %q, %q before", name, all, now, before[second])
			}
			if all && failed {
				delete(before, "")
				for file, content := range before {
					if now, ok := root.Files()[file]; ok && now != content {
						t.Errorf("%s: %s holds %q, %q before", name, file, now, content)
					}
				}
				if _, ok := root.Files()[journalFile]; ok {
					t.Errorf("%s: a journal is left", name)
				}
			}
			for _, r := range results {
				if r.String() == "" || (r.Status == Failed) != (r.Err != nil && r.Status != Fixed) {
					t.Errorf("%s: %v", name, r)
				}
			}
		}
	}
}

func TestApplyStopsWithContext(t *testing.T) {
	h, root := host(t)
	p, err := h.Plan([]string{"eth0"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	root.OnWrite("proc/irq/31/smp_affinity_list", func(_, data []byte) ([]byte, error) { cancel(); return data, nil })
	results, err := h.Apply(ctx, p, &ApplyOptions{AllOrNothing: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]Status{RolledBack, Pending}, statuses(results)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := h.Undo(ctx, journalFile); !errors.Is(err, context.Canceled) {
		t.Errorf("Undo: %v", err)
	}
}

// What is called last decides about all.
func TestApplyThen(t *testing.T) {
	boom := errors.New("boom")
	h, root := host(t)
	before := root.Files()
	p, err := h.Plan([]string{"eth0"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	then := func(result error) *ApplyOptions {
		return &ApplyOptions{Journal: journalFile, Then: func(context.Context) error {
			calls++
			if text := root.Files()["proc/irq/32/smp_affinity_list"]; text != "2\n" {
				t.Errorf("called with %q", text)
			}
			return result
		}}
	}
	results, err := h.Apply(t.Context(), p, then(boom))
	if !errors.Is(err, boom) || calls != 1 {
		t.Errorf("%v, %d calls", err, calls)
	}
	if diff := cmp.Diff([]Status{RolledBack, RolledBack}, statuses(results)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, root.Files()); diff != "" {
		t.Errorf("after the failure (-want +got):\n%s", diff)
	}
	if _, err := h.Apply(t.Context(), p, then(nil)); err != nil || calls != 2 {
		t.Errorf("%v, %d calls", err, calls)
	}
	// Nothing to do any more: it is called all the same, and what was done before stays done.
	journal := root.Files()[journalFile]
	for _, p := range []Plan{p, {}} {
		if _, err := h.Apply(t.Context(), p, then(boom)); !errors.Is(err, boom) {
			t.Error(err)
		}
	}
	if calls != 4 || root.Files()[journalFile] != journal || journal == "" {
		t.Errorf("%d calls, the journal is %q, was %q", calls, root.Files()[journalFile], journal)
	}
	// Not after a failure.
	root.Set("proc/irq/31/smp_affinity_list", "0-3\n")
	root.FailWrite("proc/irq/31/smp_affinity_list", syscall.EINVAL)
	if _, err := h.Apply(t.Context(), p, then(nil)); !errors.Is(err, fs.ErrInvalid) || calls != 4 {
		t.Errorf("%v, %d calls", err, calls)
	}
}

// Undoing goes back to what was there when the plan was applied, which is not always what it was made with.
func TestApplyMovedMeanwhile(t *testing.T) {
	h, root := host(t)
	p, err := h.Plan([]string{"eth0"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root.Set("proc/irq/31/smp_affinity_list", "3\n")
	root.Set("proc/irq/32/smp_affinity_list", "2\n")
	results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Status{Changed, Same}, statuses(results)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := h.Undo(t.Context(), journalFile); err != nil {
		t.Fatal(err)
	}
	for irq, want := range map[int]string{31: "3\n", 32: "2\n"} {
		if got := root.Files()[irqDir(irq)+"smp_affinity_list"]; got != want {
			t.Errorf("irq %d is at %q, want %q", irq, got, want)
		}
	}
}

// Rolling back does not claim what somebody else has changed meanwhile, nor what has gone.
func TestRollBackForeign(t *testing.T) {
	h, root := host(t)
	p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile, Then: func(context.Context) error {
		root.Set("proc/irq/31/smp_affinity_list", "0\n")
		root.Remove("proc/irq/32")
		return boom
	}})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "changed by someone else") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]Status{Failed, Vanished, RolledBack}, statuses(results)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	restored, err := h.Undo(t.Context(), journalFile)
	if err != nil || len(restored) == 0 || restored[0].Outcome != RestoreForeign || restored[0].Now != "0" {
		t.Errorf("the record is %v, %v", restored, err)
	}
}

// killer ends the writing goroutine at a write of the kernel's files after so many.
type killer struct {
	*hostfs.Mem
	after int
}

func (k *killer) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "sys/") {
		if k.after--; k.after < 0 {
			runtime.Goexit()
		}
	}
	return k.Mem.WriteFile(name, data, perm)
}

// A process that is killed after any number of writes leaves a journal from which everything comes back, also what a
// plan before it had changed.
func TestCrashLeavesJournal(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		for n := 0; ; n++ {
			h, root := host(t)
			before := root.Files()
			if earlier {
				p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{Spread: SpreadOptions{Exclude: CPUs(3)}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
					t.Fatal(err)
				}
			}
			p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{Spread: SpreadOptions{Exclude: CPUs(1)}})
			if err != nil {
				t.Fatal(err)
			}
			survived := false
			done := make(chan struct{})
			go func() { // the goroutine ends inside Apply, as a killed process does
				defer close(done)
				_, err := newHost(t, &killer{root, n}).Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
				survived = err == nil
			}()
			<-done
			preview, err := h.PlanUndo(journalFile)
			if err != nil {
				t.Fatal(err)
			}
			restored, err := h.Undo(t.Context(), journalFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(preview, restored); diff != "" {
				t.Errorf("killed after %d writes, PlanUndo and Undo (-want +got):\n%s", n, diff)
			}
			if diff := cmp.Diff(before, root.Files()); diff != "" {
				t.Errorf("earlier %v, killed after %d writes, left behind (-want +got):\n%s", earlier, n, diff)
			}
			if survived {
				if n < 2 {
					t.Errorf("%d writes", n)
				}
				break
			}
		}
	}
	if _, err := newHost(t, hostfs.NewMem(nil)).PlanUndo(journalFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no journal: %v", err)
	}
}

// Once a plan is in force, the place of the plan before it is as foreign as any other.
func TestUndoLeavesEarlierPlace(t *testing.T) {
	h, root := host(t)
	for _, cpu := range []int{2, 3} {
		p, err := h.Plan([]string{"eth0", "eth1"}, PlanOptions{Spread: SpreadOptions{Exclude: CPUs(cpu)}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
			t.Fatal(err)
		}
		if cpu == 2 {
			root.Set("earlier", root.Files()["proc/irq/32/smp_affinity_list"])
		}
	}
	earlier := root.Files()["earlier"]
	if now := root.Files()["proc/irq/32/smp_affinity_list"]; now == earlier {
		t.Fatalf("both plans place the interrupt at %q", now)
	}
	root.Set("proc/irq/32/smp_affinity_list", earlier)
	restored, err := h.Undo(t.Context(), journalFile)
	i := slices.IndexFunc(restored, func(r Restored) bool { return strings.HasPrefix(r.File, "proc/irq/32/") })
	if err != nil || i < 0 || restored[i].Outcome != RestoreForeign {
		t.Errorf("%v, %v", restored, err)
	}
}

// Programs that place different cards with one journal do not lose each other's records.
func TestApplyTogether(t *testing.T) {
	const cards = 6
	m := machine{nr: 8, cores: single(8)}.tree()
	for i := range cards {
		addNIC(m, fmt.Sprint("eth", i), 0, 30+10*i, 2, 8)
	}
	dir := t.TempDir()
	for name, content := range m.Files() {
		// What the kernel makes is there; the rest is not needed.
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	plans := make([]Plan, cards)
	for i := range plans {
		var err error
		if plans[i], err = newHost(t, m).Plan([]string{fmt.Sprint("eth", i)}, PlanOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, p := range plans {
		all.Go(func() {
			h, err := New(&Config{Root: hostfs.Dir(dir)})
			if err == nil {
				_, err = h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	h, err := New(&Config{Root: hostfs.Dir(dir)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		if drift := h.Verify(p); slices.ContainsFunc(drift, func(d Drift) bool { return d.Have != d.New }) {
			t.Errorf("drift %v", drift)
		}
	}
	restored, err := h.Undo(t.Context(), journalFile)
	if err != nil || len(restored) != 2*cards {
		t.Errorf("%d of %d changes are restored, %v", len(restored), 2*cards, err)
	}
	for _, p := range plans {
		for _, d := range h.Verify(Plan{Changes: reversed(p)}) {
			if d.Have != d.New {
				t.Errorf("after undo: %v", d)
			}
		}
	}
}

// reversed wants what was before.
func reversed(p Plan) []Change {
	list := slices.Clone(p.Changes)
	for i := range list {
		list[i].New = list[i].Old
	}
	return list
}

func TestPlanWarnings(t *testing.T) {
	h, root := host(t)
	root.Set("proc/self/comm", "irqbalance\n")
	root.Set("proc/812/comm", "irqbalance\n")
	root.Set("proc/90/comm", "irqbalance\n")
	root.Set("proc/91/comm", "bash\n")
	root.Set(netDir+"br0/queues/rx-0/rps_cpus", "0\n")
	got, err := h.Balancers()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Balancer{{90, "irqbalance"}, {812, "irqbalance"}}, got); diff != "" {
		t.Errorf("balancers (-want +got):\n%s", diff)
	}
	p, err := h.Plan([]string{"eth0", "br0"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "warning: br0 has no interrupts of its own; place those of the card below it\n" +
		"warning: irqbalance moves interrupts again every 10 s: stop it, or start it with --banirq=31 --banirq=32\n"
	if !strings.HasSuffix(p.String(), want) {
		t.Errorf("plan:\n%v", p)
	}
	if _, err := h.Plan([]string{"eth9"}, PlanOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such card: %v", err)
	}
	if _, err := h.Plan([]string{"eth0"}, PlanOptions{Spread: SpreadOptions{Exclude: CPUs(0, 1, 2, 3)}}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no CPU: %v", err)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	_, root := host(t)
	h, err := New(&Config{Root: struct{ fs.ReadLinkFS }{root}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Plan([]string{"eth0"}, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Apply(t.Context(), p, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := h.Undo(t.Context(), "x"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Undo: %v", err)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Affinity.String(): "affinity", Kind(9).String(): "kind(9)", Fixed.String(): "fixed by the kernel", Status(99).String(): "status(99)",
		RestoreGone.String(): "no longer exists", Outcome(99).String(): "outcome(99)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
