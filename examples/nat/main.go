// Program nat sets up masquerading (LVS-NAT): the director rewrites the addresses of packets in both directions, so that the
// real servers need not know of the VIP, and can have other ports.
//
//	nat                                                                    a demonstration, no root and no IPVS needed
//	nat start -vip 192.0.2.10 -dev eth0 -real 10.0.0.2:8080,10.0.0.3=2     sets up this director
//	nat status -vip 192.0.2.10 -dev eth0 -real 10.0.0.2:8080,10.0.0.3=2    shows it and says what is wrong; -watch goes on
//	nat stop -vip 192.0.2.10                                               takes it back
//	nat start -role realserver -gw 10.0.0.1                                sets up this real server; status, stop likewise
//
// The answers have to pass the director. So it forwards IP packets, which start switches on, and the real servers' way to
// the clients is through an address of the director in their network, -gw. Where another route is in the way, such as a
// default route, a real server gets two for the halves of that network, which the kernel prefers; stop removes them, and
// the other route is in force again. -clients limits that to some networks. With clients and real servers on one network
// name that as -clients: they would answer directly otherwise; a director whose -dev is there sends no ICMP redirects then.
// Tell a real server's status by -port which port it serves.
//
// The settings stay as long as another service with masquerading is in the table.
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
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sysctl"
)

func main() { setup.Main("nat", method().Run) }

const usage = `usage: nat [start|stop|status] [flags]

Without a verb a demonstration runs on an in-memory kernel.

  start    director: sets up the virtual service and its real servers, switches forwarding on, and binds the VIP;
           again: changes what differs
           realserver: makes the director the gateway to the clients
  stop     takes back what start did, and recorded: -vip is enough, with -port and -proto if start had them,
           or -role realserver
  status   shows how things are, what is wrong, and how to mend it; with -watch it goes on

"nat VERB -h" shows the flags of a verb.
`

// gateway has the flags that other methods do not have.
type gateway struct {
	addr    netip.Addr
	clients []netip.Prefix
}

func method() *setup.Method {
	var g gateway
	return &setup.Method{
		Usage: usage, Forward: ipvs.Masquerade, Flags: g.flags, DirectorOnly: []string{"vip", "dev"}, RealServerOnly: []string{"gw", "clients"}, Check: g.check,
		Director: director, RealServer: g.realServer, Demo: demo,
	}
}

func (g *gateway) flags(fs *flag.FlagSet) {
	setup.AddrVar(fs, &g.addr, "gw", "`address` of the director in the real servers' network (required, but to stop)")
	setup.PrefixesVar(fs, &g.clients, "clients", "`networks` of the clients, separated by commas, may be repeated; default all")
}

func (g *gateway) check(verb string, o *setup.Options) error {
	if o.Role == setup.RoleDirector || verb == "stop" {
		return nil
	}
	if !g.addr.IsValid() {
		return errors.New("-gw is required")
	}
	if g.addr.IsUnspecified() || g.addr.IsMulticast() || g.addr.IsLinkLocalUnicast() {
		return fmt.Errorf("-gw %v is no address of the network: a link-local one does not do", g.addr)
	}
	for _, p := range g.clients {
		if p.Addr().Is4() != g.addr.Is4() {
			return fmt.Errorf("-clients %v and -gw are of different families", p)
		}
	}
	if g.clients == nil {
		g.clients = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
		if g.addr.Is6() {
			g.clients = []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		}
	}
	return nil
}

// director has the table first and the address last: when packets come, they are balanced, and the answers come back.
func director(m *setup.Machine) []setup.Part {
	table := m.Table(ipvs.Destination{Forward: ipvs.Masquerade})
	return []setup.Part{
		table,
		&setup.Settings{
			Host: m.Sysctl, Program: m.Program, NetNS: m.NetNS, Out: m.Out, Needed: table.SharesMethod,
			Wanted: func(ctx context.Context) ([]sysctl.Setting, error) { return forwarding(ctx, m) },
		},
		m.Answers(table, true),
		m.Holds(table.SharesVIP),
	}
}

// forwarding returns what the answers need to pass the director.
func forwarding(ctx context.Context, m *setup.Machine) ([]sysctl.Setting, error) {
	if m.VIP.Is6() {
		return []sysctl.Setting{{
			Key: sysctl.IPv6("all", "forwarding"), Value: "1",
			Reason: "answers are routed through the director; routes from router advertisements go away, so have others",
		}}, nil
	}
	list := []sysctl.Setting{{Key: "net/ipv4/ip_forward", Value: "1", Reason: "answers are routed through the director"}}
	one, err := oneNetwork(ctx, m)
	if !one || err != nil {
		return list, err
	}
	const reason = "clients and real servers are on one network, and a redirect would have them bypass the director"
	return append(list,
		sysctl.Setting{Key: sysctl.IPv4("all", "send_redirects"), Value: "0", Reason: reason},
		sysctl.Setting{Key: sysctl.IPv4(m.Device, "send_redirects"), Value: "0", Reason: reason}), nil
}

// oneNetwork says whether a real server is on the network on which the VIP is.
func oneNetwork(ctx context.Context, m *setup.Machine) (bool, error) {
	if m.Device == "" {
		return false, nil
	}
	for _, s := range m.Real {
		on, err := m.OnLink(ctx, s.Addr, m.Device)
		if on || err != nil {
			return on, err
		}
	}
	return false, nil
}

// realServer answers through the director.
func (g *gateway) realServer(m *setup.Machine) []setup.Part {
	return []setup.Part{
		setup.Checks(func(ctx context.Context) (setup.Look, error) {
			r, err := setup.Lookup(m.NetNS, g.addr)
			switch {
			case err != nil:
				return setup.Look{Findings: []setup.Finding{{
					Problem: fmt.Sprintf("the gateway cannot be reached: %v", err),
					Mend:    "give this machine an address in the network where the director has that one",
				}}}, nil
			case r.Gateway.IsValid() && r.Gateway != g.addr:
				return setup.Look{Findings: []setup.Finding{{
					Problem: fmt.Sprintf("%v is not on a network of this machine but behind %v", g.addr, r.Gateway),
					Mend:    "give -gw an address that the director has in this machine's network",
				}}}, nil
			}
			return m.Serves(r.Source).Check(ctx)
		}),
		&setup.Gateway{NetNS: m.NetNS, Program: m.Program, Gateway: g.addr, Clients: g.clients},
	}
}
