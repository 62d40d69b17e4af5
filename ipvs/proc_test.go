package ipvs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const connHead = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

func collect(t *testing.T, text string) (list []Connection, errs []error) {
	t.Helper()
	for c, err := range ParseConnections(strings.NewReader(text)) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, c)
	}
	return list, errs
}

func TestParseConnections(t *testing.T) {
	ap := netip.MustParseAddrPort
	// Rows as Linux 6.1 and 6.12 print them, with their trailing blanks.
	text := connHead +
		"TCP 0A080002 C836 0A080064 0050 0A090002 0050 ESTABLISHED     893\n" +
		"UDP 0A080000 0000 0A080064 2328 0A090002 2328 NONE            113\n" +
		"UDP 0A080002 0000 0A080064 13C4 0A090002 13C4 NONE             53 sip abc123@host\n" +
		"UDP 0A080002 0000 0A080064 13C4 0A090002 13C4 NONE             53 sip a call id with blanks\n" +
		"IP  0A080002 0000 00000007 0000 0A090002 0000 ASSURED         292\n" +
		"IP  fd08:0000:0000:0000:0000:0000:0000:0002 0000 0000:0007:0000:0000:0000:0000:0000:0000 0000 fd09:0000:0000:0000:0000:0000:0000:0002 0000 ASSURED         292\n" +
		"TCP 0A080002 A886 0A080064 0051 fd09:0000:0000:0000:0000:0000:0000:0002 0050 CLOSE_WAIT       54\n" +
		"SCTP 0A080002 9C40 0A080064 270F 0A090002 270F INIT1             3\n" +
		"AH  0A080002 9C40 0A080064 270F 0A090002 270F ERR!        4294967295"
	got, errs := collect(t, text)
	want := []Connection{
		{Protocol: "TCP", Client: ap("10.8.0.2:51254"), Virtual: ap("10.8.0.100:80"), Destination: ap("10.9.0.2:80"), State: "ESTABLISHED", Expires: 893 * time.Second},
		{Protocol: "UDP", Client: ap("10.8.0.0:0"), Virtual: ap("10.8.0.100:9000"), Destination: ap("10.9.0.2:9000"), State: "NONE", Expires: 113 * time.Second},
		{Protocol: "UDP", Client: ap("10.8.0.2:0"), Virtual: ap("10.8.0.100:5060"), Destination: ap("10.9.0.2:5060"), State: "NONE", Expires: 53 * time.Second, PE: "sip", PEData: "abc123@host"},
		{Protocol: "UDP", Client: ap("10.8.0.2:0"), Virtual: ap("10.8.0.100:5060"), Destination: ap("10.9.0.2:5060"), State: "NONE", Expires: 53 * time.Second, PE: "sip", PEData: "a call id with blanks"},
		{Protocol: "IP", Client: ap("10.8.0.2:0"), Virtual: ap("0.0.0.7:0"), Destination: ap("10.9.0.2:0"), State: "ASSURED", Expires: 292 * time.Second},
		{Protocol: "IP", Client: ap("[fd08::2]:0"), Virtual: ap("[0:7::]:0"), Destination: ap("[fd09::2]:0"), State: "ASSURED", Expires: 292 * time.Second},
		{Protocol: "TCP", Client: ap("10.8.0.2:43142"), Virtual: ap("10.8.0.100:81"), Destination: ap("[fd09::2]:80"), State: "CLOSE_WAIT", Expires: 54 * time.Second},
		{Protocol: "SCTP", Client: ap("10.8.0.2:40000"), Virtual: ap("10.8.0.100:9999"), Destination: ap("10.9.0.2:9999"), State: "INIT1", Expires: 3 * time.Second},
		{Protocol: "AH", Client: ap("10.8.0.2:40000"), Virtual: ap("10.8.0.100:9999"), Destination: ap("10.9.0.2:9999"), State: "ERR!", Expires: 4294967295 * time.Second},
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" || errs != nil {
		t.Fatalf("connections (-want +got):\n%s\nerrors: %v", diff, errs)
	}
	for i, wantMark := range []uint32{0, 0, 0, 0, 7, 7, 0, 0, 0} {
		mark, ok := got[i].FWMark()
		if mark != wantMark || ok != (wantMark != 0) {
			t.Errorf("row %d: mark %d, %v", i, mark, ok)
		}
	}
}

