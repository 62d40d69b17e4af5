package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary stand for the program where no machine is needed.
func TestMain(m *testing.M) {
	if os.Getenv("VM_TEST_MAIN") == "1" {
		main()
	}
	status := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(status)
}

// builtDir is the folder that built made.
var builtDir string

func TestCommandLine(t *testing.T) {
	image := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(image, []byte("not a kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args, env      []string
		status         int
		stdout, stderr string
	}{
		"help":         {[]string{"-h"}, nil, 0, "usage: vm", ""},
		"mistake":      {[]string{"-frob"}, nil, 2, "", "-frob"},
		"no program":   {nil, nil, 2, "", "no program given"},
		"no kernel":    {[]string{"true"}, []string{"LVS_VM_KERNEL=/nonexistent"}, 2, "", "LVS_VM_KERNEL"},
		"bad kernel":   {[]string{"true"}, []string{"LVS_VM_KERNEL=" + image}, 2, "", "not an x86 kernel image"},
		"only modules": {[]string{"-kernels"}, []string{"LVS_VM_KERNEL=", "LVS_VM_MODULES=/lib"}, 2, "", "LVS_VM_KERNEL is not"},
		"no apt":       {[]string{"-kernels"}, []string{"PATH=/nonexistent", "LVS_VM_KERNEL="}, 125, "", "package apt of Debian"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(os.Args[0], tt.args...)
			cmd.Env = append(append(os.Environ(), "VM_TEST_MAIN=1", "LVS_VM_CACHE="+t.TempDir()), tt.env...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if status := exitStatus(t, cmd.Run()); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("standard output %q, want %q", stdout.String(), tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) || strings.Count(stderr.String(), "\n") > 1 || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("standard error %q, want one line with %q", stderr.String(), tt.stderr)
			}
		})
	}
}

func exitStatus(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	e, ok := err.(*exec.ExitError)
	if !ok {
		t.Fatal(err)
	}
	return e.ExitCode()
}

func TestCacheKernels(t *testing.T) {
	t.Setenv("LVS_VM_CACHE", t.TempDir())
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	for release, text := range map[string]string{
		"6.1.0-9":  `{"Name":"6.1","Release":"6.1.0-9","Build":"6.1.9-1"}`,
		"6.1.0-56": `{"Name":"6.1","Release":"6.1.0-56","Build":"6.1.192-2"}`,
		"6.12.1":   `{"Name":"6.12","Release":"6.12.1","Build":"6.12.1-1"}`,
		"stray":    "",
	} {
		if err := os.Mkdir(c.path("kernels", release), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(c.path("kernels", release, "kernel.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kernels, err := c.kernels()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range kernels {
		got = append(got, k.Name+" "+k.Release)
		if k.Image != c.path("kernels", k.Release, "vmlinuz") {
			t.Errorf("image %s", k.Image)
		}
	}
	if want := []string{"6.1 6.1.0-56", "6.12 6.12.1"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// TestCacheModules has several processes' worth of work on one cache at once.
func TestCacheModules(t *testing.T) {
	t.Setenv("LVS_VM_CACHE", t.TempDir())
	k := kernel{Release: "1.2", Modules: moduleFolder(t)}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := openCache()
			if err != nil {
				t.Error(err)
				return
			}
			set, err := c.modules(k, options{Modules: []string{"ip_top", "absent"}})
			if err != nil {
				t.Error(err)
				return
			}
			order, err := set.pick([]string{"ip_top"})
			if err != nil || len(order) != 4 || order[3].Path != "/usr/lib/modules/1.2/ip_top.ko" {
				t.Errorf("got %v, %v", order, err)
			}
			if !slices.Equal(set.Missing, []string{"absent"}) {
				t.Errorf("missing %v", set.Missing)
			}
			data, err := os.ReadFile(set.archive)
			if err != nil {
				t.Error(err)
				return
			}
			if n := strings.Count(string(data), ".ko\x00"); n != 4 {
				t.Errorf("%d modules in the archive, want 4", n)
			}
		})
	}
	wg.Wait()
	if left, _ := filepath.Glob(os.Getenv("LVS_VM_CACHE") + "/new-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// built is vm and the guest's test binary, made once.
var built = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("", "vm-test-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(dir, "vm"), "."},
		{"test", "-c", "-o", filepath.Join(dir, "guest.test"), "./testdata/guest"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return dir, nil
})

// machineTest skips without LVS_VM_TEST=1, and returns the folder with the programs.
func machineTest(t *testing.T) string {
	t.Helper()
	if os.Getenv("LVS_VM_TEST") != "1" {
		t.Skip("set LVS_VM_TEST=1 to start machines: needs qemu-system-x86_64 and a kernel, takes minutes")
	}
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// guest is a command that runs one test of testdata/guest in a machine.
func guest(t *testing.T, flags []string, test string, testFlags ...string) *exec.Cmd {
	t.Helper()
	dir := machineTest(t)
	args := append(slices.Clone(flags), filepath.Join(dir, "guest.test"), "-test.run", "^"+test+"$", "-test.v")
	cmd := exec.Command(filepath.Join(dir, "vm"), append(args, testFlags...)...)
	cmd.Dir = "testdata/guest"
	return cmd
}

// runGuest runs such a command and returns what it wrote.
func runGuest(t *testing.T, want int, cmd *exec.Cmd) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	status := exitStatus(t, cmd.Run())
	if status != want {
		t.Fatalf("status %d, want %d\n%s\n%s", status, want, out.String(), errs.String())
	}
	if n := leftovers(t, cmd.Process.Pid); n > 0 {
		t.Errorf("%d machines left", n)
	}
	return out.String(), errs.String()
}

// leftovers counts QEMUs whose process group or parent is that of the vm with this process id.
func leftovers(t *testing.T, pid int) int {
	t.Helper()
	return len(children(t, pid))
}

// children lists the processes whose parent is pid.
func children(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		head, rest, _ := strings.Cut(string(data), " (")
		rest = rest[strings.LastIndex(rest, ")")+1:]
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(head)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, child)
		}
	}
	return list
}

func wantText(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", what, want, text)
		}
	}
}

