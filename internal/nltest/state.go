package nltest

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// stateFormat is the number of the format that Save writes.
const stateFormat = 1

// kernelState is a kernel as it is saved.
type kernelState struct {
	Format      int              `json:"format"`
	Version     string           `json:"version"`
	HashKey     uint32           `json:"hashKey"`
	ConnTabBits int              `json:"connTabBits"`
	Schedulers  []string         `json:"schedulers"`
	Engines     []string         `json:"engines"`
	NoModule    bool             `json:"noModule,omitempty"`
	NoIPv6      bool             `json:"noIPv6,omitempty"`
	CPUs        int              `json:"cpus"`
	Modules     []string         `json:"modules,omitempty"` // schedulers that were used
	Family      uint16           `json:"family"`
	NextFamily  uint16           `json:"nextFamily"`
	Loaded      bool             `json:"loaded"`
	Clock       time.Time        `json:"clock"`
	Namespaces  []namespaceState `json:"namespaces"`
}

type namespaceState struct {
	Name        string            `json:"name"`
	Devices     []deviceState     `json:"devices"`
	Routed      bool              `json:"routed"`
	Timeouts    [3]uint32         `json:"timeouts"` // TCP, TCP FIN, UDP in seconds
	Services    []serviceState    `json:"services"` // per bucket, oldest first
	Trash       []trashState      `json:"trash,omitempty"`
	Look        time.Time         `json:"look,omitzero"` // at the trash, next
	Daemons     []savedDaemon     `json:"daemons,omitempty"`
	Total       objectState       `json:"total"`
	CPUs        []Counters        `json:"cpus"`
	Estimate    bool              `json:"estimate"`
	Epoch       time.Time         `json:"epoch"`
	Sysctls     map[string]string `json:"sysctls,omitempty"` // those that differ from the defaults
	Connections []Connection      `json:"connections,omitempty"`
}

type deviceState struct {
	Name     string         `json:"name"`
	Up       bool           `json:"up"`
	MTU      int            `json:"mtu"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// identityState is the identity of a service.
type identityState struct {
	Family   uint16     `json:"family"`
	Protocol uint16     `json:"protocol,omitempty"`
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port,omitempty"`
	Mark     uint32     `json:"mark,omitempty"`
}

type serviceState struct {
	identityState
	Scheduler string      `json:"scheduler"`
	Engine    string      `json:"engine,omitempty"`
	Flags     uint32      `json:"flags"`
	Ticks     uint32      `json:"ticks,omitempty"` // persistence timeout
	Netmask   hexBytes    `json:"netmask"`
	Stats     objectState `json:"stats"`
	Dests     []destState `json:"destinations,omitempty"` // oldest first
}

type destState struct {
	Family      uint16      `json:"family"`
	Addr        netip.Addr  `json:"addr"`
	Port        uint16      `json:"port,omitempty"`
	Forward     uint8       `json:"forward,omitempty"`
	Weight      uint32      `json:"weight"`
	Upper       uint32      `json:"upper,omitempty"`
	Lower       uint32      `json:"lower,omitempty"`
	TunnelType  uint8       `json:"tunnelType,omitempty"`
	TunnelPort  uint16      `json:"tunnelPort,omitempty"`
	TunnelFlags uint16      `json:"tunnelFlags,omitempty"`
	Conns       Conns       `json:"conns,omitzero"`
	Stats       objectState `json:"stats"`
}

type trashState struct {
	Service identityState `json:"service"`
	Alive   bool          `json:"alive"` // the service is the one that there is now
	Dest    destState     `json:"destination"`
	Idle    time.Time     `json:"idle,omitzero"` // when it was first found unreferenced
}

type savedDaemon struct {
	State  uint32   `json:"state"`
	Device string   `json:"device"`
	SyncID uint32   `json:"syncID"`
	MaxLen uint16   `json:"maxLen"`
	Port   uint16   `json:"port"`
	TTL    uint8    `json:"ttl"`
	Group  hexBytes `json:"group"`
}

type objectState struct {
	Live    Counters  `json:"live,omitzero"`
	Sampled Counters  `json:"sampled,omitzero"`
	Base    Counters  `json:"base,omitzero"`
	Average [5]int64  `json:"average,omitzero"`
	Visit   time.Time `json:"visit,omitzero"` // next; none in the trash
}

