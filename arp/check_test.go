package arp

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/sysctl"
)

// answers is what the kernel was seen to do for the values in force of arp_ignore, on Linux 6.1 and 6.12: an address on
// lo of scope global, one of scope host, and the device's own.
var answers = map[int][3]bool{
	-1: {true, true, true},
	0:  {true, true, true},
	1:  {false, false, true},
	2:  {false, false, true},
	3:  {true, false, true},
	4:  {true, true, true},
	5:  {true, true, true},
	7:  {true, true, true},
	8:  {false, false, false},
	9:  {true, true, true},
}

func TestCheckAnswers(t *testing.T) {
	rip := netip.MustParseAddr("10.0.0.3")
	for _, where := range []string{"all", "eth0", "lo"} {
		for value, want := range answers {
			if where == "lo" {
				want = answers[0] // no effect
			}
			t.Run(fmt.Sprintf("%s=%d", where, value), func(t *testing.T) {
				m := newMachine(t).set(where, "arp_ignore", fmt.Sprint(value))
				host := netip.MustParseAddr("10.0.0.101")
				m.addrs = append(m.addrs, Address{Prefix: hostPrefix(vip4), Device: "lo"}, Address{Prefix: hostPrefix(host), Device: "lo", Scope: ScopeHost})
				for i, addr := range []netip.Addr{vip4, host, rip} {
					e, err := m.host(t).Check(t.Context(), addr, "eth0", netip.Addr{})
					if err != nil {
						t.Fatal(err)
					}
					if e.Answers != want[i] || !e.Local {
						t.Errorf("%v: %v (%v), want %v", addr, e.Answers, e.AnswersCause, want[i])
					}
					if key := sysctl.IPv4(where, "arp_ignore"); value > 0 && where != "lo" && (e.AnswersCause.Setting != key || e.AnswersCause.Value != value) {
						t.Errorf("cause %v", e.AnswersCause)
					}
				}
			})
		}
	}
}

// The trap of the larger number: all, eth0, whether the virtual address is answered.
func TestCheckMaximum(t *testing.T) {
	for _, tt := range []struct {
		all, eth0 int
		want      bool
	}{
		{1, 8, false}, {8, 1, false}, {1, 2, false}, {2, 1, false}, {1, 3, true}, {3, 1, true}, {1, 4, true}, {4, 1, true},
		{9, 1, true}, {0, 1, false}, {1, 0, false}, {0, 0, true},
	} {
		m := newMachine(t).set("all", "arp_ignore", fmt.Sprint(tt.all)).set("eth0", "arp_ignore", fmt.Sprint(tt.eth0))
		m.addrs = append(m.addrs, Address{Prefix: hostPrefix(vip4), Device: "lo"})
		e, err := m.host(t).Check(t.Context(), vip4, "eth0", netip.Addr{})
		if err != nil || e.Answers != tt.want {
			t.Errorf("all %d, eth0 %d: %v (%v), %v", tt.all, tt.eth0, e.Answers, e.AnswersCause, err)
		}
	}
}

func TestCheckAnnounces(t *testing.T) {
	outside := netip.MustParseAddr("172.16.5.5")
	for _, tt := range []struct {
		all, lo, eth0 int
		vip           netip.Addr
		want          bool
	}{
		{0, 0, 0, vip4, true}, {0, 0, 2, vip4, false}, {0, 2, 0, vip4, true}, {0, 2, 2, vip4, false}, {2, 0, 0, vip4, false},
		{2, 2, 2, vip4, false}, {1, 0, 0, vip4, true}, {3, 0, 0, vip4, true}, {4, 0, 0, vip4, true}, {2, 0, 3, vip4, true},
		{0, 0, 0, outside, true}, {1, 0, 0, outside, false}, {2, 0, 0, outside, false},
	} {
		m := newMachine(t)
		for dev, v := range map[string]int{"all": tt.all, "lo": tt.lo, "eth0": tt.eth0} {
			m.set(dev, "arp_announce", fmt.Sprint(v))
		}
		m.addrs = append(m.addrs, Address{Prefix: hostPrefix(tt.vip), Device: "lo"})
		e, err := m.host(t).Check(t.Context(), tt.vip, "eth0", netip.Addr{})
		if err != nil || e.Announces != tt.want {
			t.Errorf("%+v: %v (%v), %v", tt, e.Announces, e.AnnouncesCause, err)
		}
	}
}

