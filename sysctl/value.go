package sysctl

import (
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Kind says what the text of a parameter means.
type Kind uint8

// Kinds.
const (
	Text    Kind = iota // anything
	Int                 // decimal number
	Bool                // 0 or 1; the kernel takes any number and asks whether it is 0
	Seconds             // whole seconds, which the kernel multiplies by its tick rate
	Defence             // 0 off, 1 automatic (reads 2 while active), 3 always
	CPUs                // list of CPUs: 0-3,8
)

// String returns the kind's name in lower case, or "kind(N)".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

var kindNames = [...]string{Text: "text", Int: "int", Bool: "bool", Seconds: "seconds", Defence: "defence", CPUs: "cpus"}

// maxSeconds is what every tick rate up to 1000 Hz can hold: 2147483647 ticks. A kernel with 250 Hz takes four times as
// much, observed on Linux 6.1 and 6.12.
const maxSeconds = math.MaxInt32 / 1000

// maxValue is the largest value that sysctl.d(5) implementations write.
const maxValue = 4096

// ValueError is the error of a value that was refused before it was written. It matches fs.ErrInvalid.
type ValueError struct {
	Key    Key
	Value  string
	Reason string // with the accepted range
}

// Error names the key, the value and the accepted range.
func (e *ValueError) Error() string {
	return fmt.Sprintf("sysctl: %v: value %q: %s", e.Key, e.Value, e.Reason)
}

// Is matches fs.ErrInvalid.
func (e *ValueError) Is(target error) bool { return target == fs.ErrInvalid }

// Check returns a [*ValueError] unless the library would write value to the parameter key: numbers in decimal, as many
// as the parameter has, in the range of [Tunable]. A t that says nothing about values accepts any single line of at
// most 4096 bytes.
func (t Tunable) check(key Key, value string) error {
	bad := func(format string, args ...any) error {
		return &ValueError{Key: key, Value: value, Reason: fmt.Sprintf(format, args...)}
	}
	if len(value) > maxValue {
		return bad("longer than %d bytes", maxValue)
	}
	if strings.ContainsAny(value, "\n\x00\r") {
		return bad("more than one line")
	}
	switch t.Kind {
	case Text:
		if strings.TrimSpace(value) == "" && t.Key == "" {
			return bad("empty")
		}
		return nil
	case CPUs:
		if _, err := cpus(value); err != nil {
			return bad("%v", err)
		}
		return nil
	}
	fields := strings.Fields(value)
	if len(fields) != t.count() {
		return bad("%d values, want %d, each %s", len(fields), t.count(), t.rangeText())
	}
	numbers := make([]*big.Int, len(fields))
	for i, field := range fields {
		n, ok := number(field)
		if !ok {
			return bad("%q is not a decimal number, want %s", field, t.rangeText())
		}
		if n.Cmp(big.NewInt(t.Min)) < 0 || n.Cmp(new(big.Int).SetUint64(t.Max)) > 0 {
			return bad("out of range, want %s", t.rangeText())
		}
		numbers[i] = n
	}
	if t.Kind == Defence && numbers[0].Int64() == 2 {
		return bad("2 is what the kernel reports while 1 is active, want 0, 1 or 3")
	}
	if t.rule != nil {
		if reason := t.rule(numbers); reason != "" {
			return bad("%s", reason)
		}
	}
	return nil
}

// number reads a decimal number in the only spelling that the library writes: no sign but a minus, no leading zero,
// which the kernel would take for octal.
func number(s string) (*big.Int, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] == '0' && s != "0" || strings.TrimLeft(digits, "0123456789") != "" || len(digits) > 20 {
		return nil, false
	}
	return new(big.Int).SetString(s, 10)
}

// The parameters with a rule beyond a range.

func powerOfTwo(n []*big.Int) string {
	if v := n[0].Int64(); v&(v-1) != 0 {
		return "not a power of two"
	}
	return ""
}

func syncThreshold(n []*big.Int) string {
	if n[1].Sign() != 0 && n[0].Cmp(n[1]) >= 0 {
		return "the threshold must be below the period, unless the period is 0"
	}
	return ""
}

func ascending(n []*big.Int) string {
	if !slices.IsSortedFunc(n, (*big.Int).Cmp) {
		return "the values must not fall"
	}
	return ""
}

// Same says whether two texts of the parameter key mean the same: blanks do not count, numbers are compared as
// numbers, lists of CPUs as sets, a defence that is active now (2) is one that is automatic (1).
func Same(key Key, a, b string) bool {
	t, _ := Lookup(key)
	switch t.Kind {
	case CPUs:
		setA, errA := cpus(a)
		setB, errB := cpus(b)
		if errA == nil && errB == nil {
			return slices.Equal(setA, setB)
		}
	case Defence:
		a, b = automatic(a), automatic(b)
	}
	fieldsA, fieldsB := strings.Fields(a), strings.Fields(b)
	return slices.EqualFunc(fieldsA, fieldsB, func(x, y string) bool {
		if x == y {
			return true
		}
		nx, okX := number(x)
		ny, okY := number(y)
		return okX && okY && nx.Cmp(ny) == 0
	})
}

func automatic(s string) string {
	if strings.TrimSpace(s) == "2" {
		return "1"
	}
	return s
}

// took says whether have, read back, is what the kernel makes of want. Some parameters are rounded up.
func took(key Key, want, have string) bool {
	if Same(key, want, have) {
		return true
	}
	w, okW := number(strings.TrimSpace(want))
	h, okH := number(strings.TrimSpace(have))
	if !okW || !okH || w.Cmp(h) > 0 || w.Sign() <= 0 {
		return false
	}
	switch key {
	case "net/core/rps_sock_flow_entries":
		return new(big.Int).Lsh(w, 1).Cmp(h) > 0 // to a power of two
	case "net/netfilter/nf_conntrack_buckets":
		return new(big.Int).Sub(h, w).Cmp(big.NewInt(int64(os.Getpagesize()/bytesPerBucket))) < 0 // to whole pages
	}
	return false
}

// bytesPerBucket is the size of a bucket of the connection tracking table on 64-bit kernels.
const bytesPerBucket = 8

// maxCPU bounds lists of CPUs; kernels are built for at most 8192.
const maxCPU = 8192

// cpus reads a list of CPUs in the notation of the kernel, 0-3,8 or 0-31:2/4; blanks separate as well. The result is
// sorted, without repetition, and not nil.
func cpus(s string) ([]int, error) {
	set := []int{}
	for item := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		span, stride, strided := strings.Cut(item, ":")
		first, last, ranged := strings.Cut(span, "-")
		if !ranged {
			last = first
		}
		used, group := "1", "1"
		if strided {
			var ok bool
			if used, group, ok = strings.Cut(stride, "/"); !ok || !ranged {
				return nil, fmt.Errorf("%q is not a list of CPUs like 0-3,8", item)
			}
		}
		var n [4]int
		for i, text := range [...]string{first, last, used, group} {
			v, err := strconv.ParseUint(text, 10, 16)
			if err != nil || v >= maxCPU {
				return nil, fmt.Errorf("%q is not a list of CPUs like 0-3,8, each below %d", item, maxCPU)
			}
			n[i] = int(v)
		}
		if n[0] > n[1] || n[3] == 0 || n[2] > n[3] || n[2] == 0 {
			return nil, fmt.Errorf("%q is not a list of CPUs: the range is empty", item)
		}
		for cpu := n[0]; cpu <= n[1]; cpu++ {
			if (cpu-n[0])%n[3] < n[2] {
				set = append(set, cpu)
			}
		}
	}
	slices.Sort(set)
	return slices.Compact(set), nil
}
