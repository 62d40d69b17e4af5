package arp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/sysctl"
)

var (
	second = netip.MustParseAddr("10.0.0.101")
	tunl0  = Tunnel{Name: "tunl0"}
	gre1   = Tunnel{Name: "gre1", Kind: GRE, Local: netip.MustParseAddr("10.0.0.3"), Checksum: true}
)

var samePicture = []cmp.Option{equateAddrs, cmpopts.EquateEmpty()}

// withTunl0 is a machine with the module ipip loaded.
func withTunl0(t testing.TB) *machine {
	m := newMachine(t)
	m.linkList = append(m.linkList, Link{Index: 3, Name: "tunl0", Kind: "ipip", Type: 768, Flags: LinkNoARP, Tunnel: &Tunnel{Name: "tunl0"}})
	m.settings("tunl0")
	return m
}

// setups are ones whose effect is compared and undone. Each runs on a machine that prepare has changed.
var setups = map[string]struct {
	prepare func(*machine)
	setup   Setup
	want    []string // steps that change something
	keep    []string
}{
	"DR": {
		setup: Setup{VIPs: []netip.Addr{vip4}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"values before that are not 0": {
		prepare: func(m *machine) { m.set("all", ignore, "3").set("all", announce, "1") },
		setup:   Setup{VIPs: []netip.Addr{vip4}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 3 to 1", "set net.ipv4.conf.all.arp_announce from 1 to 2",
			"add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"stricter value stays": {
		prepare: func(m *machine) { m.set("all", ignore, "8") },
		setup:   Setup{VIPs: []netip.Addr{vip4}},
		want:    []string{"set net.ipv4.conf.all.arp_announce from 0 to 2", "add address 10.0.0.100/32 on lo"},
		keep:    []string{"set net.ipv4.conf.all.arp_ignore from 8 to 8", "set up lo"},
	},
	"larger value of a card": {
		prepare: func(m *machine) { m.set("eth0", ignore, "3").set("eth0", announce, "4") },
		setup:   Setup{VIPs: []netip.Addr{vip4}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"set net.ipv4.conf.eth0.arp_ignore from 3 to 1", "set net.ipv4.conf.eth0.arp_announce from 4 to 2", "add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"scope host with 3": {
		prepare: func(m *machine) { m.set("all", ignore, "3") },
		setup:   Setup{VIPs: []netip.Addr{vip4}, Scope: ScopeHost},
		want:    []string{"set net.ipv4.conf.all.arp_announce from 0 to 2", "add address 10.0.0.100/32 on lo"},
		keep:    []string{"set net.ipv4.conf.all.arp_ignore from 3 to 3", "set up lo"},
	},
	"one card": {
		setup: Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth0"}},
		want: []string{"set net.ipv4.conf.eth0.arp_ignore from 0 to 1", "set net.ipv4.conf.eth0.arp_announce from 0 to 2",
			"add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"dummy with a label": {
		setup: Setup{VIPs: []netip.Addr{vip4, vip6}, Device: "lvs0", Label: "lvs0:1"},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"add link lvs0 type dummy", "set up lvs0", "add address 10.0.0.100/32 on lvs0", "add address 2001:db8::100/128 on lvs0"},
	},
	"IPv6 alone": {
		setup: Setup{VIPs: []netip.Addr{vip6}},
		want:  []string{"add address 2001:db8::100/128 on lo"},
		keep:  []string{"set up lo"},
	},
	"director": {
		setup: Setup{VIPs: []netip.Addr{vip4}, Device: "eth0", Suppress: SuppressNone},
		want:  []string{"add address 10.0.0.100/32 on eth0"},
		keep:  []string{"set up eth0"},
	},
	"TUN": {
		prepare: func(m *machine) {
			*m = *withTunl0Of(m)
			m.set("all", "rp_filter", "1")
		},
		setup: Setup{VIPs: []netip.Addr{vip4, vip6}, Tunnels: []Tunnel{tunl0}, FOUPorts: []FOUPort{{Port: 5555}}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"set net.ipv4.conf.tunl0.rp_filter from 0 to 2", "set up tunl0", "add fou port 5555 gue",
			"add address 10.0.0.100/32 on tunl0", "add address 2001:db8::100/128 on lo"},
		keep: []string{"add link tunl0 type ipip", "set up lo"},
	},
	"TUN, address on lo": {
		prepare: func(m *machine) { m.set("default", "rp_filter", "2") },
		setup:   Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{gre1}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"add link gre1 type gre local 10.0.0.3 csum", "set net.ipv4.conf.gre1.rp_filter from 2 to 0", "set up gre1", "add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"TUN with an address of its own": {
		prepare: func(m *machine) { m.set("all", "rp_filter", "2") },
		setup:   Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{gre1}, TunnelAddress: netip.MustParseAddr("192.0.2.1")},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"add link gre1 type gre local 10.0.0.3 csum", "set up gre1", "add address 192.0.2.1/32 on gre1", "add address 10.0.0.100/32 on lo"},
		keep: []string{"set up lo"},
	},
	"files": {
		prepare: func(m *machine) { m.files.Set("etc/sysctl.d/90-lvs-all.conf", "mine\n") },
		setup:   Setup{VIPs: []netip.Addr{vip4, vip6}, Device: "lvs0", Boot: []BootFormat{BootSysctl, BootModules, BootNetworkd, BootIfupdown}},
		want: []string{"set net.ipv4.conf.all.arp_ignore from 0 to 1", "set net.ipv4.conf.all.arp_announce from 0 to 2",
			"add link lvs0 type dummy", "set up lvs0", "add address 10.0.0.100/32 on lvs0", "add address 2001:db8::100/128 on lvs0",
			"replace file /etc/sysctl.d/90-lvs-all.conf", "create file /etc/modprobe.d/lvs-dummy.conf", "create file /etc/modules-load.d/lvs-dummy.conf",
			"create file /etc/systemd/network/90-lvs-lvs0.netdev", "create file /etc/systemd/network/90-lvs-lvs0.network",
			"create file /etc/systemd/network/90-lvs-lvs0.network.d/10.0.0.100.conf", "create file /etc/systemd/network/90-lvs-lvs0.network.d/2001-db8--100.conf",
			"create file /etc/network/interfaces.d/lvs-lvs0", "create file /etc/network/interfaces.d/lvs-lvs0-10.0.0.100", "create file /etc/network/interfaces.d/lvs-lvs0-2001-db8--100"},
	},
}

func withTunl0Of(m *machine) *machine {
	c := m.snapshot()
	c.linkList = append(c.linkList, Link{Index: 3, Name: "tunl0", Kind: "ipip", Type: 768, Flags: LinkNoARP, Tunnel: &Tunnel{Name: "tunl0"}})
	c.settings("tunl0")
	return c
}

func stepTexts(steps []Step, keep bool) []string {
	var texts []string
	for _, s := range steps {
		if s.Keep == keep {
			texts = append(texts, s.String())
		}
	}
	return texts
}

func TestSetupAndRelease(t *testing.T) {
	for name, tt := range setups {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if tt.prepare != nil {
				tt.prepare(m)
			}
			before := m.picture()
			h := m.host(t)
			p := mustPlan(t, h, tt.setup)
			if diff := cmp.Diff(tt.want, stepTexts(p.Steps, false)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.keep, stepTexts(p.Steps, true)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
				t.Fatalf("planning changed (-before +after):\n%s", diff)
			}
			if drift, err := h.Verify(t.Context(), p); err != nil || len(drift) != len(tt.want) {
				t.Errorf("drift before Apply: %v, %v", drift, err)
			}
			r := mustApply(t, h, p)
			if len(r.Done) != len(tt.want) || r.RolledBack {
				t.Errorf("done %v", r.Done)
			}
			if drift, err := h.Verify(t.Context(), p); err != nil || len(drift) != 0 {
				t.Errorf("drift: %v, %v", drift, err)
			}
			// Neighbours learn nothing of a real server's addresses.
			if tt.setup.Suppress != SuppressNone {
				st, err := h.Status(t.Context(), tt.setup.VIPs...)
				if err != nil || len(st.Problems) != 0 {
					t.Errorf("problems %v, %v", st.Problems, err)
				}
			}
			// The same once more, by another process: nothing is left to do.
			again := mustPlan(t, m.host(t), tt.setup)
			if !again.Empty() {
				t.Errorf("a second plan does %v", stepTexts(again.Steps, false))
			}
			mustApply(t, m.host(t), again)
			release := mustRelease(t, m.host(t), tt.setup.VIPs...)
			if len(release.Done) != len(tt.want) || len(release.Left) != 0 {
				t.Errorf("taken back %v, left %v", release.Done, release.Left)
			}
			if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
				t.Errorf("after release (-before +after):\n%s", diff)
			}
			for file := range m.files.Files() {
				if strings.HasPrefix(file, "run/") {
					t.Errorf("%s is left", file)
				}
			}
			if r := mustRelease(t, m.host(t), tt.setup.VIPs...); len(r.Done) != 0 {
				t.Errorf("a second release does %v", r.Done)
			}
		})
	}
}

