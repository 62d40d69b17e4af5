package sched

import (
	"math"
	"net/netip"
	"slices"
	"testing"
)

func TestFoldAndHash32(t *testing.T) {
	tests := []struct {
		addr           string
		fold           uint32
		h8, h10, h4000 uint32 // 8 bits, 10 bits, and 8 bits with port 4000
	}{
		{"10.1.0.1", 0x0a010001, 174, 696, 139},
		{"10.1.0.2", 0x0a010002, 15, 63, 237},
		{"192.168.1.10", 0xc0a8010a, 248, 995, 214},
		{"172.16.4.49", 0xac100431, 241, 967, 207},
		{"255.255.255.255", 0xffffffff, 158, 632, 123},
		{"fd01::1", 0xfd010001, 19, 76, 240},
		{"2001:db8:1:2:3:4:5:6", 0x20060db8, 124, 498, 89},
		{"::ffff:10.1.0.1", 0x0a010001, 174, 696, 139},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		if got := fold(a); got != tt.fold {
			t.Errorf("fold(%v) = %#x, want %#x", a, got, tt.fold)
		}
		if h8, h10, h := hash32(tt.fold, 8), hash32(tt.fold, 10), hash32(tt.fold+4000, 8); h8 != tt.h8 || h10 != tt.h10 || h != tt.h4000 {
			t.Errorf("hash32 of %v = %d, %d, %d, want %d, %d, %d", a, h8, h10, h, tt.h8, tt.h10, tt.h4000)
		}
	}
	if got := fold(netip.Addr{}); got != 0 {
		t.Errorf("fold of the zero address = %#x, want 0", got)
	}
}

func TestHSipHash(t *testing.T) {
	tests := []struct{ v, offset, skip uint32 }{
		{0, 0x1d5a77c2, 0xf882433f},
		{1, 0x16ec66b2, 0x8210aad1},
		{0x0a010001, 0x37fce844, 0xc7f675a8},
	}
	for _, tt := range tests {
		if o, s := hsiphash(tt.v, mhKeyOffset), hsiphash(tt.v, mhKeySkip); o != tt.offset || s != tt.skip {
			t.Errorf("hsiphash(%#x) = %#x, %#x, want %#x, %#x", tt.v, o, s, tt.offset, tt.skip)
		}
	}
}

func TestRemainder(t *testing.T) {
	for _, n := range mhPrimes {
		i := inverse(n)
		for _, v := range []uint32{0, 1, uint32(n) - 1, uint32(n), uint32(n) + 1, math.MaxUint32 / uint32(n) * uint32(n), math.MaxUint32 - 1, math.MaxUint32} {
			if got, want := remainder(v, uint32(n), i), v%uint32(n); got != want {
				t.Errorf("remainder(%d, %d) = %d, want %d", v, n, got, want)
			}
		}
		for v := uint32(1); v < 1<<31; v = v*3 + 7 {
			if got, want := remainder(v, uint32(n), i), v%uint32(n); got != want {
				t.Errorf("remainder(%d, %d) = %d, want %d", v, n, got, want)
			}
		}
	}
}

// TestMHSlot compares the hash that a pick writes out with the function.
func TestMHSlot(t *testing.T) {
	for _, flags := range []Flags{0, Port} {
		s, _ := withWeights(t, "mh", Config{Flags: flags}, slices.Repeat([]int32{1}, 500)...)
		for _, client := range []string{"10.1.0.1:4000", "255.255.255.255:65535", "0.0.0.0:1", "[::ffff:10.1.0.1]:4000", "[2001:db8::1]:4000", "[fe80::1%eth0]:1"} {
			f := Flow{Client: netip.MustParseAddrPort(client)}
			got := s.Pick(f, 0)
			m := s.algo.(*mh)
			if want := m.table[hsiphash(clientKey(f.Client, flags), mhKeyOffset)%uint32(len(m.table))]; got != want {
				t.Errorf("%s with flags %v gets %v, want %v", client, flags, got.Addr(), want.Addr())
			}
		}
	}
}
