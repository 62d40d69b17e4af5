package nltest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/sched/sim"
)

// Simulated is a DataPath that really schedules: each namespace has a director of package sim behind its tables. Packets
// come in by [Kernel.Transmit]. Make one with NewSimulated for each kernel.
type Simulated struct {
	config     sim.Config
	begun      bool
	now        time.Time
	directors  map[string]*simulation
	unmodelled []error
}

// A simulation is a director whose clock began at a time of the kernel.
type simulation struct {
	*sim.Director
	start time.Time
}

func (s *simulation) advance(now time.Time) { s.Advance(now.Sub(s.start)) }

// NewSimulated returns a data path for one kernel, with directors of a configuration; nil means the defaults.
func NewSimulated(cfg *sim.Config) *Simulated {
	s := &Simulated{directors: make(map[string]*simulation)}
	if cfg != nil {
		s.config = *cfg
	}
	return s
}

// begin is called once, with the time at which the kernel's clock starts.
func (s *Simulated) begin(now time.Time) error {
	if s.begun {
		return errors.New("nltest: a simulated data path serves one kernel only")
	}
	s.now, s.begun = now, true
	return nil
}

// director returns the director of a namespace.
func (s *Simulated) director(namespace string) *sim.Director {
	d := s.directors[namespace]
	if d == nil {
		d = &simulation{sim.New(&s.config), s.now}
		s.directors[namespace] = d
	}
	return d.Director
}

// Transmit lets a packet into a namespace and returns what became of it. While the module is out, and under the sysctl
// backup_only beside a backup daemon, it passes. It fails if the kernel's data path is not a [Simulated].
func (k *Kernel) Transmit(namespace string, p sim.Packet) (sim.Result, error) {
	var r sim.Result
	err := k.Traffic(namespace, func(d *sim.Director) { r = d.Packet(p) })
	return r, err
}

// Traffic calls f, which lets packets through a director, as [Kernel.Simulate] does. It does not if IPVS takes none: while the
// module is out, and under the sysctl backup_only beside a backup daemon.
func (k *Kernel) Traffic(namespace string, f func(*sim.Director)) error {
	return k.Simulate(namespace, func(d *sim.Director) error {
		only, err := d.Sysctl("backup_only")
		if k.loaded && (err != nil || only == "0" || k.namespace(namespace).daemons[stateBackup-1] == nil) {
			f(d)
		}
		return nil
	})
}

// Simulate calls f with the director of a namespace, whose clock is the kernel's, for reports and the like. f must not call
// the kernel, change the director's services or sysctls, move its clock, or keep it. The error is that of f, or says that
// the kernel's data path is not a [Simulated].
func (k *Kernel) Simulate(namespace string, f func(*sim.Director) error) error {
	k.lock()
	defer k.mu.Unlock()
	s, ok := k.path.(*Simulated)
	if !ok {
		return errors.New("nltest: the kernel has no simulated data path")
	}
	return f(s.director(namespace))
}

// Unmodelled returns the changes that the kernel made and the simulation could not follow, such as a service of a protocol
// that no packet can have.
func (k *Kernel) Unmodelled() []error {
	k.lock()
	defer k.mu.Unlock()
	if s, ok := k.path.(*Simulated); ok {
		return slices.Clone(s.unmodelled)
	}
	return nil
}

// Changed follows a change of the tables.
func (s *Simulated) Changed(c Change) {
	d := s.director(c.Namespace)
	id, ok := simulatedID(c.Service.ID)
	var err error
	switch {
	case c.Kind == TimeoutsChanged:
		err = d.SetTimeouts(sim.Timeouts{TCP: c.Timeouts.TCP, TCPFin: c.Timeouts.TCPFIN, UDP: c.Timeouts.UDP})
	case !ok:
		err = errors.New("nltest: no simulation of protocol " + sim.Protocol(c.Service.ID.Protocol).String())
	case c.Kind == ServiceAdded:
		err = d.AddService(simulatedService(id, c.Service))
	case c.Kind == ServiceEdited:
		err = d.SetService(simulatedService(id, c.Service))
	case c.Kind == ServiceDeleted:
		err = d.DeleteService(id)
	case c.Kind == DestAdded, c.Kind == DestRestored:
		err = d.AddDest(id, simulatedDest(c.Dest))
	case c.Kind == DestEdited:
		err = d.SetDest(id, simulatedDest(c.Dest))
	case c.Kind == DestDeleted:
		err = d.DeleteDest(id, c.Dest.Addr)
	}
	if err != nil {
		s.unmodelled = append(s.unmodelled, err)
	}
}

