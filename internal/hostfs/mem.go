package hostfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a tree in memory that behaves like the host's: files below proc and sys are not created by a write. It can be
// told to fail and to change what is written. Use [NewMem]. Directories exist as soon as they hold something.
type Mem struct {
	mu    sync.Mutex
	nodes map[string]*node
	log   []Write
	locks map[string]bool
}

// Write is one write that a [Mem] received, refused ones included.
type Write struct {
	Name string // as given, links not followed
	Data string
	Err  error // what the writer was told
}

type node struct {
	data                       []byte
	link                       string
	readOnly                   bool
	openErr, readErr, writeErr error
	onWrite                    func(old, data []byte) ([]byte, error)
}

var (
	_ WriteFS       = (*Mem)(nil)
	_ fs.ReadFileFS = (*Mem)(nil)
	_ fs.ReadDirFS  = (*Mem)(nil)
	_ fs.StatFS     = (*Mem)(nil)
	_ fs.ReadLinkFS = (*Mem)(nil)
)

// NewMem makes a tree of files: name to content. It panics on a name that is not one of io/fs, a mistake in the test.
func NewMem(files map[string]string) *Mem {
	m := &Mem{nodes: map[string]*node{}}
	for name, content := range files {
		m.Set(name, content)
	}
	return m
}

// Set creates a file or changes its content, behind the back of whoever uses the tree: nothing is logged, no hook runs.
func (m *Mem) Set(name, content string) { m.edit(name, func(n *node) { n.data = []byte(content) }) }

// Link makes name a symbolic link; a relative target starts at name's directory.
func (m *Mem) Link(name, target string) { m.edit(name, func(n *node) { n.link = target }) }

// ReadOnly makes writing the files fail with fs.ErrPermission, as a file of mode 0444 does.
func (m *Mem) ReadOnly(names ...string) {
	for _, name := range names {
		m.edit(name, func(n *node) { n.readOnly = true })
	}
}

// FailOpen makes opening the file fail, for reading and for writing; nil ends that. So for the other two.
func (m *Mem) FailOpen(name string, err error) { m.edit(name, func(n *node) { n.openErr = err }) }

// FailRead makes reading fail: the file can be opened, its content not be read.
func (m *Mem) FailRead(name string, err error) { m.edit(name, func(n *node) { n.readErr = err }) }

// FailWrite makes writing fail and leaves the content.
func (m *Mem) FailWrite(name string, err error) { m.edit(name, func(n *node) { n.writeErr = err }) }

// OnWrite calls fn for each write of the file with the old and the written content: what it returns is stored, and an
// error is the writer's answer (a result beside the error is stored nevertheless, as the kernel sometimes does). fn
// must not use m.
func (m *Mem) OnWrite(name string, fn func(old, data []byte) ([]byte, error)) {
	m.edit(name, func(n *node) { n.onWrite = fn })
}

// Remove removes a file, or all below a directory.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.nodes)
	maps.DeleteFunc(m.nodes, func(n string, _ *node) bool { return below(n, name) })
	if len(m.nodes) == before {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// lock is Lock without a file.
func (m *Mem) lock(ctx context.Context, name string) (unlock func(), err error) {
	for !m.tryLock(name) {
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, name)
	}, nil
}

func (m *Mem) tryLock(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return false
	}
	if m.locks == nil {
		m.locks = map[string]bool{}
	}
	m.locks[name] = true
	return true
}

// Writes returns the writes so far, oldest first.
func (m *Mem) Writes() []Write {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

// Files returns the content of all files, for comparison.
func (m *Mem) Files() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := map[string]string{}
	for name, n := range m.nodes {
		if n.link == "" {
			files[name] = string(n.data)
		}
	}
	return files
}

func (m *Mem) edit(name string, change func(*node)) {
	if check("edit", name) != nil || name == "." {
		panic("hostfs: impossible file name " + name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[name]
	if n == nil {
		n = &node{}
		m.nodes[name] = n
	}
	change(n)
}

// maxLinks is the kernel's limit of links in one path.
const maxLinks = 40

// resolve follows links, the last component's too if final is set.
func (m *Mem) resolve(op, name string, final bool) (string, error) {
	if err := check(op, name); err != nil {
		return "", err
	}
	done, rest := "", name
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		done = path.Join(done, part)
		n := m.nodes[done]
		if n == nil || n.link == "" || rest == "" && !final {
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: op, Path: name, Err: errors.New("too many levels of symbolic links")}
		}
		target := n.link
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(done), target)
		}
		done, rest = "", strings.TrimPrefix(path.Join(target, rest), "/")
	}
	if done == "" {
		done = "."
	}
	return done, nil
}

