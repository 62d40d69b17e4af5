package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
)

// network is the part of an arp.Host that a director needs.
type network interface {
	Addresses(ctx context.Context) ([]arp.Address, error)
	Probe(ctx context.Context, device string, target netip.Addr, options *arp.ProbeOptions) ([]arp.Reply, error)
	Announce(ctx context.Context, device string, addrs []netip.Addr, options *arp.AnnounceOptions) error
}

// director is this machine.
type director struct {
	options
	rules    ipvs.Ruleset
	client   *ipvs.Client
	network  network // nil without a device
	born     moment
	out, err io.Writer
}

// become does what keepalived's new state asks for.
func (d *director) become(ctx context.Context, state string) error {
	if d.dryRun {
		return d.show(ctx, state)
	}
	j := d.journal()
	unlock, err := j.lock(ctx)
	if err != nil {
		return err
	}
	announce, err := d.change(ctx, j, state)
	unlock()
	if !announce {
		return err
	}
	return errors.Join(err, d.announce(ctx, j))
}

// change is the part of become that only one run may do at a time. It reports whether the addresses are to be announced. A
// run that is interrupted leaves the record of before with the table of before.
func (d *director) change(ctx context.Context, j journal, state string) (announce bool, err error) {
	last, err := j.read()
	if err != nil { // it was cut off by a crash: without it runs have no order, and that is all
		fmt.Fprintln(d.err, "failover: warning:", err)
	}
	if last.Writer.after(d.born) {
		fmt.Fprintf(d.out, "%s: nothing to do, keepalived has said %s since\n", state, last.State)
		return false, nil
	}
	fmt.Fprintln(d.out, state)
	now := record{State: state, Since: time.Now().UTC(), Refused: last.Refused && state != stateStop, Writer: d.born}
	if err := j.write(now); err != nil {
		return false, err
	}
	if state != stateMaster {
		return false, d.whole(ctx, j, last, d.configure(ctx, state))
	}
	found, asked := d.others(ctx)
	if err := ctx.Err(); err != nil {
		return false, d.whole(ctx, j, last, err)
	}
	now.Refused = len(found) > 0 && d.conflict == conflictRefuse
	now.Active = !now.Refused
	err = j.write(now)
	if now.Refused {
		return false, errors.Join(fmt.Errorf("making way: %s", strings.Join(found, "; ")), err, d.configure(ctx, stateBackup))
	}
	for _, text := range found {
		fmt.Fprintln(d.err, "failover: warning:", text)
	}
	err = errors.Join(asked, err, d.configure(ctx, stateMaster))
	if err != nil && ctx.Err() != nil {
		return false, d.whole(ctx, j, last, err)
	}
	return d.network != nil, err
}

// whole puts the record of before back if the run has failed because it was interrupted. A run that makes way leaves its
// own, as it is the record that has keepalived give the addresses up.
func (d *director) whole(ctx context.Context, j journal, last record, err error) error {
	if interrupt := ctx.Err(); interrupt != nil && err != nil {
		return errors.Join(err, j.write(last))
	}
	return err
}

// others asks who else answers for the addresses, and returns a sentence about each that somebody does.
func (d *director) others(ctx context.Context) (found []string, err error) {
	if d.network == nil || d.conflict == conflictIgnore {
		return nil, nil
	}
	type answer struct {
		replies []arp.Reply
		err     error
	}
	answers := make([]chan answer, len(d.vips))
	for i, vip := range d.vips {
		answers[i] = make(chan answer, 1)
		go func() {
			r, err := d.network.Probe(ctx, d.device, vip, &arp.ProbeOptions{Count: 3, Wait: d.wait})
			answers[i] <- answer{r, err}
		}()
	}
	for i, vip := range d.vips {
		a := <-answers[i]
		if a.err != nil {
			err = errors.Join(err, a.err)
		}
		var stations []string
		for _, r := range a.replies {
			stations = append(stations, r.HardwareAddr.String())
		}
		if len(stations) > 0 {
			found = append(found, fmt.Sprintf("%v is answered for by %s too: another director is active, or a real server does not keep quiet",
				vip, strings.Join(stations, ", ")))
		}
	}
	return found, err
}

// wanted is the table for a state. Services that the rules do not name are left alone.
func (d *director) wanted(state string) (ipvs.Ruleset, ipvs.ApplyOptions) {
	want := d.rules
	if state == stateStop {
		want = ipvs.Ruleset{}
	}
	if d.syncDev != "" {
		switch state {
		case stateMaster:
			want.Daemons = []ipvs.Daemon{{State: ipvs.Master, Interface: d.syncDev, SyncID: d.syncID}}
		case stateStop:
			want.Daemons = []ipvs.Daemon{}
		default:
			want.Daemons = []ipvs.Daemon{{State: ipvs.Backup, Interface: d.syncDev, SyncID: d.syncID}}
		}
	}
	opts := ipvs.ApplyOptions{DiffOptions: ipvs.DiffOptions{KeepWeights: !d.weights, Owned: d.owns}}
	return want, opts
}

