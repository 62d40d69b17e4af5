package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeApt puts programs into PATH that stand for apt and dpkg. The archive has build 6.12.2 of a kernel; the lists name
// 6.12.1 until apt-get update. Calls are logged to the file returned.
func fakeApt(t *testing.T) (log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	for name, script := range map[string]string{
		"apt-cache": `case $1 in
pkgnames) [ "$2" = linux-image ] && echo linux-image-cloud-amd64; exit 0;;
depends) printf '%s\n  Depends: linux-image-6.12.%s-cloud-amd64\n' "$2" "$(cat "$D/lists")";;
esac`,
		"apt-get": `case "$*" in
*update) echo 2 >"$D/lists";;
*6.12.2-cloud-amd64) echo deb >linux-image-6.12.2-cloud-amd64_6.12.2-1_amd64.deb;;
*) echo "E: Failed to fetch http://x 404 Not Found" >&2; exit 100;;
esac`,
		"dpkg": `mkdir -p "$3/boot" "$3/lib/modules/6.12.2-cloud-amd64/kernel"
echo image >"$3/boot/vmlinuz-6.12.2-cloud-amd64"
echo m >"$3/lib/modules/6.12.2-cloud-amd64/kernel/a.ko"`,
		"dpkg-deb": `echo 6.12.2-1`,
	} {
		script = "#!/bin/sh\nD=" + dir + "\necho \"" + name + " $*\" >>\"$D/log\"\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lists"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LVS_VM_CACHE", t.TempDir())
	t.Setenv("LVS_VM_KERNEL", "")
	t.Setenv("LVS_VM_MODULES", "")
	return log
}

func TestFetchOldLists(t *testing.T) {
	log := fakeApt(t)
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if _, err := (&apt{cache: c, log: &said}).chooseKernel("6.12"); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Fatalf("without root: got error %v, want apt's", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			k, err := (&apt{cache: c, log: new(bytes.Buffer), root: true}).chooseKernel("")
			if err != nil {
				t.Error(err)
				return
			}
			if k.Name != "6.12" || k.Release != "6.12.2-cloud-amd64" || k.Build != "6.12.2-1" {
				t.Errorf("got %+v", k)
			}
			for _, path := range []string{k.Image, filepath.Join(k.Modules, "kernel/a.ko")} {
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]int{"apt-get -q update": 1, "dpkg -x": 1, "apt-get -q download linux-image-6.12.2": 1} {
		if n := strings.Count(string(calls), call); n != want {
			t.Errorf("%d times %q, want %d:\n%s", n, call, want, calls)
		}
	}
	if left, _ := filepath.Glob(c.path("new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// From now on the cache answers, without apt.
	t.Setenv("PATH", t.TempDir())
	if k, err := (&apt{cache: c, log: &said}).chooseKernel("6.12"); err != nil || k.Release != "6.12.2-cloud-amd64" {
		t.Errorf("got %+v, %v", k, err)
	}
	if names, err := (&apt{cache: c, log: &said}).names(); err != nil || len(names) != 1 {
		t.Errorf("got %v, %v", names, err)
	}
	if _, err := (&apt{cache: c, log: &said}).chooseKernel("5.4"); err == nil || !strings.Contains(err.Error(), "only 6.12") {
		t.Errorf("got error %v", err)
	}
}
