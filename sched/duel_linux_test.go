package sched_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched"
)

// conn is an open connection, as the model knows it.
type conn struct {
	server *sched.Server
	kind   sched.Activity
}

// duel plays events to a director of the kernel and to the model, and compares every pick, the counters of the servers
// and their order.
type duel struct {
	t       testing.TB
	d       *director
	s       *sched.Scheduler
	servers map[int]*sched.Server // all that ever were; Data is the number
	removed map[int]time.Time
	conns   map[connID]*conn
	picks   map[variant]int
	start   time.Time
	groups  int

	// follow, if set, is told of the kernel's pick before it is counted, and judges it. Otherwise the model's pick
	// has to be the same.
	follow func(kernel *sched.Server) error
}

// difference is what a duel ends with if the model is wrong.
type difference struct {
	at    int // index of the event
	event event
	text  string
}

func (d *difference) Error() string { return fmt.Sprintf("event %d, %v: %s", d.at, d.event, d.text) }

// newDuel makes a director and a model of it.
func newDuel(t testing.TB, kind setting, name string, flags sched.Flags, rand func() uint32) *duel {
	t.Helper()
	x := &duel{
		t: t, d: newDirector(t, kind), servers: make(map[int]*sched.Server), removed: make(map[int]time.Time),
		conns: make(map[connID]*conn), picks: make(map[variant]int),
	}
	c := sched.Config{Flags: flags, Family: sched.IPv4, Rand: rand}
	if kind.v6 {
		c.Family = sched.IPv6
	}
	var err error
	if x.s, err = sched.New(name, c); err != nil {
		t.Fatal(err)
	}
	if err := x.d.addService(name, flags); err != nil {
		t.Fatal(err)
	}
	x.start = time.Now()
	return x
}

// variant is a scheduler with the flags that it reads: those of sh and mh, 0 for others.
type variant struct {
	name  string
	flags sched.Flags
}

func (v variant) String() string {
	if v.name != "sh" && v.name != "mh" {
		return v.name
	}
	if v.flags == 0 {
		return v.name + " flags none"
	}
	return v.name + " flags " + v.flags.String()
}

func (x *duel) variant() variant {
	v := variant{x.s.Name(), x.s.Flags()}
	if v.name != "sh" && v.name != "mh" {
		v.flags = 0
	}
	return v
}

// play plays events; the error is a difference, nil if there is none.
func (x *duel) play(events []event) error {
	x.t.Helper()
	for at := 0; at < len(events); {
		group := x.group(events[at:])
		for i := range group {
			group[i].at = at + i
		}
		at += len(group)
		if err := x.act(group); err != nil {
			return err
		}
		if x.groups++; x.groups%16 == 0 || at == len(events) {
			if kernel, model := x.d.counters(), x.counters(); kernel != model {
				return group[len(group)-1].differ("servers (number:weight/active/inactive)\nkernel: %s\nmodel:  %s", kernel, model)
			}
		}
	}
	return nil
}

// step is an event and its place.
type step struct {
	event
	at int
}

func (s step) differ(format string, args ...any) error {
	return &difference{s.at, s.event, fmt.Sprintf(format, args...)}
}

// group returns the first events that can be carried out in one go.
func (x *duel) group(events []event) []step {
	const most = 64
	var group []step
	seen := make(map[connID]bool)
	for _, e := range events {
		if len(group) > 0 {
			first := group[0].kind
			if len(group) == most || e.kind != first && !(e.kind.reconfigures() && first.reconfigures()) {
				break
			}
			if first == reopen || first == expire || first == open && seen[e.conns[0]] {
				break
			}
		}
		if e.kind == open {
			seen[e.conns[0]] = true
		}
		group = append(group, step{event: e})
	}
	return group
}

func (x *duel) act(group []step) error {
	x.t.Helper()
	switch kind := group[0].kind; {
	case kind.reconfigures():
		x.reconfigure(group)
		return nil
	case kind == open:
		return x.open(group)
	case kind == fin:
		return x.fin(group)
	case kind == reopen:
		return x.reopen(group[0])
	default:
		return x.expire(group[0])
	}
}

