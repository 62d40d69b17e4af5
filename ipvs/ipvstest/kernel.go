package ipvstest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"

	"github.com/golvs/lvs/internal/nltest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched/sim"
)

// Config describes an in-memory kernel. The zero value, and a nil pointer to it, are a Linux 6.12 with all schedulers,
// whose clock stands still unless it is advanced.
type Config struct {
	// Version is the kernel to be like, "6.1" or "6.12". Empty means the latter.
	Version string

	// ConnTabBits is the binary logarithm of the connection table's size, 8 to 27. Zero means 12.
	ConnTabBits int

	// HashKey changes the order of the list of services, which differs from boot to boot in a real kernel.
	HashKey uint32

	// NoModule makes a kernel without IPVS.
	NoModule bool

	// RealTime makes the clock go by itself.
	RealTime bool
}

// Kernel is an IPVS kernel in memory. It is safe for concurrent use.
type Kernel struct{ k *nltest.Kernel }

// New returns a kernel with an empty table. The error matches [fs.ErrInvalid] if cfg is out of range.
func New(cfg *Config) (*Kernel, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	k, err := nltest.New(&nltest.Config{
		Version: cfg.Version, ConnTabBits: cfg.ConnTabBits, HashKey: cfg.HashKey, NoModule: cfg.NoModule, RealTime: cfg.RealTime,
		DataPath: nltest.NewSimulated(&sim.Config{Rand: rand.New(rand.NewPCG(1, 2)).Uint32, RememberClients: true}),
	})
	if err != nil {
		return nil, err
	}
	return &Kernel{k}, nil
}

// Start returns a kernel and a client of its initial namespace for the time of a test.
func Start(t testing.TB, cfg *Config) (*Kernel, *ipvs.Client) {
	t.Helper()
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	c, err := k.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return k, c
}

// Close ends the kernel. Calls of clients that are under way return.
func (k *Kernel) Close() error { return k.k.Close() }

// Client returns a client of the initial namespace.
func (k *Kernel) Client() (*ipvs.Client, error) { return k.Namespace("").Client() }

// Namespace returns the network namespace of a name, and makes it if there is none; the empty name is the initial one.
// A namespace starts with the device lo, up, with 127.0.0.1/8 and ::1/128.
func (k *Kernel) Namespace(name string) *Namespace { return &Namespace{k.k, k.k.Namespace(name)} }

// Now returns the kernel's time.
func (k *Kernel) Now() time.Time { return k.k.Now() }

// Advance moves the clock, which is that of connections and templates too; timers that become due on the way act in their
// order.
func (k *Kernel) Advance(d time.Duration) { k.k.Advance(d) }

// Save writes the kernel's state; see [Kernel.Load]. Connections and templates are not part of it, what they have counted is.
func (k *Kernel) Save(w io.Writer) error { return k.k.Save(w) }

// Load replaces the kernel's state, its version included, by one that [Kernel.Save] wrote. After an error nothing has
// changed.
func (k *Kernel) Load(r io.Reader) error { return k.k.Load(r) }

// ReloadModule unloads the module and loads it again: all tables are empty afterwards, and clients have to look the
// family up anew.
func (k *Kernel) ReloadModule() { k.k.ReloadModule() }

// Fault makes the kernel misbehave towards some requests.
type Fault struct {
	// Op is the operation, as in the field Op of [ipvs.OpError]; empty means every one.
	Op string

	// Nth is which of these requests is affected, counted from 1 after the injection; 0 means all of them.
	Nth int

	// What happens is one of the following; the zero values mean that the request is never answered and not executed.

	// Errno is answered instead of executing the request, a Linux number.
	Errno syscall.Errno

	// Lost has the request executed and its answer lost, as when a socket's buffer is full.
	Lost bool

	// MidDump is called when the first part of a list was taken by the client, before the kernel goes on, and can
	// change the table. It must not use the same client.
	MidDump func()
}

// Inject adds a fault, and returns a function that removes it. The error matches [fs.ErrInvalid] if no operation has
// that name.
func (k *Kernel) Inject(f Fault) (remove func(), err error) {
	cmd, err := command(f.Op)
	if err != nil {
		return nil, err
	}
	effect := nltest.Ignore()
	switch {
	case f.Errno != 0:
		effect = nltest.Fail(nltest.Errno(f.Errno))
	case f.Lost:
		effect = nltest.NoBuffers()
	case f.MidDump != nil:
		effect = nltest.AfterChunk(1, f.MidDump)
	}
	return k.k.Inject(nltest.Fault{Command: cmd, Nth: f.Nth, Effect: effect}).Remove, nil
}

