package hostfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestNetName(t *testing.T) {
	tests := map[string]struct {
		want string
		net  bool
	}{
		"proc/net":                        {"proc/thread-self/net", true},
		"proc/net/ip_vs":                  {"proc/thread-self/net/ip_vs", true},
		"proc/self/net/ip_vs":             {"proc/thread-self/net/ip_vs", true},
		"proc/thread-self/net/ip_vs_conn": {"proc/thread-self/net/ip_vs_conn", true},
		"proc/sys/net":                    {"proc/sys/net", true},
		"proc/sys/net/ipv4/vs/conntrack":  {"proc/sys/net/ipv4/vs/conntrack", true},
		"proc/network":                    {"proc/network", false},
		"proc/sys/network":                {"proc/sys/network", false},
		"proc/sys/kernel/osrelease":       {"proc/sys/kernel/osrelease", false},
		"sys/class/net/eth0":              {"sys/class/net/eth0", false},
	}
	for name, tt := range tests {
		if got, net := netName(name); got != tt.want || net != tt.net {
			t.Errorf("netName(%q) = %q, %v, want %q, %v", name, got, net, tt.want, tt.net)
		}
	}
}

func TestImpossibleNames(t *testing.T) {
	for what, root := range map[string]interface {
		fs.ReadFileFS
		WriteFS
	}{"host": Host(NetNS{}), "directory": Dir(t.TempDir()), "memory": NewMem(nil)} {
		for _, name := range []string{"/proc/version", "../x", "proc/../x", "", "a\x00b"} {
			if _, err := root.Open(name); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: Open(%q): %v", what, name, err)
			}
			if err := root.WriteFile(name, nil, 0o644); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: WriteFile(%q): %v", what, name, err)
			}
		}
	}
}

