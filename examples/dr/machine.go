package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/golvs/lvs/arp"
)

// machine is the side of a host that holds the VIP: all of a real server, and the address of a director.
type machine struct {
	options
	host *arp.Host
	out  io.Writer
}

func (m *machine) run(ctx context.Context, verb string) error {
	switch verb {
	case "start":
		return m.start(ctx)
	case "stop":
		return m.stop(ctx)
	}
	return m.status(ctx)
}

// setup is what the machine is to have: a real server keeps quiet about the VIP, and a director answers for it.
func (m *machine) setup() arp.Setup {
	s := arp.Setup{Device: m.device}
	s.VIPs = append(s.VIPs, m.vip)
	if m.role == roleDirector {
		s.Suppress = arp.SuppressNone
	}
	return s
}

func (m *machine) start(ctx context.Context) error {
	plan, err := m.host.Plan(ctx, m.setup())
	if err != nil {
		return err
	}
	return m.carryOut(ctx, plan)
}

func (m *machine) stop(ctx context.Context) error {
	plan, err := m.host.PlanRelease(ctx, m.vip)
	if err != nil {
		return err
	}
	return m.carryOut(ctx, plan)
}

// carryOut shows a plan and does it. What fails is taken back by Apply.
func (m *machine) carryOut(ctx context.Context, plan arp.Plan) error {
	if plan.Empty() {
		fmt.Fprintln(m.out, "nothing to do")
	} else {
		fmt.Fprint(m.out, plan)
	}
	if m.dryRun {
		return nil
	}
	_, err := m.host.Apply(ctx, plan)
	return err
}

// status shows whether the VIP is bound and kept quiet about.
func (m *machine) status(ctx context.Context) error {
	s, err := m.host.Status(ctx, m.vip)
	if err != nil {
		return err
	}
	if m.json {
		enc := json.NewEncoder(m.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(s)
	} else {
		_, err = fmt.Fprint(m.out, s)
	}
	if err == nil && len(s.Problems) > 0 {
		err = errFindings
	}
	return err
}

// holds reports whether a director has the VIP on its device.
func (m *machine) holds(ctx context.Context) error {
	list, err := m.host.Addresses(ctx)
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Prefix.Addr() == m.vip && a.Device == m.device {
			return nil
		}
	}
	fmt.Fprintf(m.out, "! %v is not on %s: \"dr start\" binds it\n", m.vip, m.device)
	return errFindings
}
