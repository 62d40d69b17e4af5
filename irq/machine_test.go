package irq

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
)

// machine is a topology for tests: the threads of each core, and for each core its package and node.
type machine struct {
	nr       int
	isolated CPUSet
	cores    [][]int
	pkg      []int // of each core; nil is all 0
	cache    []int // of each core; nil is the package
	node     []int // of each core; nil is all 0
}

func at(list []int, i, otherwise int) int {
	if list == nil {
		return otherwise
	}
	return list[i]
}

// topology returns what ReadTopology finds.
func (m machine) topology() Topology {
	t := Topology{Isolated: m.isolated}
	lowest := func(list []int, i int) int {
		for k, threads := range m.cores {
			if at(list, k, 0) == at(list, i, 0) {
				return threads[0]
			}
		}
		return -1
	}
	nodes := map[int]CPUSet{}
	for i, threads := range m.cores {
		set := CPUs(threads...)
		c := Core{Threads: set, Package: at(m.pkg, i, 0), Node: at(m.node, i, 0), Cache: lowest(m.pkg, i)}
		if m.cache != nil {
			c.Cache = lowest(m.cache, i)
		}
		t.Cores = append(t.Cores, c)
		t.Online = t.Online.Union(set)
		nodes[c.Node] = nodes[c.Node].Union(set)
	}
	slices.SortFunc(t.Cores, func(a, b Core) int { return a.Threads.Min() - b.Threads.Min() })
	t.NR = max(m.nr, t.Online.Max()+1)
	for id := range len(nodes) {
		n := Node{ID: id, CPUs: nodes[id], Distance: map[int]int{}}
		for other := range len(nodes) {
			n.Distance[other] = 10 + 10*max(id-other, other-id)
		}
		t.Nodes = append(t.Nodes, n)
	}
	return t
}

// tree returns the machine as the files of /sys and /proc, without cards.
func (m machine) tree() *hostfs.Mem {
	t := m.topology()
	root := hostfs.NewMem(map[string]string{
		cpuDir + "possible":  fmt.Sprintf("0-%d\n", t.NR-1),
		cpuDir + "online":    t.Online.String() + "\n",
		cpuDir + "isolated":  t.Isolated.String() + "\n",
		cpuDir + "nohz_full": " (null)\n",
		"proc/interrupts":    "CPU0\n",
	})
	pkgs, caches := map[int]CPUSet{}, map[int]CPUSet{}
	for _, c := range t.Cores {
		pkgs[c.Package] = pkgs[c.Package].Union(c.Threads)
		caches[c.Cache] = caches[c.Cache].Union(c.Threads)
	}
	for _, c := range t.Cores {
		for cpu := range c.Threads.All() {
			dir := fmt.Sprintf("%scpu%d/", cpuDir, cpu)
			root.Set(dir+"topology/thread_siblings_list", c.Threads.String()+"\n")
			root.Set(dir+"topology/physical_package_id", fmt.Sprintf("%d\n", c.Package))
			root.Set(dir+"topology/core_siblings_list", pkgs[c.Package].String()+"\n")
			root.Set(dir+"cache/index0/level", "1\n")
			root.Set(dir+"cache/index0/shared_cpu_list", fmt.Sprintf("%d\n", cpu))
			if m.cache != nil {
				root.Set(dir+"cache/index1/level", "3\n")
				root.Set(dir+"cache/index1/shared_cpu_list", caches[c.Cache].String()+"\n")
			}
		}
	}
	for _, n := range t.Nodes {
		dir := fmt.Sprintf("sys/devices/system/node/node%d/", n.ID)
		var distance []string
		for id := range t.Nodes {
			distance = append(distance, fmt.Sprint(n.Distance[id]))
		}
		root.Set(dir+"cpulist", n.CPUs.String()+"\n")
		root.Set(dir+"distance", strings.Join(distance, " ")+"\n")
	}
	return root
}

// addNIC adds a card with its interrupts to a tree.
func addNIC(root *hostfs.Mem, name string, node, firstIRQ, queues int, nr int) {
	pci := "sys/devices/pci0000:00/" + name + "/"
	root.Link(netDir+name, "../../devices/pci0000:00/"+name+"/net/"+name)
	root.Link(pci+"net/"+name+"/device", "../..")
	root.Set(pci+"numa_node", fmt.Sprintf("%d\n", node))
	all := CPUSet{}
	for cpu := range nr {
		all = all.Union(CPUs(cpu))
	}
	var rows strings.Builder
	add := func(irq int, action string) {
		root.Set(fmt.Sprintf("%smsi_irqs/%d", pci, irq), "msix\n")
		root.Set(irqDir(irq)+"smp_affinity_list", all.String()+"\n")
		root.Set(irqDir(irq)+"effective_affinity_list", "0\n")
		fmt.Fprintf(&rows, "%d: 0 x   1-edge      %s\n", irq, action)
	}
	add(firstIRQ, name)
	for q := range queues {
		add(firstIRQ+1+q, fmt.Sprintf("%s-TxRx-%d", name, q))
		root.Set(fmt.Sprintf("%snet/%s/queues/rx-%d/rps_cpus", pci, name, q), CPUSet{}.Mask(nr)+"\n")
		root.Set(fmt.Sprintf("%snet/%s/queues/tx-%d/tx_maxrate", pci, name, q), "0\n")
		if queues > 1 {
			root.Set(fmt.Sprintf("%snet/%s/queues/tx-%d/xps_cpus", pci, name, q), CPUSet{}.Mask(nr)+"\n")
		}
	}
	root.Set("proc/interrupts", root.Files()["proc/interrupts"]+rows.String())
}

func newHost(t testing.TB, root fs.FS) *Host {
	t.Helper()
	h, err := New(&Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// smt returns cores with the sibling numbering c and c+n.
func smt(n int) [][]int {
	cores := make([][]int, n)
	for c := range cores {
		cores[c] = []int{c, c + n}
	}
	return cores
}

func single(n int) [][]int {
	cores := make([][]int, n)
	for c := range cores {
		cores[c] = []int{c}
	}
	return cores
}

// blocks returns the number of its block of so many for each of n.
func blocks(n, size int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i / size
	}
	return list
}
