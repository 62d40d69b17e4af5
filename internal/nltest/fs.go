package nltest

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// FS returns the root of a host file system with the namespace's IPVS files below proc/net, proc/self/net and
// proc/thread-self/net: ip_vs, ip_vs_conn, ip_vs_conn_sync, ip_vs_stats and ip_vs_stats_percpu. A file has the text of the
// moment it was opened. While the module is out there are no files.
func (ns *Namespace) FS() fs.FS { return procFS{ns} }

// procFS implements fs.FS.
type procFS struct{ ns *Namespace }

// netDirs are the directories that have the files.
var netDirs = []string{"proc/net", "proc/self/net", "proc/thread-self/net"}

// files returns the generators of the files by name.
func (ns *Namespace) files() map[string]func() string {
	if !ns.k.loaded {
		return nil
	}
	return map[string]func() string{
		"ip_vs": ns.procServices, "ip_vs_conn": ns.procConns, "ip_vs_conn_sync": ns.procConnsSync,
		"ip_vs_stats": ns.procStats, "ip_vs_stats_percpu": ns.procStatsPerCPU,
	}
}

// Open implements fs.FS.
func (p procFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	k := p.ns.k
	k.lock()
	defer k.mu.Unlock()
	dir, base := path.Split(name)
	files := p.ns.files()
	if generate := files[base]; generate != nil && slices.Contains(netDirs, strings.TrimSuffix(dir, "/")) {
		return &procFile{info: info{name: base, mode: 0o444, mod: k.now}, Reader: strings.NewReader(generate())}, nil
	}
	entries := children(name, files)
	if entries == nil && !slices.Contains(netDirs, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	d := &procDir{info: info{name: path.Base(name), mode: fs.ModeDir | 0o555, mod: k.now}}
	for _, e := range entries {
		i := info{name: e, mode: fs.ModeDir | 0o555, mod: k.now}
		if files[e] != nil {
			i.mode = 0o444
		}
		d.entries = append(d.entries, fs.FileInfoToDirEntry(i))
	}
	return d, nil
}

// children returns the names in a directory, sorted.
func children(dir string, files map[string]func() string) []string {
	var names []string
	for _, full := range netDirs {
		if full == dir {
			for n := range files {
				names = append(names, n)
			}
			continue
		}
		rest, ok := strings.CutPrefix(full, dir+"/")
		if dir == "." {
			rest, ok = full, true
		}
		if first, _, _ := strings.Cut(rest, "/"); ok && !slices.Contains(names, first) {
			names = append(names, first)
		}
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
