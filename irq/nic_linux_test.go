package irq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/internal/nstest"
)

// These tests need a machine with cards on one cable: two virtio-net-pci, eth0 and eth1, a vmxnet3, eth2, four CPUs and
// an NVMe disk.
func nicTest(t *testing.T) *Host {
	t.Helper()
	h := kernelTest(t)
	if os.Getenv("LVS_NIC") != "1" {
		t.Skip("needs a machine with network cards: set LVS_NIC=1")
	}
	return h
}

// bringUp switches a device on or off.
func bringUp(t testing.TB, name string, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	flags := ifr.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); up; time.Sleep(10 * time.Millisecond) {
		if carrier, _ := os.ReadFile("/sys/class/net/" + name + "/carrier"); strings.TrimSpace(string(carrier)) == "1" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no carrier", name)
		}
	}
}

// cable sends packets of many flows from eth0 to the station with this address until the test ends.
func cable(t *testing.T, to net.HardwareAddr) {
	t.Helper()
	from, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done; unix.Close(fd) })
	go func() {
		defer close(done)
		for port := uint16(1); ctx.Err() == nil; port++ {
			packet, err := nstest.Packet{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Dst: netip.MustParseAddrPort("192.0.2.2:9"), Proto: nstest.UDP}.Marshal()
			if err != nil {
				t.Error(err)
				return
			}
			frame := append(slices.Concat(to, from.HardwareAddr), 8, 0)
			err = unix.Sendto(fd, append(frame, packet...), 0, &unix.SockaddrLinklayer{Ifindex: from.Index})
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
				return
			}
			time.Sleep(500 * time.Microsecond)
		}
	}()
}

// Each card has the queues that its driver made; placed, verified under traffic, placed again for nothing, and undone.
func TestIntegrationNICPlan(t *testing.T) {
	h := nicTest(t)
	// A driver may ask for interrupts when the device is brought up only.
	bringUp(t, "eth2", false)
	if p, err := h.Plan([]string{"eth2"}, PlanOptions{}); err != nil || len(p.Changes) != 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "brought up") {
		t.Errorf("plan of a device that is down:\n%v%v", p, err)
	}
	names := []string{"eth0", "eth1", "eth2"}
	for _, name := range names {
		bringUp(t, name, true)
	}
	nics, err := h.NICs()
	if err != nil {
		t.Fatal(err)
	}
	topology, err := h.Topology()
	if err != nil {
		t.Fatal(err)
	}
	cpus := topology.Online.Len()
	type shape struct{ name, queues, interrupts, control string }
	var got []shape
	for _, n := range nics {
		interrupts := 0
		for i, q := range n.Queues {
			interrupts += len(q.Interrupts)
			if q.Index != i {
				t.Errorf("queue %d of %s is %+v", i, n.Name, q)
			}
		}
		got = append(got, shape{n.Name, fmt.Sprint(len(n.Queues), n.RX, n.TX), fmt.Sprint(interrupts), fmt.Sprint(len(n.Control))})
	}
	want := []shape{{"eth0", "1 1 1", "2", "1"}, {"eth1", "1 1 1", "2", "1"}, {"eth2", fmt.Sprint(cpus, cpus, cpus), fmt.Sprint(cpus), "1"}}
	if !slices.Equal(got, want) {
		t.Fatalf("cards %v, want %v:\n%+v", got, want, nics)
	}

	journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
	for _, list := range [][]string{{"eth2"}, {"eth0", "eth1"}, names} {
		p, err := h.Plan(list, PlanOptions{Steering: true, Transmit: true})
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[Kind]int{}
		for _, c := range p.Changes {
			if c.Old != c.New {
				kinds[c.Kind]++
			}
		}
		if kinds[Affinity] == 0 || slices.Contains(list, "eth2") != (kinds[Transmit] > 0) || len(list) == 2 && kinds[Steering] == 0 {
			t.Errorf("plan of %v has %v changes:\n%v", list, kinds, p)
		}
		results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal, AllOrNothing: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Status != Changed && r.Status != Same {
				t.Errorf("%v", r)
			}
		}
		for _, d := range h.Verify(p) {
			if d.Err != nil || d.Have != d.New {
				t.Errorf("%v", d)
			}
		}
		if again, err := h.Plan(list, PlanOptions{Steering: true, Transmit: true}); err != nil || !again.Empty() {
			t.Errorf("second plan, %v:\n%v", err, again)
		}
		if _, err := h.Undo(t.Context(), journal); err != nil {
			t.Fatal(err)
		}
		for _, d := range h.Verify(Plan{Changes: reversed(p)}) {
			if d.Err != nil || d.Have != d.New {
				t.Errorf("after undo: %v", d)
			}
		}
	}

	// One change that the kernel refuses takes the others back.
	p, err := h.Plan(names, PlanOptions{Steering: true, Transmit: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Changes, func(c Change) bool { return c.Kind == Transmit })
	p.Changes[i].New = CPUs(topology.NR + 1)
	results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal, AllOrNothing: true})
	if !errors.Is(err, fs.ErrInvalid) || results[0].Status != RolledBack || results[i].Status != Failed {
		t.Errorf("CPU %d for a queue: %v\n%v", topology.NR+1, err, results)
	}
	for _, d := range h.Verify(Plan{Changes: reversed(p)}) {
		if d.Err != nil || d.Have != d.New {
			t.Errorf("after the failure: %v", d)
		}
	}
}

