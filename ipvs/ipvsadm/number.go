package ipvsadm

import (
	"math"
	"net/netip"
	"strings"
)

// The C library's blanks.
const blanks = " \t\n\v\f\r"

// leadingNumber reads a decimal number with optional blanks and sign before it, and returns what follows it. A number
// that does not fit is the largest or smallest; no digits at all are not ok.
func leadingNumber(s string) (n int64, rest string, ok bool) {
	if s != "" && s[0] <= ' ' {
		s = strings.TrimLeft(s, blanks)
	}
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	i := 0
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		d := int64(s[i] - '0')
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
	}
	if negative {
		n = -n
	}
	return n, s[i:], i > 0
}

// number reads a decimal number in a range and nothing else.
func number(s string, low, high int64) (int64, bool) {
	n, rest, ok := leadingNumber(s)
	return n, ok && rest == "" && low <= n && n <= high
}

// parseIPv4 reads an IPv4 address in each form of the C library's inet_aton: one to four parts, each decimal, octal or
// hexadecimal, the last one filling what is left of the 32 bits. What follows a blank does not count.
func parseIPv4(s string) (netip.Addr, bool) {
	if i := strings.IndexAny(s, blanks); i >= 0 {
		s = s[:i]
	}
	var v uint64
	for i := range 4 {
		part, rest, more := strings.Cut(s, ".")
		n, ok := parseCNumber(part)
		room := uint64(0xff)
		if !more {
			room = 0xffffffff >> (8 * i)
		}
		if !ok || n > room || more && i == 3 {
			return netip.Addr{}, false
		}
		if !more {
			v |= n
			break
		}
		v |= n << (24 - 8*i)
		s = rest
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// parseCNumber reads digits as the C language does: 0x before hexadecimal, 0 before octal ones.
func parseCNumber(s string) (n uint64, ok bool) {
	base := uint64(10)
	switch {
	case len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x':
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	for i := range len(s) {
		d := uint64(99)
		switch c := s[i] | 0x20; {
		case '0' <= s[i] && s[i] <= '9':
			d = uint64(s[i] - '0')
		case 'a' <= c && c <= 'f':
			d = uint64(c-'a') + 10
		}
		if d >= base || n > 0xffffffff {
			return 0, false
		}
		n = n*base + d
	}
	return n, s != ""
}
