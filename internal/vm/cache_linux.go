package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// cache is the folder with downloaded kernels and what is made of them. What is in it under its final name is complete:
// everything is made under another name and renamed, under a lock.
type cache struct{ dir string }

// openCache makes the folder that LVS_VM_CACHE names, or the default one.
func openCache() (*cache, error) {
	dir := os.Getenv("LVS_VM_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(base, "lvs-vm")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"kernels", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return &cache{dir}, nil
}

func (c *cache) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// lock waits until no other process works in the cache. The lock goes when this process ends.
func (c *cache) lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(c.path(name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
	}
}

// writeFile makes a file of the cache in one step.
func (c *cache) writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// kernels lists the downloaded kernels, the newest build of each name, by name.
func (c *cache) kernels() ([]kernel, error) {
	entries, err := os.ReadDir(c.path("kernels"))
	if err != nil {
		return nil, err
	}
	newest := make(map[string]kernel)
	for _, e := range entries {
		k, err := c.kernel(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if old, ok := newest[k.Name]; !ok || lessVersion(old.Build, k.Build) {
			newest[k.Name] = k
		}
	}
	list := make([]kernel, 0, len(newest))
	for _, k := range newest {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b kernel) int {
		if lessVersion(a.Name, b.Name) {
			return -1
		}
		return 1
	})
	return list, nil
}

// kernel reads the description of one downloaded kernel.
func (c *cache) kernel(release string) (kernel, error) {
	data, err := os.ReadFile(c.path("kernels", release, "kernel.json"))
	if err != nil {
		return kernel{}, err
	}
	var k kernel
	if err := json.Unmarshal(data, &k); err != nil {
		return kernel{}, err
	}
	// The folder may have been moved.
	k.Image, k.Modules = c.path("kernels", release, "vmlinuz"), c.path("kernels", release, "modules")
	return k, nil
}
