package ipvsadm

import (
	"context"
	"errors"

	"github.com/golvs/lvs/ipvs"
)

// ReadTable reads the whole table. It is no snapshot: the kernel has one list of services, and one of destinations for each
// of them. A service that is deleted meanwhile has no destinations.
func ReadTable(ctx context.Context, c *ipvs.Client) (Table, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return Table{}, err
	}
	return readTable(ctx, c, info)
}

func readTable(ctx context.Context, c *ipvs.Client, info ipvs.Info) (Table, error) {
	services, err := c.Services(ctx)
	if err != nil {
		return Table{}, err
	}
	t := Table{Info: info, Services: make([]TableEntry, 0, len(services))}
	for _, s := range services {
		list, err := c.Destinations(ctx, s.ID)
		if errors.Is(err, ipvs.ErrNoService) {
			list, err = []ipvs.DestinationStatus{}, nil
		}
		if err != nil {
			return Table{}, err
		}
		t.Services = append(t.Services, TableEntry{s, list})
	}
	return t, nil
}

// ReadService reads one service for a listing. The error matches [ipvs.ErrNoService] if there is none of that identity.
func ReadService(ctx context.Context, c *ipvs.Client, id ipvs.ServiceID) (Table, error) {
	s, err := c.Service(ctx, id)
	if err != nil {
		return Table{}, err
	}
	list, err := c.Destinations(ctx, id)
	if err != nil {
		return Table{}, err
	}
	return Table{Services: []TableEntry{{s, list}}}, nil
}

// State is everything of a namespace that rules can bring back.
type State struct {
	Services []TableEntry  `json:"services"` // in the kernel's order
	Timeouts ipvs.Timeouts `json:"timeouts"`
	Daemons  []ipvs.Daemon `json:"daemons"`
}

// ReadState reads everything of a client's namespace that rules can bring back. It is no snapshot; see [ReadTable].
func ReadState(ctx context.Context, c *ipvs.Client) (State, error) {
	t, err := readTable(ctx, c, ipvs.Info{})
	if err != nil {
		return State{}, err
	}
	s := State{Services: t.Services}
	if s.Timeouts, err = c.Timeouts(ctx); err != nil {
		return State{}, err
	}
	if s.Daemons, err = c.Daemons(ctx); err != nil {
		return State{}, err
	}
	return s, nil
}

// Operations returns the changes that make the state from an empty table: timeouts, services with their destinations,
// daemons. The kernel puts what is new in front, so that services and destinations come in the reverse of its order, and
// its lists, which schedulers follow, become the same again.
func (s State) Operations() []Operation {
	ops := []Operation{{Command: SetTimeouts, Timeouts: s.Timeouts}}
	for i := len(s.Services) - 1; i >= 0; i-- {
		ops = append(ops, s.Services[i].operations()...)
	}
	for _, d := range s.Daemons {
		ops = append(ops, Operation{Command: StartDaemon, Daemon: d})
	}
	return ops
}

// operations returns the changes that make the service with its destinations.
func (e TableEntry) operations() []Operation {
	ops := []Operation{{Command: AddService, Service: e.Service}}
	for i := len(e.Destinations) - 1; i >= 0; i-- {
		ops = append(ops, Operation{
			Command: AddDestination, Service: ipvs.Service{ID: e.ID}, Destination: e.Destinations[i].Destination,
		})
	}
	return ops
}
