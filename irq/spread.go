package irq

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
)

// SpreadOptions change how [Spread] places interrupts. The zero value gives each queue one CPU.
type SpreadOptions struct {
	// Exclude are CPUs to leave alone, beside those that are isolated.
	Exclude CPUSet

	// Group allows each queue all CPUs of its card's part instead of one. The kernel still delivers to one of them.
	Group bool

	// Isolated also uses CPUs that are isolated from the scheduler (isolcpus, nohz_full).
	Isolated bool
}

// Layout says which queue is served by which CPUs.
type Layout struct {
	Queues   []Placement
	Warnings []string // one sentence each, such as that cards share a core

	parts map[string][]Core // of each card
}

// Placement is the place of one queue.
type Placement struct {
	NIC        string
	Queue      int
	Interrupts []Interrupt
	CPUs       CPUSet
	Node       int
}

// Spread computes where the interrupts of network cards go:
//
//   - to usable CPUs only: online, not isolated, not excluded;
//   - to the NUMA node of the card, or the nearest one with usable CPUs;
//   - to different cores for different cards as long as there are cores, so that two cards never share one through its
//     hyper-threads; all cores of a node are divided among its cards, next to each other, so that a card's queues share
//     a cache;
//   - to a core for each queue, and only then to further threads of the same cores;
//   - the core of CPU 0, which serves timers and most other interrupts, comes last.
//
// The result depends on nothing but the arguments, and not on the order of nics.
//
// The error matches fs.ErrInvalid if no CPU is usable, or two cards have one name.
func Spread(t Topology, nics []NIC, opt SpreadOptions) (Layout, error) {
	usable := t.Online.Minus(opt.Exclude)
	if !opt.Isolated {
		usable = usable.Minus(t.Isolated)
	}
	byNode := map[int][]Core{}
	for _, core := range t.Cores {
		if core.Threads = core.Threads.Intersect(usable); !core.Threads.IsEmpty() {
			byNode[core.Node] = append(byNode[core.Node], core)
		}
	}
	if len(byNode) == 0 {
		return Layout{}, fmt.Errorf("irq: no CPU is usable: %w", fs.ErrInvalid)
	}
	nics = slices.Clone(nics)
	slices.SortFunc(nics, func(a, b NIC) int { return natural(a.Name, b.Name) })
	for i := range nics {
		if i > 0 && nics[i].Name == nics[i-1].Name {
			return Layout{}, fmt.Errorf("irq: card %s is given twice: %w", nics[i].Name, fs.ErrInvalid)
		}
	}
	layout := Layout{parts: map[string][]Core{}}
	homes := t.homes(nics, byNode, &layout)
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		cores := byNode[node]
		orderCores(cores)
		layout.divide(node, cores, homes[node], opt)
	}
	slices.SortFunc(layout.Queues, func(a, b Placement) int {
		return cmp.Or(natural(a.NIC, b.NIC), cmp.Compare(a.Queue, b.Queue))
	})
	return layout, nil
}

// homes gives each card a node that has usable cores: its own, the nearest, or, if its node is unknown, the one with
// the fewest cards.
func (t Topology) homes(nics []NIC, byNode map[int][]Core, layout *Layout) map[int][]NIC {
	homes := map[int][]NIC{}
	nodes := slices.Sorted(maps.Keys(byNode))
	for _, known := range [...]bool{true, false} {
		for _, nic := range nics {
			if (nic.Node >= 0) != known {
				continue
			}
			home := nic.Node
			switch {
			case !known:
				home = slices.MinFunc(nodes, func(a, b int) int { return cmp.Compare(len(homes[a]), len(homes[b])) })
			case byNode[home] == nil:
				home = t.nearest(nic.Node, nodes)
				layout.Warnings = append(layout.Warnings, fmt.Sprintf("%s: node %d has no usable CPU, node %d is used", nic.Name, nic.Node, home))
			}
			homes[home] = append(homes[home], nic)
		}
	}
	for _, list := range homes {
		slices.SortFunc(list, func(a, b NIC) int { return natural(a.Name, b.Name) })
	}
	return homes
}