// A process that ends at any point of Apply or Release leaves a host from which another one gets back to the start.
func TestKilledAnywhere(t *testing.T) {
	for name, tt := range setups {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if tt.prepare != nil {
				tt.prepare(m)
			}
			before := m.picture()
			var moments []*machine
			m.onChange = func(string) error { moments = append(moments, m.snapshot()); return nil }
			h := m.host(t)
			p := mustPlan(t, h, tt.setup)
			// Before each step of Apply; the machine in memory adds those before each change of the network, of the
			// release too.
			for n := range p.Steps {
				cut := newMachine(t)
				if tt.prepare != nil {
					tt.prepare(cut)
				}
				ch := cut.host(t)
				full := mustPlan(t, ch, tt.setup)
				if err := killAt(ch, cut, full, n); err != nil {
					t.Fatal(err)
				}
				moments = append(moments, cut.snapshot())
			}
			mustApply(t, h, p)
			mustRelease(t, m.host(t), tt.setup.VIPs...)
			if len(moments) < len(tt.want) {
				t.Fatalf("only %d moments", len(moments))
			}
			for i, moment := range moments {
				mustRelease(t, moment.host(t))
				if diff := cmp.Diff(before, moment.picture(), samePicture...); diff != "" {
					t.Errorf("moment %d (-before +after):\n%s", i, diff)
				}
			}
		})
	}
}

