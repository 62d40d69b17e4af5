package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// Table is the part of a director that IPVS has: a virtual service with its real servers. Real servers that it does not
// name stay when it is started. Stopping it removes the service with all of them, unless the service was there before: then
// it is as before again.
type Table struct {
	Client       *ipvs.Client
	Program      string // its name, for advice
	Service      ipvs.Service
	Destinations []ipvs.Destination

	// Forward is the method that the real servers are to have.
	Forward ipvs.ForwardMethod

	// Record is a file that says what was there before the first start, see [TableRecord]. Without one, every service is
	// taken for one that was not.
	Record string
}

// RecordFile makes it a [Recorder].
func (t *Table) RecordFile() string { return t.Record }

// step is one change to the table and what takes it back.
type step struct{ do, undo ipvsadm.Operation }

// Start compares the table with what is wanted.
func (t *Table) Start(ctx context.Context) (Action, error) {
	steps, err := t.plan(ctx)
	if err != nil {
		return Action{}, err
	}
	var text strings.Builder
	for _, s := range steps {
		fmt.Fprintln(&text, "ipvsadm", s.do)
	}
	forget := func() error { return nil }
	return Action{
		Text: text.String(),
		Do: func(ctx context.Context) (err error) {
			if forget, err = remember(t.Record, steps); err != nil {
				return err
			}
			for i, s := range steps {
				if err := s.do.Apply(ctx, t.Client); err != nil {
					ctx := context.WithoutCancel(ctx)
					return errors.Join(err, t.undoUnsure(ctx, s, err), t.undo(ctx, steps[:i]), forget())
				}
			}
			return nil
		},
		Undo: func(ctx context.Context) error { return errors.Join(t.undo(ctx, steps), forget()) },
	}, nil
}

func (t *Table) undo(ctx context.Context, steps []step) error {
	var errs []error
	for _, s := range slices.Backward(steps) {
		errs = append(errs, s.undo.Apply(ctx, t.Client))
	}
	return errors.Join(errs...)
}

// noBuffers is Linux's number for an answer that was lost.
const noBuffers syscall.Errno = 105

// undoUnsure takes back a step of which no answer has come, as it may have been done nevertheless.
func (t *Table) undoUnsure(ctx context.Context, s step, failure error) error {
	if op, ok := errors.AsType[*ipvs.OpError](failure); ok && op.Errno != 0 && op.Errno != noBuffers {
		return nil // refused
	}
	if err := s.undo.Apply(ctx, t.Client); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (t *Table) plan(ctx context.Context) ([]step, error) {
	id := ipvs.Service{ID: t.Service.ID}
	var steps []step
	table, err := ipvsadm.ReadService(ctx, t.Client, t.Service.ID)
	switch {
	case errors.Is(err, ipvs.ErrNoService):
		table.Services = []ipvs.ServiceSnapshot{{}}
		steps = append(steps, step{
			ipvsadm.Operation{Command: ipvsadm.AddService, Service: t.Service},
			ipvsadm.Operation{Command: ipvsadm.DeleteService, Service: id},
		})
	case err != nil:
		return nil, err
	case table.Services[0].Service != t.Service:
		steps = append(steps, step{
			ipvsadm.Operation{Command: ipvsadm.SetService, Service: t.Service},
			ipvsadm.Operation{Command: ipvsadm.SetService, Service: table.Services[0].Service},
		})
	}
	have := table.Services[0].Destinations
	for _, dest := range t.Destinations {
		switch i := slices.IndexFunc(have, func(h ipvs.DestinationStatus) bool { return h.Addr == dest.Addr }); {
		case i < 0:
			steps = append(steps, step{
				ipvsadm.Operation{Command: ipvsadm.AddDestination, Service: id, Destination: dest},
				ipvsadm.Operation{Command: ipvsadm.DeleteDestination, Service: id, Destination: ipvs.Destination{Addr: dest.Addr}},
			})
		case have[i].Destination != dest:
			steps = append(steps, step{
				ipvsadm.Operation{Command: ipvsadm.SetDestination, Service: id, Destination: dest},
				ipvsadm.Operation{Command: ipvsadm.SetDestination, Service: id, Destination: have[i].Destination},
			})
		}
	}
	return steps, nil
}

// Stop removes the service, or takes back what start has changed of it. Connections that are under way are not told. What no
// start has made stays.
func (t *Table) Stop(ctx context.Context) (Action, error) {
	table, err := ipvsadm.ReadService(ctx, t.Client, t.Service.ID)
	if errors.Is(err, ipvs.ErrNoService) {
		return Action{Do: func(context.Context) error { return removeRecord(t.Record) }}, nil
	} else if err != nil {
		return Action{}, err
	}
	remove := ipvsadm.Operation{Command: ipvsadm.DeleteService, Service: ipvs.Service{ID: t.Service.ID}}
	ops, kept := []ipvsadm.Operation{remove}, ""
	if t.Record != "" {
		switch r, err := readRecord(t.Record); {
		case errors.Is(err, fs.ErrNotExist):
			return Action{Kept: fmt.Sprintf("%v stays, as it is not start that has set it up: \"ipvsadm %v\" removes it\n", t.Service.ID, remove)}, nil
		case err != nil:
			return Action{}, err
		case r.Existed:
			ops, kept = r.restore(table.Services[0])
		}
	}
	var text strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&text, "ipvsadm", op)
	}
	return Action{
		Text: text.String(), Kept: kept,
		Do: func(ctx context.Context) error {
			for _, op := range ops {
				if err := op.Apply(ctx, t.Client); err != nil {
					return err
				}
			}
			return removeRecord(t.Record)
		},
	}, nil
}