// hexBytes are bytes that JSON shows as hexadecimal digits.
type hexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// Save writes the kernel's state as JSON: tables, trash, timeouts, daemons, statistics, devices, timers and the clock. Sockets,
// the faults, the log of requests and the connections of a data path are not part of it; what those counted is.
func (k *Kernel) Save(w io.Writer) error {
	k.lock()
	st := k.state()
	k.mu.Unlock()
	enc := json.NewEncoder(w)
	enc.SetIndent("", "\t")
	if err := enc.Encode(st); err != nil {
		return fmt.Errorf("nltest: save: %w", err)
	}
	return nil
}

// Load replaces the kernel's state, its version and the rest of its configuration included, by one that [Kernel.Save] wrote,
// and goes on as that kernel would have. Sockets stay open; namespaces that the state does not have become empty. With a data
// path, that is told of every service and destination as if it were added now, and its counters are added to the loaded
// ones. After an error nothing has changed.
func (k *Kernel) Load(r io.Reader) error {
	var st kernelState
	if err := json.NewDecoder(r).Decode(&st); err != nil {
		return fmt.Errorf("nltest: load: %w", err)
	}
	if st.Format != stateFormat {
		return fmt.Errorf("nltest: load: format %d, want %d", st.Format, stateFormat)
	}
	trial := &Kernel{namespaces: make(map[string]*Namespace), modules: make(map[string]bool), path: manual{}}
	if err := trial.restore(&st); err != nil {
		return fmt.Errorf("nltest: load: %w", err)
	}
	k.lock()
	defer k.mu.Unlock()
	return k.restore(&st)
}

// state collects what Save writes.
func (k *Kernel) state() *kernelState {
	st := &kernelState{
		Format: stateFormat, Version: k.cfg.Version, HashKey: k.cfg.HashKey, ConnTabBits: k.cfg.ConnTabBits,
		Schedulers: k.cfg.Schedulers, Engines: k.cfg.Engines, NoModule: k.cfg.NoModule, NoIPv6: k.cfg.NoIPv6,
		CPUs: k.cfg.CPUs, Modules: slices.Sorted(maps.Keys(k.modules)), Family: k.family, NextFamily: k.nextFamily, Loaded: k.loaded, Clock: k.now,
	}
	for _, ns := range k.namespaces {
		st.Namespaces = append(st.Namespaces, ns.state())
	}
	slices.SortFunc(st.Namespaces, func(a, b namespaceState) int { return cmp.Compare(a.Name, b.Name) })
	return st
}

func (ns *Namespace) state() namespaceState {
	ns.refresh()
	st := namespaceState{
		Name: ns.name, Timeouts: ns.timeouts, Total: ns.total.state(), CPUs: ns.countedByCPU(), Estimate: ns.estimate,
		Epoch: ns.epoch, Routed: ns.routed, Connections: slices.Clone(ns.conns), Sysctls: ns.changedSysctls(),
	}
	for _, d := range ns.devices {
		st.Devices = append(st.Devices, deviceState{d.name, d.up, d.mtu, slices.Clone(d.prefixes)})
	}
	for t := range ns.tables {
		for b := range ns.tables[t] {
			for _, s := range ns.tables[t][b] {
				st.Services = append(st.Services, s.state())
			}
		}
	}
	for _, d := range ns.trash {
		ts := trashState{Service: d.svc.identity(), Alive: ns.find(d.svc.key()) == d.svc, Dest: d.state()}
		if d.idle {
			ts.Idle = time.Unix(0, d.when).UTC()
		}
		st.Trash = append(st.Trash, ts)
	}
	if ns.look.index >= 0 {
		st.Look = ns.look.at
	}
	for _, d := range ns.daemons {
		if d != nil {
			st.Daemons = append(st.Daemons, savedDaemon{d.state, d.ifname, d.syncID, d.maxLen, d.port, d.ttl, slices.Clone(d.group)})
		}
	}
	return st
}

// refresh finds out what everything has counted.
func (ns *Namespace) refresh() {
	ns.total.refresh()
	for _, s := range ns.services() {
		s.refresh()
		for _, d := range s.dests {
			d.refresh()
		}
	}
}

func (s *service) identity() identityState {
	return identityState{Family: s.af, Protocol: s.proto, Addr: address(s.af, s.addr), Port: s.port, Mark: s.mark}
}

