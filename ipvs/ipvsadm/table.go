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
	b := bufio.NewWriter(w)
	n := names{ctx, r}
	if t.Info != (ipvs.Info{}) {
		fmt.Fprintf(b, "IP Virtual Server version %v (size=%d)\n", t.Info.Version, t.Info.ConnTabSize)
	}
	l.writeTitle(b)
	for _, s := range t.sorted(l.Order) {
		l.writeService(b, n, &s)
		for i := range s.Destinations {
			_, _ = b.Write(l.appendDestination(b.AvailableBuffer(), n, s.ID, &s.Destinations[i]))
		}
	}
	return b.Flush()
}

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

// label names a service.
func (n names) label(id ipvs.ServiceID) string {
	if id.IsMark() {
		s := "FWM  " + signed(id.FWMark)
		if id.Family == ipvs.IPv6 {
			s += " IPv6"
		}
		return s
	}
	b := append(pad([]byte(protocolWord(id.Protocol)), 0, 4), ' ')
	limit := maxAddrText
	if id.AddrFamily() == ipvs.IPv4 {
		limit = maxLabel - len(b)
	}
	return string(n.append(b, id.Protocol, id.Addr, limit))
}

// signed writes a mark as ipvsadm does.
func signed(mark uint32) string { return strconv.Itoa(int(int32(mark))) }

func (l Listing) writeService(b *bufio.Writer, n names, s *ipvs.ServiceSnapshot) {
	label := n.label(s.ID)
	switch st := &s.Stats; l.View {
	case Stats:
		fmt.Fprintf(b, "%-33s", label)
		_, _ = b.Write(l.appendCounters(b.AvailableBuffer(), st.Connections, st.InPackets, st.OutPackets, st.InBytes, st.OutBytes))
		return
	case Rate:
		fmt.Fprintf(b, "%-33s", label)
		_, _ = b.Write(l.appendCounters(b.AvailableBuffer(),
			st.ConnectionRate, st.InPacketRate, st.OutPacketRate, st.InByteRate, st.OutByteRate))
		return
	}
	b.WriteString(label + " " + s.Scheduler)
	if s.Flags&allSchedFlags != 0 {
		b.WriteString(" (" + schedFlagText(s.Scheduler, s.Flags) + ")")
	}
	if s.Flags&ipvs.Persistent != 0 {
		b.WriteString(" persistent " + uint32Seconds(s.Timeout))
		if mask := maskText(s.Netmask); mask != "" {
			b.WriteString(" mask " + mask)
		}
		if s.PE != "" {
			b.WriteString(" pe " + s.PE)
		}
	}
	if s.Flags&ipvs.OnePacket != 0 {
		b.WriteString(" ops")
	}
	b.WriteByte('\n')
}

func uint32Seconds(d time.Duration) string {
	return strconv.FormatUint(uint64(uint32(d/time.Second)), 10)
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
		b = pad(append(b, d.Forward.String()...), len(b), 7)
		if l.View == TunnelInfo {
			b = append(b, ' ')
			b = pad(append(b, tunnelText(d.Destination)...), len(b), 13)
		}
		b = appendLeft(append(b, ' '), int64(int32(d.Weight)), 6)
	}
	b = appendLeft(append(b, ' '), int64(d.Active), 10)
	b = appendLeft(append(b, ' '), int64(d.Inactive), 10)
	return append(b, '\n')
}

func tunnelText(d ipvs.Destination) string {
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
