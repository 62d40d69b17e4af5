package nltest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Connection is an entry of the connection table, as /proc shows it. A template is one with client port 0.
type Connection struct {
	Protocol   uint8          // IP protocol number; 0 for the template of a mark
	Client     netip.AddrPort // of a template, masked with the service's netmask
	Virtual    netip.AddrPort // if Mark is set only the port counts, which is 65535 of an invalidated template
	Mark       uint32         // of a template of a mark service
	Dest       netip.AddrPort
	State      string        // as the kernel prints it
	Expires    time.Duration // until the entry goes; whole seconds are shown
	Engine     string        // persistence engine, if the entry has its data
	EngineData string
	Synced     bool // came from another director
}

// protocolName returns the name that /proc shows for a protocol.
func protocolName(p uint16) string {
	switch p {
	case protoIP:
		return "IP"
	case protoTCP:
		return "TCP"
	case protoUDP:
		return "UDP"
	case protoSCTP:
		return "SCTP"
	case protoICMP:
		return "ICMP"
	case protoICMPv6:
		return "ICMPv6"
	}
	return fmt.Sprintf("IP_%d", p)
}

// procAddr returns an address as /proc writes it: eight upper-case digits, or an IPv6 address at full length.
func procAddr(a netip.Addr) string {
	if a.Is4() {
		return fmt.Sprintf("%08X", a.As4())
	}
	return a.StringExpanded()
}

// procAddrPort returns address and port as in ip_vs, where an IPv6 address has brackets.
func procAddrPort(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return fmt.Sprintf("%s:%04X", procAddr(a.Addr()), a.Port())
	}
	return fmt.Sprintf("[%s]:%04X", procAddr(a.Addr()), a.Port())
}

// procServices returns /proc/net/ip_vs.
func (ns *Namespace) procServices() string {
	var b strings.Builder
	fmt.Fprintf(&b, "IP Virtual Server version %d.%d.%d (size=%d)\n",
		moduleVersion>>16, moduleVersion>>8&0xff, moduleVersion&0xff, 1<<ns.k.cfg.ConnTabBits)
	b.WriteString("Prot LocalAddress:Port Scheduler Flags\n")
	b.WriteString("  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n")
	for _, s := range ns.services() {
		ops := ""
		if s.flags&flagOnePacket != 0 {
			ops = "ops "
		}
		switch {
		case s.mark != 0:
			fmt.Fprintf(&b, "FWM  %08X %s %s", s.mark, s.sched, ops)
		case s.af == afInet:
			fmt.Fprintf(&b, "%s  %s %s %s ", protocolName(s.proto), procAddrPort(s.id().Addr), s.sched, ops)
		default:
			fmt.Fprintf(&b, "%s  %s %s ", protocolName(s.proto), procAddrPort(s.id().Addr), s.sched)
		}
		if s.flags&flagPersistent != 0 {
			fmt.Fprintf(&b, "persistent %d %08X", s.timeout, binary.BigEndian.Uint32(s.netmask[:]))
		}
		b.WriteByte('\n')
		for _, d := range slices.Backward(s.dests) {
			c := ns.connsOf(d)
			fmt.Fprintf(&b, "  -> %s      %-7s %-6d %-10d %-10d\n",
				procAddrPort(d.addrPort()), forwardName(d.fwd), d.weight, c.Active, c.Inactive)
		}
	}
	return b.String()
}

// forwardName returns the word for a forwarding method.
func forwardName(m uint8) string {
	switch m {
	case 1:
		return "Local"
	case 2:
		return "Tunnel"
	case 3:
		return "Route"
	}
	return "Masq"
}

// connections returns the connection table.
func (ns *Namespace) connections() []Connection {
	return slices.AppendSeq(slices.Collect(ns.k.path.Connections(ns.name)), slices.Values(ns.conns))
}

// ends returns the part that both connection files share.
func (c Connection) ends() string {
	to, port := procAddr(c.Virtual.Addr()), c.Virtual.Port()
	if c.Mark != 0 {
		var mark [16]byte
		binary.BigEndian.PutUint32(mark[:], c.Mark)
		to = procAddr(netip.AddrFrom4([4]byte(mark[:4])))
		if c.Client.Addr().Is6() {
			to = procAddr(netip.AddrFrom16(mark))
		}
	}
	return fmt.Sprintf("%-3s %s %04X %s %04X %s %04X", protocolName(uint16(c.Protocol)), procAddr(c.Client.Addr()), c.Client.Port(),
		to, port, procAddr(c.Dest.Addr()), c.Dest.Port())
}

// procConns returns /proc/net/ip_vs_conn.
func (ns *Namespace) procConns() string {
	var b strings.Builder
	b.WriteString("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n")
	for _, c := range ns.connections() {
		fmt.Fprintf(&b, "%s %-11s %7d", c.ends(), c.State, c.Expires/time.Second)
		if c.Engine != "" {
			fmt.Fprintf(&b, " %s %s", c.Engine, c.EngineData)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// procConnsSync returns /proc/net/ip_vs_conn_sync.
func (ns *Namespace) procConnsSync() string {
	var b strings.Builder
	b.WriteString("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n")
	for _, c := range ns.connections() {
		origin := "LOCAL"
		if c.Synced {
			origin = "SYNC"
		}
		fmt.Fprintf(&b, "%s %-11s %-6s %7d\n", c.ends(), c.State, origin, c.Expires/time.Second)
	}
	return b.String()
}

// row formats counters or rates in the columns of the statistics files.
func row(v [5]uint64) string {
	return fmt.Sprintf("%8X %8X %8X %16X %16X\n", v[0], v[1], v[2], v[3], v[4])
}

// procStats returns /proc/net/ip_vs_stats.
func (ns *Namespace) procStats() string {
	counters, r := ns.total.view()
	return "   Total Incoming Outgoing         Incoming         Outgoing\n" +
		"   Conns  Packets  Packets            Bytes            Bytes\n" +
		row(counters.list()) + "\n" +
		" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n" +
		row(r)
}

// countedByCPU returns what each possible CPU has counted up to now.
func (ns *Namespace) countedByCPU() []Counters {
	list := slices.Clone(ns.cpus)
	for i, c := range ns.k.path.CPUs(ns.name) {
		if i == len(list) {
			list = append(list, Counters{})
		}
		list[i] = list[i].Add(c)
	}
	return list
}

// procStatsPerCPU returns /proc/net/ip_vs_stats_percpu.
func (ns *Namespace) procStatsPerCPU() string {
	var b strings.Builder
	b.WriteString("       Total Incoming Outgoing         Incoming         Outgoing\n" +
		"CPU    Conns  Packets  Packets            Bytes            Bytes\n")
	for i, c := range ns.countedByCPU() {
		fmt.Fprintf(&b, "%3X %s", i, row(c.list()))
	}
	counters, r := ns.total.view()
	fmt.Fprintf(&b, "  ~ %s\n", row(counters.list()))
	b.WriteString("     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n")
	fmt.Fprintf(&b, "    %s", row(r))
	return b.String()
}