// savedAddress returns the address in the kernel's form.
func savedAddress(af uint16, a netip.Addr) ([16]byte, error) {
	got, raw := uint16(0), [16]byte{}
	if a.IsValid() {
		got, raw = rawAddress(a)
	}
	if got != af {
		return raw, fmt.Errorf("family %d with address %v", af, a)
	}
	return raw, nil
}

func (s *service) state() serviceState {
	st := serviceState{
		identityState: s.identity(), Scheduler: s.sched, Engine: s.engine, Flags: s.flags, Ticks: s.timeout,
		Netmask: slices.Clone(s.netmask[:]), Stats: s.object.state(),
	}
	for _, d := range s.dests {
		st.Dests = append(st.Dests, d.state())
	}
	return st
}

func (d *dest) state() destState {
	return destState{
		Family: d.af, Addr: address(d.af, d.addr), Port: d.port, Forward: d.fwd, Weight: d.weight, Upper: d.upper, Lower: d.lower, TunnelType: d.tunType,
		TunnelPort: d.tunPort, TunnelFlags: d.tunFlag, Conns: d.conns, Stats: d.object.state(),
	}
}

func (o *object) state() objectState {
	st := objectState{Live: o.live, Sampled: o.sampled, Base: o.base, Average: o.avg}
	if o.visit.index >= 0 {
		st.Visit = o.visit.at
	}
	return st
}

// restore replaces the state. It fails only on a state that Save does not write, and always on the same ones, so that
// restoring into an empty kernel tells beforehand.
func (k *Kernel) restore(st *kernelState) error {
	cfg := k.cfg
	k.cfg.Version, k.cfg.HashKey, k.cfg.ConnTabBits = st.Version, st.HashKey, st.ConnTabBits
	k.cfg.Schedulers, k.cfg.Engines, k.cfg.FamilyID = st.Schedulers, st.Engines, st.Family
	k.cfg.NoModule, k.cfg.NoIPv6, k.cfg.CPUs = st.NoModule, st.NoIPv6, st.CPUs
	if err := k.configure(); err != nil {
		return err
	}
	k.family, k.nextFamily, k.loaded = k.cfg.FamilyID, st.NextFamily, st.Loaded
	k.cfg.Start, k.cfg.FamilyID = cfg.Start, cfg.FamilyID
	if k.cfg.CPUs > 1<<16 {
		return fmt.Errorf("%d CPUs", k.cfg.CPUs)
	}
	for _, ns := range k.namespaces {
		ns.clear()
	}
	k.now, k.start, k.real = st.Clock, st.Clock, time.Now()
	k.path.Advance(k.now)
	clear(k.modules)
	for _, name := range st.Modules {
		k.modules[name] = true
	}
	for _, nst := range st.Namespaces {
		if err := k.namespace(nst.Name).restore(&nst); err != nil {
			return fmt.Errorf("namespace %q: %w", nst.Name, err)
		}
	}
	for name, ns := range k.namespaces {
		if !slices.ContainsFunc(st.Namespaces, func(n namespaceState) bool { return n.Name == name }) {
			ns.devices, ns.routed = loopback(), true
			ns.begin()
		}
	}
	return nil
}

