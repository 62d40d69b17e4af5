package sim

import (
	"net/netip"
	"testing"
	"time"
)

// The runs of this file were observed on Linux 6.1 and 6.12, or on 6.12 only where that is said.

// TestPostponement: UDP, persistent 5, UDP timeout 20, NAT.
func TestPostponement(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.must(l.SetTimeouts(Timeouts{UDP: 20 * time.Second}))
	l.serve(s, "rr", 5, Masquerade, "10.1.0.11:53", "10.1.0.12:53")
	first, second := flow(UDP, "10.0.0.10:4000", vip+":53"), flow(UDP, "10.0.0.10:4001", vip+":53")
	const r2 = "10.1.0.12:53"
	template := func(left, state string) string {
		return "UDP " + left + " " + state + " 10.0.0.10:0 10.0.0.100:53 " + r2
	}
	conn := func(left, port string) string {
		return "UDP " + left + " UDP 10.0.0.10:" + port + " 10.0.0.100:53 " + r2
	}
	l.goes(first, r2)
	l.listed("made", template("5", "NONE"), conn("20", "4000"))
	l.at(3.5)
	l.goes(first, r2)
	l.send(first, "out -")
	l.listed("not refreshed", template("1", "ASSURED"), conn("20", "4000"))
	l.at(5)
	l.listed("postponed", template("60", "ASSURED"), conn("18", "4000"))
	l.at(16.1)
	l.listed("counting", template("48", "ASSURED"), conn("7", "4000"))
	l.counts("postponed", s, r2, 0, 1, 1)
	l.at(24)
	l.listed("connection gone", template("41", "ASSURED"))
	l.counts("connection gone", s, r2, 0, 0, 1)
	l.at(26.7)
	l.goes(second, r2)
	l.listed("restarted with what it was postponed by", template("60", "ASSURED"), conn("20", "4001"))
	l.at(48.1)
	l.listed("alone", template("38", "ASSURED"))
	l.at(86.7)
	l.listed("gone")
	l.counts("gone", s, r2, 0, 0, 0)
}

// TestServiceEdits: UDP, persistent 30, UDP timeout 4.
func TestServiceEdits(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.must(l.SetTimeouts(Timeouts{UDP: 4 * time.Second}))
	l.serve(s, "rr", 30, Masquerade, "10.1.0.11:53", "10.1.0.12:53")
	const r1, r2 = "10.1.0.11:53", "10.1.0.12:53"
	visit := func(client, want string) { t.Helper(); l.goes(flow(UDP, client, vip+":53"), want) }
	eleven := func(left string) string { return "UDP " + left + " NONE 10.0.0.11:0 10.0.0.100:53 " + r2 }
	l.at(0.1)
	visit("10.0.0.11:4000", r2)
	l.at(6.2)
	l.listed("connection gone", eleven("23"))
	l.at(6.4)
	visit("10.0.0.11:4001", r2)
	l.at(11.5)
	l.edit(s, 100, "")
	l.listed("edited", eleven("24"))
	l.at(11.8)
	visit("10.0.0.11:4002", r2)
	l.at(12)
	visit("10.0.0.12:4002", r1)
	l.at(16.1)
	l.listed("the new timeout is for new templates", eleven("25"), "UDP 95 NONE 10.0.0.12:0 10.0.0.100:53 "+r1)
	l.at(17.2)
	l.edit(s, 0, "")
	l.at(17.4)
	visit("10.0.0.11:4003", r2)
	visit("10.0.0.11:4004", r1)
	l.at(23.8)
	l.listed("not refreshed", eleven("18"), "UDP 88 NONE 10.0.0.12:0 10.0.0.100:53 "+r1)
	l.edit(s, 40, "")
	visit("10.0.0.11:4005", r2)
	l.at(30.9)
	l.listed("the old template, with its timeout", eleven("22"), "UDP 81 NONE 10.0.0.12:0 10.0.0.100:53 "+r1)
	l.edit(s, 40, "255.255.255.0")
	all := l.Open(flow(UDP, "10.0.0.11:4006", vip+":53")).Dest.String()
	visit("10.0.0.12:4006", all)
	visit("10.0.0.13:4006", all)
	l.at(36)
	l.listed("another key", eleven("17"), "UDP 76 NONE 10.0.0.12:0 10.0.0.100:53 "+r1, "UDP 34 NONE 10.0.0.0:0 10.0.0.100:53 "+all)
	l.must(l.DeleteService(s))
	l.at(37)
	l.must(l.AddService(Service{ID: s, Scheduler: "rr", Flags: Persistent, Timeout: 30 * time.Second}))
	if r := l.goes(flow(UDP, "10.0.0.11:4007", vip+":53"), ""); r.Verdict != Refused {
		t.Errorf("without servers: %v", r.Verdict)
	}
	l.listed("invalidated", "UDP 16 NONE 10.0.0.11:0 10.0.0.100:65535 10.1.0.12:65535", "UDP 75 NONE 10.0.0.12:0 10.0.0.100:53 "+r1, "UDP 33 NONE 10.0.0.0:0 10.0.0.100:53 "+all)
	l.at(38)
	l.add(s, r1, Masquerade)
	l.add(s, r2, Masquerade)
	visit("10.0.0.11:4008", r2)
	visit("10.0.0.12:4008", r1)
	l.counts("server is back", s, r2, 0, 1, 2+map[bool]int{true: 1}[all == r2])
	l.at(40)
	l.Clear()
	if conns, templates := l.Len(); conns != 2 || templates != 4 {
		t.Errorf("cleared: %d connections, %d templates; want 2 and 4", conns, templates)
	}
}