// TestMain is also the program that is killed, see TestIntegrationNICKilled.
func TestMain(m *testing.M) {
	if order := os.Getenv("LVS_IRQ_CHILD"); order != "" {
		if err := child(order); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child places the interrupts of all cards, but for those of a CPU, and is killed at a write.
func child(order string) error {
	var writes, spare int
	var journal string
	if _, err := fmt.Sscan(order, &writes, &spare, &journal); err != nil {
		return err
	}
	h, err := New(&Config{Root: &mortal{FS: hostfs.Host(hostfs.NetNS{}), left: writes}})
	if err != nil {
		return err
	}
	opt := PlanOptions{Steering: true, Transmit: true}
	if spare >= 0 {
		opt.Spread.Exclude = CPUs(spare)
	}
	p, err := h.Plan([]string{"eth0", "eth1", "eth2"}, opt)
	if err != nil {
		return err
	}
	_, err = h.Apply(context.Background(), p, &ApplyOptions{Journal: journal})
	return err
}

// mortal is the host, whose user is killed before a write to the kernel, as by kill -9.
type mortal struct {
	*hostfs.FS
	left int
}

func (m *mortal) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if m.left--; m.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return m.FS.WriteFile(name, data, perm)
}

// Killing the process in the middle of Apply leaves a journal from which everything comes back, also if what it changes
// was placed by a process before it.
func TestIntegrationNICKilled(t *testing.T) {
	h := nicTest(t)
	nics := []string{"eth0", "eth1", "eth2"}
	for _, name := range nics {
		bringUp(t, name, true)
	}
	opt := PlanOptions{Steering: true, Transmit: true}
	p, err := h.Plan(nics, opt)
	if err != nil {
		t.Fatal(err)
	}
	before := Plan{Changes: reversed(p)}
	differs := func() int {
		n := 0
		for _, d := range h.Verify(before) {
			if d.Err != nil || d.Have != d.New {
				n++
			}
		}
		return n
	}
	journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
	run := func(writes, spare int) (killed bool) {
		t.Helper()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("LVS_IRQ_CHILD=%d %d %s", writes, spare, journal))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
			return true
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return false
	}
	for _, earlier := range []bool{false, true} {
		n := 0
		for killed := true; killed; n++ {
			if earlier {
				run(1000, 0)
			}
			killed = run(n, -1)
			if changed := differs(); changed == 0 && (n > 0 || earlier) {
				t.Errorf("earlier %v, killed at %d: nothing was changed", earlier, n)
			}
			restored, err := h.Undo(t.Context(), journal)
			if err != nil || slices.ContainsFunc(restored, func(r Restored) bool { return r.Outcome == RestoreForeign }) {
				t.Errorf("earlier %v, killed at %d: %v, %v", earlier, n, restored, err)
			}
			if left := differs(); left != 0 {
				t.Errorf("earlier %v, killed at %d: %d are not as before:\n%v", earlier, n, left, h.Verify(before))
			}
		}
		if n < 5 {
			t.Errorf("earlier %v: killed %d times", earlier, n-1)
		}
		t.Logf("earlier %v: killed %d times", earlier, n-1)
	}
}

