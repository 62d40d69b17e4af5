package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// linker finds the shared libraries of programs as ld.so does.
type linker struct {
	root  string              // where the host's tree is; empty for /
	cache map[string][]string // paths by library name, from ld.so.cache
}

// newLinker reads the cache of ld.so below root. A host without one has an empty cache.
func newLinker(root string) (*linker, error) {
	l := &linker{root: root}
	data, err := os.ReadFile(filepath.Join(root, "/etc/ld.so.cache"))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	l.cache, err = parseLinkerCache(data)
	return l, err
}

// parseLinkerCache reads /etc/ld.so.cache as glibc has written it since 2.2: an optional old part, then the header
// "glibc-ld.so.cache1.1", the number of entries, and entries of 24 bytes that refer to strings. Libraries for processors
// with more abilities than every one has are left out.
func parseLinkerCache(data []byte) (map[string][]string, error) {
	const magic = "glibc-ld.so.cache1.1"
	const headSize, entrySize = 48, 24
	i := bytes.Index(data, []byte(magic))
	if i < 0 || len(data)-i < headSize {
		return nil, errors.New("ld.so.cache: not a cache of glibc")
	}
	data = data[i:] // offsets count from here
	n := binary.NativeEndian.Uint32(data[len(magic):])
	if uint64(n)*entrySize > uint64(len(data)-headSize) {
		return nil, fmt.Errorf("ld.so.cache: %d entries in %d bytes", n, len(data))
	}
	text := func(offset uint32) string {
		if uint64(offset) >= uint64(len(data)) {
			return ""
		}
		s, _, _ := bytes.Cut(data[offset:], []byte{0})
		return string(s)
	}
	cache := make(map[string][]string)
	for k := range n {
		entry := data[headSize+k*entrySize:][:entrySize]
		name := text(binary.NativeEndian.Uint32(entry[4:]))
		path := text(binary.NativeEndian.Uint32(entry[8:]))
		hwcap := binary.NativeEndian.Uint64(entry[16:])
		if name == "" || path == "" || hwcap != 0 || strings.Contains(path, "/glibc-hwcaps/") {
			continue
		}
		cache[name] = append(cache[name], path)
	}
	return cache, nil
}

// files returns what the ELF file at path needs: its interpreter and all shared libraries, theirs included. The paths may
// be symbolic links. A static program needs nothing.
func (l *linker) files(path string) ([]string, error) {
	var found []string
	seen := make(map[string]bool)
	var visit func(path string, rpath []string) error
	visit = func(path string, rpath []string) error {
		o, err := l.read(path)
		if err != nil {
			return err
		}
		if o.interp != "" && !seen[o.interp] {
			seen[o.interp] = true
			found = append(found, o.interp)
		}
		// An object without RUNPATH looks in its own RPATH and in that of the object that needs it.
		if len(o.runpath) > 0 {
			rpath = nil
		} else {
			rpath = append(o.rpath, rpath...)
		}
		for _, name := range o.needed {
			lib := l.find(name, o, rpath)
			if lib == "" {
				return fmt.Errorf("%s needs %s, which is not on this host", path, name)
			}
			if seen[lib] {
				continue
			}
			seen[lib] = true
			found = append(found, lib)
			if err := visit(lib, rpath); err != nil {
				return err
			}
		}
		return nil
	}
	err := visit(path, nil)
	return found, err
}

// object is what matters of an ELF file.
type object struct {
	class          elf.Class
	machine        elf.Machine
	interp         string
	needed         []string
	rpath, runpath []string
}

func (l *linker) read(path string) (object, error) {
	f, err := elf.Open(filepath.Join(l.root, path))
	if err != nil {
		return object{}, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	o := object{class: f.Class, machine: f.Machine}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return object{}, fmt.Errorf("%s: %w", path, err)
		}
		o.interp = strings.TrimRight(string(b), "\x00")
	}
	if f.SectionByType(elf.SHT_DYNAMIC) == nil {
		return o, nil
	}
	if o.needed, err = f.DynString(elf.DT_NEEDED); err != nil {
		return object{}, fmt.Errorf("%s: %w", path, err)
	}
	origin := filepath.Dir(path)
	if real, err := filepath.EvalSymlinks(filepath.Join(l.root, path)); err == nil && l.root == "" {
		origin = filepath.Dir(real)
	}
	for tag, list := range map[elf.DynTag]*[]string{elf.DT_RPATH: &o.rpath, elf.DT_RUNPATH: &o.runpath} {
		values, err := f.DynString(tag)
		if err != nil {
			return object{}, fmt.Errorf("%s: %w", path, err)
		}
		for _, value := range values {
			for dir := range strings.SplitSeq(value, ":") {
				dir = strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(dir)
				if filepath.IsAbs(dir) {
					*list = append(*list, dir)
				}
			}
		}
	}
	return o, nil
}

// find returns the path of the library called name that o would be linked with, or "" if there is none.
func (l *linker) find(name string, o object, rpath []string) string {
	if strings.Contains(name, "/") {
		return name
	}
	var candidates []string
	for _, dir := range append(rpath[:len(rpath):len(rpath)], o.runpath...) {
		candidates = append(candidates, filepath.Join(dir, name))
	}
	candidates = append(candidates, l.cache[name]...)
	for _, dir := range []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		candidates = append(candidates, filepath.Join(dir, name))
	}
	for _, path := range candidates {
		f, err := elf.Open(filepath.Join(l.root, path))
		if err != nil {
			continue
		}
		fits := f.Class == o.class && f.Machine == o.machine
		f.Close()
		if fits {
			return path
		}
	}
	return ""
}