// Check lists the service and compares it with what is wanted.
func (t *Table) Check(ctx context.Context) (Look, error) {
	table, err := ipvsadm.ReadService(ctx, t.Client, t.Service.ID)
	if err != nil && !errors.Is(err, ipvs.ErrNoService) {
		return Look{}, err
	}
	if table.Services == nil {
		table.Services = []ipvs.ServiceSnapshot{}
	}
	var text strings.Builder
	if err := (ipvsadm.Listing{}).WriteTable(ctx, &text, table, nil); err != nil {
		return Look{}, err
	}
	return Look{Name: "table", Text: text.String(), Value: table, Findings: t.findings(table)}, nil
}

func (t *Table) findings(table ipvsadm.Table) (list []Finding) {
	add := func(mend, format string, args ...any) {
		list = append(list, Finding{Problem: fmt.Sprintf(format, args...), Mend: mend})
	}
	sets, adds := fmt.Sprintf("%q sets it", t.Program+" start"), fmt.Sprintf("%q adds it", t.Program+" start")
	if len(table.Services) == 0 {
		add(adds, "there is no service %v", t.Service.ID)
		return list
	}
	s := table.Services[0]
	if t.Service.Scheduler != "" && s.Scheduler != t.Service.Scheduler {
		add(sets, "the scheduler is %s and not %s", s.Scheduler, t.Service.Scheduler)
	}
	if have, want := persistence(s.Service), persistence(t.Service); have != want {
		add(sets, "persistence is %s and not %s", have, want)
	}
	serving := false
	for _, have := range s.Destinations {
		serving = serving || have.Weight > 0
		i := slices.IndexFunc(t.Destinations, func(w ipvs.Destination) bool { return w.Addr == have.Addr })
		switch {
		case have.Forward != t.Forward && have.Forward != ipvs.LocalNode:
			fixed := have.Destination
			fixed.Forward = t.Forward
			if i >= 0 {
				fixed = t.Destinations[i]
			}
			op := ipvsadm.Operation{Command: ipvsadm.SetDestination, Service: ipvs.Service{ID: s.ID}, Destination: fixed}
			add("ipvsadm "+op.String(), "%v is forwarded by %v and not by %v", have.Addr, have.Forward, t.Forward)
		case i < 0 && len(t.Destinations) > 0:
			op := ipvsadm.Operation{Command: ipvsadm.DeleteDestination, Service: ipvs.Service{ID: s.ID}, Destination: ipvs.Destination{Addr: have.Addr}}
			add("ipvsadm "+op.String()+" removes it", "%v is in the table but not among -real", have.Addr)
		case i >= 0 && t.Destinations[i].Weight != have.Weight:
			add(sets, "%v has weight %d and not %d", have.Addr, have.Weight, t.Destinations[i].Weight)
		case i >= 0 && t.Destinations[i].Tunnel != have.Tunnel:
			add(sets, "%v is reached by another kind of tunnel", have.Addr)
		}
	}
	for _, want := range t.Destinations {
		if !slices.ContainsFunc(s.Destinations, func(h ipvs.DestinationStatus) bool { return h.Addr == want.Addr }) {
			add(adds, "%v is not in the table", want.Addr)
		}
	}
	if !serving {
		add("raise a weight, or add one", "no real server has a weight above 0, and new clients are refused")
	}
	return list
}

// persistence says how long a client stays with its server.
func persistence(s ipvs.Service) string {
	if s.Flags&ipvs.Persistent == 0 {
		return "off"
	}
	return s.Timeout.String()
}

// others returns the other services of the namespace that match.
func others(ctx context.Context, c *ipvs.Client, id ipvs.ServiceID, match func(ipvs.ServiceSnapshot) bool) ([]ipvs.ServiceID, error) {
	table, err := ipvsadm.ReadTable(ctx, c)
	if err != nil {
		return nil, err
	}
	var list []ipvs.ServiceID
	for _, s := range table.Services {
		if s.ID != id && match(s) {
			list = append(list, s.ID)
		}
	}
	return list, nil
}

// SharesVIP returns the other services of the table with the same virtual address: as long as there are any, the address
// stays where it is.
func (t *Table) SharesVIP(ctx context.Context) ([]ipvs.ServiceID, error) {
	return others(ctx, t.Client, t.Service.ID, func(s ipvs.ServiceSnapshot) bool {
		return !s.ID.IsMark() && s.ID.Addr.Addr() == t.Service.ID.Addr.Addr()
	})
}

// SharesMethod returns the other services of the table with a real server of the same forwarding method: as long as there
// are any, the settings for it stay as they are.
func (t *Table) SharesMethod(ctx context.Context) ([]ipvs.ServiceID, error) {
	return others(ctx, t.Client, t.Service.ID, func(s ipvs.ServiceSnapshot) bool {
		return slices.ContainsFunc(s.Destinations, func(d ipvs.DestinationStatus) bool { return d.Forward == t.Forward })
	})
}

// NewService returns a virtual service by address.
func NewService(p ipvs.Protocol, vip netip.Addr, port uint16) ipvs.Service {
	s := ipvs.Service{ID: ipvs.ServiceID{Protocol: p, Addr: netip.AddrPortFrom(vip, port)}, Netmask: ipvs.MaskBits(ipvs.IPv4, 32)}
	if vip.Is6() {
		s.Netmask = ipvs.MaskBits(ipvs.IPv6, 128)
	}
	return s
}
