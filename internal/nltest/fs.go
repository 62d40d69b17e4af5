package nltest

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// FS returns the root of a host file system with the namespace's files: below proc/net, proc/self/net and
// proc/thread-self/net ip_vs, ip_vs_conn, ip_vs_conn_sync, ip_vs_stats and ip_vs_stats_percpu; below proc/sys/net/ipv4/vs the
// sysctls, which the tree's method WriteFile writes, with the signature of os.Root; and proc/sys/kernel/osrelease. A file has
// the text of the moment it was opened. While the module is out the files of IPVS are not there.
func (ns *Namespace) FS() fs.FS { return procFS{ns} }

// procFS implements fs.FS.
type procFS struct{ ns *Namespace }

// netDirs are the directories that have the files of connections and services.
var netDirs = []string{"proc/net", "proc/self/net", "proc/thread-self/net"}

const (
	sysctlDir  = "proc/sys/net/ipv4/vs"
	sysctlMode = 0o644
)

// A procText is a file.
type procText struct {
	mode fs.FileMode
	text func() string
}

// files returns the files by their whole names.
func (ns *Namespace) files() map[string]procText {
	all := map[string]procText{
		"proc/sys/kernel/osrelease": {0o444, func() string { return ns.k.cfg.Version + ".0\n" }},
	}
	if !ns.k.loaded {
		return all
	}
	for _, dir := range netDirs {
		for name, text := range map[string]func() string{
			"ip_vs": ns.procServices, "ip_vs_conn": ns.procConns, "ip_vs_conn_sync": ns.procConnsSync,
			"ip_vs_stats": ns.procStats, "ip_vs_stats_percpu": ns.procStatsPerCPU,
		} {
			all[dir+"/"+name] = procText{0o444, text}
		}
	}
	for _, name := range ns.sysctls() {
		all[sysctlDir+"/"+name] = procText{sysctlMode, func() string { return ns.sysctl(name) + "\n" }}
	}
	return all
}

// Open implements fs.FS.
func (p procFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	k := p.ns.k
	k.lock()
	defer k.mu.Unlock()
	files := p.ns.files()
	if f, ok := files[name]; ok {
		return &procFile{info: info{name: path.Base(name), mode: f.mode, mod: k.now}, Reader: strings.NewReader(f.text())}, nil
	}
	entries := children(name, files)
	if entries == nil && !slices.Contains(netDirs, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	d := &procDir{info: info{name: path.Base(name), mode: fs.ModeDir | 0o555, mod: k.now}}
	for _, e := range entries {
		i := info{name: e, mode: fs.ModeDir | 0o555, mod: k.now}
		if f, ok := files[path.Join(name, e)]; ok {
			i.mode = f.mode
		}
		d.entries = append(d.entries, fs.FileInfoToDirEntry(i))
	}
	return d, nil
}

// WriteFile writes a sysctl in a single write; perm has no meaning.
func (p procFS) WriteFile(name string, data []byte, _ fs.FileMode) error {
	k := p.ns.k
	k.lock()
	defer k.mu.Unlock()
	f, ok := p.ns.files()[name]
	op, err := "open", error(nil)
	switch {
	case !ok:
		err = fs.ErrNotExist
	case f.mode != sysctlMode:
		err = fs.ErrPermission
	default:
		op, err = "write", p.ns.setSysctl(path.Base(name), string(data))
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// children returns the names in a directory, sorted.
func children(dir string, files map[string]procText) []string {
	var names []string
	add := func(full string) {
		rest, ok := strings.CutPrefix(full, dir+"/")
		if dir == "." {
			rest, ok = full, true
		}
		if first, _, _ := strings.Cut(rest, "/"); ok && !slices.Contains(names, first) {
			names = append(names, first)
		}
	}
	for full := range files {
		add(full)
	}
	for _, full := range netDirs {
		add(full)
	}
	slices.Sort(names)
	return names
}

// info implements fs.FileInfo.
type info struct {
	name string
	mode fs.FileMode
	mod  time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return 0 } // as in /proc
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.mod }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// procFile implements fs.File.
type procFile struct {
	*strings.Reader
	info info
}

func (f *procFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *procFile) Close() error               { return nil }

// procDir implements fs.ReadDirFile.
type procDir struct {
	info    info
	entries []fs.DirEntry
}

func (d *procDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *procDir) Close() error               { return nil }

func (d *procDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *procDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	got := d.entries[:n]
	d.entries = d.entries[n:]
	return got, nil
}
