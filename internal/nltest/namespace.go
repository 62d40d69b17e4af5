package nltest

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/sched/sim"
)

// A Namespace is a network namespace of a kernel. It has its own services, timeouts, daemons, total statistics, devices
// and addresses.
type Namespace struct {
	k    *Kernel
	name string

	// tables hold the services by bucket, first those with an address, then those with a mark; the newest is last.
	tables   [2][256][]*service
	timeouts [3]uint32 // TCP, TCP FIN, UDP in seconds
	daemons  [2]*daemon
	trash    []*dest // in the order of their deletion
	look     *timer  // at the trash
	total    *object
	cpus     []Counters
	estimate bool      // the sysctl run_estimation
	epoch    time.Time // from which 6.1 counts its visits

	tunables   *sim.Director     // for its sysctls, of a kernel without a simulated data path
	unmodelled map[string]string // sysctls with values that it has no model of

	devices []*device
	routed  bool // a device with an IPv4 address has been up
	conns   []Connection
}

// Namespace returns the namespace with the given name and makes it if there is none. The initial namespace has the empty
// name. A new one has the device lo, up, with 127.0.0.1/8 and ::1/128, MTU 65536.
func (k *Kernel) Namespace(name string) *Namespace {
	k.lock()
	defer k.mu.Unlock()
	return k.namespace(name)
}

// Name returns the namespace's name.
func (ns *Namespace) Name() string { return ns.name }

func (k *Kernel) namespace(name string) *Namespace {
	if ns := k.namespaces[name]; ns != nil {
		return ns
	}
	ns := &Namespace{k: k, name: name}
	ns.look = newTimer(ns.lookAtTrash)
	ns.devices, ns.routed = loopback(), true
	ns.begin()
	k.namespaces[name] = ns
	return ns
}

// Bare brings the devices of a namespace into the state in which Linux makes one: there is lo only, down, and no device
// has ever been up with an IPv4 address.
func (ns *Namespace) Bare() {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	ns.devices, ns.routed = loopback(), false
	ns.devices[0].up = false
}

// loopback returns the devices of a new namespace.
func loopback() []*device {
	return []*device{{name: "lo", up: true, mtu: 65536, prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}}}
}

var defaultTimeouts = [3]uint32{900, 120, 300}

// begin sets up what the module keeps for a namespace.
func (ns *Namespace) begin() {
	ns.timeouts = defaultTimeouts
	ns.estimate = true
	ns.epoch = ns.k.now
	ns.cpus = make([]Counters, ns.k.cfg.CPUs)
	ns.total = ns.newObject(func() Counters { return ns.k.path.Counters(ns.name, ServiceID{}, netip.AddrPort{}) })
	ns.startEstimator(ns.total)
	ns.tunables, ns.unmodelled = nil, nil
}

// clear drops everything that the module keeps.
func (ns *Namespace) clear() {
	for t := range ns.tables {
		for b := range ns.tables[t] {
			for _, s := range ns.tables[t][b] {
				for _, d := range s.dests {
					ns.stopEstimator(d.object)
				}
				ns.stopEstimator(s.object)
			}
			ns.tables[t][b] = nil
		}
	}
	ns.k.disarm(ns.look)
	ns.trash, ns.daemons, ns.conns = nil, [2]*daemon{}, nil
	ns.stopEstimator(ns.total)
	ns.k.path.Cleared(ns.name)
}

// An object is something that has statistics.
type object struct {
	stats
	visit  *timer
	source func() Counters // counted by the data path
	extra  Counters        // counted without it: by the test, or before the state was loaded
}

func (ns *Namespace) newObject(source func() Counters) *object {
	o := &object{source: source}
	o.visit = newTimer(func() {
		if ns.estimate {
			o.refresh()
			o.stats.visit()
		}
		ns.k.arm(o.visit, o.visit.at.Add(sampleEvery*time.Second))
	})
	return o
}

// refresh finds out what has been counted up to now.
func (o *object) refresh() { o.live = o.source().Add(o.extra) }