// TestForms: which packets share a template, and what the table shows.
func TestForms(t *testing.T) {
	t.Run("all ports and one port", func(t *testing.T) {
		l := newLab(t)
		all, one := tcp(vip+":0"), tcp(vip+":8081")
		l.serve(all, "rr", 60, Masquerade, "10.1.0.11:0", "10.1.0.12:0")
		l.serve(one, "rr", 60, Masquerade, "10.1.0.11:8081", "10.1.0.12:8081")
		for i, port := range []string{"80", "443", "8080"} {
			l.goes(flow(TCP, "10.0.0.10:100"+string(rune('0'+i)), vip+":"+port), "10.1.0.12:"+port)
		}
		l.goes(flow(TCP, "10.0.0.11:1000", vip+":80"), "10.1.0.11:80")
		l.goes(flow(TCP, "10.0.0.10:1004", vip+":8081"), "10.1.0.12:8081")
		l.at(1)
		l.listed("a template for each service",
			"TCP 59 NONE 10.0.0.10:0 10.0.0.100:0 10.1.0.12:0", "TCP 59 NONE 10.0.0.11:0 10.0.0.100:0 10.1.0.11:0",
			"TCP 59 NONE 10.0.0.10:0 10.0.0.100:8081 10.1.0.12:8081",
			"TCP 59 SYN_RECV 10.0.0.10:1000 10.0.0.100:80 10.1.0.12:80", "TCP 59 SYN_RECV 10.0.0.10:1001 10.0.0.100:443 10.1.0.12:443",
			"TCP 59 SYN_RECV 10.0.0.10:1002 10.0.0.100:8080 10.1.0.12:8080", "TCP 59 SYN_RECV 10.0.0.11:1000 10.0.0.100:80 10.1.0.11:80",
			"TCP 59 SYN_RECV 10.0.0.10:1004 10.0.0.100:8081 10.1.0.12:8081")
		l.at(60)
		l.listed("connections go first, so that no template is postponed")
	})
	t.Run("mark", func(t *testing.T) {
		l := newLab(t)
		id := ServiceID{Mark: 10}
		l.serve(id, "rr", 60, Masquerade, "10.1.0.11:0", "10.1.0.12:0")
		for _, f := range []Flow{
			flow(TCP, "10.0.0.12:1", vip+":80"), flow(TCP, "10.0.0.12:2", vip+":443"), flow(UDP, "10.0.0.12:55337", vip+":53"),
			flow(TCP, "10.0.0.12:3", "10.0.0.101:80"),
		} {
			f.Mark = 10
			l.goes(f, netip.AddrPortFrom(netip.MustParseAddr("10.1.0.12"), f.Virtual.Port()).String())
		}
		f := flow(TCP, "10.0.0.13:1", vip+":80")
		l.goes(f, "")
		f.Mark = 10
		l.goes(f, "10.1.0.11:80")
		l.at(59)
		l.send(flow(TCP, "10.0.0.12:1", vip+":80"), "in RST")
		l.at(60)
		l.listed("mark in place of the address",
			"TCP 59 SYN_RECV 10.0.0.12:1 10.0.0.100:80 10.1.0.12:80",
			"IP 60 NONE 10.0.0.12:0 0.0.0.10:0 10.1.0.12:0", "UDP 240 UDP 10.0.0.12:55337 10.0.0.100:53 10.1.0.12:53")
	})
	t.Run("FTP", func(t *testing.T) {
		l := newLab(t)
		l.serve(tcp(vip+":21"), "rr", 60, Route, "10.1.0.11:21", "10.1.0.12:21")
		l.goes(flow(TCP, "10.0.0.15:1", vip+":21"), "10.1.0.12:21")
		l.goes(flow(TCP, "10.0.0.15:2", vip+":2000"), "10.1.0.12:2000")
		l.goes(flow(TCP, "10.0.0.15:3", vip+":80"), "")
		l.goes(flow(TCP, "10.0.0.16:1", vip+":8080"), "10.1.0.11:8080")
		l.goes(flow(TCP, "10.0.0.17:20", vip+":21"), "")
		l.goes(flow(UDP, "10.0.0.15:4", vip+":2000"), "")
		l.serve(tcp(vip+":0"), "rr", 60, Route, "10.1.0.13:0")
		l.goes(flow(TCP, "10.0.0.18:1", vip+":1024"), "10.1.0.12:1024")
		l.goes(flow(TCP, "10.0.0.19:1", vip+":1023"), "10.1.0.13:1023")
	})
	t.Run("FTP and all ports share", func(t *testing.T) { // 6.12
		l := newLab(t)
		l.serve(tcp(vip+":21"), "rr", 60, Masquerade, "10.1.0.11:21")
		l.serve(tcp(vip+":0"), "rr", 60, Masquerade, "10.1.0.12:0")
		l.goes(flow(TCP, "10.0.0.22:1", vip+":80"), "10.1.0.12:80")
		l.goes(flow(TCP, "10.0.0.22:2", vip+":21"), "10.1.0.12:21")
		l.goes(flow(TCP, "10.0.0.23:1", vip+":21"), "10.1.0.11:21")
		l.goes(flow(TCP, "10.0.0.23:2", vip+":80"), "10.1.0.11:80")
		twelve, err := l.Dest(tcp(vip+":0"), addr4("10.1.0.12:0"))
		l.must(err)
		if n := twelve.Stats.Counted; n.Conns != 2 || n.InPackets != 2 {
			t.Errorf("counted %+v, want 2 connections and packets", n)
		}
	})
	t.Run("port 0 to a mark", func(t *testing.T) {
		l := newLab(t)
		l.serve(ServiceID{Mark: 7}, "rr", 60, Masquerade, "10.2.0.2:8080")
		f := flow(UDP, "10.1.0.7:0", "172.16.0.1:0")
		f.Mark = 7
		l.goes(f, "10.2.0.2:8080")
		l.listed("counts as the service's port", "UDP 60 NONE 10.1.0.7:0 172.16.0.1:0 10.2.0.2:8080", "UDP 300 UDP 10.1.0.7:0 172.16.0.1:0 10.2.0.2:8080")
	})
	t.Run("IPv6", func(t *testing.T) {
		l := newLab(t)
		l.must(l.AddService(Service{ID: tcp("[fd00::100]:80"), Scheduler: "rr", Flags: Persistent, Timeout: time.Minute, Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff::")}))
		l.add(tcp("[fd00::100]:80"), "[fd01::11]:80", Masquerade)
		l.add(tcp("[fd00::100]:80"), "[fd01::12]:80", Masquerade)
		l.goes(flow(TCP, "[fd00:0:0:1::9]:5", "[fd00::100]:80"), "[fd01::12]:80")
		l.goes(flow(TCP, "[fd00:0:0:1:8::9]:5", "[fd00::100]:80"), "[fd01::12]:80")
		l.goes(flow(TCP, "[fd00:0:0:2::9]:5", "[fd00::100]:80"), "[fd01::11]:80")
	})
	t.Run("port 0 without persistence", func(t *testing.T) {
		l := newLab(t)
		l.serve(tcp(vip+":0"), "rr", 0, Masquerade, "10.1.0.11:0")
		l.goes(flow(TCP, "10.0.0.10:1", vip+":80"), "")
	})
}

// TestRemoval: UDP persistent 60, timeout 5.
func TestRemoval(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	const r1, r2 = "10.1.0.11:53", "10.1.0.12:53"
	l.must(l.SetTimeouts(Timeouts{UDP: 5 * time.Second}))
	l.serve(s, "rr", 60, Masquerade, r1, r2)
	f := flow(UDP, "10.0.0.11:4000", vip+":53")
	l.goes(f, r2)
	l.remove(s, r2)
	l.at(1)
	if r := l.goes(f, r2); r.Verdict != Dropped {
		t.Errorf("packet of a removed server: %v", r.Verdict)
	}
	l.at(4)
	l.listed("not refreshed", "UDP 1 UDP 10.0.0.11:4000 10.0.0.100:53 "+r2, "UDP 56 NONE 10.0.0.11:0 10.0.0.100:53 "+r2)
	l.add(s, r2, Masquerade)
	if r := l.goes(f, r2); r.Verdict != Forwarded || r.Scheduled {
		t.Errorf("packet of a server that is back: %+v", r)
	}
	l.counts("back", s, r2, 0, 1, 1)
	l.remove(s, r2)
	l.goes(flow(UDP, "10.0.0.11:4001", vip+":53"), r1)
	l.listed("invalidated", "UDP 5 UDP 10.0.0.11:4000 10.0.0.100:53 "+r2, "UDP 56 NONE 10.0.0.11:0 10.0.0.100:65535 10.1.0.12:65535",
		"UDP 5 UDP 10.0.0.11:4001 10.0.0.100:53 "+r1, "UDP 60 NONE 10.0.0.11:0 10.0.0.100:53 "+r1)
	l.add(s, r2, Masquerade)
	l.sysctl("expire_nodest_conn", "1")
	f = flow(UDP, "10.0.0.12:4000", vip+":53")
	l.goes(f, r2)
	l.remove(s, r2)
	l.listed("flushed, invalidated ones too", "UDP 5 UDP 10.0.0.11:4001 10.0.0.100:53 "+r1, "UDP 60 NONE 10.0.0.11:0 10.0.0.100:53 "+r1)
	if r := l.goes(f, r1); !r.Scheduled {
		t.Errorf("after the flush: %+v", r)
	}
	l.counts("trash", s, r2, 0, 0, 0)
}

// TestQuiesced: weight 0 with and without expire_quiescent_template.
func TestQuiesced(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	const r1, r2 = "10.1.0.11:53", "10.1.0.12:53"
	l.serve(s, "rr", 60, Masquerade, r1, r2)
	l.goes(flow(UDP, "10.0.0.10:1", vip+":53"), r2)
	l.weight(s, r2, 0)
	l.goes(flow(UDP, "10.0.0.10:2", vip+":53"), r2)
	l.sysctl("expire_quiescent_template", "1")
	l.goes(flow(UDP, "10.0.0.10:2", vip+":53"), r2) // of a connection that goes on
	l.goes(flow(UDP, "10.0.0.10:3", vip+":53"), r1)
	l.weight(s, r2, 1)
	l.goes(flow(UDP, "10.0.0.10:4", vip+":53"), r1)
	l.counts("the invalidated one counts", s, r2, 0, 2, 1)
}

// TestOverloadIgnored: a persistent client goes on coming to an overloaded server.
func TestOverloadIgnored(t *testing.T) {
	l := newLab(t)
	s := tcp(vip + ":80")
	l.serve(s, "rr", 60, Masquerade, "10.1.0.11:80", "10.1.0.12:80")
	l.goes(flow(TCP, "10.0.0.13:1", vip+":80"), "10.1.0.12:80")
	l.must(l.SetDest(s, Dest{Addr: addr4("10.1.0.12:80"), Weight: 1, Upper: 1}))
	l.goes(flow(TCP, "10.0.0.13:2", vip+":80"), "10.1.0.12:80")
	l.goes(flow(TCP, "10.0.0.14:1", vip+":80"), "10.1.0.11:80")
	l.goes(flow(TCP, "10.0.0.15:1", vip+":80"), "10.1.0.11:80")
}

// TestOnePacket: UDP, persistent 60, NAT.
func TestOnePacket(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.must(l.AddService(Service{ID: s, Scheduler: "rr", Flags: Persistent | OnePacket, Timeout: time.Minute}))
	l.add(s, "10.1.0.11:53", Masquerade)
	l.add(s, "10.1.0.12:53", Masquerade)
	f := flow(UDP, "10.0.0.10:1", vip+":53")
	for i := range 3 {
		l.at(float64(50 * i))
		if r := l.goes(f, "10.1.0.12:53"); !r.Scheduled {
			t.Error("not scheduled")
		}
		l.send(f, "out -")
	}
	l.listed("template only", "UDP 60 NONE 10.0.0.10:0 10.0.0.100:53 10.1.0.12:53")
	l.counts("nothing else", s, "10.1.0.12:53", 0, 0, 1)
	st, err := l.Service(s)
	l.must(err)
	if n := st.Stats.Counted; n.Conns != 3 || n.InPackets != 3 || n.OutPackets != 0 {
		t.Errorf("counted %+v", n)
	}
}

// TestClearAndRestore keeps clients on their servers; 6.12.
func TestClearAndRestore(t *testing.T) {
	l := newLab(t)
	s := tcp(vip + ":80")
	const r1, r2 = "10.1.0.11:80", "10.1.0.12:80"
	l.serve(s, "rr", 60, Masquerade, r1, r2)
	l.goes(flow(TCP, "10.0.0.24:1", vip+":80"), r2)
	l.goes(flow(TCP, "10.0.0.25:1", vip+":80"), r1)
	l.Clear()
	l.serve(s, "rr", 60, Masquerade, r1, r2)
	l.goes(flow(TCP, "10.0.0.25:2", vip+":80"), r1)
	l.goes(flow(TCP, "10.0.0.24:2", vip+":80"), r2)
	l.goes(flow(TCP, "10.0.0.25:3", vip+":80"), r1)
	l.counts("restored", s, r1, 3, 0, 1)
	l.counts("restored", s, r2, 2, 0, 1)
}

// TestZeroPersistence: the template of a connection is postponed at once, that of a packet is gone.
func TestZeroPersistence(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":53")
	l.must(l.AddService(Service{ID: s, Scheduler: "rr", Flags: Persistent}))
	l.add(s, "10.1.0.11:53", Masquerade)
	l.goes(flow(UDP, "10.0.0.10:1", vip+":53"), "10.1.0.11:53")
	l.listed("postponed", "UDP 60 NONE 10.0.0.10:0 10.0.0.100:53 10.1.0.11:53", "UDP 300 UDP 10.0.0.10:1 10.0.0.100:53 10.1.0.11:53")
	l.must(l.SetService(Service{ID: s, Scheduler: "rr", Flags: Persistent | OnePacket}))
	l.goes(flow(UDP, "10.0.0.11:1", vip+":53"), "10.1.0.11:53")
	l.counts("gone", s, "10.1.0.11:53", 0, 1, 1)
}

// TestEngine: NAT, UDP 5060, persistent 60, engine sip; 6.12.
func TestEngine(t *testing.T) {
	l := newLab(t)
	s := udp(vip + ":5060")
	l.must(l.AddService(Service{ID: s, Scheduler: "rr", Flags: Persistent, Timeout: time.Minute, Engine: "sip"}))
	l.add(s, "10.1.0.11:5060", Masquerade)
	l.add(s, "10.1.0.12:5060", Masquerade)
	invite := func(client, id, want string) {
		t.Helper()
		p := Packet{Flow: flow(UDP, client, vip+":5060"), Payload: []byte("INVITE sip:x SIP/2.0\r\nCall-ID: " + id + "\r\n\r\n")}
		if got := l.Packet(p).Dest.String(); got != want {
			t.Errorf("%s of %s goes to %s, want %s", id, client, got, want)
		}
	}
	invite("10.0.0.19:7001", "abc123@host", "10.1.0.12:5060")
	invite("10.0.0.19:7002", "abc123@host", "10.1.0.12:5060")
	invite("10.0.0.19:7003", "other@host", "10.1.0.11:5060")
	invite("10.0.0.20:7001", "abc123@host", "10.1.0.12:5060")
	if r := l.Open(flow(UDP, "10.0.0.21:1", vip+":5060")); r.Verdict != Dropped || r.Dest.IsValid() {
		t.Errorf("without a Call-ID: %+v", r)
	}
	l.must(l.SetTimeouts(Timeouts{UDP: time.Second}))
	for _, f := range []string{"10.0.0.19:7001", "10.0.0.19:7002", "10.0.0.19:7003", "10.0.0.20:7001"} {
		l.Packet(Packet{Flow: flow(UDP, f, vip+":5060")})
	}
	l.at(3)
	l.listed("engine and Call-ID",
		"UDP 57 NONE 10.0.0.19:0 10.0.0.100:5060 10.1.0.11:5060 sip other@host",
		"UDP 57 NONE 10.0.0.19:0 10.0.0.100:5060 10.1.0.12:5060 sip abc123@host",
		"UDP 57 NONE 10.0.0.20:0 10.0.0.100:5060 10.1.0.12:5060 sip abc123@host")
}