func TestMachine(t *testing.T) {
	dir := machineTest(t)
	out, err := exec.Command(filepath.Join(dir, "vm"), "-kernels").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	if len(names) == 0 {
		t.Fatal("no kernel can be had here")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { testKernel(t, []string{"-kernel", name}) })
	}
}

func testKernel(t *testing.T, kernel []string) {
	with := func(flags ...string) []string { return append(slices.Clone(kernel), flags...) }

	t.Run("pass", func(t *testing.T) {
		stdout, stderr := runGuest(t, 0, guest(t, kernel, "TestPass|TestData"))
		wantText(t, "standard output", stdout, "--- PASS: TestPass", "--- PASS: TestData", "PASS\n")
		wantText(t, "standard error", stderr, "vm: Linux "+kernel[1]+".")
	})
	t.Run("fail", func(t *testing.T) {
		stdout, _ := runGuest(t, 1, guest(t, kernel, "TestFail"))
		wantText(t, "standard output", stdout, "fails on purpose", "--- FAIL: TestFail")
	})
	t.Run("killed", func(t *testing.T) {
		_, stderr := runGuest(t, 137, guest(t, kernel, "TestKilled"))
		wantText(t, "standard error", stderr, "SIGKILL")
	})
	t.Run("env", func(t *testing.T) {
		cmd := guest(t, with("-env", "ADDED=a=b"), "TestEnv")
		cmd.Env = append(os.Environ(), "LVS_SOME=thing", "GODEBUG=madvdontneed=1", "SECRET=x")
		stdout, _ := runGuest(t, 0, cmd)
		wantText(t, "standard output", stdout, "LVS_SOME=thing\nGODEBUG=madvdontneed=1\nADDED=a=b\nSECRET=\n")
	})
	t.Run("order", func(t *testing.T) {
		var want strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
		}
		out, err := guest(t, kernel, "TestOrder").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !bytes.Contains(out, []byte(want.String())) {
			t.Errorf("the two streams got out of order:\n%.2000s", out)
		}
		stdout, stderr := runGuest(t, 0, guest(t, kernel, "TestOrder"))
		if strings.Contains(stdout, "err 1\n") || !strings.Contains(stdout, "out 1999\n") {
			t.Errorf("standard output:\n%.500s", stdout)
		}
		if strings.Contains(stderr, "out 1\n") || !strings.Contains(stderr, "err 1999\n") {
			t.Errorf("standard error:\n%.500s", stderr)
		}
	})
	t.Run("large", func(t *testing.T) {
		stdout, _ := runGuest(t, 0, guest(t, kernel, "TestLarge"))
		_, rest, _ := strings.Cut(stdout, "=== RUN   TestLarge\n")
		i := strings.Index(rest, "sum ")
		if i < 0 {
			t.Fatalf("%d bytes of output have no sum", len(stdout))
		}
		if want := fmt.Sprintf("sum %x\n", sha256.Sum256([]byte(rest[:i]))); !strings.HasPrefix(rest[i:], want) {
			t.Fatalf("%d bytes of output do not have their sum", i)
		}
	})
	t.Run("daemon", func(t *testing.T) {
		start := time.Now()
		stdout, _ := runGuest(t, 0, guest(t, kernel, "TestDaemon"))
		wantText(t, "standard output", stdout, "left true", "PASS")
		if d := time.Since(start); d > 3*time.Minute {
			t.Errorf("took %v", d)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		_, stderr := runGuest(t, 125, guest(t, with("-timeout", "3s"), "TestHang"))
		wantText(t, "standard error", stderr, "stopping guest.test after 3s", "SIGQUIT", "guest.TestHang")
		_, stderr = runGuest(t, 125, guest(t, with("-timeout", "1s"), "TestDeaf"))
		wantText(t, "standard error", stderr, "stopping guest.test after 1s", "the guest does not answer")
		stdout, stderr := runGuest(t, 2, guest(t, kernel, "TestHang", "-test.timeout=2s"))
		wantText(t, "output", stdout+stderr, "panic: test timed out after 2s")
	})
	t.Run("panic", func(t *testing.T) {
		_, stderr := runGuest(t, 125, guest(t, kernel, "TestPanic"))
		wantText(t, "standard error", stderr, "ended by itself", "last lines of the console", "Kernel panic")
	})
	t.Run("modules", func(t *testing.T) {
		stdout, _ := runGuest(t, 0, guest(t, with("-module-options", "ip_vs.conn_tab_bits=16"), "TestModules"))
		wantText(t, "standard output", stdout, "module ip_vs_mh\n", "module ip_vs_pe_sip\n", "module veth\n", "bits 16\n")
		stdout, _ = runGuest(t, 0, guest(t, with("-modules", "ip_vs_rr"), "TestModules"))
		wantText(t, "standard output", stdout, "module ip_vs_rr\n", "module ip_vs\n")
		if strings.Contains(stdout, "module veth\n") {
			t.Error("veth was loaded")
		}
		_, stderr := runGuest(t, 2, guest(t, with("-modules", "ip_vs_frob"), "TestModules"))
		wantText(t, "standard error", stderr, "has no module ip_vs_frob")
	})
	t.Run("autoload", func(t *testing.T) {
		stdout, _ := runGuest(t, 0, guest(t, with("-modules", "none"), "TestFamily"))
		wantText(t, "standard output", stdout, "family false module false\n", "modprobe: exit status 1: modprobe: module ip-vs-rr not found")
		stdout, _ = runGuest(t, 0, guest(t, with("-modules", "none", "-autoload"), "TestFamily"))
		wantText(t, "standard output", stdout, "family true module true\n", "rr true\n")
	})
	t.Run("icount", func(t *testing.T) {
		start := time.Now()
		stdout, _ := runGuest(t, 0, guest(t, with("-icount"), "TestClock", "-test.timeout=2h"))
		wantText(t, "standard output", stdout, "slept 1h0m0s")
		if d := time.Since(start); d > 10*time.Minute {
			t.Errorf("an hour took %v", d)
		}
	})
	t.Run("program", func(t *testing.T) {
		if _, err := findProgram("busybox"); err != nil {
			t.Fatal(err)
		}
		stdout, _ := runGuest(t, 0, guest(t, with("-program", "busybox"), "TestPrograms"))
		wantText(t, "standard output", stdout, "from busybox\n<nil>\n")
		_, stderr := runGuest(t, 2, guest(t, with("-program", "frob"), "TestPrograms"))
		wantText(t, "standard error", stderr, "program frob is not on this host")
	})
	t.Run("coverage", func(t *testing.T) {
		profile := filepath.Join(t.TempDir(), "cpu.out")
		runGuest(t, 0, guest(t, kernel, "TestPass", "-test.cpuprofile="+profile))
		if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
			t.Errorf("no profile came back: %v", err)
		}
	})
	t.Run("go test", func(t *testing.T) {
		dir := machineTest(t)
		cmd := exec.Command("go", "test", "-count=1", "-v", "-exec", dir+"/vm "+strings.Join(kernel, " "), "-run", "^TestPass$", "./testdata/guest")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		wantText(t, "output", string(out), "--- PASS: TestPass", "ok  ")
	})
}

