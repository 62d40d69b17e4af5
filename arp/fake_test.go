package arp

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/sysctl"
)

// machine is a host in memory: its files, and its network configuration as a kernel.
type machine struct {
	files *hostfs.Mem

	linkList []Link
	addrs    []Address
	fou      []FOUPort
	noFOU    bool

	// onChange, if set, is called before each change with what it is; its error is the answer.
	onChange func(what string) error
	changes  []string
	ignored  int
}

// newMachine has lo and eth0 with an address, and the defaults of a fresh namespace.
func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{files: hostfs.NewMem(map[string]string{"proc/sys/kernel/random/boot_id": "boot 1\n"})}
	for _, dev := range []string{"all", "default", "lo", "eth0"} {
		m.settings(dev)
	}
	m.linkList = []Link{
		{Index: 1, Name: "lo", Type: 772, Flags: LinkUp | LinkLoopback | LinkLowerUp},
		{Index: 2, Name: "eth0", Type: 1, Flags: LinkUp | LinkBroadcast | LinkLowerUp, HardwareAddr: mac},
	}
	m.addrs = []Address{
		{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Device: "lo", Label: "lo", Scope: ScopeHost, Flags: AddressPermanent},
		{Prefix: netip.MustParsePrefix("10.0.0.3/24"), Device: "eth0", Label: "eth0", Flags: AddressPermanent},
	}
	return m
}

func (m *machine) settings(dev string) {
	for _, name := range parameters {
		value := "0\n"
		if old, ok := m.files.Files()["proc/sys/"+string(sysctl.IPv4("default", name))]; ok {
			value = old
		}
		m.files.Set("proc/sys/"+string(sysctl.IPv4(dev, name)), value)
	}
}

func (m *machine) set(dev, name, value string) *machine {
	m.files.Set("proc/sys/"+string(sysctl.IPv4(dev, name)), value+"\n")
	return m
}

func (m *machine) get(dev, name string) string {
	return strings.TrimSpace(m.files.Files()["proc/sys/"+string(sysctl.IPv4(dev, name))])
}

// host returns the Host of the machine; each one is another process.
func (m *machine) host(t testing.TB) *Host {
	t.Helper()
	settings, err := sysctl.New(&sysctl.Config{Root: m.files})
	if err != nil {
		t.Fatal(err)
	}
	return &Host{
		root: m.files, settings: settings,
		connect: func(ctx context.Context) (kernel, error) { return m, ctx.Err() },
	}
}

// snapshot is a copy of a machine.
func (m *machine) snapshot() *machine {
	c := &machine{files: hostfs.NewMem(m.files.Files()), noFOU: m.noFOU}
	c.linkList, c.addrs, c.fou = slices.Clone(m.linkList), slices.Clone(m.addrs), slices.Clone(m.fou)
	return c
}

// picture is what a user can see of a machine.
type picture struct {
	Files map[string]string
	Links []Link
	Addrs []Address
	FOU   []FOUPort
}

func (m *machine) picture() picture {
	files := m.files.Files()
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasPrefix(name, "run/") })
	return picture{files, slices.Clone(m.linkList), slices.Clone(m.addrs), slices.Clone(m.fou)}
}

func refuse(errno syscall.Errno, op string) error { return explain(op, "", netip.Addr{}, errno) }

func (m *machine) change(what string) error {
	if m.onChange != nil {
		if err := m.onChange(what); err != nil {
			return err
		}
	}
	m.changes = append(m.changes, what)
	return nil
}

func (m *machine) identity() (string, error)     { return "1", nil }
func (m *machine) links() ([]Link, error)        { return slices.Clone(m.linkList), nil }
func (m *machine) addresses() ([]Address, error) { return slices.Clone(m.addrs), nil }
func (m *machine) proxies() ([]Proxy, error)     { return nil, nil }
func (m *machine) close() error                  { return nil }

func (m *machine) fouPorts() ([]FOUPort, error) { return slices.Clone(m.fou), nil }

// local has a route for each address, and for the whole network of those on lo, as the kernel's table has.
func (m *machine) local() ([]LocalRoute, error) {
	var all []LocalRoute
	for _, a := range m.addrs {
		p := hostPrefix(a.Addr())
		if a.Device == "lo" && a.Addr().Is4() {
			p = a.Prefix.Masked()
		}
		all = append(all, LocalRoute{p, a.Device})
	}
	return all, nil
}

