package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Range of the module parameter conn_tab_bits of ip_vs on 64-bit kernels of 6.1 stable and from 6.5 on. Before, and on
// 32 bits, the upper bound is 20.
const (
	MinConnTabBits     = 8
	MaxConnTabBits     = 27
	DefaultConnTabBits = 12 // of the kernel configuration; distributions leave it
)

// ConnTab is what a host says about the size of its IPVS connection table, one for all its network namespaces.
type ConnTab struct {
	// Loaded says that IPVS is in the kernel now, as a module or built in.
	Loaded bool

	// BuiltIn says that IPVS is no module, so that only the kernel's command line can set the size.
	BuiltIn bool

	// Bits is the size in force, the base-2 logarithm of the number of buckets; zero if unknown.
	Bits int

	// Options are the settings for the next time, in the order in which they are applied: the last one counts.
	Options []BitsOption

	// Users are the modules that hold ip_vs, and References how many uses there are in all. Besides modules, running
	// synchronisation daemons count. A reload needs both to be empty, and every service of every namespace deleted.
	Users      []string
	References int
}

// BitsOption is a place where the size is set for the next load of the module.
type BitsOption struct {
	Source string // file and line, or "kernel command line"
	Value  string // as written there
}

// Next returns the bits that the next load asks for, [DefaultConnTabBits] without an option. The error matches
// fs.ErrInvalid if the module would refuse to load with the value.
func (t ConnTab) Next() (int, error) {
	if len(t.Options) == 0 {
		return DefaultConnTabBits, nil
	}
	last := t.Options[len(t.Options)-1]
	n, err := parseBits(last.Value)
	if err != nil {
		return 0, fmt.Errorf("sysctl: %s: conn_tab_bits=%s: %w", last.Source, last.Value, err)
	}
	return n, nil
}

// parseBits reads a module parameter of type int: decimal, 0x hexadecimal or 0 octal.
func parseBits(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "+"), 0, 32)
	if err != nil || strings.Contains(s, "_") || strings.HasPrefix(strings.TrimLeft(strings.ToLower(s), "+-"), "0b") || strings.HasPrefix(strings.TrimLeft(strings.ToLower(s), "+-"), "0o") {
		return 0, fmt.Errorf("not a number: %w", fs.ErrInvalid)
	}
	return int(n), nil
}

// ConnTab reads the size of the connection table, in force and configured. The argument is the number of buckets that
// IPVS reports (ConnTabSize of the info request), which wins over the module's parameter file; zero if it was not asked.
//
// The error matches fs.ErrInvalid for a size that is no power of two, and is that of reading a file; files that do not
// exist are no error.
func (h *Host) ConnTab(size uint32) (ConnTab, error) {
	const dir = "sys/module/ip_vs/"
	var t ConnTab
	if size != 0 {
		if bits.OnesCount32(size) != 1 {
			return t, fmt.Errorf("sysctl: %d buckets is no power of two: %w", size, fs.ErrInvalid)
		}
		t.Loaded, t.Bits = true, bits.TrailingZeros32(size)
	}
	read := func(name string) (string, bool, error) {
		data, err := fs.ReadFile(h.root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("sysctl: %w", err)
		}
		return strings.TrimSpace(string(data)), true, nil
	}
	param, ok, err := read(dir + "parameters/conn_tab_bits")
	if err != nil {
		return t, err
	}
	if ok {
		t.Loaded = true
		n, err := parseBits(param)
		if err != nil {
			return t, fmt.Errorf("sysctl: %sparameters/conn_tab_bits holds %q: %w", dir, param, err)
		}
		if t.Bits == 0 {
			t.Bits = n
		}
	}
	_, isModule, err := read(dir + "initstate")
	if err != nil {
		return t, err
	}
	t.BuiltIn = ok && !isModule
	if !ok {
		t.BuiltIn = h.listedBuiltIn()
	}
	refs, ok, err := read(dir + "refcnt")
	if err != nil {
		return t, err
	}
	if ok {
		if t.References, err = strconv.Atoi(refs); err != nil {
			return t, fmt.Errorf("sysctl: %srefcnt: %w", dir, err)
		}
	}
	holders, err := fs.ReadDir(h.root, dir+"holders")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("sysctl: %w", err)
	}
	for _, e := range holders {
		t.Users = append(t.Users, e.Name())
	}
	options, err := h.moduleOptions("ip_vs", "conn_tab_bits")
	if err != nil {
		return t, err
	}
	if !t.BuiltIn { // modprobe.d is modprobe's
		t.Options = options
	}
	cmdline, _, err := read("proc/cmdline")
	if err != nil {
		return t, err
	}
	for word := range strings.FieldsSeq(cmdline) {
		name, value, ok := strings.Cut(word, "=")
		if ok && strings.ReplaceAll(name, "-", "_") == "ip_vs.conn_tab_bits" {
			t.Options = append(t.Options, BitsOption{Source: "kernel command line", Value: strings.Trim(value, `"`)})
		}
	}
	return t, nil
}

