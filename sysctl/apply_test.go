package sysctl

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/google/go-cmp/cmp"
)

const journalFile = "run/lvs/sysctl.json"

// killer ends the writing goroutine at a write after so many.
type killer struct {
	*hostfs.Mem
	after int
}

func (k *killer) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if k.after == 0 {
		runtime.Goexit()
	}
	k.after--
	return k.Mem.WriteFile(name, data, perm)
}

// forwarder behaves as Linux does when forwarding is switched for all interfaces.
type forwarder struct{ *hostfs.Mem }

func (f forwarder) WriteFile(name string, data []byte, perm fs.FileMode) error {
	old, err := f.ReadFile(name)
	if err != nil {
		return err
	}
	if err := f.Mem.WriteFile(name, data, perm); err != nil || string(old) == string(data) {
		return err
	}
	switch {
	case name == "proc/sys/net/ipv4/ip_forward", name == IPv4("all", "forwarding").Path():
		f.Set("proc/sys/net/ipv4/ip_forward", string(data))
		for _, dev := range []string{"all", "default", "eth0", "eth1.100", "lo", "tunl0"} {
			f.Set(IPv4(dev, "forwarding").Path(), string(data))
		}
		f.Set(IPv4("all", "accept_redirects").Path(), map[bool]string{true: "1\n", false: "0\n"}[string(data) == "0\n"])
	case name == IPv6("all", "forwarding").Path():
		f.Set(IPv6("default", "forwarding").Path(), string(data))
	}
	return nil
}

func settingsOf(pairs ...string) []Setting {
	var list []Setting
	for i := 0; i < len(pairs); i += 2 {
		key, err := ParseKey(pairs[i])
		if err != nil {
			panic(err)
		}
		list = append(list, Setting{Key: key, Value: pairs[i+1], Reason: "test"})
	}
	return list
}

