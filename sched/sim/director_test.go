package sim

import (
	"errors"
	"io/fs"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/sched"
)

func TestErrors(t *testing.T) {
	l := newLab(t)
	s, six := tcp(vip+":80"), tcp("[fd00::100]:80")
	l.serve(s, "rr", 0, Masquerade, "10.1.0.11:80")
	l.serve(six, "rr", 0, Masquerade)
	other := tcp(vip + ":81")
	dst := func(a string) Dest { return Dest{Addr: addr4(a), Weight: 1} }
	tests := map[string]struct {
		err, want error
	}{
		"service exists":         {l.AddService(Service{ID: s, Scheduler: "nonsense"}), ErrServiceExists},
		"exists":                 {l.AddService(Service{ID: s, Scheduler: "rr"}), fs.ErrExist},
		"scheduler":              {l.AddService(Service{ID: other, Scheduler: "nonsense"}), ErrScheduler},
		"no scheduler":           {l.AddService(Service{ID: other}), ErrScheduler},
		"twos without numbers":   {l.AddService(Service{ID: other, Scheduler: "twos"}), ErrScheduler},
		"engine":                 {l.AddService(Service{ID: other, Scheduler: "rr", Engine: "x"}), ErrEngine},
		"no address":             {l.AddService(Service{Scheduler: "rr"}), ErrInvalid},
		"mask":                   {l.AddService(Service{ID: tcp("[fd00::1]:1"), Scheduler: "rr", Mask: netip.MustParseAddr("::")}), ErrInvalid},
		"mask of another family": {l.AddService(Service{ID: other, Scheduler: "rr", Mask: netip.MustParseAddr("ff::")}), ErrInvalid},
		"timeout":                {l.AddService(Service{ID: other, Scheduler: "rr", Timeout: 1}), ErrInvalid},
		"set missing service":    {l.SetService(Service{ID: other, Scheduler: "nonsense"}), ErrNoService},
		"set scheduler":          {l.SetService(Service{ID: s, Scheduler: "nonsense"}), ErrScheduler},
		"delete service":         {l.DeleteService(other), fs.ErrNotExist},
		"zero":                   {l.Zero(other), ErrNoService},
		"dest of no service":     {l.AddDest(other, dst("10.1.0.1:80")), ErrNoService},
		"dest exists":            {l.AddDest(s, dst("10.1.0.11:80")), ErrDestExists},
		"weight of existing":     {l.AddDest(s, Dest{Addr: addr4("10.1.0.11:80"), Weight: 1 << 31}), ErrRange},
		"lower":                  {l.AddDest(s, Dest{Addr: addr4("10.1.0.12:80"), Lower: 1}), ErrRange},
		"upper":                  {l.AddDest(s, Dest{Addr: addr4("10.1.0.12:80"), Upper: 1 << 31}), ErrInvalid},
		"no unicast":             {l.AddDest(s, dst("224.0.0.1:80")), ErrInvalid},
		"broadcast":              {l.AddDest(s, dst("255.255.255.255:80")), ErrInvalid},
		"link-local":             {l.AddDest(six, dst("[fe80::1]:80")), ErrInvalid},
		"family":                 {l.AddDest(s, dst("[fd00::1]:80")), ErrInvalid},
		"no such dest":           {l.SetDest(s, dst("10.1.0.12:80")), ErrNoDest},
		"set dest of no service": {l.SetDest(other, Dest{Addr: addr4("10.1.0.12:80"), Weight: 1 << 31}), ErrNoService},
		"range before existence": {l.SetDest(s, Dest{Addr: addr4("10.1.0.12:80"), Weight: 1 << 31}), ErrRange},
		"delete dest":            {l.DeleteDest(s, addr4("10.1.0.12:80")), fs.ErrNotExist},
		"timeouts":               {l.SetTimeouts(Timeouts{TCP: time.Second, UDP: 8589935 * time.Second}), ErrInvalid},
		"negative timeout":       {l.SetTimeouts(Timeouts{TCP: -time.Second}), ErrInvalid},
		"sysctl":                 {l.SetSysctl("nonsense", "1"), ErrSysctl},
		"conntrack":              {l.SetSysctl("conntrack", "1"), ErrNotModelled},
		"drop_entry":             {l.SetSysctl("drop_entry", "3"), ErrNotModelled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if !errors.Is(tt.err, tt.want) || !errors.As(tt.err, &e) || e.Op == "" {
				t.Errorf("error %v, want %v", tt.err, tt.want)
			}
		})
	}
	if l.Timeouts().TCP != 900*time.Second {
		t.Error("a refused change of timeouts changed one")
	}
	if err := l.AddDest(s, Dest{Addr: addr4("[fd00::1]:80"), Method: Tunnel}); err != nil {
		t.Errorf("tunnel to another family: %v", err)
	}
}