// Cleared forgets a namespace.
func (s *Simulated) Cleared(namespace string) { delete(s.directors, namespace) }

// Advance moves all clocks.
func (s *Simulated) Advance(now time.Time) {
	s.now = now
	for _, d := range s.directors {
		d.advance(now)
	}
}

// Conns returns the connections of a destination, also of one in the trash.
func (s *Simulated) Conns(namespace string, svc ServiceID, dst netip.AddrPort) Conns {
	id, _ := simulatedID(svc)
	t, err := s.director(namespace).Dest(id, dst)
	if err != nil {
		return Conns{}
	}
	return Conns{Active: uint32(t.Active), Inactive: uint32(t.Inactive), Persistent: uint32(t.Persistent)}
}

// Held says whether the director would take a removed destination back.
func (s *Simulated) Held(namespace string, svc ServiceID, dst netip.AddrPort) bool {
	id, _ := simulatedID(svc)
	t, err := s.director(namespace).Dest(id, dst)
	return err == nil && t.Held
}

// Counters returns what was counted.
func (s *Simulated) Counters(namespace string, svc ServiceID, dst netip.AddrPort) Counters {
	d := s.director(namespace)
	id, _ := simulatedID(svc)
	switch {
	case dst.IsValid():
		t, err := d.Dest(id, dst)
		if err != nil {
			return Counters{}
		}
		return Counters(t.Stats.Counted)
	case svc == ServiceID{}:
		return Counters(d.Total().Counted)
	}
	t, err := d.Service(id)
	if err != nil {
		return Counters{}
	}
	return Counters(t.Stats.Counted)
}

// CPUs returns the counters of the first CPU, which does all the work.
func (s *Simulated) CPUs(namespace string) []Counters {
	return []Counters{Counters(s.director(namespace).Total().Counted)}
}

// Connections yields the connection table, by client.
func (s *Simulated) Connections(namespace string) iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		list := slices.SortedFunc(s.director(namespace).Conns(), func(a, b sim.Conn) int {
			return cmp.Or(a.Client.Compare(b.Client), a.Virtual.Compare(b.Virtual), cmp.Compare(a.Protocol, b.Protocol), a.Dest.Compare(b.Dest), cmp.Compare(a.Data, b.Data))
		})
		for _, c := range list {
			out := Connection{
				Protocol: uint8(c.Protocol), Client: c.Client, Virtual: c.Virtual, Dest: c.Dest, State: c.State, Expires: c.Expires,
				Engine: c.Engine, EngineData: c.Data,
			}
			if c.Template && c.Protocol == 0 {
				out.Mark = binary.BigEndian.Uint32(c.Virtual.Addr().AsSlice())
			}
			if !yield(out) {
				return
			}
		}
	}
}

// simulatedID returns false for a service that no packet can belong to.
func simulatedID(id ServiceID) (sim.ServiceID, bool) {
	if id.Mark != 0 {
		return sim.ServiceID{Mark: id.Mark, IPv6: id.IPv6}, true
	}
	return sim.ServiceID{Protocol: sim.Protocol(id.Protocol), Addr: id.Addr}, id.Protocol <= 255
}

func simulatedService(id sim.ServiceID, s Service) sim.Service {
	out := sim.Service{ID: id, Scheduler: s.Scheduler, Flags: sim.Flags(s.Flags), Timeout: s.Timeout, Engine: s.Engine}
	if s.ID.IPv6 || s.ID.Mark == 0 && s.ID.Addr.Addr().Is6() {
		var ones [16]byte
		for i := range ones {
			ones[i] = 0xff
		}
		prefix, err := netip.AddrFrom16(ones).Prefix(int(binary.NativeEndian.Uint32(s.Netmask[:])))
		if err == nil {
			out.Mask = prefix.Addr()
		}
		return out
	}
	out.Mask = netip.AddrFrom4(s.Netmask)
	return out
}

func simulatedDest(d Dest) sim.Dest {
	return sim.Dest{Addr: d.Addr, Method: sim.Method(d.Forward), Weight: d.Weight, Upper: d.Upper, Lower: d.Lower}
}
