package irq

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
)

// PlanOptions change what [Host.Plan] plans.
type PlanOptions struct {
	// Spread changes the placement of interrupts.
	Spread SpreadOptions

	// Steering also plans to hand packets to other CPUs in software (RPS) where a card has fewer queues than its part
	// of the machine has cores, and to switch that off elsewhere.
	Steering bool

	// Transmit also plans which CPUs use a transmit queue (XPS): those that get its interrupt.
	Transmit bool
}

// Kind says what a change is about.
type Kind uint8

// Kinds, in the order in which a plan makes the changes.
const (
	Affinity Kind = iota // CPUs of an interrupt
	Transmit             // CPUs that use a transmit queue (XPS)
	Steering             // CPUs that a receive queue hands packets to (RPS)
)

// String returns "affinity", "xps" or "rps", or "kind(N)".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// MarshalText returns the form of String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

var kindNames = [...]string{Affinity: "affinity", Transmit: "xps", Steering: "rps"}

// Change is one file of a plan.
type Change struct {
	Kind   Kind   `json:"kind"`
	NIC    string `json:"nic"`
	Queue  int    `json:"queue"`
	IRQ    int    `json:"irq"`  // of Affinity, else 0
	Name   string `json:"name"` // of the interrupt or the queue
	Old    CPUSet `json:"old"`
	New    CPUSet `json:"new"`
	Reason string `json:"reason,omitempty"`

	oldText string // as the kernel printed it, which gives the width of a mask
}

// file is the name of the file that the change writes.
func (c Change) file() string {
	switch c.Kind {
	case Transmit:
		return fmt.Sprintf("%s%s/queues/tx-%d/xps_cpus", netDir, c.NIC, c.Queue)
	case Steering:
		return fmt.Sprintf("%s%s/queues/rx-%d/rps_cpus", netDir, c.NIC, c.Queue)
	}
	return irqDir(c.IRQ) + "smp_affinity_list"
}

// text is what the change writes.
func (c Change) text() string {
	if c.Kind == Affinity {
		return c.New.String()
	}
	return c.New.Mask(maskWidth(c.oldText))
}

// parse reads the content of the change's file.
func (c Change) parse(text string) (CPUSet, error) { return parseFile(c.file(), text) }

func parseFile(name, text string) (CPUSet, error) {
	if strings.HasSuffix(name, "_list") {
		return ParseList(text)
	}
	return ParseMask(text)
}

// Plan is a list of changes in the order in which they are to be made.
type Plan struct {
	Changes  []Change `json:"changes"` // also those that are in force already: Old == New
	Warnings []string `json:"warnings,omitempty"`
}

// Plan reads the topology and the cards, places the interrupts of their queues with [Spread], and compares that with
// what is set. Nothing is written, and no privilege is needed. Interrupts that carry no packets are left where they
// are.
//
// The warnings name what would spoil the result: cards without queues, cards that share a core, a running irqbalance.
//
// The error is that of [ReadNIC], [ReadTopology] or [Spread].
func (h *Host) Plan(nics []string, opt PlanOptions) (Plan, error) {
	topology, err := h.Topology()
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	var cards []NIC
	for _, name := range nics {
		nic, err := h.NIC(name)
		if err != nil {
			return Plan{}, err
		}
		if len(nic.Queues) == 0 {
			why := " has no interrupts of its own; place those of the card below it"
			if len(nic.Control) > 0 {
				why = " has no queues with interrupts; some drivers ask for them when the device is brought up"
			}
			p.Warnings = append(p.Warnings, name+why)
			continue
		}
		cards = append(cards, nic)
	}
	layout, err := Spread(topology, cards, opt.Spread)
	if err != nil {
		return Plan{}, err
	}
	p.Warnings = append(p.Warnings, layout.Warnings...)
	if p.Changes, err = h.changes(layout, cards, opt); err != nil {
		return Plan{}, err
	}
	balancers, err := h.Balancers()
	if err != nil {
		return Plan{}, err
	}
	if len(balancers) > 0 {
		var irqs []int
		for _, c := range p.Changes {
			if c.Kind == Affinity {
				irqs = append(irqs, c.IRQ)
			}
		}
		p.Warnings = append(p.Warnings, Advice(irqs))
	}
	return p, nil
}

func (h *Host) changes(layout Layout, cards []NIC, opt PlanOptions) ([]Change, error) {
	changes := []Change{}
	add := func(c Change) error {
		text, err := readText(h.root, c.file())
		if errors.Is(err, fs.ErrNotExist) && c.Kind != Affinity {
			return nil // a card with a single transmit queue has no xps_cpus to read
		}
		if err != nil {
			return err
		}
		c.oldText = text
		if c.Old, err = c.parse(text); err != nil {
			return fmt.Errorf("irq: %s: %w", c.file(), err)
		}
		changes = append(changes, c)
		return nil
	}
	for _, q := range layout.Queues {
		for _, i := range q.Interrupts {
			reason := fmt.Sprintf("%s queue %d, node %d", q.NIC, q.Queue, q.Node)
			if err := add(Change{Kind: Affinity, NIC: q.NIC, Queue: q.Queue, IRQ: i.IRQ, Name: i.Name, New: q.CPUs, Reason: reason}); err != nil {
				return nil, err
			}
		}
	}
	if opt.Transmit {
		for _, q := range layout.Queues {
			c := Change{Kind: Transmit, NIC: q.NIC, Queue: q.Queue, Name: fmt.Sprintf("tx-%d", q.Queue), New: q.CPUs, Reason: "the CPU that gets the queue's interrupt"}
			if err := add(c); err != nil {
				return nil, err
			}
		}
	}
	if opt.Steering {
		for _, nic := range cards {
			steering := layout.Steering(nic.Name)
			for _, q := range nic.Queues {
				c := Change{Kind: Steering, NIC: nic.Name, Queue: q.Index, Name: fmt.Sprintf("rx-%d", q.Index), New: steering[q.Index], Reason: "cores that serve no interrupt of the card"}
				if c.New.IsEmpty() {
					c.Reason = "a queue for each core: nothing to hand on"
				}
				if err := add(c); err != nil {
					return nil, err
				}
			}
		}
	}
	return changes, nil
}

// Empty says whether nothing would be written.
func (p Plan) Empty() bool {
	for _, c := range p.Changes {
		if c.Old != c.New {
			return false
		}
	}
	return true
}

// String returns the plan as a table with the columns kind, what, now, wanted and why, one line each, and the warnings.
// CPUs are lists, "-" if empty.
func (p Plan) String() string {
	var b strings.Builder
	if len(p.Changes) > 0 {
		w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "KIND\tWHAT\tNOW\tWANTED\tWHY")
		for _, c := range p.Changes {
			what := c.NIC + " " + c.Name
			if c.Kind == Affinity {
				what = fmt.Sprintf("irq %d %s", c.IRQ, c.Name)
			}
			fmt.Fprintf(w, "%v\t%s\t%s\t%s\t%s\n", c.Kind, what, orDash(c.Old), orDash(c.New), c.Reason)
		}
		w.Flush()
	}
	for _, warning := range p.Warnings {
		b.WriteString("warning: " + warning + "\n")
	}
	return b.String()
}

func orDash(s CPUSet) string {
	if s.IsEmpty() {
		return "-"
	}
	return s.String()
}
