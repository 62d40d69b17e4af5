package sim

import (
	"math"
	"net/netip"
)

// Report says how even the load of a service was since it was added or the report was last begun.
type Report struct {
	ID      ServiceID
	Servers []Share // in the kernel's order; those that were removed are missing

	Conns   uint64 // connections that the servers got
	Refused uint64 // packets that found no server, since the service was added

	// Variation is the coefficient of variation of the connections per weight: the standard deviation over the mean, among
	// servers with a weight. 0 is even.
	Variation float64

	// MaxOverMean is the largest number of connections per weight over the mean. 1 is even. It is 0 without connections.
	MaxOverMean float64

	// Clients is the number of clients that ever came, and Moved how many of them had another server before the report
	// began than one they got since then. Both are 0 without Config.RememberClients.
	Clients, Moved int

	// Switches is the number of connections whose client had another server with its last one, in the time of the report.
	// It is 0 without Config.RememberClients.
	Switches uint64
}

// Share is the part of a server.
type Share struct {
	Addr   netip.AddrPort
	Weight uint32
	Conns  uint64  // connections that it got
	Share  float64 // of all connections, 0 to 1
	Due    float64 // its part of the sum of the weights, 0 to 1
	Peak   int32   // most connections at a time, active and inactive
}

// memory is what is known of a client.
type memory struct {
	before, now *dest // the servers that it had when the report began, and has now
	moved       bool
}

// remember notes the server of a client.
func (d *Director) remember(s *service, client netip.Addr, t *dest) {
	if s.clients == nil {
		return
	}
	m := s.clients[client.Unmap()]
	if m.now != nil && m.now != t {
		s.switches++
	}
	if m.before != nil && m.before != t && !m.moved {
		m.moved = true
		s.moved++
	}
	m.now = t
	s.clients[client.Unmap()] = m
}

// BeginReport starts the reports of all services anew. Call it before a change to see which clients the change moves.
func (d *Director) BeginReport() {
	for _, s := range d.order {
		s.dests(func(t *dest) bool {
			t.opened, t.peak = 0, t.connections()
			return true
		})
		s.moved, s.switches = 0, 0
		for client, m := range s.clients {
			s.clients[client] = memory{before: m.now, now: m.now}
		}
	}
}

// Report returns the report of a service.
//
// The error matches ErrNoService.
func (d *Director) Report(id ServiceID) (Report, error) {
	s := d.services[id.canonical()]
	if s == nil {
		return Report{}, &Error{"report", id.String(), ErrNoService}
	}
	r := Report{ID: s.ID, Refused: s.refused, Clients: len(s.clients), Moved: s.moved, Switches: s.switches}
	var weights uint64
	for t := range s.dests {
		r.Servers = append(r.Servers, Share{Addr: t.Dest.Addr, Weight: t.Dest.Weight, Conns: t.opened, Peak: t.peak})
		r.Conns += t.opened
		weights += uint64(t.Dest.Weight)
	}
	var sum, squares, most float64
	n := 0
	for i := range r.Servers {
		v := &r.Servers[i]
		if r.Conns > 0 {
			v.Share = float64(v.Conns) / float64(r.Conns)
		}
		if weights > 0 {
			v.Due = float64(v.Weight) / float64(weights)
		}
		if v.Weight > 0 {
			load := float64(v.Conns) / float64(v.Weight)
			sum += load
			squares += load * load
			most = max(most, load)
			n++
		}
	}
	if mean := sum / float64(n); n > 0 && mean > 0 {
		r.Variation = math.Sqrt(max(squares/float64(n)-mean*mean, 0)) / mean
		r.MaxOverMean = most / mean
	}
	return r, nil
}