// So it does at any point of a setup that changes what an earlier one has set and written.
func TestKilledAfterEarlier(t *testing.T) {
	m := newMachine(t).set("default", "rp_filter", "2").set("all", ignore, "3")
	before := m.picture()
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Scope: ScopeHost, Tunnels: []Tunnel{gre1}, Boot: []BootFormat{BootSysctl}})
	// Somebody makes filtering strict, for which the tunnel needs another value with an address on it.
	m.set("all", "rp_filter", "1")
	before.Files["proc/sys/net/ipv4/conf/all/rp_filter"] = "1\n"
	next := Setup{VIPs: []netip.Addr{second}, Tunnels: []Tunnel{gre1}, Boot: []BootFormat{BootSysctl}}
	p := mustPlan(t, m.host(t), next)
	changes := 0
	for n := range len(p.Steps) + 1 {
		cut := m.snapshot()
		if err := killAt(cut.host(t), cut, mustPlan(t, cut.host(t), next), n); err != nil {
			t.Fatal(err)
		}
		// Somebody may try once more, and be killed at once.
		for _, more := range []bool{false, true} {
			moment := cut.snapshot()
			if more {
				if err := killAt(moment.host(t), moment, mustPlan(t, moment.host(t), next), 0); err != nil {
					t.Fatal(err)
				}
			}
			if r := mustRelease(t, moment.host(t)); len(r.Left) > 0 {
				t.Errorf("killed at %d, more %v: left %v", n, more, r.Left)
			}
			if diff := cmp.Diff(before, moment.picture(), samePicture...); diff != "" {
				t.Errorf("killed at %d, more %v (-before +after):\n%s", n, more, diff)
			}
		}
	}
	for _, s := range p.Steps {
		if !s.Keep && (s.Op == SetSetting && s.Device == "" && s.Setting == sysctl.IPv4("gre1", "rp_filter") || s.Op == WriteFile && !s.OldAbsent) {
			changes++
		}
	}
	if changes < 2 {
		t.Errorf("the second setup changes %d of what the first has set:\n%v", changes, p)
	}
	// Once it is done, what the first had set is as foreign as any other value.
	mustApply(t, m.host(t), p)
	m.set("gre1", "rp_filter", "0")
	if r := mustRelease(t, m.host(t)); len(r.Left) != 1 || r.Left[0].Setting != sysctl.IPv4("gre1", "rp_filter") {
		t.Errorf("left %v", r.Left)
	}
}

// What somebody else has made meanwhile is not taken back with a setup that fails.
func TestRollBackForeign(t *testing.T) {
	m := newMachine(t)
	h := m.host(t)
	p := mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}, FOUPorts: []FOUPort{{Port: 5555}}})
	theirs := FOUPort{Port: 5555, Protocol: 4}
	m.fou = append(m.fou, theirs)
	if r, err := h.Apply(t.Context(), p); !errors.Is(err, fs.ErrExist) || !r.RolledBack || !slices.Equal(m.fou, []FOUPort{theirs}) {
		t.Errorf("%+v, %v, ports %v", r, err, m.fou)
	}

	m = newMachine(t)
	h = m.host(t)
	p = mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}})
	ctx, cancel := context.WithCancel(t.Context())
	a := Address{Prefix: hostPrefix(vip4), Device: "lo"}
	h.connect = func(ctx context.Context) (kernel, error) { return m, nil }
	m.files.OnWrite(sysctl.IPv4("all", announce).Path(), func(_, data []byte) ([]byte, error) {
		if ctx.Err() == nil {
			m.addrs = append(m.addrs, a)
			cancel()
		}
		return data, nil
	})
	if r, err := h.Apply(ctx, p); !errors.Is(err, context.Canceled) || !r.RolledBack || !slices.Contains(m.addrs, a) {
		t.Errorf("%+v, %v, addresses %v", r, err, m.addrs)
	}
}

// killAt does what Apply does up to step n, and nothing after.
func killAt(h *Host, m *machine, p Plan, n int) error {
	if err := h.saveJournal("run/lvs/arp-1.json", p.before.merge(p.Steps)); err != nil {
		return err
	}
	for _, s := range p.Steps[:n] {
		if s.Keep {
			continue
		}
		if err := h.do(m, &s); err != nil {
			return err
		}
	}
	return nil
}

