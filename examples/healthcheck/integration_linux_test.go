package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

// process is the program as a process of its own, in a director's namespace.
type process struct {
	*testing.T
	cmd      *exec.Cmd
	log, out buffer
}

// buffer can be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, ns *nstest.NS, args ...string) *process {
	t.Helper()
	p := &process{T: t, cmd: exec.Command("/proc/self/exe", args...)}
	p.cmd.Env = append(os.Environ(), "HEALTHCHECK_MAIN=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	var err error
	ns.Do(t, func() { err = p.cmd.Start() }) // the process has the network namespace of the thread that starts it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("healthcheck %q:\n%s", args, &p.log)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// wait waits until something is so. What the program prints takes a while to get here: a change that it made can be seen
// before the line that it printed about that.
func (p *process) wait(what string, is func() bool) {
	p.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("after %v there is no %s; printed is %q", patience, what, &p.out)
		}
	}
}

// stop ends the program, whose status has to be 0. All that it has printed is there then.
func (p *process) stop() {
	p.Helper()
	p.signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.Fatalf("%v", err)
	}
}

// backend is an HTTP server that can die and return. It answers its name.
type backend struct {
	*testing.T
	ns   *nstest.NS
	addr netip.AddrPort
	name string
	bad  atomic.Bool  // checks are answered with an error
	asks atomic.Int32 // by checks
	srv  *http.Server
}

func (b *backend) start() {
	b.Helper()
	ln := b.ns.Listen(b.T, b.addr)
	b.srv = &http.Server{Handler: b, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = b.srv.Serve(ln) }()
	b.Cleanup(b.die)
}

func (b *backend) die() { _ = b.srv.Close() }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		b.asks.Add(1)
		if b.bad.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	fmt.Fprintln(w, b.name)
}

// request is one of a stream of requests.
type request struct {
	begin time.Time
	name  string // who answered
	err   error
}

// stream sends requests to a service, one after the other, until stop, which returns all of them.
func stream(ns *nstest.NS, url string) (stop func() []request) {
	client := ns.HTTPClient(netip.Addr{})
	client.Timeout = 3 * time.Second
	done := make(chan struct{})
	result := make(chan []request)
	go func() {
		var list []request
		for {
			r := request{begin: time.Now()}
			if resp, err := client.Get(url); err != nil {
				r.err = err
			} else {
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				r.name, r.err = strings.TrimSpace(string(body)), err
			}
			list = append(list, r)
			select {
			case <-done:
				result <- list
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() []request { close(done); return <-result }
}

// judge checks a stream around the death of servers: from the limit on every request is answered, by one of the names.
func judge(t *testing.T, list []request, died time.Time, limit time.Duration, names ...string) {
	t.Helper()
	failed, after := 0, 0
	var last time.Duration
	for _, r := range list {
		at := r.begin.Sub(died)
		if r.err != nil {
			failed++
			last = at
		}
		if at <= limit {
			continue
		}
		after++
		if r.err != nil || !strings.Contains(" "+strings.Join(names, " ")+" ", " "+r.name+" ") {
			t.Errorf("request %v after the death: %q, %v", at, r.name, r.err)
		}
	}
	t.Logf("%d requests, %d failed, the last one %v after the death; %d later than %v", len(list), failed, last, after, limit)
	if failed == 0 || after == 0 {
		t.Errorf("%d requests failed, and %d came after %v", failed, after, limit)
	}
}

// director reads a namespace's table.
type director struct {
	*testing.T
	client *ipvs.Client
}

func newDirector(t *testing.T, ns *nstest.NS) director {
	t.Helper()
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return director{t, c}
}

// weights are those of a service, by the server's address. A server that is not in the table has none.
func (d director) weights(id ipvs.ServiceID) map[netip.AddrPort]uint32 {
	d.Helper()
	list, err := d.client.Destinations(d.Context(), id)
	if err != nil {
		return nil
	}
	w := make(map[netip.AddrPort]uint32)
	for _, dest := range list {
		w[dest.Addr] = dest.Weight
	}
	return w
}

// await waits until a server has a weight; it returns the time at which it was seen.
func (d director) await(id ipvs.ServiceID, addr netip.AddrPort, weight uint32, limit time.Duration) time.Time {
	d.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		now := time.Now()
		list, err := d.client.Destinations(d.Context(), id)
		if slices.ContainsFunc(list, func(dest ipvs.DestinationStatus) bool { return dest.Addr == addr && dest.Weight == weight }) {
			return now
		}
		if took := now.Sub(begin); took > limit {
			d.Fatalf("%v has not got weight %d within %v: after %v the weights of %v are %v, %v", addr, weight, limit, took, id, d.weights(id), err)
		}
	}
}

// configFile makes a configuration file and returns it with a function that replaces its content.
func configFile(t *testing.T, text string) (name string, set func(string)) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "web.json")
	set = func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(text)
	return name, set
}

