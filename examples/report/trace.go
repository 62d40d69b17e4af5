package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// drain takes a server out of service by its weight.
type drain struct {
	server   int     // of the first service, from 1
	at, back float64 // seconds; back 0 is never
}

func parseDrain(s string) (d drain, err error) {
	bad := errors.New("not SERVER@TIME or SERVER@TIME-BACK, with a server from 1 and times in seconds")
	server, times, found := strings.Cut(s, "@")
	if d.server, err = strconv.Atoi(server); err != nil || d.server < 1 || !found {
		return d, bad
	}
	at, back, returns := strings.Cut(times, "-")
	if d.at, err = strconv.ParseFloat(at, 64); err != nil || !(d.at >= 0 && d.at <= math.MaxFloat64) {
		return d, bad
	}
	if returns {
		if d.back, err = strconv.ParseFloat(back, 64); err != nil || !(d.back > d.at && d.back <= math.MaxFloat64) {
			return d, bad
		}
	}
	return d, nil
}

// trace is a trace of lvssim, as far as it configures the director.
type trace struct {
	lines    []traceLine
	services []*history // in order of appearance
	end      float64    // the last time it names
}

type traceLine struct {
	text string
	rule *ipvsadm.Operation // nil for events
}

// history is what becomes of the servers of a service.
type history struct {
	id      ipvs.ServiceID
	servers []netip.AddrPort // all that it ever has, sorted
	states  []state          // in order of time
	events  []incident
}

// state are the weights from a time on. A server that is not there is not in the map.
type state struct {
	at      float64
	weights map[netip.AddrPort]uint32
}

// An incident is a change that concerns clients.
type incident struct {
	At     float64        `json:"at"`
	Server netip.AddrPort `json:"server"`
	Kind   string         `json:"kind"` // removed, drained, back or reweighted
	Weight uint32         `json:"weight"`
}

// name is what the pictures call an incident.
func (i incident) name() string {
	switch i.Kind {
	case "reweighted":
		return fmt.Sprintf("%v gets weight %d at %s s", i.Server, i.Weight, number(i.At))
	case "back":
		return fmt.Sprintf("%v is back at %s s", i.Server, number(i.At))
	}
	return fmt.Sprintf("%v is %s at %s s", i.Server, i.Kind, number(i.At))
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// parseTrace reads a trace and adds the drains. lvssim judges it; here only what configures has to be understood.
func parseTrace(ctx context.Context, text []byte, drains []drain) (*trace, error) {
	t := &trace{}
	parser := ipvsadm.Parser{Strict: true, Lossless: true}
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := traceLine{text: strings.TrimSpace(string(raw))}
		if strings.HasPrefix(line.text, "-") {
			op, err := parser.ParseLine(ctx, line.text)
			if err != nil {
				return nil, fmt.Errorf("trace, line %d: %w", n, err)
			}
			line.rule = &op
		}
		if _, _, err := line.time(); err != nil {
			return nil, fmt.Errorf("trace, line %d: %w", n, err)
		}
		t.lines = append(t.lines, line)
	}
	if err := t.insert(drains); err != nil {
		return nil, err
	}
	t.follow()
	if len(t.services) == 0 {
		return nil, errors.New("the trace has no service")
	}
	return t, nil
}

// time returns the time of a line "at SECONDS".
func (l traceLine) time() (at float64, ok bool, err error) {
	words := strings.Fields(l.text)
	if len(words) != 2 || words[0] != "at" {
		return 0, false, nil
	}
	at, err = strconv.ParseFloat(words[1], 64)
	return at, err == nil, err
}

// insert adds what the drains do at their times.
func (t *trace) insert(drains []drain) error {
	var dests []ipvsadm.Operation // of the first service
	for _, l := range t.lines {
		if l.rule != nil && l.rule.Command == ipvsadm.AddDestination && (len(dests) == 0 || l.rule.Service.ID == dests[0].Service.ID) {
			known := slices.ContainsFunc(dests, func(op ipvsadm.Operation) bool { return op.Destination.Addr == l.rule.Destination.Addr })
			if !known {
				dests = append(dests, *l.rule)
			}
		}
	}
	for _, d := range drains {
		if d.server > len(dests) {
			return fmt.Errorf("there is no server %d to drain, but %d", d.server, len(dests))
		}
		op := dests[d.server-1]
		op.Command = ipvsadm.SetDestination
		weight := op.Destination.Weight
		op.Destination.Weight = 0
		t.insertAt(d.at, op)
		if d.back > 0 {
			op.Destination.Weight = weight
			t.insertAt(d.back, op)
		}
	}
	return nil
}

