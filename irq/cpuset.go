package irq

import (
	"fmt"
	"io/fs"
	"iter"
	"math/bits"
	"strconv"
	"strings"
)

// CPUSet is a set of CPU numbers. The zero value is the empty set. Sets are values: methods return new ones, == compares
// them, and they can be map keys.
type CPUSet struct {
	// Byte i holds CPUs 8i to 8i+7, and the last byte is not 0.
	bits string
}

// MaxCPUs bounds the CPU numbers of a set, well above the 8192 that kernels are built for.
const MaxCPUs = 1 << 16

// CPUs returns the set of these CPUs. Numbers outside 0 to MaxCPUs-1 do not exist and are left out.
func CPUs(cpus ...int) CPUSet {
	var b builder
	for _, cpu := range cpus {
		b.add(cpu, cpu)
	}
	return b.set()
}

// builder collects the bits of a set.
type builder []byte

func (b *builder) add(first, last int) {
	for cpu := max(first, 0); cpu <= min(last, MaxCPUs-1); cpu++ {
		for len(*b) <= cpu/8 {
			*b = append(*b, 0)
		}
		(*b)[cpu/8] |= 1 << (cpu % 8)
	}
}

func (b builder) set() CPUSet {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return CPUSet{string(b)}
}

// Has says whether the CPU is in the set.
func (s CPUSet) Has(cpu int) bool {
	return cpu >= 0 && cpu/8 < len(s.bits) && s.bits[cpu/8]>>(cpu%8)&1 != 0
}

// Len returns the number of CPUs in the set.
func (s CPUSet) Len() int {
	n := 0
	for i := range len(s.bits) {
		n += bits.OnesCount8(s.bits[i])
	}
	return n
}

// IsEmpty says whether no CPU is in the set.
func (s CPUSet) IsEmpty() bool { return s.bits == "" }

// Min returns the lowest CPU, or -1 of the empty set.
func (s CPUSet) Min() int {
	for i := range len(s.bits) {
		if s.bits[i] != 0 {
			return i*8 + bits.TrailingZeros8(s.bits[i])
		}
	}
	return -1
}

// Max returns the highest CPU, or -1 of the empty set.
func (s CPUSet) Max() int {
	if s.bits == "" {
		return -1
	}
	last := len(s.bits) - 1
	return last*8 + bits.Len8(s.bits[last]) - 1
}

// All yields the CPUs in ascending order.
func (s CPUSet) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for cpu := 0; cpu < len(s.bits)*8; cpu++ {
			if s.Has(cpu) && !yield(cpu) {
				return
			}
		}
	}
}

// Union returns the CPUs that are in s or in t.
func (s CPUSet) Union(t CPUSet) CPUSet {
	return s.combine(t, func(a, b byte) byte { return a | b })
}

// Intersect returns the CPUs that are in both s and t.
func (s CPUSet) Intersect(t CPUSet) CPUSet {
	return s.combine(t, func(a, b byte) byte { return a & b })
}

// Minus returns the CPUs that are in s and not in t.
func (s CPUSet) Minus(t CPUSet) CPUSet {
	return s.combine(t, func(a, b byte) byte { return a &^ b })
}

func (s CPUSet) combine(t CPUSet, op func(a, b byte) byte) CPUSet {
	b := make(builder, max(len(s.bits), len(t.bits)))
	for i := range b {
		var x, y byte
		if i < len(s.bits) {
			x = s.bits[i]
		}
		if i < len(t.bits) {
			y = t.bits[i]
		}
		b[i] = op(x, y)
	}
	return b.set()
}

// String returns the set as a list, such as "0-3,8", the form of smp_affinity_list. It is what ParseList reads.
func (s CPUSet) String() string {
	var out []byte
	for cpu := 0; cpu < len(s.bits)*8; cpu++ {
		if !s.Has(cpu) {
			continue
		}
		last := cpu
		for s.Has(last + 1) {
			last++
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(cpu), 10)
		if last > cpu {
			out = append(out, '-')
			out = strconv.AppendInt(out, int64(last), 10)
		}
		cpu = last
	}
	return string(out)
}

