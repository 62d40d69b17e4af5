package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("IPVSADM_TEST_RUN") == "1" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// tool runs the program on a kernel that is kept in a file.
func tool(t *testing.T, kernel, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "IPVSADM_TEST_RUN=1", "LVS_KERNEL="+kernel)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// The state outlives a run: a table is made in one, shown in another, saved, cleared and restored.
func TestStateIsKept(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "state")
	must := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, status := tool(t, kernel, stdin, args...)
		if status != 0 || stderr != "" {
			t.Fatalf("%q: status %d, %s", args, status, stderr)
		}
		return stdout
	}
	must("", "-A", "-t", "192.0.2.1:80", "-s", "rr")
	must("", "-a", "-t", "192.0.2.1:80", "-r", "10.0.0.2:8080", "-m", "-x", "5")
	const want = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.0.2.1:80 rr
  -> 10.0.0.2:8080                Masq    1      0          0         
`
	if got := must("", "-Ln"); got != want {
		t.Errorf("table:\n%s", got)
	}
	saved := must("", "-S", "--lossless")
	must("", "-C")
	must(saved, "-R", "--lossless", "--atomic")
	if got := must("", "-S", "--lossless"); got != saved || !strings.Contains(got, " -x 5\n") {
		t.Errorf("restored:\n%s\ninstead of:\n%s", got, saved)
	}
}

func TestStatus(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "state")
	for args, want := range map[string]struct {
		status int
		stderr string
	}{
		"-L -t 192.0.2.1:80": {1, "No such service\n"},
		"-A -t 192.0.2.1":    {2, "Zero port specified for non-persistent service\n"},
		"-D -t 192.0.2.1:80": {255, "No such service\n"},
		"-L --bogus":         {255, "--bogus: unknown option\n"},
		"-v":                 {0, ""},
	} {
		if _, stderr, status := tool(t, kernel, "", strings.Fields(args)...); status != want.status || stderr != want.stderr {
			t.Errorf("%s: status %d, %q", args, status, stderr)
		}
	}
	_, stderr, status := tool(t, "nonsense", "", "-L")
	if status != 2 || !strings.HasPrefix(stderr, "Can't initialize ipvs: ") {
		t.Errorf("a kernel of no kind: status %d, %q", status, stderr)
	}
}