// A refused change is followed by all others being taken back.
func TestRollBack(t *testing.T) {
	for name, tt := range setups {
		for n := range len(tt.want) {
			t.Run(fmt.Sprint(name, "/", n), func(t *testing.T) {
				m := newMachine(t)
				if tt.prepare != nil {
					tt.prepare(m)
				}
				before := m.picture()
				h := m.host(t)
				p := mustPlan(t, h, tt.setup)
				var doing []Step
				for _, s := range p.Steps {
					if !s.Keep {
						doing = append(doing, s)
					}
				}
				switch s := doing[n]; s.Op {
				case SetSetting:
					h.root = readOnly{m.files, s.Setting.Path()}
				case WriteFile:
					h.root = readOnly{m.files, s.File}
				default:
					failed := false
					m.onChange = func(string) error {
						if done := len(m.changes); !failed && done == networkSteps(doing[:n]) {
							failed = true
							return refuse(errnoPERM, "change")
						}
						return nil
					}
				}
				r, err := h.Apply(t.Context(), p)
				if !errors.Is(err, fs.ErrPermission) || !r.RolledBack || len(r.NotRestored) != 0 || len(r.Done) != 0 {
					t.Fatalf("%+v, %v", r, err)
				}
				if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
					t.Errorf("after (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// readOnly refuses to write one file.
type readOnly struct {
	*hostfs.Mem
	name string
}

func (r readOnly) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if name == r.name {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrPermission}
	}
	return r.Mem.WriteFile(name, data, perm)
}

func (r readOnly) ReplaceFile(name string, data []byte, perm fs.FileMode) error {
	return r.WriteFile(name, data, perm)
}

func networkSteps(steps []Step) (n int) {
	for _, s := range steps {
		if s.Op != SetSetting && s.Op != WriteFile {
			n++
		}
	}
	return n
}

func TestTwoAddresses(t *testing.T) {
	m := newMachine(t).set("all", ignore, "0").set("all", announce, "1")
	before := m.picture()
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{second}})

	r := mustRelease(t, m.host(t), vip4)
	if diff := cmp.Diff([]string{"delete address 10.0.0.100/32 on lo"}, stepTexts(r.Done, false)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if len(r.Kept) != 2 || !strings.Contains(r.Kept[0].Reason, "10.0.0.101") {
		t.Errorf("kept %+v", r.Kept)
	}
	if m.get("all", ignore) != "1" || m.get("all", announce) != "2" {
		t.Error("no longer silent")
	}
	mustRelease(t, m.host(t), second)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("second (-before +after):\n%s", diff)
	}
}

// A card's value that outweighs that of all stays lowered until the last address goes, and is so after a boot.
func TestTwoAddressesCard(t *testing.T) {
	m := newMachine(t).set("eth0", ignore, "3").set("eth0", announce, "4")
	before := m.picture()
	for _, vip := range []netip.Addr{vip4, second} {
		mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip}, Boot: []BootFormat{BootSysctl}})
	}
	const file = "etc/sysctl.d/90-lvs-eth0.conf"
	mustRelease(t, m.host(t), vip4)
	if e, err := m.host(t).Check(t.Context(), second, "eth0", netip.Addr{}); err != nil || !e.Hidden() {
		t.Errorf("the other address: %+v, %v", e, err)
	}
	content := m.files.Files()[file]
	for _, want := range []string{"net.ipv4.conf.eth0.arp_ignore = 1\n", "net.ipv4.conf.eth0.arp_announce = 2\n"} {
		if !strings.Contains(content, want) {
			t.Errorf("/%s lacks %q:\n%s", file, want, content)
		}
	}
	mustRelease(t, m.host(t), second)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	// A value that would not outweigh is none of the second setup's business.
	m = newMachine(t)
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth0"}})
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{second}})
	mustRelease(t, m.host(t), vip4)
	if m.get("eth0", ignore) != "0" || m.get("all", ignore) != "1" {
		t.Errorf("eth0 %s, all %s", m.get("eth0", ignore), m.get("all", ignore))
	}
}

// The address of a tunnel stays until the last virtual address goes.
func TestTwoAddressesTunnel(t *testing.T) {
	m := newMachine(t).set("all", "rp_filter", "2")
	before := m.picture()
	own := netip.MustParseAddr("192.0.2.1")
	for _, vip := range []netip.Addr{vip4, second} {
		setup := Setup{VIPs: []netip.Addr{vip}, Device: "lo", Tunnels: []Tunnel{gre1}, TunnelAddress: own}
		mustSetup(t, m.host(t), setup)
		if p := mustPlan(t, m.host(t), setup); !p.Empty() {
			t.Errorf("a second plan does %v", stepTexts(p.Steps, false))
		}
	}
	mustRelease(t, m.host(t), vip4)
	if !slices.ContainsFunc(m.addrs, func(a Address) bool { return a.Addr() == own && a.Device == "gre1" }) {
		t.Errorf("addresses %v", m.addrs)
	}
	mustRelease(t, m.host(t), second)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	// So does the file that keeps filtering loose there after a boot.
	m = newMachine(t).set("all", "rp_filter", "1")
	before = m.picture()
	for _, vip := range []netip.Addr{vip4, second} {
		mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip}, Tunnels: []Tunnel{gre1}, Boot: []BootFormat{BootSysctl}})
	}
	mustRelease(t, m.host(t), vip4)
	if content := m.files.Files()["etc/sysctl.d/90-lvs-gre1.conf"]; !strings.Contains(content, "net.ipv4.conf.gre1.rp_filter = 2\n") || m.get("gre1", "rp_filter") != "2" {
		t.Errorf("rp_filter %s, file:\n%s", m.get("gre1", "rp_filter"), content)
	}
	mustRelease(t, m.host(t), second)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	// One that somebody else has given it is enough, and stays.
	m = newMachine(t).set("all", "rp_filter", "2")
	tunnel := gre1
	m.linkList = append(m.linkList, Link{Index: 3, Name: "gre1", Kind: "gre", Type: 778, Flags: LinkUp | LinkNoARP, Tunnel: &tunnel})
	m.settings("gre1")
	m.addrs = append(m.addrs, Address{Prefix: netip.MustParsePrefix("192.0.2.9/32"), Device: "gre1"})
	p := mustPlan(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{gre1}, TunnelAddress: own})
	if slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Address != nil && s.Address.Addr() == own }) {
		t.Errorf("plan\n%v", p)
	}
}

