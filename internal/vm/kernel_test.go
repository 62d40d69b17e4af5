package main

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelMetas(t *testing.T) {
	for name, tt := range map[string]struct{ packages, want []string }{
		"Debian 12": {
			[]string{
				"linux-image-amd64", "linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64", "linux-image-6.12-amd64",
				"linux-image-6.1.0-56-cloud-amd64", "linux-image-cloud-amd64-dbg", "linux-image-6.12-cloud-amd64-dbg",
				"linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64-unsigned",
			},
			[]string{"linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"},
		},
		"Ubuntu": {
			[]string{
				"linux-image-6.8.0-31-generic", "linux-image-generic", "linux-image-virtual", "linux-image-virtual-hwe-24.04",
				"linux-image-virtual-hwe-24.04-edge", "linux-image-generic-hwe-24.04", "linux-image-kvm",
			},
			[]string{"linux-image-virtual", "linux-image-virtual-hwe-24.04"},
		},
		"without cloud kernels": {
			[]string{"linux-image-amd64", "linux-image-rt-amd64"}, []string{"linux-image-amd64"},
		},
		"nothing": {[]string{"linux-image-6.1.0-56-cloud-amd64"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, kernelMetas(tt.packages)); diff != "" {
				t.Fatalf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestImagePackage(t *testing.T) {
	for name, tt := range map[string]struct{ depends, image, release, kernel string }{
		"Debian": {
			"linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n",
			"linux-image-6.1.0-56-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1",
		},
		"Debian, later": {
			"linux-image-6.12-cloud-amd64\n  Depends: linux-image-6.12.117+deb12-cloud-amd64\n",
			"linux-image-6.12.117+deb12-cloud-amd64", "6.12.117+deb12-cloud-amd64", "6.12",
		},
		"Ubuntu": {
			"linux-image-virtual\n |Depends: linux-image-6.8.0-31-generic\n  Depends: linux-image-unsigned-6.8.0-31-generic\n" +
				"  Depends: linux-firmware\n",
			"linux-image-6.8.0-31-generic", "6.8.0-31-generic", "6.8",
		},
		"known by name only": {"linux-image-generic\n", "", "", ""},
		"not a dependency":   {"x\n  Conflicts: linux-image-6.1.0-56-cloud-amd64\n", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			image, ok := imagePackage(tt.depends)
			if image != tt.image || ok != (tt.image != "") {
				t.Fatalf("got %q, %v; want %q", image, ok, tt.image)
			}
			release := imagePackageRelease(image)
			if release != tt.release {
				t.Errorf("got release %q, want %q", release, tt.release)
			}
			if got, _ := kernelName(release); got != tt.kernel {
				t.Errorf("got name %q, want %q", got, tt.kernel)
			}
		})
	}
}

func TestModulePackages(t *testing.T) {
	got := modulePackages([]string{
		"linux-modules-6.8.0-31-generic", "linux-modules-extra-6.8.0-31-generic", "linux-modules-6.8.0-35-generic",
		"linux-modules-nvidia-6.8.0-31-generic",
	}, "6.8.0-31-generic")
	want := []string{"linux-modules-6.8.0-31-generic", "linux-modules-extra-6.8.0-31-generic"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("packages (-want +got):\n%s", diff)
	}
}

func TestImageRelease(t *testing.T) {
	image := make([]byte, 0x400)
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x100)
	copy(image[0x300:], "6.12.3-test (me@here) #1 SMP\x00")
	if got, err := imageRelease(image); err != nil || got != "6.12.3-test" {
		t.Fatalf("got %q, %v", got, err)
	}
	outside := append([]byte(nil), image...)
	binary.LittleEndian.PutUint16(outside[0x20e:], 0x7000)
	for name, bad := range map[string][]byte{
		"empty": nil, "text": []byte(strings.Repeat("x", 0x300)), "cut": image[:0x300], "outside": outside,
		"no version": append(append([]byte(nil), image[:0x300]...), make([]byte, 0x100)...),
	} {
		if got, err := imageRelease(bad); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}
