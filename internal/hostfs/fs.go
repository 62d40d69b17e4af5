package hostfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a directory tree of this machine. Use [Host] or [Dir].
type FS struct {
	root string
	ns   NetNS
	host bool // names below proc and sys are the kernel's
}

var (
	_ WriteFS       = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// Host is the tree below "/", with the files of the network namespace ns. A namespace given by name is looked up for
// each operation; one given as a file must stay open as long as the tree is used.
func Host(ns NetNS) *FS { return &FS{root: "/", ns: ns, host: true} }

// Dir is the tree below a directory, all of it ordinary files: a copy of a host's files, the root of an image.
func Dir(dir string) *FS { return &FS{root: dir} }

// Open opens a file for reading. The result can be read on any thread and for any length of time, wherever it was
// opened; a directory is read at once.
func (f *FS) Open(name string) (file fs.File, err error) {
	err = f.do("open", name, func(path string) error {
		opened, err := os.Open(path)
		if err != nil {
			return err
		}
		file = opened
		if info, err := opened.Stat(); err == nil && info.IsDir() && f.moves(name) {
			// Which entries /proc/sys/net shows depends on the thread that lists it.
			defer opened.Close()
			entries, err := readDir(path)
			if err != nil {
				return err
			}
			file = &dir{info: info, entries: entries, name: name}
		}
		return nil
	})
	return file, err
}

// OpenFile opens a file as os.OpenFile does.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (file *os.File, err error) {
	err = f.do("open", name, func(path string) error {
		file, err = os.OpenFile(path, flag, perm)
		return err
	})
	return file, err
}

// ReadFile returns the content of a file.
func (f *FS) ReadFile(name string) (data []byte, err error) {
	err = f.do("open", name, func(path string) error {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// ReadDir returns the entries of a directory, sorted by name.
func (f *FS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = f.do("open", name, func(path string) error {
		if f.moves(name) {
			entries, err = readDir(path)
		} else {
			entries, err = os.ReadDir(path)
		}
		return err
	})
	return entries, err
}

// readDir also takes the entries' details, which are looked up later otherwise, by then in another namespace.
func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	kept := entries[:0]
	for _, e := range entries {
		if info, infoErr := e.Info(); infoErr == nil { // else it has gone meanwhile
			kept = append(kept, fs.FileInfoToDirEntry(info))
		}
	}
	return kept, err
}

// Stat describes a file, following links.
func (f *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do("stat", name, func(path string) error {
		info, err = os.Stat(path)
		return err
	})
	return info, err
}

// Lstat describes a file without following a link.
func (f *FS) Lstat(name string) (info fs.FileInfo, err error) {
	err = f.do("lstat", name, func(path string) error {
		info, err = os.Lstat(path)
		return err
	})
	return info, err
}

// ReadLink returns the target of a symbolic link.
func (f *FS) ReadLink(name string) (target string, err error) {
	err = f.do("readlink", name, func(path string) error {
		target, err = os.Readlink(path)
		return err
	})
	return target, err
}

// WriteFile writes a file.
//
// A file of the host below proc or sys must exist; data goes out in one write, as the kernel takes each write for a
// complete value, and a value that it takes only in part is an error that matches [io.ErrShortWrite]. What was taken
// stays. Another file is created or overwritten, see also [FS.ReplaceFile].
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return f.do("open", name, func(path string) error {
		switch {
		case f.host && kernelFile(name):
			return writeOnce(path, data)
		case kernelFile(name):
			return writeExisting(path, data)
		}
		return os.WriteFile(path, data, perm)
	})
}

func writeExisting(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// ReplaceFile gives a file new content and mode perm, independent of the umask: it writes a temporary file beside it,
// synchronises it to the disk and renames it. The directory must exist. A symbolic link is replaced, not followed.
func (f *FS) ReplaceFile(name string, data []byte, perm fs.FileMode) error {
	return f.do("open", name, func(path string) error {
		tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
		if err != nil {
			return err
		}
		_, err = tmp.Write(data)
		if err == nil {
			err = tmp.Chmod(perm)
		}
		if err == nil {
			err = tmp.Sync()
		}
		err = errors.Join(err, tmp.Close())
		if err == nil {
			err = os.Rename(tmp.Name(), path)
		}
		if err != nil {
			return errors.Join(err, os.Remove(tmp.Name()))
		}
		return syncDir(filepath.Dir(path))
	})
}

// Remove deletes a file or an empty directory.
func (f *FS) Remove(name string) error { return f.do("remove", name, os.Remove) }

// MkdirAll makes a directory and those above it.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	return f.do("mkdir", name, func(path string) error { return os.MkdirAll(path, perm) })
}

// moves says whether name is to be opened in another namespace.
func (f *FS) moves(name string) bool {
	_, net := netName(name)
	return f.host && net && !f.ns.IsZero()
}

// do runs fn with the path of name, in the right namespace.
func (f *FS) do(op, name string, fn func(path string) error) error {
	if err := check(op, name); err != nil {
		return err
	}
	if f.host {
		if inNet, ok := netName(name); ok {
			path := filepath.Join(f.root, filepath.FromSlash(inNet))
			return f.ns.Do(func() error { return fn(path) })
		}
	}
	return fn(filepath.Join(f.root, filepath.FromSlash(name)))
}

// dir is an open directory whose entries are known.
type dir struct {
	info    fs.FileInfo
	name    string
	entries []fs.DirEntry
}

func (d *dir) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *dir) Close() error { return nil }

func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	part := d.entries[:n:n]
	d.entries = d.entries[n:]
	return part, nil
}
