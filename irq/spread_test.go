package irq

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func nic(name string, node, queues int) NIC {
	n := NIC{Name: name, Node: node, RX: queues, TX: queues}
	for q := range queues {
		n.Queues = append(n.Queues, Queue{Index: q, Interrupts: []Interrupt{{IRQ: 100 + q}}})
	}
	return n
}

// The machines of the two classic recipes, and those that show why they cannot be copied.
func TestSpreadGolden(t *testing.T) {
	two := machine{nr: 72, cores: smt(36)}
	// 72 CPUs: 2 nodes of 18 cores, siblings c and c+36.
	two.pkg, two.node = blocks(36, 18), blocks(36, 18)
	groups := machine{nr: 32, cores: smt(16), cache: blocks(16, 4)}
	dual := machine{nr: 4, cores: single(4), pkg: []int{0, 0, 1, 1}}
	pairs := machine{nr: 8, cores: [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}}, pkg: []int{0, 0, 1, 1}, node: []int{0, 0, 1, 1}}
	tests := []struct {
		name string
		m    machine
		nics []NIC
		opt  SpreadOptions
		want string // masks of the queues in order
		warn bool
	}{
		{"two hyper-threaded CPUs", machine{nr: 4, cores: [][]int{{0, 1}, {2, 3}}, pkg: []int{0, 1}}, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, SpreadOptions{}, "8 2", false},
		{"two dual cores, groups", dual, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, SpreadOptions{Group: true}, "c 3", false},
		{"two dual cores", dual, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, SpreadOptions{}, "4 2", false},
		{"two dual cores, two queues", dual, []NIC{nic("eth0", -1, 2), nic("eth1", -1, 2)}, SpreadOptions{}, "4 8 2 1", false},
		{"siblings 0,2 and 1,3", machine{nr: 4, cores: [][]int{{0, 2}, {1, 3}}, pkg: []int{0, 1}}, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, SpreadOptions{}, "8 4", false},
		{"a card on each node", pairs, []NIC{nic("eth0", 0, 2), nic("eth1", 1, 2)}, SpreadOptions{}, "08 02 20 80", false},
		{"both cards on node 0", pairs, []NIC{nic("eth0", 0, 2), nic("eth1", 0, 2)}, SpreadOptions{}, "08 04 02 01", false},
		{"72 CPUs, node 1", two, []NIC{nic("eth0", 1, 8)}, SpreadOptions{}, "00,00400000,00000000 00,00800000,00000000 00,01000000,00000000 00,02000000,00000000 00,04000000,00000000 00,08000000,00000000 00,10000000,00000000 00,20000000,00000000", false},
		{"32 CPUs, four caches", groups, []NIC{nic("eth0", 0, 4), nic("eth1", 0, 4)}, SpreadOptions{}, "00100000 00200000 00400000 00800000 10000000 20000000 40000000 80000000", false},
		{"three cards, two CPUs", machine{nr: 2, cores: single(2)}, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1), nic("eth2", -1, 1)}, SpreadOptions{}, "2 1 2", true},
		{"two CPUs isolated", machine{nr: 4, cores: single(4), isolated: CPUs(2, 3)}, []NIC{nic("eth0", -1, 2)}, SpreadOptions{}, "2 1", false},
		{"isolated ones wanted", machine{nr: 4, cores: single(4), isolated: CPUs(2, 3)}, []NIC{nic("eth0", -1, 2)}, SpreadOptions{Isolated: true}, "2 4", false},
		{"excluded", machine{nr: 4, cores: single(4)}, []NIC{nic("eth0", -1, 2)}, SpreadOptions{Exclude: CPUs(1)}, "4 8", false},
		{"two cards, one core", machine{nr: 2, cores: [][]int{{0, 1}}}, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, SpreadOptions{}, "2 1", true},
		{"node without usable CPUs", pairs, []NIC{nic("eth0", 1, 1)}, SpreadOptions{Exclude: CPUs(4, 5, 6, 7)}, "08", true},
		{"cores of a cache stay together", machine{nr: 6, cores: single(6), cache: []int{0, 1, 2, 0, 1, 2}}, []NIC{nic("eth0", -1, 6)}, SpreadOptions{}, "02 10 04 20 08 01", false},
		{"the first cards get the odd cores", machine{nr: 5, cores: single(5)}, []NIC{nic("eth0", -1, 3), nic("eth1", -1, 3)}, SpreadOptions{}, "02 04 08 10 01 10", false},
		{"nearest node", machine{nr: 4, cores: single(4), node: []int{0, 1, 2, 3}}, []NIC{nic("eth0", 2, 1)}, SpreadOptions{Exclude: CPUs(2)}, "2", true},
		{"natural order", dual, []NIC{nic("eth10", -1, 1), nic("eth9", -1, 1)}, SpreadOptions{}, "4 2", false},
	}
	for _, tt := range tests {
		layout, err := Spread(tt.m.topology(), tt.nics, tt.opt)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, q := range layout.Queues {
			got = append(got, q.CPUs.Mask(tt.m.nr))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, strings.Join(got, " "), tt.want)
		}
		if (len(layout.Warnings) > 0) != tt.warn {
			t.Errorf("%s: warnings %q", tt.name, layout.Warnings)
		}
	}

	// 20 queues on 18 cores: the core of CPU 0 comes last, then the siblings.
	layout, err := Spread(two.topology(), []NIC{nic("eth0", 0, 20)}, SpreadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for cpu := 37; cpu <= 53; cpu++ {
		want = append(want, cpu)
	}
	if diff := cmp.Diff(append(want, 36, 1, 2), placed(layout)); diff != "" {
		t.Errorf("20 queues (-want +got):\n%s", diff)
	}
	layout, err = Spread(two.topology(), []NIC{nic("eth0", 0, 4), nic("eth1", 0, 4), nic("eth2", 1, 2)}, SpreadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{37, 38, 39, 40, 46, 47, 48, 49, 54, 55}, placed(layout)); diff != "" {
		t.Errorf("three cards (-want +got):\n%s", diff)
	}
	layout, err = Spread(machine{nr: 128, cores: single(128), node: blocks(128, 64), pkg: blocks(128, 64)}.topology(), []NIC{nic("eth0", 1, 2)}, SpreadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if layout.Queues[0].CPUs.Mask(128) != "00000000,00000001,00000000,00000000" || layout.Queues[1].CPUs.Mask(128) != "00000000,00000002,00000000,00000000" {
		t.Errorf("128 CPUs: %v", layout.Queues)
	}
}

func placed(l Layout) []int {
	var cpus []int
	for _, q := range l.Queues {
		cpus = append(cpus, q.CPUs.Max())
	}
	return cpus
}

// On any machine: only usable CPUs; the card's own node; two cards on one core only if there are more cards than cores,
// and then no thread twice before all are used once; a card's queues evenly on its cores; the order of arguments does
// not matter.
func TestSpreadProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 1000 {
		sockets, perSocket, threads := 1+rnd.IntN(4), 1+rnd.IntN(8), 1+rnd.IntN(2)
		nodesPer := 1 + rnd.IntN(min(2, perSocket))
		m := machine{}
		total := sockets * perSocket
		for c := range total {
			core := []int{c}
			if threads == 2 {
				core = []int{c, c + total}
				if round%2 == 0 {
					core = []int{2 * c, 2*c + 1}
				}
			}
			m.cores = append(m.cores, core)
			m.pkg = append(m.pkg, c/perSocket)
			m.node = append(m.node, c/perSocket*nodesPer+c%perSocket*nodesPer/perSocket)
			m.cache = append(m.cache, c/2)
		}
		topology := m.topology()
		opt := SpreadOptions{}
		for cpu := range topology.Online.All() {
			if rnd.IntN(6) == 0 {
				opt.Exclude = opt.Exclude.Union(CPUs(cpu))
			}
		}
		usable := topology.Online.Minus(opt.Exclude)
		var nics []NIC
		for i := range 1 + rnd.IntN(6) {
			nics = append(nics, nic(fmt.Sprintf("eth%d", i), rnd.IntN(len(topology.Nodes)+1)-1, 1+rnd.IntN(12)))
		}
		layout, err := Spread(topology, nics, opt)
		if usable.IsEmpty() {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatalf("round %d: no CPUs: %v", round, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		shuffled := slices.Clone(nics)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again, err := Spread(topology, shuffled, opt); err != nil || !cmp.Equal(again.Queues, layout.Queues, cmp.Comparer(func(a, b CPUSet) bool { return a == b })) {
			t.Fatalf("round %d: the order of the cards matters: %v", round, err)
		}

		coreOf := map[int]int{}
		coresOfNode := map[int]map[int]bool{}
		for i, c := range topology.Cores {
			for cpu := range c.Threads.All() {
				coreOf[cpu] = i
				if usable.Has(cpu) {
					if coresOfNode[c.Node] == nil {
						coresOfNode[c.Node] = map[int]bool{}
					}
					coresOfNode[c.Node][i] = true
				}
			}
		}
		cardsOnCore := map[int]map[string]bool{}
		cardsOfNode := map[int]map[string]bool{}
		perCard := map[string]map[int]int{}
		for _, q := range layout.Queues {
			cpu := q.CPUs.Max()
			if q.CPUs.Len() != 1 || !usable.Has(cpu) {
				t.Fatalf("round %d: %s queue %d on %v, usable %v", round, q.NIC, q.Queue, q.CPUs, usable)
			}
			if cardsOnCore[coreOf[cpu]] == nil {
				cardsOnCore[coreOf[cpu]] = map[string]bool{}
			}
			cardsOnCore[coreOf[cpu]][q.NIC] = true
			if cardsOfNode[q.Node] == nil {
				cardsOfNode[q.Node] = map[string]bool{}
			}
			cardsOfNode[q.Node][q.NIC] = true
			if perCard[q.NIC] == nil {
				perCard[q.NIC] = map[int]int{}
			}
			perCard[q.NIC][cpu]++
			if topology.Cores[coreOf[cpu]].Node != q.Node {
				t.Fatalf("round %d: CPU %d is not on node %d", round, cpu, q.Node)
			}
		}
		for _, n := range nics {
			for _, q := range layout.Queues {
				if q.NIC == n.Name && n.Node >= 0 && q.Node != n.Node && len(coresOfNode[n.Node]) > 0 {
					t.Fatalf("round %d: %s of node %d is on node %d", round, n.Name, n.Node, q.Node)
				}
			}
		}
		for core, cards := range cardsOnCore {
			node := topology.Cores[core].Node
			if len(cards) > 1 && len(cardsOfNode[node]) <= len(coresOfNode[node]) {
				t.Fatalf("round %d: cards %v share core %d of node %d with %d cores and %d cards", round, cards, core, node, len(coresOfNode[node]), len(cardsOfNode[node]))
			}
		}
		for name, uses := range perCard {
			// Evenly: none of the card's CPUs is used twice while one of its part is unused.
			var part CPUSet
			for _, c := range layout.parts[name] {
				part = part.Union(c.Threads)
			}
			least := 1 << 30
			for cpu := range part.All() {
				least = min(least, uses[cpu])
			}
			coreUses := map[int]int{}
			for cpu, n := range uses {
				if len(layout.parts[name]) > 0 && n > least+1 && evenThreads(layout.parts[name]) {
					t.Fatalf("round %d: %s uses CPU %d %d times and another %d times", round, name, cpu, n, least)
				}
				coreUses[coreOf[cpu]] += n
			}
			low, high := 1<<30, 0
			for _, c := range layout.parts[name] {
				n := coreUses[coreOf[c.Threads.Min()]]
				low, high = min(low, n), max(high, n)
			}
			if high > low+1 {
				t.Fatalf("round %d: %s has %d queues on one core and %d on another", round, name, high, low)
			}
		}
	}
}

// evenThreads says whether all cores have the same number of usable threads.
func evenThreads(part []Core) bool {
	for _, c := range part {
		if c.Threads.Len() != part[0].Threads.Len() {
			return false
		}
	}
	return true
}

func TestSpreadErrors(t *testing.T) {
	m := machine{nr: 2, cores: single(2)}
	if _, err := Spread(m.topology(), []NIC{nic("a", 0, 1)}, SpreadOptions{Exclude: CPUs(0, 1)}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no CPU left: %v", err)
	}
	if _, err := Spread(m.topology(), []NIC{nic("a", 0, 1), nic("a", 0, 1)}, SpreadOptions{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a card twice: %v", err)
	}
	if layout, err := Spread(m.topology(), nil, SpreadOptions{}); err != nil || len(layout.Queues) != 0 {
		t.Errorf("no card: %v, %v", layout, err)
	}
}

func TestSteering(t *testing.T) {
	tests := map[string]struct {
		m    machine
		nics []NIC
		want map[int]string
	}{
		"one queue, four cores":     {machine{nr: 4, cores: single(4)}, []NIC{nic("eth0", -1, 1)}, map[int]string{0: "0,2-3"}},
		"one queue, two threads":    {machine{nr: 4, cores: [][]int{{0, 1}, {2, 3}}}, []NIC{nic("eth0", -1, 1)}, map[int]string{0: "1"}},
		"two queues, five cores":    {machine{nr: 5, cores: single(5)}, []NIC{nic("eth0", -1, 2)}, map[int]string{0: "0,3", 1: "4"}},
		"two queues, three cores":   {machine{nr: 3, cores: single(3)}, []NIC{nic("eth0", -1, 2)}, map[int]string{0: "0", 1: "0"}},
		"as many queues as cores":   {machine{nr: 2, cores: single(2)}, []NIC{nic("eth0", -1, 2)}, map[int]string{0: "", 1: ""}},
		"two cards divide the node": {machine{nr: 4, cores: single(4)}, []NIC{nic("eth0", -1, 1), nic("eth1", -1, 1)}, map[int]string{0: "2"}},
	}
	for name, tt := range tests {
		layout, err := Spread(tt.m.topology(), tt.nics, SpreadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]string{}
		for q, set := range layout.Steering("eth0") {
			got[q] = set.String()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReadTopology(t *testing.T) {
	for name, m := range map[string]machine{
		"one CPU":                        {nr: 1, cores: single(1)},
		"one socket without SMT":         {nr: 4, cores: single(4)},
		"two sockets with SMT":           {nr: 4, cores: [][]int{{0, 1}, {2, 3}}, pkg: []int{0, 1}, cache: []int{0, 1}},
		"two dual cores":                 {nr: 4, cores: single(4), pkg: []int{0, 0, 1, 1}},
		"two nodes":                      {nr: 8, cores: [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}}, pkg: []int{0, 0, 1, 1}, node: []int{0, 0, 1, 1}},
		"four sockets, SMT, eight nodes": {nr: 128, cores: smt(64), pkg: blocks(64, 16), node: blocks(64, 8), cache: blocks(64, 4)},
		"some are offline":               {nr: 72, cores: [][]int{{0}, {2}, {4}, {6}, {8}, {10}}, isolated: CPUs(8, 10)},
	} {
		want := m.topology()
		got, err := ReadTopology(m.tree())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b CPUSet) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	bare := machine{nr: 2, cores: single(2)}.tree()
	bare.Remove("sys/devices/system/node")
	bare.Remove(cpuDir + "isolated")
	bare.Remove(cpuDir + "cpu0")
	if got, err := ReadTopology(bare); err != nil || len(got.Nodes) != 1 || len(got.Cores) != 2 {
		t.Errorf("without NUMA: %+v, %v", got, err)
	}
	for _, file := range []string{cpuDir + "possible", cpuDir + "online", cpuDir + "cpu1/topology/thread_siblings_list", cpuDir + "cpu1/topology/physical_package_id", cpuDir + "cpu1/cache/index0/level", "sys/devices/system/node/node0/cpulist", "sys/devices/system/node/node0/distance"} {
		m := machine{nr: 2, cores: single(2)}.tree()
		m.Set(file, "x\n")
		if _, err := ReadTopology(m); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s is damaged: %v", file, err)
		}
	}
	bare.Remove(cpuDir + "possible")
	if _, err := ReadTopology(bare); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a topology: %v", err)
	}
}
