package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTCPLives walks through connections; the states and times were observed on Linux 6.1 and 6.12.
func TestTCPLives(t *testing.T) {
	tests := map[string]struct {
		method Method
		secure bool
		walk   string // packets and the state after each, with the seconds left
		active int32  // at the end
	}{
		"NAT, client closes":       {Masquerade, false, "in SYN=SYN_RECV 60; out SYN,ACK=SYN_RECV 60; in ACK=ESTABLISHED 900; in FIN,ACK=CLOSE_WAIT 60; out FIN,ACK=TIME_WAIT 120; in ACK=TIME_WAIT 120", 0},
		"NAT, server closes":       {Masquerade, false, "in SYN=SYN_RECV 60; out SYN,ACK=SYN_RECV 60; in ACK=ESTABLISHED 900; out FIN=FIN_WAIT 120; in FIN=TIME_WAIT 120", 0},
		"NAT, reset":               {Masquerade, false, "in SYN=SYN_RECV 60; out SYN,ACK=SYN_RECV 60; in ACK=ESTABLISHED 900; in RST=CLOSE 10", 0},
		"NAT, refused":             {Masquerade, false, "in SYN=SYN_RECV 60; out RST,ACK=CLOSE 10", 0},
		"DR, client closes":        {Route, false, "in SYN=SYN_RECV 60; in ACK=ESTABLISHED 900; in FIN,ACK=FIN_WAIT 120; in ACK=FIN_WAIT 120", 0},
		"tunnel, reset":            {Tunnel, false, "in SYN=SYN_RECV 60; in ACK=ESTABLISHED 900; in RST=CLOSE 10", 0},
		"DR, reset of a SYN":       {Route, false, "in SYN=SYN_RECV 60; in RST=SYN_RECV 60", 1},
		"DR, a reply was seen":     {Route, false, "in SYN=SYN_RECV 60; out SYN,ACK=SYN_RECV 60; in ACK=ESTABLISHED 900; in FIN=CLOSE_WAIT 60", 0},
		"no flags":                 {Masquerade, false, "in SYN=SYN_RECV 60; in ACK=ESTABLISHED 900; in -=CLOSE 10", 0},
		"half open":                {Masquerade, false, "in SYN=SYN_RECV 60; in SYN=SYN_RECV 60", 1},
		"secure, NAT":              {Masquerade, true, "in SYN=SYN_RECV 60; in ACK=SYN_RECV 60; out SYN,ACK=SYNACK 120; in ACK=SYNACK 120; out ACK=ESTABLISHED 900", 1},
		"secure, DR":               {Route, true, "in SYN=SYNACK 120; in ACK=ESTABLISHED 900; in FIN=FIN_WAIT 120", 0},
		"server opens after close": {Masquerade, false, "in SYN=SYN_RECV 60; in RST=SYN_RECV 60; in ACK=ESTABLISHED 900; in RST=CLOSE 10; out SYN=SYN_SENT 120", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := tcp(vip + ":80")
			l.serve(s, "rr", 0, tt.method, "10.1.0.11:80")
			if tt.secure {
				l.sysctl("secure_tcp", "3")
			}
			f := flow(TCP, "10.0.0.10:1", vip+":80")
			for i, step := range strings.Split(tt.walk, "; ") {
				packet, want, _ := strings.Cut(step, "=")
				l.at(float64(i))
				l.send(f, packet)
				state, left, _ := strings.Cut(want, " ")
				l.listed(packet, "TCP "+left+" "+state+" 10.0.0.10:1 10.0.0.100:80 10.1.0.11:80")
			}
			l.counts("at the end", s, "10.1.0.11:80", tt.active, 1-tt.active, 0)
			l.at(2000)
			l.listed("gone")
			l.counts("gone", s, "10.1.0.11:80", 0, 0, 0)
		})
	}
}