func mustPlan(t testing.TB, h *Host, list []Setting) Plan {
	t.Helper()
	p, err := h.Plan(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// changed returns what differs from the fixture, without the journal.
func changed(before map[string]string, m *hostfs.Mem) map[string]string {
	diff := map[string]string{}
	for name, content := range m.Files() {
		if before[name] != content && name != journalFile {
			diff[strings.TrimPrefix(name, "proc/sys/")] = content
		}
	}
	return diff
}

func TestPlanApplyVerifyUndo(t *testing.T) {
	m := fixture(t, "6.12")
	before := m.Files()
	h := newHost(t, m)
	p := mustPlan(t, h, settingsOf(
		"net.ipv4.vs.expire_nodest_conn", "1",
		"net.ipv4.vs.conn_reuse_mode", "1",
		"net.ipv4.vs.sync_threshold", "0  1",
		"net.ipv4.conf.eth1/100.rp_filter", "2",
	))
	if len(m.Writes()) != 0 {
		t.Fatalf("planning wrote %v", m.Writes())
	}
	want := `SETTING                           NOW   WANTED  ACTION  WHY
net.ipv4.vs.expire_nodest_conn    0     1       write   test
net.ipv4.vs.conn_reuse_mode       1     1       keep    test
net.ipv4.vs.sync_threshold        3 50  0 1     write   test
net.ipv4.conf.eth1/100.rp_filter  0     2       write   test
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if err := h.AddFile(&p, "etc/sysctl.d/90-lvs.conf", []byte("net.ipv4.vs.expire_nodest_conn = 1\n"), "next boot"); err != nil {
		t.Fatal(err)
	}
	if len(h.Verify(p)) != 4 {
		t.Errorf("drift before: %v", h.Verify(p))
	}
	report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"net.ipv4.vs.expire_nodest_conn", "net.ipv4.vs.sync_threshold", "net.ipv4.conf.eth1/100.rp_filter", "etc/sysctl.d/90-lvs.conf"}, report.Written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if drift := h.Verify(p); len(drift) != 0 {
		t.Errorf("drift after: %v", drift)
	}
	wantFiles := map[string]string{
		"net/ipv4/vs/expire_nodest_conn": "1\n", "net/ipv4/vs/sync_threshold": "0 1\n",
		"net/ipv4/conf/eth1.100/rp_filter": "2\n", "etc/sysctl.d/90-lvs.conf": "net.ipv4.vs.expire_nodest_conn = 1\n",
	}
	if diff := cmp.Diff(wantFiles, changed(before, m)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	// The second time nothing is left to do, and the journal still knows the values before the first.
	writes := len(m.Writes())
	again := mustPlan(t, h, settingsOf("net.ipv4.vs.expire_nodest_conn", "1", "net.ipv4.vs.sync_threshold", "0 1"))
	if !again.Empty() {
		t.Errorf("second plan:\n%v", again)
	}
	if _, err := h.Apply(t.Context(), again, &ApplyOptions{Journal: journalFile}); err != nil || len(m.Writes()) != writes {
		t.Errorf("second run: %v, %d more writes", err, len(m.Writes())-writes)
	}
	if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
		t.Errorf("the same plan again: %v", err)
	}

	// Another plan continues the journal. Someone else's change survives.
	other := mustPlan(t, h, settingsOf("net.ipv4.vs.expire_nodest_conn", "0", "net.ipv4.vs.drop_entry", "1"))
	if _, err := h.Apply(t.Context(), other, &ApplyOptions{Journal: journalFile}); err != nil {
		t.Fatal(err)
	}
	m.Set(IPVS("sync_threshold").Path(), "7\t70\n")
	m.Remove(IPv4("eth1.100", "rp_filter").Path())
	results, err := h.Undo(t.Context(), journalFile)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]Outcome{}
	for _, r := range results {
		outcomes[r.Name] = r.Outcome
	}
	wantOutcomes := map[string]Outcome{
		"net.ipv4.vs.expire_nodest_conn": RestoreNotNeeded, "net.ipv4.vs.drop_entry": RestoreDone,
		"net.ipv4.vs.sync_threshold": RestoreForeign, "net.ipv4.conf.eth1/100.rp_filter": RestoreGone,
		"etc/sysctl.d/90-lvs.conf": RestoreDone,
	}
	if diff := cmp.Diff(wantOutcomes, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"net/ipv4/vs/sync_threshold": "7\t70\n"}, changed(before, m)); diff != "" {
		t.Errorf("after undo (-want +got):\n%s", diff)
	}
	if _, err := h.Undo(t.Context(), journalFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undo without a journal: %v", err)
	}
}

func TestPlanErrors(t *testing.T) {
	m := fixture(t, "6.1")
	m.Set("sys/devices/system/cpu/possible", "0-3\n")
	h := newHost(t, m)
	for name, list := range map[string][]Setting{
		"bad key":     {{Key: "net//x", Value: "1"}},
		"bad value":   settingsOf("net.ipv4.vs.sync_retries", "9"),
		"no such CPU": settingsOf("net.ipv4.vs.est_cpulist", "0,4"),
		"conflict":    settingsOf("net.ipv4.vs.sync_retries", "1", "net.ipv4.vs.sync_retries", "2"),
	} {
		if p, err := h.Plan(list); !errors.Is(err, fs.ErrInvalid) || len(p.Changes) != 0 {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	if p := mustPlan(t, h, settingsOf("net.ipv4.vs.sync_retries", "1", "net.ipv4.vs.sync_retries", " 1 ")); len(p.Changes) != 1 {
		t.Errorf("the same twice: %v", p)
	}
}

// What this kernel lacks, or what does harm, is in the plan to be seen; nothing of it is applied.
func TestPlanThatCannotBeApplied(t *testing.T) {
	m := fixture(t, "6.1")
	h := newHost(t, m)
	tests := map[string]struct {
		setting Setting
		action  Action
		want    error
	}{
		"too new":    {Setting{Key: IPVS("est_nice"), Value: "5"}, Missing, errors.ErrUnsupported},
		"gone":       {Setting{Key: "net/ipv4/tcp_tw_recycle", Value: "1"}, Missing, errors.ErrUnsupported},
		"read-only":  {Setting{Key: "net/netfilter/nf_conntrack_count", Value: "1"}, Missing, fs.ErrPermission},
		"not here":   {Setting{Key: IPv4("eth9", "arp_ignore"), Value: "1"}, Missing, fs.ErrNotExist},
		"harmful":    {Setting{Key: "net/ipv4/tcp_timestamps", Value: "0"}, Refuse, nil},
		"lowers":     {Setting{Key: "fs/file-max", Value: "1024"}, Refuse, nil},
		"optional":   {Setting{Key: IPVS("est_nice"), Value: "5", Optional: true}, Skip, nil},
		"optional 2": {Setting{Key: "net/netfilter/nf_conntrack_count", Value: "1", Optional: true}, Skip, nil},
	}
	for name, tt := range tests {
		p := mustPlan(t, h, []Setting{{Key: IPVS("drop_entry"), Value: "1"}, tt.setting})
		if c := p.Changes[1]; c.Action != tt.action || c.Err == nil {
			t.Errorf("%s: %v, %v", name, c.Action, c.Err)
		}
		if !strings.Contains(p.String(), tt.action.String()) {
			t.Errorf("%s: the table lacks the action:\n%v", name, p)
		}
		if tt.action == Skip {
			continue
		}
		_, err := h.Apply(t.Context(), p, nil)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Apply: %v, want %v", name, err, tt.want)
		}
	}
	if len(m.Writes()) != 0 {
		t.Errorf("written: %v", m.Writes())
	}
	p := mustPlan(t, h, []Setting{tests["optional"].setting})
	if _, err := h.Apply(t.Context(), p, nil); err != nil {
		t.Errorf("an optional setting that is not there: %v", err)
	}
}

func TestApplyRollsBack(t *testing.T) {
	const first, second, third = "net.ipv4.vs.drop_entry", "net.ipv4.tcp_rmem", "net.ipv4.vs.drop_packet"
	list := settingsOf(first, "3", second, "4096 131072 16777216", third, "3")
	path := func(dotted string) string { k, _ := ParseKey(dotted); return k.Path() }
	tests := map[string]struct {
		prepare func(*hostfs.Mem, Plan)
		want    error
		text    string
	}{
		"refused": {func(m *hostfs.Mem, _ Plan) { m.FailWrite(path(second), syscall.EINVAL) }, fs.ErrInvalid, "tcp_rmem"},
		"partly stored": {func(m *hostfs.Mem, _ Plan) {
			calls := 0
			m.OnWrite(path(second), func(_, data []byte) ([]byte, error) {
				if calls++; calls > 1 {
					return data, nil
				}
				return []byte("4096\t99\t6291456\n"), syscall.EINVAL
			})
		}, syscall.EINVAL, "tcp_rmem"},
		"does not stick": {func(m *hostfs.Mem, _ Plan) {
			m.OnWrite(path(third), func([]byte, []byte) ([]byte, error) { return []byte("0\n"), nil })
		}, nil, "reads back"},
		"no privilege":   {func(m *hostfs.Mem, _ Plan) { m.FailWrite(path(third), syscall.EACCES) }, fs.ErrPermission, "drop_packet"},
		"changed before": {func(m *hostfs.Mem, _ Plan) { m.Set(path(third), "1\n") }, errStale, "changed by someone else"},
		"vanished":       {func(m *hostfs.Mem, _ Plan) { m.Remove(path(third)) }, fs.ErrNotExist, "drop_packet"},
		"file": {func(m *hostfs.Mem, _ Plan) {
			m.Set("etc/sysctl.d/x.conf", "old")
			m.FailWrite("etc/sysctl.d/x.conf", syscall.EROFS)
		}, syscall.EROFS, "x.conf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := fixture(t, "6.12")
			h := newHost(t, m)
			p := mustPlan(t, h, list)
			tt.prepare(m, p)
			if err := h.AddFile(&p, "etc/sysctl.d/x.conf", []byte("new"), ""); err != nil {
				t.Fatal(err)
			}
			before := m.Files()
			report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) && !invalid(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %v with %q", err, tt.want, tt.text)
			}
			if !report.RolledBack || len(report.Written) != 0 || len(report.NotRestored) != 0 {
				t.Errorf("report %+v", report)
			}
			if diff := cmp.Diff(map[string]string{}, changed(before, m)); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
			if _, ok := m.Files()[journalFile]; ok {
				t.Error("a journal is left")
			}
		})
	}
}

// invalid matches the kernel's refusal, which has no sentinel in io/fs on its own.
func invalid(err, want error) bool { return want == fs.ErrInvalid && errors.Is(err, syscall.EINVAL) }

// What cannot be restored stays in the journal and is named.
func TestApplyCannotRollBack(t *testing.T) {
	m := fixture(t, "6.12")
	h := newHost(t, m)
	p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3"))
	calls := 0
	m.OnWrite(IPVS("drop_entry").Path(), func(old, data []byte) ([]byte, error) {
		if calls++; calls > 1 {
			return old, syscall.EACCES
		}
		return data, nil
	})
	m.FailWrite(IPVS("drop_packet").Path(), syscall.EINVAL)
	report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
	if err == nil || len(report.NotRestored) != 1 || report.NotRestored[0].Name != "net.ipv4.vs.drop_entry" || !strings.Contains(err.Error(), "drop_entry is not back") {
		t.Fatalf("report %+v, error %v", report, err)
	}
	m.OnWrite(IPVS("drop_entry").Path(), nil)
	if _, err := h.Undo(t.Context(), journalFile); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.Get(IPVS("drop_entry")); got != "0" {
		t.Errorf("drop_entry = %s after all", got)
	}
}

func TestApplyStopsWithContext(t *testing.T) {
	m := fixture(t, "6.12")
	before := m.Files()
	h := newHost(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	m.OnWrite(IPVS("drop_entry").Path(), func(_, data []byte) ([]byte, error) { cancel(); return data, nil })
	p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3"))
	if _, err := h.Apply(ctx, p, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, m.Files()); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
}

// What is called last decides about all.
func TestApplyThen(t *testing.T) {
	boom := errors.New("boom")
	m := fixture(t, "6.12")
	before := m.Files()
	h := newHost(t, m)
	p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3"))
	calls := 0
	then := func(result error) *ApplyOptions {
		return &ApplyOptions{Journal: journalFile, Then: func(context.Context) error {
			calls++
			if got, err := h.Get(IPVS("drop_packet")); err != nil || got != "3" {
				t.Errorf("called with drop_packet %q, %v", got, err)
			}
			return result
		}}
	}
	report, err := h.Apply(t.Context(), p, then(boom))
	if !errors.Is(err, boom) || calls != 1 || !report.RolledBack || len(report.Written) != 0 || len(report.NotRestored) != 0 {
		t.Errorf("%+v, %v, %d calls", report, err, calls)
	}
	if diff := cmp.Diff(before, m.Files()); diff != "" {
		t.Errorf("after the failure (-want +got):\n%s", diff)
	}
	if _, err := h.Apply(t.Context(), p, then(nil)); err != nil || calls != 2 {
		t.Errorf("%v, %d calls", err, calls)
	}
	// Nothing to do any more: it is called all the same, and what was done before stays done.
	journal := m.Files()[journalFile]
	for _, p := range []Plan{p, mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3"))} {
		if _, err := h.Apply(t.Context(), p, then(boom)); !errors.Is(err, boom) {
			t.Error(err)
		}
	}
	if calls != 4 || m.Files()[journalFile] != journal || journal == "" {
		t.Errorf("%d calls, the journal is %q, was %q", calls, m.Files()[journalFile], journal)
	}
	// A value that someone changes meanwhile is theirs.
	_, err = h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "1")), &ApplyOptions{Then: func(context.Context) error {
		m.Set(IPVS("drop_entry").Path(), "0\n")
		return boom
	}})
	if got := m.Files()[IPVS("drop_entry").Path()]; got != "0\n" || !errors.Is(err, boom) {
		t.Errorf("drop_entry is %q, %v", got, err)
	}
	// Not after a failure.
	m.FailWrite(IPVS("drop_packet").Path(), syscall.EINVAL)
	if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.drop_packet", "1")), then(nil)); !errors.Is(err, fs.ErrInvalid) || calls != 4 {
		t.Errorf("%v, %d calls", err, calls)
	}
}

// Programs that use one journal do not lose each other's records.
func TestApplyTogether(t *testing.T) {
	names := []string{"drop_entry", "drop_packet", "secure_tcp", "conntrack", "sloppy_tcp", "schedule_icmp", "cache_bypass"}
	dir := t.TempDir()
	fixture := fixture(t, "6.12").Files()
	for name, content := range fixture {
		if !strings.HasPrefix(name, "proc/sys/net/ipv4/vs/") {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, name := range names {
		h := newHost(t, hostfs.Dir(dir))
		p := mustPlan(t, h, settingsOf("net.ipv4.vs."+name, "1"))
		all.Go(func() {
			if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	h := newHost(t, hostfs.Dir(dir))
	for _, name := range names {
		if got, err := h.Get(IPVS(name)); err != nil || got != "1" {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	restored, err := h.Undo(t.Context(), journalFile)
	if err != nil || len(restored) != len(names) {
		t.Errorf("%d of %d changes are restored, %v", len(restored), len(names), err)
	}
	for _, name := range names {
		if got, err := h.Get(IPVS(name)); err != nil || got != strings.TrimSpace(fixture[IPVS(name).Path()]) {
			t.Errorf("after undo %s is %q, %v", name, got, err)
		}
	}
}

// A process that is killed after any number of writes leaves a journal from which everything comes back.
func TestCrashLeavesJournal(t *testing.T) {
	list := settingsOf("net.ipv4.ip_forward", "1", "net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3", "net.ipv4.vs.secure_tcp", "1")
	for n := range 5 {
		m := fixture(t, "6.12")
		before := m.Files()
		h := newHost(t, m)
		p := mustPlan(t, h, list)
		killed := &killer{Mem: m, after: n}
		done := make(chan struct{})
		go func() { // the goroutine ends inside Apply, as a killed process does
			defer close(done)
			host, err := New(&Config{Root: killed})
			if err == nil {
				host.Apply(context.Background(), p, &ApplyOptions{Journal: journalFile})
			}
		}()
		<-done
		if n > 0 && maps.Equal(before, m.Files()) {
			t.Fatalf("killed after %d writes: nothing was written", n)
		}
		if _, err := h.Undo(t.Context(), journalFile); err != nil {
			t.Errorf("killed after %d writes: %v", n, err)
		}
		if diff := cmp.Diff(before, m.Files()); diff != "" {
			t.Errorf("killed after %d writes, left behind (-want +got):\n%s", n, diff)
		}
	}
}

// So does one that is killed while it changes what an earlier plan has changed.
func TestCrashLeavesEarlierJournal(t *testing.T) {
	const file = "etc/sysctl.d/90-lvs.conf"
	plan := func(h *Host, entry, packet, content string) Plan {
		p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", entry, "net.ipv4.vs.drop_packet", packet))
		if err := h.AddFile(&p, file, []byte(content), ""); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for n := range 4 {
		m := fixture(t, "6.12")
		before := m.Files()
		h := newHost(t, m)
		if _, err := h.Apply(t.Context(), plan(h, "1", "1", "one\n"), &ApplyOptions{Journal: journalFile}); err != nil {
			t.Fatal(err)
		}
		after := n
		for _, content := range []string{"two\n", "three\n"} { // the second one is killed at its first change
			p := plan(h, "3", "3", content)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = newHost(t, &killer{Mem: m, after: after}).Apply(context.Background(), p, &ApplyOptions{Journal: journalFile})
			}()
			<-done
			after = 0
		}
		preview, err := h.PlanUndo(journalFile)
		if err != nil || len(preview) != 3 {
			t.Fatalf("PlanUndo: %v, %v", preview, err)
		}
		restored, err := h.Undo(t.Context(), journalFile)
		if err != nil {
			t.Errorf("killed after %d writes: %v", n, err)
		}
		if diff := cmp.Diff(preview, restored); diff != "" {
			t.Errorf("killed after %d writes, PlanUndo and Undo (-want +got):\n%s", n, diff)
		}
		if diff := cmp.Diff(before, m.Files()); diff != "" {
			t.Errorf("killed after %d writes, left behind (-want +got):\n%s", n, diff)
		}
	}
}

// What a plan finds in force is not its own: applied twice, or after somebody else has done the same.
func TestApplyTwice(t *testing.T) {
	m := fixture(t, "6.12")
	before := m.Files()
	h := newHost(t, m)
	if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "1")), &ApplyOptions{Journal: journalFile}); err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3", "net.ipv4.ip_forward", "1"))
	if err := h.AddFile(&p, "etc/sysctl.d/90-lvs.conf", []byte("x\n"), ""); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
		if err != nil || (len(report.Written) == 0) != (i > 0) {
			t.Fatalf("%v, %v", report, err)
		}
	}
	if _, err := h.Undo(t.Context(), journalFile); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, m.Files()); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}

	p = mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3", "net.ipv4.vs.drop_packet", "3"))
	m.Set(IPVS("drop_entry").Path(), "3\n")
	if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
		t.Fatal(err)
	}
	if restored, err := h.Undo(t.Context(), journalFile); err != nil || len(restored) != 1 {
		t.Errorf("%v, %v", restored, err)
	}
	if got, _ := h.Get(IPVS("drop_entry")); got != "3" {
		t.Errorf("what somebody else has set is %s", got)
	}
}

// Once a plan is in force, the value of the plan before it is as foreign as any other.
func TestUndoLeavesEarlierValue(t *testing.T) {
	m := fixture(t, "6.12")
	h := newHost(t, m)
	for _, value := range []string{"1", "3"} {
		if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", value)), &ApplyOptions{Journal: journalFile}); err != nil {
			t.Fatal(err)
		}
	}
	m.Set(IPVS("drop_entry").Path(), "1\n")
	if restored, err := h.Undo(t.Context(), journalFile); err != nil || len(restored) != 1 || restored[0].Outcome != RestoreForeign {
		t.Errorf("%v, %v", restored, err)
	}
}

// A file that is not as it was when the plan was made is left alone.
func TestApplyStaleFile(t *testing.T) {
	const file = "etc/modprobe.d/ip_vs.conf"
	for name, tt := range map[string]struct{ planned, found string }{
		"changed": {"old\n", "by hand\n"}, "created": {"", "by hand\n"}, "removed": {"old\n", ""},
	} {
		m := fixture(t, "6.12")
		set := func(content string) {
			if content == "" {
				_ = m.Remove(file)
			} else {
				m.Set(file, content)
			}
		}
		set(tt.planned)
		h := newHost(t, m)
		p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "3"))
		if err := h.AddFile(&p, file, []byte("new\n"), ""); err != nil {
			t.Fatal(err)
		}
		set(tt.found)
		before := m.Files()
		report, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile})
		if err == nil || !strings.Contains(err.Error(), file+" was changed by someone else") || !report.RolledBack {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if diff := cmp.Diff(before, m.Files()); diff != "" {
			t.Errorf("%s: left behind (-want +got):\n%s", name, diff)
		}
	}
	if _, err := newHost(t, fixture(t, "6.12")).PlanUndo(journalFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no journal: %v", err)
	}
}

// Forwarding of one interface survives that of all is switched on and off again.
func TestForwardingComesBack(t *testing.T) {
	tests := map[string]struct {
		ipForward, eth0 string
		list            []Setting
		want            map[string]string // of what follows
	}{
		"plain":             {"0", "0", settingsOf("net.ipv4.ip_forward", "1"), map[string]string{"eth0": "1", "lo": "1"}},
		"one is on":         {"0", "1", settingsOf("net.ipv4.ip_forward", "1"), map[string]string{"eth0": "1", "lo": "1"}},
		"one stays off":     {"0", "0", settingsOf("net.ipv4.conf.eth0.forwarding", "0", "net.ipv4.ip_forward", "1"), map[string]string{"eth0": "0", "lo": "1"}},
		"one goes on":       {"1", "0", settingsOf("net.ipv4.conf.eth0.forwarding", "1", "net.ipv4.ip_forward", "0"), map[string]string{"eth0": "1", "lo": "0"}},
		"by its other name": {"0", "1", settingsOf("net.ipv4.conf.all.forwarding", "1"), map[string]string{"eth0": "1", "lo": "1"}},
		"redirects stay":    {"0", "0", settingsOf("net.ipv4.conf.all.accept_redirects", "1", "net.ipv4.ip_forward", "1"), map[string]string{"eth0": "1", "lo": "1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := fixture(t, "6.12")
			for _, dev := range []string{"all", "default", "lo", "tunl0", "eth1.100"} {
				m.Set(IPv4(dev, "forwarding").Path(), tt.ipForward+"\n")
			}
			m.Set("proc/sys/net/ipv4/ip_forward", tt.ipForward+"\n")
			m.Set(IPv4("eth0", "forwarding").Path(), tt.eth0+"\n")
			before := m.Files()
			h := newHost(t, forwarder{m})
			p := mustPlan(t, h, tt.list)
			if _, err := h.Apply(t.Context(), p, &ApplyOptions{Journal: journalFile}); err != nil {
				t.Fatalf("%v\n%v", err, p)
			}
			if drift := h.Verify(p); len(drift) != 0 {
				t.Errorf("drift %v\n%v", drift, p)
			}
			for dev, want := range tt.want {
				if got, err := h.Get(IPv4(dev, "forwarding")); err != nil || got != want {
					t.Errorf("forwarding of %s is %q, %v, want %q\n%v", dev, got, err, want, p)
				}
			}
			for _, s := range tt.list {
				if got, err := h.Get(s.Key); err != nil || got != s.Value {
					t.Errorf("%v is %q, %v, want %q\n%v", s.Key, got, err, s.Value, p)
				}
			}
			if _, err := h.Undo(t.Context(), journalFile); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, m.Files()); diff != "" {
				t.Errorf("after undo (-want +got):\n%s\n%v", diff, p)
			}
		})
	}
}

func TestPlanOrder(t *testing.T) {
	m := fixture(t, "6.12")
	h := newHost(t, m)
	order := func(list []Setting) []string {
		var keys []string
		for _, c := range mustPlan(t, h, list).Changes {
			if c.Action == Write {
				keys = append(keys, c.Key.String())
			}
		}
		return keys
	}
	got := order(settingsOf("net.ipv4.conf.all.send_redirects", "0", "net.core.rmem_default", "200000", "net.netfilter.nf_conntrack_max", "1048576",
		"net.netfilter.nf_conntrack_buckets", "262144", "net.core.rmem_max", "16777216", "net.ipv4.ip_forward", "1"))
	want := []string{"net.ipv4.ip_forward", "net.netfilter.nf_conntrack_buckets", "net.core.rmem_max", "net.ipv4.conf.all.send_redirects",
		"net.core.rmem_default", "net.netfilter.nf_conntrack_max"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("raising (-want +got):\n%s", diff)
	}
	got = order(settingsOf("net.netfilter.nf_conntrack_buckets", "1024", "net.netfilter.nf_conntrack_max", "1024"))
	if diff := cmp.Diff([]string{"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets"}, got); diff != "" {
		t.Errorf("lowering (-want +got):\n%s", diff)
	}
}

func TestPlanPatterns(t *testing.T) {
	h := newHost(t, fixture(t, "6.12"))
	p := mustPlan(t, h, settingsOf("net.ipv4.conf.*.send_redirects", "0", "net.ipv4.conf.lo.send_redirects", "1"))
	got := map[string]string{}
	for _, c := range p.Changes {
		got[c.Key.String()] = c.New
	}
	want := map[string]string{}
	for _, dev := range []string{"all", "default", "eth0", "eth1/100", "tunl0"} {
		want["net.ipv4.conf."+dev+".send_redirects"] = "0"
	}
	want["net.ipv4.conf.lo.send_redirects"] = "1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("expanded (-want +got):\n%s", diff)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	m := fixture(t, "6.12")
	h := newHost(t, struct{ fs.FS }{m})
	p := mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "1"))
	if _, err := h.Apply(t.Context(), p, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := h.Undo(t.Context(), "x"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Undo: %v", err)
	}
	var none Plan
	for _, name := range []string{"", "/etc/x", "../x", "proc/sys/net/x", "sys/x"} {
		if err := h.AddFile(&none, name, nil, ""); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("AddFile(%q): %v", name, err)
		}
	}
}

// Nobody can write through a journal that was tampered with outside the tree, or that is no journal.
func TestUndoBadJournal(t *testing.T) {
	for _, content := range []string{"", "{", `{"edits":[{"name":"/etc/passwd","old":"x"}]}`} {
		m := fixture(t, "6.12")
		m.Set(journalFile, content)
		if _, err := newHost(t, m).Undo(t.Context(), journalFile); err == nil {
			t.Errorf("accepted %q", content)
		}
		h := newHost(t, m)
		if _, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.vs.drop_entry", "1")), &ApplyOptions{Journal: journalFile}); err == nil {
			t.Errorf("overwrote a journal %q", content)
		}
	}
}

// A failure after forwarding was switched brings back what followed it.
func TestForwardingRollsBack(t *testing.T) {
	m := fixture(t, "6.12")
	m.Set(IPv4("eth0", "forwarding").Path(), "1\n")
	m.FailWrite(IPVS("drop_entry").Path(), syscall.EINVAL)
	before := m.Files()
	h := newHost(t, forwarder{m})
	report, err := h.Apply(t.Context(), mustPlan(t, h, settingsOf("net.ipv4.ip_forward", "1", "net.ipv4.vs.drop_entry", "3")), nil)
	if !errors.Is(err, syscall.EINVAL) || !report.RolledBack || len(report.NotRestored) != 0 {
		t.Errorf("report %+v, error %v", report, err)
	}
	if diff := cmp.Diff(before, m.Files()); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
}