// find returns the file or, as nil, the directory that name leads to, with its own name.
func (m *Mem) find(op, name string, final bool) (string, *node, error) {
	real, err := m.resolve(op, name, final)
	if err != nil {
		return "", nil, err
	}
	if n := m.nodes[real]; n != nil {
		if n.openErr != nil {
			return "", nil, &fs.PathError{Op: op, Path: name, Err: n.openErr}
		}
		return real, n, nil
	}
	if real == "." {
		return real, nil, nil
	}
	for other := range m.nodes {
		if below(other, real) {
			return real, nil, nil
		}
	}
	return "", nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Open opens a file as it is now.
func (m *Mem) Open(name string) (fs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	real, n, err := m.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return &dir{info: memInfo{name: path.Base(name), mode: dirMode}, name: name, entries: m.list(real)}, nil
	}
	data := slices.Clone(n.data)
	return &memFile{data: bytes.NewReader(data), info: info(path.Base(name), n), err: n.readErr, name: name}, nil
}

// ReadFile returns the content of a file.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find("open", name, true)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	case n.readErr != nil:
		return nil, &fs.PathError{Op: "read", Path: name, Err: n.readErr}
	}
	return slices.Clone(n.data), nil
}

// ReadDir returns the entries of a directory, sorted by name.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	real, n, err := m.find("open", name, true)
	switch {
	case err != nil:
		return nil, err
	case n != nil:
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return m.list(real), nil
}

func (m *Mem) list(dir string) []fs.DirEntry {
	found := map[string]fs.DirEntry{}
	for name, n := range m.nodes {
		rest := name
		if dir != "." {
			if !below(name, dir) || name == dir {
				continue
			}
			rest = name[len(dir)+1:]
		}
		first, _, deeper := strings.Cut(rest, "/")
		if deeper {
			found[first] = fs.FileInfoToDirEntry(memInfo{name: first, mode: dirMode})
		} else {
			found[first] = fs.FileInfoToDirEntry(info(first, n))
		}
	}
	entries := []fs.DirEntry{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		entries = append(entries, found[name])
	}
	return entries
}

// Stat describes a file, following links.
func (m *Mem) Stat(name string) (fs.FileInfo, error) { return m.stat("stat", name, true) }

// Lstat describes a file without following a link.
func (m *Mem) Lstat(name string) (fs.FileInfo, error) { return m.stat("lstat", name, false) }

func (m *Mem) stat(op, name string, final bool) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find(op, name, final)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return memInfo{name: path.Base(name), mode: dirMode}, nil
	}
	return info(path.Base(name), n), nil
}

// ReadLink returns the target of a symbolic link.
func (m *Mem) ReadLink(name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n == nil || n.link == "" {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.link, nil
}

// WriteFile writes a file; one that is below neither proc nor sys is created if need be.
func (m *Mem) WriteFile(name string, data []byte, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.write(name, data)
	m.log = append(m.log, Write{Name: name, Data: string(data), Err: err})
	return err
}

// ReplaceFile is WriteFile: nobody sees a part of a write here.
func (m *Mem) ReplaceFile(name string, data []byte, perm fs.FileMode) error {
	return m.WriteFile(name, data, perm)
}

func (m *Mem) write(name string, data []byte) error {
	fail := func(op string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	_, n, err := m.find("open", name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !kernelFile(name):
		real, err := m.resolve("open", name, true)
		if err != nil {
			return err
		}
		m.nodes[real] = &node{data: slices.Clone(data)}
		return nil
	case err != nil:
		return err
	case n == nil:
		return fail("open", errors.New("is a directory"))
	case n.readOnly:
		return fail("open", fs.ErrPermission)
	case n.writeErr != nil:
		return fail("write", n.writeErr)
	case n.onWrite == nil:
		n.data = slices.Clone(data)
		return nil
	}
	stored, err := n.onWrite(slices.Clone(n.data), slices.Clone(data))
	if stored != nil || err == nil {
		n.data = slices.Clone(stored)
	}
	if err != nil {
		return fail("write", err)
	}
	return nil
}

const dirMode = fs.ModeDir | 0o555

func info(name string, n *node) memInfo {
	mode := fs.FileMode(0o644)
	switch {
	case n.link != "":
		mode = fs.ModeSymlink | 0o777
	case n.readOnly:
		mode = 0o444
	}
	return memInfo{name: name, size: int64(len(n.data)), mode: mode}
}

type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }

type memFile struct {
	data *bytes.Reader
	info memInfo
	name string
	err  error
}

func (f *memFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memFile) Close() error               { return nil }

func (f *memFile) Read(b []byte) (int, error) {
	if f.err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: f.err}
	}
	return f.data.Read(b)
}