// nearest returns the one of nodes at the least distance from a node, the lowest number of those.
func (t Topology) nearest(from int, nodes []int) int {
	distance := func(node int) int {
		for _, n := range t.Nodes {
			if d, ok := n.Distance[from]; ok && n.ID == node {
				return d
			}
		}
		return math.MaxInt
	}
	return slices.MinFunc(nodes, func(a, b int) int {
		return cmp.Or(cmp.Compare(distance(a), distance(b)), cmp.Compare(a, b))
	})
}

// orderCores puts cores that share a cache next to each other, and the core of CPU 0 and its cache's last.
func orderCores(cores []Core) {
	lowest := map[int]int{} // of each cache group
	withZero := map[int]int{}
	for _, c := range cores {
		if low, ok := lowest[c.Cache]; !ok || c.Threads.Min() < low {
			lowest[c.Cache] = c.Threads.Min()
		}
		if c.Threads.Has(0) {
			withZero[c.Cache] = 1
		}
	}
	zero := func(c Core) int {
		if c.Threads.Has(0) {
			return 1
		}
		return 0
	}
	slices.SortFunc(cores, func(a, b Core) int {
		return cmp.Or(
			cmp.Compare(withZero[a.Cache], withZero[b.Cache]),
			cmp.Compare(lowest[a.Cache], lowest[b.Cache]),
			cmp.Compare(zero(a), zero(b)),
			cmp.Compare(a.Threads.Min(), b.Threads.Min()))
	})
}

// divide cuts the ordered cores of a node into one part for each card and places the queues.
func (l *Layout) divide(node int, cores []Core, nics []NIC, opt SpreadOptions) {
	if len(nics) > len(cores) {
		l.Warnings = append(l.Warnings, fmt.Sprintf("node %d: %d cards share %d cores", node, len(nics), len(cores)))
	}
	start := 0
	for j, nic := range nics {
		var part []Core
		round := 0 // how many cards have the same core already
		if len(cores) >= len(nics) {
			size := len(cores) / len(nics)
			if j < len(cores)%len(nics) {
				size++
			}
			part = cores[start : start+size]
			start += size
		} else {
			part, round = cores[j%len(cores):][:1], j/len(cores)
		}
		l.parts[nic.Name] = part
		var all CPUSet
		for _, c := range part {
			all = all.Union(c.Threads)
		}
		for i, q := range nic.Queues {
			p := Placement{NIC: nic.Name, Queue: q.Index, Interrupts: q.Interrupts, Node: node, CPUs: all}
			if !opt.Group {
				core := part[i%len(part)]
				threads := slices.Collect(core.Threads.All())
				slices.Reverse(threads)
				p.CPUs = CPUs(threads[(i/len(part)+round)%len(threads)])
			}
			l.Queues = append(l.Queues, p)
		}
	}
}

// Steering returns the CPUs that each receive queue of a card should hand packets to in software (RPS). That helps only
// a card with fewer queues than its part has cores; others get empty sets, which switch RPS off. Each queue gets one
// CPU of each core of the card's part that serves no interrupt of the card, and a core that is handed to is not handed
// to by another queue while there are enough.
func (l Layout) Steering(nic string) map[int]CPUSet {
	var queues []Placement
	var busy CPUSet
	for _, p := range l.Queues {
		if p.NIC == nic {
			queues = append(queues, p)
			busy = busy.Union(p.CPUs)
		}
	}
	part := l.parts[nic]
	steering := map[int]CPUSet{}
	var free []Core
	for _, c := range part {
		if c.Threads.Intersect(busy).IsEmpty() {
			free = append(free, c)
		}
	}
	for i, p := range queues {
		var set CPUSet
		if len(queues) < len(part) {
			for k, c := range free {
				if k%len(queues) == i || len(free) < len(queues) {
					set = set.Union(CPUs(c.Threads.Max()))
				}
			}
		}
		steering[p.Queue] = set
	}
	return steering
}