func TestCheckOther(t *testing.T) {
	asker := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	on := func(dev, prefix string, scope Scope) func(*machine) {
		return func(m *machine) {
			m.addrs = append(m.addrs, Address{Prefix: netip.MustParsePrefix(prefix), Device: dev, Scope: scope})
		}
	}
	tests := map[string]struct {
		prepare            []func(*machine)
		vip                netip.Addr
		device             string
		asker              netip.Addr
		answers, announces bool
		err                error
	}{
		"no such device": {vip: vip4, device: "eth9", err: fs.ErrNotExist},
		"bad address":    {vip: netip.MustParseAddr("127.0.0.1"), device: "eth0", err: fs.ErrInvalid},
		"not here":       {vip: vip4, device: "eth0"},
		"lo is asked":    {prepare: []func(*machine){on("lo", "10.0.0.100/32", 0)}, vip: vip4, device: "lo"},
		"down": {prepare: []func(*machine){on("lo", "10.0.0.100/32", 0), func(m *machine) { m.linkList[1].Flags &^= LinkUp }},
			vip: vip4, device: "eth0"},
		"arp off": {prepare: []func(*machine){on("lo", "10.0.0.100/32", 0), func(m *machine) { m.linkList[1].Flags |= LinkNoARP }},
			vip: vip4, device: "eth0"},
		"on the card": {prepare: []func(*machine){on("eth0", "10.0.0.100/32", 0), func(m *machine) { m.set("all", ignore, "1").set("all", announce, "2") }},
			vip: vip4, device: "eth0", answers: true, announces: true},
		"whole subnet on lo": {prepare: []func(*machine){on("lo", "10.0.0.100/24", 0)},
			vip: netip.MustParseAddr("10.0.0.77"), device: "eth0", answers: true, announces: true},
		"value 2, asker in the subnet": {prepare: []func(*machine){func(m *machine) { m.set("all", ignore, "2") }},
			vip: asker("10.0.0.3"), device: "eth0", asker: asker("10.0.0.1"), answers: true, announces: true},
		"value 2, asker elsewhere": {prepare: []func(*machine){func(m *machine) { m.set("all", ignore, "2") }},
			vip: asker("10.0.0.3"), device: "eth0", asker: asker("192.168.9.1"), announces: true},
		"unnumbered card, scope global": {prepare: []func(*machine){
			func(m *machine) { m.addrs = m.addrs[:1]; m.set("all", ignore, "1").set("all", announce, "2") }, on("lo", "10.0.0.100/32", 0)},
			vip: vip4, device: "eth0", announces: true},
		"unnumbered card, scope host": {prepare: []func(*machine){
			func(m *machine) { m.addrs = m.addrs[:1]; m.set("all", ignore, "1").set("all", announce, "2") }, on("lo", "10.0.0.100/32", ScopeHost)},
			vip: vip4, device: "eth0"},
		"IPv6 on lo":       {prepare: []func(*machine){on("lo", "2001:db8::100/128", 0)}, vip: vip6, device: "eth0"},
		"IPv6 on the card": {prepare: []func(*machine){on("eth0", "2001:db8::100/128", 0)}, vip: vip6, device: "eth0", answers: true, announces: true},
		"mapped address":   {prepare: []func(*machine){on("lo", "10.0.0.100/32", 0)}, vip: netip.MustParseAddr("::ffff:10.0.0.100"), device: "eth0", answers: true, announces: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for _, f := range tt.prepare {
				f(m)
			}
			e, err := m.host(t).Check(t.Context(), tt.vip, tt.device, tt.asker)
			if !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			if e.Answers != tt.answers || e.Announces != tt.announces {
				t.Errorf("answers %v (%v), announces %v (%v)", e.Answers, e.AnswersCause, e.Announces, e.AnnouncesCause)
			}
			if e.Hidden() != (!e.Answers && !e.Announces) || e.AnswersCause.Text == "" || e.AnnouncesCause.Text == "" {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("proxies", func(t *testing.T) {
		s, err := newMachine(t).host(t).State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Proxies = []Proxy{{vip6, "eth0"}, {vip4, "eth0"}}
		for _, vip := range []netip.Addr{vip4, vip6} {
			if e, err := s.Check(vip, "eth0", netip.Addr{}); err != nil || !e.Answers || e.Announces {
				t.Errorf("%v: %+v, %v", vip, e, err)
			}
		}
	})
}

// What a setup with tunnels has done is in order without its record too, such as after a boot that did it again.
func TestStatusWithoutRecord(t *testing.T) {
	tunnels := []Tunnel{
		{Name: "lvs1", Kind: IPIP, Local: netip.MustParseAddr("10.0.0.3")},
		{Name: "lvs2", Kind: GRE, Local: netip.MustParseAddr("10.0.0.3")},
		{Name: "lvs3", Kind: IP6TNL, Local: netip.MustParseAddr("2001:db8::3")},
	}
	type found struct {
		Kind ProblemKind
		VIP  string
	}
	problems := func(t *testing.T, st Status) []found {
		t.Helper()
		var list []found
		for _, p := range st.Problems {
			list = append(list, found{p.Kind, p.VIP.String()})
		}
		return list
	}
	for name, tt := range map[string]struct {
		own  string // the address that all tunnels get
		more []Address
		vips []string
		want []found
	}{
		"address for tunnels":   {own: "192.0.2.1", vips: []string{"10.0.0.100", "192.0.2.1", "192.0.2.1", "192.0.2.1"}},
		"the card's address":    {own: "10.0.0.3", vips: []string{"10.0.0.100"}},
		"another of the card's": {own: "10.0.0.4", more: []Address{{Prefix: netip.MustParsePrefix("10.0.0.4/24"), Device: "eth0"}}, vips: []string{"10.0.0.100"}},
		"and on lo": {own: "192.0.2.1", more: []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Device: "lo"}},
			vips: []string{"10.0.0.100", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: []found{{BoundTwice, "192.0.2.1"}}},
		"and with a length": {own: "192.0.2.1", more: []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Device: "lvs1"}},
			vips: []string{"10.0.0.100", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: []found{{WrongMask, "192.0.2.1"}, {BoundTwice, "192.0.2.1"}}},
		"virtual on card and tunnels": {own: "10.0.0.101", more: []Address{{Prefix: netip.MustParsePrefix("10.0.0.101/32"), Device: "eth0"}},
			vips: []string{"10.0.0.100", "10.0.0.101", "10.0.0.101", "10.0.0.101", "10.0.0.101"},
			want: []found{{WrongDevice, "10.0.0.101"}, {BoundTwice, "10.0.0.101"}, {Answered, "10.0.0.101"}, {Announced, "10.0.0.101"}}},
		"virtual on card with its subnet and lo": {own: "192.0.2.1", more: []Address{{Prefix: netip.MustParsePrefix("10.0.0.100/24"), Device: "eth0"}},
			vips: []string{"10.0.0.100", "10.0.0.100", "192.0.2.1", "192.0.2.1", "192.0.2.1"},
			want: []found{{WrongDevice, "10.0.0.100"}, {BoundTwice, "10.0.0.100"}, {Answered, "10.0.0.100"}, {Announced, "10.0.0.100"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t).set("all", "rp_filter", "2")
			mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: tunnels, TunnelAddress: netip.MustParseAddr(tt.own)})
			if st, err := m.host(t).Status(t.Context()); err != nil || len(st.VIPs) != 1 || len(st.Problems) != 0 {
				t.Fatalf("with the record: %v, %v", st, err)
			}
			for file := range m.files.Files() {
				if strings.HasPrefix(file, "run/") {
					if err := m.files.Remove(file); err != nil {
						t.Fatal(err)
					}
				}
			}
			m.addrs = append(m.addrs, tt.more...)
			st, err := m.host(t).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var vips []string
			for _, v := range st.VIPs {
				vips = append(vips, v.Address.Addr().String())
			}
			slices.Sort(vips)
			if diff := cmp.Diff(tt.vips, vips); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, problems(t, st)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
