package ipvstest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// procFile reads a file of the namespace, in one go if it is no longer than 4 KiB. A file that is read in pieces misses
// services while another namespace has some: the place where to go on counts those too (observed on 6.12).
func (b *bench) procFile(name string) string {
	b.Helper()
	root := b.proc()
	f, err := root.Open("proc/thread-self/net/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = root.Open("proc/net/" + name)
	}
	none(b, err)
	defer func() { _ = f.Close() }()
	var text []byte
	for buffer := make([]byte, 64<<10); ; {
		n, err := f.Read(buffer)
		text = append(text, buffer[:n]...)
		if errors.Is(err, io.EOF) {
			return string(text)
		}
		none(b, err)
	}
}

// procCases are the files in /proc, as far as they go without traffic.
var procCases = []testCase{
	{name: "ip_vs, empty", run: func(b *bench) {
		equal(b, "file", b.title(), b.procFile("ip_vs"))
	}},
	{name: "ip_vs", run: func(b *bench) {
		if native.Uint16([]byte{1, 0}) != 1 {
			b.Skip("observed on a little-endian machine")
		}
		hz := b.ticks()
		mask := func(m ...byte) []byte { return bin(sNetmask, m...) }
		var want []string
		add := func(id, configuration []byte, text string, dests ...[]byte) {
			b.must(cNewService, svc(id, configuration))
			for _, d := range dests {
				b.must(cNewDest, svc(id), d)
			}
			want = append(want, text)
		}
		persistent := func(seconds uint32, mask string) string { return fmt.Sprintf("persistent %d %s\n", seconds*hz, mask) }
		const dest = "  -> %s      %-7s %-6d %-10d %-10d\n"
		add(tcp("10.8.0.100:80"), conf("wlc"), "TCP  0A080064:0050 wlc  \n"+
			fmt.Sprintf(dest, "0A090002:0050", "Masq", 100, 0, 0), dst("10.9.0.2:80", full(0, 100, 0, 0)))
		add(udp("10.8.0.100:5060"), settings("rr", 1, 60, mask32), "UDP  0A080064:13C4 rr  "+persistent(60, "FFFFFFFF"))
		add(udp("10.8.0.100:9000"), settings("rr", 1, 120, mask(255, 255, 255, 0)), "UDP  0A080064:2328 rr  "+persistent(120, "FFFFFF00"))
		add(udp("10.8.0.100:9001"), settings("rr", 4, 9, mask32), "UDP  0A080064:2329 rr ops  \n")
		add(udp("10.8.0.100:9002"), settings("rr", 5, 9, mask32), "UDP  0A080064:232A rr ops  "+persistent(9, "FFFFFFFF"))
		add(address(protoSCTP, "10.8.0.100:9999"), conf("rr"), "SCTP  0A080064:270F rr  \n")
		add(tcp("10.8.0.100:7777"), settings("none", 4, 0, mask32), "TCP  0A080064:1E61 none ops  \n")
		add(address(99, "10.8.0.100:7778"), conf("rr"), "IP_99  0A080064:1E62 rr  \n")
		add(address(0, "10.8.0.100:7779"), conf("rr"), "IP  0A080064:1E63 rr  \n")
		add(address(1, "10.8.0.100:7780"), conf("rr"), "ICMP  0A080064:1E64 rr  \n")
		add(tcp("[fd08::100]:80"), conf6("sh"), "TCP  [fd08:0000:0000:0000:0000:0000:0000:0100]:0050 sh \n"+
			fmt.Sprintf(dest, "[fd09:0000:0000:0000:0000:0000:0000:0002]:0050", "Masq", 65535, 0, 0), dst("[fd09::2]:80", full(0, 65535, 0, 0)))
		add(tcp("[fd08::100]:81"), settings("rr", 1, 300, u32(sNetmask, 64)), "TCP  [fd08:0000:0000:0000:0000:0000:0000:0100]:0051 rr "+persistent(300, "40000000"))
		add(udp("[fd08::100]:7781"), settings("rr", 5, 300, prefix128), "UDP  [fd08:0000:0000:0000:0000:0000:0000:0100]:1E65 rr "+persistent(300, "80000000"))
		add(mark4(7), settings("rr", 1, 300, mask32), "FWM  00000007 rr "+persistent(300, "FFFFFFFF"))
		add(mark6(8), settings("rr", 1, 300, u32(sNetmask, 64)), "FWM  00000008 rr "+persistent(300, "40000000"))
		add(mark4(0x63), settings("rr", 5, 3600, mask(255, 255, 0, 0)), "FWM  00000063 rr ops "+persistent(3600, "FFFF0000"))
		add(mark4(0x64), conf("rr"), "FWM  00000064 rr \n"+
			fmt.Sprintf(dest, "0A090001:0000", "Local", 0, 0, 0)+
			fmt.Sprintf(dest, "0A090004:0000", "Masq", 2147483647, 0, 0)+
			fmt.Sprintf(dest, "0A090005:0000", "Masq", 1, 0, 0)+
			fmt.Sprintf(dest, "0A090006:0000", "Masq", 1, 0, 0),
			dst("10.9.0.6:0", full(7, 1, 0, 0)), dst("10.9.0.5:0", full(4, 1, 0, 0)), dst("10.9.0.4:0", full(0, 1<<31-1, 0, 0)), dst("10.9.0.1:0", full(1, 0, 0, 0)))
		add(tcp("10.8.0.100:81"), conf("rr"), "TCP  0A080064:0051 rr  \n"+
			fmt.Sprintf(dest, "[fd09:0000:0000:0000:0000:0000:0000:0002]:0051", "Tunnel", 1, 0, 0)+
			fmt.Sprintf(dest, "7F000001:0051", "Route", 1, 0, 0),
			dst("127.0.0.1:81", routed), dst("[fd09::2]:81", full(2, 1, 0, 0)))
		text, ok := strings.CutPrefix(b.procFile("ip_vs"), b.title())
		if !ok {
			b.Fatalf("title of\n%s", text)
		}
		var got []string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "  -> ") && got != nil {
				got[len(got)-1] += line
			} else {
				got = append(got, line)
			}
		}
		equal(b, "services", len(want), len(got))
		slices.Sort(got)
		slices.Sort(want)
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				b.Errorf("want %q\ngot  %q", want[i], got[i])
			}
		}
	}},
	{name: "ip_vs in the order of the list", run: func(b *bench) {
		b.fill(60)
		var want []string
		for _, a := range b.list(cGetService) {
			want = append(want, fmt.Sprintf("TCP  C0000201:%04X rr  \n", a.addrPort(sFamily, sAddr, sPort).Port()))
		}
		equal(b, "services", strings.Join(want, ""), strings.TrimPrefix(b.procFile("ip_vs"), b.title()))
	}},
	{name: "the table and the client agree", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, ipvs.Service{ID: webID, Scheduler: "wlc", Flags: ipvs.Persistent, Timeout: time.Minute}))
		none(b, c.AddDestination(ctx, webID, webDest))
		table, err := ipvs.ReadTable(b.proc())
		none(b, err)
		want := ipvs.TableService{
			ID: webID, Scheduler: "wlc", Persistent: true, Ticks: 60 * b.ticks(), Netmask: ipvs.MaskBits(ipvs.IPv4, 32),
			Destinations: []ipvs.TableDestination{{Addr: webDest.Addr, Forward: ipvs.Route, Weight: 1}},
		}
		equal(b, "services", []ipvs.TableService{want}, table.Services)
		info, err := c.Info(ctx)
		none(b, err)
		equal(b, "version", info.Version.String(), table.Version)
		equal(b, "size", info.ConnTabSize, table.ConnTabSize)
	}},
	{name: "connections", run: func(b *bench) {
		equal(b, "ip_vs_conn", "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n", b.procFile("ip_vs_conn"))
		equal(b, "ip_vs_conn_sync", "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n", b.procFile("ip_vs_conn_sync"))
		for _, err := range b.client().Connections(b.ctx()) {
			b.Errorf("a connection, or %v", err)
		}
	}},
	{name: "statistics", run: func(b *bench) {
		equal(b, "ip_vs_stats", ""+
			"   Total Incoming Outgoing         Incoming         Outgoing\n"+
			"   Conns  Packets  Packets            Bytes            Bytes\n"+
			"       0        0        0                0                0\n"+
			"\n"+
			" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"+
			"       0        0        0                0                0\n", b.procFile("ip_vs_stats"))
		s, err := b.client().KernelStats(b.ctx())
		none(b, err)
		equal(b, "total", ipvs.Stats{}, s.Total)
		if len(s.CPUs) == 0 {
			b.Error("no CPU")
		}
		for i, cpu := range s.CPUs {
			equal(b, "CPU", ipvs.CPUStats{CPU: i}, cpu)
		}
	}},
}

// title is how ip_vs begins.
func (b *bench) title() string {
	b.Helper()
	return fmt.Sprintf("IP Virtual Server version 1.2.1 (size=%d)\n", b.get(cGetInfo).attrs().number(2)) +
		"Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
}
