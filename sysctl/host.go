package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/internal/hostfs"
)

// Config says which host is meant. The zero value is this machine in the calling thread's network namespace.
type Config struct {
	// NetNS is a network namespace by its name in ip-netns(8), or by its path if there is a slash in it. It is looked up
	// for each operation. Empty is the calling thread's at the time of the operation.
	NetNS string

	// NetNSFile is an open network namespace; it must stay open as long as the Host is used. Only one of NetNS and
	// NetNSFile may be set.
	NetNSFile *os.File

	// Root is the tree that holds proc, sys and etc, for tests and images; nil is this machine's. It can be written if
	// it has a method WriteFile(name string, data []byte, perm fs.FileMode) error, as [os.Root] has; MkdirAll, OpenFile,
	// Rename and Remove with os.Root's signatures are used for journals. Not together with a namespace.
	Root fs.FS
}

// Host reads and changes the parameters of a host. Use [New]. It is safe for concurrent use.
type Host struct {
	root fs.FS
	ns   hostfs.NetNS
}

// New returns the host that cfg describes, nil for this one. Nothing is opened yet.
//
// The error matches fs.ErrInvalid.
func New(cfg *Config) (*Host, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	ns := hostfs.NetNS{Name: cfg.NetNS, File: cfg.NetNSFile}
	switch {
	case ns.Name != "" && ns.File != nil:
		return nil, fmt.Errorf("sysctl: both NetNS and NetNSFile: %w", fs.ErrInvalid)
	case cfg.Root != nil && !ns.IsZero():
		return nil, fmt.Errorf("sysctl: both Root and a network namespace: %w", fs.ErrInvalid)
	case cfg.Root != nil:
		return &Host{root: cfg.Root}, nil
	}
	return &Host{root: hostfs.Host(ns), ns: ns}, nil
}

// namespace fails if the network namespace is not there or may not be entered: nothing can then be said about what is
// missing in it.
func (h *Host) namespace() error {
	if h.ns.IsZero() {
		return nil
	}
	f, err := h.ns.Open()
	if err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	return f.Close()
}

// writable returns the tree as one that can be written.
func (h *Host) writable() (hostfs.WriteFS, error) {
	w, ok := h.root.(hostfs.WriteFS)
	if !ok {
		return nil, fmt.Errorf("sysctl: the root has no WriteFile method: %w", errors.ErrUnsupported)
	}
	return w, nil
}