func (ns *Namespace) restore(st *namespaceState) error {
	ns.clear()
	ns.devices = nil
	for _, d := range st.Devices {
		ns.devices = append(ns.devices, &device{d.Name, d.Up, d.MTU, slices.Clone(d.Prefixes)})
	}
	ns.routed = st.Routed
	for _, d := range ns.devices {
		ns.noteRoutes(d)
	}
	ns.timeouts, ns.estimate, ns.epoch = st.Timeouts, st.Estimate, st.Epoch
	if ns.timeouts != defaultTimeouts {
		ns.changed(TimeoutsChanged, nil, nil)
	}
	ns.tunables, ns.unmodelled = nil, nil
	for name, value := range st.Sysctls {
		if err := ns.setSysctl(name, value); err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	ns.conns = slices.Clone(st.Connections)
	ns.cpus = make([]Counters, ns.k.cfg.CPUs)
	copy(ns.cpus, st.CPUs)
	ns.total = ns.newObject(func() Counters { return ns.k.path.Counters(ns.name, ServiceID{}, netip.AddrPort{}) })
	ns.restoreObject(ns.total, &st.Total)
	for _, s := range st.Services {
		if err := ns.restoreService(&s); err != nil {
			return fmt.Errorf("service %+v: %w", s.identityState, err)
		}
	}
	for _, d := range st.Trash {
		if err := ns.restoreTrash(&d); err != nil {
			return fmt.Errorf("trash: %w", err)
		}
	}
	if !st.Look.IsZero() {
		ns.k.arm(ns.look, st.Look)
	}
	for _, d := range st.Daemons {
		if d.State != stateMaster && d.State != stateBackup || len(d.Group) != 4 && len(d.Group) != 16 {
			return fmt.Errorf("daemon %+v", d)
		}
		ns.daemons[d.State-1] = &daemon{d.State, d.Device, d.SyncID, d.MaxLen, d.Port, d.TTL, slices.Clone(d.Group)}
	}
	return nil
}

func (ns *Namespace) restoreObject(o *object, st *objectState) {
	o.stats = stats{live: st.Live, sampled: st.Sampled, base: st.Base, avg: st.Average}
	o.extra = st.Live.Sub(o.source())
	if !st.Visit.IsZero() {
		// A visit long overdue would take as many steps; no kernel saves one.
		ns.k.arm(o.visit, maxTime(st.Visit, ns.k.now))
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (st *identityState) service() (*service, error) {
	if st.Family != afInet && st.Family != afInet6 {
		return nil, fmt.Errorf("family %d", st.Family)
	}
	raw, err := savedAddress(st.Family, st.Addr)
	return &service{af: st.Family, proto: st.Protocol, addr: raw, port: st.Port, mark: st.Mark}, err
}

func (ns *Namespace) restoreService(st *serviceState) error {
	s, err := st.service()
	if err != nil {
		return err
	}
	if ns.find(s.key()) != nil || len(st.Netmask) != 4 || len(st.Scheduler) > 15 || len(st.Engine) > 16 {
		return fmt.Errorf("twice, or out of range")
	}
	s.sched, s.engine, s.flags, s.timeout, s.netmask = st.Scheduler, st.Engine, st.Flags, st.Ticks, [4]byte(st.Netmask)
	s.byKey = make(map[destKey]*dest)
	id := s.id()
	s.object = ns.newObject(func() Counters { return ns.k.path.Counters(ns.name, id, netip.AddrPort{}) })
	ns.restoreObject(s.object, &st.Stats)
	b := ns.bucket(s.key())
	*b = append(*b, s)
	ns.changed(ServiceAdded, s, nil)
	for _, dst := range st.Dests {
		d, err := ns.restoreDest(s, &dst)
		if err != nil {
			return err
		}
		if s.byKey[d.key()] != nil {
			return fmt.Errorf("destination %v twice", d.addrPort())
		}
		s.dests = append(s.dests, d)
		s.byKey[d.key()] = d
		ns.changed(DestAdded, s, d)
	}
	return nil
}

func (ns *Namespace) restoreDest(s *service, st *destState) (*dest, error) {
	if st.Family != afInet && st.Family != afInet6 {
		return nil, fmt.Errorf("destination with family %d", st.Family)
	}
	raw, err := savedAddress(st.Family, st.Addr)
	if err != nil {
		return nil, err
	}
	d := &dest{
		svc: s, af: st.Family, addr: raw, port: st.Port, fwd: st.Forward & fwdMask, weight: st.Weight, upper: st.Upper,
		lower: st.Lower, tunType: st.TunnelType, tunPort: st.TunnelPort, tunFlag: st.TunnelFlags, conns: st.Conns,
	}
	d.object = ns.newObject(nil)
	ns.countFor(d)
	ns.restoreObject(d.object, &st.Stats)
	return d, nil
}

func (ns *Namespace) restoreTrash(st *trashState) error {
	s, err := st.Service.service()
	if err != nil {
		return err
	}
	if st.Alive {
		if s = ns.find(s.key()); s == nil {
			return fmt.Errorf("a living service is not there")
		}
	}
	d, err := ns.restoreDest(s, &st.Dest)
	if err != nil {
		return err
	}
	ns.k.disarm(d.visit)
	if !st.Idle.IsZero() {
		d.idle, d.when = true, st.Idle.UnixNano()
	}
	ns.trash = append(ns.trash, d)
	return nil
}
