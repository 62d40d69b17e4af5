package main

import (
	"net/netip"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// status is what the program knows, as JSON.
type status struct {
	Services []serviceStatus `json:"services"`
	Warnings []string        `json:"warnings"` // what on this host keeps servers that are out of service from being left alone
}

type serviceStatus struct {
	Service ipvs.ServiceID `json:"service"`
	Sorry   bool           `json:"sorry"` // the sorry server has the clients
	Real    []realStatus   `json:"real"`
}

type realStatus struct {
	Addr   netip.AddrPort `json:"addr"`
	State  string         `json:"state"` // up, down, unknown; disabled by weight 0
	Weight uint32         `json:"weight"`
	Checks []checkStatus  `json:"checks"`
}

type checkStatus struct {
	Check  string    `json:"check"`
	State  string    `json:"state"`
	Streak int       `json:"streak,omitzero"` // results in a row that contradict the state
	At     time.Time `json:"at,omitzero"`     // of the last answer
	Millis float64   `json:"millis,omitzero"` // that it took
	Error  string    `json:"error,omitzero"`
}

// status describes the servers as they are now.
func (e *engine) status(now time.Time) status {
	st := status{Services: []serviceStatus{}, Warnings: []string{}}
	for i := range e.cfg.Services {
		s := &e.cfg.Services[i]
		ss := serviceStatus{Service: s.Service, Sorry: s.Sorry != nil, Real: []realStatus{}}
		for k := range s.Real {
			m := e.members[memberID{s.Service, s.Real[k].Addr}]
			rs := realStatus{Addr: m.real.Addr, State: state(m.known, m.up), Checks: []checkStatus{}}
			rs.Weight, _ = m.weight(now)
			if *m.real.Weight == 0 {
				rs.State = "disabled"
			}
			ss.Sorry = ss.Sorry && rs.Weight == 0 && m.known
			for _, p := range m.probes {
				cs := checkStatus{
					Check: p.question.String(), State: state(p.known, p.up), Streak: p.streak,
					At: p.last.at, Millis: float64(p.last.took.Microseconds()) / 1000,
				}
				if p.last.err != nil {
					cs.Error = p.last.err.Error()
				} else if p.reading != nil {
					cs.Error = p.reading.Error()
				}
				rs.Checks = append(rs.Checks, cs)
			}
			ss.Real = append(ss.Real, rs)
		}
		st.Services = append(st.Services, ss)
	}
	return st
}

func state(known, up bool) string {
	switch {
	case !known:
		return "unknown"
	case up:
		return "up"
	}
	return "down"
}

// down counts the servers that are not up and should be.
func (st status) down() (n int) {
	for _, s := range st.Services {
		for _, r := range s.Real {
			if r.State != "up" && r.State != "disabled" {
				n++
			}
		}
	}
	return n
}