// TestSCTPLives follows the usual exchange.
func TestSCTPLives(t *testing.T) {
	tests := map[string]struct {
		method Method
		walk   string
	}{
		"NAT": {Masquerade, "in INIT=INIT1 4; out INIT_ACK=C-SENT 61; in COOKIE_ECHO=C-REPLIED 61; out COOKIE_ACK=ESTABLISHED 900; in DATA=ESTABLISHED 900; in SHUTDOWN=S-RECEIVED 61; out SHUTDOWN_ACK=S-ACK-SENT 61; in SHUTDOWN_COMPLETE=CLOSED 61"},
		"DR":  {Route, "in INIT=INIT1 4; in COOKIE_ECHO=ESTABLISHED 900; in HEARTBEAT=ESTABLISHED 900; in SHUTDOWN=S-RECEIVED 61; in SHUTDOWN_COMPLETE=CLOSED 61"},
		"no":  {Masquerade, "in INIT=INIT1 4; out ABORT=REJECTED 4; in INIT=INIT 61; in ABORT=CLOSED 61"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := ServiceID{Protocol: SCTP, Addr: addr4(vip + ":80")}
			l.serve(s, "rr", 0, tt.method, "10.1.0.11:80")
			f := flow(SCTP, "10.0.0.10:1", vip+":80")
			for i, step := range strings.Split(tt.walk, "; ") {
				packet, want, _ := strings.Cut(step, "=")
				l.at(float64(i))
				l.send(f, packet)
				state, left, _ := strings.Cut(want, " ")
				l.listed(packet, "SCTP "+left+" "+state+" 10.0.0.10:1 10.0.0.100:80 10.1.0.11:80")
				active := int32(0)
				if state == "ESTABLISHED" {
					active = 1
				}
				l.counts(packet, s, "10.1.0.11:80", active, 1-active, 0)
			}
		})
	}
}

// TestAssured: a template is assured by an established connection, or by a reply over UDP.
func TestAssured(t *testing.T) {
	tests := map[string]struct {
		f     Flow
		walk  []string
		state string
	}{
		"half open":   {flow(TCP, "10.0.0.10:1", vip+":80"), []string{"in SYN"}, "NONE"},
		"established": {flow(TCP, "10.0.0.10:1", vip+":80"), []string{"in SYN", "in ACK", "in RST"}, "ASSURED"},
		"UDP":         {flow(UDP, "10.0.0.10:1", vip+":80"), []string{"in -", "in -"}, "NONE"},
		"UDP reply":   {flow(UDP, "10.0.0.10:1", vip+":80"), []string{"in -", "out -"}, "ASSURED"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.serve(ServiceID{Protocol: tt.f.Protocol, Addr: tt.f.Virtual}, "rr", 60, Route, "10.1.0.11:80")
			l.send(tt.f, tt.walk...)
			for c := range l.Conns() {
				if c.Template && c.State != tt.state {
					t.Errorf("state %s, want %s", c.State, tt.state)
				}
			}
		})
	}
}

// TestTimeouts: a connection takes a new timeout with its next packet.
func TestTimeouts(t *testing.T) {
	l := newLab(t)
	s := tcp(vip + ":80")
	l.serve(s, "rr", 0, Route, "10.1.0.11:80")
	f := flow(TCP, "10.0.0.10:1", vip+":80")
	l.send(f, "in SYN", "in ACK")
	l.must(l.SetTimeouts(Timeouts{TCP: 100 * time.Second, TCPFin: 7 * time.Second}))
	row := func(left, state string) string {
		return "TCP " + left + " " + state + " 10.0.0.10:1 10.0.0.100:80 10.1.0.11:80"
	}
	l.listed("running timers stay", row("900", "ESTABLISHED"))
	l.send(f, "in ACK")
	l.listed("next packet", row("100", "ESTABLISHED"))
	l.send(f, "in FIN")
	l.listed("tcpfin", row("7", "FIN_WAIT"))
	if l.Timeouts() != (Timeouts{100 * time.Second, 7 * time.Second, 300 * time.Second}) {
		t.Errorf("timeouts %+v", l.Timeouts())
	}
	// Many different ones, with connections on some.
	for i := range 5000 {
		l.must(l.SetTimeouts(Timeouts{TCP: time.Duration(1000+i) * time.Second}))
		if i%100 == 0 {
			l.send(flow(TCP, fmt.Sprintf("10.0.1.1:%d", i+1), vip+":80"), "in SYN", "in ACK")
		}
	}
	if n := len(l.conns.queues); n > 100 {
		t.Errorf("%d queues", n)
	}
	conns := 0
	for c := range l.Conns() {
		if p := c.Client.Port(); p > 1 && c.Expires != time.Duration(1000+int(p)-1)*time.Second {
			t.Errorf("%v expires in %v", c.Client, c.Expires)
		}
		conns++
	}
	if conns != 51 {
		t.Errorf("%d connections", conns)
	}
}

