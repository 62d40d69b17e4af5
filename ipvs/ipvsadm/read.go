package ipvsadm

import (
	"context"

	"github.com/golvs/lvs/ipvs"
)

// ReadTable reads the whole table, as [ipvs.Client.Snapshot] does.
func ReadTable(ctx context.Context, c *ipvs.Client) (Table, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return Table{}, err
	}
	return readTable(ctx, c, info)
}

func readTable(ctx context.Context, c *ipvs.Client, info ipvs.Info) (Table, error) {
	s, err := c.Snapshot(ctx)
	if err != nil {
		return Table{}, err
	}
	for i := range s.Services {
		if s.Services[i].Destinations == nil {
			s.Services[i].Destinations = []ipvs.DestinationStatus{} // a list in JSON, not null
		}
	}
	return Table{Info: info, Services: s.Services}, nil
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
	return Table{Services: []ipvs.ServiceSnapshot{{ServiceStatus: s, Destinations: list}}}, nil
}

// Operations returns the changes that bring a snapshot back from an empty table: timeouts, services with their
// destinations, daemons. The kernel puts what is new in front, so that services and destinations come in the reverse of
// its order, and its lists, which schedulers follow, become the same again.
func Operations(s ipvs.Snapshot) []Operation {
	ops := []Operation{{Command: SetTimeouts, Timeouts: s.Timeouts}}
	for i := len(s.Services) - 1; i >= 0; i-- {
		e := &s.Services[i]
		ops = append(ops, Operation{Command: AddService, Service: e.Service})
		for j := len(e.Destinations) - 1; j >= 0; j-- {
			ops = append(ops, Operation{
				Command: AddDestination, Service: ipvs.Service{ID: e.ID}, Destination: e.Destinations[j].Destination,
			})
		}
	}
	for _, d := range s.Daemons {
		ops = append(ops, Operation{Command: StartDaemon, Daemon: d})
	}
	return ops
}
