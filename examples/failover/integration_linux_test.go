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
	"slices"
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
	const limit = 30 * time.Second
	for end := time.Now().Add(limit); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			for _, f := range more {
				t.Log(f())
			}
			t.Fatalf("%s: no %s after %v; its record is %+v", m.name, what, limit, m.state(t))
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

// A flow is an open connection on which numbers go to the real server and back.
type flow struct {
	conn net.Conn
	stop chan struct{} // ends the sender
	done chan struct{} // the receiver has ended

	mu       sync.Mutex
	err      error       // of the receiver
	sent     []time.Time // when each number was sent
	answered int
	last     time.Time     // when an answer came
	delay    time.Duration // the longest time that a number took
}

// flow opens a connection on which a number is sent each period.
func (s *site) flow(t *testing.T, vip netip.Addr, period time.Duration) *flow {
	t.Helper()
	conn, err := s.client.Dial("tcp", netip.AddrPort{}, netip.AddrPortFrom(vip, 80))
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{conn: conn, stop: make(chan struct{}), done: make(chan struct{})}
	name := make([]byte, 4)
	if _, err := io.ReadFull(conn, name); err != nil {
		t.Fatal(err)
	}
	go f.send(period)
	go f.receive()
	t.Cleanup(func() {
		_ = conn.Close()
		<-f.done
	})
	return f
}

// size is that of a number on its way.
const size = 8

func (f *flow) send(period time.Duration) {
	for n := 0; ; n++ {
		f.mu.Lock()
		f.sent = append(f.sent, time.Now())
		f.mu.Unlock()
		if _, err := fmt.Fprintf(f.conn, "%*d", size, n); err != nil {
			return
		}
		select {
		case <-f.stop:
			_ = f.conn.(*net.TCPConn).CloseWrite()
			return
		case <-time.After(period):
		}
	}
}

