package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// picture is what status finds.
type picture struct {
	State    string        `json:"state"` // what keepalived said last; empty if nothing yet
	Since    time.Time     `json:"since,omitzero"`
	Refused  bool          `json:"refused"`
	Here     []netip.Addr  `json:"here"` // the virtual addresses that this machine has
	Daemons  []ipvs.Daemon `json:"daemons"`
	Findings []string      `json:"findings"`
}

// status shows this director and what is wrong with it.
func (d *director) status(ctx context.Context) error {
	p, err := d.look(ctx)
	if err != nil {
		return err
	}
	if d.json {
		enc := json.NewEncoder(d.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(p)
	} else {
		d.describe(p)
	}
	if err == nil && len(p.Findings) > 0 {
		err = setup.ErrFindings
	}
	return err
}

func (d *director) look(ctx context.Context) (picture, error) {
	p := picture{Here: []netip.Addr{}, Daemons: []ipvs.Daemon{}, Findings: []string{}}
	find := func(format string, args ...any) { p.Findings = append(p.Findings, fmt.Sprintf(format, args...)) }
	r, err := d.journal().read()
	if err != nil {
		return p, err
	}
	p.State, p.Since, p.Refused = r.State, r.Since, r.Refused
	if p.State == "" {
		find("keepalived has not said anything about %q yet: is it running, with this program as its notify script and -name %s?", d.name, d.name)
	}
	if p.State == stateMaster && !r.Active && !p.Refused {
		find("the run for MASTER was killed, or is not done yet: \"failover master\" with the same flags does it again")
	}
	if p.Refused {
		find("this director makes way for somebody else who answers for the address: look for the network between the two directors")
	}
	if err := d.lookAround(ctx, &p, find); err != nil {
		return p, err
	}
	have, err := d.client.Ruleset(ctx)
	if err != nil {
		return p, err
	}
	p.Daemons = append(p.Daemons, have.Daemons...)
	state := p.State
	if state == stateMaster && p.Refused {
		state = stateBackup
	}
	if state == "" {
		return p, nil
	}
	want, opts := d.wanted(state)
	for _, c := range ipvs.Diff(have, want, &opts.DiffOptions) {
		find("%v: \"failover %s\" with the same flags does that", &c, map[string]string{
			stateMaster: "master", stateBackup: "backup", stateFault: "fault", stateStop: "stop"}[state])
	}
	return p, nil
}

// lookAround finds out who has the addresses.
func (d *director) lookAround(ctx context.Context, p *picture, find func(string, ...any)) error {
	if d.network == nil {
		return nil
	}
	here, err := d.here(ctx)
	if err != nil {
		return err
	}
	p.Here = append(p.Here, here...)
	for _, vip := range d.vips {
		switch has := slices.Contains(here, vip); {
		case has && p.State != stateMaster:
			find("%v is on %s although keepalived has not said MASTER: it or its notify script is not running", vip, d.device)
		case !has && p.State == stateMaster && !p.Refused:
			find("%v is not on %s although keepalived has said MASTER: it was killed, or has another address", vip, d.device)
		}
	}
	if len(p.Here) > 0 {
		others, err := d.others(ctx)
		if err != nil {
			return err
		}
		for _, text := range others {
			find("%s", text)
		}
	}
	return nil
}

// here returns the virtual addresses that this machine has.
func (d *director) here(ctx context.Context) (vips []netip.Addr, err error) {
	list, err := d.network.Addresses(ctx)
	for _, vip := range d.vips {
		if slices.ContainsFunc(list, func(a arp.Address) bool { return a.Prefix.Addr() == vip && a.Device == d.device }) {
			vips = append(vips, vip)
		}
	}
	return vips, err
}

// describe prints a picture for people.
func (d *director) describe(p picture) {
	if p.State != "" {
		fmt.Fprintf(d.out, "%s since %s\n", p.State, p.Since.Local().Format(time.DateTime))
	}
	for _, a := range p.Here {
		fmt.Fprintf(d.out, "%v is on %s\n", a, d.device)
	}
	for _, m := range p.Daemons {
		fmt.Fprintf(d.out, "sync daemon: %v on %s, id %d\n", m.State, m.Interface, m.SyncID)
	}
	for _, f := range p.Findings {
		fmt.Fprintln(d.out, "!", f)
	}
}
