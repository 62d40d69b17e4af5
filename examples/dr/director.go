package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// director is the role of the machine that runs IPVS.
type director struct {
	options
	client *ipvs.Client
	out    io.Writer
}

// A step is one change to the table and what takes it back.
type step struct{ do, undo ipvsadm.Operation }

// plan compares the table with the flags: what to do so that it has the service with all real servers. Real servers
// that the flags do not name stay.
func (d *director) plan(ctx context.Context) ([]step, error) {
	want := d.service()
	id := ipvs.Service{ID: want.ID}
	var steps []step
	table, err := ipvsadm.ReadService(ctx, d.client, want.ID)
	switch {
	case errors.Is(err, ipvs.ErrNoService):
		table.Services = []ipvs.ServiceSnapshot{{}}
		steps = append(steps, step{
			ipvsadm.Operation{Command: ipvsadm.AddService, Service: want},
			ipvsadm.Operation{Command: ipvsadm.DeleteService, Service: id},
		})
	case err != nil:
		return nil, err
	case table.Services[0].Service != want:
		steps = append(steps, step{
			ipvsadm.Operation{Command: ipvsadm.SetService, Service: want},
			ipvsadm.Operation{Command: ipvsadm.SetService, Service: table.Services[0].Service},
		})
	}
	have := table.Services[0].Destinations
	for _, dest := range d.real {
		switch i := indexOf(have, dest); {
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

func indexOf(list []ipvs.DestinationStatus, d ipvs.Destination) int {
	return slices.IndexFunc(list, func(other ipvs.DestinationStatus) bool { return other.Addr == d.Addr })
}

// start carries the plan out. If a step fails, those before it are taken back.
func (d *director) start(ctx context.Context) error {
	steps, err := d.plan(ctx)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		fmt.Fprintln(d.out, "nothing to do")
	}
	for i, s := range steps {
		fmt.Fprintln(d.out, "ipvsadm", s.do)
		if d.dryRun {
			continue
		}
		if err := s.do.Apply(ctx, d.client); err != nil {
			return errors.Join(err, d.undo(steps[:i]))
		}
	}
	return nil
}

// undo takes steps back, the last one first, even if the program was interrupted.
func (d *director) undo(steps []step) error {
	var errs []error
	for _, s := range slices.Backward(steps) {
		fmt.Fprintln(d.out, "taking back: ipvsadm", s.undo)
		errs = append(errs, s.undo.Apply(context.Background(), d.client))
	}
	return errors.Join(errs...)
}

// stop removes the service with all its real servers. Connections that are under way are not told.
func (d *director) stop(ctx context.Context) error {
	id := d.service().ID
	op := ipvsadm.Operation{Command: ipvsadm.DeleteService, Service: ipvs.Service{ID: id}}
	switch _, err := d.client.Service(ctx, id); {
	case errors.Is(err, ipvs.ErrNoService):
		fmt.Fprintln(d.out, "nothing to do")
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintln(d.out, "ipvsadm", op)
	if d.dryRun {
		return nil
	}
	return op.Apply(ctx, d.client)
}

// errFindings is the result of a status that found something wrong, which is printed already.
var errFindings = errors.New("not as it should be")

// status shows the service and what is wrong with it.
func (d *director) status(ctx context.Context) error {
	id := d.service().ID
	table, err := ipvsadm.ReadService(ctx, d.client, id)
	if err != nil && !errors.Is(err, ipvs.ErrNoService) {
		return err
	}
	if table.Services == nil {
		table.Services = []ipvs.ServiceSnapshot{}
	}
	findings := d.findings(table)
	if d.json {
		enc := json.NewEncoder(d.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(struct {
			ipvsadm.Table
			Findings []string `json:"findings"`
		}{table, findings}); err != nil {
			return err
		}
	} else {
		if err := (ipvsadm.Listing{}).WriteTable(ctx, d.out, table, nil); err != nil {
			return err
		}
		for _, f := range findings {
			fmt.Fprintln(d.out, "!", f)
		}
	}
	if len(findings) > 0 {
		return errFindings
	}
	return nil
}

// findings says what is wrong, and how to mend it.
func (d *director) findings(table ipvsadm.Table) []string {
	list := []string{}
	if len(table.Services) == 0 {
		return append(list, fmt.Sprintf("there is no service %v: \"dr start\" adds it", d.service().ID))
	}
	s := table.Services[0]
	serving := false
	for _, dest := range s.Destinations {
		serving = serving || dest.Weight > 0
		switch i := slices.IndexFunc(d.real, func(w ipvs.Destination) bool { return w.Addr == dest.Addr }); {
		case dest.Forward != ipvs.Route && dest.Forward != ipvs.LocalNode:
			list = append(list, fmt.Sprintf("%v is forwarded by %v and not by Route: ipvsadm -e -%s %v -r %v -g", dest.Addr, dest.Forward, flagOf(s.ID), s.ID.Addr, dest.Addr))
		case i < 0 && len(d.real) > 0:
			list = append(list, fmt.Sprintf("%v is in the table but not among -real", dest.Addr))
		case i >= 0 && d.real[i].Weight != dest.Weight:
			list = append(list, fmt.Sprintf("%v has weight %d and not %d: \"dr start\" sets it", dest.Addr, dest.Weight, d.real[i].Weight))
		}
	}
	for _, want := range d.real {
		if indexOf(s.Destinations, want) < 0 {
			list = append(list, fmt.Sprintf("%v is not in the table: \"dr start\" adds it", want.Addr))
		}
	}
	if !serving {
		list = append(list, "no real server has a weight above 0: new clients are refused")
	}
	return list
}

func flagOf(id ipvs.ServiceID) string {
	switch id.Protocol {
	case ipvs.UDP:
		return "u"
	case ipvs.SCTP:
		return "-sctp-service"
	}
	return "t"
}
