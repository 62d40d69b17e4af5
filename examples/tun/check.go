package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// Sizes of headers, in bytes.
const (
	header4 = 20
	header6 = 40
	udp     = 8
	gue     = 4
	gre     = 4
	greSum  = 4
	minMTU6 = 1280 // RFC 8200, section 5
)

// overhead returns what the wrapping adds to a packet.
func (t *tunnel) overhead(rip netip.Addr) int {
	n := header4
	if rip.Is6() {
		n = header6
	}
	switch t.kind {
	case ipvs.GUE:
		n += udp + gue
	case ipvs.GRE:
		n += gre
		if t.checksum {
			n += greSum
		}
	}
	return n
}

// ways checks on a director the way to each real server: that there is one, that wrapped packets get a source address that
// the real server accepts, and what fits into them.
func (t *tunnel) ways(m *setup.Machine) setup.Part {
	return setup.Checks(func(ctx context.Context) (setup.Look, error) {
		l := setup.Look{Name: "mtu"}
		room := make(map[string]int)
		for _, s := range m.Real {
			r, mtu, err := m.Way(ctx, s.Addr)
			if err != nil {
				l.Findings = append(l.Findings, setup.Finding{Problem: err.Error(), Mend: "this machine needs a route to it"})
				continue
			}
			if r.Source == m.VIP {
				l.Findings = append(l.Findings, setup.Finding{
					Problem: fmt.Sprintf("packets to %v would come from %v, and a real server drops what comes from an address of its own", s.Addr, m.VIP),
					Mend:    fmt.Sprintf("give this machine another address there; \"%s start -dev DEVICE\" binds an IPv6 one so that it is not chosen", m.Program),
				})
			}
			fits := mtu - t.overhead(s.Addr)
			room[s.Addr.String()] = fits
			if m.VIP.Is6() && fits < minMTU6 {
				l.Findings = append(l.Findings, setup.Finding{
					Problem: fmt.Sprintf("only %d bytes of a client's packet fit on the way to %v, and IPv6 needs %d", fits, s.Addr, minMTU6),
					Mend:    fmt.Sprintf("raise the MTU of the way from %d to %d or more", mtu, minMTU6+t.overhead(s.Addr)),
				})
				continue
			}
			l.Notes = append(l.Notes, fmt.Sprintf("packets of up to %d bytes fit on the way to %v (%d less %d); who sends larger ones is told by ICMP, which no firewall may drop", fits, s.Addr, mtu, mtu-fits))
		}
		l.Value = room
		return l, nil
	})
}

// segments checks on a real server what it tells clients about the size of TCP segments: they know nothing of the tunnel.
func (t *tunnel) segments(m *setup.Machine) setup.Part {
	return setup.Checks(func(ctx context.Context) (setup.Look, error) {
		var l setup.Look
		client, headers := netip.AddrFrom4([4]byte{1, 0, 0, 1}), header4+20
		if m.VIP.Is6() {
			client, headers = netip.AddrFrom16([16]byte{0: 0x20, 15: 1}), header6+20
		}
		r, mtu, err := m.Way(ctx, client)
		if err != nil {
			l.Findings = append(l.Findings, setup.Finding{Problem: fmt.Sprintf("clients cannot be answered: %v", err), Mend: "this machine needs a route to them of its own, such as a default route"})
			return l, nil
		}
		mss := int(r.AdvMSS)
		if mss == 0 {
			mss = mtu - headers
		}
		if over := t.overhead(t.outer(m.VIP)); mss+headers+over > mtu {
			l.Notes = append(l.Notes, fmt.Sprintf("clients are told that segments of %d bytes are welcome, which with the tunnel's %d bytes do not fit into %d: unless the way from the director is wider, \"ip route change\" with advmss %d on the route to them spares them the ICMP", mss, over, mtu, mtu-headers-over))
		}
		return l, nil
	})
}
