package nltest

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read returns a file of a namespace.
func read(t testing.TB, ns *Namespace, name string) string {
	t.Helper()
	b, err := fs.ReadFile(ns.FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProcServices(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	// Each in a bucket of its own kind; only the text of the entries is compared, in the order of the list.
	add := func(id ServiceID, c func(*encoder), dests ...func(*encoder)) {
		t.Helper()
		p.must(NewService, svc(id, c))
		for _, d := range dests {
			p.must(NewDest, svc(id), d)
		}
	}
	persistent := func(timeout uint32, mask ...byte) func(*encoder) {
		return in2(str(svcSched, "rr"), bin(svcFlags, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), u32(svcTimeout, timeout), bin(svcNetmask, mask...))
	}
	plen := func(flags, timeout, plen uint32) func(*encoder) { return conf6("rr", flags, 0xffffffff, timeout, plen) }
	for name, c := range map[string]struct {
		id    ServiceID
		conf  func(*encoder)
		dests []func(*encoder)
		want  string
	}{
		"plain": {tcp("10.8.0.100:80"), conf("wlc", 0, 0, 0), attrs(dst("10.9.0.2:80", full(0, 100, 0, 0))),
			"TCP  0A080064:0050 wlc  \n  -> 0A090002:0050      Masq    100    1          0         \n"},
		"persistent":   {udp("10.8.0.100:5060"), persistent(60, 255, 255, 255, 255), nil, "UDP  0A080064:13C4 rr  persistent 15000 FFFFFFFF\n"},
		"netmask":      {udp("10.8.0.100:9000"), persistent(120, 255, 255, 255, 0), nil, "UDP  0A080064:2328 rr  persistent 30000 FFFFFF00\n"},
		"ops":          {udp("10.8.0.100:9001"), conf("rr", 4, 4, 0), nil, "UDP  0A080064:2329 rr ops  \n"},
		"SCTP":         {ServiceID{Protocol: 132, Addr: netip.MustParseAddrPort("10.8.0.100:9999")}, rr, nil, "SCTP  0A080064:270F rr  \n"},
		"no scheduler": {tcp("10.8.0.100:7777"), conf("none", 4, 4, 0), nil, "TCP  0A080064:1E61 none ops  \n"},
		"protocol 99":  {ServiceID{Protocol: 99, Addr: netip.MustParseAddrPort("10.8.0.100:7778")}, rr, nil, "IP_99  0A080064:1E62 rr  \n"},
		"protocol 0":   {ServiceID{Addr: netip.MustParseAddrPort("10.8.0.100:7779")}, rr, nil, "IP  0A080064:1E63 rr  \n"},
		"ICMPv6":       {ServiceID{Protocol: 58, Addr: netip.MustParseAddrPort("10.8.0.100:7779")}, rr, nil, "ICMPv6  0A080064:1E63 rr  \n"},
		"IPv6": {tcp("[fd08::100]:80"), conf6("sh", 0, 0, 0, 128), attrs(dst("[fd09::2]:80", full(0, 65535, 0, 0))),
			"TCP  [fd08:0000:0000:0000:0000:0000:0000:0100]:0050 sh \n" +
				"  -> [fd09:0000:0000:0000:0000:0000:0000:0002]:0050      Masq    65535  1          0         \n"},
		"IPv6 persistent": {tcp("[fd08::100]:81"), plen(1, 300, 64), nil, "TCP  [fd08:0000:0000:0000:0000:0000:0000:0100]:0051 rr persistent 75000 40000000\n"},
		"IPv6 ops":        {udp("[fd08::100]:7781"), plen(5, 300, 128), nil, "UDP  [fd08:0000:0000:0000:0000:0000:0000:0100]:1E65 rr persistent 75000 80000000\n"},
		"mark":            {mark(7), persistent(300, 255, 255, 255, 255), nil, "FWM  00000007 rr persistent 75000 FFFFFFFF\n"},
		"IPv6 mark":       {ServiceID{Mark: 7, IPv6: true}, plen(1, 300, 64), nil, "FWM  00000007 rr persistent 75000 40000000\n"},
		"mark ops": {mark(99), in2(str(svcSched, "rr"), bin(svcFlags, 5, 0, 0, 0, 0xff, 0, 0, 0), u32(svcTimeout, 3600), bin(svcNetmask, 255, 255, 0, 0)),
			nil, "FWM  00000063 rr ops persistent 900000 FFFF0000\n"},
		"methods": {mark(100), rr, attrs(dst("10.9.0.4:0", full(0, 1<<31-1, 0, 0)), dst("10.9.0.1:0", full(1, 0, 0, 0)), dst("10.9.0.5:0", full(4, 0, 0, 0))),
			"FWM  00000064 rr \n" +
				"  -> 0A090005:0000      Masq    0      1          0         \n" +
				"  -> 0A090001:0000      Local   0      1          0         \n" +
				"  -> 0A090004:0000      Masq    2147483647 1          0         \n"},
		"mixed": {tcp("10.8.0.100:81"), rr, attrs(dst("127.0.0.1:81", w1), dst("[fd09::2]:81", full(2, 1, 0, 0))),
			"TCP  0A080064:0051 rr  \n" +
				"  -> [fd09:0000:0000:0000:0000:0000:0000:0002]:0051      Tunnel  1      1          0         \n" +
				"  -> 7F000001:0051      Route   1      1          0         \n"},
	} {
		p.must(FlushServices)
		add(c.id, c.conf, c.dests...)
		// One active connection each.
		for _, s := range ns.services() {
			for _, d := range s.dests {
				if err := ns.SetConns(s.id(), d.addrPort(), Conns{Active: 1, Persistent: 5}); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n" +
			"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n" + c.want
		if isBigEndian() && c.id.IPv6 || isBigEndian() && c.id.Addr.Addr().Is6() {
			continue // a prefix length is printed byte-swapped on little endian only
		}
		if diff := cmp.Diff(want, read(t, ns, "proc/net/ip_vs")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestProcOrder checks that the file has the order of the dump, also in a bucket of several.
func TestProcOrder(t *testing.T) {
	ns := newKernel(t, nil).Namespace("")
	p := newTap(t, ns)
	for _, m := range []uint32{1, 257, 513, 2} {
		p.must(NewService, svc(mark(m), rr))
	}
	_, got, _ := strings.Cut(read(t, ns, "proc/net/ip_vs"), "InActConn\n")
	want := "FWM  00000201 rr \nFWM  00000101 rr \nFWM  00000001 rr \nFWM  00000002 rr \n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestProcConnections(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	ap := netip.MustParseAddrPort
	rows := []Connection{
		{Protocol: 6, Client: ap("10.8.0.2:51254"), Virtual: ap("10.8.0.100:80"), Dest: ap("10.9.0.2:80"), State: "ESTABLISHED", Expires: 893 * time.Second},
		{Protocol: 17, Client: ap("10.8.0.0:0"), Virtual: ap("10.8.0.100:9000"), Dest: ap("10.9.0.2:9000"), State: "NONE", Expires: 113999 * time.Millisecond},
		{Protocol: 17, Client: ap("10.8.0.2:0"), Virtual: ap("10.8.0.100:5060"), Dest: ap("10.9.0.2:5060"), State: "NONE", Expires: 53 * time.Second, Engine: "sip", EngineData: "abc123@host"},
		{Client: ap("10.8.0.2:0"), Mark: 7, Dest: ap("10.9.0.2:0"), State: "ASSURED", Expires: 292 * time.Second},
		{Protocol: 6, Client: ap("[fd08::2]:43142"), Virtual: ap("[fd08::100]:81"), Dest: ap("[fd09::2]:80"), State: "CLOSE_WAIT", Expires: 54 * time.Second, Synced: true},
		{Client: ap("[fd08::]:0"), Mark: 7, Dest: ap("[fd09::2]:0"), State: "NONE", Expires: time.Second},
		{Client: ap("10.8.0.3:0"), Mark: 7, Virtual: ap("0.0.0.7:65535"), Dest: ap("10.9.0.2:65535"), State: "ASSURED", Expires: 9 * time.Second},
		{Protocol: 132, Client: ap("10.8.0.2:40000"), Virtual: ap("10.8.0.100:9999"), Dest: ap("[fd09::2]:9999"), State: "INIT1", Expires: 3 * time.Second},
	}
	if err := ns.SetConnections(rows); err != nil {
		t.Fatal(err)
	}
	want := `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A080002 C836 0A080064 0050 0A090002 0050 ESTABLISHED     893
UDP 0A080000 0000 0A080064 2328 0A090002 2328 NONE            113
UDP 0A080002 0000 0A080064 13C4 0A090002 13C4 NONE             53 sip abc123@host
IP  0A080002 0000 00000007 0000 0A090002 0000 ASSURED         292
TCP fd08:0000:0000:0000:0000:0000:0000:0002 A886 fd08:0000:0000:0000:0000:0000:0000:0100 0051 fd09:0000:0000:0000:0000:0000:0000:0002 0050 CLOSE_WAIT       54
IP  fd08:0000:0000:0000:0000:0000:0000:0000 0000 0000:0007:0000:0000:0000:0000:0000:0000 0000 fd09:0000:0000:0000:0000:0000:0000:0002 0000 NONE              1
IP  0A080003 0000 00000007 FFFF 0A090002 FFFF ASSURED           9
SCTP 0A080002 9C40 0A080064 270F fd09:0000:0000:0000:0000:0000:0000:0002 270F INIT1             3
`
	if diff := cmp.Diff(want, read(t, ns, "proc/thread-self/net/ip_vs_conn")); diff != "" {
		t.Errorf("ip_vs_conn (-want +got):\n%s", diff)
	}
	if err := ns.SetConnections([]Connection{rows[1], rows[4]}); err != nil {
		t.Fatal(err)
	}
	want = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires
UDP 0A080000 0000 0A080064 2328 0A090002 2328 NONE        LOCAL      113
TCP fd08:0000:0000:0000:0000:0000:0000:0002 A886 fd08:0000:0000:0000:0000:0000:0000:0100 0051 fd09:0000:0000:0000:0000:0000:0000:0002 0050 CLOSE_WAIT  SYNC        54
`
	if diff := cmp.Diff(want, read(t, ns, "proc/self/net/ip_vs_conn_sync")); diff != "" {
		t.Errorf("ip_vs_conn_sync (-want +got):\n%s", diff)
	}
}

func TestProcStats(t *testing.T) {
	k := newKernel(t, &Config{CPUs: 2})
	ns := k.Namespace("")
	count := func(cpu int, c Counters) {
		t.Helper()
		if err := ns.CountOn(cpu, ServiceID{}, netip.AddrPort{}, c); err != nil {
			t.Fatal(err)
		}
	}
	count(0, Counters{5, 15, 9, 0x4c6, 0x29e})
	count(1, Counters{5, 10, 5, 0x37b, 0x116})
	k.Advance(2 * time.Second)
	if err := ns.CountOn(2, ServiceID{}, netip.AddrPort{}, Counters{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CPU 2: %v", err)
	}
	// The rates of this example after one visit: 10/8, 25/8, 14/8, 2113/8, 948/8.
	want := `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       A       19        E              841              3B4

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       1        3        2              108               76
`
	if diff := cmp.Diff(want, read(t, ns, "proc/net/ip_vs_stats")); diff != "" {
		t.Errorf("ip_vs_stats (-want +got):\n%s", diff)
	}
	want = `       Total Incoming Outgoing         Incoming         Outgoing
CPU    Conns  Packets  Packets            Bytes            Bytes
  0        5        F        9              4C6              29E
  1        5        A        5              37B              116
  ~        A       19        E              841              3B4

     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
           1        3        2              108               76
`
	if diff := cmp.Diff(want, read(t, ns, "proc/net/ip_vs_stats_percpu")); diff != "" {
		t.Errorf("ip_vs_stats_percpu (-want +got):\n%s", diff)
	}
	// ZERO and sampling touch the sum, not the rows.
	newTap(t, ns).must(Zero)
	count(1, Counters{Conns: 1})
	want = `       Total Incoming Outgoing         Incoming         Outgoing
CPU    Conns  Packets  Packets            Bytes            Bytes
  0        5        F        9              4C6              29E
  1        6        A        5              37B              116
  ~        0        0        0                0                0

     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
           0        0        0                0                0
`
	if diff := cmp.Diff(want, read(t, ns, "proc/net/ip_vs_stats_percpu")); diff != "" {
		t.Errorf("after ZERO (-want +got):\n%s", diff)
	}
}

func TestFS(t *testing.T) {
	k := newKernel(t, nil)
	root := k.Namespace("").FS()
	var want []string
	for _, dir := range netDirs {
		for _, name := range []string{"ip_vs", "ip_vs_conn", "ip_vs_conn_sync", "ip_vs_stats", "ip_vs_stats_percpu"} {
			want = append(want, dir+"/"+name)
		}
	}
	if err := fstest.TestFS(root, want...); err != nil {
		t.Error(err)
	}
	k.UnloadModule()
	if _, err := fs.Stat(root, "proc/net/ip_vs"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the module: %v", err)
	}
	if _, err := fs.ReadDir(root, "proc/net"); err != nil {
		t.Errorf("directory without the module: %v", err)
	}
}
