package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// These tests change the parameters of a running kernel, each in a network namespace of its own. They need root and the
// module ip_vs.

func kernelTest(t *testing.T) {
	t.Helper()
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Skip("needs a real kernel and root: set LVS_KERNEL_TEST=1")
	}
}

// newNamespace returns a host in a fresh network namespace.
func newNamespace(t *testing.T) (*Host, *os.File) {
	t.Helper()
	var file *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			file, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	h, err := New(&Config{NetNSFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return h, file
}

// all returns all parameters of a directory below /proc/sys that can be read. It enters the namespace once, as there are
// hundreds of them.
func (h *Host) all(t *testing.T, dir string) map[Key]string {
	t.Helper()
	values := map[Key]string{}
	root := os.DirFS("/proc/sys")
	err := h.ns.Do(func() error {
		return fs.WalkDir(root, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(root, name)
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) { // write-only, or stable_secret that is not set
				return nil
			}
			values[Key(name)] = string(text)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(values) == 0 {
		t.Fatalf("%s has no parameters", dir)
	}
	return values
}

func TestIntegrationRegistry(t *testing.T) {
	kernelTest(t)
	h, _ := newNamespace(t)
	kernel, err := h.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := h.IPVSKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, known := Lookup(k); !known {
			t.Errorf("%v is not in the registry", k)
		}
	}
	compared := 0
	for _, tun := range Tunables() {
		if strings.Contains(string(tun.Key), "*") {
			continue
		}
		got, err := h.Get(tun.Key)
		ipvs := strings.HasPrefix(string(tun.Key), ipvsDir)
		switch {
		case tun.Gone != (Kernel{}) || kernel.Before(tun.Since) || tun.Key == IPVS("debug_level"):
			if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v on %v: %q, %v", tun.Key, kernel, got, err)
			}
			want := tun.Gone.String()
			if kernel.Before(tun.Since) {
				want = tun.Since.String()
			}
			if tun.Key != IPVS("debug_level") && !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%v does not name the release %s: %v", tun.Key, want, err)
			}
		case err != nil && ipvs:
			t.Errorf("%v: %v", tun.Key, err)
		case err != nil:
		case ipvs && tun.Default != "":
			compared++
			if !Same(tun.Key, got, tun.Default) {
				t.Errorf("%v is %q in a new namespace, the registry says %q", tun.Key, got, tun.Default)
			}
		}
	}
	if compared < 25 {
		t.Errorf("only %d defaults compared", compared)
	}
}

// candidates are values at the borders of what the registry allows, and beside them.
func candidates(tun Tunable) (good, bad []string) {
	if tun.Kind == CPUs {
		return []string{"0", "", "0,0"}, []string{"8191", "0-", "x"}
	}
	try := []string{"-21", "-20", "-1", "0", "1", "2", "3", "4", "19", "20", "64", "65", "2147483", "2147484", "2147483647",
		"2147483648", "-2147483648", "-2147483649", "18446744073709551615", "18446744073709551616", "x", "1.5", "", "1 2", "0 0", "3 50", "5 5", "3 0", "1 -5", "0-1"}
	for _, v := range try {
		if tun.check(tun.Key, v) == nil {
			good = append(good, v)
		} else {
			bad = append(bad, v)
		}
	}
	return good, bad
}

// Each parameter of IPVS takes what the registry allows and gives it back; the rest is refused before the write.
func TestIntegrationWriteEveryTunable(t *testing.T) {
	kernelTest(t)
	h, _ := newNamespace(t)
	written := 0
	for _, tun := range ipvsTunables() {
		before, err := h.Get(tun.Key)
		if err != nil {
			continue // the test before says which may be absent
		}
		good, bad := candidates(tun)
		if len(good) < 2 || len(bad) < 2 {
			t.Errorf("%v: %d good and %d bad values", tun.Key, len(good), len(bad))
		}
		for _, v := range good {
			p := mustPlan(t, h, []Setting{{Key: tun.Key, Value: v}})
			if _, err := h.Apply(t.Context(), p, nil); err != nil {
				t.Errorf("%v = %q: %v", tun.Key, v, err)
				continue
			}
			if drift := h.Verify(p); len(drift) != 0 {
				t.Errorf("%v = %q: %v", tun.Key, v, drift)
			}
			written++
		}
		for _, v := range bad {
			var refused *ValueError
			if _, err := h.Plan([]Setting{{Key: tun.Key, Value: v}}); !errors.As(err, &refused) || refused.Reason == "" {
				t.Errorf("%v = %q: %v", tun.Key, v, err)
			}
		}
		if tun.Kind == Defence || strings.HasSuffix(string(tun.Key), "amemthresh") {
			before = tun.Default
		}
		p := mustPlan(t, h, []Setting{{Key: tun.Key, Value: before}})
		if _, err := h.Apply(t.Context(), p, nil); err != nil {
			t.Errorf("%v back to %q: %v", tun.Key, before, err)
		}
	}
	if written < 90 {
		t.Errorf("only %d values written", written)
	}
	if _, err := h.IPVS(); err != nil {
		t.Error(err)
	}
}

// A namespace of its own has values of its own, and the caller's thread stays where it is.
func TestIntegrationNamespaces(t *testing.T) {
	kernelTest(t)
	h, _ := newNamespace(t)
	here, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := here.Get(IPVS("am_droprate"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.am_droprate", "77")), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(IPVS("am_droprate")); err != nil || got != "77" {
		t.Errorf("there: %q, %v", got, err)
	}
	if got, err := here.Get(IPVS("am_droprate")); err != nil || got != before {
		t.Errorf("here: %q, %v, want %q", got, err, before)
	}
	if _, err := h.Get("net/core/netdev_budget"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "initial network namespace") {
		t.Errorf("netdev_budget: %v", err)
	}
}

// Each profile is applied and undone, and leaves the namespace as it was to the last parameter.
func TestIntegrationProfilesComeBack(t *testing.T) {
	kernelTest(t)
	for _, profile := range Profiles() {
		t.Run(profile.String(), func(t *testing.T) {
			h, _ := newNamespace(t)
			journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
			o := Options{Devices: []string{"lo"}, IPv6: true, Tracked: true, MemoryPages: 1 << 18, Always: true, Tunnel: "lo"}
			before := h.all(t, "net/ipv4")
			maps.Copy(before, h.all(t, "net/ipv6/conf"))
			maps.Copy(before, h.all(t, "net/core"))
			p := mustPlan(t, h, profile.Settings(o))
			report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal})
			if err != nil {
				t.Fatalf("%v\n%v", err, p)
			}
			if len(report.Written) == 0 {
				t.Errorf("nothing written:\n%v", p)
			}
			if drift := h.Verify(p); len(drift) != 0 {
				t.Errorf("drift: %v", drift)
			}
			if again := mustPlan(t, h, profile.Settings(o)); !again.Empty() {
				t.Errorf("not idempotent:\n%v", again)
			}
			results, err := h.Undo(t.Context(), journal)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.Outcome == RestoreForeign || r.Outcome == RestoreGone {
					t.Errorf("%s: %v", r.Name, r.Outcome)
				}
			}
			after := h.all(t, "net/ipv4")
			maps.Copy(after, h.all(t, "net/ipv6/conf"))
			maps.Copy(after, h.all(t, "net/core"))
			for _, m := range []map[Key]string{before, after} {
				maps.DeleteFunc(m, func(k Key, _ string) bool { return strings.HasSuffix(string(k), "/tcp_fastopen_key") })
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("after undo (-want +got):\n%s", diff)
			}
		})
	}
}

