package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// demo sets a director up on an in-memory kernel and shows the table as it changes.
func (p *program) demo(ctx context.Context) error {
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	d := director{client: c, out: p.stdout}
	if err := d.options.parse("start", []string{"-vip", "192.0.2.10", "-real", "10.0.0.2,10.0.0.3,10.0.0.4=2"}); err != nil {
		return err
	}
	show := func() error {
		table, err := ipvsadm.ReadTable(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout)
		if err := (ipvsadm.Listing{}).WriteTable(ctx, p.stdout, table, nil); err != nil {
			return err
		}
		fmt.Fprintln(p.stdout)
		return nil
	}
	fmt.Fprintln(p.stdout, "A director for 192.0.2.10, on a kernel in memory. The real servers answer the clients directly.")
	fmt.Fprintln(p.stdout, "This is what \"dr start -vip 192.0.2.10 -real 10.0.0.2,10.0.0.3,10.0.0.4=2\" does:")
	fmt.Fprintln(p.stdout)
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := show(); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "10.0.0.3 is to be maintained. With weight 0 its connections go on, and new clients go elsewhere:")
	if _, err := c.Quiesce(ctx, d.service().ID, netip.MustParseAddrPort("10.0.0.3:80")); err != nil {
		return err
	}
	if err := show(); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "\"dr status\" with the same flags says what differs:")
	fmt.Fprintln(p.stdout)
	if err := d.status(ctx); !errors.Is(err, errFindings) {
		return fmt.Errorf("the status finds nothing: %w", err)
	}
	fmt.Fprintln(p.stdout, "\nMaintenance is over. \"dr start\" again changes just that:")
	fmt.Fprintln(p.stdout)
	if err := d.start(ctx); err != nil {
		return err
	}
	return show()
}