func (t *trace) insertAt(at float64, op ipvsadm.Operation) {
	i := slices.IndexFunc(t.lines, func(l traceLine) bool {
		then, ok, _ := l.time()
		return ok && then > at
	})
	if i < 0 {
		i = len(t.lines)
	}
	t.lines = slices.Insert(t.lines, i, traceLine{text: "at " + number(at)}, traceLine{text: op.String(), rule: &op})
}

// follow finds out what becomes of the servers.
func (t *trace) follow() {
	now := 0.0
	for _, l := range t.lines {
		if at, ok, _ := l.time(); ok {
			now = at
			t.end = max(t.end, at)
		}
		if l.rule == nil {
			continue
		}
		switch op := l.rule; op.Command {
		case ipvsadm.AddService:
			t.service(op.Service.ID).put(now, map[netip.AddrPort]uint32{})
		case ipvsadm.DeleteService:
			t.service(op.Service.ID).put(now, map[netip.AddrPort]uint32{})
		case ipvsadm.Flush:
			for _, h := range t.services {
				h.put(now, map[netip.AddrPort]uint32{})
			}
		case ipvsadm.AddDestination, ipvsadm.SetDestination, ipvsadm.DeleteDestination:
			t.service(op.Service.ID).change(now, op)
		}
	}
}

// service returns the history of a service, a new one at first.
func (t *trace) service(id ipvs.ServiceID) *history {
	if i := slices.IndexFunc(t.services, func(h *history) bool { return h.id == id }); i >= 0 {
		return t.services[i]
	}
	h := &history{id: id, states: []state{{weights: map[netip.AddrPort]uint32{}}}}
	t.services = append(t.services, h)
	return h
}

// put adds a state, and the incidents that lead to it.
func (h *history) put(now float64, weights map[netip.AddrPort]uint32) {
	old := h.states[len(h.states)-1].weights
	h.states = append(h.states, state{now, weights})
	for _, addr := range h.servers {
		before, was := old[addr]
		after, is := weights[addr]
		kind := ""
		switch {
		case now == 0 || was == is && before == after:
			continue // at the start everything is being set up
		case was && !is:
			kind = "removed"
		case after == 0:
			kind = "drained"
		case before == 0:
			kind = "back"
		default:
			kind = "reweighted"
		}
		h.events = append(h.events, incident{now, addr, kind, after})
	}
}

func (h *history) change(now float64, op *ipvsadm.Operation) {
	weights := make(map[netip.AddrPort]uint32)
	for addr, w := range h.states[len(h.states)-1].weights {
		weights[addr] = w
	}
	addr := op.Destination.Addr
	if i, found := slices.BinarySearchFunc(h.servers, addr, netip.AddrPort.Compare); !found {
		h.servers = slices.Insert(h.servers, i, addr)
	}
	if op.Command == ipvsadm.DeleteDestination {
		delete(weights, addr)
	} else {
		weights[addr] = op.Destination.Weight
	}
	h.put(now, weights)
}

// at returns the weights at a time, those after all changes of that moment.
func (h *history) at(now float64) map[netip.AddrPort]uint32 {
	i, _ := slices.BinarySearchFunc(h.states, now, func(s state, now float64) int {
		if s.at <= now {
			return -1
		}
		return 1
	})
	return h.states[max(0, i-1)].weights
}

// find returns the service that a connection belongs to.
func (t *trace) find(protocol ipvs.Protocol, virtual netip.AddrPort, mark uint32) *history {
	ids := []ipvs.ServiceID{{Protocol: protocol, Addr: virtual}, {Protocol: protocol, Addr: netip.AddrPortFrom(virtual.Addr(), 0)}}
	if mark != 0 {
		family := ipvs.IPv4
		if virtual.Addr().Is6() {
			family = ipvs.IPv6
		}
		ids = slices.Insert(ids, 0, ipvs.Mark(mark, family))
	}
	for _, id := range ids {
		for _, h := range t.services {
			if h.id == id {
				return h
			}
		}
	}
	return nil
}

// with returns the trace with another scheduler for all services.
func (t *trace) with(scheduler string) []byte {
	var b bytes.Buffer
	for _, l := range t.lines {
		if l.rule != nil && (l.rule.Command == ipvsadm.AddService || l.rule.Command == ipvsadm.SetService) {
			op := *l.rule
			op.Service.Scheduler = scheduler
			fmt.Fprintln(&b, op)
			continue
		}
		fmt.Fprintln(&b, l.text)
	}
	return b.Bytes()
}
