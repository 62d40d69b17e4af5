package sysctl

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Tunable describes a kernel parameter: what it is, what may be written, and where it exists.
type Tunable struct {
	// Key is the parameter. A component * stands for an interface, "all" or "default".
	Key Key

	// Kind says how the text is to be read.
	Kind Kind

	// Fields is the number of values in the text; zero means one.
	Fields int

	// Min and Max are the range of each value that this library writes, where Kind is a number. The kernel often takes
	// more, such as any 32-bit number for a switch.
	Min int64
	Max uint64

	// Unit is the unit of the values, empty for a pure number.
	Unit string

	// Default is the value in a fresh namespace of the newest kernel tested, observed on Linux 6.1 and 6.12. Empty if
	// it is computed from the machine or differs between them.
	Default string

	// Effect is one sentence about what it does.
	Effect string

	// Since is the first mainline release that has it, where that is known to matter. Releases before 5.10 are taken
	// from release history and were not run.
	Since Kernel

	// Gone is the first mainline release that no longer has it; zero if it still exists.
	Gone Kernel

	// Scope says what the value belongs to.
	Scope Scope

	// Module is the kernel module that brings the parameter, empty if it is always there.
	Module string

	// Privileged is set if the file is read-only in a network namespace that belongs to another user namespace than
	// the initial one.
	Privileged bool

	rule func([]*big.Int) string
}

// Scope says what a parameter's value belongs to.
type Scope uint8

// Scopes.
const (
	PerNamespace Scope = iota // each network namespace has its own
	InitOnly                  // exists in the initial network namespace only
	HostWide                  // one for the machine, seen and changed from every network namespace
)

// String returns "namespace", "initial namespace" or "host", or "scope(N)".
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return "scope(" + strconv.Itoa(int(s)) + ")"
}

var scopeNames = [...]string{PerNamespace: "namespace", InitOnly: "initial namespace", HostWide: "host"}

// Tunables returns the known parameters, sorted by key: those of IPVS, and those that its hosts, their manuals and
// tuning lists are about.
func Tunables() []Tunable { return slices.Clone(registry()) }

var registry = sync.OnceValue(func() []Tunable {
	all := slices.Concat(ipvsTunables(), hostTunables(), removedTunables())
	slices.SortFunc(all, func(a, b Tunable) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return all
})

// Lookup returns what is known about a parameter. Without knowledge, the result's Kind is [Text] and its Key empty, and
// any text is allowed.
func Lookup(key Key) (Tunable, bool) {
	for _, t := range registry() {
		if key.matches(t.Key) {
			return t, true
		}
	}
	return Tunable{}, false
}

// Check returns a [*ValueError] unless value may be written to the parameter: numbers in decimal, as many as it has,
// in range. It matches fs.ErrInvalid and names the range. Of an unknown parameter only a single line of at most 4096
// bytes is asked.
func Check(key Key, value string) error {
	t, _ := Lookup(key)
	return t.check(key, value)
}

func (t Tunable) count() int { return max(t.Fields, 1) }

// rangeText names the accepted range in messages and listings.
func (t Tunable) rangeText() string {
	switch t.Kind {
	case Bool:
		return "0 or 1"
	case Defence:
		return "0, 1 or 3"
	}
	return strconv.FormatInt(t.Min, 10) + " to " + strconv.FormatUint(t.Max, 10)
}

// Range returns the accepted values as text, such as "0 to 3", or what kind of text is wanted.
func (t Tunable) Range() string {
	switch t.Kind {
	case Text:
		return "text"
	case CPUs:
		return "list of CPUs"
	}
	if n := t.count(); n > 1 {
		return strconv.Itoa(n) + " values, each " + t.rangeText()
	}
	return t.rangeText()
}

// Rows of the registry.

func integer(key, def string, low int64, high uint64, effect string) Tunable {
	return Tunable{Key: Key(key), Kind: Int, Min: low, Max: high, Default: def, Effect: effect}
}

func boolean(key, def, effect string) Tunable {
	return Tunable{Key: Key(key), Kind: Bool, Max: 1, Default: def, Effect: effect}
}

func duration(key, def, effect string) Tunable {
	return Tunable{Key: Key(key), Kind: Seconds, Max: maxSeconds, Unit: "s", Default: def, Effect: effect}
}

func vector(key, def string, fields int, low int64, high uint64, effect string) Tunable {
	t := integer(key, def, low, high, effect)
	t.Fields = fields
	return t
}

func (t Tunable) unit(u string) Tunable                   { t.Unit = u; return t }
func (t Tunable) since(major, minor int) Tunable          { t.Since = Kernel{major, minor}; return t }
func (t Tunable) gone(major, minor int) Tunable           { t.Gone = Kernel{major, minor}; return t }
func (t Tunable) scope(s Scope) Tunable                   { t.Scope = s; return t }
func (t Tunable) module(m string) Tunable                 { t.Module = m; return t }
func (t Tunable) privileged() Tunable                     { t.Privileged = true; return t }
func (t Tunable) ruled(f func([]*big.Int) string) Tunable { t.rule = f; return t }

const maxInt = math.MaxInt32
