package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// archive writes one cpio archive of an initramfs. The kernel unpacks several that follow each other, so each part can be
// made, and kept, by itself.
type archive struct {
	out  *bufio.Writer
	n    int64 // bytes written to out
	cpio *cpio.Writer
	seen map[string]bool // paths in the archive
}

func newArchive(w io.Writer) *archive {
	a := &archive{out: bufio.NewWriterSize(w, 256<<10), seen: make(map[string]bool)}
	a.cpio = cpio.NewWriter(a)
	return a
}

// Write is for the cpio writer only.
func (a *archive) Write(b []byte) (int, error) {
	n, err := a.out.Write(b)
	a.n += int64(n)
	return n, err
}

// close ends the archive, padded to a multiple of 512 bytes so that another one can follow.
func (a *archive) close() error {
	if err := a.cpio.Close(); err != nil {
		return err
	}
	if pad := -a.n & 511; pad > 0 {
		if _, err := a.Write(make([]byte, pad)); err != nil {
			return err
		}
	}
	return a.out.Flush()
}

// guestPath maps a path of the host to the guest, where /bin, /sbin and /lib* are links into /usr on any host.
func guestPath(path string) string {
	path = filepath.Clean("/" + path)
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return "/usr" + path
		}
	}
	return path
}

// add writes one entry and the folders above it. An entry that is there already is left as it is.
func (a *archive) add(path string, h cpio.Header, r io.Reader) error {
	path = guestPath(path)
	if a.seen[path] {
		return nil
	}
	if parent := filepath.Dir(path); parent != "/" {
		if err := a.dir(parent, 0o755); err != nil {
			return err
		}
	}
	a.seen[path] = true
	h.Name = strings.TrimPrefix(path, "/")
	if err := a.cpio.WriteHeader(&h); err != nil {
		return fmt.Errorf("initramfs %s: %w", path, err)
	}
	if r == nil {
		return nil
	}
	if n, err := io.Copy(a.cpio, r); err != nil {
		return fmt.Errorf("initramfs %s: %w", path, err)
	} else if n != h.Size {
		return fmt.Errorf("initramfs %s: %d bytes instead of %d", path, n, h.Size)
	}
	return nil
}

// dir adds a folder.
func (a *archive) dir(path string, perm fs.FileMode) error {
	if guestPath(path) == "/" {
		return nil
	}
	mode := cpio.FileMode(perm.Perm())
	if perm&fs.ModeSticky != 0 {
		mode |= cpio.ModeSticky
	}
	return a.add(path, cpio.Header{Mode: cpio.TypeDir | mode, Links: 2}, nil)
}

// file adds a file with the given contents.
func (a *archive) file(path string, perm fs.FileMode, data []byte) error {
	h := cpio.Header{Mode: cpio.TypeReg | cpio.FileMode(perm.Perm()), Size: int64(len(data))}
	return a.add(path, h, bytes.NewReader(data))
}

// symlink adds a symbolic link. Its target is not looked at.
func (a *archive) symlink(path, target string) error {
	h := cpio.Header{Mode: cpio.TypeSymlink | 0o777, Size: int64(len(target))}
	return a.add(path, h, strings.NewReader(target))
}

// merged adds the links that guestPath counts on.
func (a *archive) merged() error {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := a.dir("/usr/"+dir, 0o755); err != nil {
			return err
		}
		// Not through add, which would map the link's own path.
		target := "usr/" + dir
		h := cpio.Header{Name: dir, Mode: cpio.TypeSymlink | 0o777, Size: int64(len(target))}
		if err := a.cpio.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := io.WriteString(a.cpio, target); err != nil {
			return err
		}
	}
	return nil
}

// hostFile adds a regular file of the host, symbolic links followed, as path.
func (a *archive) hostFile(path, host string) error {
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", host)
	}
	h := cpio.Header{Mode: cpio.TypeReg | cpio.FileMode(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}
	return a.add(path, h, f)
}

// hostLink adds what is at host, at the same path: a file, or each symbolic link on the way to it and the file.
func (a *archive) hostLink(host string) error {
	for range 40 {
		info, err := os.Lstat(host)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return a.hostFile(host, host)
		}
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		if err := a.symlink(host, target); err != nil {
			return err
		}
		host = absolute(target, filepath.Dir(host))
	}
	return fmt.Errorf("%s: too many symbolic links", host)
}

// hostTree adds a file or a folder with everything below it. Links are kept; sockets, pipes and devices are left out.
func (a *archive) hostTree(host string) error {
	return filepath.WalkDir(host, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return a.dir(path, 0o755)
		case d.Type().IsRegular():
			return a.hostFile(path, path)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return a.symlink(path, target)
		}
		return nil
	})
}

// packageFolder adds what a test binary finds in its package's folder: the regular files and testdata.
func (a *archive) packageFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := e.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > maxPackageFile {
			continue
		}
		if err := a.hostFile(path, path); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	err = a.hostTree(filepath.Join(dir, "testdata"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maxPackageFile keeps forgotten binaries and profiles in a package's folder out of the guest's memory, in bytes.
const maxPackageFile = 4 << 20
