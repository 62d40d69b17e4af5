package irq

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Topology says which CPUs a machine has and how they belong together.
type Topology struct {
	// NR is the number of possible CPU numbers, the highest plus one. It is the width of masks.
	NR int

	// Online are the CPUs that run.
	Online CPUSet

	// Isolated are the CPUs that the scheduler leaves alone (isolcpus), and those without a clock tick (nohz_full).
	Isolated CPUSet

	// Cores are the cores with a CPU that is online, sorted by their lowest CPU.
	Cores []Core

	// Nodes are the NUMA nodes that have CPUs, sorted by number. A machine without NUMA has one node 0.
	Nodes []Node
}

// Core is a physical core.
type Core struct {
	Threads CPUSet // the CPUs of the core that are online: hyper-threads, siblings
	Package int    // number of the socket
	Node    int    // number of the NUMA node

	// Cache is the lowest CPU of those that share the last-level cache (level 3), or the package if there is none or
	// it is not known. Cores with the same number share it.
	Cache int
}

// Node is a NUMA node.
type Node struct {
	ID       int
	CPUs     CPUSet      // those online
	Distance map[int]int // to each node, by its number, 10 to itself; nil if unknown
}

const cpuDir = "sys/devices/system/cpu/"

// ReadTopology reads the topology of the machine from sys/devices/system below root, normally os.DirFS("/"). No
// privilege is needed.
//
// The error matches fs.ErrNotExist if there is no such tree.
func ReadTopology(root fs.FS) (Topology, error) {
	var t Topology
	possible, err := readList(root, cpuDir+"possible")
	if err != nil {
		return t, err
	}
	t.NR = possible.Max() + 1
	if t.Online, err = readList(root, cpuDir+"online"); err != nil {
		return t, err
	}
	for _, name := range [...]string{"isolated", "nohz_full"} {
		set, err := readList(root, cpuDir+name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		t.Isolated = t.Isolated.Union(set)
	}
	if t.Nodes, err = readNodes(root, t.Online); err != nil {
		return t, err
	}
	seen := CPUSet{}
	for cpu := range t.Online.All() {
		if seen.Has(cpu) {
			continue
		}
		core, err := readCore(root, cpu, t.Online)
		if err != nil {
			return t, err
		}
		for _, n := range t.Nodes {
			if n.CPUs.Has(cpu) {
				core.Node = n.ID
			}
		}
		seen = seen.Union(core.Threads)
		t.Cores = append(t.Cores, core)
	}
	return t, nil
}

func readCore(root fs.FS, cpu int, online CPUSet) (Core, error) {
	dir := cpuDir + "cpu" + strconv.Itoa(cpu) + "/"
	core := Core{Threads: CPUs(cpu), Cache: cpu}
	siblings, err := readList(root, dir+"topology/thread_siblings_list")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return core, err
	}
	core.Threads = core.Threads.Union(siblings.Intersect(online))
	pkg, err := readInt(root, dir+"topology/physical_package_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return core, err
	}
	core.Package = pkg
	neighbours, err := readList(root, dir+"topology/core_siblings_list")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return core, err
	}
	if !neighbours.IsEmpty() {
		core.Cache = neighbours.Min()
	}
	// A level 2 cache is no proof: some virtual machines report one per thread.
	for i := 0; ; i++ {
		cache := fmt.Sprintf("%scache/index%d/", dir, i)
		level, err := readInt(root, cache+"level")
		if errors.Is(err, fs.ErrNotExist) {
			return core, nil
		}
		if err != nil {
			return core, err
		}
		if level != 3 {
			continue
		}
		shared, err := readList(root, cache+"shared_cpu_list")
		if err != nil {
			return core, err
		}
		if !shared.IsEmpty() {
			core.Cache = shared.Min()
		}
	}
}

func readNodes(root fs.FS, online CPUSet) ([]Node, error) {
	const dir = "sys/devices/system/node"
	entries, err := fs.ReadDir(root, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("irq: %w", err)
	}
	var ids []int
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), "node"); ok {
			if id, err := strconv.ParseUint(rest, 10, 16); err == nil {
				ids = append(ids, int(id))
			}
		}
	}
	slices.Sort(ids) // distances are listed in the order of the numbers
	var nodes []Node
	for _, id := range ids {
		base := path.Join(dir, "node"+strconv.Itoa(id))
		cpus, err := readList(root, path.Join(base, "cpulist"))
		if err != nil {
			return nil, err
		}
		n := Node{ID: id, CPUs: cpus.Intersect(online)}
		text, err := readText(root, path.Join(base, "distance"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if fields := strings.Fields(text); len(fields) == len(ids) {
			n.Distance = map[int]int{}
			for i, field := range fields {
				if n.Distance[ids[i]], err = strconv.Atoi(field); err != nil {
					return nil, fmt.Errorf("irq: %s/distance: %w", base, err)
				}
			}
		}
		if !n.CPUs.IsEmpty() {
			nodes = append(nodes, n)
		}
	}
	if nodes == nil {
		nodes = []Node{{ID: 0, CPUs: online}}
	}
	return nodes, nil
}

func readText(root fs.FS, name string) (string, error) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return "", fmt.Errorf("irq: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func readInt(root fs.FS, name string) (int, error) {
	text, err := readText(root, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("irq: %s: %w", name, err)
	}
	return n, nil
}

// readList reads a file with a list of CPUs; nohz_full says "(null)" if there are none.
func readList(root fs.FS, name string) (CPUSet, error) {
	text, err := readText(root, name)
	if err != nil || text == "(null)" {
		return CPUSet{}, err
	}
	set, err := ParseList(text)
	if err != nil {
		return CPUSet{}, fmt.Errorf("irq: %s: %w", name, err)
	}
	return set, nil
}
