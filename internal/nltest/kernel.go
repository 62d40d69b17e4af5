// Package nltest is an IPVS kernel in memory. It speaks the generic netlink protocol of Linux 6.1 and 6.12 byte for byte, so
// that the client library and the programs above it can be tested, and tried, without privileges and without Linux.
//
//	k, err := nltest.New(nil)
//	…
//	defer k.Close()
//	conn, err := k.Namespace("").Dial() // a *genetlink.Conn like any other
//
// It has its own constants and its own encoder and decoder, none shared with the client, so that a mistake in either shows.
//
// # Sockets
//
// A socket is one end of a Unix socket pair that keeps message boundaries. Requests are executed inside the call that sends
// them and their answers are readable when it returns, as on Linux; this holds for the methods of the netlink connection and
// for system calls made through its SyscallConn, which is watched for that purpose. A program that takes the descriptor
// elsewhere is not served. There is no goroutine: nothing runs between calls.
//
// Some things cannot be seen or done from outside a socket, and need the netlink connection's own methods: options
// (NETLINK_CAP_ACK and NETLINK_EXT_ACK through SetOption) and buffers beyond the system's limits (SetReadBuffer and
// SetWriteBuffer). EMSGSIZE for a request larger than the send buffer less 32 bytes comes from the socket pair itself on
// Linux. ENOBUFS reaches a SyscallConn reader on Linux through a descriptor of a netlink socket that really overflowed, for
// that one call; where none can be made, and on other systems, SyscallConn's Read returns ENOBUFS itself. The size of the
// caller's receive buffer, which the size of dump chunks follows, is not visible: see [ReceiveBuffer]. Linux makes the next
// chunk of a dump in every receive call, also in one that only peeks. Here the methods of the netlink connection count as the
// two calls that they are on Linux; of a program's own system calls only those that take a datagram are noticed, when the
// function that it gave to SyscallConn's Read has returned.
//
// # Time
//
// A kernel has one clock, which stands still until [Kernel.Advance] moves it. Inside a testing/synctest bubble every exchange
// completes without blocking, so that virtual time runs as expected; a read that waits for an answer that never comes is a
// blocked system call, which holds a bubble's clock, and socket deadlines there count down in real time.
//
// # Concurrency
//
// All types are safe for concurrent use. Callbacks given to [AfterChunk] run without the kernel's lock and may use the kernel.
package nltest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// A Config describes an in-memory kernel. The zero value is a Linux 6.12 with everything at its default.
type Config struct {
	// Version is the kernel that is copied, "6.1" or "6.12"; empty means 6.12.
	Version string

	// HashKey is the constant that, on a real kernel, differs from boot to boot and decides the order in which services are
	// listed. Only its low 8 bits matter.
	HashKey uint32

	// ConnTabBits is the binary logarithm of the connection table's size, 8 to 27; 0 means 12.
	ConnTabBits int

	// Schedulers are the schedulers that a service can have; nil means those of the version. "none" is always known.
	Schedulers []string

	// Engines are the known persistence engines; nil means "sip".
	Engines []string

	// FamilyID is the number of the IPVS family, at least 17; 0 means 32 on 6.1 and 34 on 6.12, as on the kernels that were
	// looked at.
	FamilyID uint16

	// NoModule makes a kernel that has no IPVS: looking up the family gives ENOENT.
	NoModule bool

	// NoIPv6 makes a kernel without IPv6: services of that family give EAFNOSUPPORT.
	NoIPv6 bool

	// CPUs is the number of possible CPUs in ip_vs_stats_percpu; 0 means 1.
	CPUs int

	// Start is what the clock shows first; zero means the start of the year 2000, UTC.
	Start time.Time

	// RealTime makes the clock follow real time from Start on. Timers run when the kernel is next used.
	RealTime bool

	// DataPath carries packets; nil means that none flow.
	DataPath DataPath

	// LogSize is the number of requests that are remembered, the oldest being dropped first; 0 means 16384.
	LogSize int
}

// versionFacts are the ways in which the kernels differ.
type versionFacts struct {
	family      uint16
	ackCost     int    // bytes of receive buffer that a small answer takes
	dumpOnly    uint32 // operation flags of GET_DEST and GET_DAEMON
	permFirst   bool   // without privilege, EPERM before the check of do against dump
	sampleAtAll bool   // one estimator timer for a whole namespace
	schedulers  []string
}

var commonSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}

// facts returns what distinguishes a version.
func facts(version string) (versionFacts, error) {
	switch version {
	case "6.1":
		return versionFacts{
			family: 32, ackCost: 768, dumpOnly: opAdmin | opDump | opPolicy, permFirst: true, sampleAtAll: true,
			schedulers: commonSchedulers,
		}, nil
	case "6.12":
		return versionFacts{
			family: 34, ackCost: 896, dumpOnly: opAdmin | opDump,
			schedulers: append(slices.Clip(commonSchedulers), "twos"),
		}, nil
	}
	return versionFacts{}, fmt.Errorf("nltest: unknown kernel version %q", version)
}

