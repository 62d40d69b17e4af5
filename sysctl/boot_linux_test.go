package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The files for the next boot are read here by the programs that they are for. That needs a machine in which IPVS is not
// loaded, with kmod(8), sysctl(8) and systemd-sysctl(8).
func bootTest(t *testing.T) {
	t.Helper()
	kernelTest(t)
	if os.Getenv("LVS_BOOT") != "1" {
		t.Skip("needs a machine with the programs of a boot: set LVS_BOOT=1")
	}
}

// kmod runs a program of kmod(8) and returns its output.
func kmod(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("kmod")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Args = append([]string{name}, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// write makes files below / until the test ends.
func write(t testing.TB, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := "/" + name
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s is there: %v", path, err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
	}
}

// What modprobe finds in modprobe.d is what this package finds.
func TestIntegrationBootOptions(t *testing.T) {
	bootTest(t)
	h, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, map[string]string{
		"etc/modprobe.d/a.conf":     "# options ip_vs conn_tab_bits=9\noptions ip-vs conn_tab_bits=10\n  options   ip_vs\tconn-tab-bits=11  other=1\n",
		"etc/modprobe.d/z.conf":     "options ip_vs \\\n  conn_tab_bits=\"18\"\noptions ip_vs_sh conn_tab_bits=8\nblacklist ip_vs\n",
		"etc/modprobe.d/q.disabled": "options ip_vs conn_tab_bits=12\n",
		"run/modprobe.d/a.conf":     "options ip_vs conn_tab_bits=13\n",
		"run/modprobe.d/m.conf":     "options ip_vs conn_tab_bits=14\n",
		"usr/lib/modprobe.d/b.conf": "options ip_vs conn_tab_bits=15",
		"usr/lib/modprobe.d/m.conf": "options ip_vs conn_tab_bits=16\n",
	})
	var want []string
	line := regexp.MustCompile(`^options ip_vs (.*)$`)
	word := regexp.MustCompile(`conn[-_]tab[-_]bits="?(\d+)"?`)
	for text := range strings.Lines(kmod(t, "modprobe", "-c")) {
		if m := line.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			for _, value := range word.FindAllStringSubmatch(m[1], -1) {
				want = append(want, value[1])
			}
		}
	}
	options, err := h.moduleOptions("ip_vs", "conn_tab_bits")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range options {
		got = append(got, o.Value)
	}
	if !slices.Equal(got, want) || len(want) != 5 {
		t.Errorf("modprobe finds %q, this package %v", want, options)
	}
}

// A size that is planned arrives in the kernel by way of modprobe, as predicted.
func TestIntegrationBootConnTab(t *testing.T) {
	bootTest(t)
	h, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	kernel, errKernel := h.Kernel()
	pages, errPages := h.MemoryPages()
	if err := errors.Join(errKernel, errPages); err != nil {
		t.Fatal(err)
	}
	kmod(t, "depmod")
	journal := strings.TrimPrefix(filepath.Join(t.TempDir(), "journal.json"), "/")
	for _, bits := range []int{16, 20, 9} {
		tab, err := h.ConnTab(0)
		if err != nil || tab.Loaded || tab.Bits != 0 {
			t.Fatalf("before loading: %+v, %v", tab, err)
		}
		plan, err := tab.Plan(bits, kernel, pages, "a test")
		if err != nil {
			t.Fatal(err)
		}
		var p Plan
		if err := h.AddFile(&p, plan.File, plan.Content, "for the next load"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journal}); err != nil {
			t.Fatal(err)
		}
		if tab, err = h.ConnTab(0); err != nil {
			t.Fatal(err)
		}
		if next, err := tab.Next(); err != nil || next != bits {
			t.Errorf("the next load is expected to have %d, %v, want %d", next, err, bits)
		}
		kmod(t, "modprobe", "ip_vs")
		head, err := os.ReadFile("/proc/net/ip_vs")
		if err != nil {
			t.Fatal(err)
		}
		var size uint32
		if _, after, ok := strings.Cut(string(head), "(size="); !ok {
			t.Errorf("/proc/net/ip_vs begins %q", head)
		} else if _, err := fmt.Sscan(strings.SplitN(after, ")", 2)[0], &size); err != nil {
			t.Error(err)
		}
		tab, err = h.ConnTab(size)
		t.Logf("%v with %d pages makes %d of %d bits", kernel, pages, tab.Bits, bits)
		if err != nil || !tab.Loaded || tab.Bits != plan.Predicted.Bits || size != 1<<tab.Bits || bits < 18 && tab.Bits != bits {
			t.Errorf("%d bits wanted: table %+v of %d, predicted %+v, %v", bits, tab, size, plan.Predicted, err)
		}
		if again, err := tab.Plan(bits, kernel, pages, "a test"); err != nil || !again.Done {
			t.Errorf("a second plan does %+v, %v", again, err)
		}
		kmod(t, "modprobe", "-r", "ip_vs")
		if _, err := h.Undo(t.Context(), journal); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/" + plan.File); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is left: %v", err)
		}
	}
}

