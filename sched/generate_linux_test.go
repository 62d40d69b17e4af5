package sched_test

import (
	"math/rand/v2"
	"net/netip"

	"github.com/golvs/lvs/sched"
)

// scenario is a kind of service and what happens to it.
type scenario struct {
	setting setting
	name    string
	flags   sched.Flags
	events  []event
}

// generator makes random events. It knows neither picks nor counters.
type generator struct {
	*rand.Rand
	scenario
	present []int    // numbers of servers in the list
	conns   []connID // opened and not expired, if the kernel took them
	seen    map[connID]bool
	dests   []netip.Addr
	clients []netip.Addr
	heavy   int32 // weights are mostly below, in units
	unit    int32 // divides nearly all weights
	limited int   // percentage of servers with thresholds
	opened  int   // under the scenario's own scheduler
}

// generate makes a scenario with the given number of connections under a scheduler.
func generate(r *rand.Rand, name string, flags sched.Flags, connections int) scenario {
	g := &generator{Rand: r, seen: make(map[connID]bool)}
	g.name, g.flags = name, flags
	g.setting = setting{v6: g.IntN(4) == 0, mark: g.IntN(2) == 0, udp: g.IntN(2) == 0}
	switch name {
	case "dh", "lblc", "lblcr":
		g.setting.mark = g.IntN(8) > 0
	}
	switch name {
	case "lc", "wlc", "sed", "nq", "ovf", "lblc", "lblcr":
		g.setting.udp = g.IntN(6) == 0
	}
	g.setting.ops = g.setting.udp && name == "twos" && g.IntN(2) == 0
	g.setting.sloppy = !g.setting.udp && g.IntN(3) > 0
	g.addresses()
	g.heavy = []int32{3, 10, 30, 300}[g.IntN(4)]
	g.unit = []int32{1, 1, 2, 3, 4, 10}[g.IntN(6)]
	g.limited = []int{10, 25, 25, 90}[g.IntN(4)]
	if name == "wrr" { // whose levels depend on the divisor of all weights
		g.unit, g.heavy = []int32{1, 2, 3, 4}[g.IntN(4)], min(g.heavy, 30)
	}
	if name == "twos" { // whose draws favour one server by a unit of weight
		g.heavy = min(g.heavy, 10)
	}
	if (name == "lc" || name == "wlc") && g.IntN(2) == 0 {
		g.pile(connections / 2)
	}
	g.resize(1 + g.size())
	for g.opened < connections {
		g.step(connections)
	}
	return g.scenario
}

// addresses chooses the addresses of clients and those that they call.
func (g *generator) addresses() {
	vip := vip4
	if g.setting.v6 {
		vip = vip6
	}
	g.dests = []netip.Addr{vip}
	if g.setting.mark {
		g.dests = nil
		for range []int{3, 30, 300}[g.IntN(3)] {
			low := g.Uint64()
			a := netip.AddrFrom4([4]byte{172, 16 | byte(low>>16)&15, byte(low >> 8), byte(low)})
			if g.setting.v6 {
				a = g.addr6(0xfd, 0x16)
			}
			g.dests = append(g.dests, a)
		}
	}
	for range []int{5, 100, 5000}[g.IntN(3)] {
		a := netip.AddrFrom4([4]byte{11 + byte(g.IntN(100)), byte(g.IntN(256)), byte(g.IntN(256)), byte(g.IntN(256))})
		if g.setting.v6 {
			a = g.addr6(0x20|byte(g.IntN(16)), byte(g.IntN(256)))
		}
		g.clients = append(g.clients, a)
	}
}

// addr6 returns an IPv6 address that begins with two given bytes, and is random elsewhere or only at its end.
func (g *generator) addr6(b0, b1 byte) netip.Addr {
	a := [16]byte{b0, b1, 15: byte(g.IntN(256))}
	if g.IntN(2) == 0 {
		for i := 2; i < 16; i++ {
			a[i] = byte(g.IntN(256))
		}
	}
	return netip.AddrFrom16(a)
}

func (g *generator) add(e event) { g.events = append(g.events, e) }

func (g *generator) step(connections int) {
	switch p := g.IntN(100); {
	case p < 58:
		g.open(min(1+g.IntN(25), connections-g.opened))
	case p < 70:
		n := g.IntN(20)
		if g.IntN(4) == 0 {
			n = g.IntN(1 + len(g.conns))
		}
		for range n {
			g.on(fin)
		}
	case p < 80:
		for range 1 + g.IntN(3) {
			g.set()
		}
	case p < 86:
		g.remove()
	case p < 91:
		g.insert()
	case p < 93:
		g.resize(g.size())
	case p < 95:
		g.digress()
	case p < 98:
		g.on(reopen)
	default:
		g.expire()
	}
}

// size returns the number of servers that there shall be, less than 40.
func (g *generator) size() int {
	if g.IntN(2) == 0 {
		return g.IntN(5)
	}
	return g.IntN(40)
}