func (f *flow) receive() {
	defer close(f.done)
	text := make([]byte, size)
	for n := 0; ; n++ {
		_, err := io.ReadFull(f.conn, text)
		if err == nil && string(text) != fmt.Sprintf("%*d", size, n) {
			err = fmt.Errorf("%q and not %d", text, n)
		}
		f.mu.Lock()
		f.last, f.err = time.Now(), err
		if err == nil {
			f.answered++
			f.delay = max(f.delay, f.last.Sub(f.sent[n]))
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (f *flow) client() netip.AddrPort {
	a := f.conn.LocalAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// longest waits until answers come to what is sent now, and returns the longest time that a number took since it was called
// before.
func (f *flow) longest(t *testing.T) time.Duration {
	t.Helper()
	asked := time.Now()
	for {
		f.mu.Lock()
		delay, err := f.delay, f.err
		now := f.answered > 0 && f.sent[f.answered-1].After(asked)
		if err == nil && now {
			f.delay = 0
		}
		f.mu.Unlock()
		switch {
		case err != nil:
			t.Fatalf("the open connection: %v", err)
		case now:
			return delay
		case time.Since(asked) > 15*time.Second:
			t.Fatal("the open connection does not go on")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// finish ends the connection, on which everything that was sent has come back by then.
func (f *flow) finish(t *testing.T) {
	t.Helper()
	close(f.stop)
	select {
	case <-f.done:
	case <-time.After(15 * time.Second):
		t.Fatal("the open connection does not end")
	}
	if f.err != io.EOF || f.answered != len(f.sent) {
		t.Errorf("%d numbers were sent, and %d came back: %v", len(f.sent), f.answered, f.err)
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
// comes back as backup, and takes over again when the other one's keepalived is stopped. No byte of an open connection is lost.
//
// What a client sends while nobody forwards it comes again after 0.2, 0.6, 1.4, 3, 6.2 s and so on, counted from when it was
// sent first (RFC 6298: the time doubles). The first of these that the new director sees comes at most twice as long after
// that as the director took, and one first timeout more.
func TestIntegrationICountFailover(t *testing.T) {
	nstest.RequireKernel(t)
	install(t)
	tests := []struct {
		name  string
		flags []string
		limit time.Duration // for new connections
		open  time.Duration // for open ones
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
			const often, seldom = 50 * time.Millisecond, time.Second
			flows := []*flow{s.flow(t, s.vip, often), s.flow(t, s.vip6, often)}
			for range 3 { // they send at moments of their own
				time.Sleep(300 * time.Millisecond)
				flows = append(flows, s.flow(t, s.vip, seldom))
			}
			for _, f := range flows {
				b.waitSynced(t, f.client())
			}
			busy := flows[:2] // those that soon show that they go on
			for _, f := range busy {
				f.longest(t)
			}

			s.sw.Down(t, a.port)
			took := s.attempts(t, s.vip)
			took6 := s.attempts(t, s.vip6)
			b.waitState(t, stateMaster)
			var waits []time.Duration
			for _, f := range flows {
				waits = append(waits, f.longest(t))
			}
			t.Logf("failover: new connections after %.2f s, open ones after %.2f and %.2f s (IPv6), those that send once a second after %.2f, %.2f and %.2f s",
				took.Seconds(), waits[0].Seconds(), waits[1].Seconds(), waits[2].Seconds(), waits[3].Seconds(), waits[4].Seconds())
			for i, wait := range waits {
				took, family := took, "IPv4"
				if i == 1 {
					took, family = took+took6, "IPv6" // new ones of it were tried when one of IPv4 had been answered
				}
				if limit := min(tt.open, 2*took+400*time.Millisecond); wait > limit {
					t.Errorf("open connection %d, by %s, stood still for %v, and new ones for %v; the limit is %v", i, family, wait, took, limit)
				}
			}
			if slices.Max(waits) < 500*time.Millisecond {
				t.Errorf("open connections stood still for %v: nothing was cut", waits)
			}
			if took > tt.limit || took6 > time.Second {
				t.Errorf("new connections took %v, and IPv6 %v more; the limit is %v, and a second more", took, took6, tt.limit)
			}
			b.status(t, stateMaster)
			a.waitState(t, stateFault)

			s.sw.Up(t, a.port)
			a.waitState(t, stateBackup)
			a.status(t, stateBackup)
			b.status(t, stateMaster)
			for _, f := range busy {
				if gap := f.longest(t); gap > time.Second {
					t.Errorf("a connection stood still for %v when the old director came back", gap)
				}
			}

			b.stop(t)
			a.waitState(t, stateMaster)
			s.attempts(t, s.vip)
			for _, f := range busy {
				t.Logf("failover: keepalived stopped: an open connection goes on after %.2f s", f.longest(t).Seconds())
			}
			a.status(t, stateMaster)
			// Keepalived does not wait for the program, which writes down what it is about to do before it does it.
			b.waitState(t, stateStop)
			daemons := b.table(t)
			var list []ipvs.Daemon
			var err error
			b.wait(t, "end of its sync daemons", func() bool {
				list, err = daemons.Daemons(t.Context())
				return err == nil && len(list) == 0
			}, func() string { return fmt.Sprintf("the daemons are %v, %v", list, err) })
			for _, f := range flows {
				f.finish(t)
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
	f := s.flow(t, s.vip, 50*time.Millisecond)
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
		t.Errorf("the director that makes way has not stayed in the state FAULT: its record is %+v", r)
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

// Keepalived itself accepts what the program prints, whatever the flags.
func TestIntegrationICountConfiguration(t *testing.T) {
	nstest.RequireKernel(t)
	install(t)
	ns := nstest.New(t)
	nstest.Veth(t, ns, "eth0", ns, "eth1")
	ns.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.1.1/24"))
	ns.AddAddr(t, "eth0", netip.MustParsePrefix("fd00:1::1/64"))
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	judge := func(text []byte) (string, error) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("keepalived", "--config-test", "--use-file", file)
		var out []byte
		var err error
		ns.Do(t, func() { out, err = cmd.CombinedOutput() })
		return string(out), err
	}
	var conf, errs bytes.Buffer
	accept := func(words string) {
		t.Helper()
		conf.Reset()
		errs.Reset()
		p := program{Env: &setup.Env{Name: "failover", Stdout: &conf, Stderr: &errs}}
		if status := p.run(t.Context(), append([]string{"keepalived", "-dev", "eth0", "-program", installed}, strings.Fields(words)...)); status != setup.ExitOK {
			t.Errorf("%s: status %d: %s", words, status, errs.String())
		} else if out, err := judge(conf.Bytes()); err != nil || out != "" {
			t.Errorf("%s: keepalived says %q, %v, about\n%s", words, out, err, conf.String())
		}
	}
	versions := map[string][]string{
		"2": {"192.0.2.1", "192.0.2.1,2001:db8::1,192.0.2.2"},
		"3": {"192.0.2.1", "2001:db8::1", "192.0.2.1,2001:db8::1,192.0.2.2", "2001:db8::1,192.0.2.1"},
	}
	for version, vips := range versions {
		for i, vip := range vips {
			accept(fmt.Sprintf("-vrrp %s -vip %s -split-brain %s", version, vip, []string{"refuse", "warn", "ignore"}[i%3]))
		}
	}
	accept("-vip 192.0.2.1 -vrrp 2 -advert 255s -priority 1 -vrid 1 -router-id 1 -name web_1")
	accept("-vip 192.0.2.1 -vrrp 3 -advert 10ms -priority 254 -vrid 255")
	accept("-vip 192.0.2.1 -vrrp 3 -advert 40950ms")
	accept("-vip 192.0.2.1,2001:db8::1 -vrrp-dev eth1 -rules /etc/lvs/rules -weights -sync-dev eth1 -sync-id 0 -split-brain refuse -wait 1s " +
		"-state /var/lib/lvs -log /var/log/lvs.log -netns lvs")
	accept("-vip 192.0.2.1 -sync-dev none")
	// What is accepted is not everything.
	if out, err := judge(bytes.Replace(conf.Bytes(), []byte("    nopreempt\n"), []byte("    nopreemption\n"), 1)); err == nil {
		t.Errorf("keepalived accepts everything: %q", out)
	}
}