func TestDir(t *testing.T) {
	tmp := t.TempDir()
	root := Dir(tmp)
	for _, dir := range []string{"etc/sysctl.d", "proc/sys/net"} {
		if err := os.MkdirAll(filepath.Join(tmp, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.WriteFile("etc/a", []byte("long content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("etc/a", []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("proc/sys/net/new", []byte("1"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("creating a kernel file: %v, want fs.ErrNotExist", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "proc/sys/net/x"), []byte("1024\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("proc/sys/net/x", []byte("7\n"), 0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"etc/a": "short", "proc/sys/net/x": "7\n"} {
		if got, err := root.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("ReadFile(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	if err := fstest.TestFS(root, "etc/a", "proc/sys/net/x"); err != nil {
		t.Error(err)
	}
}

func TestReplaceFile(t *testing.T) {
	tmp := t.TempDir()
	root := Dir(tmp)
	if err := os.Mkdir(filepath.Join(tmp, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first version", "second"} {
		if err := ReplaceFile(root, "etc/lvs.conf", []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := root.ReadFile("etc/lvs.conf"); err != nil || string(got) != content {
			t.Fatalf("read %q, %v, want %q", got, err, content)
		}
	}
	info, err := root.Stat("etc/lvs.conf")
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}

	// A reader that has the old file open keeps the old content: the file was replaced, not rewritten.
	old, err := root.Open("etc/lvs.conf")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := root.ReplaceFile("etc/lvs.conf", []byte("third"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(old); err != nil || string(got) != "second" {
		t.Errorf("through the old descriptor %q, %v, want %q", got, err, "second")
	}

	// A failure leaves neither a temporary file nor a changed one.
	if err := os.Mkdir(filepath.Join(tmp, "etc/busy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := root.ReplaceFile("etc/busy", []byte("x"), 0o640); err == nil {
		t.Error("a directory was replaced by a file")
	}
	entries, err := root.ReadDir("etc")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"busy", "lvs.conf"}, names); diff != "" {
		t.Errorf("left in the directory (-want +got):\n%s", diff)
	}
}

// plain has no ReplaceFile.
type plain struct{ WriteFS }

func TestReplaceFileFallsBack(t *testing.T) {
	m := NewMem(nil)
	if err := ReplaceFile(plain{m}, "etc/x", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Write{{Name: "etc/x", Data: "1"}}, m.Writes()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestNetNSOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	closed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	tests := map[string]struct {
		ns   NetNS
		want error
	}{
		"unknown name":    {NetNS{Name: "lvs-no-such-namespace"}, fs.ErrNotExist},
		"unknown path":    {NetNS{Name: "/proc/0/ns/net"}, fs.ErrNotExist},
		"dot dot":         {NetNS{Name: ".."}, fs.ErrInvalid},
		"name and file":   {NetNS{Name: "a", File: os.Stdin}, fs.ErrInvalid},
		"plain file":      {NetNS{Name: file}, fs.ErrInvalid},
		"other namespace": {NetNS{Name: "/proc/self/ns/mnt"}, fs.ErrInvalid},
		"no namespace":    {NetNS{File: os.Stdin}, fs.ErrInvalid},
		"closed":          {NetNS{File: closed}, os.ErrClosed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := tt.want
			if runtime.GOOS != "linux" && !(tt.ns.Name == ".." || tt.ns.File != nil && tt.ns.Name != "") {
				want = errors.ErrUnsupported
			}
			f, err := tt.ns.Open()
			if !errors.Is(err, want) {
				t.Errorf("Open: %v, want %v", err, want)
			}
			if f != nil {
				t.Error("a file beside the error")
				f.Close()
			}
			if tt.ns.IsZero() {
				t.Fatal("zero")
			}
			ran := false
			if err := tt.ns.Do(func() error { ran = true; return nil }); !errors.Is(err, want) || ran {
				t.Errorf("Do: %v, ran %v", err, ran)
			}
			if _, err := Host(tt.ns).ReadFile("proc/net/dev"); !errors.Is(err, want) {
				t.Errorf("ReadFile: %v, want %v", err, want)
			}
		})
	}
}

func TestZeroNetNSRunsHere(t *testing.T) {
	want := errors.New("mine")
	if err := (NetNS{}).Do(func() error { return want }); err != want {
		t.Errorf("Do = %v, want the function's error unchanged", err)
	}
}

func TestMemFS(t *testing.T) {
	m := NewMem(map[string]string{
		"proc/sys/net/ipv4/vs/conntrack": "0\n",
		"sys/devices/pci/virtio0/x":      "1\n",
		"etc/hosts":                      "",
	})
	if err := fstest.TestFS(m, "proc/sys/net/ipv4/vs/conntrack", "etc/hosts"); err != nil {
		t.Error(err)
	}
}

func TestMemLinks(t *testing.T) {
	m := NewMem(map[string]string{"sys/devices/pci/virtio0/net/eth0/mtu": "1500\n"})
	m.Link("sys/class/net/eth0", "../../devices/pci/virtio0/net/eth0")
	m.Link("sys/devices/pci/virtio0/net/eth0/device", "../../../virtio0")
	m.Link("abs", "/sys/class/net/eth0/mtu")
	m.Link("loop", "loop")
	for _, name := range []string{"sys/class/net/eth0/mtu", "abs", "sys/class/net/eth0/device/net/eth0/mtu"} {
		if got, err := m.ReadFile(name); err != nil || string(got) != "1500\n" {
			t.Errorf("ReadFile(%q) = %q, %v", name, got, err)
		}
	}
	if got, err := fs.ReadLink(m, "sys/class/net/eth0/device"); err != nil || got != "../../../virtio0" {
		t.Errorf("ReadLink = %q, %v", got, err)
	}
	if _, err := m.ReadLink("abs/x"); err == nil {
		t.Error("read a link below a file")
	}
	if _, err := m.ReadFile("loop"); err == nil {
		t.Error("read a loop")
	}
	if info, err := m.Lstat("abs"); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("Lstat = %v, %v", info, err)
	}
	if err := m.WriteFile("sys/class/net/eth0/mtu", []byte("9000\n"), 0); err != nil {
		t.Error(err)
	}
	if got := m.Files()["sys/devices/pci/virtio0/net/eth0/mtu"]; got != "9000\n" {
		t.Errorf("the link's target holds %q", got)
	}
}

func TestMemWrites(t *testing.T) {
	boom := errors.New("boom")
	const p = "proc/sys/net/"
	m := NewMem(map[string]string{p + "plain": "0\n", p + "fixed": "1\n", p + "bad": "2\n", p + "mode": "0\n", p + "half": "1 1\n", p + "gone": "3\n", p + "mute": "4\n"})
	m.ReadOnly(p + "fixed")
	m.FailWrite(p+"bad", boom)
	m.FailOpen(p+"gone", fs.ErrNotExist)
	m.FailRead(p+"mute", boom)
	m.OnWrite(p+"mode", func(_, data []byte) ([]byte, error) {
		if string(data) == "2\n" {
			return []byte("1\n"), nil
		}
		return data, nil
	})
	m.OnWrite(p+"half", func([]byte, []byte) ([]byte, error) { return []byte("9 1\n"), boom })

	tests := []struct {
		name, data string
		want       error
	}{
		{p + "plain", "5\n", nil},
		{p + "fixed", "5\n", fs.ErrPermission},
		{p + "bad", "5\n", boom},
		{p + "mode", "2\n", nil},
		{p + "half", "9 0\n", boom},
		{p + "gone", "5\n", fs.ErrNotExist},
		{p + "missing", "5\n", fs.ErrNotExist},
		{p + "mute", "5\n", nil},
		{"etc/new", "x", nil},
	}
	for _, tt := range tests {
		if err := m.WriteFile(tt.name, []byte(tt.data), 0o644); !errors.Is(err, tt.want) {
			t.Errorf("WriteFile(%q): %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := m.ReadFile(p + "gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	if _, err := m.ReadFile(p + "mute"); !errors.Is(err, boom) {
		t.Errorf("mute: %v", err)
	}
	f, err := m.Open(p + "mute")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(f); !errors.Is(err, boom) {
		t.Errorf("mute, streamed: %v", err)
	}
	want := map[string]string{
		p + "plain": "5\n", p + "fixed": "1\n", p + "bad": "2\n", p + "mode": "1\n", p + "half": "9 1\n",
		p + "gone": "3\n", p + "mute": "5\n", "etc/new": "x",
	}
	if diff := cmp.Diff(want, m.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	log := m.Writes()
	if len(log) != len(tests) {
		t.Fatalf("%d writes logged, want %d", len(log), len(tests))
	}
	for i, tt := range tests {
		if log[i].Name != tt.name || log[i].Data != tt.data || !errors.Is(log[i].Err, tt.want) {
			t.Errorf("log entry %d is %+v", i, log[i])
		}
	}
	if err := m.Remove("proc"); err != nil {
		t.Error(err)
	}
	if err := m.Remove("proc"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if got := slices.Sorted(func(yield func(string) bool) {
		for name := range m.Files() {
			if !yield(name) {
				return
			}
		}
	}); !slices.Equal(got, []string{"etc/new"}) {
		t.Errorf("after Remove: %v", got)
	}
}