// A Kernel is an IPVS kernel in memory.
type Kernel struct {
	mu    sync.Mutex // guards everything below and in all namespaces, sessions and faults
	cfg   Config     // with defaults filled in
	facts versionFacts
	path  DataPath

	now      time.Time
	start    time.Time // the clock's reading at the instant real
	real     time.Time
	timers   schedule
	timerSeq uint64

	family     uint16 // current id of the IPVS family
	nextFamily uint16
	loaded     bool            // the module is in
	modules    map[string]bool // schedulers that were used

	namespaces map[string]*Namespace
	sessions   map[*session]struct{}
	nextPort   uint32

	faults   []*Injection
	log      []Request
	sendings uint64
	closed   bool
}

// New returns a kernel with empty tables. A nil cfg means defaults. The only errors are values out of range.
func New(cfg *Config) (*Kernel, error) {
	k := &Kernel{namespaces: make(map[string]*Namespace), modules: make(map[string]bool), sessions: make(map[*session]struct{}), nextPort: 1 << 12}
	if cfg != nil {
		k.cfg = *cfg
	}
	if err := k.configure(); err != nil {
		return nil, err
	}
	k.start, k.real = k.cfg.Start, time.Now()
	if !k.cfg.RealTime {
		k.real = time.Time{}
	}
	k.now = k.start
	k.path = k.cfg.DataPath
	if k.path == nil {
		k.path = manual{}
	}
	if s, ok := k.path.(*Simulated); ok {
		if err := s.begin(k.now); err != nil {
			return nil, err
		}
	}
	k.family, k.nextFamily, k.loaded = k.cfg.FamilyID, k.cfg.FamilyID+1, !k.cfg.NoModule
	return k, nil
}

// configure checks the configuration and fills in defaults.
func (k *Kernel) configure() error {
	c := &k.cfg
	if c.Version == "" {
		c.Version = "6.12"
	}
	f, err := facts(c.Version)
	if err != nil {
		return err
	}
	k.facts = f
	if c.ConnTabBits == 0 {
		c.ConnTabBits = 12
	}
	if c.ConnTabBits < 8 || c.ConnTabBits > 27 {
		return fmt.Errorf("nltest: ConnTabBits %d is not between 8 and 27", c.ConnTabBits)
	}
	if c.FamilyID == 0 {
		c.FamilyID = f.family
	}
	if c.FamilyID <= typeControl || c.FamilyID > 1023 {
		return fmt.Errorf("nltest: FamilyID %d is not between 17 and 1023", c.FamilyID)
	}
	if c.Schedulers == nil {
		c.Schedulers = f.schedulers
	}
	if c.Engines == nil {
		c.Engines = []string{"sip"}
	}
	if c.CPUs < 0 || c.LogSize < 0 {
		return errors.New("nltest: a negative number in Config")
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.LogSize == 0 {
		c.LogSize = 1 << 14
	}
	if c.Start.IsZero() {
		c.Start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return nil
}

// Close closes all sockets, which unblocks whoever reads from them, and ends the kernel. Dial fails from then on. Closing
// again does nothing.
func (k *Kernel) Close() error {
	k.lock()
	k.closed = true
	var open []*session
	for s := range k.sessions {
		open = append(open, s)
	}
	k.mu.Unlock()
	var errs []error
	for _, s := range open {
		if s.transport != nil {
			errs = append(errs, s.transport.Close())
		}
	}
	return errors.Join(errs...)
}

// UnloadModule takes the IPVS module out: all tables of all namespaces are gone, and requests with the old family id give
// ENOENT. Looking the family up by name loads the module again, with another id, unless the kernel has none.
func (k *Kernel) UnloadModule() {
	k.lock()
	defer k.mu.Unlock()
	k.loaded = false
	clear(k.modules)
	for _, ns := range k.namespaces {
		ns.clear()
	}
}

// ReloadModule is an unload followed by a load; tables are empty and the family has another id afterwards.
func (k *Kernel) ReloadModule() {
	k.UnloadModule()
	k.lock()
	defer k.mu.Unlock()
	k.autoload()
}

// autoload brings the module in if it is out and the kernel has one.
func (k *Kernel) autoload() {
	if k.loaded || k.cfg.NoModule {
		return
	}
	k.loaded, k.family = true, k.nextFamily
	k.nextFamily++
	for _, ns := range k.namespaces {
		ns.begin()
	}
}

// FamilyID returns the present number of the IPVS family, or fs.ErrNotExist while the module is out.
func (k *Kernel) FamilyID() (uint16, error) {
	k.lock()
	defer k.mu.Unlock()
	if !k.loaded {
		return 0, fmt.Errorf("nltest: IPVS is not loaded: %w", fs.ErrNotExist)
	}
	return k.family, nil
}
