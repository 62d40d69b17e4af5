package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

// installed is where the tests put the program, in a folder that keepalived trusts.
const installed = "/usr/local/sbin/failover"

// The test binary is the program when it is called by the program's name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "failover" {
		main()
	}
	os.Exit(m.Run())
}

// install copies this binary to where it is called as the program. Keepalived follows links before it judges the folders.
func install(t *testing.T) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(installed), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(installed, self, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(installed) })
}

// site is two directors, two real servers and a client on one network, 10.0.1.0/24 and fd00:1::/64. The directors have a
// network of their own besides, on eth1.
type site struct {
	sw        *nstest.NS
	client    *nstest.NS
	servers   [2]*nstest.NS
	directors [2]*machine
	vip, vip6 netip.Addr
	rules     string
}

// machine is a director with its keepalived.
type machine struct {
	name       string
	ns         *nstest.NS
	port       string // of the switch
	flags      []string
	log        string
	keepalived *exec.Cmd
	said       bytes.Buffer // by keepalived
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{sw: nstest.New(t), vip: netip.MustParseAddr("10.0.1.100"), vip6: netip.MustParseAddr("fd00:1::100")}
	s.sw.Bridge(t, "br0")
	s.sw.Bridge(t, "br1")
	plug := func(name, dev, bridge string, host int) *nstest.NS {
		ns := nstest.New(t)
		nstest.Veth(t, ns, dev, s.sw, name)
		s.sw.SetMaster(t, name, bridge)
		ns.AddAddr(t, dev, netip.MustParsePrefix(fmt.Sprintf("10.0.1.%d/24", host)))
		ns.AddAddr(t, dev, netip.MustParsePrefix(fmt.Sprintf("fd00:1::%d/64", host)))
		return ns
	}
	s.client = plug("client", "eth0", "br0", 10)
	var rules strings.Builder
	fmt.Fprintf(&rules, "-A -t %v:80 -s rr\n-A -t [%v]:80 -s rr\n", s.vip, s.vip6)
	for i := range s.servers {
		s.servers[i] = plug(fmt.Sprint("rs", i), "eth0", "br0", 11+i)
		s.servers[i].HideVIP(t, s.vip)
		s.servers[i].HideVIP(t, s.vip6)
		s.servers[i].ServeTCP(t, netip.AddrPortFrom(netip.IPv6Unspecified(), 80), fmt.Sprint("rs", i))
		fmt.Fprintf(&rules, "-a -t %v:80 -r 10.0.1.%d:80 -g -w 1\n-a -t [%v]:80 -r [fd00:1::%d]:80 -g -w 1\n", s.vip, 11+i, s.vip6, 11+i)
	}
	dir := t.TempDir()
	s.rules = filepath.Join(dir, "rules")
	if err := os.WriteFile(s.rules, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range s.directors {
		m := &machine{name: fmt.Sprint("director", i), port: fmt.Sprint("dir", i)}
		m.ns = plug(m.port, "eth0", "br0", 1+i)
		nstest.Veth(t, m.ns, "eth1", s.sw, fmt.Sprint("link", i))
		s.sw.SetMaster(t, fmt.Sprint("link", i), "br1")
		m.ns.AddAddr(t, "eth1", netip.MustParsePrefix(fmt.Sprintf("10.0.2.%d/24", 1+i)))
		state := filepath.Join(dir, m.name)
		m.log = filepath.Join(dir, m.name+".log")
		m.flags = []string{"-vip", fmt.Sprintf("%v,%v", s.vip, s.vip6), "-dev", "eth0", "-rules", s.rules, "-state", state, "-log", m.log}
		s.directors[i] = m
	}
	return s
}

// start starts keepalived on a director, with the configuration that the program prints.
func (m *machine) start(t *testing.T, priority int, flags ...string) {
	t.Helper()
	var conf, errs bytes.Buffer
	p := program{Env: &setup.Env{Name: "failover", Stdout: &conf, Stderr: &errs}}
	args := append([]string{"keepalived", "-router-id", m.name, "-priority", fmt.Sprint(priority), "-program", installed}, m.flags...)
	if status := p.run(t.Context(), append(args, flags...)); status != setup.ExitOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, conf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	m.keepalived = exec.Command("keepalived", "--dont-fork", "--dont-respawn", "--vrrp", "--log-console", "--log-detail",
		"--use-file", file, "--pid", file+".pid", "--vrrp_pid", file+".vrrp")
	m.keepalived.Stdout, m.keepalived.Stderr = &m.said, &m.said
	m.keepalived.WaitDelay = time.Second
	m.keepalived.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it kills its group in the end
	var err error
	m.ns.Do(t, func() { err = m.keepalived.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.stop(t)
		if text, err := os.ReadFile(m.log); t.Failed() {
			t.Logf("%s's log: %v\n%s\nits keepalived:\n%s%s", m.name, err, text, conf.String(), m.said.String())
		}
	})
}

// stop stops keepalived, which gives the addresses up.
func (m *machine) stop(t *testing.T) {
	if m.keepalived == nil {
		return
	}
	if err := m.keepalived.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("%s's keepalived has ended before: %v", m.name, err)
	}
	if err := m.keepalived.Wait(); err != nil {
		t.Logf("%s's keepalived: %v", m.name, err)
	}
	m.keepalived = nil
}

