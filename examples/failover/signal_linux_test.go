package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/examples/internal/setup"
)

// Keepalived ends notify scripts by SIGTERM. One that waits for another run then has changed nothing.
func TestTerminated(t *testing.T) {
	dir := t.TempDir()
	kernel := "memory:" + filepath.Join(dir, "kernel")
	flags := []string{"-vip", "192.0.2.10", "-rules", rulesFile(t, rules), "-sync-dev", "lo"}
	if status, _, errs := run(t, kernel, append([]string{"backup"}, flags...)...); status != setup.ExitOK {
		t.Fatal(errs)
	}
	j := journal{filepath.Join(dir, "failover-lvs.json")}
	before, err := j.read()
	if err != nil || before.State != stateBackup {
		t.Fatalf("%+v, %v", before, err)
	}
	unlock, err := j.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"failover", "master"}, flags...)
	cmd.Env = append(cmd.Environ(), "LVS_KERNEL="+kernel)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It takes the signal for what it is once it runs, which its process tells nobody; before, the signal ends it.
	time.Sleep(300 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() > setup.ExitError || strings.Contains(said.String(), stateMaster) {
		t.Errorf("%v\n%s", err, &said)
	}
	if after, err := j.read(); err != nil || !cmp.Equal(before, after) {
		t.Errorf("the record is %+v, %v; it was %+v", after, err, before)
	}
	if status, out, errs := run(t, kernel, append([]string{"backup", "-n"}, flags...)...); status != setup.ExitOK || out != "nothing to do\n" {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
}
