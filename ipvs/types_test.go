package ipvs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnumText(t *testing.T) {
	tests := []struct {
		got, want string
	}{
		{TCP.String(), "TCP"}, {UDP.String(), "UDP"}, {SCTP.String(), "SCTP"}, {Protocol(0).String(), "IP"}, {Protocol(99).String(), "IP_99"},
		{IPv4.String(), "IPv4"}, {IPv6.String(), "IPv6"}, {Family(7).String(), "family(7)"},
		{Masquerade.String(), "Masq"}, {LocalNode.String(), "Local"}, {Tunnel.String(), "Tunnel"}, {Route.String(), "Route"},
		{Bypass.String(), "Bypass"}, {ForwardMethod(7).String(), "forward(7)"},
		{IPIP.String(), "ipip"}, {GUE.String(), "gue"}, {GRE.String(), "gre"}, {TunnelType(255).String(), "tunnel(255)"},
		{Master.String(), "master"}, {Backup.String(), "backup"}, {DaemonState(0).String(), "none"}, {DaemonState(3).String(), "state(3)"},
		{ServiceFlags(0).String(), "0"}, {(Persistent | OnePacket).String(), "persistent|ops"},
		{ServiceFlags(0xffffffff).String(), "persistent|ops|flag-1|flag-2|flag-3|0xffffffc2"},
		{(Checksum | RemoteChecksum).String(), "csum|remcsum"}, {TunnelFlags(0x8001).String(), "csum|0x8000"},
		{Version(0x010201).String(), "1.2.1"},
		{Unknown.String(), "unknown"}, {Available.String(), "available"}, {Support(9).String(), "support(9)"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestEnumParseIsInverse(t *testing.T) {
	for n := range uint32(1 << 16) {
		checkInverse(t, Version(n<<8|n&0xff), ParseVersion)
		checkInverse(t, Protocol(n), ParseProtocol)
		checkInverse(t, TunnelFlags(n), ParseTunnelFlags)
		checkInverse(t, ServiceFlags(n*0x10001), ParseServiceFlags)
		checkInverse(t, DaemonState(n*0x10001), ParseDaemonState)
		if n <= math.MaxUint8 {
			checkInverse(t, ForwardMethod(n), ParseForwardMethod)
			checkInverse(t, TunnelType(n), ParseTunnelType)
		}
	}
	for _, s := range []string{"", "tcpx", "IP_", "IP_65536", "IP_-1"} {
		if p, err := ParseProtocol(s); err == nil {
			t.Errorf("protocol %q is %v", s, p)
		}
	}
	if f, err := ParseTunnelFlags("0x10000"); err == nil {
		t.Errorf("17 bits of tunnel flags are %v", f)
	}
	for _, s := range []string{"", "1.2", "1.2.3.4", "1.2.256", "1.2.x"} {
		if v, err := ParseVersion(s); err == nil {
			t.Errorf("version %q is %v", s, v)
		}
	}
	if m, err := ParseForwardMethod("forward(256)"); err == nil {
		t.Errorf("a forwarding method of nine bits is %v", m)
	}
}

func checkInverse[T interface {
	comparable
	fmt.Stringer
}](t *testing.T, v T, parse func(string) (T, error)) {
	t.Helper()
	if got, err := parse(v.String()); err != nil || got != v {
		t.Fatalf("%q parses as %v, %v", v, got, err)
	}
}

func TestServiceID(t *testing.T) {
	tests := []struct {
		in, want string // "" means an error
	}{
		{"TCP 192.0.2.1:80", "TCP 192.0.2.1:80"},
		{"  udp   [2001:db8::1]:53 ", "UDP [2001:db8::1]:53"},
		{"SCTP 0.0.0.0:0", "SCTP 0.0.0.0:0"},
		{"IP_99 192.0.2.1:80", "IP_99 192.0.2.1:80"},
		{"FWM 7", "FWM 7"}, {"fwm 7 ipv4", "FWM 7"}, {"FWM 4294967295 IPv6", "FWM 4294967295 IPv6"},
		{"TCP [::ffff:192.0.2.1]:80", "TCP 192.0.2.1:80"},
		{"TCP [::ffff:192.0.2.1]:80 IPv6", "TCP [::ffff:192.0.2.1]:80 IPv6"},
		{"TCP 192.0.2.1:80 IPv6", ""}, {"TCP 192.0.2.1:80 IPv4", ""}, {"TCP [fe80::1%lo]:80", ""},
		{"FWM 0", ""}, {"FWM 4294967296", ""}, {"FWM -1", ""}, {"FWM 7 IPv5", ""}, {"FWM", ""}, {"FWM 7 IPv6 x", ""},
		{"TCP", ""}, {"TCP 192.0.2.1", ""}, {"XXX 192.0.2.1:80", ""}, {"TCP 192.0.2.1:65536", ""}, {"", ""}, {"-", ""},
	}
	for _, tt := range tests {
		id, err := ParseServiceID(tt.in)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%q parses as %v", tt.in, id)
		case tt.want != "" && (err != nil || id.String() != tt.want):
			t.Errorf("%q parses as %v, %v; want %q", tt.in, id, err, tt.want)
		}
		if err != nil {
			continue
		}
		var back ServiceID
		if text, err := id.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != id {
			t.Errorf("%v comes back as %v", id, back)
		}
	}
	if s := (ServiceID{}).String(); s != "-" {
		t.Errorf("the zero identity is %q", s)
	}
}

// Printing and JSON show everything: nothing that is embedded has a String or MarshalText of its own.
func TestJSON(t *testing.T) {
	values := map[string]any{
		"service": ServiceStatus{Service: goldenUDP6, Stats: Stats{Connections: 1, OutByteRate: 2}},
		"dest":    DestinationStatus{Destination: goldenGUE, Active: 3},
		"mark":    Service{ID: Mark(7, IPv6), Scheduler: "rr"},
		"daemon":  goldenDaemon,
	}
	const want = `{
 "daemon": {
  "state": "master",
  "interface": "dm0",
  "syncID": 5,
  "maxLen": 1400,
  "group": "239.0.0.81",
  "port": 8849,
  "ttl": 4
 },
 "dest": {
  "addr": "[2001:db8:1::5]:80",
  "forward": "Tunnel",
  "weight": 1,
  "tunnel": {
   "type": "gue",
   "port": 6080,
   "flags": "csum"
  },
  "active": 3,
  "inactive": 0,
  "persistent": 0,
  "stats": {
   "connections": 0,
   "inPackets": 0,
   "outPackets": 0,
   "inBytes": 0,
   "outBytes": 0,
   "connectionRate": 0,
   "inPacketRate": 0,
   "outPacketRate": 0,
   "inByteRate": 0,
   "outByteRate": 0
  }
 },
 "mark": {
  "id": "FWM 7 IPv6",
  "scheduler": "rr"
 },
 "service": {
  "id": "UDP [2001:db8::10]:53",
  "scheduler": "sh",
  "flags": "persistent|flag-1|flag-2",
  "timeout": 300000000000,
  "netmask": "ffff:ffff:ffff:ffff::",
  "stats": {
   "connections": 1,
   "inPackets": 0,
   "outPackets": 0,
   "inBytes": 0,
   "outBytes": 0,
   "connectionRate": 0,
   "inPacketRate": 0,
   "outPacketRate": 0,
   "inByteRate": 0,
   "outByteRate": 2
  }
 }
}`
	b, err := json.MarshalIndent(values, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Fatalf("JSON (-want +got):\n%s", diff)
	}
	var back struct {
		Service ServiceStatus
		Dest    DestinationStatus
		Mark    Service
		Daemon  Daemon
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{"service": back.Service, "dest": back.Dest, "mark": back.Mark, "daemon": back.Daemon}
	if diff := cmp.Diff(values, got, equateAddrs); diff != "" {
		t.Fatalf("back from JSON (-want +got):\n%s", diff)
	}
}

// Input is checked before it is sent, and the error names the field.
func TestCheckService(t *testing.T) {
	tests := map[string]struct {
		change func(*Service)
		field  string // "" means it passes
	}{
		"as it is":           {func(*Service) {}, ""},
		"zone":               {func(s *Service) { s.ID.Addr = netip.MustParseAddrPort("[fe80::1%lo]:80") }, "ID.Addr"},
		"no address":         {func(s *Service) { s.ID.Addr = netip.AddrPort{} }, "ID.Addr"},
		"no identity":        {func(s *Service) { s.ID = ServiceID{} }, "ID.Addr"},
		"mark 0":             {func(s *Service) { s.ID = Mark(0, IPv4) }, "ID.FWMark"},
		"mark and address":   {func(s *Service) { s.ID.FWMark = 7 }, "ID.FWMark"},
		"mark, no family":    {func(s *Service) { s.ID = Mark(7, 0) }, "ID.Family"},
		"family and address": {func(s *Service) { s.ID.Family = IPv4 }, "ID.Family"},
		"protocol":           {func(s *Service) { s.ID.Protocol = 99 }, "ID.Protocol"},
		"no scheduler":       {func(s *Service) { s.Scheduler = "" }, "Scheduler"},
		"long scheduler":     {func(s *Service) { s.Scheduler = "sixteen-bytes-it" }, "Scheduler"},
		"15 bytes":           {func(s *Service) { s.Scheduler = "fifteen-bytes-i" }, ""},
		"NUL":                {func(s *Service) { s.Scheduler = "w\x00c" }, "Scheduler"},
		"long engine":        {func(s *Service) { s.PE = "seventeen-bytes-x" }, "PE"},
		"half a second":      {func(s *Service) { s.Timeout = time.Second / 2 }, "Timeout"},
		"negative":           {func(s *Service) { s.Timeout = -time.Second }, "Timeout"},
		"49 days":            {func(s *Service) { s.Timeout = 4294967 * time.Second }, ""},
		"longer":             {func(s *Service) { s.Timeout = 4294968 * time.Second }, "Timeout"},
		"IPv6 mask":          {func(s *Service) { s.Netmask = MaskBits(IPv6, 64) }, "Netmask"},
		"mask with holes":    {func(s *Service) { s.Netmask = netip.MustParseAddr("255.0.255.0") }, ""},
		"mask 0":             {func(s *Service) { s.Netmask = netip.IPv4Unspecified() }, ""},
		"IPv4 mask for IPv6": {func(s *Service) { s.ID = goldenUDP6.ID; s.Netmask = MaskBits(IPv4, 24) }, "Netmask"},
		"IPv6 mask 0":        {func(s *Service) { s.ID = goldenUDP6.ID; s.Netmask = netip.IPv6Unspecified() }, "Netmask"},
		"IPv6 mask, holes":   {func(s *Service) { s.ID = goldenUDP6.ID; s.Netmask = netip.MustParseAddr("ffff:0:ffff::") }, "Netmask"},
		"IPv6 mask, zone":    {func(s *Service) { s.ID = goldenUDP6.ID; s.Netmask = netip.MustParseAddr("ffff::%lo") }, "Netmask"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := goldenTCP
			tt.change(&s)
			_, err := s.canonical(true)
			wantField(t, err, tt.field)
		})
	}
	mapped := goldenTCP
	mapped.ID.Addr = netip.MustParseAddrPort("[::ffff:192.0.2.10]:80")
	mapped.Netmask = netip.Addr{}
	if s, err := mapped.canonical(true); err != nil || s != goldenTCP {
		t.Errorf("a mapped address gives %+v, %v", s, err)
	}
	six := Service{ID: goldenUDP6.ID, Scheduler: "rr"}
	if s, err := six.canonical(true); err != nil || s.Netmask != MaskBits(IPv6, 128) {
		t.Errorf("the default mask of IPv6 is %v, %v", s.Netmask, err)
	}
	exotic := goldenTCP
	exotic.ID.Protocol = 99
	if _, err := exotic.canonical(false); err != nil {
		t.Errorf("a service that is there can be changed: %v", err)
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	fe, ok := errors.AsType[*FieldError](err)
	switch {
	case field == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case field != "" && (!ok || fe.Field != field):
		t.Fatalf("got %v, want an error of field %s", err, field)
	case field != "" && !errors.Is(err, fs.ErrInvalid):
		t.Fatalf("%v does not match fs.ErrInvalid", err)
	}
}

func TestCheckDestination(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::5]:80")
	tests := map[string]struct {
		change func(*Destination)
		field  string
	}{
		"as it is":       {func(*Destination) {}, ""},
		"no address":     {func(d *Destination) { d.Addr = netip.AddrPort{} }, "Addr"},
		"zone":           {func(d *Destination) { d.Addr = netip.MustParseAddrPort("[fe80::1%lo]:80") }, "Addr"},
		"other family":   {func(d *Destination) { d.Addr = v6 }, "Addr"},
		"tunnelled":      {func(d *Destination) { d.Addr = v6; d.Forward = Tunnel }, ""},
		"mapped":         {func(d *Destination) { d.Addr = netip.MustParseAddrPort("[::ffff:10.0.0.1]:80") }, ""},
		"method 7":       {func(d *Destination) { d.Forward = 7 }, ""},
		"method 8":       {func(d *Destination) { d.Forward = 8 }, "Forward"},
		"weight":         {func(d *Destination) { d.Weight = math.MaxInt32 }, ""},
		"too heavy":      {func(d *Destination) { d.Weight = math.MaxInt32 + 1 }, "Weight"},
		"upper":          {func(d *Destination) { d.UpperThreshold = math.MaxInt32 + 1 }, "UpperThreshold"},
		"equal":          {func(d *Destination) { d.UpperThreshold, d.LowerThreshold = 5, 5 }, ""},
		"lower is above": {func(d *Destination) { d.UpperThreshold, d.LowerThreshold = 5, 6 }, "LowerThreshold"},
		"lower alone":    {func(d *Destination) { d.UpperThreshold, d.LowerThreshold = 0, 1 }, "LowerThreshold"},
		"GUE, no port":   {func(d *Destination) { d.Tunnel.Type = GUE }, "Tunnel.Port"},
		"GUE":            {func(d *Destination) { d.Tunnel = TunnelOptions{Type: GUE, Port: 1} }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := goldenRoute
			tt.change(&d)
			_, err := d.canonical(IPv4)
			wantField(t, err, tt.field)
		})
	}
}

func TestCheckOthers(t *testing.T) {
	_, err := Timeouts{TCP: time.Millisecond}.seconds()
	wantField(t, err, "TCP")
	_, err = Timeouts{UDP: -time.Second}.seconds()
	wantField(t, err, "UDP")
	_, err = Timeouts{TCPFin: (math.MaxInt32 + 1) * time.Second}.seconds()
	wantField(t, err, "TCPFin")
	for field, d := range map[string]Daemon{
		"State":     {State: 3, Interface: "lo"},
		"Interface": {State: Master},
		"SyncID":    {State: Master, Interface: "lo", SyncID: 256},
		"Group":     {State: Master, Interface: "lo", Group: netip.MustParseAddr("10.0.0.1")},
	} {
		_, err := d.canonical()
		wantField(t, err, field)
	}
	_, err = Daemon{State: Master, Interface: "sixteen-bytes-it"}.canonical()
	wantField(t, err, "Interface")
	d, err := Daemon{State: Backup, Interface: "lo", Group: netip.MustParseAddr("::ffff:224.0.0.81")}.canonical()
	if err != nil || d.Group != netip.MustParseAddr("224.0.0.81") {
		t.Errorf("a mapped group gives %v, %v", d.Group, err)
	}
}

// The same errno means different things to different requests.
func TestMeaning(t *testing.T) {
	all := []error{
		ErrModule, ErrScheduler, ErrPersistenceEngine, ErrServiceExists, ErrDestinationExists, ErrNoService, ErrNoDestination,
		ErrDaemonRuns, ErrNoDaemon, ErrInterface, fs.ErrExist, fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported,
	}
	tests := []struct {
		cmd   uint8
		errno syscall.Errno
		pe    bool
		want  []error
	}{
		{cmdNewService, eNOENT, false, []error{ErrScheduler}},
		{cmdSetService, eNOENT, true, []error{ErrScheduler, ErrPersistenceEngine}},
		{cmdNewService, eEXIST, false, []error{ErrServiceExists, fs.ErrExist}},
		{cmdSetService, eSRCH, false, []error{ErrNoService, fs.ErrNotExist}},
		{cmdZero, eSRCH, false, []error{ErrNoService, fs.ErrNotExist}},
		{cmdNewDest, eSRCH, false, []error{ErrNoService, fs.ErrNotExist}},
		{cmdNewDest, eEXIST, false, []error{ErrDestinationExists, fs.ErrExist}},
		{cmdSetDest, eNOENT, false, []error{ErrNoDestination, fs.ErrNotExist}},
		{cmdDelDest, eNOENT, false, []error{ErrNoDestination, fs.ErrNotExist}},
		{cmdNewDest, eRANGE, false, []error{fs.ErrInvalid}},
		{cmdNewDest, eINVAL, false, []error{fs.ErrInvalid}},
		{cmdNewService, eAFNOSUPPORT, false, []error{errors.ErrUnsupported}},
		{cmdNewDaemon, eEXIST, false, []error{ErrDaemonRuns, fs.ErrExist}},
		{cmdNewDaemon, eNODEV, false, []error{ErrInterface}},
		{cmdNewDaemon, eNETUNREACH, false, nil},
		{cmdDelDaemon, eSRCH, false, []error{ErrNoDaemon, fs.ErrNotExist}},
		{cmdFlush, ePERM, false, []error{fs.ErrPermission}},
		{cmdFlush, eNOENT, false, nil},
		{cmdGetDest, eBUSY, false, nil},
		{cmdNewService, eNOMEM, false, nil},
		{cmdNewService, 4711, false, nil},
	}
	for _, tt := range tests {
		err := (&operation{name: "op", cmd: tt.cmd, withPE: tt.pe}).fail(&answerError{errno: tt.errno})
		for _, target := range all {
			want := false
			for _, w := range tt.want {
				want = want || w == target
			}
			if got := errors.Is(err, target); got != want {
				t.Errorf("command %d, %v: errors.Is(%v) is %v", tt.cmd, errnoName(tt.errno), target, got)
			}
		}
		if !errors.Is(err, tt.errno) || errors.Is(err, syscall.Errno(1000)) {
			t.Errorf("command %d: the errno itself is not matched", tt.cmd)
		}
	}
}

func TestOpErrorText(t *testing.T) {
	tests := []struct {
		err  *OpError
		text string
		hint bool
	}{
		{&OpError{Op: "dial", Err: ErrModule}, "ipvs: dial: IPVS is not available in this kernel", true},
		{&OpError{Op: opAddService, Service: goldenTCP.ID, Errno: eNOENT, Err: ErrScheduler}, "ipvs: add service TCP 192.0.2.10:80: unknown scheduler", true},
		{
			&OpError{Op: opAddDestination, Service: goldenTCP.ID, Destination: goldenRoute.Addr, Errno: eINVAL, Err: fs.ErrInvalid},
			"ipvs: add destination TCP 192.0.2.10:80 -> 198.51.100.1:80: invalid argument", true,
		},
		{&OpError{Op: "flush", Errno: ePERM, Err: fs.ErrPermission}, "ipvs: flush: permission denied", true},
		{&OpError{Op: opStartDaemon, Errno: eNETUNREACH, Err: errnoText(eNETUNREACH)}, "ipvs: start daemon: ENETUNREACH (network is unreachable)", true},
		{&OpError{Op: "flush", Err: os.ErrClosed}, "ipvs: flush: file already closed", true},
		{&OpError{Op: "flush", Errno: 4711}, "ipvs: flush: errno 4711", false},
		{&OpError{Op: opAddService, Err: fieldErrorf("Weight", "%d is above 1", 2)}, "ipvs: add service: Weight: 2 is above 1", false},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.text {
			t.Errorf("got %q, want %q", got, tt.text)
		}
		if got := tt.err.Hint(); (got != "") != tt.hint {
			t.Errorf("%v: hint %q", tt.err, got)
		}
	}
}