// TestTooManyServers: mh has fewer slots than there are servers, and the old scheduler stays.
func TestTooManyServers(t *testing.T) {
	l := newLab(t)
	s := tcp(vip + ":80")
	l.serve(s, "rr", 0, Masquerade)
	for i := range 4094 {
		l.must(l.AddDest(s, Dest{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80), Weight: 1}))
	}
	if err := l.SetService(Service{ID: s, Scheduler: "mh"}); !errors.Is(err, sched.ErrTooManyServers) {
		t.Error(err)
	}
	if st, _ := l.Service(s); st.Scheduler != "rr" {
		t.Errorf("scheduler %q", st.Scheduler)
	}
}

func TestSysctl(t *testing.T) {
	tests := []struct {
		name, value, want string
		ok                bool
	}{
		{"expire_nodest_conn", "1", "1", true},
		{"expire_nodest_conn", " -1", "-1", true},
		{"conn_reuse_mode", "0x10", "16", true},
		{"conn_reuse_mode", "010", "8", true},
		{"conn_reuse_mode", "1 2", "1", true},
		{"conn_reuse_mode", "", "1", false},
		{"conn_reuse_mode", "abc", "1", false},
		{"conn_reuse_mode", "1x", "1", false},
		{"conn_reuse_mode", "1.5", "1", false},
		{"conn_reuse_mode", "1_0", "1", false},
		{"conn_reuse_mode", "0b1", "1", false},
		{"conn_reuse_mode", "2147483647", "2147483647", true},
		{"conn_reuse_mode", "2147483648", "1", false},
		{"conn_reuse_mode", "-2147483648", "-2147483648", true},
		{"conn_reuse_mode", "-2147483649", "1", false},
		{"secure_tcp", "2", "1", true},
		{"secure_tcp", "4", "0", false},
		{"secure_tcp", "-1", "0", false},
		{"drop_packet", "3", "3", true},
		{"lblc_expiration", "8589934", "8589934", true},
		{"lblc_expiration", "8589935", "86400", false},
		{"sync_threshold", "7", "7\t50", true},
		{"sync_threshold", "0 0", "0\t0", true},
		{"sync_threshold", "3 0", "3\t0", true},
		{"sync_threshold", "1 2 3", "1\t2", true},
		{"sync_threshold", "3 3", "3\t50", false},
		{"sync_threshold", "-1 5", "3\t50", false},
		{"sync_threshold", "1 -5", "3\t50", false},
		{"sync_threshold", "60", "3\t50", false},
		{"sync_ports", "3", "1", false},
		{"sync_ports", "1073741824", "1073741824", true},
		{"sync_qlen_max", "-1", "7207", false},
		{"pmtu_disc", "0", "0", true},
		{"est_nice", "20", "0", false},
		{"est_cpulist", "0-1", "0-1", true},
	}
	for _, tt := range tests {
		l := newLab(t)
		err := l.SetSysctl(tt.name, tt.value)
		got, _ := l.Sysctl(tt.name)
		if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s = %q: reads %q, %v; want %q", tt.name, tt.value, got, err, tt.want)
		}
	}
	d := New(nil)
	for _, name := range d.Sysctls() {
		value, err := d.Sysctl(name)
		if err != nil || d.SetSysctl(name, value) != nil {
			t.Errorf("%s does not take its own value %q: %v", name, value, d.SetSysctl(name, value))
		}
	}
	if _, err := d.Sysctl("nonsense"); !errors.Is(err, ErrSysctl) {
		t.Error(err)
	}
}

