package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

const rules = `-A -t 192.0.2.10:80 -s wlc
-a -t 192.0.2.10:80 -r 10.0.0.2:80 -g -w 1
-a -t 192.0.2.10:80 -r 10.0.0.3:80 -g -w 2
`

// rulesFile returns the name of a file with the text.
func rulesFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// neighbours are a network in which some stations answer for the virtual address.
type neighbours struct {
	stations []net.HardwareAddr
	here     bool // this machine has the address
	err      error
	during   func() // called while it is announced
	asking   func() // called while somebody is asked

	mu        sync.Mutex
	announced int
}

func (n *neighbours) Addresses(context.Context) ([]arp.Address, error) {
	if !n.here {
		return nil, nil
	}
	return []arp.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), Device: "eth0"}}, nil
}

func (n *neighbours) Probe(ctx context.Context, _ string, _ netip.Addr, _ *arp.ProbeOptions) (list []arp.Reply, err error) {
	if n.asking != nil {
		n.asking()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, s := range n.stations {
		list = append(list, arp.Reply{HardwareAddr: s})
	}
	return list, n.err
}

func (n *neighbours) Announce(ctx context.Context, _ string, _ []netip.Addr, _ *arp.AnnounceOptions) error {
	n.mu.Lock()
	n.announced++
	n.mu.Unlock()
	if n.during == nil {
		return nil
	}
	n.during()
	<-ctx.Done()
	return ctx.Err()
}

var other = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// run runs the program on an in-memory kernel that is kept in a file.
func run(t *testing.T, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{Env: &setup.Env{Name: "failover", Stdout: &out, Stderr: &errs, Kernel: kernel}}
	status = p.run(t.Context(), args)
	return status, out.String(), errs.String()
}

// The life of a director, as keepalived tells it.
func TestStates(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	flags := []string{"-vip", "192.0.2.10", "-rules", rulesFile(t, rules), "-sync-dev", "lo", "-sync-id", "7"}
	notify := func(state string, more ...string) []string {
		return append(append(append([]string{"notify"}, flags...), more...), "INSTANCE", "lvs", state, "150")
	}
	const added = `add service TCP 192.0.2.10:80 wlc
add destination TCP 192.0.2.10:80 -> 10.0.0.2:80 Route weight 1
add destination TCP 192.0.2.10:80 -> 10.0.0.3:80 Route weight 2
`
	steps := []struct {
		args   []string
		status int
		out    string
	}{
		{notify("BACKUP", "-n"), setup.ExitOK, added + "start daemon backup on lo syncid 7\n"},
		{append([]string{"status"}, flags...), setup.ExitError, `! keepalived has not said anything about "lvs" yet: is it running, with this program as its notify script and -name lvs?` + "\n"},
		{notify("BACKUP"), setup.ExitOK, "BACKUP\n" + added + "start daemon backup on lo syncid 7\n"},
		{notify("BACKUP"), setup.ExitOK, "BACKUP\n"},
		{notify("MASTER"), setup.ExitOK, "MASTER\nstop daemon backup\nstart daemon master on lo syncid 7\n"},
		{append([]string{"master"}, flags...), setup.ExitOK, "MASTER\n"},
		{notify("MASTER", "-n"), setup.ExitOK, "nothing to do\n"},
		{notify("FAULT"), setup.ExitOK, "FAULT\nstop daemon master\nstart daemon backup on lo syncid 7\n"},
		{notify("STOP"), setup.ExitOK, "STOP\nstop daemon backup\n"},
		{notify("DELETED"), setup.ExitOK, "STOP\n"},
		{notify("BACKUP", "-sync-dev", "none"), setup.ExitOK, "BACKUP\n"},
	}
	for i, s := range steps {
		status, out, errs := run(t, kernel, s.args...)
		if diff := cmp.Diff(s.out, out); diff != "" || status != s.status || errs != "" {
			t.Fatalf("step %d: failover %v: status %d, want %d; %s\noutput (-want +got):\n%s", i, s.args, status, s.status, errs, diff)
		}
	}
}

// What is not in the rules, and the weights, belong to others.
func TestOthersRules(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	ctx := t.Context()
	change := func(f func(c *ipvs.Client) error) {
		t.Helper()
		c, done, err := ipvstest.Dial(ctx, kernel, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(c), done()); err != nil {
			t.Fatal(err)
		}
	}
	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")}
	flags := []string{"-vip", "192.0.2.10", "-rules", rulesFile(t, rules)}
	if status, _, errs := run(t, kernel, append([]string{"backup"}, flags...)...); status != setup.ExitOK {
		t.Fatal(errs)
	}
	change(func(c *ipvs.Client) error {
		_, err := c.Quiesce(ctx, web, netip.MustParseAddrPort("10.0.0.2:80"))
		return errors.Join(err,
			c.AddService(ctx, ipvs.Service{ID: ipvs.Mark(3, ipvs.IPv4), Scheduler: "rr", Netmask: ipvs.MaskBits(ipvs.IPv4, 32)}),
			c.DeleteDestination(ctx, web, netip.MustParseAddrPort("10.0.0.3:80")),
			c.AddDestination(ctx, web, ipvs.NewDestination(netip.MustParseAddrPort("10.0.0.4:80"))))
	})
	const want = "MASTER\nadd destination TCP 192.0.2.10:80 -> 10.0.0.3:80 Route weight 2\ndelete destination TCP 192.0.2.10:80 -> 10.0.0.4:80\n"
	if _, out, errs := run(t, kernel, append([]string{"master"}, flags...)...); out != want {
		t.Fatalf("%s\noutput (-want +got):\n%s", errs, cmp.Diff(want, out))
	}
	if _, out, errs := run(t, kernel, append([]string{"master", "-weights"}, flags...)...); out != "MASTER\nset destination TCP 192.0.2.10:80 -> 10.0.0.2:80 Route weight 1\n" {
		t.Fatalf("with -weights: %s\n%s", errs, out)
	}
	change(func(c *ipvs.Client) error {
		_, err := c.Service(ctx, ipvs.Mark(3, ipvs.IPv4))
		return err
	})
}

// newDirector returns a director on a kernel in memory with these neighbours.
func newDirector(t *testing.T, c *ipvs.Client, n network, args ...string) (*director, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	d := &director{client: c, network: n, out: &out, err: &out, born: moment{PID: 1}}
	d.verb = "master"
	args = append([]string{"-vip", "192.0.2.10", "-dev", "eth0", "-sync-dev", "lo", "-state", t.TempDir()}, args...)
	if err := d.options.parse(args); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.rules, err = readRules(t.Context(), d.rulesFile); err != nil {
		t.Fatal(err)
	}
	return d, &out
}

func daemons(t *testing.T, c *ipvs.Client) (list []string) {
	t.Helper()
	running, err := c.Daemons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range running {
		list = append(list, d.State.String())
	}
	return list
}

// Somebody else answers for the address.
func TestSplitBrain(t *testing.T) {
	const sentence = "192.0.2.10 is answered for by 02:00:00:00:00:09 too"
	tests := []struct {
		conflict  string
		role      string
		announced int
		err       bool
		out       bool
	}{
		{conflictWarn, "master", 1, false, true},
		{conflictRefuse, "backup", 0, true, false},
		{conflictIgnore, "master", 1, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.conflict, func(t *testing.T) {
			_, c := ipvstest.Start(t, nil)
			n := &neighbours{stations: []net.HardwareAddr{other}, here: true}
			d, out := newDirector(t, c, n, "-split-brain", tt.conflict)
			err := d.become(t.Context(), stateMaster)
			if (err != nil) != tt.err || err != nil && !strings.Contains(err.Error(), sentence) || strings.Contains(out.String(), sentence) != tt.out {
				t.Errorf("%v\n%s", err, out)
			}
			if diff := cmp.Diff([]string{tt.role}, daemons(t, c)); diff != "" || n.announced != tt.announced {
				t.Errorf("announced %d times; daemons (-want +got):\n%s", n.announced, diff)
			}
			if err := d.check(t.Context()); (err != nil) != tt.err {
				t.Errorf("check: %v", err)
			}
			again := 0 // announced by the check of an active director
			if tt.conflict == conflictWarn {
				again = 1
			}
			if n.announced != tt.announced+again {
				t.Errorf("announced %d times after a check, want %d", n.announced, tt.announced+again)
			}
			if err := d.become(t.Context(), stateFault); err != nil { // what keepalived makes of a check that fails
				t.Fatal(err)
			}
			if err := d.check(t.Context()); (err != nil) != tt.err {
				t.Errorf("check in fault: %v", err)
			}
			n.stations = nil
			for range 2 {
				if err := d.check(t.Context()); err != nil {
					t.Errorf("check when nobody answers: %v", err)
				}
			}
			n.stations = []net.HardwareAddr{other} // the other one is active, as it should be
			if err := d.check(t.Context()); err != nil {
				t.Errorf("check of a backup: %v", err)
			}
		})
	}
}

// A question that cannot be asked does not keep a director from working.
func TestProbeFails(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	d, _ := newDirector(t, c, &neighbours{err: arp.ErrDown}, "-split-brain", conflictRefuse)
	if err := d.become(t.Context(), stateMaster); !errors.Is(err, arp.ErrDown) {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff([]string{"master"}, daemons(t, c)); diff != "" {
		t.Errorf("daemons (-want +got):\n%s", diff)
	}
}

// The run that was started last has the last word, whichever gets there first, and one that still announces stops.
func TestOrder(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	announcing := make(chan struct{})
	first, _ := newDirector(t, c, &neighbours{during: func() { close(announcing) }})
	first.born = moment{Ticks: 5, PID: 10}
	ended := make(chan error, 1)
	go func() { ended <- first.become(t.Context(), stateMaster) }()
	<-announcing

	second, _ := newDirector(t, c, &neighbours{})
	second.dir, second.born = first.dir, moment{Ticks: 5, PID: 11}
	if err := second.become(t.Context(), stateBackup); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the first run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the first run goes on announcing")
	}

	late, out := newDirector(t, c, &neighbours{})
	late.dir, late.born = first.dir, moment{Ticks: 4, PID: 12}
	if err := late.become(t.Context(), stateMaster); err != nil {
		t.Fatal(err)
	}
	if want := "MASTER: nothing to do, keepalived has said BACKUP since\n"; out.String() != want {
		t.Errorf("a run that comes late says %q", out)
	}
	if diff := cmp.Diff([]string{"backup"}, daemons(t, c)); diff != "" {
		t.Errorf("daemons (-want +got):\n%s", diff)
	}
	reboot, _ := newDirector(t, c, &neighbours{})
	reboot.dir, reboot.born = first.dir, moment{Boot: "another", Ticks: 1, PID: 1}
	if err := reboot.become(t.Context(), stateStop); err != nil || daemons(t, c) != nil {
		t.Errorf("after a boot: %v, daemons %v", err, daemons(t, c))
	}
}

// An interrupt leaves the old state or the new one, at whichever request it comes.
func TestInterrupt(t *testing.T) {
	olds, news := 0, 0
	for nth := 0; ; nth++ { // 0 is before the first request, which leaves the old state however busy the machine is
		k, c := ipvstest.Start(t, nil)
		d, _ := newDirector(t, c, nil, "-rules", rulesFile(t, rules))
		if err := d.become(t.Context(), stateBackup); err != nil {
			t.Fatal(err)
		}
		before, err := c.Ruleset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.rules, err = readRules(t.Context(), rulesFile(t, strings.Replace(rules, "-s wlc", "-s rr", 1)+"-A -f 5 -s rr\n"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		if nth == 0 {
			interrupt()
		}
		remove := watch(k, nth, interrupt)
		err = d.become(ctx, stateMaster)
		done := remove()
		after, readErr := c.Ruleset(t.Context())
		if readErr != nil {
			t.Fatal(readErr)
		}
		want, _ := d.wanted(stateMaster)
		isNew := len(ipvs.Diff(after, want, nil)) == 0
		r, readErr := d.journal().read()
		if readErr != nil {
			t.Fatal(readErr)
		}
		switch {
		case after.Equal(before) && r.State == stateBackup && !r.Active:
			olds++
		case isNew && r.State == stateMaster && r.Active:
			news++
		default:
			t.Fatalf("interrupted at request %d (%v): neither the old state nor the new one:\n%+v\n%+v", nth, err, r, after)
		}
		interrupt()
		if done {
			break // it was over before the interrupt
		}
	}
	if olds == 0 || news == 0 {
		t.Errorf("%d times the old state, %d times the new one", olds, news)
	}
	t.Logf("%d times the old state, %d times the new one", olds, news)
}

// An interrupt while a run waits for another one or for answers leaves the old state; one while it announces, the new one; and
// one that makes way makes way.
func TestInterruptOutside(t *testing.T) {
	for name, tt := range map[string]struct {
		neighbours *neighbours
		locked     bool
		state      string
		role       string
	}{
		"waiting":    {&neighbours{}, true, stateBackup, "backup"},
		"asking":     {&neighbours{asking: func() {}}, false, stateBackup, "backup"},
		"announcing": {&neighbours{during: func() {}}, false, stateMaster, "master"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := ipvstest.Start(t, nil)
			d, out := newDirector(t, c, tt.neighbours, "-rules", rulesFile(t, rules), "-split-brain", conflictRefuse)
			if err := d.become(t.Context(), stateBackup); err != nil {
				t.Fatal(err)
			}
			if tt.locked {
				unlock, err := d.journal().lock(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
			}
			ctx, interrupt := context.WithCancel(t.Context())
			tt.neighbours.interrupt(interrupt)
			if tt.locked {
				interrupt()
			}
			if err := d.become(ctx, stateMaster); !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
			if r, err := d.journal().read(); err != nil || r.State != tt.state || r.Refused || r.Active != (tt.state == stateMaster) {
				t.Errorf("the record is %+v, %v\n%s", r, err, out)
			}
			if diff := cmp.Diff([]string{tt.role}, daemons(t, c)); diff != "" {
				t.Errorf("daemons (-want +got):\n%s", diff)
			}
			if announced := tt.neighbours.announced > 0; announced != (tt.state == stateMaster) {
				t.Errorf("announced: %v", announced)
			}
		})
	}
	k, c := ipvstest.Start(t, nil)
	d, _ := newDirector(t, c, &neighbours{stations: []net.HardwareAddr{other}}, "-split-brain", conflictRefuse)
	ctx, interrupt := context.WithCancel(t.Context())
	remove := watch(k, 1, interrupt)
	err := d.become(ctx, stateMaster)
	remove()
	interrupt()
	if r, readErr := d.journal().read(); err == nil || readErr != nil || !r.Refused || r.Active {
		t.Errorf("%v; the record of one that makes way is %+v, %v", err, r, readErr)
	}
}

// interrupt has what the test waits for end the context.
func (n *neighbours) interrupt(interrupt func()) {
	if n.asking != nil {
		n.asking = interrupt
	}
	if n.during != nil {
		n.during = interrupt
	}
}

// The check of a director that was active, and does not have the address since, tells nobody that it has.
func TestCheckWithoutAddress(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	n := &neighbours{here: true}
	d, _ := newDirector(t, c, n, "-split-brain", conflictRefuse)
	if err := d.become(t.Context(), stateMaster); err != nil {
		t.Fatal(err)
	}
	n.stations, n.here = []net.HardwareAddr{other}, false
	if err := d.check(t.Context()); err != nil || n.announced != 1 {
		t.Errorf("%v, announced %d times", err, n.announced)
	}
	n.here = true
	if err := d.check(t.Context()); err != nil || n.announced != 2 {
		t.Errorf("%v, announced %d times with the address", err, n.announced)
	}
}

// watch interrupts when the kernel has got so many more requests. The returned function ends that, and reports whether there
// were fewer.
func watch(k *ipvstest.Kernel, nth int, interrupt func()) (remove func() bool) {
	stop, ended := make(chan struct{}), make(chan bool)
	begin := len(k.Requests())
	go func() {
		for {
			select {
			case <-stop:
				ended <- len(k.Requests()) < begin+nth
				return
			default:
				if len(k.Requests()) >= begin+nth {
					interrupt()
					<-stop
					ended <- false
					return
				}
			}
		}
	}()
	return func() bool { close(stop); return <-ended }
}

// A change that the kernel refuses is reported, and the others are made: a director with some of its services is better than
// none.
func TestFailure(t *testing.T) {
	k, c := ipvstest.Start(t, nil)
	if _, err := k.Inject(ipvstest.Fault{Op: "start daemon", Errno: 19}); err != nil {
		t.Fatal(err)
	}
	d, _ := newDirector(t, c, nil, "-rules", rulesFile(t, rules))
	if err := d.become(t.Context(), stateMaster); !errors.Is(err, ipvs.ErrInterface) {
		t.Errorf("the error is %v", err)
	}
	if list, err := c.Services(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the services are %v, %v", list, err)
	}
}

func TestStatus(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	n := &neighbours{here: true}
	d, out := newDirector(t, c, n, "-rules", rulesFile(t, rules))
	look := func() []string {
		t.Helper()
		p, err := d.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p.Findings
	}
	if err := d.become(t.Context(), stateMaster); err != nil {
		t.Fatal(err)
	}
	if list := look(); len(list) > 0 {
		t.Errorf("findings of an active director: %q", list)
	}
	d.json = true
	out.Reset()
	var got picture
	if err := d.status(t.Context()); err != nil || json.Unmarshal(out.Bytes(), &got) != nil || got.State != "MASTER" || len(got.Here) != 1 || len(got.Daemons) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, tt := range []struct {
		spoil func()
		want  string
	}{
		{func() { n.stations = []net.HardwareAddr{other} }, "is answered for by 02:00:00:00:00:09 too"},
		{func() { n.stations, n.here = nil, false }, "192.0.2.10 is not on eth0 although keepalived has said MASTER"},
		{func() { n.here = true; _ = c.StopDaemon(t.Context(), ipvs.Master) }, `start daemon master on lo syncid 1: "failover master" with the same flags does that`},
		{func() {
			_ = d.become(t.Context(), stateMaster)
			_ = d.journal().write(record{State: stateMaster, Writer: d.born})
		}, `the run for MASTER was killed, or is not done yet: "failover master" with the same flags does it again`},
		{func() { _ = d.become(t.Context(), stateBackup) }, "192.0.2.10 is on eth0 although keepalived has not said MASTER"},
	} {
		tt.spoil()
		if list := look(); len(list) != 1 || !strings.Contains(list[0], tt.want) {
			t.Errorf("findings %q, want %q", list, tt.want)
		}
	}
	n.here = false
	if list := look(); len(list) > 0 {
		t.Errorf("findings of a backup: %q", list)
	}
}

// The file beside the program is what it prints, and the flags in it are those that it reads.
func TestConfiguration(t *testing.T) {
	want, err := os.ReadFile("keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	status, out, errs := run(t, "", "keepalived", "-vip", "192.0.2.10", "-dev", "eth0", "-rules", "/etc/lvs/rules", "-split-brain", "refuse", "-log", "/var/log/lvs-failover.log")
	if diff := cmp.Diff(string(want), out); diff != "" || status != setup.ExitOK {
		t.Fatalf("status %d, %s; (-keepalived.conf +printed):\n%s", status, errs, diff)
	}
	flags := []string{"-vip", "2001:db8::1,192.0.2.1", "-dev", "eth0", "-rules", "/r", "-weights", "-sync-dev", "none", "-sync-id", "9", "-split-brain", "refuse",
		"-wait", "1s", "-state", "/s", "-log", "/l", "-netns", "ns1"}
	var o options
	for _, verb := range []string{"notify", "check"} {
		_, out, _ := run(t, "", append([]string{"keepalived", "-name", "web", "-program", "/p"}, flags...)...)
		for line := range strings.Lines(out) {
			text, found := strings.CutPrefix(strings.TrimSpace(line), map[string]string{"notify": `notify "/p notify `, "check": `script "/p check `}[verb])
			if !found {
				continue
			}
			words := strings.Fields(strings.TrimSuffix(text, `"`))
			if verb == "notify" {
				words = append(words, "INSTANCE", "web", "MASTER", "100")
			}
			o = options{verb: verb}
			if err := o.parse(words); err != nil {
				t.Fatalf("%s: %v in %s", verb, err, line)
			}
		}
		if o.name != "web" || len(o.vips) != 2 || o.device != "eth0" || o.wait != time.Second || o.dir != "/s" || o.log != "/l" || o.netns != "ns1" {
			t.Errorf("%s is called with %+v", verb, o)
		}
		if verb == "notify" && (o.rulesFile != "/r" || !o.weights || o.syncDev != "" || o.syncID != 9 || o.conflict != conflictRefuse) {
			t.Errorf("notify is called with %+v", o)
		}
	}
}

func TestMistakes(t *testing.T) {
	memory := "memory:"
	good := []string{"-vip", "192.0.2.1"}
	verb := func(v string, more ...string) []string { return append(append([]string{v}, good...), more...) }
	tests := []struct {
		kernel string
		args   []string
		want   string
	}{
		{memory, nil, "a verb is needed"},
		{memory, []string{"frob"}, `unknown verb "frob"`},
		{memory, []string{"master"}, "-vip is required"},
		{memory, []string{"master", "-vip", "x"}, `"x" is not an address`},
		{memory, []string{"master", "-vip", "192.0.2.1,192.0.2.1"}, "192.0.2.1 is there twice"},
		{memory, verb("master", "x"), `unexpected argument "x"`},
		{memory, verb("master", "-dev", "eth0"), "LVS_KERNEL=memory: has no devices for -dev"},
		{"", verb("master"), "-dev is required"},
		{memory, verb("notify", "INSTANCE", "lvs"), "2 words and not TYPE NAME STATE"},
		{memory, verb("notify", "THING", "lvs", "MASTER"), `type "THING" is neither INSTANCE nor GROUP`},
		{memory, verb("notify", "INSTANCE", "lvs", "HAPPY"), `unknown state "HAPPY"`},
		{memory, verb("notify", "INSTANCE", "../lvs", "MASTER"), `name "../lvs" cannot be that of a file`},
		{memory, verb("master", "-sync-id", "256"), "a sync id is a number from 0 to 255"},
		{memory, verb("master", "-split-brain", "fight"), `-split-brain "fight" is neither`},
		{memory, verb("master", "-wait", "0s"), "-wait 0s is not above 0"},
		{memory, verb("master", "-sync-dev", "a-device-with-a-long-name"), "is longer than 15 bytes"},
		{"", verb("master", "-dev", "a-device-with-a-long-name"), `-dev "a-device-with-a-long-name" is longer than 15 bytes`},
		{"", verb("keepalived", "-dev", "eth0", "-vrrp-dev", "a-device-with-a-long-name"), `-vrrp-dev "a-device-with-a-long-name" is longer`},
		{memory, []string{"master", "-vip", "224.0.0.18"}, `"224.0.0.18" is not an address that one of two directors can have`},
		{memory, verb("check", "-n"), "flag provided but not defined: -n"},
		{"", verb("keepalived", "-dev", "eth0", "-priority", "255"), "-priority 255 is not from 1 to 254"},
		{"", verb("keepalived", "-dev", "eth0", "-vrid", "0"), "-vrid 0 is not from 1 to 255"},
		{"", verb("keepalived", "-dev", "eth0", "-vrrp", "4"), "-vrrp 4 is neither 2 nor 3"},
		{"", verb("keepalived", "-dev", "eth0", "-vrrp", "2", "-advert", "500ms"), "a multiple of 1s"},
		{"", verb("keepalived", "-dev", "eth0", "-rules", "/a b"), `"/a b" cannot be written`},
		{"", verb("keepalived", "-dev", "eth0", "-name", "a#b"), `"a#b" cannot be written`},
		{"", verb("keepalived", "-dev", "eth0", "-program", "failover"), `path "failover" does not begin with a slash`},
		{"", verb("keepalived", "-dev", "eth0", "-rules", "rules"), `path "rules" does not begin with a slash`},
		{"", []string{"keepalived", "-dev", "eth0", "-vip", "2001:db8::1", "-vrrp", "2"}, "-vrrp 2 cannot do IPv6"},
	}
	for _, tt := range tests {
		status, out, errs := run(t, tt.kernel, tt.args...)
		if status != setup.ExitUsage || out != "" || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("failover %v: status %d, output %q, error %q; want %q", tt.args, status, out, errs, tt.want)
		}
	}
	for _, args := range [][]string{{"-h"}, {"notify", "-h"}, {"check", "-h"}, {"status", "--help"}, {"keepalived", "-h"}} {
		if status, out, errs := run(t, memory, args...); status != setup.ExitOK || !strings.HasPrefix(out, "usage: failover ") || errs != "" {
			t.Errorf("failover %v: status %d, output %q, error %q", args, status, out, errs)
		}
	}
	for text, want := range map[string]string{
		"-A -t 192.0.2.1:80\n-A -t 192.0.2.1:80\n": "line 2: ipvs: add service TCP 192.0.2.1:80: service exists",
		"--start-daemon master\n":                  "line 1: start-daemon is not a rule",
		"-Q\n":                                     "line 1, column 1: the first option",
	} {
		if status, _, errs := run(t, memory, verb("backup", "-rules", rulesFile(t, text))...); status != setup.ExitError || !strings.Contains(errs, want) {
			t.Errorf("rules %q: status %d, %q; want %q", text, status, errs, want)
		}
	}
}

// What somebody asks for is answered, and not written into the log, which is of what is done.
func TestNotLogged(t *testing.T) {
	dir := t.TempDir()
	kernel, log := "memory:"+filepath.Join(dir, "kernel"), filepath.Join(dir, "log")
	flags := []string{"-vip", "192.0.2.10", "-rules", rulesFile(t, rules), "-log", log}
	if status, out, errs := run(t, kernel, append([]string{"backup"}, flags...)...); status != setup.ExitOK || out != "" || errs != "" {
		t.Fatalf("status %d, %q, %q", status, out, errs)
	}
	before, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(before), "add service TCP 192.0.2.10:80 wlc\n") {
		t.Fatalf("the log is %q, %v", before, err)
	}
	for _, words := range [][]string{{"status"}, {"status", "-json"}, {"master", "-n"}} {
		if status, out, errs := run(t, kernel, append(words, flags...)...); status != setup.ExitOK || out == "" || errs != "" {
			t.Errorf("%v: status %d, %q, %q", words, status, out, errs)
		}
	}
	if after, err := os.ReadFile(log); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the log is %q, %v", after, err)
	}
}

// A record that a crash has cut off does not keep a director from serving.
func TestBrokenRecord(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "failover-lvs.json"), []byte(`{"state": "BAC`), 0o600); err != nil {
		t.Fatal(err)
	}
	kernel := "memory:" + filepath.Join(dir, "kernel")
	flags := []string{"-vip", "192.0.2.10", "-rules", rulesFile(t, rules)}
	status, out, errs := run(t, kernel, append([]string{"master"}, flags...)...)
	if status != setup.ExitOK || !strings.Contains(out, "add service") || !strings.Contains(errs, "warning") {
		t.Fatalf("status %d, %q, %q", status, out, errs)
	}
	if status, out, errs := run(t, kernel, append([]string{"status"}, flags...)...); status != setup.ExitOK || !strings.HasPrefix(out, "MASTER since") {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

// What keepalived calls does what it can: without a log, with rules that it cannot read, and with a record that was cut off.
func TestMakesDo(t *testing.T) {
	dir := t.TempDir()
	kernel, log := "memory:"+filepath.Join(dir, "kernel"), filepath.Join(dir, "nosuch", "log")
	flags := []string{"-vip", "192.0.2.10", "-sync-dev", "lo", "-rules", rulesFile(t, rules)}
	master := []string{"INSTANCE", "lvs", "MASTER"}
	status, out, errs := run(t, kernel, slices.Concat([]string{"notify", "-log", log}, flags, master)...)
	if status != setup.ExitOK || !strings.Contains(out, "add service") || !strings.Contains(errs, "warning") {
		t.Errorf("without a log: status %d, %q, %q", status, out, errs)
	}
	if status, out, errs := run(t, kernel, "check", "-vip", "192.0.2.10", "-log", log); status != setup.ExitOK || !strings.Contains(errs, "warning") {
		t.Errorf("a check without a log: status %d, %q, %q", status, out, errs)
	}
	if status, _, errs := run(t, kernel, slices.Concat([]string{"backup", "-log", log}, flags)...); status != setup.ExitError || !strings.Contains(errs, "nosuch") {
		t.Errorf("by hand: status %d, %q", status, errs)
	}
	flags[5] = rulesFile(t, "-Q\n")
	backup := []string{"INSTANCE", "lvs", "BACKUP"}
	status, out, errs = run(t, kernel, slices.Concat([]string{"notify"}, flags, backup)...)
	if want := "BACKUP\nstop daemon master\nstart daemon backup on lo syncid 1\n"; status != setup.ExitError || out != want || !strings.Contains(errs, "line 1") {
		t.Errorf("with bad rules: status %d, %q, %q", status, out, errs)
	}
	if err := os.WriteFile(filepath.Join(dir, "failover-lvs.json"), []byte(`{"state": "MAS`), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := run(t, kernel, "check", "-vip", "192.0.2.10"); status != setup.ExitOK || !strings.Contains(errs, "warning") {
		t.Errorf("a check with a broken record: status %d, %q", status, errs)
	}
}

func TestStartTicks(t *testing.T) {
	const stat = "1234 (a ) b (c)) S 1 1234 1234 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200 18446744073709551615\n"
	if n := startTicks(stat); n != 987654 {
		t.Errorf("the process began at tick %d", n)
	}
	for _, text := range []string{"", ")", "1 (x) S 1"} {
		if n := startTicks(text); n != 0 {
			t.Errorf("%q: %d", text, n)
		}
	}
	if b := birth(); b.PID != os.Getpid() {
		t.Errorf("birth is %+v", b)
	}
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	l := newLog(&b, "p: ")
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }
	for _, text := range []string{"one\ntw", "o\n", "\nthree"} {
		if _, err := l.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	const at = "2026-01-02T03:04:05.006Z p: "
	if want := at + "one\n" + at + "two\n" + at + "\n"; b.String() != want {
		t.Errorf("log:\n%s", b.String())
	}
}
