package persist

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func TestKey(t *testing.T) {
	type listed struct {
		Form                    Form
		Protocol                uint8
		Client, Virtual, Server string // of the template
		Port                    uint16 // of the connection
	}
	tests := map[string]struct {
		virtual, mask  string
		mark           uint32
		server         string
		proto          uint8
		client, packet string
		want           listed
	}{
		"PPC":           {virtual: "10.0.0.100:80", server: "10.1.0.11:8080", proto: 6, client: "10.0.0.10:5", packet: "10.0.0.100:80", want: listed{PPC, 6, "10.0.0.10", "10.0.0.100:80", "10.1.0.11:8080", 8080}},
		"PPC, sctp":     {virtual: "10.0.0.100:80", server: "10.1.0.11:80", proto: 132, client: "10.0.0.10:5", packet: "10.0.0.100:80", want: listed{PPC, 132, "10.0.0.10", "10.0.0.100:80", "10.1.0.11:80", 80}},
		"PCC":           {virtual: "10.0.0.100:0", server: "10.1.0.11:0", proto: 6, client: "10.0.0.10:5", packet: "10.0.0.100:443", want: listed{PCC, 6, "10.0.0.10", "10.0.0.100:0", "10.1.0.11:0", 443}},
		"PCC, own port": {virtual: "10.0.0.100:0", server: "10.1.0.11:8080", proto: 6, client: "10.0.0.10:5", packet: "10.0.0.100:443", want: listed{PCC, 6, "10.0.0.10", "10.0.0.100:0", "10.1.0.11:0", 443}},
		"PCC, packet 0": {virtual: "10.0.0.100:0", server: "10.1.0.11:8080", proto: 17, client: "10.0.0.10:5", packet: "10.0.0.100:0", want: listed{PCC, 17, "10.0.0.10", "10.0.0.100:0", "10.1.0.11:8080", 8080}},
		"PNMPP":         {mark: 10, server: "10.1.0.12:0", proto: 17, client: "10.0.0.12:55337", packet: "10.0.0.100:53", want: listed{PNMPP, 0, "10.0.0.12", "0.0.0.10:0", "10.1.0.12:0", 53}},
		"PNMPP, large":  {mark: 3000000010, server: "10.1.0.12:0", proto: 6, client: "10.0.0.12:5", packet: "10.0.0.100:53", want: listed{PNMPP, 0, "10.0.0.12", "178.208.94.10:0", "10.1.0.12:0", 53}},
		"PNMPP, IPv6":   {mark: 7, server: "[fd01::11]:0", proto: 6, client: "[fd00::2]:5", packet: "[fd00::100]:80", want: listed{PNMPP, 0, "fd00::2", "[0:7::]:0", "[fd01::11]:0", 80}},
		"PNMPP, port 0": {mark: 7, server: "10.2.0.2:8080", proto: 17, client: "10.1.0.7:0", packet: "172.16.0.1:0", want: listed{PNMPP, 17, "10.1.0.7", "172.16.0.1:0", "10.2.0.2:8080", 8080}},
		"FTP":           {virtual: "10.0.0.100:21", server: "10.1.0.12:21", proto: 6, client: "10.0.0.15:5", packet: "10.0.0.100:21", want: listed{FTP, 6, "10.0.0.15", "10.0.0.100:0", "10.1.0.12:0", 21}},
		"FTP, data":     {virtual: "10.0.0.100:21", server: "10.1.0.12:21", proto: 6, client: "10.0.0.15:5", packet: "10.0.0.100:2000", want: listed{FTP, 6, "10.0.0.15", "10.0.0.100:0", "10.1.0.12:0", 2000}},
		"mask":          {virtual: "10.0.0.100:80", mask: "255.255.255.0", server: "10.1.0.11:80", proto: 6, client: "10.0.0.10:5", packet: "10.0.0.100:80", want: listed{PPC, 6, "10.0.0.0", "10.0.0.100:80", "10.1.0.11:80", 80}},
		"holes":         {virtual: "10.0.0.100:80", mask: "255.0.255.0", server: "10.1.0.11:80", proto: 6, client: "10.3.4.5:5", packet: "10.0.0.100:80", want: listed{PPC, 6, "10.0.4.0", "10.0.0.100:80", "10.1.0.11:80", 80}},
		"everybody":     {virtual: "10.0.0.100:80", mask: "0.0.0.0", server: "10.1.0.11:80", proto: 6, client: "10.3.4.5:5", packet: "10.0.0.100:80", want: listed{PPC, 6, "0.0.0.0", "10.0.0.100:80", "10.1.0.11:80", 80}},
		"prefix":        {virtual: "[fd00::100]:80", mask: "ffff:ffff:ffff:ffff::", server: "[fd01::12]:80", proto: 6, client: "[fd00:0:0:1::9]:5", packet: "[fd00::100]:80", want: listed{PPC, 6, "fd00:0:0:1::", "[fd00::100]:80", "[fd01::12]:80", 80}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := Service{Mark: tt.mark, Timeout: time.Minute}
			if tt.virtual != "" {
				s.Virtual = netip.MustParseAddrPort(tt.virtual)
			}
			if tt.mask != "" {
				s.Mask = netip.MustParseAddr(tt.mask)
			}
			d := newDirector(t, s, newServer(tt.server))
			p := Packet{Protocol: tt.proto, Client: netip.MustParseAddrPort(tt.client), Virtual: netip.MustParseAddrPort(tt.packet)}
			if d.send(p) == 0 {
				t.Fatal("no server")
			}
			for e := range d.table.All() {
				got := listed{
					s.Form(), e.Key().Protocol, e.Key().Client.String(), e.Virtual().String(), e.Server().String(),
					s.Port(p.Virtual.Port(), e.Dest().Addr().Port()),
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("template (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestSharedTemplates: the services for FTP and for all ports of one address find each other's templates.
func TestSharedTemplates(t *testing.T) {
	ftp := Service{Virtual: netip.MustParseAddrPort("10.0.0.100:21"), Timeout: time.Minute}
	all := Service{Virtual: netip.MustParseAddrPort("10.0.0.100:0"), Timeout: time.Minute}
	d := newDirector(t, all, newServer("10.1.0.12:0"))
	d.packet("10.0.0.22:1", "10.0.0.100:80")
	d.service, d.servers = ftp, []*server{newServer("10.1.0.11:21")}
	if got := d.packet("10.0.0.22:2", "10.0.0.100:21"); got != 12 {
		t.Errorf("client of the other service goes to %d, want 12", got)
	}
	if got := d.packet("10.0.0.23:1", "10.0.0.100:21"); got != 11 {
		t.Errorf("new client goes to %d, want 11", got)
	}
	if d.table.Len() != 2 {
		t.Errorf("%d templates, want 2", d.table.Len())
	}
}

// TestProtocolsApart: only a mark joins protocols.
func TestProtocolsApart(t *testing.T) {
	for name, tt := range map[string]struct {
		service Service
		want    int
	}{
		"port": {Service{Virtual: netip.MustParseAddrPort("10.0.0.100:53")}, 2},
		"all":  {Service{Virtual: netip.MustParseAddrPort("10.0.0.100:0")}, 2},
		"mark": {Service{Mark: 3}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tt.service.Timeout = time.Minute
			d := newDirector(t, tt.service, newServer("10.1.0.12:0"))
			for _, proto := range []uint8{6, 17} {
				d.send(Packet{Protocol: proto, Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(proto)), Virtual: netip.MustParseAddrPort("10.0.0.100:53")})
			}
			if d.table.Len() != tt.want {
				t.Errorf("%d templates, want %d", d.table.Len(), tt.want)
			}
		})
	}
}

func TestServiceCheck(t *testing.T) {
	tests := map[string]struct {
		service Service
		ok      bool
	}{
		"zero":         {Service{}, true},
		"negative":     {Service{Timeout: -1}, false},
		"engine":       {Service{Engine: "sip"}, true},
		"other engine": {Service{Engine: "ip_vs_pe_sip"}, false},
		"any IPv4":     {Service{Mask: netip.MustParseAddr("0.255.0.1")}, true},
		"/1":           {Service{Mask: netip.MustParseAddr("8000::")}, true},
		"/64":          {Service{Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff::")}, true},
		"/65":          {Service{Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff:8000::")}, true},
		"/128":         {Service{Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}, true},
		"/0":           {Service{Mask: netip.MustParseAddr("::")}, false},
		"IPv6 holes":   {Service{Mask: netip.MustParseAddr("ff0f::")}, false},
		"low holes":    {Service{Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff:1::")}, false},
		"only low":     {Service{Mask: netip.MustParseAddr("::ffff")}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.service.Check(); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrService) {
				t.Errorf("error %v, want none: %v", err, tt.ok)
			}
		})
	}
}

func TestFormString(t *testing.T) {
	if got := PPC.String() + PCC.String() + PNMPP.String() + FTP.String() + Form(9).String(); got != "PPCPCCPNMPPFTPform(9)" {
		t.Error(got)
	}
}

func TestCallID(t *testing.T) {
	long := strings.Repeat("x", 255)
	tests := map[string]struct{ payload, want string }{
		"usual":           {"INVITE sip:x SIP/2.0\r\nCall-ID: abc123@host\r\n\r\n", "abc123@host"},
		"case and blanks": {"INVITE sip:x SIP/2.0\r\nFrom: a\r\ncALL-id \t:\t abc\r\n\r\n", "abc"},
		"short":           {"INVITE sip:x SIP/2.0\r\ni:abc\r\n\r\n", "abc"},
		"LF":              {"INVITE sip:x SIP/2.0\nCall-ID: abc\n\n", "abc"},
		"longest":         {"X\r\nCall-ID: " + long + "\r\n\r\n", long},
		"too long":        {"X\r\nCall-ID: x" + long + "\r\n\r\n", ""},
		"at the end":      {"X\r\nCall-ID: abc", ""},
		"empty":           {"X\r\nCall-ID: \r\n\r\n", ""},
		"first line":      {"Call-ID: abc\r\n\r\n", ""},
		"in the body":     {"X\r\n\r\nCall-ID: abc\r\n", ""},
		"none":            {"hello", ""},
		"nothing":         {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := CallID([]byte(tt.payload))
			if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, ErrCallID) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestEngine is a run observed on Linux 6.12.
func TestEngine(t *testing.T) {
	s := Service{Virtual: netip.MustParseAddrPort("10.0.0.100:5060"), Timeout: time.Minute, Engine: EngineSIP}
	d := newDirector(t, s, newServer("10.1.0.11:5060"), newServer("10.1.0.12:5060"))
	for _, tt := range []struct {
		client, id string
		want       int
	}{
		{"10.0.0.19:7001", "abc123@host", 12},
		{"10.0.0.19:7002", "abc123@host", 12},
		{"10.0.0.19:7003", "other@host", 11},
		{"10.0.0.20:7001", "abc123@host", 12},
		{"10.0.0.21:7001", "", 0},
	} {
		p := Packet{Protocol: 17, Client: netip.MustParseAddrPort(tt.client), Virtual: s.Virtual, Payload: []byte("hello")}
		if tt.id != "" {
			p.Payload = []byte("INVITE sip:x SIP/2.0\r\nCall-ID: " + tt.id + "\r\n\r\n")
		}
		if got := d.send(p); got != tt.want {
			t.Errorf("client %s with %q goes to %d, want %d", tt.client, tt.id, got, tt.want)
		}
	}
	want := map[Key]bool{}
	for _, k := range []struct{ client, id string }{{"10.0.0.19", "abc123@host"}, {"10.0.0.19", "other@host"}, {"10.0.0.20", "abc123@host"}} {
		want[Key{17, netip.MustParseAddr(k.client), s.Virtual, k.id}] = true
	}
	got := map[Key]bool{}
	for e := range d.table.All() {
		got[e.Key()] = true
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	p := Packet{Protocol: 6, Client: netip.MustParseAddrPort("10.0.0.19:1"), Virtual: s.Virtual}
	if _, err := s.Key(&p); !errors.Is(err, ErrCallID) {
		t.Errorf("TCP: %v", err)
	}
}
