package sysctl

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Kernel is a Linux release by its first two numbers. The zero value means unknown. Kernels are comparable.
type Kernel struct{ Major, Minor int }

// ParseKernel reads the first two numbers of a release such as "6.12.43+deb13-amd64".
//
// The error matches fs.ErrInvalid.
func ParseKernel(s string) (Kernel, error) {
	major, rest, ok := strings.Cut(strings.TrimSpace(s), ".")
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(rest[:end], 10, 16)
	if !ok || errA != nil || errB != nil || a == 0 {
		return Kernel{}, fmt.Errorf("sysctl: %q is no kernel release: %w", s, fs.ErrInvalid)
	}
	return Kernel{int(a), int(b)}, nil
}

// String returns "6.12", or "unknown" for the zero value.
func (k Kernel) String() string {
	if k == (Kernel{}) {
		return "unknown"
	}
	return strconv.Itoa(k.Major) + "." + strconv.Itoa(k.Minor)
}

// Before says whether k is older than other. Nothing is known about the zero value: false.
func (k Kernel) Before(other Kernel) bool {
	if k == (Kernel{}) || other == (Kernel{}) {
		return false
	}
	return k.Major < other.Major || k.Major == other.Major && k.Minor < other.Minor
}
