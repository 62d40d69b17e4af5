package sched

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// fold makes 32 bits of an address: an IPv4 address as a number, or the exclusive or of the four words of an IPv6
// one.
func fold(a netip.Addr) uint32 {
	if a.Is4() || a.Is4In6() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	return uint32(hi>>32) ^ uint32(hi) ^ uint32(lo>>32) ^ uint32(lo)
}

// hash32 is multiplicative hashing by the golden ratio to a number of bits.
func hash32(v uint32, bits int) uint32 { return v * 0x61C88647 >> uint32(32-bits) }

// hsiphash is SipHash-1-3 of a 32-bit number, cut to 32 bits, with the same 64-bit word as both halves of the key.
// Kernels of 32-bit machines use another function here.
func hsiphash(v uint32, key uint64) uint32 {
	v0 := 0x736f6d6570736575 ^ key
	v1 := 0x646f72616e646f6d ^ key
	v2 := 0x6c7967656e657261 ^ key
	v3 := 0x7465646279746573 ^ key
	b := 4<<56 | uint64(v)
	v3 ^= b
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= b
	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
