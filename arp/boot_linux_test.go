package arp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/nstest"
)

// The files for the next boot are carried out here by the programs that they are for, and what comes of it is compared
// with the plan. That needs a machine in which no module is loaded, with ip(8), kmod(8), systemd-modules-load(8),
// systemd-sysctl(8), and systemd-networkd(8) or ifup(8): LVS_BOOT is a list of what is there of these two.
func bootTest(t *testing.T, program string) {
	t.Helper()
	nstest.RequireRoot(t)
	if !slices.Contains(strings.Split(os.Getenv("LVS_BOOT"), ","), program) {
		t.Skip("needs a machine with the programs of a boot: set LVS_BOOT=" + program)
	}
}

// command runs a program to its end.
func command(t testing.TB, argv ...string) {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	if argv[0] == "kmod" { // has the names of several programs
		argv = argv[1:]
	}
	if out, err := (&exec.Cmd{Path: path, Args: argv}).CombinedOutput(); err != nil {
		t.Errorf("%q: %v: %s", argv, err, out)
	}
}

// boots writes the files of a plan and does what a boot does with them, start at last. It returns a function that removes
// the files.
func boots(t *testing.T, h *Host, plan Plan, start func(), cannot func(Step) bool) {
	t.Helper()
	var files []string
	for _, s := range plan.Steps {
		if s.Op != WriteFile {
			continue
		}
		path := "/" + s.File
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(s.New), 0o644)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
		files = append(files, path)
	}
	if len(files) < 2 {
		t.Errorf("files %v", files)
	}
	command(t, "kmod", "depmod")
	command(t, "systemd-modules-load")
	command(t, "systemd-sysctl")
	start()
	var drift []Step
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if drift, err = h.Verify(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if drift = slices.DeleteFunc(drift, cannot); len(drift) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("after the boot: %v\nof %v", drift, plan)
			break
		}
	}
	st, err := h.Status(t.Context())
	if err != nil || len(st.Problems) != 0 {
		t.Errorf("status %v, %v", st, err)
	}
}

var bootSetups = map[string]Setup{
	"DR":            {VIPs: []netip.Addr{vip4, vip6}},
	"DR on a dummy": {VIPs: []netip.Addr{vip4, vip6, second}, Device: "lvs0", Label: "lvs0:1"},
	"DR, scope":     {VIPs: []netip.Addr{vip4}, Scope: ScopeHost, Label: "lo:0"},
	"TUN": {VIPs: []netip.Addr{vip4}, Tunnels: []Tunnel{{Name: "lvstun0", Local: ripAddr}, {Name: "tunl0"}},
		FOUPorts: []FOUPort{{Port: 5555}, {Port: 5557, Protocol: 4}}},
	"all kinds of tunnels": {VIPs: []netip.Addr{vip4}, Device: "lo", Tunnels: []Tunnel{
		{Name: "lvstun0", Local: ripAddr}, {Name: "lvssit0", Kind: SIT, Local: ripAddr}, {Name: "lvsip6", Kind: IP6TNL, Local: netip.MustParseAddr("2001:db8::3")},
		{Name: "lvsgre0", Kind: GRE, Local: ripAddr, Remote: clientAddr},
		{Name: "lvsgre6", Kind: IP6GRE, Local: netip.MustParseAddr("2001:db8::3"), Remote: netip.MustParseAddr("2001:db8::1")}}},
}

// bootEach does a boot for each setup, with the formats, and takes the result away.
func bootEach(t *testing.T, formats []BootFormat, start func(*testing.T), cannot func(Step) bool) {
	t.Helper()
	h, err := New(&Config{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for name, setup := range bootSetups {
		t.Run(name, func(t *testing.T) {
			setup.Boot = formats
			before := state(t, h)
			plan := mustPlan(t, h, setup)
			boots(t, h, plan, func() { start(t) }, cannot)
			// The journal is empty: what the boot made is recorded by applying the plan, which keeps all of it.
			again := mustPlan(t, h, setup)
			for _, s := range again.Steps {
				if !s.Keep && !cannot(s) {
					t.Errorf("a second plan does %v", s)
				}
			}
			undo(t, h, before)
		})
	}
}

// undo takes away what a boot has made: addresses, devices, ports and settings.
func undo(t testing.TB, h *Host, before State) {
	t.Helper()
	k, err := h.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	now := state(t, h)
	for _, a := range now.Addresses {
		if !slices.ContainsFunc(before.Addresses, func(b Address) bool { return a.Prefix == b.Prefix && a.Device == b.Device }) {
			if err := k.deleteAddress(a); err != nil {
				t.Errorf("%v: %v", a, err)
			}
		}
	}
	for _, l := range now.Links {
		if !slices.ContainsFunc(before.Links, func(b Link) bool { return b.Name == l.Name }) && (l.Tunnel == nil || l.Tunnel.Kind.Fallback() != l.Name) {
			if err := k.deleteLink(l.Name); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Logf("%v: %v", l, err)
			}
		}
	}
	ports, err := h.FOUPorts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		if err := k.deleteFOU(port); err != nil {
			t.Errorf("%v: %v", port, err)
		}
	}
	for _, name := range parameters {
		for _, dev := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/"+name, []byte("0\n"), 0); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestIntegrationBootNetworkd(t *testing.T) {
	bootTest(t, "networkd")
	// Its user; and no udev, whose absence it takes for a container's if sys cannot be written.
	f, err := os.OpenFile("/etc/passwd", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	const user, nogroup = 998, 65534
	_, err = fmt.Fprintf(f, "systemd-network:x:%d:%d::/:/usr/sbin/nologin\n", user, nogroup)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "/links", "/leases", "/lldp"} {
		dir = "/run/systemd/netif" + dir
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, user, nogroup)); err != nil {
			t.Fatal(err)
		}
	}
	bootEach(t, []BootFormat{BootSysctl, BootModules, BootNetworkd}, func(t *testing.T) {
		if err := unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		path, err := exec.LookPath("systemd-networkd")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd := exec.Command(path)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=notice", "SYSTEMD_LOG_TARGET=console")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("systemd-networkd says:\n%s", out.String())
			}
			_ = unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "")
		})
	}, func(s Step) bool { // that of systemd 252 gets ERANGE from the kernel
		return s.Op == AddFOU && s.FOU.Protocol == 0
	})
}

func TestIntegrationBootIfupdown(t *testing.T) {
	bootTest(t, "ifupdown")
	const interfaces = "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n"
	if err := errors.Join(os.MkdirAll("/etc/network/interfaces.d", 0o755), os.MkdirAll("/run/network", 0o755),
		os.WriteFile("/etc/network/interfaces", []byte(interfaces), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"if-pre-up.d", "if-up.d", "if-down.d", "if-post-down.d"} {
		if err := os.MkdirAll("/etc/network/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bootEach(t, []BootFormat{BootSysctl, BootModules, BootIfupdown}, func(t *testing.T) {
		command(t, "ifup", "-a")
		t.Cleanup(func() {
			if err := errors.Join(os.RemoveAll("/run/network"), os.Mkdir("/run/network", 0o755)); err != nil {
				t.Error(err) // what ifup remembers
			}
		})
	}, func(Step) bool { return false })
}
