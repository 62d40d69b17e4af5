package ipvsadm

import (
	"bufio"
	"context"
	"io"
	"strconv"

	"github.com/golvs/lvs/ipvs"
)

// WriteSave writes services with their destinations as ipvsadm -S does, with the names of hosts and ports that a resolver
// has; nil writes numbers, as -S -n does, which is the form that can always be read again.
//
// Thresholds, timeouts and daemons are not part of it, and marks from 2147483648 on are written as negative numbers,
// which nobody reads. [Operations] loses nothing.
func WriteSave(ctx context.Context, w io.Writer, t Table, r Resolver) error {
	b := bufio.NewWriter(w)
	n := names{ctx, r}
	for _, s := range t.sorted(CompatibleOrder) {
		name := n.serviceWords(s.ID)
		b.WriteString("-A " + name)
		saveService(b, s.Service)
		for i := range s.Destinations {
			d := &s.Destinations[i].Destination
			b.WriteString("-a " + name + " -r " + n.addrPort(s.ID.Protocol, d.Addr))
			saveDestination(b, d)
		}
	}
	return b.Flush()
}

// serviceWords names a service as a command line does.
func (n names) serviceWords(id ipvs.ServiceID) string {
	if id.IsMark() {
		s := "-f " + signed(id.FWMark)
		if id.Family == ipvs.IPv6 {
			s += " -6"
		}
		return s
	}
	return serviceOptionWord(id.Protocol) + " " + n.addrPort(id.Protocol, id.Addr)
}

func saveService(b *bufio.Writer, s ipvs.Service) {
	b.WriteString(" -s " + s.Scheduler)
	if s.Flags&ipvs.Persistent != 0 {
		b.WriteString(" -p " + uint32Seconds(s.Timeout))
		if mask := maskText(s.Netmask); mask != "" {
			b.WriteString(" -M " + mask)
		}
	}
	if s.PE != "" {
		b.WriteString(" --pe " + s.PE)
	}
	if s.Flags&ipvs.OnePacket != 0 {
		b.WriteString(" -o")
	}
	if s.Flags&allSchedFlags != 0 {
		b.WriteString(" -b " + schedFlagText(s.Scheduler, s.Flags))
	}
	b.WriteByte('\n')
}

func saveDestination(b *bufio.Writer, d *ipvs.Destination) {
	switch d.Forward {
	case ipvs.Masquerade:
		b.WriteString(" -m")
	case ipvs.Tunnel:
		b.WriteString(" -i")
	default:
		b.WriteString(" -g")
	}
	b.WriteString(" -w " + strconv.Itoa(int(int32(d.Weight))))
	if d.Forward == ipvs.Tunnel {
		saveTunnel(b, d.Tunnel)
	}
	b.WriteByte('\n')
}

func saveTunnel(b *bufio.Writer, t ipvs.TunnelOptions) {
	switch t.Type {
	case ipvs.IPIP:
		b.WriteString(" --tun-type ipip")
		return
	case ipvs.GUE:
		b.WriteString(" --tun-type gue --tun-port " + strconv.Itoa(int(t.Port)))
	case ipvs.GRE:
		b.WriteString(" --tun-type gre")
	default: // ipvsadm has no word for others
		return
	}
	switch t.Flags {
	case ipvs.Checksum:
		b.WriteString(" --tun-csum")
	case ipvs.RemoteChecksum:
		b.WriteString(" --tun-remcsum")
	default:
		b.WriteString(" --tun-nocsum")
	}
}