// TestEstimator has the runs observed on Linux 6.1 and 6.12.
func TestEstimator(t *testing.T) {
	tests := map[string]struct {
		before, packets int // packets of 128 bytes in the first interval, and in the second
		ops             bool
		packetRate      []uint64
		byteRate        []uint64
		connRate        []uint64
	}{
		"1000 in one interval": {0, 1000, false,
			[]uint64{0, 125, 94, 70, 53, 40, 30, 22, 17, 13, 9, 7, 5, 4, 3, 2, 2, 1, 1, 1, 1, 0},
			[]uint64{0, 16000, 12000, 9000, 6750, 5062, 3797, 2848, 2136, 1602, 1201, 901, 676, 507, 380, 285, 214, 160, 120, 90, 68, 51, 38, 28, 21, 16, 12, 9, 7, 5, 4}, nil},
		"115 before the first visit": {115, 885, false,
			[]uint64{14, 121, 91, 68, 51, 38, 29, 22, 16, 12, 9, 7, 5, 4, 3, 2, 2, 1, 1, 1, 1, 0},
			[]uint64{1840, 15540, 11655, 8741, 6556, 4917, 3688, 2766, 2074, 1556, 1167, 875, 656, 492, 369, 277, 208, 156, 117, 88, 66, 49, 37, 28, 21, 16, 12}, nil},
		"40 connections": {0, 40, true, []uint64{0, 5, 4, 3, 2, 2, 1, 1, 1}, []uint64{0, 640, 480, 360, 270, 202, 152, 114, 85}, []uint64{0, 5, 4, 3, 2, 2, 1, 1, 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := udp(vip + ":53")
			l.serve(s, "rr", 0, Masquerade, "10.1.0.11:53")
			if tt.ops {
				l.must(l.SetService(Service{ID: s, Scheduler: "rr", Flags: OnePacket}))
			}
			send := func(n int) {
				for range n {
					l.Packet(Packet{Flow: flow(UDP, "10.0.0.10:1", vip+":53"), Size: 128})
				}
			}
			l.at(1)
			send(tt.before)
			for i := range max(len(tt.packetRate), len(tt.byteRate)) {
				l.at(2 + 2*float64(i) + 0.001)
				st, err := l.Service(s)
				l.must(err)
				if i < len(tt.packetRate) && st.Stats.Rates.InPackets != tt.packetRate[i] || st.Stats.Rates.InBytes != tt.byteRate[min(i, len(tt.byteRate)-1)] && i < len(tt.byteRate) {
					t.Errorf("visit %d: %+v, want %d packets, %d bytes", i+1, st.Stats.Rates, tt.packetRate[min(i, len(tt.packetRate)-1)], tt.byteRate[i])
				}
				if i < len(tt.connRate) && st.Stats.Rates.Conns != tt.connRate[i] {
					t.Errorf("visit %d: %d connections", i+1, st.Stats.Rates.Conns)
				}
				if i == 0 {
					send(tt.packets)
				}
			}
		})
	}
}

// TestZero was observed on Linux 6.1 and 6.12: what was counted since the last visit comes back.
func TestZero(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.serve(s, "rr", 0, Masquerade, "10.1.0.11:53")
	send := func(n int) {
		for range n {
			l.Packet(Packet{Flow: flow(UDP, "10.0.0.10:1", vip+":53"), Size: 128})
		}
	}
	view := func() Stats { st, _ := l.Dest(s, addr4("10.1.0.11:53")); return st.Stats }
	send(1500)
	l.at(3)
	send(300)
	if n := view().Visible.InPackets; n != 1500 {
		t.Errorf("%d visible packets, want 1500", n)
	}
	l.must(l.Zero(s))
	if v := view(); v.Visible != (Counters{}) || v.Rates != (Rates{}) || v.Counted.InPackets != 1800 {
		t.Errorf("zeroed: %+v", v)
	}
	if l.Total().Visible.InPackets != 1500 {
		t.Error("the total is not the service's")
	}
	l.at(4)
	if v := view(); v.Visible != (Counters{InPackets: 300, InBytes: 38400}) || v.Rates.InPackets != 37 || v.Rates.InBytes != 4800 {
		t.Errorf("next visit: %+v", v)
	}
	l.sysctl("run_estimation", "0")
	send(10)
	l.at(10)
	if v := view(); v.Visible.InPackets != 300 || v.Rates.InPackets != 37 {
		t.Errorf("frozen: %+v", v)
	}
	l.sysctl("run_estimation", "1")
	l.ZeroAll()
	l.at(12)
	if v := view(); v.Visible.InPackets != 10 || l.Total().Visible.InPackets != 10 {
		t.Errorf("caught up: %+v", v)
	}
}

