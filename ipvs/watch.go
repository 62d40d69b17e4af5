package ipvs

import (
	"context"
	"iter"
	"net/netip"
	"time"
)

// EventKind says what [Client.Watch] has seen.
type EventKind uint8

// Kinds of events.
const (
	ServiceAdded EventKind = iota + 1
	ServiceEdited
	ServiceRemoved
	DestinationAdded
	DestinationEdited
	DestinationRemoved
	Counted // connections or counters of a destination have moved
)

var eventNames = [...]string{
	"none", ServiceAdded: "service added", ServiceEdited: "service edited", ServiceRemoved: "service removed",
	DestinationAdded: "destination added", DestinationEdited: "destination edited", DestinationRemoved: "destination removed",
	Counted: "counted",
}

// String returns a few words, such as "destination edited".
func (k EventKind) String() string { return enumString(eventNames[:], "event", uint8(k)) }

// MarshalText returns the form of String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Event is a difference between two looks at the table.
type Event struct {
	Kind    EventKind     `json:"kind"`
	Service ServiceStatus `json:"service"` // as it is; as it was, if it was removed

	// Destination is as it is, or was if it was removed; the zero value for events about the service itself.
	Destination DestinationStatus `json:"destination,omitzero"`

	// Before is the configuration of a service or destination that was edited.
	ServiceBefore     Service     `json:"serviceBefore,omitzero"`
	DestinationBefore Destination `json:"destinationBefore,omitzero"`

	// Delta has the counters since the last look, for Counted; its rates are those of now.
	Delta Stats `json:"delta,omitzero"`

	// Reset says that a counter went backwards: it was set to zero meanwhile, and Delta counts from there.
	Reset bool `json:"reset,omitzero"`
}

// Watch looks at the table at an interval and yields what has changed; the kernel itself tells nobody. The first look
// yields everything as added. Less than two seconds gains nothing for counters, which the kernel refreshes every two.
//
// A look that fails yields its error, and the next one follows; the sequence ends with the context, without an error,
// or when the client is closed. What changes twice between two looks is seen once or not at all.
func (c *Client) Watch(ctx context.Context, interval time.Duration) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		tick := time.NewTicker(max(interval, time.Millisecond))
		defer tick.Stop()
		before := map[ServiceID]*ServiceSnapshot{}
		for {
			s, err := c.Snapshot(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				if !yield(Event{}, err) || c.usable(ctx) != nil {
					return
				}
			default:
				now := make(map[ServiceID]*ServiceSnapshot, len(s.Services))
				for i := range s.Services {
					now[s.Services[i].ID] = &s.Services[i]
				}
				if !events(before, now, s.Services, func(e Event) bool { return yield(e, nil) }) {
					return
				}
				before = now
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// events yields the differences of two tables, in the order of the newer one, with what was removed at the end, and
// reports whether to go on.
func events(before, now map[ServiceID]*ServiceSnapshot, order []ServiceSnapshot, yield func(Event) bool) bool {
	for i := range order {
		s := &order[i]
		old, ok := before[s.ID]
		switch {
		case !ok:
			if !yield(Event{Kind: ServiceAdded, Service: s.ServiceStatus}) {
				return false
			}
			old = &ServiceSnapshot{}
		case old.Service != s.Service:
			if !yield(Event{Kind: ServiceEdited, Service: s.ServiceStatus, ServiceBefore: old.Service}) {
				return false
			}
		}
		if !destinationEvents(s.ServiceStatus, old.Destinations, s.Destinations, yield) {
			return false
		}
	}
	for id, old := range before {
		if _, ok := now[id]; !ok && !yield(Event{Kind: ServiceRemoved, Service: old.ServiceStatus}) {
			return false
		}
	}
	return true
}

func destinationEvents(s ServiceStatus, before, now []DestinationStatus, yield func(Event) bool) bool {
	old := make(map[netip.AddrPort]*DestinationStatus, len(before))
	for i := range before {
		old[before[i].Addr] = &before[i]
	}
	for i := range now {
		d := now[i]
		b, ok := old[d.Addr]
		delete(old, d.Addr)
		if !ok {
			if !yield(Event{Kind: DestinationAdded, Service: s, Destination: d}) {
				return false
			}
			continue
		}
		if b.Destination != d.Destination && !yield(Event{Kind: DestinationEdited, Service: s, Destination: d, DestinationBefore: b.Destination}) {
			return false
		}
		delta, reset := d.Stats.since(b.Stats)
		moved := delta.Connections|delta.InPackets|delta.OutPackets|delta.InBytes|delta.OutBytes != 0 ||
			d.Active != b.Active || d.Inactive != b.Inactive || d.Persistent != b.Persistent
		if (moved || reset) && !yield(Event{Kind: Counted, Service: s, Destination: d, Delta: delta, Reset: reset}) {
			return false
		}
	}
	for i := range before {
		if b, ok := old[before[i].Addr]; ok && !yield(Event{Kind: DestinationRemoved, Service: s, Destination: *b}) {
			return false
		}
	}
	return true
}

// since returns what was counted since an earlier look, and whether the counters were set to zero in between.
func (s Stats) since(before Stats) (delta Stats, reset bool) {
	delta = s
	sub := func(p *uint64, b uint64, bits int) {
		switch {
		case *p >= b:
			*p -= b
		case bits == 32 && b-*p > 1<<31: // a 32-bit counter that went round
			*p += 1<<32 - b
		default:
			reset = true
		}
	}
	bits := 64
	if s.Narrow {
		bits = 32
	}
	sub(&delta.Connections, before.Connections, bits)
	sub(&delta.InPackets, before.InPackets, bits)
	sub(&delta.OutPackets, before.OutPackets, bits)
	sub(&delta.InBytes, before.InBytes, 64)
	sub(&delta.OutBytes, before.OutBytes, 64)
	if reset {
		// The others may have passed their old value already: all of them count from zero.
		delta = s
	}
	return delta, reset
}
