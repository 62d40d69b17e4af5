package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sysctl"
)

// Machine is what the parts of a role are made for.
type Machine struct {
	Options
	Program string // its name, for advice
	Out     io.Writer
	ARP     *arp.Host
	Sysctl  *sysctl.Host
	Client  *ipvs.Client // of a director

	record  string        // of the table
	memory  bool          // IPVS is one in memory, and the rest is not to be touched
	connect time.Duration // see Env
}

// NewService returns the virtual service that the flags describe.
func (m *Machine) NewService() ipvs.Service {
	s := NewService(m.Protocol, m.VIP, m.Port)
	s.Scheduler = m.Scheduler
	if m.Persist != 0 {
		s.Flags, s.Timeout = ipvs.Persistent, m.Persist
	}
	return s
}

// Table returns the part of IPVS. Real servers are made from the template.
func (m *Machine) Table(template ipvs.Destination) *Table {
	return &Table{
		Client: m.Client, Program: m.Program, Service: m.NewService(), Forward: template.Forward,
		Destinations: m.Real.Destinations(m.Port, template), Record: m.record,
	}
}

// Holds returns the part of the virtual address: -dev holds it, or, without that, it is only looked at. It stays as long as
// needed returns other services.
func (m *Machine) Holds(needed func(context.Context) ([]ipvs.ServiceID, error)) Part {
	return &VIP{NetNS: m.NetNS, Program: m.Program, Addr: m.VIP, Device: m.Device, Needed: needed}
}

// Neighbours checks that the real servers are on a link of the director, as direct routing needs.
func (m *Machine) Neighbours() Part {
	return Checks(func(context.Context) (Look, error) {
		var l Look
		for _, s := range m.Real {
			r, err := Lookup(m.NetNS, s.Addr)
			switch {
			case err != nil:
				l.Findings = append(l.Findings, Finding{err.Error(), "give this machine an address in its network"})
			case r.Gateway.IsValid():
				l.Findings = append(l.Findings, Finding{
					fmt.Sprintf("%v is behind the gateway %v, and direct routing needs it on a network of this machine", s.Addr, r.Gateway),
					"use its address there, or the program tun",
				})
			}
		}
		return l, nil
	})
}

// Answers checks that the real servers' services accept connections. With sure unset, one that refuses them may be a program
// that serves the virtual address only, and is but worth a note. Only TCP is checked, and only servers with a weight.
func (m *Machine) Answers(t *Table, sure bool) Part {
	return Checks(func(ctx context.Context) (Look, error) {
		var l Look
		if m.Protocol != ipvs.TCP {
			return l, nil
		}
		dialer := net.Dialer{Timeout: m.connect}
		dialer.SetMultipathTCP(false)
		for _, d := range t.Destinations {
			if d.Weight == 0 {
				continue // gets no new connections
			}
			err := Inside(m.NetNS, func() error {
				conn, err := dialer.DialContext(ctx, "tcp", d.Addr.String())
				if err == nil {
					err = conn.Close()
				}
				return err
			})
			switch {
			case err != nil && sure:
				l.Findings = append(l.Findings, Finding{fmt.Sprintf("%v does not accept connections (%v)", d.Addr, err), "start the service there, or set its weight to 0"})
			case err != nil && !errors.Is(err, syscall.ECONNREFUSED):
				l.Findings = append(l.Findings, Finding{
					fmt.Sprintf("%v does not answer (%v)", d.Addr, err),
					"see to it that the real server is up and that this machine reaches it, or set its weight to 0",
				})
			case err != nil:
				l.Notes = append(l.Notes, fmt.Sprintf("%v does not accept connections (%v): right only if the service there is bound to %v alone", d.Addr, err, m.VIP))
			}
		}
		return l, ctx.Err()
	})
}

// Serves checks on a real server that something serves the port.
func (m *Machine) Serves(addr netip.Addr) Part {
	return Listening(m.NetNS, m.Protocol, netip.AddrPortFrom(addr, m.Port))
}
