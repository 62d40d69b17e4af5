package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// demo sets a director up on an in-memory kernel and shows the table as it changes.
func demo(ctx context.Context, e *setup.Env) error {
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	var real setup.RealServers
	if err := real.Set("10.0.0.2,10.0.0.3,10.0.0.4=2"); err != nil {
		return err
	}
	service := setup.NewService(ipvs.TCP, netip.MustParseAddr("192.0.2.10"), 80)
	service.Scheduler = "wlc"
	parts := []setup.Part{&setup.Table{
		Client: c, Program: e.Name, Service: service, Forward: ipvs.Route,
		Destinations: real.Destinations(80, ipvs.Destination{Forward: ipvs.Route}),
	}}
	show := func() error {
		table, err := ipvsadm.ReadTable(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintln(e.Stdout)
		if err := (ipvsadm.Listing{}).WriteTable(ctx, e.Stdout, table, nil); err != nil {
			return err
		}
		fmt.Fprintln(e.Stdout)
		return nil
	}
	fmt.Fprintln(e.Stdout, "A director for 192.0.2.10, on a kernel in memory. The real servers answer the clients directly.")
	fmt.Fprintln(e.Stdout, "This is what \"dr start -vip 192.0.2.10 -real 10.0.0.2,10.0.0.3,10.0.0.4=2\" does:")
	fmt.Fprintln(e.Stdout)
	if err := setup.Start(ctx, e.Stdout, parts, false); err != nil {
		return err
	}
	if err := show(); err != nil {
		return err
	}
	fmt.Fprintln(e.Stdout, "10.0.0.3 is to be maintained. With weight 0 its connections go on, and new clients go elsewhere:")
	if _, err := c.Quiesce(ctx, service.ID, netip.MustParseAddrPort("10.0.0.3:80")); err != nil {
		return err
	}
	if err := show(); err != nil {
		return err
	}
	fmt.Fprintln(e.Stdout, "\"dr status\" with the same flags says what differs:")
	fmt.Fprintln(e.Stdout)
	if err := setup.Status(ctx, e.Stdout, parts, false); !errors.Is(err, setup.ErrFindings) {
		return fmt.Errorf("the status finds nothing: %w", err)
	}
	fmt.Fprintln(e.Stdout, "\nMaintenance is over. \"dr start\" again changes just that:")
	fmt.Fprintln(e.Stdout)
	if err := setup.Start(ctx, e.Stdout, parts, false); err != nil {
		return err
	}
	return show()
}
