package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/golvs/lvs/irq"
	"github.com/golvs/lvs/sysctl"
	"github.com/google/go-cmp/cmp"
)

// run runs the program and returns its exit status and output.
func run(t testing.TB, kernel, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	p := program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errOut, kernel: kernel, open: openTree}
	status = p.run(t.Context(), args)
	return status, out.String(), errOut.String()
}

// fixture is a small director in a folder: two cores, one card with one queue.
func fixture(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"proc/meminfo":                                "MemTotal:        4015740 kB\n",
		"proc/cmdline":                                "quiet\n",
		"proc/interrupts":                             "      CPU0  CPU1\n 30:     0     0  PCI-MSIX   0-edge      eth0\n 31:     5     9  PCI-MSIX   1-edge      eth0-TxRx-0\n",
		"proc/irq/31/smp_affinity_list":               "0-1\n",
		"proc/irq/31/effective_affinity_list":         "1\n",
		"proc/sys/kernel/osrelease":                   "6.12.43\n",
		"proc/sys/net/ipv4/vs/expire_nodest_conn":     "0\n",
		"proc/sys/net/ipv4/vs/conn_reuse_mode":        "1\n",
		"proc/sys/net/ipv4/vs/secure_tcp":             "0\n",
		"proc/sys/net/ipv4/vs/drop_entry":             "0\n",
		"proc/sys/net/ipv4/vs/drop_packet":            "0\n",
		"proc/sys/net/ipv4/vs/amemthresh":             "1024\n",
		"proc/sys/net/ipv4/tcp_syncookies":            "1\n",
		"proc/sys/net/ipv4/tcp_synack_retries":        "5\n",
		"sys/devices/system/cpu/possible":             "0-1\n",
		"sys/devices/system/cpu/online":               "0-1\n",
		"sys/class/net/eth0/device/msi_irqs/30":       "msix\n",
		"sys/class/net/eth0/device/msi_irqs/31":       "msix\n",
		"sys/class/net/eth0/queues/rx-0/rps_cpus":     "0\n",
		"sys/class/net/eth0/queues/tx-0/tx_maxrate":   "0\n",
		"sys/module/ip_vs/parameters/conn_tab_bits":   "12\n",
		"sys/module/ip_vs/initstate":                  "live\n",
		"sys/module/ip_vs/refcnt":                     "1\n",
		"sys/module/ip_vs/holders/ip_vs_rr/initstate": "live\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// content returns all files below a folder.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if !strings.HasSuffix(name, "lock") { // stays, empty
			files[name] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil, {"-role", "director"}, {"-role"}, {"-no-such-flag"}, {"extra"}, {"-conns", "many"}, {"-apply"}, {"-timeouts", "1,2"},
		{"-timeouts", "1,2,x"}, {"-undo", "-apply"}, {"-undo", "-check", "x"}, {"-root", "/x", "-netns", "y", "-undo"}, {"-dev", "a/b"},
		{"-apply", "-conns", "5"}, {"-apply", "-n", "-dev", "eth0"}, {"-apply", "-json", "-dev", "eth0"}, {"-n"},
		{"-undo", "-conns", "5"}, {"-undo", "-persist"}, {"-persist"}, {"-persist", "-dev", "eth0"}, {"-ipv6"}, {"-tracked", "-dev", "eth0"}, {"-dev", "eth0,eth0"},
		{"-role", "director-tun", "-tunnel", "tunl0"}, {"-role", "director-tun", "-tunnel-address"}, {"-role", "realserver-tun", "-tunnel", "a/b"},
		{"-role", "director-dr", "-always"}, {"-dev", "all"}, {"-dev", "averyverylongname"},
	} {
		status, stdout, stderr := run(t, "", "", args...)
		if status != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "tune: ") {
			t.Errorf("%q: status %d, output %q, errors %q", args, status, stdout, stderr)
		}
	}
	status, stdout, stderr := run(t, "", "", "-h")
	if status != exitOK || !strings.HasPrefix(stdout, "usage: tune [flags]\n") || !strings.Contains(stdout, "-timeouts") || stderr != "" {
		t.Errorf("-h: status %d, output %q, errors %q", status, stdout, stderr)
	}
}