// owns reports whether a service is one of the rules'.
func (d *director) owns(id ipvs.ServiceID) bool {
	return slices.ContainsFunc(d.rules.Services, func(s ipvs.ServiceRules) bool { return s.ID == id })
}

// configure makes the table that of a state. What fails is reported, and the rest is done, as a director that is active with
// some of its services is better than one without any; but a run that is interrupted half-way takes back what it has done.
func (d *director) configure(ctx context.Context, state string) error {
	before, err := d.client.Ruleset(ctx)
	if err != nil {
		return err
	}
	want, opts := d.wanted(state)
	report, err := d.client.Apply(ctx, want, &opts)
	d.print(report, "")
	if err == nil || ctx.Err() == nil || len(report.Changes) == 0 {
		return err
	}
	undo := ipvs.Ruleset{Timeouts: before.Timeouts, Daemons: before.Daemons, Services: []ipvs.ServiceRules{}}
	if undo.Daemons == nil {
		undo.Daemons = []ipvs.Daemon{}
	}
	for _, s := range before.Services {
		if d.owns(s.ID) {
			undo.Services = append(undo.Services, s)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	opts.KeepWeights = false
	report, undoErr := d.client.Apply(ctx, undo, &opts)
	d.print(report, "taking back: ")
	return errors.Join(err, undoErr)
}

// print shows what took effect.
func (d *director) print(r ipvs.Report, prefix string) {
	for i := range r.Changes {
		if r.Outcomes[i].State == ipvs.Applied {
			fmt.Fprintf(d.out, "%s%v\n", prefix, &r.Changes[i])
		}
	}
}

// announce tells the neighbours where the addresses are, until keepalived has said something else.
func (d *director) announce(ctx context.Context, j journal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := errors.New("keepalived has said something else since")
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			if r, err := j.read(); err == nil && r.Writer != d.born {
				cancel(over)
			}
		}
	}()
	fmt.Fprintf(d.out, "announce %s on %s\n", d.list(), d.device)
	err := d.network.Announce(ctx, d.device, d.vips, &arp.AnnounceOptions{Forms: announceForms})
	if err != nil && context.Cause(ctx) == over {
		return nil
	}
	return err
}

// list is the addresses in one string.
func (d *director) list() string {
	var words []string
	for _, a := range d.vips {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// show says what become would do.
func (d *director) show(ctx context.Context, state string) error {
	want, opts := d.wanted(state)
	opts.DryRun = true
	report, err := d.client.Apply(ctx, want, &opts)
	if err != nil {
		return err
	}
	active := state == stateMaster && d.network != nil
	if active && d.conflict != conflictIgnore {
		fmt.Fprintf(d.out, "ask who else answers for %s on %s (%s)\n", d.list(), d.device, d.conflict)
	}
	for i := range report.Changes {
		fmt.Fprintln(d.out, &report.Changes[i])
	}
	switch {
	case active:
		fmt.Fprintf(d.out, "announce %s on %s\n", d.list(), d.device)
	case len(report.Changes) == 0:
		fmt.Fprintln(d.out, "nothing to do")
	}
	return nil
}

// check says whether this director may be active: it may not while it makes way for somebody else who answers. One that is
// active stays so, and tells the neighbours again where the addresses are while somebody else says otherwise; but not if it
// does not have them, as after keepalived was killed and started again.
func (d *director) check(ctx context.Context) error {
	j := d.journal()
	r, err := j.read()
	if err != nil { // nothing is known, and a director is better than none
		fmt.Fprintln(d.err, "failover: warning:", err)
		return nil
	}
	if !r.Refused && !r.Active {
		return nil
	}
	if r.Active && d.network != nil {
		if here, err := d.here(ctx); err != nil || len(here) < len(d.vips) {
			return nil
		}
	}
	found, err := d.others(ctx)
	switch {
	case err != nil && r.Active:
		return nil // keepalived looks after the device
	case err != nil:
		return err
	case len(found) > 0 && r.Active:
		fmt.Fprintf(d.out, "announce %s on %s: %s\n", d.list(), d.device, strings.Join(found, "; "))
		return d.network.Announce(ctx, d.device, d.vips, &arp.AnnounceOptions{Count: 1, Rounds: 1, Forms: announceForms})
	case len(found) > 0:
		return fmt.Errorf("making way: %s", strings.Join(found, "; "))
	case r.Active:
		return nil
	}
	unlock, err := j.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := j.read()
	if err != nil || now.Writer != r.Writer {
		return err // keepalived has said something meanwhile, and the next check sees to it
	}
	now.Refused = false
	fmt.Fprintln(d.out, "nobody else answers any more")
	return j.write(now)
}

// announceForms are for neighbours of all kinds.
var announceForms = []arp.Form{arp.RequestForm, arp.ReplyForm}
