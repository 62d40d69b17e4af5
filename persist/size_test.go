package persist

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestBits(t *testing.T) {
	for n, want := range map[uint64]int{
		0: 8, 1: 8, 256: 8, 257: 9, 4096: 12, 40_000: 16, 65_536: 16, 65_537: 17, 1_000_000: 20,
		1 << 27: 27, 1<<27 + 1: 27, math.MaxUint64: 27,
	} {
		if got := Bits(n); got != want {
			t.Errorf("Bits(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for b, want := range map[int]uint64{8: 2 << 10, 12: 32 << 10, 16: 512 << 10, 20: 8192 << 10, 24: 131072 << 10} {
		if got := TableBytes(b); got != want {
			t.Errorf("TableBytes(%d) = %d, want %d", b, got, want)
		}
	}
	// 3000 connections in 250 pages were observed on Linux 6.12.
	for n, want := range map[uint64]uint64{0: 0, 1: 4096, 12: 4096, 13: 8192, 3000: 1_024_000, 40_000: 3334 * 4096, math.MaxUint64: math.MaxUint64} {
		if got := EntryBytes(n); got != want {
			t.Errorf("EntryBytes(%d) = %d, want %d", n, got, want)
		}
	}
	if got, want := TotalBytes(20, 1_000_000), uint64(8<<20+83_334*4096); got != want {
		t.Errorf("TotalBytes = %d, want %d", got, want)
	}
	if got := TotalBytes(27, math.MaxUint64); got != math.MaxUint64 {
		t.Errorf("TotalBytes overflows to %d", got)
	}
}

func TestEntries(t *testing.T) {
	for _, tt := range []struct {
		rate    float64
		life    time.Duration
		clients uint64
		want    uint64
	}{
		{200, 200 * time.Second, 0, 40_000},
		{200, 200 * time.Second, 500, 40_500},
		{0.1, time.Second, 0, 1},
		{-1, time.Second, 7, 7},
		{math.NaN(), time.Second, 0, math.MaxUint64},
		{1e30, time.Hour, 1, math.MaxUint64},
	} {
		if got := Entries(tt.rate, tt.life, tt.clients); got != tt.want {
			t.Errorf("Entries(%v, %v, %d) = %d, want %d", tt.rate, tt.life, tt.clients, got, tt.want)
		}
	}
}

// TestEffectiveBits has values observed on Linux 6.12 and 6.1 with the MemTotal given in KiB; those of Until64 are not.
func TestEffectiveBits(t *testing.T) {
	tests := []struct {
		g      Generation
		kib    uint64
		only32 bool
		want   map[int]int // -1: does not fit
	}{
		{Since65, 474_752, false, map[int]int{0: 8, -5: 8, 7: 8, 8: 8, 16: 16, 18: 17, 27: 17, 64: 17}},
		{Since65, 990_080, false, map[int]int{12: 12, 18: 18, 19: 18, 20: 18, 28: 18}},
		{Since65, 4_015_740, false, map[int]int{19: 19, 20: 20, 21: 20, 27: 20}},
		{Since65, 1 << 40, false, map[int]int{27: 27, 28: 27}},
		{Since65, 1 << 40, true, map[int]int{27: 20}},
		{Since65, 0, false, map[int]int{12: 8}},
		{Stable61, 995_368, false, map[int]int{0: 12, -5: 12, 7: 12, 8: 8, 20: 20, 22: 22, 24: 24, 27: -1, 28: 12, 64: 12}},
		{Stable61, 995_368, true, map[int]int{20: 20, 21: 12}},
		{Until64, 995_368, false, map[int]int{7: 12, 8: 8, 20: 20, 21: 12}},
	}
	for _, tt := range tests {
		for requested, want := range tt.want {
			got, err := tt.g.EffectiveBits(requested, Machine{Memory: tt.kib << 10, Only32: tt.only32})
			if want == -1 {
				if !errors.Is(err, ErrTableMemory) {
					t.Errorf("%v, %d KiB: %d: %v", tt.g, tt.kib, requested, err)
				}
			} else if got != want || err != nil {
				t.Errorf("%v, %d KiB: %d becomes %d, %v; want %d", tt.g, tt.kib, requested, got, err, want)
			}
		}
	}
	if got := Generation(7).String() + Since65.String(); got != "generation(7)since 6.5" {
		t.Error(got)
	}
}
