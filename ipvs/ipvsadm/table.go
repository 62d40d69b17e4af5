package ipvsadm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// Table is what a listing of services shows, in the kernel's order.
type Table struct {
	// Info is shown in the first line. The zero value leaves that line out, as ipvsadm does when it lists one service.
	Info     ipvs.Info              `json:"info,omitzero"`
	Services []ipvs.ServiceSnapshot `json:"services"`
}

// WriteTable writes services with their destinations as ipvsadm -L does, with the names of hosts and ports that a resolver
// has; nil writes numbers, as -Ln does. The context ends looking up names.
func (l Listing) WriteTable(ctx context.Context, w io.Writer, t Table, r Resolver) error {
	b := bufio.NewWriterSize(w, writeBuffer)
	n := names{ctx, r}
	if t.Info != (ipvs.Info{}) {
		fmt.Fprintf(b, "IP Virtual Server version %v (size=%d)\n", t.Info.Version, t.Info.ConnTabSize)
	}
	l.writeTitle(b)
	t.walk(l.Order, func(s *ipvs.ServiceSnapshot) {
		_, _ = b.Write(l.appendService(b.AvailableBuffer(), n, s))
	}, func(s *ipvs.ServiceSnapshot, d *ipvs.DestinationStatus) {
		_, _ = b.Write(l.appendDestination(b.AvailableBuffer(), n, s.ID, d))
	})
	return b.Flush()
}

// Text is written in pieces of this many bytes at most.
const writeBuffer = 32 << 10

func (l Listing) writeTitle(b *bufio.Writer) {
	switch l.View {
	case Stats, Rate:
		columns := []any{"Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"}
		if l.View == Rate {
			columns = []any{"CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"}
		}
		fmt.Fprintf(b, "%-33s", "Prot LocalAddress:Port")
		fmt.Fprintf(b, " %8s %8s %8s %8s %8s\n", columns...)
		b.WriteString("  -> RemoteAddress:Port\n")
	case Thresholds:
		fmt.Fprintf(b, "%-33s %-10s %-10s %-10s %-10s\n", "Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn")
		b.WriteString("  -> RemoteAddress:Port\n")
	case PersistentConns:
		fmt.Fprintf(b, "%-33s %-9s %-11s %-10s %-10s\n", "Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn")
		b.WriteString("  -> RemoteAddress:Port\n")
	case TunnelInfo:
		b.WriteString("Prot LocalAddress:Port Scheduler Flags\n")
		b.WriteString("  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n")
	default:
		b.WriteString("Prot LocalAddress:Port Scheduler Flags\n")
		b.WriteString("  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n")
	}
}

// protocolWord is ipvsadm's word; others than the three are not scheduled.
func protocolWord(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP, ipvs.UDP, ipvs.SCTP:
		return p.String()
	}
	return "?"
}

// appendLabel names a service.
func (n names) appendLabel(b []byte, id ipvs.ServiceID) []byte {
	if id.IsMark() {
		b = appendMark(append(b, "FWM  "...), id.FWMark)
		if id.Family == ipvs.IPv6 {
			b = append(b, " IPv6"...)
		}
		return b
	}
	start := len(b)
	b = append(pad(append(b, protocolWord(id.Protocol)...), start, 4), ' ')
	limit := maxAddrText
	if id.AddrFamily() == ipvs.IPv4 {
		limit = maxLabel - (len(b) - start)
	}
	return n.append(b, id.Protocol, id.Addr, limit)
}

// appendMark writes a mark as ipvsadm does: as a signed number.
func appendMark(b []byte, mark uint32) []byte { return strconv.AppendInt(b, int64(int32(mark)), 10) }