// Bounds are promises of the program where a test names them; patience is for all else, and promises nothing.
const (
	patience = 20 * time.Second
	interval = 700 * time.Millisecond
	fall     = 2
	reaction = fall*interval + time.Second // that a dead server may go on getting requests
)

// The life of a web service, with real requests: a server dies and returns, all die and the sorry server answers, they
// return, one is drained by the configuration, and the program ends.
//
// This and the tests below are about times of some hundred milliseconds: a server that stands still for longer is down, and
// rightly so. On a machine that shares its processors servers, clients and checks do stand still, so that the tests are for
// one whose clock counts instructions: no time passes there unless all of them wait.
func TestIntegrationICountFailures(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{})
	vip := netip.AddrPortFrom(lab.VIP, 80)
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: vip}
	var backends []*backend
	for i, rs := range lab.RealServers {
		b := &backend{T: t, ns: rs.NS, addr: netip.AddrPortFrom(rs.Addr, 8080), name: fmt.Sprint("rs", i)}
		b.start()
		backends = append(backends, b)
	}
	lab.Director.ServeHTTP(t, vip, "sorry", nil)
	sorry := netip.MustParseAddrPort("127.0.0.1:80")
	config := func(weight int) string {
		return fmt.Sprintf(`{"defaults": {"interval": "%v", "timeout": "700ms", "rise": 2, "fall": %d}, "services": [{"service": "TCP %v",
			"scheduler": "wrr", "checks": [{"type": "http", "path": "/health"}], "sorry": {"addr": "%v", "forward": "Route"},
			"real": [{"addr": "%v", "weight": %d}, {"addr": "%v"}]}]}`, interval, fall, vip, sorry, backends[0].addr, weight, backends[1].addr)
	}
	file, set := configFile(t, config(3))
	d := newDirector(t, lab.Director)
	p := start(t, lab.Director, file)
	d.await(id, backends[0].addr, 3, patience)
	d.await(id, backends[1].addr, 1, patience)
	url := "http://" + vip.String() + "/"

	// One dies.
	stop := stream(lab.Clients[0].NS, url)
	time.Sleep(200 * time.Millisecond)
	died := time.Now()
	backends[0].die()
	t.Logf("weight 0 after %v", d.await(id, backends[0].addr, 0, reaction).Sub(died))
	time.Sleep(time.Until(died.Add(reaction + time.Second)))
	judge(t, stop(), died, reaction, "rs1")

	// It returns, with the weight that is declared.
	backends[0].start()
	d.await(id, backends[0].addr, 3, 3*interval+time.Second)
	seen := map[string]int{}
	for range 8 {
		name, err := lab.Clients[0].NS.AskHTTP(netip.Addr{}, vip)
		if err != nil {
			t.Fatal(err)
		}
		seen[name]++
	}
	if seen["rs0"] != 6 || seen["rs1"] != 2 {
		t.Errorf("8 requests to weights 3 and 1 went to %v", seen)
	}

	// All die: the sorry server answers. They return: it does not any more.
	stop = stream(lab.Clients[0].NS, url)
	time.Sleep(200 * time.Millisecond)
	died = time.Now()
	backends[0].die()
	backends[1].die()
	t.Logf("the sorry server has the clients after %v", d.await(id, sorry, 1, reaction).Sub(died))
	time.Sleep(time.Until(died.Add(reaction + time.Second)))
	judge(t, stop(), died, reaction, "sorry")
	backends[0].start()
	backends[1].start()
	d.await(id, backends[0].addr, 3, 3*interval+time.Second)
	d.await(id, backends[1].addr, 1, 3*interval+time.Second)
	d.await(id, sorry, 0, patience) // its connections in TIME_WAIT keep it in the table

	// Weight 0 by the configuration: what is open goes on, new requests go elsewhere. The other server's checks go on.
	var open net.Conn
	for n := 0; ; n++ { // until the connection is one to the server
		if n == 8 {
			t.Fatalf("none of %d connections is one to rs0; the weights are %v", n, d.weights(id))
		}
		conn, err := lab.Clients[0].NS.Dial("tcp", netip.AddrPort{}, vip)
		if err != nil {
			t.Fatal(err)
		}
		if name := whoAnswers(t, conn); name == "rs0" {
			open = conn
			break
		}
		conn.Close()
	}
	defer open.Close()
	set(config(0))
	p.signal(syscall.SIGHUP)
	d.await(id, backends[0].addr, 0, patience)
	for range 4 {
		if name, err := lab.Clients[0].NS.AskHTTP(netip.Addr{}, vip); err != nil || name != "rs1" {
			t.Errorf("with weight 0 for rs0 a request is answered by %q, %v; the weights are %v", name, err, d.weights(id))
		}
	}
	if name := whoAnswers(t, open); name != "rs0" {
		t.Errorf("the open connection is answered by %q", name)
	}
	set(`{"services": []}`) // a mistake: what was there stays
	p.signal(syscall.SIGHUP)
	p.signal(syscall.SIGUSR1)
	p.wait("word of the mistake", func() bool { return strings.Contains(p.log.String(), "the configuration stays as it was") })
	p.wait("status", func() bool { return json.Valid([]byte(p.out.String())) })
	before := d.weights(id)
	p.stop()
	if after := d.weights(id); fmt.Sprint(after) != fmt.Sprint(before) || len(after) != 3 {
		t.Errorf("weights %v, and %v after the end", before, after)
	}
	var st status
	if err := json.Unmarshal([]byte(p.out.String()), &st); err != nil || st.Services[0].Real[0].State != "disabled" || st.Services[0].Real[1].State != "up" {
		t.Errorf("rs0 disabled and rs1 up are wanted, and the status is %+v, %v", st, err)
	}
}