func TestPacketSizes(t *testing.T) {
	for want, p := range map[uint64]Packet{
		40: {Flow: flow(TCP, "10.0.0.1:1", vip+":80")},
		28: {Flow: flow(UDP, "10.0.0.1:1", vip+":80")},
		36: {Flow: flow(SCTP, "10.0.0.1:1", vip+":80")},
		60: {Flow: flow(TCP, "[fd00::2]:1", "[fd00::1]:80")},
		99: {Flow: flow(TCP, "[fd00::2]:1", "[fd00::1]:80"), Size: 99},
	} {
		if got := p.bytes(); got != want {
			t.Errorf("%v: %d bytes, want %d", p.Flow, got, want)
		}
	}
}

// TestTrash: a removed server comes back as the same object until a look at the trash, every 60 s, that is at least 120 s
// after the one that found nothing referring to it.
func TestTrash(t *testing.T) {
	const r1 = "10.1.0.11:53"
	for name, tt := range map[string]struct {
		deleted, udp, back float64
		kept               bool
	}{
		"at once":                 {0, 1, 1, true},
		"before the third look":   {0, 1, 179, true},
		"at the third look":       {0, 1, 180, false},
		"a connection postpones":  {0, 60.5, 239, true},
		"and no more":             {0, 60.5, 240, false},
		"the look is from there":  {7, 1, 186, true},
		"and no more, from there": {7, 1, 187, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := udp(vip + ":53")
			l.must(l.SetTimeouts(Timeouts{UDP: time.Duration(math.Ceil(tt.udp)) * time.Second}))
			l.serve(s, "rr", 0, Masquerade, r1)
			l.goes(flow(UDP, "10.0.0.10:1", vip+":53"), r1)
			l.at(tt.deleted)
			l.remove(s, r1)
			l.at(tt.back)
			_, err := l.Dest(s, addr4(r1))
			if (err == nil) != tt.kept {
				t.Errorf("in the trash: %v, want %v", err == nil, tt.kept)
			}
			l.add(s, r1, Masquerade)
			st, err := l.Dest(s, addr4(r1))
			l.must(err)
			if got := st.Stats.Counted.Conns == 1; got != tt.kept {
				t.Errorf("the same object: %v, want %v", got, tt.kept)
			}
		})
	}
	t.Run("another service of that name", func(t *testing.T) {
		l := newLab(t)
		s := udp(vip + ":53")
		l.serve(s, "rr", 0, Masquerade, r1)
		l.goes(flow(UDP, "10.0.0.10:1", vip+":53"), r1)
		l.at(2)
		l.must(l.DeleteService(s))
		l.serve(s, "rr", 0, Masquerade, r1)
		st, _ := l.Dest(s, addr4(r1))
		if st.Inactive != 1 || st.Stats.Visible != (Counters{}) {
			t.Errorf("%+v", st)
		}
	})
	t.Run("not of another service", func(t *testing.T) {
		l := newLab(t)
		l.serve(udp(vip+":53"), "rr", 0, Masquerade, r1)
		l.goes(flow(UDP, "10.0.0.10:1", vip+":53"), r1)
		l.remove(udp(vip+":53"), r1)
		l.serve(udp(vip+":54"), "rr", 0, Masquerade, r1)
		l.counts("new", udp(vip+":54"), r1, 0, 0, 0)
	})
}

