package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// elfFile makes an ELF file as far as this package looks at one: sections by name, an interpreter, dynamic entries.
func elfFile(t testing.TB, machine elf.Machine, interp string, dynamic map[elf.DynTag][]string, modinfo string) []byte {
	t.Helper()
	type section struct {
		name string
		typ  elf.SectionType
		link uint32
		data []byte
	}
	dynstr := []byte{0}
	var dyn bytes.Buffer
	for _, tag := range []elf.DynTag{elf.DT_NEEDED, elf.DT_RPATH, elf.DT_RUNPATH} {
		for _, s := range dynamic[tag] {
			put(t, &dyn, elf.Dyn64{Tag: int64(tag), Val: uint64(len(dynstr))})
			dynstr = append(append(dynstr, s...), 0)
		}
	}
	put(t, &dyn, elf.Dyn64{Tag: int64(elf.DT_NULL)})
	sections := []section{
		{"", elf.SHT_NULL, 0, nil},
		{".dynstr", elf.SHT_STRTAB, 0, dynstr},
		{".modinfo", elf.SHT_PROGBITS, 0, []byte(modinfo)},
	}
	if dynamic != nil {
		sections = append(sections, section{".dynamic", elf.SHT_DYNAMIC, 1, dyn.Bytes()})
	}
	if modinfo == "" {
		sections[2].name = ".text"
	}
	shstr := []byte{0}
	names := make([]uint32, len(sections)+1)
	for i, s := range append(sections, section{name: ".shstrtab"}) {
		names[i] = uint32(len(shstr))
		shstr = append(append(shstr, s.name...), 0)
	}
	sections = append(sections, section{".shstrtab", elf.SHT_STRTAB, 0, shstr})

	const head, progHead = 64, 56
	var body bytes.Buffer
	body.WriteString(interp + "\x00")
	base := uint64(head + progHead)
	var table bytes.Buffer
	for i, s := range sections {
		put(t, &table, elf.Section64{
			Name: names[i], Type: uint32(s.typ), Off: base + uint64(body.Len()), Size: uint64(len(s.data)), Link: s.link, Addralign: 1,
		})
		body.Write(s.data)
	}
	var out bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: head, Shoff: base + uint64(body.Len()), Ehsize: head,
		Phentsize: progHead, Phnum: 1, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	put(t, &out, h)
	prog := elf.Prog64{Type: uint32(elf.PT_NULL)}
	if interp != "" {
		prog = elf.Prog64{Type: uint32(elf.PT_INTERP), Off: base, Filesz: uint64(len(interp) + 1)}
	}
	put(t, &out, prog)
	out.Write(body.Bytes())
	out.Write(table.Bytes())
	return out.Bytes()
}

func put(t testing.TB, b *bytes.Buffer, v any) {
	t.Helper()
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		t.Fatal(err)
	}
}