func TestShow(t *testing.T) {
	dir := fixture(t)
	before := content(t, dir)
	status, stdout, stderr := run(t, "", "", "-root", dir, "-role", "director-dr", "-dev", "eth0", "-conns", "1000000", "-persist")
	const want = `SETTING                            NOW  WANTED  ACTION  WHY
net.ipv4.vs.expire_nodest_conn     0    1       write   connections of a removed server end at once instead of hanging until they time out
net.ipv4.vs.conn_reuse_mode        1    1       keep    clients that reuse a port reach a server that is in service
net.ipv4.neigh.default.gc_thresh1  -    4096    skip    not here: it exists in the initial network namespace only
net.ipv4.neigh.default.gc_thresh2  -    8192    skip    not here: it exists in the initial network namespace only
net.ipv4.neigh.default.gc_thresh3  -    16384   skip    not here: it exists in the initial network namespace only
create /etc/sysctl.d/90-lvs.conf (for the next boot):
	# Written by tune.
	# room for many real servers and clients on the link
	-net.ipv4.neigh.default.gc_thresh1 = 4096
	# room for many real servers and clients on the link
	-net.ipv4.neigh.default.gc_thresh2 = 8192
	# room for many real servers and clients on the link
	-net.ipv4.neigh.default.gc_thresh3 = 16384
	# clients that reuse a port reach a server that is in service
	net.ipv4.vs.conn_reuse_mode = 1
	# connections of a removed server end at once instead of hanging until they time out
	net.ipv4.vs.expire_nodest_conn = 1
create /etc/modules-load.d/lvs.conf (before sysctl.d is read):
	# Written by tune.
	ip_vs
create /etc/modprobe.d/ip_vs.conf (for the next load of ip_vs):
	# Written by tune. Takes effect when the module is loaded the next time.
	options ip_vs conn_tab_bits=20
conn_tab_bits 20: 1048576 buckets, 8192 KiB
  file /etc/modprobe.d/ip_vs.conf: options ip_vs conn_tab_bits=20
  before a reload: module ip_vs_rr uses ip_vs: unload it
  1000000 connections take 325 MiB besides
KIND      WHAT                NOW  WANTED  WHY
affinity  irq 31 eth0-TxRx-0  0-1  1       eth0 queue 0, node 0
rps       eth0 rx-0           -    0       cores that serve no interrupt of the card
`
	if diff := cmp.Diff(want, stdout); status != exitOK || diff != "" || stderr != "" {
		t.Errorf("status %d, errors %q, output (-want +got):\n%s", status, stderr, diff)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("showing changed something (-want +got):\n%s", diff)
	}
	if _, again, _ := run(t, "", "", "-root", dir, "-role", "director-dr", "-dev", "eth0", "-conns", "1000000", "-persist", "-n"); again != stdout {
		t.Errorf("with -n:\n%s", again)
	}
}