// whoAnswers sends a request over an open connection and returns the name of who answers.
func whoAnswers(t *testing.T, conn net.Conn) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// A persistent service. A server is taken out, by weight 0 in the configuration, by a check that fails while it goes on
// serving, and by its death: its client goes elsewhere if expire_quiescent_template is set. If it is not, the client keeps
// coming, and the program says so.
func TestIntegrationICountPersistence(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{Clients: 2})
	vip := netip.AddrPortFrom(lab.VIP, 80)
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: vip}
	backends := map[string]*backend{}
	for i, rs := range lab.RealServers {
		b := &backend{T: t, ns: rs.NS, addr: netip.AddrPortFrom(rs.Addr, 8080), name: fmt.Sprint("rs", i)}
		b.start()
		backends[b.name] = b
	}
	config := func(out string) string { // with weight 0 for one server
		var reals []string
		for name, b := range backends {
			reals = append(reals, fmt.Sprintf(`{"addr": "%v", "weight": %d}`, b.addr, map[bool]int{true: 0, false: 1}[name == out]))
		}
		return fmt.Sprintf(`{"defaults": {"interval": "%v", "timeout": "700ms", "rise": 1, "fall": %d}, "services": [
			{"service": "TCP %v", "persist": "300s", "checks": [{"type": "http", "path": "/health"}], "real": [%s]}]}`,
			interval, fall, vip, strings.Join(reals, ","))
	}
	file, set := configFile(t, config(""))
	d := newDirector(t, lab.Director)
	ask := func(client int) string {
		t.Helper()
		name, err := lab.Clients[client].NS.AskHTTP(netip.Addr{}, vip)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	other := map[string]string{"rs0": "rs1", "rs1": "rs0"}
	for _, expire := range []bool{false, true} {
		lab.Director.SetSysctl(t, "net/ipv4/vs/expire_quiescent_template", map[bool]string{false: "0", true: "1"}[expire])
		p := start(t, lab.Director, file)
		for _, b := range backends {
			d.await(id, b.addr, 1, patience)
		}
		// drained checks who answers a client whose server has weight 0, and returns who that is then.
		drained := func(how, name string) string {
			t.Helper()
			d.await(id, backends[name].addr, 0, reaction)
			want := map[bool]string{false: name, true: other[name]}[expire]
			for range 3 {
				if got := ask(0); got != want {
					t.Errorf("expire_quiescent_template %v: %s takes %s out: its client is answered by %s", expire, how, name, got)
				}
			}
			return want
		}
		// warned checks what is in the log when some configurations are in force, which is said after the warnings.
		warned := func(configs int, text string) {
			t.Helper()
			p.wait("word that the configuration is in force", func() bool { return strings.Count(p.log.String(), "configuration in force") >= configs })
			if is := strings.Contains(p.log.String(), "expire_quiescent_template is 0: clients of a server that fails"+text+" keep being sent there"); is == expire {
				t.Errorf("expire_quiescent_template %v: warned of a server that fails%s: %v", expire, text, is)
			}
		}
		name := ask(0)
		warned(1, "")
		set(config(name))
		p.signal(syscall.SIGHUP)
		now := drained("the configuration", name)
		warned(2, " or has weight 0")
		if got := ask(1); !expire && got != other[name] { // a client that was not there before; else it has a template since
			t.Errorf("a new client came to %s", got)
		}
		set(config(""))
		p.signal(syscall.SIGHUP)
		d.await(id, backends[name].addr, 1, patience)

		name = now
		backends[name].bad.Store(true)
		now = drained("a check", name)
		p.signal(syscall.SIGUSR1)
		p.wait("status", func() bool { return json.Valid([]byte(p.out.String())) })
		var st status
		if err := json.Unmarshal([]byte(p.out.String()), &st); err != nil || (len(st.Warnings) == 0) != expire {
			t.Errorf("expire_quiescent_template %v: the status warns of %q, %v", expire, st.Warnings, err)
		}
		backends[name].bad.Store(false)
		d.await(id, backends[name].addr, 1, patience)

		if expire {
			died := time.Now()
			stop := stream(lab.Clients[0].NS, "http://"+vip.String()+"/")
			backends[now].die()
			d.await(id, backends[now].addr, 0, reaction)
			time.Sleep(time.Until(died.Add(reaction + 500*time.Millisecond)))
			judge(t, stop(), died, reaction, other[now])
		}
		p.stop()
	}
}

