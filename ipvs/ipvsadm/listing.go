package ipvsadm

import "strconv"

// Subject is what a listing shows.
type Subject uint8

// Subjects.
const (
	Services    Subject = iota // services with their destinations
	Connections                // --connection
	Timeouts                   // --timeout
	Daemons                    // --daemon
)

// View chooses the columns of a listing.
type View uint8

// Views. When a command line asks for several, ipvsadm shows the first of Stats, Rate, Thresholds, PersistentConns and
// TunnelInfo. Of connections, PersistentConns shows persistence engines and their data, and the others change nothing.
const (
	Plain           View = iota
	Stats                // --stats: counters
	Rate                 // --rate: per second
	Thresholds           // --thresholds
	PersistentConns      // --persistent-conn: numbers of persistent connections
	TunnelInfo           // --tun-info: encapsulation
)

// Order is the order of services and of a service's destinations in a listing.
type Order uint8

// Orders.
const (
	// CompatibleOrder is ipvsadm's: services by mark, family, protocol, address and port, destinations by address and
	// port. Marks and addresses are compared by the sign of their difference in 32 bits, which puts 192.168.0.1 before
	// 10.0.0.1, and makes the order of three addresses that are far apart depend on the kernel's order.
	CompatibleOrder Order = iota

	// NumericOrder is by the same keys with true comparisons.
	NumericOrder

	// KernelOrder leaves the kernel's order (--nosort).
	KernelOrder
)

// Listing says what -L shows and how.
type Listing struct {
	Subject Subject
	View    View
	Order   Order

	// Numeric says that a person asked for numbers (-n). A Listing prints names only if it has a Resolver to ask, whatever
	// Numeric says.
	Numeric bool

	Exact bool // --exact: counters are not shortened
	JSON  bool // --json, which ipvsadm does not have
}

var subjectNames = [...]string{Services: "services", Connections: "connections", Timeouts: "timeouts", Daemons: "daemons"}

// String returns the name in lower case, or "subject(N)" for another value.
func (s Subject) String() string { return name(subjectNames[:], "subject", uint8(s)) }

var viewNames = [...]string{
	Plain: "plain", Stats: "stats", Rate: "rate", Thresholds: "thresholds", PersistentConns: "persistent-conn",
	TunnelInfo: "tun-info",
}

// String returns the option's name without its dashes, "plain", or "view(N)" for another value.
func (v View) String() string { return name(viewNames[:], "view", uint8(v)) }

var orderNames = [...]string{CompatibleOrder: "compatible", NumericOrder: "numeric", KernelOrder: "kernel"}

// String returns "compatible", "numeric", "kernel", or "order(N)" for another value.
func (o Order) String() string { return name(orderNames[:], "order", uint8(o)) }

func name(names []string, kind string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return kind + "(" + strconv.Itoa(int(n)) + ")"
}