func (x *duel) reconfigure(group []step) {
	x.t.Helper()
	var changes []ipvs.Change
	for _, e := range group {
		d := x.servers[e.server]
		present := d != nil && d.Available()
		var err error
		switch {
		case e.kind == edit:
			x.s.Advance(x.now())
			x.s.SetFlags(e.flags)
			err = x.s.Switch(e.name)
			changes = append(changes, x.d.edit(e.name, e.flags))
		case e.kind == addServer && d == nil:
			d, err = x.s.Add(x.d.server(e.server), e.settings)
			if err == nil {
				d.Data = e.server
				x.servers[e.server] = d
				x.d.introduce(e.server)
			}
			changes = append(changes, x.d.destination(ipvs.DestinationAdd, e.server, e.settings))
		case e.kind == addServer && !present:
			// A removed server without connections is forgotten after two to three minutes.
			if d.Active()+d.Inactive() == 0 && time.Since(x.removed[e.server]) > 110*time.Second {
				x.t.Fatalf("this machine is too slow: the kernel may have forgotten server %d, removed %v before, in %v of this scenario",
					e.server, time.Since(x.removed[e.server]), x.now())
			}
			err = x.s.Restore(d, e.settings)
			changes = append(changes, x.d.destination(ipvs.DestinationAdd, e.server, e.settings))
		case e.kind == editServer && present:
			err = x.s.Update(d, e.settings)
			changes = append(changes, x.d.destination(ipvs.DestinationSet, e.server, e.settings))
		case e.kind == removeServer && present:
			err = x.s.Remove(d)
			x.removed[e.server] = time.Now()
			changes = append(changes, x.d.destination(ipvs.DestinationDelete, e.server, sched.Settings{}))
		}
		if err != nil {
			x.t.Fatalf("%v: %v", e, err)
		}
	}
	if changes != nil {
		x.d.do(changes...)
	}
}

func (x *duel) now() time.Duration { return time.Since(x.start) }

// open opens connections and compares the picks.
func (x *duel) open(group []step) error {
	var fresh []step
	for _, e := range group {
		if id := e.conns[0]; x.conns[id] == nil {
			fresh = append(fresh, e)
			if !x.d.setting.sloppy {
				x.d.send(x.d.packet(id, nstest.SYN))
			}
			if !x.d.setting.udp {
				x.d.send(x.d.packet(id, nstest.ACK))
			}
		}
	}
	picked := make(map[connID]int)
	for _, a := range x.d.settle() {
		if before := picked[a.conn]; before != 0 && before != a.server {
			x.t.Fatalf("%v: SYN went to %d, ACK to %d", a.conn, before, a.server)
		}
		picked[a.conn] = a.server
	}
	for _, e := range fresh {
		if err := x.pick(e, e.conns[0], picked[e.conns[0]]); err != nil {
			return err
		}
		delete(picked, e.conns[0])
	}
	if len(picked) > 0 {
		x.t.Fatalf("packets that nobody sent: %v", picked)
	}
	return nil
}

// pick compares the kernel's pick, 0 for none, with the model's and counts the connection.
func (x *duel) pick(e step, id connID, kernel int) error {
	x.picks[x.variant()]++
	var d *sched.Server
	if kernel != 0 {
		d = x.servers[kernel]
	}
	if x.follow != nil {
		if err := x.follow(d); err != nil {
			return e.differ("%v", err)
		}
	} else if model := x.s.Pick(sched.Flow{Client: id.client, Destination: id.dest}, x.now()); model != d {
		return e.differ("kernel picked %s, model %s (%v)\nservers (number:weight/active/inactive, ! overloaded): %s",
			number(d), number(model), x.variant(), x.describe())
	}
	if d == nil {
		return nil
	}
	d.Open(sched.Inactive)
	switch {
	case x.d.setting.ops:
		d.Close(sched.Inactive)
	case x.d.setting.udp:
		x.conns[id] = &conn{d, sched.Inactive}
	default:
		d.Move(sched.Active)
		x.conns[id] = &conn{d, sched.Active}
	}
	return nil
}