// listedBuiltIn asks the list that kernel packages bring.
func (h *Host) listedBuiltIn() bool {
	release, err := fs.ReadFile(h.root, "proc/sys/kernel/osrelease")
	if err != nil {
		return false
	}
	for _, dir := range [...]string{"lib/modules", "usr/lib/modules"} {
		data, err := fs.ReadFile(h.root, path.Join(dir, strings.TrimSpace(string(release)), "modules.builtin"))
		if err == nil && strings.Contains(string(data), "/ip_vs.ko") {
			return true
		}
	}
	return false
}

// ConnTabBits returns the bits for a number of simultaneous connections and persistence templates: at least as many
// buckets as entries, within the range of conn_tab_bits.
func ConnTabBits(entries uint64) int {
	n := 0
	if entries > 1 {
		n = bits.Len64(entries - 1)
	}
	return min(max(n, MinConnTabBits), MaxConnTabBits)
}

// TableBytes returns the memory of a table with 2^n buckets: 8 bytes a bucket on 64-bit kernels, observed on Linux 6.1
// and 6.12. Entries are not in it, see [EntryBytes].
func TableBytes(n int) uint64 {
	if n < 0 || n > 60 {
		return 0
	}
	return 8 << n
}

// EntryBytes returns the memory of so many connections and templates on x86-64: 12 to a page of 4096 bytes, observed on
// Linux 6.1 and 6.12. On machines with many CPUs the kernel wastes less, down to 320 bytes an entry.
func EntryBytes(entries uint64) uint64 {
	pages := entries / 12
	if entries%12 != 0 {
		pages++
	}
	return pages * 4096
}

func memory(n uint64) string {
	switch {
	case n >= 10<<20:
		return strconv.FormatUint(n>>20, 10) + " MiB"
	case n >= 1<<10:
		return strconv.FormatUint(n>>10, 10) + " KiB"
	}
	return strconv.FormatUint(n, 10) + " bytes"
}

// Prediction is what a kernel makes of a value of conn_tab_bits.
type Prediction struct {
	Bits int    // what will be in force; zero if the module is refused
	Note string // why that is not what was asked for, empty if it is
}

// PredictConnTabBits says what a 64-bit kernel makes of a value of conn_tab_bits. From Linux 6.5 on the value is moved
// into a range whose upper bound follows from the memory, given in pages of 4096 bytes (zero: unknown); before, a value
// outside 8 to 27 makes the kernel take 12. Releases before 6.1 stable had a bound of 20, which this cannot know of. It
// is for a warning only: what is in force is read back by [Host.ConnTab].
func PredictConnTabBits(n int, kernel Kernel, memoryPages uint64) Prediction {
	if kernel.Before(Kernel{6, 5}) {
		if n < MinConnTabBits || n > MaxConnTabBits {
			return Prediction{DefaultConnTabBits, fmt.Sprintf("outside %d to %d, for which this kernel takes %d", MinConnTabBits, MaxConnTabBits, DefaultConnTabBits)}
		}
		if memoryPages > 0 && TableBytes(n) >= memoryPages*4096 {
			return Prediction{0, fmt.Sprintf("%s do not fit into the memory: the module is refused", memory(TableBytes(n)))}
		}
		return Prediction{Bits: n}
	}
	high := MaxConnTabBits
	if memoryPages > 1 {
		high = max(min(bits.Len64(memoryPages-1), MaxConnTabBits), MinConnTabBits)
	}
	switch {
	case n < MinConnTabBits:
		return Prediction{MinConnTabBits, fmt.Sprintf("the least is %d", MinConnTabBits)}
	case n > high:
		return Prediction{high, fmt.Sprintf("the most with this memory is %d", high)}
	}
	return Prediction{Bits: n}
}