// pile leaves one connection active and ends many others, on two servers. It takes so many for the load of one active
// connection to show: 257 inactive ones, not 256.
func (g *generator) pile(n int) {
	for _, server := range []int{1, 2} {
		g.present = append(g.present, server)
		g.add(event{kind: addServer, server: server, settings: sched.Settings{Weight: 1 + g.Int32N(2)}})
	}
	g.setting.udp = false
	g.open(1)
	for g.opened < n {
		g.open(1)
		g.add(event{kind: fin, conns: []connID{g.conns[len(g.conns)-1]}})
	}
}

func (g *generator) weight() int32 {
	if g.IntN(2+len(g.present)) == 0 { // so that the divisor of all weights comes and goes
		return 1 + g.Int32N(g.heavy)
	}
	switch g.IntN(8) {
	case 0:
		return 0
	case 1:
		return g.unit
	case 2:
		return 2 * g.unit * g.Int32N(g.heavy)
	case 3:
		if g.IntN(12) == 0 {
			return g.unit * g.Int32N(5000/g.unit)
		}
	}
	return g.unit * (1 + g.Int32N(g.heavy))
}

func (g *generator) settings() sched.Settings {
	c := sched.Settings{Weight: g.weight()}
	if g.IntN(100) < g.limited {
		c.Upper = uint32(g.IntN(20))
		if g.IntN(2) == 0 {
			c.Lower = uint32(g.IntN(int(c.Upper) + 1))
		}
	}
	return c
}

// set edits a server: everything, or one of weight and thresholds, or nothing.
func (g *generator) set() {
	if len(g.present) == 0 {
		return
	}
	n := g.present[g.IntN(len(g.present))]
	old := g.last(n)
	c := g.settings()
	switch g.IntN(4) {
	case 0:
		c.Upper, c.Lower = old.Upper, old.Lower
	case 1:
		c.Weight = old.Weight
	case 2:
		if g.IntN(3) == 0 {
			c = old
		}
	}
	g.add(event{kind: editServer, server: n, settings: c})
}

// last returns the settings that a server got last.
func (g *generator) last(n int) sched.Settings {
	for i := len(g.events) - 1; i >= 0; i-- {
		if e := g.events[i]; e.server == n && (e.kind == addServer || e.kind == editServer) {
			return e.settings
		}
	}
	return sched.Settings{}
}

// insert adds a server that is not there; it may have been there before.
func (g *generator) insert() {
	if len(g.present) >= 40 {
		return
	}
	n := 1 + g.IntN(highest)
	for _, p := range g.present {
		if p == n {
			return
		}
	}
	c := g.settings()
	if g.IntN(3) == 0 {
		c = g.last(n)
	}
	g.present = append(g.present, n)
	g.add(event{kind: addServer, server: n, settings: c})
}

func (g *generator) remove() {
	if len(g.present) == 0 {
		return
	}
	i := g.IntN(len(g.present))
	g.add(event{kind: removeServer, server: g.present[i]})
	g.present = append(g.present[:i], g.present[i+1:]...)
}

// resize adds or removes servers until there are so many.
func (g *generator) resize(n int) {
	for len(g.present) > n {
		g.remove()
	}
	for len(g.present) < n {
		g.insert()
	}
}

func (g *generator) open(n int) {
	for range n {
		port := uint16(1 + g.IntN(65535))
		id := connID{
			client: netip.AddrPortFrom(g.clients[g.IntN(len(g.clients))], port),
			dest:   g.dests[g.IntN(len(g.dests))],
		}
		if port == 20 || g.seen[id] { // a packet from port 20 would be the data of FTP
			continue
		}
		g.seen[id] = true
		g.conns = append(g.conns, id)
		g.add(event{kind: open, conns: []connID{id}})
		g.opened++
	}
}

// on makes an event of an open connection.
func (g *generator) on(kind eventKind) {
	if len(g.conns) > 0 && !g.setting.udp {
		g.add(event{kind: kind, conns: []connID{g.conns[g.IntN(len(g.conns))]}})
	}
}

// digress uses another scheduler or other flags for a while, or repeats what is set.
func (g *generator) digress() {
	name, flags := g.name, sched.Flags(g.IntN(4))<<3
	if names := compared(); g.name != "twos" && g.IntN(2) == 0 {
		name = names[g.IntN(len(names))]
	}
	if g.IntN(4) == 0 {
		name, flags = g.name, g.flags
	}
	opened := g.opened
	g.add(event{kind: edit, name: name, flags: flags})
	for range g.IntN(3) {
		g.open(1 + g.IntN(12))
		g.set()
	}
	g.opened = opened
	g.add(event{kind: edit, name: g.name, flags: g.flags})
}

// expire ends a part of the connections.
func (g *generator) expire() {
	g.Shuffle(len(g.conns), func(i, j int) { g.conns[i], g.conns[j] = g.conns[j], g.conns[i] })
	n := len(g.conns) * g.IntN(90) / 100
	if n == 0 {
		return
	}
	g.add(event{kind: expire, conns: g.conns[:n:n]})
	g.conns = g.conns[n:]
}

// compared returns the names of the schedulers whose picks can be foretold.
func compared() []string {
	var names []string
	for _, name := range sched.Names() {
		if name != "twos" {
			names = append(names, name)
		}
	}
	return names
}