func TestLinkerFiles(t *testing.T) {
	root := t.TempDir()
	write := func(path string, machine elf.Machine, interp string, dynamic map[elf.DynTag][]string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, elfFile(t, machine, interp, dynamic, ""), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const amd64 = elf.EM_X86_64
	type dyn = map[elf.DynTag][]string
	write("/bin/static", amd64, "", nil)
	write("/bin/prog", amd64, "/lib64/ld.so", dyn{elf.DT_NEEDED: {"libcache.so", "libdefault.so"}})
	write("/opt/cached/libcache.so", amd64, "", dyn{elf.DT_NEEDED: {"libdefault.so", "libc.so"}})
	write("/other/libcache.so", elf.EM_386, "", nil) // the cache lists other machines' libraries too
	write("/usr/lib/libdefault.so", amd64, "", dyn{elf.DT_NEEDED: {"libc.so"}})
	write("/lib64/libc.so", amd64, "", dyn{})
	write("/opt/app/bin/run", amd64, "/lib64/ld.so", dyn{
		elf.DT_NEEDED: {"libapp.so"}, elf.DT_RUNPATH: {"$ORIGIN/../lib:/nowhere"},
	})
	write("/opt/app/lib/libapp.so", amd64, "", dyn{elf.DT_NEEDED: {"libc.so"}})
	write("/opt/old/run", amd64, "", dyn{elf.DT_NEEDED: {"libone.so"}, elf.DT_RPATH: {"/opt/old"}})
	write("/opt/old/libone.so", amd64, "", dyn{elf.DT_NEEDED: {"libtwo.so"}}) // RPATH is inherited
	write("/opt/old/libtwo.so", amd64, "", dyn{})
	write("/opt/new/run", amd64, "", dyn{elf.DT_NEEDED: {"libone.so"}, elf.DT_RUNPATH: {"/opt/old"}})

	write("/opt/mix/run", amd64, "", dyn{elf.DT_NEEDED: {"libmid.so"}, elf.DT_RPATH: {"/opt/old:/opt/mix"}})
	write("/opt/mix/libmid.so", amd64, "", dyn{elf.DT_NEEDED: {"libtwo.so"}, elf.DT_RUNPATH: {"/nowhere"}}) // forgets RPATH

	l := &linker{root: root, cache: map[string][]string{"libcache.so": {"/other/libcache.so", "/opt/cached/libcache.so"}}}
	for path, want := range map[string][]string{
		"/bin/static":      nil,
		"/bin/prog":        {"/lib64/ld.so", "/lib64/libc.so", "/opt/cached/libcache.so", "/usr/lib/libdefault.so"},
		"/opt/app/bin/run": {"/lib64/ld.so", "/lib64/libc.so", "/opt/app/lib/libapp.so"},
		"/opt/old/run":     {"/opt/old/libone.so", "/opt/old/libtwo.so"},
	} {
		got, err := l.files(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, path := range []string{"/opt/new/run", "/opt/mix/run"} {
		if got, err := l.files(path); err == nil {
			t.Errorf("%s: found %v, but ld.so would not", path, got)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "script"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.files("/script"); err == nil {
		t.Error("a script passed for an ELF file")
	}
}

// linkerCache makes an ld.so.cache.
func linkerCache(entries [][3]string) []byte {
	const headSize, entrySize = 48, 24
	text := []byte{}
	var table bytes.Buffer
	offset := func(s string) uint32 {
		at := uint32(headSize + len(entries)*entrySize + len(text))
		text = append(append(text, s...), 0)
		return at
	}
	for _, e := range entries {
		var b [entrySize]byte
		binary.NativeEndian.PutUint32(b[4:], offset(e[0]))
		binary.NativeEndian.PutUint32(b[8:], offset(e[1]))
		if e[2] != "" {
			binary.NativeEndian.PutUint64(b[16:], 1<<62)
		}
		table.Write(b[:])
	}
	head := make([]byte, headSize)
	copy(head, "glibc-ld.so.cache1.1")
	binary.NativeEndian.PutUint32(head[20:], uint32(len(entries)))
	return append(append(append([]byte("old part"), head...), table.Bytes()...), text...)
}

func TestParseLinkerCache(t *testing.T) {
	data := linkerCache([][3]string{
		{"libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", ""},
		{"libm.so.6", "/lib/glibc-hwcaps/x86-64-v3/libm.so.6", "hwcap"},
		{"libm.so.6", "/lib/libm.so.6", ""},
		{"libc.so.6", "/lib32/libc.so.6", ""},
	})
	got, err := parseLinkerCache(data)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"libc.so.6": {"/lib/x86_64-linux-gnu/libc.so.6", "/lib32/libc.so.6"},
		"libm.so.6": {"/lib/libm.so.6"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("cache (-want +got):\n%s", diff)
	}
	for name, bad := range map[string][]byte{"empty": nil, "other": []byte("ld.so-1.7.0"), "cut": data[:60]} {
		if _, err := parseLinkerCache(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseLinkerCache(f *testing.F) {
	f.Add(linkerCache([][3]string{{"libc.so.6", "/lib/libc.so.6", ""}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		cache, err := parseLinkerCache(data)
		if err != nil && cache != nil {
			t.Fatal("both a cache and an error")
		}
		for name, paths := range cache {
			if name == "" || len(paths) == 0 || slices.Contains(paths, "") {
				t.Fatalf("library %q at %q", name, paths)
			}
		}
	})
}
