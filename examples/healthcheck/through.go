package main

import (
	"context"
	"errors"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// counts reports whether a result says something about the real server. A question to a virtual address reaches it by the
// service of a mark. Without that the director itself answers or refuses, or nobody does, and so the result counts only if
// the service was there from the beginning of the check to its end. What another program took away comes back at once, and
// then the question is asked again, if this result is the first one in a row that does not count.
func (m *monitor) counts(ctx context.Context, o outcome, timer *time.Timer) bool {
	p := m.engine.probes[o.key]
	if p == nil || p.Mark == 0 {
		return true
	}
	begin := o.at.Add(-o.took)
	missing := m.missing(ctx, p.question, o.err != nil)
	if missing == "" && !begin.Before(m.mended) {
		p.void = false
		return true
	}
	if missing != "" {
		if !p.void {
			m.log.Warn("check does not count", "check", p.question.String(), "reason", missing)
		}
		if err := m.prepare(ctx, m.engine.cfg); err != nil && !p.void {
			m.log.Error("cannot prepare the host for checks through virtual addresses", errorAttrs(err)...)
		}
		m.sync(ctx, timer)
	}
	if !p.void {
		select {
		case m.running[o.key].again <- struct{}{}:
		default:
		}
	}
	p.void = true
	return false
}

// missing says what keeps a question to a virtual address from its real server; nothing if that cannot be found out. The
// settings of the host keep answers back, and are looked at after a failure only.
func (m *monitor) missing(ctx context.Context, q question, failed bool) string {
	for _, mb := range m.engine.members {
		if mb.mark != q.Mark {
			continue
		}
		want := mb.probing()
		id, server := want.ID, want.Destinations[0]
		switch list, err := m.kernel.Destinations(ctx, id); {
		case errors.Is(err, ipvs.ErrNoService):
			return "there is no service " + id.String() + " any more"
		case err == nil && (len(list) != 1 || list[0].Addr != server.Addr || list[0].Weight == 0):
			return "service " + id.String() + " has another server"
		case err == nil && list[0].Forward != server.Forward && list[0].Forward != ipvs.LocalNode: // which the kernel makes of its own address
			return "service " + id.String() + " forwards in another way"
		}
	}
	if !failed {
		return ""
	}
	if plan, err := m.host.plan(m.engine.cfg); err == nil && !plan.Empty() {
		return "settings of this host have changed"
	}
	return ""
}

// probing is the service by which one real server is asked.
func (m *member) probing() ipvs.ServiceRules {
	d := m.real.kernel(1)
	d.UpperThreshold, d.LowerThreshold = 0, 0
	return ipvs.ServiceRules{
		Service:      ipvs.Service{ID: ipvs.Mark(m.mark, m.service.Service.AddrFamily()), Scheduler: "rr"},
		Destinations: []ipvs.Destination{d},
	}
}
