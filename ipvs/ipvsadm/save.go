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
	b := bufio.NewWriterSize(w, writeBuffer)
	n := names{ctx, r}
	var name []byte
	t.walk(CompatibleOrder, func(s *ipvs.ServiceSnapshot) {
		name = n.appendServiceWords(name[:0], s.ID)
		line := append(append(b.AvailableBuffer(), "-A "...), name...)
		_, _ = b.Write(appendSaved(line, &s.Service))
	}, func(s *ipvs.ServiceSnapshot, d *ipvs.DestinationStatus) {
		line := append(append(append(b.AvailableBuffer(), "-a "...), name...), " -r "...)
		line = n.append(line, s.ID.Protocol, d.Addr, maxAddrText)
		_, _ = b.Write(appendSavedDestination(line, &d.Destination))
	})
	return b.Flush()
}

// appendServiceWords names a service as a command line does.
func (n names) appendServiceWords(b []byte, id ipvs.ServiceID) []byte {
	if id.IsMark() {
		b = appendMark(append(b, "-f "...), id.FWMark)
		if id.Family == ipvs.IPv6 {
			b = append(b, " -6"...)
		}
		return b
	}
	b = append(append(b, serviceOptionWord(id.Protocol)...), ' ')
	return n.append(b, id.Protocol, id.Addr, maxAddrText)
}

// appendSaved ends the line of a service.
func appendSaved(b []byte, s *ipvs.Service) []byte {
	b = append(append(b, " -s "...), s.Scheduler...)
	if s.Flags&ipvs.Persistent != 0 {
		b = appendSeconds(append(b, " -p "...), s.Timeout)
		if mask := maskText(s.Netmask); mask != "" {
			b = append(append(b, " -M "...), mask...)
		}
	}
	if s.PE != "" {
		b = append(append(b, " --pe "...), s.PE...)
	}
	if s.Flags&ipvs.OnePacket != 0 {
		b = append(b, " -o"...)
	}
	if s.Flags&allSchedFlags != 0 {
		b = append(append(b, " -b "...), schedFlagText(s.Scheduler, s.Flags)...)
	}
	return append(b, '\n')
}

// appendSavedDestination ends the line of a destination.
func appendSavedDestination(b []byte, d *ipvs.Destination) []byte {
	switch d.Forward {
	case ipvs.Masquerade:
		b = append(b, " -m"...)
	case ipvs.Tunnel:
		b = append(b, " -i"...)
	default:
		b = append(b, " -g"...)
	}
	b = strconv.AppendInt(append(b, " -w "...), int64(int32(d.Weight)), 10)
	if d.Forward == ipvs.Tunnel {
		b = appendSavedTunnel(b, d.Tunnel)
	}
	return append(b, '\n')
}

func appendSavedTunnel(b []byte, t ipvs.TunnelOptions) []byte {
	switch t.Type {
	case ipvs.IPIP:
		return append(b, " --tun-type ipip"...)
	case ipvs.GUE:
		b = strconv.AppendUint(append(b, " --tun-type gue --tun-port "...), uint64(t.Port), 10)
	case ipvs.GRE:
		b = append(b, " --tun-type gre"...)
	default: // ipvsadm has no word for others
		return b
	}
	switch t.Flags {
	case ipvs.Checksum:
		return append(b, " --tun-csum"...)
	case ipvs.RemoteChecksum:
		return append(b, " --tun-remcsum"...)
	}
	return append(b, " --tun-nocsum"...)
}