// TestMachineEnds kills vm and its parent in several ways and looks for machines that are left.
func TestMachineEnds(t *testing.T) {
	// start returns the process ids of vm and of its machine, once the program is running.
	start := func(t *testing.T, cmd *exec.Cmd) (vm, qemu int) {
		t.Helper()
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		var seen []byte
		for b := make([]byte, 1024); !bytes.Contains(seen, []byte("sleeping\n")); {
			n, err := stdout.Read(b)
			if err != nil {
				t.Fatalf("%v\n%s", err, seen)
			}
			seen = append(seen, b[:n]...)
		}
		vm = cmd.Process.Pid
		if !strings.HasSuffix(cmd.Path, "/vm") {
			list := children(t, vm)
			if len(list) != 1 {
				t.Fatalf("the parent has the children %v", list)
			}
			vm = list[0]
		}
		list := children(t, vm)
		if len(list) != 1 {
			t.Fatalf("vm has the children %v", list)
		}
		return vm, list[0]
	}
	// gone waits for a process to end.
	gone := func(t *testing.T, pids ...int) {
		t.Helper()
		for _, pid := range pids {
			deadline := time.Now().Add(5 * time.Second)
			for {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				if err != nil || strings.Contains(string(stat), ") Z ") {
					break
				}
				if time.Now().After(deadline) {
					_ = unix.Kill(pid, unix.SIGKILL)
					t.Fatalf("process %d is still there: %s", pid, stat)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	t.Run("vm killed", func(t *testing.T) {
		cmd := guest(t, nil, "TestSleep")
		_, qemu := start(t, cmd)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		gone(t, qemu)
	})
	t.Run("go test killed", func(t *testing.T) {
		dir := machineTest(t)
		cmd := exec.Command("go", "test", "-count=1", "-v", "-exec", dir+"/vm", "-run", "^TestSleep$", "./testdata/guest")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		vm, qemu := start(t, cmd)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		gone(t, vm, qemu)
	})
	t.Run("parent killed", func(t *testing.T) {
		inner := guest(t, nil, "TestSleep")
		cmd := exec.Command("sh", append([]string{"-c", `"$@"; true`, "sh"}, inner.Args...)...)
		cmd.Dir = inner.Dir
		vm, qemu := start(t, cmd)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		gone(t, vm, qemu)
	})
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			cmd := guest(t, nil, "TestSleep")
			_, qemu := start(t, cmd)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if status := exitStatus(t, cmd.Wait()); status != 128+int(sig) {
				t.Errorf("status %d", status)
			}
			gone(t, qemu)
		})
	}
	t.Run("SIGQUIT", func(t *testing.T) {
		cmd := guest(t, nil, "TestSleep")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		_, qemu := start(t, cmd)
		if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		if status := exitStatus(t, cmd.Wait()); status != 2 {
			t.Errorf("status %d, want that of a Go program that got SIGQUIT", status)
		}
		wantText(t, "standard error", stderr.String(), "SIGQUIT: quit", "guest.TestSleep")
		gone(t, qemu)
	})
}