// MarshalText returns the form of String.
func (s CPUSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseList.
func (s *CPUSet) UnmarshalText(text []byte) (err error) {
	*s, err = ParseList(string(text))
	return err
}

// Mask returns the set as the kernel prints it in smp_affinity, rps_cpus and cpumaps on a machine with nr possible CPU
// numbers, the highest plus one: groups of 32 bits, the highest first, all of 8 digits but the first one, which is as
// wide as nr needs. A set with a CPU at or above nr gets the width that it needs.
func (s CPUSet) Mask(nr int) string {
	nr = max(nr, s.Max()+1, 1)
	var out []byte
	for digit := (nr - 1) / 4; digit >= 0; digit-- {
		var nibble byte
		if i := digit / 2; i < len(s.bits) {
			nibble = s.bits[i] >> (digit % 2 * 4) & 0xf
		}
		out = append(out, "0123456789abcdef"[nibble])
		if digit%8 == 0 && digit > 0 {
			out = append(out, ',')
		}
	}
	return string(out)
}

// maskWidth returns a number of CPUs for which Mask makes a text as wide as this one, which the kernel printed. The
// kernel refuses a mask with more groups than it prints itself, even if they are 0.
func maskWidth(text string) int {
	return 4 * len(strings.ReplaceAll(strings.TrimSpace(text), ",", ""))
}

// errSyntax is the error of a text that is no set of CPUs. It matches fs.ErrInvalid.
func errSyntax(what, text string) error {
	return fmt.Errorf("irq: %q is no %s: %w", text, what, fs.ErrInvalid)
}

// ParseList reads a list of CPUs as the kernel writes and reads it: numbers and ranges separated by commas or blanks, in
// any order, "0-31:2/4" for the first two of every four. A text without numbers is the empty set.
//
// The error matches fs.ErrInvalid, also for a number of MaxCPUs or more. The words "all" and "N", which the kernel
// reads but does not write, are not known.
func ParseList(text string) (CPUSet, error) {
	var b builder
	for item := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		span, stride, strided := strings.Cut(item, ":")
		first, last, ranged := strings.Cut(span, "-")
		if !ranged {
			last = first
		}
		used, group := "1", "1"
		if strided {
			var ok bool
			if used, group, ok = strings.Cut(stride, "/"); !ok || !ranged {
				return CPUSet{}, errSyntax("list of CPUs", text)
			}
		}
		var n [4]int
		for i, s := range [...]string{first, last, used, group} {
			v, err := strconv.ParseUint(s, 10, 32)
			if err != nil || v >= MaxCPUs {
				return CPUSet{}, errSyntax("list of CPUs", text)
			}
			n[i] = int(v)
		}
		first0, last0, take, every := n[0], n[1], n[2], n[3]
		if first0 > last0 || every == 0 || take == 0 || take > every {
			return CPUSet{}, errSyntax("list of CPUs", text)
		}
		for start := first0; start <= last0; start += every {
			b.add(start, min(start+take-1, last0))
		}
	}
	return b.set(), nil
}

// ParseMask reads a mask of CPUs as the kernel prints it: hexadecimal groups of up to 8 digits, the highest first,
// separated by commas. Blanks around it do not count.
//
// The error matches fs.ErrInvalid.
func ParseMask(text string) (CPUSet, error) {
	groups := strings.Split(strings.TrimSpace(text), ",")
	if len(groups) > MaxCPUs/32 {
		return CPUSet{}, errSyntax("mask of CPUs", text)
	}
	b := make(builder, 4*len(groups))
	for i, group := range groups {
		v, err := strconv.ParseUint(group, 16, 32)
		if err != nil || len(group) > 8 {
			return CPUSet{}, errSyntax("mask of CPUs", text)
		}
		at := 4 * (len(groups) - 1 - i)
		for k := range 4 {
			b[at+k] = byte(v >> (8 * k))
		}
	}
	return b.set(), nil
}