// Interrupts arrive where they were placed, which Rates shows and Verify sees; so do packets that are steered.
func TestIntegrationNICRates(t *testing.T) {
	h := nicTest(t)
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		bringUp(t, name, true)
	}
	for _, name := range []string{"eth1", "eth2"} {
		t.Run(name, func(t *testing.T) {
			card, err := net.InterfaceByName(name)
			if err != nil {
				t.Fatal(err)
			}
			cable(t, card.HardwareAddr)
			nic, err := h.NIC(name)
			if err != nil {
				t.Fatal(err)
			}
			topology, err := h.Topology()
			if err != nil {
				t.Fatal(err)
			}
			// What is received comes by the first queue.
			for cpu := range topology.Online.All() {
				var p Plan
				for _, i := range nic.Queues[0].Interrupts {
					old, _, err := h.Affinity(i.IRQ)
					if err != nil {
						t.Fatal(err)
					}
					p.Changes = append(p.Changes, Change{Kind: Affinity, NIC: name, IRQ: i.IRQ, Name: i.Name, Old: old, New: CPUs(cpu), oldText: old.String()})
				}
				p.Changes = slices.DeleteFunc(p.Changes, func(c Change) bool { return strings.Contains(c.Name, "output") }) // does not come without sending
				if _, err := h.Apply(t.Context(), p, nil); err != nil {
					t.Fatal(err)
				}
				if !eventually(t, 10*time.Second, func() bool { return len(h.Verify(p)) == 0 }) {
					t.Errorf("drift %v", h.Verify(p))
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				placed := false
				for r, err := range h.Watch(ctx, 100*time.Millisecond) {
					if err != nil {
						t.Errorf("CPU %d: %v", cpu, err)
						break
					}
					i := slices.IndexFunc(r.Rows, func(row RateRow) bool { return row.IRQ == p.Changes[0].IRQ })
					if i < 0 {
						t.Fatalf("irq %d is not in %+v", p.Changes[0].IRQ, r)
					}
					row := r.Rows[i]
					at := slices.Index(r.CPUs, cpu)
					if placed = row.Total() > 0 && row.PerSecond[at] == row.Total() && r.PerCPU()[at] >= row.Total(); placed {
						break
					}
				}
				cancel()
				if !placed {
					t.Errorf("interrupts do not arrive at CPU %d", cpu)
				}
			}

			// Handing packets on: the CPUs of the plan get them, the others do not.
			p, err := h.Plan([]string{name}, PlanOptions{Steering: true})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(p.Changes, func(c Change) bool { return c.Kind == Steering && c.Queue == 0 })
			if name == "eth2" { // has a queue for each CPU: the plan leaves it off
				if !p.Changes[i].New.IsEmpty() {
					t.Errorf("plan\n%v", p)
				}
				p.Changes[i].New = CPUs(2) // the emulated card gives all flows one hash
			}
			want := p.Changes[i].New
			if want.IsEmpty() {
				t.Fatalf("no packets are handed on:\n%v", p)
			}
			journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
			if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // for what is on its way
			before := steered(t)
			if !eventually(t, 10*time.Second, func() bool {
				now := steered(t)
				for cpu := range want.All() {
					if now[cpu] == before[cpu] {
						return false
					}
				}
				return true
			}) {
				t.Errorf("not all of %v get packets: %v, then %v", want, before, steered(t))
			}
			for cpu, n := range steered(t) {
				if !want.Has(cpu) && n != before[cpu] {
					t.Errorf("CPU %d gets packets, wanted %v", cpu, want)
				}
			}
			if _, err := h.Undo(t.Context(), journal); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			before = steered(t)
			time.Sleep(200 * time.Millisecond)
			for cpu, n := range steered(t) {
				if n != before[cpu] {
					t.Errorf("CPU %d gets packets after undo", cpu)
				}
			}
		})
	}
}

// steered returns how many times each CPU was handed packets by another (received_rps of /proc/net/softnet_stat).
func steered(t testing.TB) map[int]uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[int]uint64{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 13 {
			t.Fatalf("softnet_stat: %q", line)
		}
		count, errCount := strconv.ParseUint(fields[9], 16, 64)
		cpu, errCPU := strconv.ParseUint(fields[12], 16, 32)
		if err := errors.Join(errCount, errCPU); err != nil {
			t.Fatal(err)
		}
		counts[int(cpu)] = count
	}
	return counts
}

func eventually(t testing.TB, wait time.Duration, ok func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Interrupts that the kernel places itself are reported, stay where they are, and do not stop the rest.
func TestIntegrationNICManaged(t *testing.T) {
	h := nicTest(t)
	table, err := h.Interrupts()
	if err != nil {
		t.Fatal(err)
	}
	var p Plan
	for _, row := range table.Rows {
		actions := row.Actions()
		if len(actions) != 1 || !strings.HasPrefix(actions[0], "nvme0q") {
			continue
		}
		old, _, err := h.Affinity(row.IRQ)
		if err != nil {
			t.Fatal(err)
		}
		p.Changes = append(p.Changes, Change{Kind: Affinity, IRQ: row.IRQ, Name: actions[0], Old: old, New: CPUs(1), oldText: old.String()})
	}
	if len(p.Changes) < 3 {
		t.Fatalf("the disk has the interrupts %v", p)
	}
	journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
	results, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal, AllOrNothing: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		want := Fixed
		switch {
		case r.Name == "nvme0q0": // the queue for commands to the disk
			want = Changed
		case r.Old == r.New:
			want = Same
		}
		if r.Status != want {
			t.Errorf("%v, want %v", r, want)
		}
		if r.Status == Fixed {
			t.Logf("managed: %v", r.Err)
			if now, _, err := h.Affinity(r.IRQ); err != nil || now != r.Old {
				t.Errorf("%s is at %v, %v, was at %v", r.Name, now, err, r.Old)
			}
			if !errors.Is(r.Err, syscall.EIO) && !errors.Is(r.Err, syscall.EPERM) {
				t.Errorf("%v", r)
			}
		}
	}
	if drift := h.Verify(p); len(drift) < 2 {
		t.Errorf("Verify sees %v", drift)
	}
	if _, err := h.Undo(t.Context(), journal); err != nil {
		t.Fatal(err)
	}
	for _, d := range h.Verify(Plan{Changes: reversed(p)}) {
		if d.Err != nil || d.Have != d.New {
			t.Errorf("after undo: %v", d)
		}
	}
}