// An address that someone else has bound keeps the machine silent.
func TestForeignAddress(t *testing.T) {
	m := newMachine(t)
	before := m.picture()
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	foreign := Address{Prefix: hostPrefix(second), Device: "lo"}
	m.addrs = append(m.addrs, foreign)
	r := mustRelease(t, m.host(t), vip4)
	if len(r.Kept) != 2 || !strings.Contains(r.Kept[0].Reason, "10.0.0.101") || m.get("all", ignore) != "1" {
		t.Errorf("kept %+v, arp_ignore %s", r.Kept, m.get("all", ignore))
	}
	// Another address comes and goes, and the foreign one before it.
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	m.addrs = slices.DeleteFunc(m.addrs, func(a Address) bool { return a.Addr() == second })
	mustRelease(t, m.host(t), vip4)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	// Released while it was there, and gone after: the next release finds it.
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	m.addrs = append(m.addrs, foreign)
	mustRelease(t, m.host(t), vip4)
	m.addrs = slices.DeleteFunc(m.addrs, func(a Address) bool { return a.Addr() == second })
	mustRelease(t, m.host(t), vip6) // any will do
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("orphan (-before +after):\n%s", diff)
	}
}

// What someone else has changed after us is left alone.
func TestForeignChange(t *testing.T) {
	m := newMachine(t)
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	m.set("all", ignore, "2")
	r := mustRelease(t, m.host(t), vip4)
	if len(r.Left) != 1 || r.Left[0].Setting.String() != "net.ipv4.conf.all.arp_ignore" || m.get("all", ignore) != "2" || m.get("all", announce) != "0" {
		t.Errorf("left %v, arp_ignore %s, arp_announce %s", r.Left, m.get("all", ignore), m.get("all", announce))
	}
	// What is gone already is no failure.
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Device: "lvs0"})
	if err := m.deleteLink("lvs0"); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, m.host(t), vip4)
	// Neither is what was there already: it is not ours, and stays.
	m.addrs = append(m.addrs, Address{Prefix: hostPrefix(vip4), Device: "lo"})
	if r := mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}}); len(r.Done) != 1 { // arp_announce
		t.Errorf("done %v", r.Done)
	}
	mustRelease(t, m.host(t), vip4)
	if len(m.addrs) != 3 {
		t.Errorf("addresses %v", m.addrs)
	}
}

// An address that appears between planning and applying belongs to who added it.
func TestThereMeanwhile(t *testing.T) {
	m := newMachine(t)
	h := m.host(t)
	p := mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}, FOUPorts: []FOUPort{{Port: 5555}}})
	m.addrs = append(m.addrs, Address{Prefix: hostPrefix(vip4), Device: "lo"})
	m.fou = append(m.fou, FOUPort{Port: 5555})
	r := mustApply(t, h, p)
	if len(r.Done) != 2 || len(r.Kept) != 3 {
		t.Errorf("%+v", r)
	}
	mustRelease(t, h, vip4)
	if len(m.addrs) != 3 || len(m.fou) != 1 {
		t.Errorf("addresses %v, ports %v", m.addrs, m.fou)
	}
	// A port with another meaning is a failure.
	p = mustPlan(t, h, Setup{FOUPorts: []FOUPort{{Port: 6666}}})
	m.fou = append(m.fou, FOUPort{Port: 6666, Protocol: 4})
	if _, err := h.Apply(t.Context(), p); !errors.Is(err, fs.ErrExist) || !errors.Is(err, syscall.Errno(errnoADDRINUSE)) {
		t.Error(err)
	}
}

func TestStale(t *testing.T) {
	m := newMachine(t)
	h := m.host(t)
	first := mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}})
	other := mustPlan(t, h, Setup{VIPs: []netip.Addr{second}})
	mustApply(t, h, first)
	if r, err := h.Apply(t.Context(), other); !errors.Is(err, ErrStale) || len(r.Done) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	mustRelease(t, h)
	p := mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}})
	m.set("all", announce, "1")
	before := m.picture()
	if r, err := h.Apply(t.Context(), p); !errors.Is(err, ErrStale) || !r.RolledBack {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Apply(ctx, mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}})); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A release that fails stops, stays silent, and can be repeated.
