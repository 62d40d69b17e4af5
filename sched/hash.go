package sched

import (
	"encoding/binary"
	"math"
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
	b := 4<<56 | uint64(v)
	v0, v1, v2, v3 := sipRound(sip0^key, sip1^key, sip2^key, sip3^key^b)
	v0, v1, v2, v3 = sipRound(v0^b, v1, v2^0xff, v3)
	return sipLast(sipRound(v0, v1, v2, v3))
}

// Constants of SipHash.
const (
	sip0 = 0x736f6d6570736575
	sip1 = 0x646f72616e646f6d
	sip2 = 0x6c7967656e657261
	sip3 = 0x7465646279746573
)

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

// sipLast is another round and the exclusive or of its four words, as far as it decides on the lower 32 bits of that.
func sipLast(v0, v1, v2, v3 uint64) uint32 {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v2 += v1
	return uint32(bits.RotateLeft64(v1, 17) ^ v2 ^ v2>>32 ^ bits.RotateLeft64(v3, 21))
}

// remainder of a division by n without dividing: the upper half of a 128-bit product of n and the fraction that the
// division leaves. The inverse of n is 2^64 / n, rounded up.
func remainder(v, n uint32, inverse uint64) uint32 {
	r, _ := bits.Mul64(inverse*uint64(v), uint64(n))
	return uint32(r)
}

func inverse(n int) uint64 { return math.MaxUint64/uint64(n) + 1 }
