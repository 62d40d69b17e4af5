package irq

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/internal/hostfs"
)

// Config says which host is meant.
type Config struct {
	// Root is the tree that holds proc and sys, for tests and images; nil is this machine's. It can be written if it has
	// a method WriteFile(name string, data []byte, perm fs.FileMode) error, as [os.Root] has; MkdirAll, OpenFile, Rename
	// and Remove with os.Root's signatures are used for journals.
	Root fs.FS
}

// Host reads and changes the interrupts of a machine. Use [New]. It is safe for concurrent use.
type Host struct{ root fs.FS }

// New returns the machine that cfg describes, nil for this one. Nothing is opened yet, and the error is nil at present.
func New(cfg *Config) (*Host, error) {
	if cfg != nil && cfg.Root != nil {
		return &Host{root: cfg.Root}, nil
	}
	return &Host{root: hostfs.Host(hostfs.NetNS{})}, nil
}

func (h *Host) writable() (hostfs.WriteFS, error) {
	w, ok := h.root.(hostfs.WriteFS)
	if !ok {
		return nil, fmt.Errorf("irq: the root has no WriteFile method: %w", errors.ErrUnsupported)
	}
	return w, nil
}

// Interrupts is [Interrupts] of the host.
func (h *Host) Interrupts() (Table, error) { return Interrupts(h.root) }

// Topology is [ReadTopology] of the host.
func (h *Host) Topology() (Topology, error) { return ReadTopology(h.root) }

// NIC is [ReadNIC] of the host.
func (h *Host) NIC(name string) (NIC, error) { return ReadNIC(h.root, name) }

// NICs is [NICs] of the host.
func (h *Host) NICs() ([]NIC, error) { return NICs(h.root) }

// Affinity returns the CPUs that an interrupt may be delivered to, and the one or more that it is delivered to at
// present, which may lag behind until the next interrupt and is empty for an interrupt without a user.
//
// The error matches fs.ErrNotExist if there is no such interrupt.
func (h *Host) Affinity(irq int) (allowed, effective CPUSet, err error) {
	dir := irqDir(irq)
	if allowed, err = readList(h.root, dir+"smp_affinity_list"); err != nil {
		return CPUSet{}, CPUSet{}, err
	}
	effective, err = readList(h.root, dir+"effective_affinity_list")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return allowed, effective, err
}

func irqDir(irq int) string { return "proc/irq/" + strconv.Itoa(irq) + "/" }

// Balancer is a running program that moves interrupts by itself and undoes what others set.
type Balancer struct {
	PID  int
	Name string
}

// Balancers finds running irqbalance daemons. It sees the processes of its PID namespace only.
func (h *Host) Balancers() ([]Balancer, error) {
	entries, err := fs.ReadDir(h.root, "proc")
	if err != nil {
		return nil, fmt.Errorf("irq: %w", err)
	}
	found := []Balancer{}
	for _, e := range entries {
		pid, err := strconv.ParseUint(e.Name(), 10, 31)
		if err != nil {
			continue
		}
		// A process may end meanwhile.
		if name, err := readText(h.root, "proc/"+e.Name()+"/comm"); err == nil && name == "irqbalance" {
			found = append(found, Balancer{PID: int(pid), Name: name})
		}
	}
	slices.SortFunc(found, func(a, b Balancer) int { return cmp.Compare(a.PID, b.PID) })
	return found, nil
}

// Advice says what to do about a running irqbalance so that it leaves these interrupts alone: options for its command
// line (irqbalance(1)).
func Advice(irqs []int) string {
	var b strings.Builder
	b.WriteString("irqbalance moves interrupts again every 10 s: stop it, or start it with")
	for _, irq := range slices.Compact(slices.Sorted(slices.Values(irqs))) {
		b.WriteString(" --banirq=" + strconv.Itoa(irq))
	}
	return b.String()
}