// in runs a program in a network namespace.
func in(t testing.TB, ns *os.File, name string, args ...string) (string, error) {
	t.Helper()
	var out []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			out, err = exec.Command(name, args...).CombinedOutput()
		}
	}()
	<-done
	return string(out), err
}

// readers are what reads the lists: sysctl(8), which says so with status 1 if an optional parameter is missing, as observed
// with procps 4.0.2, and systemd-sysctl(8), which does not.
func readers(file string) map[string][]string {
	return map[string][]string{"sysctl": {"-p", file}, "systemd-sysctl": {file}}
}

// missed returns what a reader says besides that optional parameters are missing.
func missed(out string, list []Setting) string {
	var rest strings.Builder
	for line := range strings.Lines(out) {
		_, complaint, ok := strings.Cut(line, "sysctl: cannot stat /proc/sys/")
		key, _, _ := strings.Cut(complaint, ":")
		if ok && !slices.ContainsFunc(list, func(s Setting) bool { return s.Optional && string(s.Key) == key }) {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

// What the readers make of the list of each role is what the plan wants.
func TestIntegrationBootLists(t *testing.T) {
	bootTest(t)
	kmod(t, "depmod")
	kmod(t, "modprobe", "ip_vs")
	for _, profile := range Profiles() {
		o := Options{Devices: []string{"lo"}, IPv6: true, MemoryPages: 1 << 18, Always: true, Tunnel: "lo"}
		settings := profile.Settings(o)
		content, err := FormatList("a test", settings)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "90-lvs.conf")
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		for reader, args := range readers(file) {
			h, ns := newNamespace(t)
			p := mustPlan(t, h, settings)
			out, err := in(t, ns, reader, args...)
			if complaint := missed(out, settings); complaint != "" || err != nil && !strings.Contains(out, "cannot stat") {
				t.Errorf("%v, %s: %v: %s\n%s", profile, reader, err, out, content)
			}
			if drift := h.Verify(p); p.Empty() || len(drift) != 0 {
				t.Errorf("%v, %s: drift %v after\n%s", profile, reader, drift, content)
			}
		}
	}
}

// What the readers make of a list is what this package reads in it.
func TestIntegrationBootForms(t *testing.T) {
	bootTest(t)
	for reader, args := range readers("list.conf") {
		t.Run(reader, func(t *testing.T) {
			t.Chdir(t.TempDir())
			bootForms(t, reader, args)
		})
	}
}

func bootForms(t *testing.T, reader string, args []string) {
	h, ns := newNamespace(t)
	if out, err := in(t, ns, "ip", "link", "add", "eth0.100", "type", "dummy"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const list = "# comment\n ; another\n\nnet.ipv4.tcp_fin_timeout=31\n  net/ipv4/tcp_syn_retries   =  4  \n" +
		"net/ipv4/conf/eth0.100/rp_filter = 2\nnet.ipv4.conf.eth0/100.arp_ignore = 1\n-net.ipv4.no_such_parameter = 1\n" +
		"net.ipv4.tcp_rmem = 4096\t131072  6291456\n-net.ipv4.tcp_retries2 = 9\nnet.ipv4.conf.*.arp_notify = 1\n"
	file, err := filepath.Abs(args[len(args)-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := in(t, ns, reader, append(args[:len(args)-1:len(args)-1], file)...)
	if complaint := missed(out, []Setting{{Key: "net/ipv4/no_such_parameter", Optional: true}}); complaint != "" || err != nil && !strings.Contains(out, "cannot stat") {
		t.Errorf("%v: %s", err, out)
	}
	compared := 0
	for line, err := range ParseList(strings.NewReader(list)) {
		if err != nil || line.Err != nil {
			t.Fatal(line, err)
		}
		keys, err := h.Expand(line.Key)
		if err != nil || len(keys) == 0 {
			t.Errorf("%v: %v, %v", line.Key, keys, err)
		}
		for _, key := range keys {
			got, err := h.Get(key)
			if line.IgnoreError && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if compared++; err != nil || !Same(key, got, line.Value) {
				t.Errorf("%v is %q, %v, read as %q", key, got, err, line.Value)
			}
		}
	}
	if compared < 10 {
		t.Errorf("%d parameters compared", compared)
	}
}