func number(d *sched.Server) string {
	if d == nil {
		return "none"
	}
	return fmt.Sprint(d.Data)
}

// touchable returns an open connection whose packets get through: not those of a removed server.
func (x *duel) touchable(id connID) *conn {
	if c := x.conns[id]; c != nil && c.server.Available() {
		return c
	}
	return nil
}

func (x *duel) fin(group []step) error {
	x.t.Helper()
	for _, e := range group {
		c := x.touchable(e.conns[0])
		if c == nil || c.kind == sched.Inactive {
			continue
		}
		x.d.send(x.d.packet(e.conns[0], nstest.FIN|nstest.ACK))
		c.server.Move(sched.Inactive)
		c.kind = sched.Inactive
	}
	x.d.settle()
	return nil
}

// reopen resets a TCP connection and opens it again. The new one is scheduled while the old one still counts.
func (x *duel) reopen(e step) error {
	x.t.Helper()
	id := e.conns[0]
	c := x.touchable(id)
	if c == nil || x.d.setting.udp {
		return nil
	}
	x.d.send(x.d.packet(id, nstest.RST))
	if c.kind == sched.Active {
		c.server.Move(sched.Inactive)
	}
	x.d.settle()
	x.d.send(x.d.packet(id, nstest.SYN))
	kernel := 0
	for _, a := range x.d.settle() {
		kernel = a.server
	}
	delete(x.conns, id)
	if err := x.pick(e, id, kernel); err != nil {
		return err
	}
	c.server.Close(sched.Inactive)
	if err := x.wait(e); err != nil {
		return err
	}
	if x.conns[id] == nil {
		return nil // an ACK by itself would be scheduled where sloppy_tcp is on
	}
	x.d.send(x.d.packet(id, nstest.ACK))
	x.d.settle()
	return nil
}

// expire lets connections end: their next packet, while the timeouts are short, restarts their timers.
func (x *duel) expire(e step) error {
	x.t.Helper()
	const short = time.Second
	x.d.do(ipvs.Change{Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{TCPFin: short, UDP: short}})
	ended := 0
	for _, id := range e.conns {
		c := x.touchable(id)
		if c == nil {
			continue
		}
		x.d.send(x.d.packet(id, nstest.FIN|nstest.ACK))
		c.server.Close(c.kind)
		delete(x.conns, id)
		ended++
	}
	x.d.settle()
	x.d.do(ipvs.Change{Kind: ipvs.TimeoutsSet, Timeouts: ipvs.Timeouts{TCPFin: never, UDP: never}})
	if ended == 0 {
		return nil
	}
	time.Sleep(short)
	return x.wait(e)
}

// wait waits until the kernel's counters are those of the model.
func (x *duel) wait(e step) error {
	x.t.Helper()
	model := x.counters()
	for begin := time.Now(); ; time.Sleep(4 * time.Millisecond) {
		kernel := x.d.counters()
		if kernel == model {
			return nil
		}
		if took := time.Since(begin); took > time.Minute { // all that the kernel does later is due within a second or so
			return e.differ("servers (number:weight/active/inactive) after %v\nkernel: %s\nmodel:  %s", took, kernel, model)
		}
	}
}

// counters describes the servers in the order of the list.
func (x *duel) counters() string {
	var b strings.Builder
	for d := range x.s.Servers() {
		fmt.Fprintf(&b, "%d:%d/%d/%d ", d.Data, d.Weight(), d.Active(), d.Inactive())
	}
	return b.String()
}

// describe adds to that which servers are overloaded.
func (x *duel) describe() string {
	var b strings.Builder
	for d := range x.s.Servers() {
		over := ""
		if d.Overloaded() {
			over = "!"
		}
		fmt.Fprintf(&b, "%d:%d/%d/%d%s ", d.Data, d.Weight(), d.Active(), d.Inactive(), over)
	}
	return b.String()
}