func (m *machine) find(name string) int {
	return slices.IndexFunc(m.linkList, func(l Link) bool { return l.Name == name })
}

func (m *machine) addLink(name string, t *Tunnel) error {
	if err := m.change("add link " + name); err != nil {
		return err
	}
	if m.find(name) >= 0 {
		return refuse(errnoEXIST, "add link")
	}
	l := Link{Index: len(m.linkList) + 10, Name: name, Kind: kindDummy, Type: 1, Flags: LinkBroadcast | LinkNoARP, HardwareAddr: net.HardwareAddr{6, 5, 4, 3, 2, 1}}
	if t != nil {
		c := *t
		l.Kind, l.Type, l.Flags, l.Tunnel, l.HardwareAddr = t.Kind.String(), 768, LinkNoARP, &c, nil
	}
	m.linkList = append(m.linkList, l)
	m.settings(name)
	return nil
}

func (m *machine) deleteLink(name string) error {
	if err := m.change("delete link " + name); err != nil {
		return err
	}
	i := m.find(name)
	if i < 0 {
		return refuse(errnoNODEV, "delete link")
	}
	if t := m.linkList[i].Tunnel; t != nil && t.Kind.Fallback() == name {
		m.ignored++ // as the kernel does
		return nil
	}
	m.linkList = slices.Delete(m.linkList, i, i+1)
	m.addrs = slices.DeleteFunc(m.addrs, func(a Address) bool { return a.Device == name })
	for _, p := range parameters {
		if err := m.files.Remove("proc/sys/" + string(sysctl.IPv4(name, p))); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) setLink(name string, up bool) error {
	if err := m.change("set link " + name); err != nil {
		return err
	}
	i := m.find(name)
	if i < 0 {
		return refuse(errnoNODEV, "set link")
	}
	if m.linkList[i].Flags &^= LinkUp; up {
		m.linkList[i].Flags |= LinkUp
	}
	return nil
}

func (m *machine) addAddress(a Address) error {
	if err := m.change("add address " + a.String()); err != nil {
		return err
	}
	if m.find(a.Device) < 0 {
		return refuse(errnoNODEV, "add address")
	}
	if slices.ContainsFunc(m.addrs, func(b Address) bool { return a.Prefix == b.Prefix && a.Device == b.Device }) {
		return refuse(errnoEXIST, "add address")
	}
	a.Flags |= AddressPermanent
	m.addrs = append(m.addrs, a)
	return nil
}

func (m *machine) deleteAddress(a Address) error {
	if err := m.change("delete address " + a.String()); err != nil {
		return err
	}
	n := len(m.addrs)
	m.addrs = slices.DeleteFunc(m.addrs, func(b Address) bool { return a.Prefix == b.Prefix && a.Device == b.Device })
	if len(m.addrs) == n {
		return refuse(errnoADDRNOTAVAIL, "delete address")
	}
	return nil
}

func (m *machine) addFOU(p FOUPort) error {
	if err := m.change("add fou " + p.String()); err != nil {
		return err
	}
	if m.noFOU {
		return refuse(errnoOPNOTSUPP, "add fou")
	}
	if slices.ContainsFunc(m.fou, func(b FOUPort) bool { return b.Port == p.Port && b.IPv6 == p.IPv6 }) {
		return refuse(errnoADDRINUSE, "add fou")
	}
	m.fou = append(m.fou, p)
	return nil
}

func (m *machine) deleteFOU(p FOUPort) error {
	if err := m.change("delete fou " + p.String()); err != nil {
		return err
	}
	// Linux 6.12 was observed to close a port whatever kind is named.
	i := slices.IndexFunc(m.fou, func(b FOUPort) bool { return b.Port == p.Port && b.IPv6 == p.IPv6 })
	if i < 0 {
		return refuse(errnoNOENT, "delete fou")
	}
	m.fou = slices.Delete(m.fou, i, i+1)
	return nil
}

func mustPlan(t testing.TB, h *Host, s Setup) Plan {
	t.Helper()
	p, err := h.Plan(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustApply(t testing.TB, h *Host, p Plan) Report {
	t.Helper()
	r, err := h.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustSetup(t testing.TB, h *Host, s Setup) Report {
	t.Helper()
	return mustApply(t, h, mustPlan(t, h, s))
}

func mustRelease(t testing.TB, h *Host, vips ...netip.Addr) Report {
	t.Helper()
	r, err := h.Release(t.Context(), vips...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
