package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// offer is a kernel that apt can download.
type offer struct {
	name  string // of the kernel
	image string // package
}

// apt downloads kernels from the sources that apt is configured with.
type apt struct {
	cache   *cache
	log     io.Writer
	root    bool // whether apt-get update can be run
	updated bool // whether it was
}

// command runs a program and returns its output; its complaints are part of the error.
func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", missingTool(name)
		}
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLine(stderr.String()))
	}
	return stdout.String(), nil
}

func missingTool(name string) error {
	return fmt.Errorf("%s is not on this host: it comes with the package %s of Debian and Ubuntu; elsewhere set "+
		"LVS_VM_KERNEL and LVS_VM_MODULES", name, packageOf[name])
}

var packageOf = map[string]string{"apt-cache": "apt", "apt-get": "apt", "dpkg": "dpkg", "dpkg-deb": "dpkg"}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// errDownload says that apt could not download what its lists name.
var errDownload = errors.New("download failed")

// offers lists the kernels that apt knows, by name.
func (a *apt) offers() ([]offer, error) {
	list, err := a.offersOnce()
	if err == nil && len(list) == 0 {
		if err := a.update(); err != nil {
			return nil, err
		}
		list, err = a.offersOnce()
	}
	if err == nil && len(list) == 0 {
		err = errors.New("apt offers no kernel: there is no package such as linux-image-cloud-amd64 or linux-image-virtual")
	}
	return list, err
}

func (a *apt) offersOnce() ([]offer, error) {
	names, err := command("", "apt-cache", "pkgnames", "linux-image")
	if err != nil {
		return nil, err
	}
	var list []offer
	for _, meta := range kernelMetas(strings.Fields(names)) {
		depends, err := command("", "apt-cache", "depends", meta)
		if err != nil {
			return nil, err
		}
		image, ok := imagePackage(depends)
		if !ok {
			continue // known by name only
		}
		name, _ := kernelName(imagePackageRelease(image))
		if !slices.ContainsFunc(list, func(o offer) bool { return o.name == name }) {
			list = append(list, offer{name, image})
		}
	}
	slices.SortFunc(list, func(a, b offer) int {
		if lessVersion(a.name, b.name) {
			return -1
		}
		return 1
	})
	return list, nil
}

// update renews apt's lists, once.
func (a *apt) update() error {
	if a.updated {
		return nil
	}
	a.updated = true
	if !a.root {
		return errors.New("apt's lists have no kernel that can be downloaded: run apt-get update as root")
	}
	fmt.Fprintln(a.log, "vm: apt-get update")
	_, err := command("", "apt-get", "-q", "update")
	return err
}

// fetch downloads the newest build of the kernel called name, unless it is in the cache.
func (a *apt) fetch(name string) (kernel, error) {
	unlock, err := a.cache.lock("fetch")
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	if _, err := exec.LookPath("dpkg"); err != nil {
		return kernel{}, missingTool("dpkg")
	}
	k, err := a.fetchOnce(name)
	if errors.Is(err, errDownload) && !a.updated && a.root {
		// The lists may be old, and name a build that is no longer there.
		fmt.Fprintf(a.log, "vm: %v\n", err)
		if err := a.update(); err != nil {
			return kernel{}, err
		}
		k, err = a.fetchOnce(name)
	}
	return k, err
}

func (a *apt) fetchOnce(name string) (kernel, error) {
	offers, err := a.offers()
	if err != nil {
		return kernel{}, err
	}
	i := slices.IndexFunc(offers, func(o offer) bool { return o.name == name })
	if i < 0 {
		return kernel{}, fmt.Errorf("apt offers no kernel %s", name)
	}
	release := imagePackageRelease(offers[i].image)
	if k, err := a.cache.kernel(release); err == nil {
		return k, nil // another process was faster, or nothing newer came
	}
	packages := []string{offers[i].image}
	names, err := command("", "apt-cache", "pkgnames", "linux-modules")
	if err != nil {
		return kernel{}, err
	}
	packages = append(packages, modulePackages(strings.Fields(names), release)...)

	dir, err := os.MkdirTemp(a.cache.dir, "new-*")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(a.log, "vm: downloading %s\n", strings.Join(packages, " "))
	if _, err := command(dir, "apt-get", append([]string{"-q", "download"}, packages...)...); err != nil {
		return kernel{}, fmt.Errorf("%w: %w", errDownload, err)
	}
	return a.unpack(dir, name, release)
}

