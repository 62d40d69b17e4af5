package main

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// engine knows the configuration and what the checks have found, and says what the table has to be. It has no clock and does
// nothing itself. It is not safe for concurrent use.
type engine struct {
	cfg     *Config
	members map[memberID]*member
	probes  map[string]*probe // by the key of the question

	// retired are services that an earlier configuration had. They are deleted with the next change of the table.
	retired map[ipvs.ServiceID]bool
}

// memberID names a real server of a service.
type memberID struct {
	service ipvs.ServiceID
	addr    netip.AddrPort
}

// member is a real server of a service.
type member struct {
	service *Service
	real    *Real
	probes  []*probe
	mark    uint32 // of the service by which the virtual address is asked, 0 for none

	known bool // whether it is up or not
	up    bool
	since time.Time // that it is back; zero if it was there from the beginning
}

// probe is a question and what came of it.
type probe struct {
	question
	health
	last    outcome
	weights average
	reading error // why the last answer has no weight
	void    bool  // the last answer did not count, as the way to the server was not there
}

// table is what the kernel has of the services of a configuration.
type table map[ipvs.ServiceID][]ipvs.DestinationStatus

// serving reports whether the table has the server with a weight.
func (t table) serving(id memberID) bool {
	return slices.ContainsFunc(t[id.service], func(d ipvs.DestinationStatus) bool { return d.Addr == id.addr && d.Weight > 0 })
}

// load takes a configuration. What it has in common with the one before keeps its state. A server that is new, but in
// service already, as after a restart of this program, is taken for up until its checks have failed often enough; others
// wait for their first check. The questions that are new and those that are gone are returned, each once.
func (e *engine) load(cfg *Config, have table) (added, gone []question) {
	before := *e
	*e = engine{cfg: cfg, members: make(map[memberID]*member), probes: make(map[string]*probe), retired: make(map[ipvs.ServiceID]bool)}
	maps.Copy(e.retired, before.retired)
	if before.cfg != nil {
		for _, s := range before.cfg.Services {
			e.retired[s.Service] = true
		}
	}
	used := make(map[uint32]bool)
	for id, m := range before.members {
		switch {
		case m.mark == 0:
		case !cfg.Through.owns(m.mark):
			e.retired[ipvs.Mark(m.mark, id.service.AddrFamily())] = true
		case cfg.has(id):
			used[m.mark] = true
		}
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		delete(e.retired, s.Service)
		for k := range s.Real {
			r := &s.Real[k]
			id := memberID{s.Service, r.Addr}
			m := &member{service: s, real: r}
			if old := before.members[id]; old != nil {
				m.known, m.up, m.since, m.mark = old.known, old.up, old.since, old.mark
			} else if have.serving(id) {
				m.known, m.up = true, true
			}
			if !r.through() {
				m.mark = 0
			} else if !used[m.mark] {
				m.mark = cfg.Through.free(used)
				used[m.mark] = true
			}
			for _, c := range r.Checks {
				q := ask(c, s, r, cfg.Through, m.mark)
				key := q.key()
				p := e.probes[key]
				if p == nil {
					if p = before.probes[key]; p == nil {
						p = &probe{question: q}
						added = append(added, q)
					}
					e.probes[key] = p
				}
				if !p.known && m.known && m.up {
					p.known, p.up = true, true
				}
				m.probes = append(m.probes, p)
			}
			e.members[id] = m
		}
	}
	for key, p := range before.probes {
		if e.probes[key] == nil {
			gone = append(gone, p.question)
		}
	}
	return added, gone
}

// has reports whether a configuration has a real server that is asked by the virtual address.
func (c *Config) has(id memberID) bool {
	return slices.ContainsFunc(c.Services, func(s Service) bool {
		return s.Service == id.service && slices.ContainsFunc(s.Real, func(r Real) bool { return r.Addr == id.addr && r.through() })
	})
}

// owns reports whether a mark is one of this program's.
func (t *Through) owns(mark uint32) bool { return t != nil && t.Marks[0] <= mark && mark <= t.Marks[1] }

// free returns the first mark that is not used. There are enough, or the configuration would not be valid.
func (t *Through) free(used map[uint32]bool) uint32 {
	mark := t.Marks[0]
	for used[mark] && mark < t.Marks[1] {
		mark++
	}
	return mark
}

// owned reports whether the program is responsible for a service.
func (e *engine) owned(id ipvs.ServiceID) bool {
	if e.retired[id] || id.IsMark() && e.cfg.Through.owns(id.FWMark) {
		return true
	}
	return slices.ContainsFunc(e.cfg.Services, func(s Service) bool { return s.Service == id })
}

// observe takes the result of a check and reports whether the table may have to change.
func (e *engine) observe(o outcome) bool {
	p := e.probes[o.key]
	if p == nil {
		return false // of a question that is not asked any more
	}
	p.last = o
	changed := p.health.observe(o.err == nil, p.Check.Rise, p.Check.Fall)
	if changed && !p.up {
		p.weights = average{} // what it said before does not count when it is back
	}
	if w := p.Check.Weight; w != nil && o.err == nil {
		var v float64
		if v, p.reading = parseNumber(o.answer); p.reading == nil {
			before := p.weights
			p.weights.add(v, *w.Smooth)
			changed = changed || !before.any || w.bounded(p.weights) != w.bounded(before)
		}
	}
	return changed
}