// state returns what keepalived has said last.
func (m *machine) state(t *testing.T) record {
	t.Helper()
	o := options{verb: "status"}
	if err := o.parse(m.flags); err != nil {
		t.Fatal(err)
	}
	r, err := o.journal().read()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// status runs the program's verb on the machine, until it finds nothing wrong.
func (m *machine) status(t *testing.T, want string) {
	t.Helper()
	var out, errs bytes.Buffer
	m.wait(t, "a status of "+want+" without findings", func() bool {
		out.Reset()
		errs.Reset()
		p := program{Env: &setup.Env{Name: "failover", Stdout: &out, Stderr: &errs}}
		args := append([]string{"status"}, m.flags...)
		status := p.run(t.Context(), append(args, "-netns", m.ns.Path()))
		return status == setup.ExitOK && strings.HasPrefix(out.String(), want+" since")
	}, func() string { return out.String() + errs.String() })
}

// wait waits until something is so.
func (m *machine) wait(t *testing.T, what string, is func() bool, more ...func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			for _, f := range more {
				t.Log(f())
			}
			t.Fatalf("%s: no %s", m.name, what)
		}
	}
}

func (m *machine) waitState(t *testing.T, want string) {
	t.Helper()
	m.wait(t, want, func() bool { return m.state(t).State == want })
}