// Get returns the text of a parameter without its line end.
//
// The error matches fs.ErrNotExist if the parameter is absent, and says why: errors.ErrUnsupported as well, with the
// release in the text, if this kernel is too old or too new for it; otherwise a module that is not loaded, a network
// namespace without it, or an interface that does not exist. It matches fs.ErrPermission if it may not be read.
func (h *Host) Get(key Key) (string, error) {
	if err := key.Valid(); err != nil {
		return "", fmt.Errorf("sysctl: key %q: %w", string(key), err)
	}
	data, err := fs.ReadFile(h.root, key.Path())
	if err != nil {
		return "", fmt.Errorf("sysctl: read %v: %w", key, h.explain(key, err))
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// Kernel returns the release of the running kernel.
func (h *Host) Kernel() (Kernel, error) {
	data, err := fs.ReadFile(h.root, "proc/sys/kernel/osrelease")
	if err != nil {
		return Kernel{}, fmt.Errorf("sysctl: kernel release: %w", err)
	}
	return ParseKernel(string(data))
}

// Expand returns the parameters that a pattern stands for: a component * is any interface or other name, all and
// default included, as in sysctl.d(5). A key without one is returned as it is, whether it exists or not.
func (h *Host) Expand(pattern Key) ([]Key, error) {
	if err := pattern.Valid(); err != nil {
		return nil, fmt.Errorf("sysctl: key %q: %w", string(pattern), err)
	}
	keys := []Key{""}
	for part := range strings.SplitSeq(string(pattern), "/") {
		var next []Key
		for _, k := range keys {
			if part != "*" {
				next = append(next, Key(path.Join(string(k), part)))
				continue
			}
			entries, err := fs.ReadDir(h.root, path.Join("proc/sys", string(k)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("sysctl: expand %v: %w", pattern, err)
			}
			for _, e := range entries {
				if found := Key(path.Join(string(k), e.Name())); found.Valid() == nil {
					next = append(next, found)
				}
			}
		}
		keys = next
	}
	if !strings.Contains(string(pattern), "*") {
		return keys, nil
	}
	return slices.DeleteFunc(keys, func(k Key) bool {
		_, err := fs.Stat(h.root, k.Path())
		return err != nil
	}), nil
}

// IPVSKeys lists the parameters of IPVS that exist, those of newer kernels that the registry does not know included.
// The error matches fs.ErrNotExist if the module ip_vs is not loaded.
func (h *Host) IPVSKeys() ([]Key, error) {
	entries, err := fs.ReadDir(h.root, path.Join("proc/sys", ipvsDir))
	if err != nil {
		return nil, fmt.Errorf("sysctl: %w", h.explain(IPVS(""), err))
	}
	keys := []Key{}
	for _, e := range entries {
		if k := IPVS(e.Name()); k.Valid() == nil && !e.IsDir() {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// absent is the error of a parameter that this host does not have. It matches fs.ErrNotExist, and errors.ErrUnsupported
// if that is a matter of the kernel's release or configuration.
type absent struct {
	why         string
	unsupported bool
	err         error
}

func (a *absent) Error() string        { return a.why }
func (a *absent) Unwrap() error        { return a.err }
func (a *absent) Is(target error) bool { return a.unsupported && target == errors.ErrUnsupported }

// explain says why a parameter is missing, if that is what err says.
func (h *Host) explain(key Key, err error) error {
	if !errors.Is(err, fs.ErrNotExist) || h.namespace() != nil {
		return err
	}
	t, _ := Lookup(key)
	kernel, _ := h.Kernel()
	_, vsErr := fs.Stat(h.root, "proc/sys/net/ipv4/vs")
	switch {
	case t.Gone != (Kernel{}):
		return &absent{fmt.Sprintf("no longer exists since Linux %v: %s", t.Gone, t.Effect), true, err}
	case kernel.Before(t.Since):
		return &absent{fmt.Sprintf("needs Linux %v, this is %v", t.Since, kernel), true, err}
	case strings.HasPrefix(string(key), ipvsDir) && vsErr != nil:
		return &absent{"module ip_vs is not loaded, or this network namespace belongs to a user namespace to which this kernel does not show it", false, err}
	case t.Module != "" && t.Module != "ip_vs":
		return &absent{"not here: module " + t.Module + " is not loaded, or this is not the initial network namespace", false, err}
	case t.Scope == InitOnly:
		return &absent{"not here: it exists in the initial network namespace only", false, err}
	case key == IPVS("debug_level"):
		return &absent{"not in this kernel: it was built without IPVS debugging", true, err}
	case h.lacksDevice(key):
		return &absent{"there is no device " + path.Base(path.Dir(string(key))) + " here", false, err}
	case t.Since != (Kernel{}):
		return &absent{fmt.Sprintf("not in this kernel, though Linux has it since %v", t.Since), true, err}
	}
	return err
}

// lacksDevice says whether a key is that of a network device that does not exist.
func (h *Host) lacksDevice(key Key) bool {
	for _, of := range [...]func(iface, name string) Key{IPv4, IPv6} {
		if key.matches(of("*", path.Base(string(key)))) {
			_, err := fs.Stat(h.root, path.Dir(key.Path()))
			return errors.Is(err, fs.ErrNotExist)
		}
	}
	return false
}

// MemoryPages returns the memory of the machine in pages of 4096 bytes, MemTotal of /proc/meminfo.
func (h *Host) MemoryPages() (uint64, error) {
	data, err := fs.ReadFile(h.root, "proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("sysctl: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" {
			kB, err := strconv.ParseUint(fields[1], 10, 62)
			if err != nil {
				return 0, fmt.Errorf("sysctl: proc/meminfo: %w", err)
			}
			return kB / 4, nil
		}
	}
	return 0, fmt.Errorf("sysctl: proc/meminfo has no MemTotal: %w", fs.ErrInvalid)
}
