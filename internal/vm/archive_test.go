package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

// entry is what a test wants to see of an archive's member.
type entry struct {
	Name, Data string
	Mode       cpio.FileMode
}

// readArchives reads archives that follow each other, as the kernel does: zero bytes between them are skipped.
func readArchives(t testing.TB, data []byte) []entry {
	t.Helper()
	var list []entry
	for {
		data = bytes.TrimLeft(data, "\x00")
		if len(data) == 0 {
			return list
		}
		src := bytes.NewReader(data)
		r := cpio.NewReader(src)
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if h.Linkname != "" {
				body = []byte("-> " + h.Linkname)
			}
			list = append(list, entry{h.Name, string(body), h.Mode})
		}
		data = data[len(data)-src.Len():]
	}
}

func TestArchive(t *testing.T) {
	host := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	prog := write("prog", "program")
	if err := os.Symlink("prog", filepath.Join(host, "link")); err != nil {
		t.Fatal(err)
	}

	var b bytes.Buffer
	a := newArchive(&b)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(a.merged())
	check(a.file("/sbin/modprobe", 0o755, []byte("m")))
	check(a.file("/etc/hosts", 0o644, []byte("hosts")))
	check(a.file("/etc/hosts", 0o644, []byte("again")))
	check(a.symlink("/sbin/x", "/init"))
	check(a.hostLink(filepath.Join(host, "link")))
	check(a.close())
	if b.Len()%512 != 0 {
		t.Errorf("the archive has %d bytes, which is no multiple of 512", b.Len())
	}
	second := newArchive(&b)
	check(second.file("/lib/modules/1/a.ko", 0o644, []byte("module")))
	check(second.close())

	var got []entry
	folders := make(map[string]bool)
	for _, e := range readArchives(t, b.Bytes()) {
		parent := filepath.Dir(e.Name)
		if parent != "." && !folders[parent] {
			t.Errorf("%s comes before its folder", e.Name)
		}
		if e.Mode&^cpio.ModePerm == cpio.TypeDir {
			folders[e.Name] = true
		} else {
			got = append(got, e)
		}
	}
	at := func(name string) string { return guestPath(filepath.Join(host, name))[1:] }
	want := []entry{
		{"bin", "-> usr/bin", cpio.TypeSymlink | 0o777},
		{"sbin", "-> usr/sbin", cpio.TypeSymlink | 0o777},
		{"lib", "-> usr/lib", cpio.TypeSymlink | 0o777},
		{"lib64", "-> usr/lib64", cpio.TypeSymlink | 0o777},
		{"usr/sbin/modprobe", "m", cpio.TypeReg | 0o755},
		{"etc/hosts", "hosts", cpio.TypeReg | 0o644},
		{"usr/sbin/x", "-> /init", cpio.TypeSymlink | 0o777},
		{at("link"), "-> prog", cpio.TypeSymlink | 0o777},
		{at("prog"), "program", cpio.TypeReg | 0o755},
		{"usr/lib/modules/1/a.ko", "module", cpio.TypeReg | 0o644},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("archive (-want +got):\n%s", diff)
	}
	_ = prog
}

func TestArchiveLinkLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", path); err != nil {
		t.Fatal(err)
	}
	if err := newArchive(io.Discard).hostLink(path); err == nil {
		t.Fatal("a link to itself was added")
	}
}

func TestPackageFolder(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{
		"a.go": 1, "testdata/x/y": 2, "testdata/z": 3, "sub/b.go": 1, "big.out": maxPackageFile + 1,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	a := newArchive(&b)
	if err := a.packageFolder(dir); err != nil {
		t.Fatal(err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, e := range readArchives(t, b.Bytes()) {
		if e.Mode.IsRegular() {
			rel, err := filepath.Rel(guestPath(dir), "/"+e.Name)
			if err != nil {
				t.Fatal(err)
			}
			got[rel] = len(e.Data)
		}
	}
	want := map[string]int{"a.go": 1, "testdata/x/y": 2, "testdata/z": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	if err := newArchive(io.Discard).packageFolder(filepath.Join(dir, "sub")); err != nil {
		t.Fatalf("a package without testdata: %v", err)
	}
}

func TestGuestPath(t *testing.T) {
	for path, want := range map[string]string{
		"/bin/sh": "/usr/bin/sh", "/lib64/ld.so": "/usr/lib64/ld.so", "/lib": "/usr/lib", "/usr/bin/x": "/usr/bin/x",
		"/library/x": "/library/x", "/tmp/../lib/x": "/usr/lib/x", "/": "/",
	} {
		if got := guestPath(path); got != want {
			t.Errorf("guestPath(%q) = %q, want %q", path, got, want)
		}
	}
}