// transition is a real server that goes up or down.
type transition struct {
	memberID
	up     bool
	reason string // why it is down
}

// judge decides which servers are up, from what was observed up to now.
func (e *engine) judge(now time.Time) (list []transition) {
	for id, m := range e.members {
		known, up, reason := true, true, ""
		for _, p := range m.probes {
			known = known && p.known
			if p.known && !p.up {
				up = false
				if p.last.err != nil {
					reason = p.question.String() + ": " + p.last.err.Error()
				}
			}
		}
		known = known || !up // one that failed is enough
		if !known || m.known && m.up == up {
			continue
		}
		if m.known && up {
			m.since = now
		}
		m.known, m.up = true, up
		list = append(list, transition{id, up, reason})
	}
	slices.SortFunc(list, func(a, b transition) int { return a.compare(b.memberID) })
	return list
}

func (id memberID) compare(other memberID) int {
	if c := id.service.Compare(other.service); c != 0 {
		return c
	}
	return id.addr.Compare(other.addr)
}

// weight is what a server has now, and when that changes by itself; zero for never.
func (m *member) weight(now time.Time) (weight uint32, next time.Duration) {
	weight = *m.real.Weight
	if weight == 0 || !m.known || !m.up {
		return 0, 0
	}
	for _, p := range m.probes {
		if p.Check.Weight != nil && p.weights.any {
			weight = p.Check.Weight.bounded(p.weights)
		}
	}
	if m.since.IsZero() {
		return weight, 0
	}
	return slowStart(weight, now.Sub(m.since), time.Duration(m.service.SlowStart))
}

// leftoverLook is how often the connections of a server that is on its way out are looked at.
const leftoverLook = time.Second

// want says what the table has to be now, given what it is, and after which time it has to be something else even if no
// server goes up or down; zero for never. Templates of servers with weight 0 expire at once if quiescent is set.
func (e *engine) want(now time.Time, have table, quiescent bool) (rules ipvs.Ruleset, next time.Duration) {
	soon := func(d time.Duration) {
		if d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	rules.Services = []ipvs.ServiceRules{}
	for i := range e.cfg.Services {
		s := &e.cfg.Services[i]
		sr := ipvs.ServiceRules{Service: s.kernel()}
		var probing []ipvs.ServiceRules
		serving, decided := false, true
		for k := range s.Real {
			r := &s.Real[k]
			m := e.members[memberID{s.Service, r.Addr}]
			decided = decided && m.known
			w, change := m.weight(now)
			soon(change)
			serving = serving || w > 0
			if m.up && m.known || s.Action == actionQuiesce || *r.Weight == 0 {
				sr.Destinations = append(sr.Destinations, r.kernel(w))
			}
			if m.mark != 0 {
				probing = append(probing, m.probing())
			}
		}
		// Until it is known how all servers are, as after a restart, the sorry server has the clients only if it has them now.
		if s.Sorry != nil && !serving && (decided || have.serving(memberID{s.Service, s.Sorry.Addr})) {
			sr.Destinations = append(sr.Destinations, s.Sorry.kernel(*s.Sorry.Weight))
		}
		for _, d := range have[s.Service] {
			if s.declares(d.Addr) || slices.ContainsFunc(sr.Destinations, func(w ipvs.Destination) bool { return w.Addr == d.Addr }) {
				continue
			}
			// It is the sorry server after its time, or is not in the file any more. Its connections go on, unless
			// persistence would bring new ones for ever.
			if s.Action == actionRemove || s.Persist > 0 && !quiescent || d.Active+d.Inactive == 0 {
				continue
			}
			d.Weight = 0
			sr.Destinations = append(sr.Destinations, d.Destination)
			soon(leftoverLook)
		}
		rules.Services = append(append(rules.Services, sr), probing...)
	}
	return rules, next
}

// declares reports whether a service has a real server, its sorry server aside.
func (s *Service) declares(addr netip.AddrPort) bool {
	return slices.ContainsFunc(s.Real, func(r Real) bool { return r.Addr == addr })
}

// kernel is the service as the kernel takes it.
func (s *Service) kernel() ipvs.Service {
	k := ipvs.Service{
		ID: s.Service, Scheduler: s.Scheduler, Flags: s.Flags, PE: s.Engine,
		Netmask: ipvs.MaskBits(s.Service.AddrFamily(), *s.Mask),
	}
	if s.Persist > 0 {
		k.Flags |= ipvs.Persistent
		k.Timeout = time.Duration(s.Persist)
	}
	return k
}

// kernel is the real server as the kernel takes it.
func (r *Real) kernel(weight uint32) ipvs.Destination {
	return ipvs.Destination{
		Addr: r.Addr, Forward: *r.Forward, Weight: weight,
		UpperThreshold: r.Upper, LowerThreshold: r.Lower, Tunnel: r.Tunnel,
	}
}
