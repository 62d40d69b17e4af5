package ipvs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, ServiceID{})

// The frames were captured on a little-endian machine.
func littleEndian(t testing.TB) {
	t.Helper()
	if host.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the captured frames are little endian")
	}
}

// frame reads a captured message: one comment line, then hexadecimal digits.
func frame(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/frames/6.12", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	_, digits, _ := strings.Cut(string(text), "\n")
	b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sideBySide shows two messages, four bytes a row.
func sideBySide(want, got []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "offset  want         got\n")
	for i := 0; i < max(len(want), len(got)); i += 4 {
		w, g := want[min(i, len(want)):min(i+4, len(want))], got[min(i, len(got)):min(i+4, len(got))]
		mark := ""
		if !bytes.Equal(w, g) {
			mark = " <"
		}
		fmt.Fprintf(&b, "%04x    % -11x  % -11x%s\n", i, w, g, mark)
	}
	return b.String()
}

var (
	goldenTCP = Service{
		ID:        ServiceID{Protocol: TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")},
		Scheduler: "wlc", Netmask: MaskBits(IPv4, 32),
	}
	goldenUDP6 = Service{
		ID:        ServiceID{Protocol: UDP, Addr: netip.MustParseAddrPort("[2001:db8::10]:53")},
		Scheduler: "sh", Flags: Persistent | SHFallback | SHPort, Timeout: 300 * time.Second, Netmask: MaskBits(IPv6, 64),
	}
	goldenMark  = Service{ID: Mark(7, IPv4), Scheduler: "rr", Flags: OnePacket, Netmask: MaskBits(IPv4, 32)}
	goldenRoute = Destination{
		Addr: netip.MustParseAddrPort("198.51.100.1:80"), Forward: Route, Weight: 3, UpperThreshold: 100, LowerThreshold: 80,
	}
	goldenGUE = Destination{
		Addr: netip.MustParseAddrPort("[2001:db8:1::5]:80"), Forward: Tunnel, Weight: 1,
		Tunnel: TunnelOptions{Type: GUE, Port: 6080, Flags: Checksum},
	}
	goldenDaemon = Daemon{
		State: Master, Interface: "dm0", SyncID: 5, MaxLen: 1400, Group: netip.MustParseAddr("239.0.0.81"), Port: 8849, TTL: 4,
	}
)

func TestGoldenRequests(t *testing.T) {
	littleEndian(t)
	const family, ack = 34, flagRequest | flagAck
	service := func(s Service) func([]byte) []byte {
		return func(b []byte) []byte { return appendService(b, &s) }
	}
	id := func(s string) func([]byte) []byte {
		return func(b []byte) []byte {
			id, err := ParseServiceID(s)
			if err != nil {
				t.Fatal(err)
			}
			return appendServiceID(b, id)
		}
	}
	dest := func(d Destination) func([]byte) []byte {
		return func(b []byte) []byte { return appendDestination(appendServiceID(b, goldenTCP.ID), &d, d.Addr) }
	}
	encoded := func(attrs []byte, err error) func([]byte) []byte {
		return func(b []byte) []byte {
			if err != nil {
				t.Fatal(err)
			}
			return append(b, attrs...)
		}
	}
	quiesced := goldenRoute
	quiesced.Weight = 0
	tests := []struct {
		frame string
		typ   uint16
		flags uint16
		cmd   uint8
		attrs func([]byte) []byte
	}{
		{"01-ctrl-getfamily-request", genlIDCtrl, ack, ctrlCmdGetFamily, encoded(encodeFamilyName("IPVS"))},
		{"04-get-info-request", family, ack, cmdGetInfo, nil},
		{"06-new-service-request", family, ack, cmdNewService, service(goldenTCP)},
		{"08-new-service-udp6-sh-persistent-request", family, ack, cmdNewService, service(goldenUDP6)},
		{"09-new-service-fwmark-request", family, ack, cmdNewService, service(goldenMark)},
		{"12-new-dest-route-request", family, ack, cmdNewDest, dest(goldenRoute)},
		{"13-new-dest-gue-request", family, ack, cmdNewDest, dest(goldenGUE)},
		{"14-set-dest-weight-0-request", family, ack, cmdSetDest, dest(quiesced)},
		{"15-get-service-single-request", family, ack, cmdGetService, id("TCP 192.0.2.10:80")},
		{"17-get-service-dump-request", family, flagRequest | flagDump, cmdGetService, nil},
		{"22-get-dest-dump-request", family, flagRequest | flagDump, cmdGetDest, id("TCP 192.0.2.10:80")},
		{"26-set-config-request", family, ack, cmdSetConfig, encoded(encodeTimeouts([3]uint32{0, 0, 120}))},
		{"27-get-config-request", family, ack, cmdGetConfig, nil},
		{"29-del-dest-request", family, ack, cmdDelDest, func(b []byte) []byte {
			return appendDestinationID(appendServiceID(b, goldenTCP.ID), goldenGUE.Addr)
		}},
		{"30-new-daemon-master-request", family, ack, cmdNewDaemon, encoded(encodeDaemon(goldenDaemon))},
		{"31-get-daemon-dump-request", family, flagRequest | flagDump, cmdGetDaemon, nil},
		{"34-del-daemon-master-request", family, ack, cmdDelDaemon, encoded(encodeDaemonState(Master))},
		{"35-del-service-request", family, ack, cmdDelService, id("TCP 192.0.2.99:80")},
		{"40-flush-request", family, ack, cmdFlush, nil},
	}
	for _, tt := range tests {
		t.Run(tt.frame, func(t *testing.T) {
			want := frame(t, tt.frame)
			b := beginMessage(nil, tt.typ, tt.flags, host.Uint32(want[8:]), tt.cmd)
			if tt.attrs != nil {
				b = tt.attrs(b)
			}
			finishMessage(b, 0)
			if !bytes.Equal(want, b) {
				t.Fatalf("request differs:\n%s", sideBySide(want, b))
			}
		})
	}
}

// payload returns what follows the generic-netlink header of a captured reply.
func payload(t testing.TB, name string, cmd uint8) []byte {
	t.Helper()
	h, p, rest, err := nextMessage(frame(t, name))
	if err != nil || len(rest) != 0 {
		t.Fatalf("message with %d bytes after it: %v", len(rest), err)
	}
	if len(p) < genlHdrLen || p[0] != cmd {
		t.Fatalf("message %+v is not of command %d", h, cmd)
	}
	return p[genlHdrLen:]
}

func TestGoldenReplies(t *testing.T) {
	littleEndian(t)
	service := func(b []byte) (any, error) {
		var s ServiceStatus
		err := decodeService(b, &s)
		return s, err
	}
	tests := []struct {
		frame  string
		cmd    uint8
		decode func([]byte) (any, error)
		want   any
	}{
		{"02-ctrl-getfamily-reply", 1, func(b []byte) (any, error) { return decodeFamilyID(b) }, uint16(34)},
		{"05-get-info-reply", cmdSetInfo, func(b []byte) (any, error) { return decodeInfo(b) }, Info{0x010201, 4096}},
		{"16-get-service-reply", cmdNewService, service, ServiceStatus{Service: goldenTCP}},
		{"19-get-service-dump-udp6", cmdNewService, service, ServiceStatus{Service: goldenUDP6}},
		{"23-get-dest-dump-gue", cmdNewDest, func(b []byte) (any, error) {
			var d DestinationStatus
			err := decodeDestination(b, IPv4, &d)
			return d, err
		}, DestinationStatus{Destination: goldenGUE}},
		{"28-get-config-reply", cmdSetConfig, func(b []byte) (any, error) { return decodeTimeouts(b) }, Timeouts{900 * time.Second, 120 * time.Second, 120 * time.Second}},
		{"32-get-daemon-dump-master", cmdNewDaemon, func(b []byte) (any, error) { return decodeDaemon(b) }, goldenDaemon},
	}
	for _, tt := range tests {
		t.Run(tt.frame, func(t *testing.T) {
			got, err := tt.decode(payload(t, tt.frame, tt.cmd))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, equateAddrs); diff != "" {
				t.Fatalf("reply (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoldenErrors(t *testing.T) {
	littleEndian(t)
	tests := []struct {
		frame string
		typ   uint16
		errno syscall.Errno
		text  string
	}{
		{"03-ctrl-getfamily-ack", nlmsgError, 0, ""},
		{"07-new-service-ack", nlmsgError, 0, ""},
		{"11-new-service-eexist", nlmsgError, eEXIST, ""},
		{"21-get-service-dump-done", nlmsgDone, 0, ""},
		{"25-get-dest-dump-done", nlmsgDone, 0, ""},
		{"33-get-daemon-dump-done", nlmsgDone, 0, ""},
		{"36-del-service-esrch-extack", nlmsgError, eSRCH, ""},
		{"38-set-config-short-erange-extack", nlmsgError, eRANGE, "Attribute failed policy validation"},
	}
	for _, tt := range tests {
		t.Run(tt.frame, func(t *testing.T) {
			h, p, _, err := nextMessage(frame(t, tt.frame))
			if err != nil || h.typ != tt.typ {
				t.Fatalf("message type %d, %v; want %d", h.typ, err, tt.typ)
			}
			errno, text, err := decodeError(h.flags, p)
			if err != nil || syscall.Errno(errno) != tt.errno || text != tt.text {
				t.Fatalf("got %d %q %v, want %d %q", errno, text, err, tt.errno, tt.text)
			}
		})
	}
}