// Forwarding of single interfaces survives switching all of them, also on the real kernel.
func TestIntegrationForwarding(t *testing.T) {
	kernelTest(t)
	for _, start := range []string{"0", "1"} {
		h, _ := newNamespace(t)
		if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.ip_forward", start)), nil); err != nil {
			t.Fatal(err)
		}
		other := map[string]string{"0": "1", "1": "0"}[start]
		if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.conf.lo.forwarding", other, "net.ipv4.conf.all.accept_redirects", start)), nil); err != nil {
			t.Fatal(err)
		}
		before := h.all(t, "net/ipv4/conf")
		journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
		p := mustPlan(t, h, settingsOf("net.ipv4.ip_forward", other, "net.ipv4.conf.default.forwarding", start))
		if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal}); err != nil {
			t.Fatal(err)
		}
		if drift := h.Verify(p); len(drift) != 0 {
			t.Errorf("from %s: drift %v\n%v", start, drift, p)
		}
		if _, err := h.Undo(t.Context(), journal); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, h.all(t, "net/ipv4/conf")); diff != "" {
			t.Errorf("from %s, after undo (-want +got):\n%s\n%v", start, diff, p)
		}
	}
}

// The kernel stores the first fields of a vector when it refuses a later one; roll-back puts all of them back.
func TestIntegrationPartialWrite(t *testing.T) {
	kernelTest(t)
	h, _ := newNamespace(t)
	const key = Key("net/ipv4/tcp_rmem")
	before, err := h.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Changes: []Change{{Key: key, Old: before, New: "8192 9000 1"}}}
	report, err := h.Apply(t.Context(), p, nil)
	if !errors.Is(err, syscall.EINVAL) || !report.RolledBack || len(report.NotRestored) != 0 {
		t.Errorf("Apply: %+v, %v", report, err)
	}
	if after, err := h.Get(key); err != nil || after != before {
		t.Errorf("tcp_rmem is %q, %v, was %q", after, err, before)
	}
}