func TestJSON(t *testing.T) {
	dir := fixture(t)
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel.json")
	status, stdout, stderr := run(t, kernel, "net.ipv4.tcp_tw_recycle = 1\n", "-root", dir, "-role", "director-dr", "-dev", "eth0", "-conns", "1000000", "-timeouts", "600,0,30", "-check", "-", "-json")
	var got struct {
		Findings []struct {
			Line          int
			Text, Verdict string
		}
		Plan struct {
			Parameters struct {
				Changes []struct{ Key, Old, New, Action string }
			}
			ConnTab struct {
				Bits    int
				Content string
			} `json:"conn_tab"`
			Interrupts struct {
				Changes []struct{ Kind, Old, New string }
			}
			Timeouts struct{ Now, Wanted map[string]int }
		}
		Problem string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != exitOK || stderr != "" {
		t.Fatalf("status %d, errors %q, %v, output:\n%s", status, stderr, err, stdout)
	}
	p := got.Plan
	switch {
	case len(got.Findings) != 1 || got.Findings[0].Verdict != "gone" || got.Findings[0].Line != 1:
	case len(p.Parameters.Changes) != 5 || p.Parameters.Changes[0].Key != "net.ipv4.vs.expire_nodest_conn" || p.Parameters.Changes[0].Action != "write":
	case p.ConnTab.Bits != 20 || !strings.Contains(p.ConnTab.Content, "options ip_vs conn_tab_bits=20\n"):
	case len(p.Interrupts.Changes) != 2 || p.Interrupts.Changes[0].Kind != "affinity" || p.Interrupts.Changes[0].New != "1":
	case p.Timeouts.Now["tcp"] != 900 || p.Timeouts.Wanted["tcp"] != 600 || p.Timeouts.Wanted["tcp_fin"] != 120:
	case got.Problem != "":
	default:
		return
	}
	t.Errorf("%+v from\n%s", got, stdout)
}

func TestApplyAndUndo(t *testing.T) {
	dir := fixture(t)
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel.json")
	before := content(t, dir)
	args := []string{"-root", dir, "-role", "director-dr,under-attack", "-always", "-dev", "eth0", "-timeouts", "600,0,30", "-persist", "-apply"}
	status, stdout, stderr := run(t, kernel, "", args...)
	if status != exitOK || stderr != "" || !strings.Contains(stdout, "timeouts tcp tcpfin udp: 900 120 300, wanted 600 120 30\n") || !strings.Contains(stdout, "applied: 8 parameters and files, 2 interrupts and queues") {
		t.Fatalf("status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
	want := maps.Clone(before)
	maps.Copy(want, map[string]string{
		"proc/irq/31/smp_affinity_list":           "1\n",
		"proc/sys/net/ipv4/vs/expire_nodest_conn": "1\n",
		"proc/sys/net/ipv4/vs/secure_tcp":         "3\n",
		"proc/sys/net/ipv4/vs/drop_entry":         "3\n",
		"proc/sys/net/ipv4/vs/drop_packet":        "3\n",
		"proc/sys/net/ipv4/vs/amemthresh":         "31372\n",
		"proc/sys/net/ipv4/tcp_synack_retries":    "3\n",
		"sys/class/net/eth0/queues/rx-0/rps_cpus": "1\n",
	})
	after := content(t, dir)
	for name := range after {
		if strings.HasPrefix(name, "run/") || strings.HasPrefix(name, "etc/") {
			delete(after, name)
		}
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}

	status, stdout, stderr = run(t, kernel, "", args...)
	if status != exitOK || stderr != "" || !strings.Contains(stdout, "applied: 0 parameters and files, 0 interrupts and queues") {
		t.Errorf("second time: status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
	// A change in between is continued by the journals.
	if status, _, stderr := run(t, kernel, "", "-root", dir, "-timeouts", "700,0,0", "-apply"); status != exitOK {
		t.Errorf("third time: status %d, errors %q", status, stderr)
	}
	// What undoing would do, with a value that someone else has changed.
	entry := filepath.Join(dir, "proc/sys/net/ipv4/vs/drop_entry")
	if err := os.WriteFile(entry, []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	applied := content(t, dir)
	const wantUndo = `SETTING                                   NOW         BACK TO      ACTION
timeouts tcp tcpfin udp                   700 120 30  900 120 300  restore
/proc/irq/31/smp_affinity_list            1           0-1          restore
/sys/class/net/eth0/queues/rx-0/rps_cpus  1           0            restore
net.ipv4.vs.expire_nodest_conn            1           0            restore
net.ipv4.vs.amemthresh                    31372       1024         restore
net.ipv4.vs.secure_tcp                    3           0            restore
net.ipv4.vs.drop_entry                    2           0            leave
net.ipv4.vs.drop_packet                   3           0            restore
net.ipv4.tcp_synack_retries               3           5            restore
/etc/sysctl.d/90-lvs.conf                 present     absent       restore
/etc/modules-load.d/lvs.conf              present     absent       restore
leave: someone else has changed it since
`
	status, stdout, stderr = run(t, kernel, "", "-root", dir, "-undo", "-n")
	if diff := cmp.Diff(wantUndo, stdout); status != exitOK || stderr != "" || diff != "" {
		t.Errorf("-undo -n: status %d, errors %q (-want +got):\n%s", status, stderr, diff)
	}
	var listed struct{ Undo []map[string]string }
	status, stdout, stderr = run(t, kernel, "", "-root", dir, "-undo", "-json")
	if err := json.Unmarshal([]byte(stdout), &listed); err != nil || status != exitOK || stderr != "" || len(listed.Undo) != 11 {
		t.Errorf("-undo -json: status %d, errors %q, %v, output:\n%s", status, stderr, err, stdout)
	} else if diff := cmp.Diff(map[string]string{"setting": "net.ipv4.vs.drop_entry", "now": "2", "back_to": "0", "action": "leave"}, listed.Undo[6]); diff != "" {
		t.Errorf("-undo -json (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(applied, content(t, dir)); diff != "" {
		t.Errorf("showing what undoing would do changed something (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(entry, []byte("3\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	status, stdout, stderr = run(t, kernel, "", "-root", dir, "-undo")
	if status != exitOK || stderr != "" || !strings.Contains(stdout, "timeouts: restored") || !strings.Contains(stdout, "net.ipv4.vs.drop_entry: restored") {
		t.Errorf("undo: status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("after undo (-want +got):\n%s", diff)
	}
	if _, stdout, _ := run(t, kernel, "", "-root", dir, "-timeouts", "900,120,300"); !strings.Contains(stdout, "udp: 900 120 300, wanted 900 120 300") {
		t.Errorf("timeouts after undo: %s", stdout)
	}
	for _, args := range [][]string{{"-undo"}, {"-undo", "-n"}, {"-undo", "-journal", "/run/none"}, {"-undo", "-n", "-journal", "/run/none"}} {
		if status, stdout, _ := run(t, kernel, "", append(args, "-root", dir)...); status != exitOK || stdout != "nothing to undo\n" {
			t.Errorf("%q again: status %d, output %q", args, status, stdout)
		}
	}
	if _, stdout, _ := run(t, kernel, "", "-root", dir, "-undo", "-json"); stdout != "{\n\t\"undo\": []\n}\n" {
		t.Errorf("-undo -json again: %s", stdout)
	}
	if _, err := os.Stat(filepath.Join(dir, "run/none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undoing nothing made a folder: %v", err)
	}
}

// The outcomes of both packages are the same.
func TestOutcomes(t *testing.T) {
	for i, action := range actions {
		if action == "" || sysctl.Outcome(i).String() != irq.Outcome(i).String() {
			t.Errorf("%d: %q, %v, %v", i, action, sysctl.Outcome(i), irq.Outcome(i))
		}
	}
}

// Roles that do not agree are said to be that, and additions do not decide about a list, wherever they are named.
func TestRoles(t *testing.T) {
	dir := fixture(t)
	if _, stdout, _ := run(t, "", "", "-root", dir, "-role", "director-dr,realserver-dr"); !strings.Contains(stdout, "warning: a director that is a real server") {
		t.Errorf("output:\n%s", stdout)
	}
	for _, roles := range []string{"high-connections,director-nat", "director-nat,high-connections"} {
		_, stdout, _ := run(t, "", "net.ipv4.ip_forward = 0\n", "-root", dir, "-check", "-", "-role", roles)
		if !strings.Contains(stdout, "1: harmful: net.ipv4.ip_forward = 0") || strings.Contains(stdout, "warning") {
			t.Errorf("%s: output:\n%s", roles, stdout)
		}
	}
	if status, stdout, stderr := run(t, "", "", "-netns", "no-such-namespace", "-role", "director-nat"); status != exitError || stdout != "" || !strings.Contains(stderr, "no-such-namespace") {
		t.Errorf("no such namespace: status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
}

// mortal is a tree that calls die before a change after so many.
type mortal struct {
	tree
	left *int
	die  func()
}

func (m mortal) tick() {
	if *m.left--; *m.left < 0 {
		m.die()
	}
}

func (m mortal) WriteFile(name string, data []byte, perm fs.FileMode) error {
	m.tick()
	return m.tree.WriteFile(name, data, perm)
}

func (m mortal) Remove(name string) error { m.tick(); return m.tree.Remove(name) }

// Rename also dies afterwards: a record is complete then, and nothing of what it says is done.
func (m mortal) Rename(from, to string) error {
	m.tick()
	defer m.tick()
	return m.tree.Rename(from, to)
}

// TestMain is also the program that is killed, see TestKilled.
func TestMain(m *testing.M) {
	if n := os.Getenv("LVS_TUNE_KILL"); n != "" {
		left, err := strconv.Atoi(n)
		if err != nil {
			panic(err)
		}
		p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, kernel: os.Getenv("LVS_KERNEL")}
		p.open = func(folder string) (tree, error) {
			t, err := openTree(folder)
			return mortal{t, &left, func() {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}}, err
		}
		os.Exit(p.run(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

var everything = []string{"-role", "director-dr,under-attack", "-always", "-dev", "eth0", "-timeouts", "600,0,30", "-conns", "1000000", "-persist", "-apply"}

// Killed before any change of a file, -apply leaves what -undo restores everything from, and so does -undo.
func TestKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed := func(n int, kernel string, args ...string) bool {
		cmd := exec.Command(exe, args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("LVS_TUNE_KILL=%d", n), "LVS_KERNEL="+kernel)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
			return true
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return false
	}
	dir := fixture(t)
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel.json")
	before := content(t, dir)
	restored := func(when string) {
		t.Helper()
		if status, stdout, stderr := run(t, kernel, "", "-root", dir, "-undo"); status != exitOK || strings.Contains(stdout, "left alone") {
			t.Errorf("%s: status %d, errors %q, output:\n%s", when, status, stderr, stdout)
		}
		now := content(t, dir)
		maps.DeleteFunc(now, func(name, _ string) bool { return strings.HasSuffix(name, ".new") })
		if diff := cmp.Diff(before, now); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if _, stdout, _ := run(t, kernel, "", "-root", dir, "-timeouts", "900,120,300"); !strings.Contains(stdout, "udp: 900 120 300, wanted 900 120 300") {
			t.Errorf("%s: timeouts %s", when, stdout)
		}
	}
	args := append([]string{"-root", dir}, everything...)
	n, changed := 0, 0
	for ; killed(n, kernel, args...); n++ {
		if !maps.Equal(before, content(t, dir)) {
			changed++
		}
		restored(fmt.Sprintf("apply, killed at %d", n))
	}
	if n < 15 || changed < n-1 {
		t.Errorf("killed %d times, with an effect %d times", n, changed)
	}
	restored("after it survived")
	// The same after an earlier run whose values it changes.
	earlier := []string{"-root", dir, "-role", "director-dr,under-attack", "-timeouts", "500,0,20", "-conns", "60000", "-persist", "-apply"}
	for n = 0; ; n++ {
		if status, _, stderr := run(t, kernel, "", earlier...); status != exitOK {
			t.Fatal(stderr)
		}
		again := killed(n, kernel, args...)
		restored(fmt.Sprintf("second apply, killed at %d", n))
		if !again {
			break
		}
	}
	if n < 15 {
		t.Errorf("second apply: killed %d times", n)
	}
	for n = 0; ; n++ {
		if status, _, stderr := run(t, kernel, "", args...); status != exitOK {
			t.Fatal(stderr)
		}
		if !killed(n, kernel, "-root", dir, "-undo") {
			break
		}
		restored(fmt.Sprintf("undo, killed at %d", n))
	}
	if n < 10 {
		t.Errorf("undo: killed %d times", n)
	}
}

// Interrupted at any change of a file, everything is as before or as wanted. So it is if a part of it fails.
func TestInterrupted(t *testing.T) {
	dir := fixture(t)
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel.json")
	before := content(t, dir)
	args := append([]string{"-root", dir}, everything...)
	for n := 0; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		left := n
		var out, errOut bytes.Buffer
		p := program{stdin: strings.NewReader(""), stdout: &out, stderr: &errOut, kernel: kernel}
		p.open = func(folder string) (tree, error) {
			t, err := openTree(folder)
			return mortal{t, &left, cancel}, err
		}
		status := p.run(ctx, args)
		cancel()
		if status == exitOK {
			if n < 15 || ctx.Err() == nil {
				t.Errorf("interrupted %d times", n)
			}
			break
		}
		if diff := cmp.Diff(before, content(t, dir)); diff != "" {
			t.Fatalf("interrupted at %d, %s (-want +got):\n%s", n, errOut.String(), diff)
		}
	}
	if status, stdout, stderr := run(t, kernel, "", "-root", dir, "-undo"); status != exitOK {
		t.Fatalf("status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
	// The last part, the timeouts, is refused.
	status, _, stderr := run(t, kernel, "", append(args, "-timeouts", "2147483000,0,0")...)
	if diff := cmp.Diff(before, content(t, dir)); status != exitError || stderr == "" || diff != "" {
		t.Errorf("status %d, errors %q (-want +got):\n%s", status, stderr, diff)
	}
}

func TestCannotApply(t *testing.T) {
	dir := fixture(t)
	if err := os.RemoveAll(filepath.Join(dir, "proc/sys/net/ipv4/vs")); err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	status, stdout, stderr := run(t, "", "", "-root", dir, "-role", "director-dr", "-apply")
	if status != exitError || !strings.Contains(stderr, "module ip_vs is not loaded") {
		t.Errorf("status %d, errors %q, output:\n%s", status, stderr, stdout)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("changed all the same (-want +got):\n%s", diff)
	}
	if status, stdout, _ := run(t, "", "", "-root", dir, "-role", "director-dr"); status != exitOK || !strings.Contains(stdout, "cannot be applied at present") {
		t.Errorf("showing: status %d, output:\n%s", status, stdout)
	}
	if status, _, stderr := run(t, "", "", "-root", filepath.Join(dir, "none"), "-undo"); status != exitError || stderr == "" {
		t.Errorf("no such root: status %d, errors %q", status, stderr)
	}
	if os.Getuid() != 0 {
		if err := os.Mkdir(filepath.Join(dir, "locked"), 0o500); err != nil {
			t.Fatal(err)
		}
		if status, _, stderr := run(t, "", "", "-root", dir, "-journal", "/locked/tune", "-dev", "eth0", "-apply"); status != exitError || !strings.HasPrefix(stderr, "tune: -apply and -undo need root: ") {
			t.Errorf("without privilege: status %d, errors %q", status, stderr)
		}
	}
	if status, _, stderr := run(t, "", "", "-root", dir, "-dev", "eth7"); status != exitError || !strings.Contains(stderr, "eth7") {
		t.Errorf("no such card: status %d, errors %q", status, stderr)
	}
}

func TestCheck(t *testing.T) {
	dir := fixture(t)
	list := "# comment\n\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.ip_forward = 0\nnonsense\n"
	status, stdout, stderr := run(t, "", list, "-root", dir, "-check", "-", "-role", "director-nat")
	const want = `3: gone: net.ipv4.tcp_tw_recycle = 1: gone since Linux 4.12: broke clients behind NAT
4: harmful: net.ipv4.ip_forward = 0: a NAT director must route the replies of the real servers
5: no sysctl: nonsense: not a kernel parameter
judged 3: 1 gone, 1 harmful, 1 no sysctl
`
	if diff := cmp.Diff(want, stdout); status != exitOK || stderr != "" || diff != "" {
		t.Errorf("status %d, errors %q, output (-want +got):\n%s", status, stderr, diff)
	}
	if status, _, stderr := run(t, "", "", "-root", dir, "-check", filepath.Join(dir, "none")); status != exitError || !strings.Contains(stderr, "none") {
		t.Errorf("no such list: status %d, errors %q", status, stderr)
	}
}
