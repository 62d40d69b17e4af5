// Program dr sets up direct routing (LVS-DR): the director hands packets on with a new MAC address and nothing else
// changed, and the real servers answer the clients directly.
//
//	dr                                                                  a demonstration, no root and no IPVS needed
//	dr start -vip 192.0.2.10 -dev eth0 -real 192.0.2.2,192.0.2.3=2      sets up this director
//	dr status -vip 192.0.2.10 -dev eth0 -real 192.0.2.2,192.0.2.3=2     shows it and says what is wrong; -watch goes on
//	dr stop -vip 192.0.2.10                                             takes it back
//	dr start -role realserver -vip 192.0.2.10                           sets up this real server; status, stop likewise
//
// The director holds the VIP on the device that -dev names, unless something else binds it, such as keepalived. A real
// server holds it on lo, and must not answer ARP for it: that is suppressed before the address is bound, and stop brings
// back exactly what start has changed. No packet is forwarded by the director's own routing, so ip_forward stays as it is.
// All have to be on one network, and the service has the same port everywhere.
//
// What start does it records below /run/lvs first. So stop needs no flags but those that say which service is meant, also
// after a start that was killed half-way; what another service of the machine needs as well stays until that is stopped. A
// service that was there before start comes back to what it was, and one that no start has touched is left alone.
//
// With -n start and stop show what they would do. LVS_KERNEL=memory:FILE uses an in-memory kernel that keeps its state
// in FILE instead of the host's, so that the table can be tried without root; it has no devices, and neither -dev nor the
// role of a real server go with it.
package main

import (
	"net/netip"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

func main() { setup.Main("dr", method().Run) }

const usage = `usage: dr [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    director: sets up the virtual service and its real servers, and binds the VIP; again: changes what differs
           realserver: suppresses ARP and binds the VIP on lo
  stop     takes back what start did, and recorded: -vip is enough, with -port and -proto if start had them, and -role
  status   shows how things are, what is wrong, and how to mend it; with -watch it goes on

"dr VERB -h" shows the flags of a verb.
`

func method() *setup.Method {
	return &setup.Method{Usage: usage, Forward: ipvs.Route, Director: director, RealServer: realServer, Demo: demo}
}

// director has the table first and the address last: when packets come, they are balanced.
func director(m *setup.Machine) []setup.Part {
	table := m.Table(ipvs.Destination{Forward: ipvs.Route})
	return []setup.Part{table, m.Neighbours(), m.Answers(table, false), m.Holds(table.SharesVIP)}
}

// realServer takes packets for the VIP and keeps quiet about it.
func realServer(m *setup.Machine) []setup.Part {
	return []setup.Part{
		m.Serves(m.VIP),
		&setup.Addresses{Host: m.ARP, Program: m.Program, Setup: arp.Setup{VIPs: []netip.Addr{m.VIP}, Device: m.Device}},
	}
}