// ConnTabPlan says how to get another size of the connection table.
type ConnTabPlan struct {
	Bits int // wanted

	// Done is set if the size is in force already and stays, or what the kernel makes of it: there is nothing to do. Only
	// Bits and Predicted are set then.
	Done bool

	// File and Content are a file of modprobe.d(5) that sets it, empty if IPVS is built in. Add them to a plan with
	// [Host.AddFile].
	File    string
	Content []byte

	// CommandLine is the word for the kernel's command line. It is needed if IPVS is built in, or if the command line
	// sets another value, which wins over the file.
	CommandLine string

	// Reload says that unloading and loading the module would do now. Blockers are the reasons why not.
	Reload   bool
	Blockers []string

	// Predicted is what the kernel will make of Bits.
	Predicted Prediction
}

// DefaultModprobeFile is where the option is written, unless another file of the host overrides it by its name.
const DefaultModprobeFile = "etc/modprobe.d/ip_vs.conf"

// Plan says what to do for n bits on a host with this kernel and memory in pages. Nothing is written and nothing
// unloaded: the entries of all connections are lost with the module, which is for a person to decide.
//
// The error matches fs.ErrInvalid if n is outside 8 to 27.
func (t ConnTab) Plan(n int, kernel Kernel, memoryPages uint64, owner string) (ConnTabPlan, error) {
	p := ConnTabPlan{Bits: n}
	if n < MinConnTabBits || n > MaxConnTabBits {
		return p, fmt.Errorf("sysctl: conn_tab_bits %d is outside %d to %d: %w", n, MinConnTabBits, MaxConnTabBits, fs.ErrInvalid)
	}
	if strings.ContainsAny(owner, "\n\r") {
		return p, fmt.Errorf("sysctl: owner %q: %w", owner, fs.ErrInvalid)
	}
	p.Predicted = PredictConnTabBits(n, kernel, memoryPages)
	next, err := t.Next()
	configured := err == nil && next == n
	if configured && t.Bits != 0 && (t.Bits == n || t.Bits == p.Predicted.Bits) {
		p.Done = true // loading it again would give the same
		return p, nil
	}
	fromCommandLine := slices.ContainsFunc(t.Options, func(o BitsOption) bool { return o.Source == "kernel command line" })
	if t.BuiltIn || fromCommandLine && !configured {
		p.CommandLine = "ip_vs.conn_tab_bits=" + strconv.Itoa(n)
	}
	if !t.BuiltIn {
		p.File = DefaultModprobeFile
		p.Content = fmt.Appendf(nil, "# Written by %s. Takes effect when the module is loaded the next time.\noptions ip_vs conn_tab_bits=%d\n", owner, n)
	}
	switch {
	case t.BuiltIn:
		p.Blockers = append(p.Blockers, "IPVS is built into the kernel: change the command line and boot")
	case p.CommandLine != "":
		p.Blockers = append(p.Blockers, "the kernel's command line sets another value: change it and boot")
	}
	for _, m := range t.Users {
		p.Blockers = append(p.Blockers, "module "+m+" uses ip_vs: unload it")
	}
	if extra := t.References - len(t.Users); extra > 0 {
		p.Blockers = append(p.Blockers, fmt.Sprintf("%d more uses, such as synchronisation daemons: stop them", extra))
	}
	p.Reload = t.Loaded && len(p.Blockers) == 0
	return p, nil
}

// String returns what to do, one step a line.
func (p ConnTabPlan) String() string {
	switch {
	case p.Done && p.Predicted.Note != "" && p.Predicted.Bits != p.Bits:
		return fmt.Sprintf("conn_tab_bits is %d already instead of %d: %s\n", p.Predicted.Bits, p.Bits, p.Predicted.Note)
	case p.Done:
		return fmt.Sprintf("conn_tab_bits is %d already\n", p.Bits)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "conn_tab_bits %d: %d buckets, %s\n", p.Bits, uint64(1)<<p.Bits, memory(TableBytes(p.Bits)))
	if p.Predicted.Note != "" {
		fmt.Fprintf(&b, "  expected in force: %d (%s)\n", p.Predicted.Bits, p.Predicted.Note)
	}
	if p.File != "" {
		fmt.Fprintf(&b, "  file /%s: options ip_vs conn_tab_bits=%d\n", p.File, p.Bits)
	}
	if p.CommandLine != "" {
		fmt.Fprintf(&b, "  kernel command line: %s\n", p.CommandLine)
	}
	for _, blocker := range p.Blockers {
		fmt.Fprintf(&b, "  before a reload: %s\n", blocker)
	}
	if p.Reload {
		b.WriteString("  reload now: delete all services, then modprobe -r ip_vs && modprobe ip_vs; all connections are lost\n")
	}
	return b.String()
}
