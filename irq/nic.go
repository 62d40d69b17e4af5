package irq

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// NIC is a network card with its interrupts.
type NIC struct {
	Name string

	// Node is the NUMA node of the card, -1 if unknown.
	Node int

	// Queues are the hardware queues that have interrupts, sorted by number.
	Queues []Queue

	// Control are the interrupts that carry no packets: link changes, mailboxes.
	Control []Interrupt

	// RX and TX are the numbers of receive and transmit queues as the kernel counts them.
	RX, TX int
}

// Queue is a hardware queue of a card: receive and transmit with the same number belong together.
type Queue struct {
	Index      int
	Interrupts []Interrupt // sorted by number
}

// Interrupt is the number of an interrupt and the name its driver gave it, empty if it has no user.
type Interrupt struct {
	IRQ  int
	Name string
}

const netDir = "sys/class/net/"

// ReadNIC reads what sys/class/net and proc/interrupts below root say about a card. sys/class/net shows the devices of
// the network namespace that mounted sys. A device without hardware, such as a bridge, has no queue with an interrupt.
//
// The error matches fs.ErrNotExist if there is no such device and fs.ErrInvalid if that cannot be a device's name.
// Virtual cards and partitions are found only if root can read symbolic links ([fs.ReadLinkFS], as os.DirFS).
func ReadNIC(root fs.FS, name string) (NIC, error) {
	if name == "" || strings.Contains(name, "/") || !fs.ValidPath(netDir+name) {
		return NIC{}, fmt.Errorf("irq: device %q: %w", name, fs.ErrInvalid)
	}
	nic := NIC{Name: name, Node: -1}
	queues, err := fs.ReadDir(root, netDir+name+"/queues")
	if err != nil {
		return nic, fmt.Errorf("irq: device %s: %w", name, err)
	}
	for _, q := range queues {
		switch {
		case strings.HasPrefix(q.Name(), "rx-"):
			nic.RX++
		case strings.HasPrefix(q.Name(), "tx-"):
			nic.TX++
		}
	}
	table, err := Interrupts(root)
	if err != nil {
		return nic, err
	}
	device, err := realPath(root, netDir+name+"/device")
	if errors.Is(err, fs.ErrNotExist) {
		return nic, nil
	}
	if err != nil {
		return nic, fmt.Errorf("irq: device %s: %w", name, err)
	}
	// A virtio card is a child of the PCI device that has the interrupts.
	var irqs []int
	dir := device
	for range 3 {
		if found, err := interruptsOf(root, dir); err != nil {
			return nic, err
		} else if irqs == nil {
			irqs = found
		}
		if node, err := readInt(root, path.Join(dir, "numa_node")); err == nil && nic.Node < 0 {
			nic.Node = max(node, -1)
		}
		if dir = path.Dir(dir); dir == "." {
			break
		}
	}
	nic.sort(irqs, table)
	return nic, nil
}

// interruptsOf lists the message-signalled interrupts of a PCI device, or its line.
func interruptsOf(root fs.FS, dir string) ([]int, error) {
	entries, err := fs.ReadDir(root, path.Join(dir, "msi_irqs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("irq: %w", err)
	}
	var irqs []int
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 31); err == nil {
			irqs = append(irqs, int(n))
		}
	}
	if irqs == nil {
		if line, err := readInt(root, path.Join(dir, "irq")); err == nil && line > 0 {
			irqs = []int{line}
		}
	}
	slices.Sort(irqs)
	return irqs, nil
}