// suicide kills its process at a write after so many.
type suicide struct {
	hostfs.WriteFS
	after int
}

func (s *suicide) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if s.after == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	s.after--
	return s.WriteFS.WriteFile(name, data, perm)
}

func (s *suicide) ReplaceFile(name string, data []byte, perm fs.FileMode) error {
	return hostfs.ReplaceFile(s.WriteFS, name, data, perm)
}

var killList = []string{"net.ipv4.ip_forward", "1", "net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.secure_tcp", "3", "net.ipv4.vs.conntrack", "1"}

// A process killed in the middle of Apply leaves a journal from which another one restores everything.
func TestIntegrationKilled(t *testing.T) {
	kernelTest(t)
	if journal := os.Getenv("LVS_SYSCTL_TEST_JOURNAL"); journal != "" { // the process to be killed
		var after int
		fmt.Sscan(os.Getenv("LVS_SYSCTL_TEST_AFTER"), &after)
		h, err := New(&Config{Root: &suicide{hostfs.Host(hostfs.NetNS{Name: "/proc/self/fd/3"}), after}})
		if err != nil {
			t.Fatal(err)
		}
		h.Apply(context.Background(), mustPlan(t, h, settingsOf(killList...)), &ApplyOptions{Journal: journal})
		t.Fatal("still alive")
	}
	for after := range 4 {
		h, ns := newNamespace(t)
		before := h.all(t, "net/ipv4")
		journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestIntegrationKilled$")
		cmd.Env = append(os.Environ(), "LVS_SYSCTL_TEST_JOURNAL="+journal, fmt.Sprintf("LVS_SYSCTL_TEST_AFTER=%d", after))
		cmd.ExtraFiles = []*os.File{ns}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the process was not killed: %v\n%s", err, out)
		}
		if after > 0 && maps.Equal(before, h.all(t, "net/ipv4")) {
			t.Errorf("killed after %d writes: nothing was changed", after)
		}
		results, err := h.Undo(t.Context(), journal)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(results, func(r Restored) bool { return r.Outcome == RestoreDone }) == (after > 0) {
			t.Errorf("killed after %d writes: %+v", after, results)
		}
		if diff := cmp.Diff(before, h.all(t, "net/ipv4")); diff != "" {
			t.Errorf("killed after %d writes, after undo (-want +got):\n%s", after, diff)
		}
	}
}

func TestIntegrationConnTab(t *testing.T) {
	kernelTest(t)
	h, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := h.ConnTab(0)
	if err != nil {
		t.Fatal(err)
	}
	if !tab.Loaded || tab.BuiltIn || tab.Bits < MinConnTabBits || tab.Bits > MaxConnTabBits {
		t.Errorf("table %+v", tab)
	}
	kernel, err := h.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := h.MemoryPages()
	if err != nil {
		t.Fatal(err)
	}
	if want := os.Getenv("LVS_CONN_TAB_BITS"); want != "" { // the value that the module was loaded with
		n, err := parseBits(want)
		if err != nil {
			t.Fatal(err)
		}
		if p := PredictConnTabBits(n, kernel, pages); p.Bits != tab.Bits {
			t.Errorf("%d with %d pages on %v became %d, predicted %+v", n, pages, kernel, tab.Bits, p)
		}
	}
	if err := os.WriteFile("/sys/module/ip_vs/parameters/conn_tab_bits", []byte("16\n"), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("writing the parameter: %v", err)
	}
}