// TestPortReuse: the same client port again and again, NAT, rr. The first two cases were observed on Linux 6.12.
func TestPortReuse(t *testing.T) {
	const r1, r2 = "10.1.0.11:80", "10.1.0.12:80"
	ended := []string{"in ACK", "in FIN", "out FIN"} // TIME_WAIT
	setup := func(t *testing.T, mode string, persist int, method Method) (*lab, ServiceID, Flow) {
		l := newLab(t)
		s := tcp(vip + ":80")
		l.serve(s, "rr", persist, method, r2, r1)
		l.sysctl("conn_reuse_mode", mode)
		return l, s, flow(TCP, "10.0.0.10:5000", vip+":80")
	}
	t.Run("mode 1", func(t *testing.T) {
		l, _, f := setup(t, "1", 0, Masquerade)
		for _, want := range []string{r1, r2, r1} {
			l.goes(f, want)
			l.send(f, ended...)
		}
	})
	t.Run("mode 0, then quiesced", func(t *testing.T) {
		l, s, f := setup(t, "0", 0, Masquerade)
		for range 2 {
			l.goes(f, r1)
			l.send(f, ended...)
		}
		l.weight(s, r1, 0)
		l.goes(f, r1)
		l.send(f, ended...)
		l.sysctl("expire_nodest_conn", "1")
		l.goes(f, r2)
		l.listed("one entry", "TCP 60 SYN_RECV 10.0.0.10:5000 10.0.0.100:80 "+r2)
	})
	t.Run("persistent", func(t *testing.T) {
		l, _, f := setup(t, "1", 60, Masquerade)
		for range 3 {
			if r := l.goes(f, r1); l.Now() > 0 && r.Scheduled {
				t.Error("scheduled")
			}
			l.at(1)
			l.send(f, ended...)
		}
	})
	t.Run("persistent and quiesced", func(t *testing.T) {
		l, s, f := setup(t, "1", 60, Masquerade)
		l.goes(f, r1)
		l.weight(s, r1, 0)
		l.sysctl("expire_nodest_conn", "1")
		if r := l.goes(f, r1); !r.Scheduled {
			t.Error("not scheduled anew")
		}
		l.counts("by its template", s, r1, 1, 0, 1)
	})
	t.Run("mode 2 and FIN_WAIT", func(t *testing.T) {
		for mode, want := range map[string]string{"1": r1, "2": r2, "-1": r2} {
			l, _, f := setup(t, mode, 0, Route)
			l.send(f, "in SYN", "in ACK", "in FIN")
			l.goes(f, want)
		}
	})
	t.Run("the old entry still counts", func(t *testing.T) {
		l := newLab(t)
		s := tcp(vip + ":80")
		l.serve(s, "wlc", 0, Masquerade, r2, r1)
		f := flow(TCP, "10.0.0.10:5000", vip+":80")
		l.goes(f, r1)
		l.send(f, "in ACK", "in RST")
		l.goes(f, r2)
		l.counts("gone", s, r1, 0, 0, 0)
	})
	t.Run("nothing available", func(t *testing.T) {
		l, s, f := setup(t, "1", 0, Masquerade)
		l.goes(f, r1)
		l.send(f, ended...)
		l.weight(s, r1, 0)
		l.weight(s, r2, 0)
		if r := l.goes(f, ""); r.Verdict != Refused {
			t.Error(r.Verdict)
		}
		l.listed("the entry goes all the same")
	})
	t.Run("removed server", func(t *testing.T) {
		l, s, f := setup(t, "1", 0, Masquerade)
		l.goes(f, r1)
		l.send(f, ended...)
		l.remove(s, r1)
		l.goes(f, r2)
	})
	t.Run("removed server, established", func(t *testing.T) {
		l, s, f := setup(t, "1", 0, Masquerade)
		l.goes(f, r1)
		l.remove(s, r1)
		if r := l.goes(f, r1); r.Verdict != Dropped {
			t.Error(r.Verdict)
		}
		l.sysctl("expire_nodest_conn", "1") // was 0 when the server went
		if r := l.Packet(Packet{Flow: f, TCP: ACK}); r.Verdict != Passed || r.Dest.IsValid() {
			t.Errorf("ACK: %+v", r)
		}
		l.listed("expired")
		l.goes(f, r2)
	})
}