// table returns a client of the machine's IPVS.
func (m *machine) table(t *testing.T) *ipvs.Client {
	t.Helper()
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNS: m.ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// waitSynced waits until the director has a connection.
func (m *machine) waitSynced(t *testing.T, client netip.AddrPort) {
	t.Helper()
	c := m.table(t)
	m.wait(t, fmt.Sprint("entry of ", client), func() bool {
		for conn, err := range c.Connections(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if conn.Client == client {
				return true
			}
		}
		return false
	})
}

// A flow is an open connection on which numbers go to the real server and back all the time.
type flow struct {
	conn net.Conn
	done chan struct{}

	mu   sync.Mutex
	err  error
	last time.Time     // when an answer came
	gap  time.Duration // the longest time without one
}

func (s *site) flow(t *testing.T, vip netip.Addr) *flow {
	t.Helper()
	conn, err := s.client.Dial("tcp", netip.AddrPort{}, netip.AddrPortFrom(vip, 80))
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{conn: conn, done: make(chan struct{}), last: time.Now()}
	name := make([]byte, 4)
	if _, err := io.ReadFull(conn, name); err != nil {
		t.Fatal(err)
	}
	const size = 8
	go func() {
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(conn, "%*d", size, n); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	go func() {
		defer close(f.done)
		text := make([]byte, size)
		for n := 0; ; n++ {
			_, err := io.ReadFull(conn, text)
			if err == nil && string(text) != fmt.Sprintf("%*d", size, n) {
				err = fmt.Errorf("%q and not %d", text, n)
			}
			f.mu.Lock()
			f.gap = max(f.gap, time.Since(f.last))
			f.last, f.err = time.Now(), err
			f.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-f.done
	})
	return f
}

func (f *flow) client() netip.AddrPort {
	a := f.conn.LocalAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// longest waits until answers come, and returns the longest time without one since it was called before.
func (f *flow) longest(t *testing.T) time.Duration {
	t.Helper()
	asked := time.Now()
	for {
		f.mu.Lock()
		gap, last, err := f.gap, f.last, f.err
		if err == nil && last.After(asked) {
			f.gap = 0
		}
		f.mu.Unlock()
		switch {
		case err != nil:
			t.Fatalf("the open connection: %v", err)
		case last.After(asked):
			return gap
		case time.Since(asked) > 15*time.Second:
			t.Fatal("the open connection does not go on")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// attempts opens a connection every 100 ms until one has been answered, and returns how long that took.
func (s *site) attempts(t *testing.T, vip netip.Addr) time.Duration {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	answered := make(chan time.Duration, 1)
	var asking sync.WaitGroup
	for {
		asking.Go(func() {
			if _, err := s.client.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(vip, 80)); err == nil {
				select {
				case answered <- time.Since(begin):
				default:
				}
			}
		})
		select {
		case d := <-answered:
			t.Cleanup(asking.Wait) // those that still wait for an answer
			return d
		case <-ctx.Done():
			t.Fatal("no new connection is answered")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The link of the active director is cut: the other one takes over, open connections go on and new ones work. The old one
// comes back as backup, and takes over again when the other one's keepalived is stopped.
func TestIntegrationICountFailover(t *testing.T) {
	nstest.RequireKernel(t)
	install(t)
	tests := []struct {
		name  string
		flags []string
		limit time.Duration // for new connections
		open  time.Duration // for open ones, which go on with the client's next retransmission
	}{
		{"version 3, 0.25 s", nil, 2 * time.Second, 2 * time.Second},
		{"version 2, 1 s", []string{"-vrrp", "2"}, 6 * time.Second, 8 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			a, b := s.directors[0], s.directors[1]
			a.start(t, 150, tt.flags...)
			b.start(t, 100, tt.flags...)
			a.waitState(t, stateMaster)
			b.waitState(t, stateBackup)
			a.status(t, stateMaster)
			b.status(t, stateBackup)
			flows := []*flow{s.flow(t, s.vip), s.flow(t, s.vip6)}
			for _, f := range flows {
				b.waitSynced(t, f.client())
				f.longest(t)
			}

			s.sw.Down(t, a.port)
			took := s.attempts(t, s.vip)
			took6 := s.attempts(t, s.vip6)
			b.waitState(t, stateMaster)
			gaps := []time.Duration{flows[0].longest(t), flows[1].longest(t)}
			t.Logf("failover: new connections after %.2f s, open ones after %.2f and %.2f s (IPv6)", took.Seconds(), gaps[0].Seconds(), gaps[1].Seconds())
			if max(gaps[0], gaps[1]) > tt.open {
				t.Errorf("open connections stood still for %v; the limit is %v", gaps, tt.open)
			}
			if took > tt.limit || took6 > time.Second {
				t.Errorf("new connections took %v, and IPv6 %v more; the limit is %v", took, took6, tt.limit)
			}
			b.status(t, stateMaster)
			a.waitState(t, stateFault)

			s.sw.Up(t, a.port)
			a.waitState(t, stateBackup)
			a.status(t, stateBackup)
			b.status(t, stateMaster)
			for _, f := range flows {
				if gap := f.longest(t); gap > time.Second {
					t.Errorf("a connection stood still for %v when the old director came back", gap)
				}
			}

			b.stop(t)
			a.waitState(t, stateMaster)
			s.attempts(t, s.vip)
			for _, f := range flows {
				t.Logf("failover: keepalived stopped: an open connection goes on after %.2f s", f.longest(t).Seconds())
			}
			a.status(t, stateMaster)
			if r := b.state(t); r.State != stateStop {
				t.Errorf("the other director's state is %q", r.State)
			}
			if list, err := b.table(t).Daemons(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("its daemons are %v, %v", list, err)
			}
		})
	}
}

// The directors lose sight of each other and of nothing else: the one that takes over makes way, and stays backup until the
// other one is gone.
func TestIntegrationICountSplitBrain(t *testing.T) {
	nstest.RequireKernel(t)
	install(t)
	s := newSite(t)
	a, b := s.directors[0], s.directors[1]
	flags := []string{"-vrrp-dev", "eth1", "-sync-dev", "eth1", "-split-brain", "refuse"}
	for _, m := range s.directors {
		m.flags = append(flags[2:len(flags):len(flags)], m.flags...) // those that status knows
	}
	a.start(t, 150, flags[:2]...)
	b.start(t, 100, flags[:2]...)
	a.waitState(t, stateMaster)
	b.waitState(t, stateBackup)
	f := s.flow(t, s.vip)
	b.waitSynced(t, f.client())
	time.Sleep(6 * time.Second) // keepalived announces twice; the second time is over then
	f.longest(t)

	s.sw.SetMaster(t, "link1", "br0") // frames of the directors' own network get lost, and no device is without a carrier
	b.wait(t, "making way", func() bool { return b.state(t).Refused })
	b.waitState(t, stateFault)
	list, err := b.table(t).Daemons(t.Context())
	if err != nil || len(list) != 1 || list[0].State != ipvs.Backup {
		t.Errorf("the sync daemons of the director that makes way: %v, %v", list, err)
	}
	time.Sleep(1500 * time.Millisecond) // a check or two
	if r := b.state(t); r.State != stateFault || !r.Refused {
		t.Errorf("the director that makes way has become %+v", r)
	}
	a.status(t, stateMaster)
	gap := f.longest(t)
	t.Logf("failover: split brain: an open connection stood still for %.2f s", gap.Seconds())
	if gap > 3*time.Second {
		t.Errorf("an open connection stood still for %v", gap)
	}
	s.attempts(t, s.vip)

	a.stop(t)
	b.waitState(t, stateMaster)
	b.status(t, stateMaster)
	t.Logf("failover: the one that made way has taken over after %.2f s", f.longest(t).Seconds())
	if text, err := os.ReadFile(b.log); err != nil || !strings.Contains(string(text), "is answered for by "+a.ns.Link(t, "eth0").MAC.String()) {
		t.Errorf("the log does not name the other director: %v", err)
	}
}
