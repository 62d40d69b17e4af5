package main

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestParseModinfo(t *testing.T) {
	got := parseModinfo([]byte("license=GPL\x00depends=nf-conntrack,libcrc32c\x00alias=net-pf-16-proto-16-family-IPVS\x00" +
		"alias=ip_vs\x00softdep=pre: crc32c a-b post: c pre: d\x00depends=\x00parm=x:text=with=signs\x00"))
	want := module{
		Depends: []string{"nf_conntrack", "libcrc32c"},
		Soft:    []string{"crc32c", "a_b", "d"},
		Aliases: []string{"net-pf-16-proto-16-family-IPVS", "ip_vs"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("modinfo (-want +got):\n%s", diff)
	}
}

func FuzzParseModinfo(f *testing.F) {
	f.Add([]byte("depends=a,b\x00alias=x\x00softdep=pre: y\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := parseModinfo(data)
		for _, name := range slices.Concat(m.Depends, m.Soft) {
			if name == "" || strings.ContainsAny(name, "-,\x00") {
				t.Fatalf("dependency %q", name)
			}
		}
	})
}

// moduleFolder makes a tree as below /lib/modules, with one module in each way of compression.
func moduleFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ko := func(modinfo string) []byte { return elfFile(t, elf.EM_X86_64, "", nil, modinfo) }
	write("kernel/net/ipvs/ip-top.ko", ko("depends=mid\x00alias=top-*\x00"))
	var b bytes.Buffer
	x, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Write(ko("depends=base,builtin\x00softdep=pre: soft absent\x00")); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	write("kernel/net/mid.ko.xz", b.Bytes())
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	write("kernel/base.ko.zst", z.EncodeAll(ko("depends=\x00"), nil))
	write("kernel/soft.ko", ko("depends=\x00"))
	write("kernel/other.ko", ko("depends=gone\x00"))
	write("modules.builtin", []byte("kernel/lib/builtin.ko\n"))
	return dir
}

func TestClosureOfFiles(t *testing.T) {
	tree, err := scanModules(moduleFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	order, missing, err := tree.closure([]string{"ip-top", "nowhere", "builtin", "base"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range order {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"soft", "base", "mid", "ip_top"}, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"nowhere"}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if _, _, err := tree.closure([]string{"other"}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a missing dependency gave the error %v", err)
	}
	for _, m := range order {
		_, data, err := readModule(m.Path)
		if err != nil || !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
			t.Errorf("%s: error %v, %d bytes", m.Name, err, len(data))
		}
	}
}

func TestScanModulesNone(t *testing.T) {
	tree, err := scanModules("")
	if err != nil {
		t.Fatal(err)
	}
	order, missing, err := tree.closure([]string{"a"})
	if diff := cmp.Diff([]string{"a"}, missing); err != nil || len(order) != 0 || diff != "" {
		t.Fatalf("got %v, %v, %v", order, missing, err)
	}
	if _, err := scanModules(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("a folder that does not exist has modules")
	}
}

func TestClosureCycle(t *testing.T) {
	depends := map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"d"}}
	load := func(name string) (module, error) {
		d, ok := depends[name]
		if !ok {
			return module{}, fs.ErrNotExist
		}
		return module{Name: name, Depends: d}, nil
	}
	for _, name := range []string{"a", "d"} {
		if order, _, err := closure([]string{name}, load); err == nil {
			t.Errorf("%s: got %v, want an error", name, order)
		}
	}
}

func TestResolve(t *testing.T) {
	modules := []module{
		{Name: "ip_vs", Aliases: []string{"net-pf-16-proto-16-family-IPVS"}},
		{Name: "ip_vs_rr"},
		{Name: "gre", Aliases: []string{"rtnl-link-gre*"}},
		{Name: "ip6_gre", Aliases: []string{"rtnl-link-ip6gre", "rtnl-link-gre[0-9]"}},
		{Name: "pci", Aliases: []string{"pci:v0000-1*bc0[A-B]*"}},
	}
	for request, want := range map[string][]string{
		"net-pf-16-proto-16-family-IPVS": {"ip_vs"},
		"net_pf_16_proto_16_family_IPVS": {"ip_vs"},
		"ip-vs-rr":                       {"ip_vs_rr"},
		"rtnl-link-gre0":                 {"gre", "ip6_gre"},
		"pci:v0000-1a/bc0Bx":             {"pci"},
		"ip_vs_none":                     nil,
	} {
		if diff := cmp.Diff(want, resolve(modules, request), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", request, diff)
		}
	}
}