// TestWhatOpens: packets that make a connection, by protocol and sysctl.
func TestWhatOpens(t *testing.T) {
	tests := map[string]struct {
		packet string
		p      Protocol
		sysctl string
		want   bool
	}{
		"SYN":             {"in SYN", TCP, "", true},
		"SYN and ACK":     {"in SYN,ACK", TCP, "", true},
		"SYN and RST":     {"in SYN,RST", TCP, "sloppy_tcp", false},
		"ACK":             {"in ACK", TCP, "", false},
		"sloppy ACK":      {"in ACK", TCP, "sloppy_tcp", true},
		"sloppy nothing":  {"in -", TCP, "sloppy_tcp", true},
		"sloppy RST":      {"in RST", TCP, "sloppy_tcp", false},
		"reply":           {"out SYN,ACK", TCP, "sloppy_tcp", false},
		"UDP":             {"in -", UDP, "", true},
		"UDP reply":       {"out -", UDP, "", false},
		"INIT":            {"in INIT", SCTP, "", true},
		"DATA":            {"in DATA", SCTP, "", false},
		"sloppy DATA":     {"in DATA", SCTP, "sloppy_sctp", true},
		"sloppy ABORT":    {"in ABORT", SCTP, "sloppy_sctp", false},
		"SHUTDOWN strict": {"in SHUTDOWN", SCTP, "sloppy_tcp", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.serve(ServiceID{Protocol: tt.p, Addr: addr4(vip + ":80")}, "rr", 0, Masquerade, "10.1.0.11:80")
			if tt.sysctl != "" {
				l.sysctl(tt.sysctl, "1")
			}
			l.send(flow(tt.p, "10.0.0.10:1", vip+":80"), tt.packet)
			if n, _ := l.Len(); n != map[bool]int{true: 1}[tt.want] {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestDropPacket was observed on Linux 6.12.
func TestDropPacket(t *testing.T) {
	for rate, want := range map[string]string{"3": "1 4 7", "1": "1 2 3 4 5 6 7 8 9", "0": "", "-1": "1 2 3 4 5 6 7 8 9"} {
		l := newLab(t)
		l.serve(udp(vip+":53"), "rr", 0, Masquerade, "10.1.0.11:53")
		l.sysctl("am_droprate", rate)
		l.sysctl("drop_packet", "3")
		var dropped []string
		for i := 1; i <= 9; i++ {
			if l.Open(flow(UDP, fmt.Sprintf("10.0.0.10:%d", i), vip+":53")).Verdict == Dropped {
				dropped = append(dropped, fmt.Sprint(i))
			}
		}
		if got := strings.Join(dropped, " "); got != want {
			t.Errorf("rate %s: %q dropped, want %q", rate, got, want)
		}
		l.Packet(Packet{Flow: flow(UDP, "10.0.0.10:2", vip+":53")})
	}
}

// TestBypass was observed on Linux 6.12.
func TestBypass(t *testing.T) {
	l := newLab(t)
	id := ServiceID{Mark: 5}
	l.serve(id, "rr", 0, Masquerade)
	f := flow(TCP, "10.0.0.10:48788", "10.9.0.1:80")
	f.Mark = 5
	if r := l.goes(f, ""); r.Verdict != Refused {
		t.Error(r.Verdict)
	}
	l.sysctl("cache_bypass", "1")
	if r := l.goes(f, "0.0.0.0:0"); r.Verdict != Bypassed {
		t.Error(r.Verdict)
	}
	l.listed("an entry without a server", "TCP 60 SYN_RECV 10.0.0.10:48788 10.9.0.1:80 0.0.0.0:0")
	l.send(f, "in ACK")
	l.listed("follows", "TCP 900 ESTABLISHED 10.0.0.10:48788 10.9.0.1:80 0.0.0.0:0")
	l.at(1000)
	l.listed("gone")
	if n := l.Total().Counted; n != (Counters{}) {
		t.Errorf("counted %+v", n)
	}
}

func TestClose(t *testing.T) {
	for method, want := range map[Method]string{Masquerade: "TIME_WAIT", Route: "FIN_WAIT"} {
		l := newLab(t)
		s := tcp(vip + ":80")
		l.serve(s, "rr", 0, method, "10.1.0.11:80")
		f := flow(TCP, "10.0.0.10:1", vip+":80")
		l.Close(f)
		l.goes(f, "10.1.0.11:80")
		l.send(f, "in ACK")
		l.Close(f)
		l.listed("closed", "TCP 120 "+want+" 10.0.0.10:1 10.0.0.100:80 10.1.0.11:80")
	}
	l := newLab(t)
	s := ServiceID{Protocol: SCTP, Addr: addr4(vip + ":80")}
	l.serve(s, "rr", 0, Route, "10.1.0.11:80")
	f := flow(SCTP, "10.0.0.10:1", vip+":80")
	l.send(f, "in INIT", "in COOKIE_ECHO")
	l.Close(f)
	l.listed("closed", "SCTP 61 CLOSED 10.0.0.10:1 10.0.0.100:80 10.1.0.11:80")
	l.Close(Flow{})
	if r := l.Open(Flow{Protocol: TCP}); r != (Result{}) {
		t.Errorf("nonsense: %+v", r)
	}
	if r := l.Open(flow(TCP, "10.0.0.1:1", "[fd00::1]:80")); r != (Result{}) {
		t.Errorf("two families: %+v", r)
	}
}

// TestOwnAnswers: what the director answers itself passes for a reply of an old connection that was to go, unless it is
// masqueraded. Observed on Linux 6.12.
func TestOwnAnswers(t *testing.T) {
	for method, revived := range map[Method]bool{Masquerade: false, Route: true} {
		l := newLab(t)
		s := tcp(vip + ":80")
		l.serve(s, "rr", 0, method, "10.1.0.11:80")
		old, gone := flow(TCP, "10.0.0.10:1", vip+":80"), flow(TCP, "10.0.0.10:2", vip+":80")
		l.send(old, "in SYN", "in ACK", "in RST")
		l.weight(s, "10.1.0.11:80", 0)
		if r := l.goes(old, ""); r.Verdict != Refused {
			t.Error(r.Verdict)
		}
		want := Counters{Conns: 1, InPackets: 3, InBytes: 120}
		if revived {
			want.OutPackets, want.OutBytes = 1, 28+40 // an ICMP error with the packet in it
		}
		if got := l.Total().Counted; got != want {
			t.Errorf("%v: counted %+v, want %+v", method, got, want)
		}
		l.listed("refused")
		l.weight(s, "10.1.0.11:80", 1)
		l.send(gone, "in SYN", "in ACK")
		l.remove(s, "10.1.0.11:80")
		l.sysctl("expire_nodest_conn", "1")
		if r := l.Packet(Packet{Flow: gone, TCP: ACK}); r.Verdict != Passed || r.Dest.IsValid() {
			t.Errorf("%v: %+v", method, r)
		}
		if revived {
			l.listed("answered by an RST", "TCP 10 CLOSE 10.0.0.10:2 10.0.0.100:80 10.1.0.11:80")
		} else {
			l.listed("expired")
		}
		l.at(11)
		l.listed("in the end")
	}
	long := Packet{Flow: flow(UDP, "10.0.0.1:1", vip+":53"), Size: 1500}
	if n := unreachableBytes(&long); n != 576 {
		t.Errorf("error of %d bytes", n)
	}
	long = Packet{Flow: flow(UDP, "[fd00::2]:1", "[fd00::1]:53")}
	if n := unreachableBytes(&long); n != 96 {
		t.Errorf("error of %d bytes", n)
	}
}
