// Program tun sets up tunnelling (LVS-TUN): the director wraps packets into others for the real servers, which can be
// anywhere, and these unwrap them and answer the clients directly.
//
//	tun                                                                   a demonstration, no root and no IPVS needed
//	tun start -vip 192.0.2.10 -dev eth0 -real 10.1.0.2,10.2.0.2=2         sets up this director
//	tun status -vip 192.0.2.10 -dev eth0 -real 10.1.0.2,10.2.0.2=2        shows it and says what is wrong; -watch goes on
//	tun stop -vip 192.0.2.10                                              takes it back
//	tun start -role realserver -vip 192.0.2.10                            sets up this real server; status, stop likewise
//
// The packets are wrapped as -type says, on the director and on the real servers: ipip, or gue, for which both have to have
// the same -tun-port, or gre. They are IPv4 or IPv6 as the real server's address is, whatever the VIP is; a real server
// whose address is not of the VIP's family names it with -rip.
//
// A real server holds the VIP on the device that unwraps the packets, or on lo, and does not answer ARP for it. It takes
// packets by that device from clients that it answers by another one, which return path filtering (rp_filter) must allow.
// All that is set, the device first and the address last, and stop brings back exactly what start has changed.
//
// The wrapping takes room: status says how much, and what to do if the clients are not told.
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
	"errors"
	"flag"
	"fmt"
	"net/netip"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

func main() { setup.Main("tun", method().Run) }

const usage = `usage: tun [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    director: sets up the virtual service and its real servers, and binds the VIP; again: changes what differs
           realserver: makes the device that unwraps the packets, suppresses ARP and binds the VIP
  stop     takes back what start did, and recorded: -vip is enough, with -port and -proto if start had them, and -role
  status   shows how things are, what is wrong, and how to mend it; with -watch it goes on

"tun VERB -h" shows the flags of a verb.
`

// tunnel has the flags that other methods do not have.
type tunnel struct {
	kind     ipvs.TunnelType
	port     uint16
	checksum bool
	rip      netip.Addr
}

func method() *setup.Method {
	var t tunnel
	return &setup.Method{
		Usage: usage, Forward: ipvs.Tunnel, Flags: t.flags, RealServerOnly: []string{"rip"}, Check: t.check,
		Director: t.director, RealServer: t.realServer, Demo: demo,
	}
}

func (t *tunnel) flags(fs *flag.FlagSet) {
	fs.TextVar(&t.kind, "type", ipvs.IPIP, "`kind` of wrapping: ipip, gue or gre")
	setup.PortVar(fs, &t.port, "tun-port", "UDP `port` of gue on the real servers (required for gue, but to stop)")
	fs.BoolVar(&t.checksum, "csum", false, "with a checksum: gue or gre")
	setup.AddrVar(fs, &t.rip, "rip", "`address` of this real server to which the wrapped packets come; default any of the VIP's family")
}

func (t *tunnel) check(verb string, o *setup.Options) error {
	switch {
	case t.kind > ipvs.GRE:
		return fmt.Errorf("-type %v is none of ipip, gue and gre", t.kind)
	case verb == "stop":
	case t.kind == ipvs.GUE && t.port == 0:
		return errors.New("-type gue needs -tun-port")
	case t.kind != ipvs.GUE && t.port != 0:
		return errors.New("-tun-port is for -type gue")
	case t.kind == ipvs.IPIP && t.checksum:
		return errors.New("-csum is for -type gue and gre")
	case o.Role == setup.RoleRealServer && t.kind == ipvs.GRE && t.checksum && !t.rip.IsValid():
		return errors.New("-type gre with -csum needs -rip: a device of its own unwraps such packets")
	}
	return nil
}

// director has the table first and the address last: when packets come, they are balanced.
func (t *tunnel) director(m *setup.Machine) []setup.Part {
	template := ipvs.Destination{Forward: ipvs.Tunnel, Tunnel: ipvs.TunnelOptions{Type: t.kind, Port: t.port}}
	if t.checksum {
		template.Tunnel.Flags = ipvs.Checksum
	}
	table := m.Table(template)
	return []setup.Part{table, t.ways(m), m.Answers(table, false), m.Holds(table.SharesVIP)}
}

// realServer unwraps packets, takes those for the VIP and keeps quiet about it.
func (t *tunnel) realServer(m *setup.Machine) []setup.Part {
	device := t.device(m.VIP)
	s := arp.Setup{VIPs: []netip.Addr{m.VIP}, Device: m.Device, Tunnels: []arp.Tunnel{device}}
	if t.kind == ipvs.GUE {
		s.FOUPorts = []arp.FOUPort{{Port: t.port, IPv6: t.outer(m.VIP).Is6()}}
	}
	if m.VIP.Is6() && t.rip.Is4() {
		s.TunnelAddress = t.rip
	}
	return []setup.Part{m.Serves(m.VIP), t.segments(m), &setup.Addresses{Host: m.ARP, Program: m.Program, Setup: s}}
}

// outer returns an address of the family of the wrapped packets.
func (t *tunnel) outer(vip netip.Addr) netip.Addr {
	if t.rip.IsValid() {
		return t.rip
	}
	return vip
}

// device returns what unwraps the packets: what is in gue goes on to the device for ipip.
func (t *tunnel) device(vip netip.Addr) arp.Tunnel {
	kind := arp.IPIP
	switch outer := t.outer(vip); {
	case t.kind == ipvs.GRE && outer.Is4():
		kind = arp.GRE
	case t.kind == ipvs.GRE:
		kind = arp.IP6GRE
	case outer.Is6():
		kind = arp.IP6TNL
	case vip.Is6():
		kind = arp.SIT
	}
	if checksum := t.kind == ipvs.GRE && t.checksum; checksum || kind == arp.IP6TNL && vip.Is4() {
		// The fallback devices take neither.
		return arp.Tunnel{Name: "lvs" + kind.Fallback(), Kind: kind, Local: t.rip, Checksum: checksum}
	}
	return arp.Tunnel{Name: kind.Fallback(), Kind: kind}
}