// TestThresholds: counted with inactive connections, and with hysteresis.
func TestThresholds(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.must(l.SetTimeouts(Timeouts{UDP: 10 * time.Second}))
	l.serve(s, "rr", 0, Masquerade)
	l.must(l.AddDest(s, Dest{Addr: addr4("10.1.0.11:53"), Weight: 1, Upper: 4, Lower: 2}))
	ports := 0
	open := func(want string) {
		t.Helper()
		ports++
		l.goes(Flow{UDP, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.10"), uint16(ports)), addr4(vip + ":53"), 0}, want)
	}
	for i := range 4 {
		l.at(float64(i))
		open("10.1.0.11:53")
	}
	open("")
	l.at(12)
	if d, _ := l.Dest(s, addr4("10.1.0.11:53")); d.Inactive != 1 || d.Overloaded {
		t.Errorf("%+v", d)
	}
	open("10.1.0.11:53")
}

// TestServiceChoice: mark, then address and port.
func TestServiceChoice(t *testing.T) {
	l := newLab(t)
	l.serve(ServiceID{Mark: 1}, "rr", 0, Masquerade, "10.1.0.1:0")
	l.serve(tcp(vip+":80"), "rr", 0, Masquerade, "10.1.0.2:80")
	l.serve(ServiceID{Mark: 1, IPv6: true}, "rr", 0, Masquerade, "[fd01::1]:0")
	f := flow(TCP, "10.0.0.10:1", vip+":80")
	f.Mark = 1
	l.goes(f, "10.1.0.1:80")
	f.Client, f.Mark = addr4("10.0.0.10:2"), 2
	l.goes(f, "10.1.0.2:80")
	f = flow(TCP, "[fd00::2]:1", "[fd00::1]:80")
	f.Mark = 1
	l.goes(f, "[fd01::1]:80")
	if got := (ServiceID{Mark: 1, IPv6: true}).String() + tcp(vip+":80").String() + (ServiceID{Mark: 1}).String(); got != "FWM 1 IPv6TCP 10.0.0.100:80FWM 1" {
		t.Error(got)
	}
}

// TestReport: shares, and the clients that a quiesced server loses.
func TestReport(t *testing.T) {
	d := New(&Config{RememberClients: true})
	l := &lab{d, t}
	s := tcp(vip + ":80")
	l.serve(s, "wrr", 60, Route)
	l.must(l.AddDest(s, Dest{Addr: addr4("10.1.0.11:80"), Method: Route, Weight: 1}))
	l.must(l.AddDest(s, Dest{Addr: addr4("10.1.0.12:80"), Method: Route, Weight: 3}))
	l.sysctl("expire_quiescent_template", "1")
	visit := func() {
		for i := range 40 {
			l.Open(Flow{TCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), uint16(l.Now()/time.Second)+1), s.Addr, 0})
		}
	}
	visit()
	r, err := l.Report(s)
	l.must(err)
	want := Report{
		ID: s, Conns: 40, MaxOverMean: 1, Clients: 40,
		Servers: []Share{
			{Addr: addr4("10.1.0.12:80"), Weight: 3, Conns: 30, Share: 0.75, Due: 0.75, Peak: 30},
			{Addr: addr4("10.1.0.11:80"), Weight: 1, Conns: 10, Share: 0.25, Due: 0.25, Peak: 10},
		},
	}
	if diff := cmp.Diff(want, r, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	l.BeginReport()
	l.at(1)
	l.weight(s, "10.1.0.11:80", 0)
	visit()
	r, err = l.Report(s)
	l.must(err)
	if r.Moved != 10 || r.Switches != 10 || r.Clients != 40 || r.Conns != 40 || r.Servers[0].Conns != 40 {
		t.Errorf("after the change: %+v", r)
	}
	l.weight(s, "10.1.0.12:80", 0)
	l.Open(flow(TCP, "10.9.0.1:1", vip+":80"))
	if r, _ = l.Report(s); r.Refused != 1 || r.Variation != 0 || r.MaxOverMean != 0 {
		t.Errorf("without servers: %+v", r)
	}
	if _, err := l.Report(tcp(vip + ":81")); !errors.Is(err, ErrNoService) {
		t.Error(err)
	}
}

func TestReportUneven(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.serve(s, "fo", 0, Route, "10.1.0.11:53", "10.1.0.12:53")
	l.goes(flow(UDP, "10.0.0.1:1", vip+":53"), "10.1.0.12:53")
	if r, _ := l.Report(s); r.Variation != 1 || r.MaxOverMean != 2 || r.Clients != 0 {
		t.Errorf("%+v", r)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		(SYN | ACK).String(): "SYN,ACK", TCPFlags(0).String(): "-", TCPFlags(0x28).String(): "0x28", (FIN | 0x20).String(): "FIN,0x20",
		InitAck.String(): "INIT_ACK", Chunk(200).String(): "chunk(200)", Bypassed.String(): "bypassed", Verdict(9).String(): "verdict(9)",
		Tunnel.String(): "Tunnel", Method(9).String(): "method(9)", SCTP.String(): "SCTP", Protocol(0).String(): "IP", Protocol(50).String(): "IP_50",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for c := range Chunk(15) {
		if got, err := ParseChunk(c.String()); got != c || err != nil {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	for f := range TCPFlags(0x20) {
		if f&0x08 != 0 {
			continue
		}
		if got, err := ParseTCPFlags(f.String()); got != f || err != nil {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	for _, s := range []string{"", "syn", "SYN,", "PSH", "SYN ACK"} {
		if f, err := ParseTCPFlags(s); err == nil {
			t.Errorf("%q is %v", s, f)
		}
	}
	if c, err := ParseChunk("init"); err == nil {
		t.Error(c)
	}
}
