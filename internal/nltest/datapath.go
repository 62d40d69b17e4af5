package nltest

import (
	"iter"
	"net/netip"
	"time"
)

// A DataPath is what carries packets behind an in-memory kernel: it picks destinations, holds connections and counts. The
// kernel calls it with its lock held, so a DataPath must not call back into the kernel.
//
// Without one ([Config.DataPath] nil) no packet ever flows. With or without, a test can add numbers of its own with
// [Namespace.Count], [Namespace.SetConns] and [Namespace.SetConnections].
type DataPath interface {
	// Changed is told of every change to the tables, after it took effect.
	Changed(Change)
	// Cleared is told that everything in a namespace is gone: tables, connections, counters, settings.
	Cleared(namespace string)
	// Advance moves the data path's clock. It is called before every estimator visit, so that the counters are right.
	Advance(now time.Time)
	// Conns returns the connections that refer to a destination.
	Conns(namespace string, svc ServiceID, dst netip.AddrPort) Conns
	// Held reports whether a removed destination is still referred to, by connections or by a scheduler's memory.
	Held(namespace string, svc ServiceID, dst netip.AddrPort) bool
	// Counters returns what has been counted: for a destination; for a service if dst is invalid; for the whole namespace
	// if svc is zero too. Counters never go back.
	Counters(namespace string, svc ServiceID, dst netip.AddrPort) Counters
	// CPUs returns the namespace's counters by possible CPU.
	CPUs(namespace string) []Counters
	// Connections yields the connection table, templates included, in the order of /proc/net/ip_vs_conn.
	Connections(namespace string) iter.Seq[Connection]
}

// A ChangeKind says what happened to a table.
type ChangeKind uint8

// Kinds of change.
const (
	ServiceAdded    ChangeKind = iota + 1
	ServiceEdited              // configuration changed, identity and destinations did not
	ServiceDeleted             // its destinations were deleted one by one before
	DestAdded                  // a new object
	DestRestored               // an object came back from the trash, with its counters
	DestEdited                 // configuration changed
	DestDeleted                // moved to the trash
	DestFreed                  // left the trash for good
	TimeoutsChanged            // of connections
)

// A Change is a change to a namespace's tables. Service and Dest are set where the kind concerns them.
type Change struct {
	Kind      ChangeKind
	Namespace string
	Service   Service
	Dest      Dest
	Timeouts  Timeouts
}

// A ServiceID is the identity of a virtual service: either protocol, address and port, or a firewall mark with a family.
type ServiceID struct {
	Protocol uint16         // IP protocol number
	Addr     netip.AddrPort // invalid for a mark
	Mark     uint32         // firewall mark; 0 for an address
	IPv6     bool           // family of a mark; of an address it follows from Addr
}

// A Service is the configuration of a virtual service as the kernel holds it.
type Service struct {
	ID        ServiceID
	Scheduler string
	Engine    string // persistence engine; empty for none
	Flags     uint32
	Timeout   time.Duration // of persistence
	Netmask   [4]byte       // as on the wire: an IPv4 mask in network order, or an IPv6 prefix length in host order
}

// A Dest is the configuration of a destination as the kernel holds it.
type Dest struct {
	Addr        netip.AddrPort
	Forward     uint8 // forwarding method, 0 to 7
	Weight      uint32
	Upper       uint32 // upper connection threshold, 0 for none
	Lower       uint32
	TunnelType  uint8
	TunnelPort  uint16
	TunnelFlags uint16
}

// Timeouts are the connection timeouts of a namespace; whole seconds.
type Timeouts struct {
	TCP    time.Duration
	TCPFIN time.Duration
	UDP    time.Duration
}

// Conns are the connections that refer to a destination.
type Conns struct {
	Active     uint32 `json:"active,omitempty"`
	Inactive   uint32 `json:"inactive,omitempty"`
	Persistent uint32 `json:"persistent,omitempty"` // templates
}

func (c Conns) add(d Conns) Conns {
	return Conns{c.Active + d.Active, c.Inactive + d.Inactive, c.Persistent + d.Persistent}
}

// inUse reports whether anything refers to the destination.
func (c Conns) inUse() bool { return c != Conns{} }

// manual is the data path of a kernel without one. Its numbers are in the kernel's own objects, put there by the test.
type manual struct{}

func (manual) Changed(Change)                                      {}
func (manual) Cleared(string)                                      {}
func (manual) Advance(time.Time)                                   {}
func (manual) Conns(string, ServiceID, netip.AddrPort) Conns       { return Conns{} }
func (manual) Held(string, ServiceID, netip.AddrPort) bool         { return false }
func (manual) Counters(string, ServiceID, netip.AddrPort) Counters { return Counters{} }
func (manual) CPUs(string) []Counters                              { return nil }
func (manual) Connections(string) iter.Seq[Connection]             { return func(func(Connection) bool) {} }
