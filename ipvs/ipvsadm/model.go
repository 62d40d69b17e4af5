package ipvsadm

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// model is what the kernel's state will be after changes, as far as it can be known without the kernel.
type model struct {
	services map[ipvs.ServiceID]*modelService
	order    []*modelService // oldest first; deleted ones stay and are marked
	timeouts ipvs.Timeouts
	daemons  map[ipvs.DaemonState]ipvs.Daemon
}

type modelService struct {
	ipvs.Service
	deleted bool
	dests   map[netip.AddrPort]*modelDest
	order   []*modelDest
}

type modelDest struct {
	ipvs.Destination
	deleted bool
}

func newModel(s ipvs.Snapshot) *model {
	m := &model{
		services: make(map[ipvs.ServiceID]*modelService), timeouts: s.Timeouts, daemons: make(map[ipvs.DaemonState]ipvs.Daemon),
	}
	for _, e := range slices.Backward(s.Services) {
		ms := m.add(e.Service)
		for _, d := range slices.Backward(e.Destinations) {
			ms.add(d.Destination)
		}
	}
	for _, d := range s.Daemons {
		m.daemons[d.State] = d
	}
	return m
}

func (m *model) add(s ipvs.Service) *modelService {
	ms := &modelService{Service: s, dests: make(map[netip.AddrPort]*modelDest)}
	m.services[s.ID] = ms
	m.order = append(m.order, ms)
	return ms
}

func (s *modelService) add(d ipvs.Destination) {
	md := &modelDest{Destination: d}
	s.dests[d.Addr] = md
	s.order = append(s.order, md)
}

// operations returns the changes that make the service with its destinations.
func (s *modelService) operations() []Operation {
	ops := []Operation{{Command: AddService, Service: s.Service}}
	for _, d := range s.order {
		if !d.deleted {
			ops = append(ops, Operation{Command: AddDestination, Service: ipvs.Service{ID: s.ID}, Destination: d.Destination})
		}
	}
	return ops
}

func (m *model) delete(s *modelService) {
	s.deleted = true
	delete(m.services, s.ID)
}

// apply makes a change, and returns the changes that take it back, or the error that the kernel would give. It knows what
// is there and what is not; what else the kernel refuses shows only there.
func (m *model) apply(op Operation) ([]Operation, error) {
	id := op.Service.ID
	svc := m.services[id]
	fail := func(errno syscall.Errno, meaning error) ([]Operation, error) {
		return nil, op.refuse(nil, errno, meaning)
	}
	switch op.Command {
	case AddService:
		if svc != nil {
			return fail(eEXIST, ipvs.ErrServiceExists)
		}
		m.add(op.Service)
		return []Operation{{Command: DeleteService, Service: ipvs.Service{ID: id}}}, nil
	case SetService, DeleteService:
		if svc == nil {
			return fail(eSRCH, ipvs.ErrNoService)
		}
		if op.Command == DeleteService {
			m.delete(svc)
			return svc.operations(), nil
		}
		back := Operation{Command: SetService, Service: svc.Service}
		svc.Service = op.Service
		return []Operation{back}, nil
	case Flush:
		var back []Operation
		for _, s := range m.order {
			if !s.deleted {
				back = append(back, s.operations()...)
				m.delete(s)
			}
		}
		m.order = nil
		return back, nil
	case Zero:
		if svc == nil && id != (ipvs.ServiceID{}) {
			return fail(eSRCH, ipvs.ErrNoService)
		}
		return nil, nil
	case AddDestination, SetDestination, DeleteDestination:
		if svc == nil {
			return fail(eSRCH, ipvs.ErrNoService)
		}
		if op.Command != DeleteDestination && op.mixed() && len(m.daemons) > 0 {
			return fail(eINVAL, fs.ErrInvalid)
		}
		return svc.apply(op)
	case SetTimeouts:
		back := Operation{Command: SetTimeouts, Timeouts: m.timeouts}
		setUnlessZero(&m.timeouts.TCP, op.Timeouts.TCP)
		setUnlessZero(&m.timeouts.TCPFin, op.Timeouts.TCPFin)
		setUnlessZero(&m.timeouts.UDP, op.Timeouts.UDP)
		return []Operation{back}, nil
	case StartDaemon:
		if _, ok := m.daemons[op.Daemon.State]; ok {
			return fail(eEXIST, ipvs.ErrDaemonRuns)
		}
		m.daemons[op.Daemon.State] = op.Daemon
		return []Operation{{Command: StopDaemon, Daemon: ipvs.Daemon{State: op.Daemon.State}}}, nil
	case StopDaemon:
		d, ok := m.daemons[op.Daemon.State]
		if !ok {
			return fail(eSRCH, ipvs.ErrNoDaemon)
		}
		delete(m.daemons, op.Daemon.State)
		return []Operation{{Command: StartDaemon, Daemon: d}}, nil
	}
	return nil, fmt.Errorf("ipvsadm: %v is not a change: %w", op.Command, errors.ErrUnsupported)
}

func setUnlessZero(to *time.Duration, d time.Duration) {
	if d != 0 {
		*to = d
	}
}

// apply makes a change of a destination.
func (s *modelService) apply(op Operation) ([]Operation, error) {
	d := op.Destination
	md := s.dests[d.Addr]
	fail := func(errno syscall.Errno, meaning error) ([]Operation, error) {
		return nil, op.refuse(nil, errno, meaning)
	}
	back := Operation{Service: op.Service, Destination: d}
	switch {
	case op.Command != DeleteDestination && d.LowerThreshold > d.UpperThreshold:
		return fail(eRANGE, fs.ErrInvalid)
	case op.Command == AddDestination:
		if md != nil {
			return fail(eEXIST, ipvs.ErrDestinationExists)
		}
		s.add(d)
		back.Command, back.Destination = DeleteDestination, ipvs.Destination{Addr: d.Addr}
	case md == nil:
		return fail(eNOENT, ipvs.ErrNoDestination)
	case op.Command == SetDestination:
		back.Command, back.Destination = SetDestination, md.Destination
		md.Destination = d
	default:
		back.Command, back.Destination = AddDestination, md.Destination
		md.deleted = true
		delete(s.dests, d.Addr)
	}
	return []Operation{back}, nil
}