func (l Listing) appendService(b []byte, n names, s *ipvs.ServiceSnapshot) []byte {
	start := len(b)
	b = n.appendLabel(b, s.ID)
	switch st := &s.Stats; l.View {
	case Stats:
		return l.appendCounters(pad(b, start, 33), st.Connections, st.InPackets, st.OutPackets, st.InBytes, st.OutBytes)
	case Rate:
		return l.appendCounters(pad(b, start, 33),
			st.ConnectionRate, st.InPacketRate, st.OutPacketRate, st.InByteRate, st.OutByteRate)
	}
	b = append(append(b, ' '), s.Scheduler...)
	if s.Flags&allSchedFlags != 0 {
		b = append(append(append(b, " ("...), schedFlagText(s.Scheduler, s.Flags)...), ')')
	}
	if s.Flags&ipvs.Persistent != 0 {
		b = appendSeconds(append(b, " persistent "...), s.Timeout)
		if mask := maskText(s.Netmask); mask != "" {
			b = append(append(b, " mask "...), mask...)
		}
		if s.PE != "" {
			b = append(append(b, " pe "...), s.PE...)
		}
	}
	if s.Flags&ipvs.OnePacket != 0 {
		b = append(b, " ops"...)
	}
	return append(b, '\n')
}

// appendSeconds writes 32 bits of a time.
func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendUint(b, uint64(uint32(d/time.Second)), 10)
}

func (l Listing) appendDestination(b []byte, n names, id ipvs.ServiceID, d *ipvs.DestinationStatus) []byte {
	b = append(b, "  -> "...)
	start, limit := len(b), maxAddrText
	if d.Addr.Addr().Is4() {
		limit = maxServerText
	}
	b = pad(n.append(b, id.Protocol, d.Addr, limit), start, 28)
	switch st := &d.Stats; l.View {
	case Stats:
		return l.appendCounters(b, st.Connections, st.InPackets, st.OutPackets, st.InBytes, st.OutBytes)
	case Rate:
		for _, v := range [...]uint64{st.ConnectionRate, st.InPacketRate, st.OutPacketRate} {
			b = appendRight(append(b, ' '), v, 8)
		}
		return l.appendCounters(b, st.InByteRate, st.OutByteRate)
	case Thresholds:
		b = appendLeft(append(b, ' '), int64(d.UpperThreshold), 10)
		b = appendLeft(append(b, ' '), int64(d.LowerThreshold), 10)
	case PersistentConns:
		b = appendLeft(append(b, ' '), int64(d.Weight), 9)
		b = appendLeft(append(b, ' '), int64(d.Persistent), 11)
	default:
		b = append(b, ' ')
		start = len(b)
		b = pad(append(b, d.Forward.String()...), start, 7)
		if l.View == TunnelInfo {
			b = append(b, ' ')
			start = len(b)
			b = pad(append(b, tunnelText(&d.Destination)...), start, 13)
		}
		b = appendLeft(append(b, ' '), int64(int32(d.Weight)), 6)
	}
	b = appendLeft(append(b, ' '), int64(d.Active), 10)
	b = appendLeft(append(b, ' '), int64(d.Inactive), 10)
	return append(b, '\n')
}

func tunnelText(d *ipvs.Destination) string {
	if d.Forward != ipvs.Tunnel {
		return "n/a"
	}
	sum := "-c"
	switch d.Tunnel.Flags {
	case ipvs.Checksum:
		sum = "+c"
	case ipvs.RemoteChecksum:
		sum = "r+c"
	}
	switch d.Tunnel.Type {
	case ipvs.GUE:
		return strings.Join([]string{"gue", strconv.Itoa(int(d.Tunnel.Port)), sum}, ":")
	case ipvs.GRE:
		return "gre:" + sum
	}
	return d.Tunnel.Type.String()
}

// appendCounters ends a line with numbers.
func (l Listing) appendCounters(b []byte, list ...uint64) []byte {
	for _, v := range list {
		b = appendCounter(b, v, l.Exact)
	}
	return append(b, '\n')
}

// appendCounter appends a column of at least nine bytes.
func appendCounter(b []byte, v uint64, exact bool) []byte {
	switch {
	case v < 1e8:
		return appendRight(b, v, 9)
	case exact:
		return strconv.AppendUint(append(b, ' '), v, 10)
	case v < 1e9:
		return append(appendRight(b, v/1e3, 8), 'K')
	case v < 1e11:
		return append(appendRight(b, v/1e6, 8), 'M')
	case v < 1e14:
		return append(appendRight(b, v/1e9, 8), 'G')
	}
	return append(appendRight(b, v/1e12, 8), 'T')
}
