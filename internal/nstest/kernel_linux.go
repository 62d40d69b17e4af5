package nstest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireKernel skips the test unless LVS_KERNEL_TEST=1 is set, which says that this machine's kernel is there to be tested.
// With it, the test fails without root or without the ip_vs module.
func RequireKernel(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); err != nil {
		t.Fatalf("LVS_KERNEL_TEST=1 is set but the module ip_vs is not loaded: %v", err)
	}
}

// RequireRoot is RequireKernel without the need of ip_vs, for tests of what happens when it is absent.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Skip("needs root and a kernel to try things on: run it by go test -exec with bin/vm, or set LVS_KERNEL_TEST=1")
	}
	if os.Geteuid() != 0 {
		t.Fatal("LVS_KERNEL_TEST=1 is set but this is not root")
	}
}

// KernelAtLeast reports whether the running kernel is of the given version or later.
func KernelAtLeast(t testing.TB, major, minor int) bool {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	gotMajor, gotMinor, err := parseRelease(release)
	if err != nil {
		t.Fatalf("release %q: %v", release, err)
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}

// parseRelease reads the first two numbers of a kernel's release such as 6.12.1-amd64.
func parseRelease(release string) (major, minor int, err error) {
	first, rest, _ := strings.Cut(release, ".")
	second := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if major, err = strconv.Atoi(first); err != nil {
		return 0, 0, err
	}
	if len(second) == 0 || rest[0] < '0' || rest[0] > '9' {
		return 0, 0, strconv.ErrSyntax
	}
	minor, err = strconv.Atoi(second[0])
	return major, minor, err
}
