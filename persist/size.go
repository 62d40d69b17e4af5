package persist

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"
)

// Sizes of the connection table, observed on Linux 6.1 and 6.12, x86-64.
const (
	MinBits     = 8    // least conn_tab_bits
	DefaultBits = 12   // conn_tab_bits of the usual build
	BucketSize  = 8    // bytes of a bucket
	EntrySize   = 288  // bytes of a connection or template
	SlotSize    = 320  // bytes that the allocator gives to one
	SlabSlots   = 12   // entries in a page
	PageSize    = 4096 // bytes of a page
)

const (
	maxBits64 = 27
	maxBits32 = 20
)

// ErrTableMemory says that a table of that size does not fit into memory: the module cannot be loaded.
var ErrTableMemory = errors.New("connection table does not fit into memory")

// Bits returns the conn_tab_bits for n entries, connections and templates together: the fewest with a bucket for each, 8 to 27.
func Bits(n uint64) int {
	if n == 0 {
		return MinBits
	}
	return min(max(bits.Len64(n-1), MinBits), maxBits64)
}

// TableBytes returns the memory of 2^b buckets; b is 0 to 60, and is brought into that range.
func TableBytes(b int) uint64 { return BucketSize << min(max(b, 0), 60) }

// EntryBytes returns the memory of n entries in whole pages. The allocator wastes less if it takes larger slabs, as it
// does on machines with many processors: 320 bytes for each entry is the least. It is at most 2^64-1.
func EntryBytes(n uint64) uint64 {
	pages := n / SlabSlots
	if n%SlabSlots != 0 {
		pages++
	}
	return saturate(bits.Mul64(pages, PageSize))
}

// TotalBytes returns the memory of a table with 2^b buckets and n entries.
func TotalBytes(b int, n uint64) uint64 {
	sum, carry := bits.Add64(TableBytes(b), EntryBytes(n), 0)
	return saturate(carry, sum)
}

func saturate(hi, lo uint64) uint64 {
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// Entries returns how many entries there are at a time: rate new connections per second, each of which is in the table for
// the mean time life, and one template for each of so many persistent clients, or networks of clients. The life is mostly
// that of the last state, not of the transfer: 120 s in TIME_WAIT or FIN_WAIT. Negative numbers count as 0.
func Entries(rate float64, life time.Duration, clients uint64) uint64 {
	n := math.Ceil(max(rate, 0) * max(life.Seconds(), 0))
	if !(n < math.MaxUint64) {
		return math.MaxUint64
	}
	sum, carry := bits.Add64(uint64(n), clients, 0)
	return saturate(carry, sum)
}

// Generation tells kernels apart by what they do with a conn_tab_bits out of range.
type Generation uint8

// Generations of kernels.
const (
	// Since65 are Linux 6.5 and later: the nearest bound is taken, and memory lowers the upper one.
	Since65 Generation = iota
	// Stable61 is Linux 6.1 with the later stable updates: 8 to 27, or 20 on 32 bits; the default 12 is taken for anything else.
	Stable61
	// Until64 are Linux 6.4 and before: 8 to 20; the default 12 is taken for anything else. Not observed.
	Until64
)

var generationNames = [...]string{Since65: "since 6.5", Stable61: "6.1 stable", Until64: "until 6.4"}

// String returns "since 6.5", "6.1 stable", "until 6.4", or "generation(N)" for a value this package does not know.
func (g Generation) String() string {
	if int(g) < len(generationNames) {
		return generationNames[g]
	}
	return "generation(" + strconv.Itoa(int(g)) + ")"
}

// Machine is what limits a connection table.
type Machine struct {
	Memory   uint64 // bytes, MemTotal of /proc/meminfo
	PageSize uint64 // bytes, a power of two; 0 means 4096
	Only32   bool   // a kernel of 32 bits
}

// pages rounds down, as the kernel counts whole pages.
func (m Machine) pages() uint64 { return m.Memory / m.pageSize() }

func (m Machine) pageSize() uint64 {
	if m.PageSize == 0 {
		return PageSize
	}
	return m.PageSize
}

// MaxBits returns the largest conn_tab_bits that a kernel takes on a machine.
func (g Generation) MaxBits(m Machine) int {
	limit := maxBits64
	if m.Only32 || g == Until64 {
		limit = maxBits32
	}
	if g == Since65 {
		fit := ceilLog2(m.pages()) + ceilLog2(m.pageSize()) - 2 - 1 - ceilLog2(EntrySize)
		limit = min(limit, max(fit, MinBits))
	}
	return limit
}

// EffectiveBits returns what a kernel makes of a conn_tab_bits on a machine. A program should still read the value back.
//
// The error matches ErrTableMemory if the table is larger than the memory, which cannot happen since Linux 6.5.
func (g Generation) EffectiveBits(requested int, m Machine) (int, error) {
	limit := g.MaxBits(m)
	b := requested
	switch {
	case g == Since65:
		b = min(max(b, MinBits), limit)
	case b < MinBits || b > limit:
		b = DefaultBits
	}
	if g != Since65 && TableBytes(b) > m.Memory {
		return b, fmt.Errorf("persist: conn_tab_bits %d in %d bytes: %w", b, m.Memory, ErrTableMemory)
	}
	return b, nil
}

func ceilLog2(n uint64) int {
	if n == 0 {
		return 0
	}
	return bits.Len64(n - 1)
}