func TestReleaseFails(t *testing.T) {
	m := newMachine(t)
	before := m.picture()
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	m.onChange = func(string) error { return refuse(errnoPERM, "delete") }
	if _, err := m.host(t).Release(t.Context(), vip4); !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	if m.get("all", ignore) != "1" {
		t.Error("no longer silent with the address bound")
	}
	m.onChange = nil
	mustRelease(t, m.host(t), vip4)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestBoot(t *testing.T) {
	m := newMachine(t)
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	// After a boot the address and the settings are gone, whatever a record that was not deleted says.
	fresh := newMachine(t)
	for name, content := range m.files.Files() {
		if strings.HasPrefix(name, "run/") {
			fresh.files.Set(name, content)
		}
	}
	fresh.files.Set("proc/sys/kernel/random/boot_id", "boot 2\n")
	fresh.set("all", ignore, "1") // by somebody else
	if r := mustRelease(t, fresh.host(t)); len(r.Done) != 0 || fresh.get("all", ignore) != "1" {
		t.Errorf("%+v, arp_ignore %s", r, fresh.get("all", ignore))
	}
	// With files it was these that have done it again.
	m = newMachine(t)
	before := m.picture()
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Boot: []BootFormat{BootSysctl}})
	m.files.Set("proc/sys/kernel/random/boot_id", "boot 2\n")
	before.Files["proc/sys/kernel/random/boot_id"] = "boot 2\n"
	mustRelease(t, m.host(t), vip4)
	if diff := cmp.Diff(before, m.picture(), samePicture...); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestRemove(t *testing.T) {
	m := withTunl0(t)
	m.linkList[2].Flags |= LinkUp
	left := Address{Prefix: netip.MustParsePrefix("10.0.0.100/8"), Device: "lo"}
	m.addrs = append(m.addrs, left)
	m.fou = []FOUPort{{Port: 5555}}
	h := m.host(t)
	p, err := h.PlanRemove(t.Context(), Removal{
		Addresses: []Address{left, {Prefix: hostPrefix(second), Device: "lo"}},
		Tunnels:   []string{"tunl0", "gre1"}, FOUPorts: []FOUPort{{Port: 5555}, {Port: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"delete address 10.0.0.100/8 on lo", "delete fou port 5555 gue", "set down tunl0"}
	if diff := cmp.Diff(want, stepTexts(p.Steps, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mustApply(t, h, p)
	if len(m.addrs) != 2 || len(m.fou) != 0 || m.linkList[2].Up() {
		t.Errorf("%v", m.picture())
	}
	if _, err := h.PlanRemove(t.Context(), Removal{Tunnels: []string{"eth0"}}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

func TestPlanRefuses(t *testing.T) {
	bind := func(prefix, dev string) func(*machine) {
		return func(m *machine) {
			m.addrs = append(m.addrs, Address{Prefix: netip.MustParsePrefix(prefix), Device: dev})
		}
	}
	tests := map[string]struct {
		prepare func(*machine)
		setup   Setup
		want    error
		text    string
	}{
		"multicast":                {nil, Setup{VIPs: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}, fs.ErrInvalid, "unicast"},
		"zone":                     {nil, Setup{VIPs: []netip.Addr{netip.MustParseAddr("2001:db8::1%eth0")}}, fs.ErrInvalid, "zone"},
		"no address":               {nil, Setup{VIPs: []netip.Addr{{}}}, fs.ErrInvalid, "no address"},
		"twice":                    {nil, Setup{VIPs: []netip.Addr{vip4, netip.MustParseAddr("::ffff:10.0.0.100")}}, fs.ErrInvalid, "twice"},
		"network card":             {nil, Setup{VIPs: []netip.Addr{vip4}, Device: "eth0"}, fs.ErrInvalid, "speaks ARP"},
		"network card, IPv6":       {nil, Setup{VIPs: []netip.Addr{vip6}, Device: "eth0"}, fs.ErrInvalid, "speaks ARP"},
		"device name":              {nil, Setup{VIPs: []netip.Addr{vip4}, Device: "lo:0"}, fs.ErrInvalid, "colon"},
		"long device name":         {nil, Setup{VIPs: []netip.Addr{vip4}, Device: "0123456789abcdef"}, fs.ErrInvalid, "15 bytes"},
		"label of another device":  {nil, Setup{VIPs: []netip.Addr{vip4}, Label: "eth0:1"}, fs.ErrInvalid, "lo:"},
		"long label":               {nil, Setup{VIPs: []netip.Addr{vip4}, Label: "lo:0123456789abc"}, fs.ErrInvalid, "15"},
		"scope":                    {nil, Setup{VIPs: []netip.Addr{vip4}, Scope: ScopeLink}, fs.ErrInvalid, "scope"},
		"no devices":               {nil, Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices}, fs.ErrInvalid, "device"},
		"device missing":           {nil, Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth7"}}, fs.ErrNotExist, "eth7"},
		"suppression on lo":        {nil, Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"lo"}}, fs.ErrInvalid, "no effect"},
		"all outweighs":            {func(m *machine) { m.set("all", ignore, "3") }, Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth0"}}, fs.ErrInvalid, "net.ipv4.conf.all.arp_ignore = 3"},
		"all outweighs, announce":  {func(m *machine) { m.set("all", announce, "3") }, Setup{VIPs: []netip.Addr{vip4}, Suppress: SuppressDevices, Devices: []string{"eth0"}}, fs.ErrInvalid, "net.ipv4.conf.all.arp_announce = 3"},
		"bound with another mask":  {bind("10.0.0.100/24", "lo"), Setup{VIPs: []netip.Addr{vip4}}, fs.ErrExist, "10.0.0.100/24 on lo"},
		"bound elsewhere":          {bind("10.0.0.100/32", "eth0"), Setup{VIPs: []netip.Addr{vip4}}, fs.ErrExist, "10.0.0.100/32 on eth0"},
		"tunnel of another kind":   {func(m *machine) { *m = *withTunl0Of(m) }, Setup{Tunnels: []Tunnel{{Name: "tunl0", Kind: GRE}}}, fs.ErrExist, "tunl0"},
		"tunnel of other ends":     {func(m *machine) { *m = *withTunl0Of(m) }, Setup{Tunnels: []Tunnel{{Name: "tunl0", Local: vip4}}}, fs.ErrExist, "tunl0"},
		"tunnel end":               {nil, Setup{Tunnels: []Tunnel{{Name: "t", Local: vip6}}}, fs.ErrInvalid, "end"},
		"checksum":                 {nil, Setup{Tunnels: []Tunnel{{Name: "t", Checksum: true}}}, fs.ErrInvalid, "checksum"},
		"loose filter on all":      {func(m *machine) { m.set("all", "rp_filter", "2") }, Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{{Name: "t"}}}, fs.ErrInvalid, "rp_filter = 2"},
		"fou port in use":          {func(m *machine) { m.fou = []FOUPort{{Port: 5555, Protocol: 4}} }, Setup{FOUPorts: []FOUPort{{Port: 5555}}}, fs.ErrExist, "ipproto 4"},
		"fou port 0":               {nil, Setup{FOUPorts: []FOUPort{{}}}, fs.ErrInvalid, "port 0"},
		"tunnel address over IPv6": {nil, Setup{TunnelAddress: vip6}, fs.ErrInvalid, "IPv4"},
		"boot format":              {nil, Setup{Boot: []BootFormat{77}}, fs.ErrInvalid, "boot(77)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if tt.prepare != nil {
				tt.prepare(m)
			}
			_, err := m.host(t).Plan(t.Context(), tt.setup)
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("%v, want %v and %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestPlanWarns(t *testing.T) {
	m := newMachine(t)
	m.addrs = m.addrs[:1] // eth0 has no address
	p := mustPlan(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "eth0 will announce 10.0.0.100") {
		t.Errorf("%q", p.Warnings)
	}
	if p := mustPlan(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Scope: ScopeHost}); len(p.Warnings) != 0 {
		t.Errorf("scope host: %q", p.Warnings)
	}
}

func TestPlanString(t *testing.T) {
	m := newMachine(t).set("all", ignore, "1")
	p := mustPlan(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Boot: []BootFormat{BootIfupdown}})
	want := `DO           WHAT                                        NOW      WANTED   WHY
keep         net.ipv4.conf.all.arp_ignore                1        1        answer ARP requests only for addresses of the device asked on
set          net.ipv4.conf.all.arp_announce              0        2        name no virtual address as the sender of ARP requests
keep         lo                                          up       up       takes packets only when it is up
add address  10.0.0.100/32 on lo                         absent   present  takes packets for the virtual address
create file  /etc/network/interfaces.d/lvs-lo-10.0.0.100  absent   present  for the next boot
/etc/network/interfaces.d/lvs-lo-10.0.0.100:
	# Written by lvs, do not edit.
	auto lo
	iface lo inet static
		address 10.0.0.100/32
`
	squeeze := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(squeeze(want), squeeze(p.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mustApply(t, m.host(t), p)
	r, err := m.host(t).PlanRelease(t.Context(), vip4)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"delete address 10.0.0.100/32 on lo present absent as it was before", "remove file /etc/network/interfaces.d/lvs-lo-10.0.0.100 present absent", "set net.ipv4.conf.all.arp_announce 2 0"} {
		if !strings.Contains(squeeze(r.String()), line) {
			t.Errorf("%q is not in\n%v", line, r)
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":         `{`,
		"unknown step":     `{"steps":[{"op":"format disk"}]}`,
		"another setting":  `{"steps":[{"op":"set","setting":"kernel.core_pattern","old":"|/bin/evil","new":"1"}]}`,
		"another file":     `{"steps":[{"op":"write file","file":"etc/passwd","old":"x"}]}`,
		"file outside":     `{"steps":[{"op":"write file","file":"etc/sysctl.d/90-lvs-../../passwd.conf"}]}`,
		"whole subnet":     `{"steps":[{"op":"add address","device":"lo","address":{"prefix":"10.0.0.0/8","device":"lo"}}]}`,
		"loopback address": `{"steps":[{"op":"add address","device":"lo","address":{"prefix":"127.0.0.1/32","device":"lo"}}]}`,
		"no address":       `{"steps":[{"op":"add address","device":"lo"}]}`,
		"delete":           `{"steps":[{"op":"delete link","device":"eth0"}]}`,
		"no port":          `{"steps":[{"op":"add fou"}]}`,
		"device name":      `{"steps":[{"op":"set up","device":"../x"}]}`,
		"other tunnel":     `{"steps":[{"op":"add link","device":"a","tunnel":{"name":"b","kind":"ipip"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.files.Set("run/lvs/arp-1.json", text)
			if _, err := m.host(t).State(t.Context()); err == nil || !strings.Contains(err.Error(), "/run/lvs/arp-1.json") {
				t.Error(err)
			}
		})
	}
}

func FuzzJournal(f *testing.F) {
	for _, tt := range setups {
		m := newMachine(f)
		if tt.prepare != nil {
			tt.prepare(m)
		}
		mustSetup(f, m.host(f), tt.setup)
		f.Add([]byte(m.files.Files()["run/lvs/arp-1.json"]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := parseJournal(data)
		if err != nil {
			if len(j.Steps) != 0 {
				t.Fatal("both a value and an error")
			}
			return
		}
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseJournal(text)
		if err != nil || !back.equal(j) {
			t.Fatalf("%s came back as %+v, %v", text, back, err)
		}
		// Taking it back from any machine must not touch its own addresses or devices.
		m := newMachine(t)
		m.files.Set("run/lvs/arp-1.json", string(text))
		_, _ = m.host(t).Release(t.Context())
		if len(m.addrs) != 2 || len(m.linkList) != 2 {
			t.Fatalf("%s removed something: %v", text, m.picture())
		}
	})
}

// The files for the next boot, as people see them.
func TestBootFiles(t *testing.T) {
	m := newMachine(t)
	setup := Setup{
		VIPs: []netip.Addr{vip4, vip6}, Tunnels: []Tunnel{{Name: "lvstun0", Local: netip.MustParseAddr("10.0.0.3")}, {Name: "ip6tnl0", Kind: IP6TNL}},
		FOUPorts: []FOUPort{{Port: 5555}, {Port: 5556, IPv6: true}}, Boot: []BootFormat{BootSysctl, BootModules, BootNetworkd, BootIfupdown},
		Label: "lvstun0:1", Suppress: SuppressDevices, Devices: []string{"eth0"}, TunnelAddress: netip.MustParseAddr("192.0.2.1"),
	}
	m.set("default", "rp_filter", "1")
	p := mustPlan(t, m.host(t), setup)
	var got strings.Builder
	for _, s := range p.Steps {
		if s.Op == WriteFile {
			if !isBootFile(s.File) {
				t.Errorf("%s is not found again", s.File)
			}
			fmt.Fprintf(&got, "== %s for %s\n%s", s.File, join(s.For), s.New)
		}
	}
	want, err := os.ReadFile("testdata/boot.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(p.Warnings) != 2 || !strings.Contains(p.Warnings[0], "5555") || !strings.Contains(p.Warnings[1], "5556") {
		t.Errorf("warnings %q", p.Warnings)
	}
	p = mustPlan(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}, Device: "eth0", Suppress: SuppressNone, Boot: []BootFormat{BootNetworkd}})
	if len(p.Steps) != 2 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "eth0") {
		t.Errorf("%v", p)
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{LinkFlags(0).String(), "0"}, {(LinkUp | LinkNoARP).String(), "up|noarp"}, {(LinkUp | 0x40000).String(), "up|0x40000"},
		{AddressFlags(0).String(), "0"}, {(AddressNoDAD | 0x4000).String(), "nodad|0x4000"},
		{Scope(7).String(), "7"}, {ScopeHost.String(), "host"}, {TunnelKind(9).String(), "tunnel(9)"}, {IP6GRE.String(), "ip6gre"},
		{Op(99).String(), "op(99)"}, {Suppression(9).String(), "suppression(9)"}, {SuppressDevices.String(), "devices"},
		{ProblemKind(99).String(), "problem(99)"}, {Answered.String(), "answered"}, {BootFormat(9).String(), "boot(9)"},
		{FOUPort{Port: 1, IPv6: true, Protocol: 41}.String(), "port 1 ipproto 41 over IPv6"},
		{Address{Prefix: hostPrefix(vip4), Device: "lo", Label: "lo:0"}.String(), "10.0.0.100/32 on lo (lo:0)"},
		{TunnelKind(9).Fallback() + TunnelKind(9).Module() + SIT.Module() + SIT.Fallback(), "sitsit0"},
		{FOUPort{IPv6: true}.Module() + FOUPort{}.Module(), "fou6fou"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
	for k := IPIP; k <= IP6GRE; k++ {
		if back, err := ParseTunnelKind(k.String()); err != nil || back != k {
			t.Errorf("%v came back as %v, %v", k, back, err)
		}
	}
	for b := BootSysctl; b <= BootIfupdown; b++ {
		if back, err := ParseBootFormat(b.String()); err != nil || back != b {
			t.Errorf("%v came back as %v, %v", b, back, err)
		}
	}
	for o := SetSetting; o <= WriteFile; o++ {
		text, err := o.MarshalText()
		var back Op
		if err != nil || back.UnmarshalText(text) != nil || back != o || o.inverse().inverse() != o {
			t.Errorf("%v came back as %v", o, back)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]*Config{
		"both namespaces": {NetNS: "x", NetNSFile: os.Stdin},
		"journal":         {Journal: "/run/x"},
	} {
		if _, err := New(cfg); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := newMachine(t)
	h := m.host(t)
	h.journal = "var/lib/lvs/arp.json"
	mustSetup(t, h, Setup{VIPs: []netip.Addr{vip4}})
	if _, ok := m.files.Files()["var/lib/lvs/arp.json"]; !ok {
		t.Error("the journal is elsewhere")
	}
}

// All addresses go before anything that keeps the machine silent.
func TestReleaseOrder(t *testing.T) {
	m := newMachine(t)
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{vip4}})
	mustSetup(t, m.host(t), Setup{VIPs: []netip.Addr{second}, Device: "lvs0", Suppress: SuppressDevices, Devices: []string{"eth0"}})
	want := []string{"delete address 10.0.0.101/32 on lvs0", "delete address 10.0.0.100/32 on lo", "set down lvs0", "delete link lvs0 type dummy",
		"set net.ipv4.conf.eth0.arp_announce from 2 to 0", "set net.ipv4.conf.eth0.arp_ignore from 1 to 0",
		"set net.ipv4.conf.all.arp_announce from 2 to 0", "set net.ipv4.conf.all.arp_ignore from 1 to 0"}
	if diff := cmp.Diff(want, stepTexts(mustRelease(t, m.host(t)).Done, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A device that somebody has put in the place of ours stays, and a setting of a new device is noted as it was.
func TestNewDevice(t *testing.T) {
	m := newMachine(t).set("default", "rp_filter", "2")
	h := m.host(t)
	p := mustPlan(t, h, Setup{VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{gre1}})
	m.set("default", "rp_filter", "1")
	r := mustApply(t, h, p)
	i := slices.IndexFunc(r.Done, func(s Step) bool { return strings.Contains(s.String(), "gre1.rp_filter") })
	if i < 0 || r.Done[i].Old != "1" {
		t.Errorf("done %v", r.Done)
	}
	if err := m.deleteLink("gre1"); err != nil {
		t.Fatal(err)
	}
	other := Tunnel{Name: "gre1", Kind: GRE, Local: vip4}
	if err := m.addLink("gre1", &other); err != nil {
		t.Fatal(err)
	}
	if r := mustRelease(t, h, vip4); len(r.Left) == 0 || m.find("gre1") < 0 {
		t.Errorf("left %v, devices %v", r.Left, m.linkList)
	}
}
