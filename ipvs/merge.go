package ipvs

import (
	"slices"
	"time"
)

// Merge returns r with other laid over it: a service that both have is as other has it, with other's destinations only,
// and in its place in r; the rest of other's services follow. Of the timeouts those that other leaves zero are r's, of the
// daemons those of a state that other does not have. A part that one of them leaves nil is the other's. What is returned
// shares no service, timeouts or daemons with either, but the lists of destinations.
//
// It puts a table together from parts that different people write, such as one file for each team.
func (r Ruleset) Merge(other Ruleset) Ruleset {
	merged := Ruleset{
		Services: overlay(r.Services, other.Services, func(s *ServiceRules) ServiceID {
			if id, err := s.ID.canonical(); err == nil {
				return id
			}
			return s.ID
		}),
		Daemons: overlay(r.Daemons, other.Daemons, func(d *Daemon) DaemonState { return d.State }),
	}
	for _, t := range []*Timeouts{r.Timeouts, other.Timeouts} {
		if t == nil {
			continue
		}
		if merged.Timeouts == nil {
			merged.Timeouts = new(Timeouts)
		}
		for _, f := range [...]struct{ to, from *time.Duration }{
			{&merged.Timeouts.TCP, &t.TCP}, {&merged.Timeouts.TCPFin, &t.TCPFin}, {&merged.Timeouts.UDP, &t.UDP},
		} {
			if *f.from != 0 {
				*f.to = *f.from
			}
		}
	}
	return merged
}

// overlay returns a copy of one list in which what has the key of something in the other one is replaced by that; the rest of
// the other one follows.
func overlay[T any, K comparable](list, over []T, key func(*T) K) []T {
	if list == nil && over == nil {
		return nil
	}
	merged := append(make([]T, 0, len(list)+len(over)), list...)
	place := make(map[K]int, len(merged))
	for i := range merged {
		place[key(&merged[i])] = i
	}
	for i := range over {
		k := key(&over[i])
		if at, ok := place[k]; ok {
			merged[at] = over[i]
			continue
		}
		place[k] = len(merged)
		merged = append(merged, over[i])
	}
	return slices.Clip(merged)
}