// unpack makes a kernel of the cache from the packages in dir.
func (a *apt) unpack(dir, name, release string) (kernel, error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return kernel{}, err
	}
	k := kernel{Name: name, Release: release}
	tree := filepath.Join(dir, "tree")
	for _, deb := range debs {
		if _, err := command("", "dpkg", "-x", deb, tree); err != nil {
			return kernel{}, err
		}
		if strings.HasPrefix(filepath.Base(deb), "linux-image-") {
			if k.Build, err = command("", "dpkg-deb", "-f", deb, "Version"); err != nil {
				return kernel{}, err
			}
			k.Build = strings.TrimSpace(k.Build)
		}
	}
	made := filepath.Join(dir, "made")
	if err := os.Mkdir(made, 0o755); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(filepath.Join(tree, "boot", "vmlinuz-"+release), filepath.Join(made, "vmlinuz")); err != nil {
		return kernel{}, err
	}
	moved := false
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		if os.Rename(filepath.Join(tree, lib, release), filepath.Join(made, "modules")) == nil {
			moved = true
			break
		}
	}
	if !moved {
		return kernel{}, fmt.Errorf("the packages of kernel %s have no modules", release)
	}
	description, err := json.Marshal(k)
	if err != nil {
		return kernel{}, err
	}
	if err := os.WriteFile(filepath.Join(made, "kernel.json"), description, 0o644); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(made, a.cache.path("kernels", release)); err != nil {
		return kernel{}, err
	}
	fmt.Fprintf(a.log, "vm: kernel %s is %s, build %s\n", name, release, k.Build)
	return a.cache.kernel(release)
}

// givenKernel returns the kernel that LVS_VM_KERNEL names, if it is set.
func givenKernel() (kernel, bool, error) {
	image := os.Getenv("LVS_VM_KERNEL")
	if image == "" {
		if os.Getenv("LVS_VM_MODULES") != "" {
			return kernel{}, false, usageError("LVS_VM_MODULES is set but LVS_VM_KERNEL is not")
		}
		return kernel{}, false, nil
	}
	data, err := os.ReadFile(image)
	if err != nil {
		return kernel{}, false, usageError("LVS_VM_KERNEL: %w", err)
	}
	release, err := imageRelease(data)
	if err != nil {
		return kernel{}, false, usageError("LVS_VM_KERNEL=%s: %w", image, err)
	}
	name, _ := kernelName(release)
	modules := os.Getenv("LVS_VM_MODULES")
	if modules != "" {
		if info, err := os.Stat(modules); err != nil || !info.IsDir() {
			return kernel{}, false, usageError("LVS_VM_MODULES=%s is not a folder", modules)
		}
	}
	return kernel{Name: name, Release: release, Build: image, Image: image, Modules: modules}, true, nil
}

// chooseKernel finds the kernel called name, the newest if name is empty, and downloads it if need be.
func (a *apt) chooseKernel(name string) (kernel, error) {
	k, given, err := givenKernel()
	if err != nil {
		return kernel{}, err
	}
	if given {
		if name != "" && name != k.Name {
			return kernel{}, usageError("kernel %s cannot be had: LVS_VM_KERNEL is a %s", name, k.Name)
		}
		return k, nil
	}
	if name != "" {
		kernels, err := a.cache.kernels()
		if err != nil {
			return kernel{}, err
		}
		if i := slices.IndexFunc(kernels, func(k kernel) bool { return k.Name == name }); i >= 0 {
			return kernels[i], nil
		}
	}
	names, err := a.names()
	if err != nil {
		return kernel{}, err
	}
	if name == "" {
		name = names[len(names)-1]
	}
	if !slices.Contains(names, name) {
		return kernel{}, usageError("kernel %s cannot be had here, only %s", name, strings.Join(names, ", "))
	}
	kernels, err := a.cache.kernels()
	if err != nil {
		return kernel{}, err
	}
	if i := slices.IndexFunc(kernels, func(k kernel) bool { return k.Name == name }); i >= 0 {
		return kernels[i], nil
	}
	return a.fetch(name)
}

// names lists the kernels that can be had, those in the cache included, oldest first.
func (a *apt) names() ([]string, error) {
	k, given, err := givenKernel()
	if err != nil {
		return nil, err
	}
	if given {
		return []string{k.Name}, nil
	}
	kernels, err := a.cache.kernels()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range kernels {
		names = append(names, k.Name)
	}
	offers, err := a.offers()
	if err != nil && len(names) == 0 {
		return nil, err
	}
	for _, o := range offers {
		if !slices.Contains(names, o.name) {
			names = append(names, o.name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if lessVersion(a, b) {
			return -1
		}
		return 1
	})
	return names, nil
}

// fetchAll downloads every kernel on offer.
func (a *apt) fetchAll() error {
	if k, given, err := givenKernel(); given || err != nil {
		if err == nil {
			fmt.Fprintf(a.log, "vm: kernel %s is %s, nothing to download\n", k.Name, k.Image)
		}
		return err
	}
	offers, err := a.offers()
	if err != nil {
		return err
	}
	for _, o := range offers {
		k, err := a.fetch(o.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.log, "vm: kernel %s: %s, build %s\n", k.Name, k.Release, k.Build)
	}
	return nil
}
