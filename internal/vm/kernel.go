package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// kernel is a kernel to boot.
type kernel struct {
	Name    string // first two numbers of the release
	Release string // as uname -r prints it, which names the module folder too
	Build   string // version of the package it is from, or the image's path
	Image   string // path of vmlinuz
	Modules string // folder with modules, may be empty
}

// kernelName returns the name of a kernel by its release: 6.12 for 6.12.117+deb12-cloud-amd64.
func kernelName(release string) (string, bool) {
	m := releaseStart.FindString(release)
	return m, m != ""
}

var releaseStart = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// imageRelease returns the release that an x86 kernel image (bzImage) carries: the boot protocol's header has, at 0x20e,
// the offset less 0x200 of a text whose first word it is.
func imageRelease(image []byte) (string, error) {
	const headerMagic, versionOffset = 0x202, 0x20e
	if len(image) < 0x210 || !bytes.Equal(image[headerMagic:headerMagic+4], []byte("HdrS")) {
		return "", errors.New("not an x86 kernel image")
	}
	at := int(binary.LittleEndian.Uint16(image[versionOffset:])) + 0x200
	if at >= len(image) {
		return "", errors.New("kernel image ends before its version")
	}
	text, _, _ := bytes.Cut(image[at:min(len(image), at+256)], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	if _, ok := kernelName(release); !ok {
		return "", fmt.Errorf("kernel image with the version %q", text)
	}
	return release, nil
}

// kernelMetas picks, from all names of packages that begin with linux-image, those that stand for a newest kernel: of the
// kinds that are made for virtual machines first, because they are small.
func kernelMetas(packages []string) []string {
	for _, kind := range metaKinds {
		var metas []string
		for _, p := range packages {
			if kind.MatchString(p) {
				metas = append(metas, p)
			}
		}
		if len(metas) > 0 {
			slices.Sort(metas)
			return slices.Compact(metas)
		}
	}
	return nil
}

var metaKinds = []*regexp.Regexp{
	regexp.MustCompile(`^linux-image-([0-9]+\.[0-9]+-)?cloud-amd64$`),            // Debian
	regexp.MustCompile(`^linux-image-virtual(-hwe-[0-9]+\.[0-9]+)?$`),            // Ubuntu
	regexp.MustCompile(`^linux-image-(generic(-hwe-[0-9]+\.[0-9]+)?|amd64)$`),    // both
	regexp.MustCompile(`^linux-image-([0-9]+\.[0-9]+-)amd64$|^linux-image-kvm$`), // whatever there is
}

// imagePackage returns the package that holds the kernel image, from the output of "apt-cache depends META".
func imagePackage(depends string) (string, bool) {
	for line := range strings.Lines(depends) {
		name, ok := strings.CutPrefix(strings.TrimLeft(line, " |"), "Depends: ")
		if !ok {
			continue
		}
		if name = strings.TrimSpace(name); imageName.MatchString(name) {
			return name, true
		}
	}
	return "", false
}

var imageName = regexp.MustCompile(`^linux-image-(unsigned-)?([0-9]+\.[0-9]+\S*)$`)

// imagePackageRelease returns the release that a package such as linux-image-6.1.0-56-cloud-amd64 holds.
func imagePackageRelease(pkg string) string {
	m := imageName.FindStringSubmatch(pkg)
	if m == nil {
		return ""
	}
	return m[2]
}

// modulePackages picks the packages that hold the modules of a kernel where they are not in the image's own package (Ubuntu),
// from all names of packages that begin with linux-modules.
func modulePackages(packages []string, release string) []string {
	var list []string
	for _, p := range packages {
		if p == "linux-modules-"+release || p == "linux-modules-extra-"+release {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