func TestParseSyncConnections(t *testing.T) {
	got, errs := collect(t, "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n"+
		"UDP 0A080000 0000 0A080064 2328 0A090002 2328 NONE        LOCAL      113\n"+
		"UDP 0A080001 0000 0A080064 2328 0A090002 2328 NONE        SYNC         3\n")
	if errs != nil || len(got) != 2 || got[0].Origin != "LOCAL" || got[1].Origin != "SYNC" || got[0].Expires != 113*time.Second || !got[1].IsTemplate() {
		t.Fatalf("got %+v, %v", got, errs)
	}
}

// A captured file.
func TestParseCapturedConnections(t *testing.T) {
	f, err := os.Open("testdata/proc/6.12/ip_vs_conn")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, templates := 0, 0
	for c, err := range ParseConnections(f) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if c.IsTemplate() {
			templates++
		}
	}
	if n != 14 || templates != 2 {
		t.Fatalf("%d rows, %d templates", n, templates)
	}
}

// A malformed row says where, and the next one is read.
func TestParseConnectionsMistakes(t *testing.T) {
	const good = "TCP 0A080002 C836 0A080064 0050 0A090002 0050 ESTABLISHED     893\n"
	tests := []struct {
		row    string
		column int
		reason string
	}{
		{"", 1, "no protocol"},
		{"TCP", 4, "no client"},
		{"TCP 0A08000G C836 0A080064 0050 0A090002 0050 NONE 1", 5, `client address "0A08000G"`},
		{"TCP 0A080002 C83 0A080064 0050 0A090002 0050 NONE 1", 14, `client port "C83" is not four hexadecimal digits`},
		{"TCP 0A080002 C836 0A080064 0050 0A0900 0050 NONE 1", 33, `destination address "0A0900"`},
		{"TCP 0A080002 C836 0A080064 0050 0A090002 0050 NONE x", 52, `expiry "x" is not a number of 32 bits`},
		{"TCP 0A080002 C836 0A080064 0050 0A090002 0050 NONE 4294967296", 52, `expiry "4294967296" is not a number of 32 bits`},
		{"TCP 0A080002 C836 0A080064 0050 0A090002 0050 NONE", 51, "no expiry"},
	}
	for _, tt := range tests {
		list, errs := collect(t, connHead+good+tt.row+"\n"+good)
		if len(list) != 2 || len(errs) != 1 {
			t.Errorf("%q: %d rows, errors %v", tt.row, len(list), errs)
			continue
		}
		want := ParseError{"ip_vs_conn", 3, tt.column, tt.reason}
		if pe, ok := errors.AsType[*ParseError](errs[0]); !ok || *pe != want {
			t.Errorf("%q: got %v, want %v", tt.row, errs[0], &want)
		}
	}
	for _, head := range []string{"", "\n", "IP Virtual Server version 1.2.1 (size=4096)\n"} {
		if list, errs := collect(t, head); len(list) != 0 || len(errs) != 1 {
			t.Errorf("title %q: %v, %v", head, list, errs)
		}
	}
	failing := io.MultiReader(strings.NewReader(connHead+good), errReader{})
	var last error
	for _, err := range ParseConnections(failing) {
		last = err
	}
	if !errors.Is(last, io.ErrClosedPipe) {
		t.Errorf("an error of reading gives %v", last)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Rows of any length are read whole.
func TestParseLongRow(t *testing.T) {
	data := strings.Repeat("x", 300_000)
	got, errs := collect(t, connHead+"UDP 0A080002 0000 0A080064 13C4 0A090002 13C4 NONE             53 sip "+data+"\n")
	if errs != nil || len(got) != 1 || got[0].PEData != data {
		t.Fatalf("%d rows, errors %v", len(got), errs)
	}
}

func FuzzParseConnections(f *testing.F) {
	if b, err := os.ReadFile("testdata/proc/6.12/ip_vs_conn"); err == nil {
		f.Add(b)
	}
	f.Add([]byte(connHead + "UDP 0A080002 0000 0A080064 13C4 0A090002 13C4 NONE             53 sip abc\nx"))
	f.Add([]byte("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\nUDP 0A080000 0000 0A080064 2328 0A090002 2328 NONE        LOCAL      113"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows := 0
		for c, err := range ParseConnections(bytes.NewReader(b)) {
			rows++
			if (err == nil) == (c == Connection{}) {
				t.Fatalf("row %d: %+v and %v", rows, c, err)
			}
			if err == nil && (!c.Client.Addr().IsValid() || !c.Virtual.Addr().IsValid() || !c.Destination.Addr().IsValid() || c.Protocol == "" || c.State == "") {
				t.Fatalf("row %d is incomplete: %+v", rows, c)
			}
		}
		if lines := bytes.Count(b, []byte("\n")) + 1; rows > lines {
			t.Fatalf("%d rows of %d lines", rows, lines)
		}
	})
}

func TestParseTable(t *testing.T) {
	text := `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A080064:0050 wlc` + "  " + `
  -> 0A090002:0050      Masq    100    1          0         
UDP  0A080064:2329 rr ops` + "  " + `
IP_99  0A080064:1E62 rr` + "  " + `
TCP  [fd08:0000:0000:0000:0000:0000:0000:0100]:0051 rr persistent 75000 40000000
FWM  00000063 rr ops persistent 900000 FFFF0000
  -> 0A090004:0000      Masq    2147483647 0          0         
  -> [fd09:0000:0000:0000:0000:0000:0000:0002]:0051      Tunnel  1      0          0         
`
	got, err := ParseTable(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ap := netip.MustParseAddrPort
	none := []TableDestination{}
	want := Table{Version: "1.2.1", ConnTabSize: 4096, Services: []TableService{
		{ID: ServiceID{Protocol: TCP, Addr: ap("10.8.0.100:80")}, Scheduler: "wlc", Destinations: []TableDestination{{Addr: ap("10.9.0.2:80"), Weight: 100, Active: 1}}},
		{ID: ServiceID{Protocol: UDP, Addr: ap("10.8.0.100:9001")}, Scheduler: "rr", OnePacket: true, Destinations: none},
		{ID: ServiceID{Protocol: 99, Addr: ap("10.8.0.100:7778")}, Scheduler: "rr", Destinations: none},
		{ID: ServiceID{Protocol: TCP, Addr: ap("[fd08::100]:81")}, Scheduler: "rr", Persistent: true, Ticks: 75000, Netmask: MaskBits(IPv6, 64), Destinations: none},
		{ID: ServiceID{FWMark: 99}, Scheduler: "rr", OnePacket: true, Persistent: true, Ticks: 900000, Netmask: MaskBits(IPv4, 16), Destinations: []TableDestination{
			{Addr: ap("10.9.0.4:0"), Weight: 2147483647}, {Addr: ap("[fd09::2]:81"), Forward: Tunnel, Weight: 1},
		}},
	}}
	if host.Uint16([]byte{1, 0}) != 1 {
		want.Services[3].Netmask = netip.MustParseAddr("64.0.0.0") // the prefix was printed by a little-endian machine
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Fatalf("table (-want +got):\n%s", diff)
	}
	captured, err := os.Open("testdata/proc/6.12/ip_vs")
	if err != nil {
		t.Fatal(err)
	}
	defer captured.Close()
	if got, err := ParseTable(captured); err != nil || len(got.Services) != 6 {
		t.Fatalf("captured table: %d services, %v", len(got.Services), err)
	}
}

func TestParseTableMistakes(t *testing.T) {
	const head = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
	for _, text := range []string{
		"", "x\n", strings.Replace(head, "4096", "many", 1), head[:50],
		head + "  -> 0A090002:0050      Masq    100    1          0         \n",
		head + "XYZ  0A080064:0050 wlc\n", head + "TCP  0A080064 wlc\n", head + "TCP  0A080064:0050 wlc bogus\n", head + "TCP  0A080064:0050\n",
		head + "FWM  7x rr\n", head + "TCP  0A080064:0050 wlc persistent 5\n",
		head + "TCP  0A080064:0050 wlc\n  -> 0A090002:0050      Frob    1    1          0         \n",
		head + "TCP  0A080064:0050 wlc\n  -> 0A090002:0050      Masq    1    1          0         x\n",
		head + "TCP  0A080064:0050 wlc\n  -> 0A090002:0050      Masq    2147483648    1          0         \n",
	} {
		_, err := ParseTable(strings.NewReader(text))
		if pe, ok := errors.AsType[*ParseError](err); !ok || pe.Line < 1 || pe.Column < 1 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	if b, err := os.ReadFile("testdata/proc/6.12/ip_vs"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := ParseTable(bytes.NewReader(b))
		if _, ok := errors.AsType[*ParseError](err); err != nil && !ok {
			t.Fatalf("%v is not a ParseError", err)
		}
		if err != nil && table.Services != nil {
			t.Fatal("both a table and an error")
		}
	})
}

const statsText = `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       A       19        E              841              3B4

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       1        2        1               95               43
`

const perCPUText = `       Total Incoming Outgoing         Incoming         Outgoing
CPU    Conns  Packets  Packets            Bytes            Bytes
  0        5        F        9              4C6              29E
  1        5        A        5              37B              116
  ~        A       19        E              841              3B4

     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
           1        2        1               95               43
`

func TestParseStats(t *testing.T) {
	total := Stats{
		Connections: 10, InPackets: 25, OutPackets: 14, InBytes: 0x841, OutBytes: 0x3b4,
		ConnectionRate: 1, InPacketRate: 2, OutPacketRate: 1, InByteRate: 0x95, OutByteRate: 0x43,
	}
	got, err := ParseStats(strings.NewReader(statsText))
	if diff := cmp.Diff(KernelStats{Total: total}, got); diff != "" || err != nil {
		t.Fatalf("%v, statistics (-want +got):\n%s", err, diff)
	}
	got, err = ParseStats(strings.NewReader(perCPUText))
	want := KernelStats{Total: total, CPUs: []CPUStats{{0, 5, 15, 9, 0x4c6, 0x29e}, {1, 5, 10, 5, 0x37b, 0x116}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%v, statistics (-want +got):\n%s", err, diff)
	}
	for i := range len(perCPUText) - 3 {
		if _, err := ParseStats(strings.NewReader(perCPUText[:i])); err == nil {
			t.Fatalf("the first %d bytes pass", i)
		}
	}
	for _, text := range []string{
		strings.Replace(statsText, "841", "84x", 1), strings.Replace(statsText, "841", "1841184118411841184", 1),
		strings.Replace(statsText, "3B4", "3B4 1", 1), strings.Replace(statsText, "3B4", "", 1),
	} {
		if _, err := ParseStats(strings.NewReader(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add([]byte(statsText))
	f.Add([]byte(perCPUText))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStats(bytes.NewReader(b))
		if _, ok := errors.AsType[*ParseError](err); err != nil && !ok {
			t.Fatalf("%v is not a ParseError", err)
		}
		if err != nil && (s.CPUs != nil || s.Total != Stats{}) {
			t.Fatal("both statistics and an error")
		}
	})
}

// BenchmarkParseConnections streams a table of ordinary rows.
func BenchmarkParseConnections(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(connHead)
	const rows = 10_000
	for i := range rows {
		fmt.Fprintf(&text, "TCP 0A08%04X C836 0A080064 0050 0A090002 0050 ESTABLISHED     893\n", i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range ParseConnections(bytes.NewReader(text.Bytes())) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != rows {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