// marks are the services of firewall marks.
func marks(t *testing.T, c *ipvs.Client) (ids []ipvs.ServiceID) {
	t.Helper()
	list, err := c.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID.IsMark() {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// A check through the virtual address asks exactly the server that it is about, though the director has the address itself
// and a server of its own there. What it needs comes and goes with the program.
func TestIntegrationICountThrough(t *testing.T) {
	nstest.RequireKernel(t)
	t.Run("IPv4", func(t *testing.T) { testThrough(t, false) })
	t.Run("IPv6", func(t *testing.T) { testThrough(t, true) })
}

func testThrough(t *testing.T, ipv6 bool) {
	lab := nstest.NewLab(t, nstest.LabConfig{Direct: true})
	source, while := "10.0.2.1", "1" // accept_local while the program runs; IPv6 has no such setting and needs none
	if ipv6 {
		lab.VIP, source, while = lab.VIP6, "fd00:2::1", "0"
		for i := range lab.RealServers {
			lab.RealServers[i].Addr = lab.RealServers[i].Addr6
		}
	}
	vip := netip.AddrPortFrom(lab.VIP, 80)
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: vip}
	own := &backend{T: t, ns: lab.Director, addr: vip, name: "director"}
	own.start()
	var backends []*backend
	for i, rs := range lab.RealServers {
		rs.NS.HideVIP(t, lab.VIP)
		b := &backend{T: t, ns: rs.NS, addr: vip, name: fmt.Sprint("rs", i)} // it listens on the virtual address alone
		b.start()
		backends = append(backends, b)
	}
	real := func(i int) netip.AddrPort { return netip.AddrPortFrom(lab.RealServers[i].Addr, 80) }
	file, set := configFile(t, fmt.Sprintf(`{"defaults": {"interval": "500ms", "timeout": "500ms", "rise": 1, "fall": 2},
		"through": {"marks": [1000, 1001], "sources": ["%s"]}, "services": [{"service": "TCP %v", "forward": "Route", "real": [
			{"addr": "%v", "checks": [{"type": "http", "path": "/health", "through": "vip"}]}, {"addr": "%v"}]}]}`, source, vip, real(0), real(1)))
	const key = "net/ipv4/conf/eth1/accept_local"
	if v := lab.Director.Sysctl(t, key); v != "0" {
		t.Fatalf("accept_local is %s", v)
	}
	var out, errs bytes.Buffer
	lab.Director.Do(t, func() {
		p := program{Env: &setup.Env{Name: "healthcheck", Stdout: &out, Stderr: &errs}}
		if status := p.run(t.Context(), []string{"-n", file}); status != setup.ExitOK {
			t.Fatalf("-n: status %d, %s", status, &errs)
		}
	})
	wants := []string{"add service FWM 1000 ", "check http " + vip.String() + "/health (mark 1000)"}
	if !ipv6 {
		wants = append(wants, "accept_local")
	}
	for _, want := range wants {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the plan:\n%s", want, &out)
		}
	}
	if v := lab.Director.Sysctl(t, key); v != "0" {
		t.Fatalf("accept_local is %s after -n", v)
	}

	d := newDirector(t, lab.Director)
	p := start(t, lab.Director, file)
	d.await(id, real(0), 1, patience)
	if v := lab.Director.Sysctl(t, key); v != while {
		t.Errorf("accept_local is %s while the program runs", v)
	}
	p.wait("fifth check of rs0", func() bool { return backends[0].asks.Load() >= 5 })
	if a, b := backends[1].asks.Load(), own.asks.Load(); a+b != 0 {
		t.Errorf("rs1 was asked %d times, the director itself %d times", a, b)
	}
	// Now the other one, and only that: it is down, as it says.
	backends[1].bad.Store(true)
	set(fmt.Sprintf(`{"defaults": {"interval": "500ms", "timeout": "500ms", "rise": 1, "fall": 2},
		"through": {"marks": [1000, 1001], "sources": ["%s"]}, "services": [{"service": "TCP %v", "forward": "Route", "real": [
			{"addr": "%v"}, {"addr": "%v", "checks": [{"type": "http", "path": "/health", "through": "vip"}]}]}]}`, source, vip, real(0), real(1)))
	p.signal(syscall.SIGHUP)
	d.await(id, real(1), 0, patience)
	asked := backends[0].asks.Load()
	backends[1].bad.Store(false)
	d.await(id, real(1), 1, patience)
	if a, b := backends[0].asks.Load()-asked, own.asks.Load(); a != 0 || b != 0 {
		t.Errorf("rs0 was asked %d times more, the director itself %d times", a, b)
	}
	for range 4 { // clients are served meanwhile
		if name, err := lab.Clients[0].NS.AskHTTP(netip.Addr{}, vip); err != nil || !strings.HasPrefix(name, "rs") {
			t.Errorf("a client is answered by %q, %v; the weights are %v", name, err, d.weights(id))
		}
	}
	// Another program deletes the service by which the server is asked, and takes the setting back: neither what the director
	// then answers itself counts, nor that nobody does.
	spoil := func() {
		t.Helper()
		lab.Director.SetSysctl(t, key, "0")
		for _, s := range marks(t, d.client) {
			if err := d.client.DeleteService(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoil()
	for end := time.Now().Add(patience); len(marks(t, d.client)) == 0 || lab.Director.Sysctl(t, key) != while; time.Sleep(10 * time.Millisecond) {
		if w := d.weights(id)[real(1)]; w != 1 || time.Now().After(end) {
			t.Fatalf("rs1 has weight %d, the services of marks are %v, accept_local is %s", w, marks(t, d.client), lab.Director.Sysctl(t, key))
		}
	}
	backends[1].bad.Store(true)
	spoil()
	d.await(id, real(1), 0, patience)
	p.stop()
	if s := p.log.String(); !strings.Contains(s, "check does not count") || strings.Count(s, "server down") != 2 {
		t.Errorf("the log says %d times that a server is down, and not 2 times, or not that a check does not count", strings.Count(s, "server down"))
	}
	if v := lab.Director.Sysctl(t, key); v != "0" {
		t.Errorf("accept_local is %s after the end", v)
	}
	list, err := d.client.Services(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != id {
		t.Errorf("services after the end: %v, %v", list, err)
	}
}