// The operations of ipvs.OpError, by the command that they send. "get service" and "list services" share one, as do
// "zero service" and "zero all".
var operations = []struct {
	name string
	cmd  nltest.Command
}{
	{"", nltest.AnyCommand},
	{"add service", nltest.NewService},
	{"set service", nltest.SetService},
	{"delete service", nltest.DelService},
	{"list services", nltest.GetService},
	{"get service", nltest.GetService},
	{"add destination", nltest.NewDest},
	{"set destination", nltest.SetDest},
	{"delete destination", nltest.DelDest},
	{"list destinations", nltest.GetDest},
	{"get destination", nltest.GetDest},
	{"start daemon", nltest.NewDaemon},
	{"stop daemon", nltest.DelDaemon},
	{"list daemons", nltest.GetDaemon},
	{"set timeouts", nltest.SetConfig},
	{"get timeouts", nltest.GetConfig},
	{"get info", nltest.GetInfo},
	{"zero all", nltest.Zero},
	{"zero service", nltest.Zero},
	{"flush", nltest.FlushServices},
}

func command(op string) (nltest.Command, error) {
	for _, o := range operations {
		if o.name == op {
			return o.cmd, nil
		}
	}
	return 0, fmt.Errorf("ipvstest: no operation %q: %w", op, fs.ErrInvalid)
}

// Request is a message that a client sent to IPVS.
type Request struct {
	Op    string        // as in the field Op of ipvs.OpError; of several operations with one command the first
	Errno syscall.Errno // what was answered, a Linux number; 0 for success
}

// Requests returns what was sent so far by all clients in all namespaces, in order, up to the last 4096 or so. Lookups of
// the family are not among them.
func (k *Kernel) Requests() []Request {
	var list []Request
	id, _ := k.k.FamilyID()
	for _, r := range k.k.Requests() {
		if r.Type != id {
			continue
		}
		i := slices.IndexFunc(operations[1:], func(o struct {
			name string
			cmd  nltest.Command
		}) bool {
			return o.cmd == r.Command
		})
		op := r.Command.String()
		if i >= 0 {
			op = operations[i+1].name
		}
		list = append(list, Request{op, syscall.Errno(r.Errno)})
	}
	return list
}

// Namespace is a network namespace of a [Kernel]: its own services, timeouts, daemons, counters and devices.
type Namespace struct {
	k  *nltest.Kernel
	ns *nltest.Namespace
}

// A client of package ipvs receives with a buffer of this size, and the kernel cuts lists accordingly.
const receiveBuffer = 64 << 10

// Conn opens a netlink socket in the namespace.
func (n *Namespace) Conn() (*genetlink.Conn, error) {
	return n.ns.Dial(nltest.ReceiveBuffer(receiveBuffer))
}

// UnprivilegedConn opens a socket of a process that may not use IPVS.
func (n *Namespace) UnprivilegedConn() (*genetlink.Conn, error) {
	return n.ns.Dial(nltest.Unprivileged(), nltest.ReceiveBuffer(receiveBuffer))
}

// Client returns a client of the namespace that reads the namespace's files too.
func (n *Namespace) Client() (*ipvs.Client, error) {
	conn, err := n.Conn()
	if err != nil {
		return nil, err
	}
	c, err := ipvs.NewClient(conn, &ipvs.Config{Root: n.FS()})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// FS returns a tree with the namespace's IPVS files below proc/net, its sysctls below proc/sys/net/ipv4/vs, and
// proc/sys/kernel/osrelease. The tree has a method WriteFile(name string, data []byte, perm fs.FileMode) error, which writes
// a sysctl, so that it can be the Root of package sysctl's Config; what is written changes what happens to packets.
func (n *Namespace) FS() fs.FS { return n.ns.FS() }

// AddDevice adds a network device, up, with an MTU in bytes and addresses with the lengths of their networks.
func (n *Namespace) AddDevice(name string, mtu int, addrs ...netip.Prefix) error {
	if err := n.ns.AddDevice(name, mtu); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := n.ns.AddAddr(name, a); err != nil {
			return err
		}
	}
	return n.ns.SetLink(name, true)
}

// SetLink brings a device up or down.
func (n *Namespace) SetLink(name string, up bool) error { return n.ns.SetLink(name, up) }

// SetConns sets how many connections, active and inactive, and templates a destination has besides those of packets that
// were sent. Schedulers do not see them. The error matches [fs.ErrNotExist] if there is no such destination.
func (n *Namespace) SetConns(service ipvs.ServiceID, dest netip.AddrPort, active, inactive, persistent uint32) error {
	return n.ns.SetConns(identity(service), dest, nltest.Conns{Active: active, Inactive: inactive, Persistent: persistent})
}

// Count adds the counters of stats to those of a destination, its service and the namespace; rates in stats have no
// meaning. Readers see it when the estimator comes by, every two seconds of [Kernel.Advance]. The error matches
// [fs.ErrNotExist] if there is no such destination.
func (n *Namespace) Count(service ipvs.ServiceID, dest netip.AddrPort, stats ipvs.Stats) error {
	return n.ns.Count(identity(service), dest, nltest.Counters{
		Conns: stats.Connections, InPackets: stats.InPackets, OutPackets: stats.OutPackets, InBytes: stats.InBytes, OutBytes: stats.OutBytes,
	})
}

func identity(id ipvs.ServiceID) nltest.ServiceID {
	return nltest.ServiceID{
		Protocol: uint16(id.Protocol), Addr: id.Addr, Mark: id.FWMark, IPv6: id.IsMark() && id.Family == ipvs.IPv6,
	}
}