// startEstimator has o visited every two seconds: on 6.1 at the instants of its namespace, on 6.12 from now on.
func (ns *Namespace) startEstimator(o *object) {
	at := ns.k.now.Add(sampleEvery * time.Second)
	if ns.k.facts.sampleAtAll {
		at = at.Add(-(ns.k.now.Sub(ns.epoch) % (sampleEvery * time.Second)))
	}
	ns.k.arm(o.visit, at)
}

func (ns *Namespace) stopEstimator(o *object) { ns.k.disarm(o.visit) }

// Count adds c to what has been counted for the destination dst of the service svc, for the service and for the namespace,
// on the first CPU. With an invalid dst only the service and the namespace count; with a zero svc too, the namespace. The
// error is fs.ErrNotExist if there is no such object. Readers see it when the estimator comes by, see [Kernel.Advance].
func (ns *Namespace) Count(svc ServiceID, dst netip.AddrPort, c Counters) error {
	return ns.CountOn(0, svc, dst, c)
}

// CountOn is like [Namespace.Count] on a given CPU, from 0 to [Config.CPUs] − 1.
func (ns *Namespace) CountOn(cpu int, svc ServiceID, dst netip.AddrPort, c Counters) error {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	if cpu < 0 || cpu >= len(ns.cpus) {
		return fmt.Errorf("nltest: no CPU %d: %w", cpu, fs.ErrNotExist)
	}
	objects := []*object{ns.total}
	if svc != (ServiceID{}) {
		s := ns.find(svc.key())
		if s == nil {
			return fmt.Errorf("nltest: no service %+v: %w", svc, fs.ErrNotExist)
		}
		objects = append(objects, s.object)
		if dst.IsValid() {
			d := s.byKey[destKeyOf(dst)]
			if d == nil {
				return fmt.Errorf("nltest: no destination %v: %w", dst, fs.ErrNotExist)
			}
			objects = append(objects, d.object)
		}
	}
	for _, o := range objects {
		o.extra = o.extra.Add(c)
	}
	ns.cpus[cpu] = ns.cpus[cpu].Add(c)
	return nil
}

// SetConns sets the connections that refer to the destination dst of the service svc, besides those of the data path. A
// destination in the trash is found too, if no live one has that identity. The error is fs.ErrNotExist if there is none.
func (ns *Namespace) SetConns(svc ServiceID, dst netip.AddrPort, c Conns) error {
	ns.k.lock()
	defer ns.k.mu.Unlock()
	if s := ns.find(svc.key()); s != nil {
		if d := s.byKey[destKeyOf(dst)]; d != nil {
			d.conns = c
			return nil
		}
	}
	for _, d := range ns.trash {
		if d.svc.key() == svc.key() && d.key() == destKeyOf(dst) {
			d.conns = c
			return nil
		}
	}
	return fmt.Errorf("nltest: no destination %v of %+v: %w", dst, svc, fs.ErrNotExist)
}

// SetConnections sets the rows of /proc/net/ip_vs_conn and ip_vs_conn_sync that follow those of the data path. The error
// is fs.ErrInvalid for a row without an address.
func (ns *Namespace) SetConnections(rows []Connection) error {
	for i, c := range rows {
		if !c.Client.IsValid() || !c.Dest.IsValid() || !c.Virtual.IsValid() && c.Mark == 0 {
			return fmt.Errorf("nltest: connection %d lacks an address: %w", i, fs.ErrInvalid)
		}
	}
	ns.k.lock()
	defer ns.k.mu.Unlock()
	ns.conns = slices.Clone(rows)
	return nil
}

// connsOf returns the connections that refer to d.
func (ns *Namespace) connsOf(d *dest) Conns {
	return ns.k.path.Conns(ns.name, d.svc.id(), d.addrPort()).add(d.conns)
}

// changed tells the data path.
func (ns *Namespace) changed(kind ChangeKind, s *service, d *dest) {
	c := Change{Kind: kind, Namespace: ns.name, Timeouts: Timeouts{
		TCP: time.Duration(ns.timeouts[0]) * time.Second, TCPFIN: time.Duration(ns.timeouts[1]) * time.Second,
		UDP: time.Duration(ns.timeouts[2]) * time.Second,
	}}
	if s != nil {
		c.Service = s.config()
	}
	if d != nil {
		c.Dest = d.config()
	}
	ns.k.path.Changed(c)
}