// sort tells queues and control interrupts apart by their names.
func (n *NIC) sort(irqs []int, table Table) {
	byIndex := map[int][]Interrupt{}
	var rest []Interrupt
	for _, irq := range irqs {
		row, _ := table.Row(irq)
		interrupt := Interrupt{IRQ: irq}
		queue, ok := 0, false
		for _, name := range row.Actions() {
			if interrupt.Name == "" {
				interrupt.Name = name
			}
			if q, isQueue := queueOf(name, n.Name); isQueue && !ok {
				interrupt.Name, queue, ok = name, q, true
			}
		}
		if ok {
			byIndex[queue] = append(byIndex[queue], interrupt)
		} else {
			rest = append(rest, interrupt)
		}
	}
	if len(byIndex) == 0 && len(rest) == 1 && rest[0].Name != "" {
		byIndex[0], rest = rest, nil // a card with a single interrupt for everything
	}
	n.Control = rest
	for index, list := range byIndex {
		n.Queues = append(n.Queues, Queue{Index: index, Interrupts: list})
	}
	slices.SortFunc(n.Queues, func(a, b Queue) int { return cmp.Compare(a.Index, b.Index) })
}

// queueOf finds the number of the queue in a driver's name of an interrupt: "eth0-TxRx-3", "virtio0-input.0",
// "mlx5_comp2@pci:0000:5e:00.0", "eth0-q1-rx".
func queueOf(action, device string) (int, bool) {
	name, _, _ := strings.Cut(action, "@")
	if name == device {
		return 0, false
	}
	for _, suffix := range [...]string{"-rx", "-tx"} { // Xen
		if base, ok := strings.CutSuffix(name, suffix); ok && strings.HasPrefix(base, device+"-q") {
			name = base
		}
	}
	base := strings.TrimRight(name, "0123456789")
	queue, err := strconv.ParseUint(name[len(base):], 10, 16)
	if err != nil {
		return 0, false
	}
	word := strings.ToLower(strings.TrimRight(base, "-.:_"))
	for _, control := range [...]string{"config", "mgmnt", "misc", "async", "event", "lsc"} {
		if strings.HasSuffix(word, control) {
			return 0, false
		}
	}
	for _, marker := range [...]string{"input.", "output.", "comp", "blk", "-q", "-"} {
		if strings.HasSuffix(base, marker) {
			return int(queue), true
		}
	}
	return 0, false
}

// NICs reads all cards that have queues with interrupts, in natural order of their names: eth2 before eth10.
func NICs(root fs.FS) ([]NIC, error) {
	entries, err := fs.ReadDir(root, path.Clean(netDir))
	if err != nil {
		return nil, fmt.Errorf("irq: %w", err)
	}
	nics := []NIC{}
	for _, e := range entries {
		nic, err := ReadNIC(root, e.Name())
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			continue // has gone meanwhile, or is bonding_masters
		}
		if err != nil {
			return nil, err
		}
		if len(nic.Queues) > 0 {
			nics = append(nics, nic)
		}
	}
	slices.SortFunc(nics, func(a, b NIC) int { return natural(a.Name, b.Name) })
	return nics, nil
}

// natural compares names so that runs of digits count as numbers.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		digitsX, digitsY := leadingDigits(x), leadingDigits(y)
		if digitsX == "" || digitsY == "" {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		x, y = x[len(digitsX):], y[len(digitsY):]
		numX, numY := strings.TrimLeft(digitsX, "0"), strings.TrimLeft(digitsY, "0")
		if c := cmp.Or(cmp.Compare(len(numX), len(numY)), cmp.Compare(numX, numY)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// realPath follows the symbolic links in a name. A link's target may lead upwards, which io/fs does not allow in names.
func realPath(root fs.FS, name string) (string, error) {
	done, rest := "", name
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		done = path.Join(done, part)
		target, err := fs.ReadLink(root, done)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			continue // no link, or a root without links
		}
		if links++; links > 40 {
			return "", &fs.PathError{Op: "open", Path: name, Err: errors.New("too many levels of symbolic links")}
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(done), target)
		}
		done, rest = "", strings.TrimPrefix(path.Join(target, rest), "/")
	}
	if _, err := fs.Stat(root, done); err != nil {
		return "", err
	}
	return done, nil
}
