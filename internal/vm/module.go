package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// defaultModules are loaded unless -modules says otherwise.
var defaultModules = []string{
	"ip_vs",
	"ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_fo", "ip_vs_ovf", "ip_vs_lblc", "ip_vs_lblcr",
	"ip_vs_dh", "ip_vs_sh", "ip_vs_mh", "ip_vs_sed", "ip_vs_nq", "ip_vs_twos",
	"ip_vs_ftp", "ip_vs_pe_sip",
	"veth", "dummy", "bridge",
	"ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6",
	"nf_conntrack", "nf_conntrack_netlink",
	"nf_tables", "nft_compat",
	"iptable_mangle", "ip6table_mangle", "xt_mark", "xt_tcpudp", "xt_ipvs",
	"sch_netem",
}

// transportModules drive the line to the host. A kernel with neither them nor a built-in driver uses a serial line.
var transportModules = []string{"virtio_pci", "virtio_console"}

// module is what the .modinfo section of a kernel module says, and where the module is.
type module struct {
	Name    string   // with underscores
	Path    string   // file on the host, or in the guest
	Depends []string `json:",omitempty"` // names of modules that have to be loaded before
	Soft    []string `json:",omitempty"` // modules that should be loaded before, if there are any
	Aliases []string `json:",omitempty"` // patterns of what the kernel may ask for
}

// moduleName returns the name under which the kernel knows a module: a hyphen is an underscore.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleFileName splits a file name such as ip_vs.ko.xz; ok is false if it is not one of a module.
func moduleFileName(file string) (name string, ok bool) {
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst"} {
		if name, ok := strings.CutSuffix(file, suffix); ok && name != "" {
			return moduleName(name), true
		}
	}
	return "", false
}

// moduleTree is the folder with the modules of a kernel.
type moduleTree struct {
	files   map[string]string // paths by name
	builtin map[string]bool
}

// scanModules looks for modules below a folder such as /lib/modules/6.12.1. An empty dir has none.
func scanModules(dir string) (*moduleTree, error) {
	t := &moduleTree{files: make(map[string]string), builtin: make(map[string]bool)}
	if dir == "" {
		return t, nil
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleFileName(d.Name()); ok && !d.IsDir() {
			t.files[name] = path
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		if name, ok := moduleFileName(filepath.Base(strings.TrimSpace(line))); ok {
			t.builtin[name] = true
		}
	}
	return t, nil
}

// closure returns the modules named and all that they depend on, each after its dependencies, and the names of those that
// exist neither as a file nor in the kernel.
func (t *moduleTree) closure(names []string) (order []module, missing []string, err error) {
	return closure(names, func(name string) (module, error) {
		path, ok := t.files[name]
		switch {
		case ok:
			m, _, err := readModule(path)
			return m, err
		case t.builtin[name]:
			return module{}, nil
		}
		return module{}, fs.ErrNotExist
	})
}

// closure is the dependency walk; load answers with a module without Name for one that is built in.
func closure(names []string, load func(name string) (module, error)) (order []module, missing []string, err error) {
	const visiting, done = 1, 2
	state := make(map[string]int)
	var visit func(name, wanted string, soft bool) error
	visit = func(name, wanted string, soft bool) error {
		switch state[name] {
		case visiting:
			if soft {
				return nil
			}
			return fmt.Errorf("module %s depends on itself", name)
		case done:
			return nil
		}
		m, err := load(name)
		if errors.Is(err, fs.ErrNotExist) {
			switch {
			case soft: // soft dependencies may name aliases, and may be absent
			case wanted == name:
				missing = append(missing, name)
			default:
				return fmt.Errorf("module %s, needed by %s, does not exist", name, wanted)
			}
			state[name] = done
			return nil
		}
		if err != nil {
			return err
		}
		state[name] = visiting
		for _, dep := range m.Soft {
			if err := visit(dep, name, true); err != nil {
				return err
			}
		}
		for _, dep := range m.Depends {
			if err := visit(dep, name, false); err != nil {
				return err
			}
		}
		state[name] = done
		if m.Name != "" {
			order = append(order, m)
		}
		return nil
	}
	for _, name := range names {
		if err := visit(moduleName(name), moduleName(name), false); err != nil {
			return nil, nil, err
		}
	}
	return order, missing, nil
}

// readModule returns what a module file says about itself, and its bytes, decompressed.
func readModule(path string) (module, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return module{}, nil, err
	}
	if data, err = decompress(path, data); err != nil {
		return module{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	m, err := parseModule(data)
	if err != nil {
		return module{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	m.Name, _ = moduleFileName(filepath.Base(path))
	m.Path = path
	return m, data, nil
}

// decompress unpacks what the ending of a file's name says.
func decompress(path string, data []byte) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".xz":
		r, err := xz.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case ".zst":
		r, err := zstd.NewReader(nil)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return r.DecodeAll(data, nil)
	}
	return data, nil
}

// parseModule reads the .modinfo section of a module.
func parseModule(data []byte) (module, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return module{}, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return module{}, errors.New("no .modinfo section: not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return module{}, err
	}
	return parseModinfo(info), nil
}

// parseModinfo reads key=value strings that end in NUL.
func parseModinfo(info []byte) module {
	var m module
	for word := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.Depends = append(m.Depends, moduleName(name))
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, value)
		case "softdep":
			pre := false
			for name := range strings.FieldsSeq(value) {
				switch {
				case name == "pre:":
					pre = true
				case name == "post:":
					pre = false
				case pre:
					m.Soft = append(m.Soft, moduleName(name))
				}
			}
		}
	}
	return m
}

// resolve finds what a request of the kernel or of a user means: a module's name, or an alias of one or several modules.
func resolve(modules []module, request string) []string {
	name := moduleName(request)
	var names []string
	for _, m := range modules {
		if m.Name == name {
			return []string{name}
		}
		if slices.ContainsFunc(m.Aliases, func(alias string) bool { return matchAlias(alias, request) }) {
			names = append(names, m.Name)
		}
	}
	return names
}

// matchAlias matches as modprobe does: shell patterns, and no difference between a hyphen and an underscore outside of
// brackets.
func matchAlias(pattern, request string) bool {
	ok, err := filepath.Match(aliasName(pattern), aliasName(request))
	return ok && err == nil
}

func aliasName(s string) string {
	b := []byte(s)
	depth := 0
	for i, c := range b {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		case '-':
			if depth == 0 {
				b[i] = '_'
			}
		case '/':
			b[i] = '\x01' // a pattern's * matches it here, unlike in a path
		}
	}
	return string(b)
}
