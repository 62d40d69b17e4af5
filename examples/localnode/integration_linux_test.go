package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// patience is how long a test waits for something that promises nothing about its time.
const patience = 30 * time.Second

// place is a director with real servers, each of which answers its address.
type place struct {
	*testing.T
	*nstest.Lab
	vip    netip.AddrPort
	id     ipvs.ServiceID
	flags  []string
	client *ipvs.Client
}

// newPlace makes a service of a lab.
func newPlace(t *testing.T, lab *nstest.Lab, vip netip.Addr, port uint16) *place {
	t.Helper()
	copied := *lab
	p := &place{T: t, Lab: &copied, vip: netip.AddrPortFrom(vip, port)}
	p.id = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: p.vip}
	p.flags = []string{"-vip", vip.String(), "-port", fmt.Sprint(port)}
	if vip.Is6() {
		p.RealServers = slices.Clone(lab.RealServers)
		for i := range p.RealServers {
			p.RealServers[i].Addr = p.RealServers[i].Addr6
		}
	}
	var err error
	if p.client, err = ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: p.Director.File()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.client.Close() })
	return p
}

// do runs a verb, which has to end with the status.
func (p *place) do(want int, verb string, more ...string) {
	p.Helper()
	program.Do(p.T, want, p.Director, append(append([]string{verb}, p.flags...), more...)...)
}

// weigh changes a server's weight as an operator does.
func (p *place) weigh(i int, weight uint32) {
	p.Helper()
	d := ipvs.Destination{Addr: netip.AddrPortFrom(p.RealServers[i].Addr, p.vip.Port()), Forward: ipvs.Route, Weight: weight}
	if err := p.client.SetDestination(p.Context(), p.id, d); err != nil {
		p.Fatal(err)
	}
}

// table is the service's, for messages.
func (p *place) table() string {
	list, err := p.client.Destinations(p.Context(), p.id)
	return fmt.Sprint(configs(list), err)
}

// The director as a server, in each way.
func TestIntegrationLocalNode(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{Direct: true})
	for _, rs := range lab.RealServers {
		rs.NS.HideVIP(t, lab.VIP)
		rs.NS.HideVIP(t, lab.VIP6)
	}
	t.Run("sorry", func(t *testing.T) { testSorry(newPlace(t, lab, lab.VIP, 80)) })
	t.Run("share by routing, IPv4", func(t *testing.T) { testShare(newPlace(t, lab, lab.VIP, 81), "Route") })
	t.Run("share by routing, IPv6", func(t *testing.T) { testShare(newPlace(t, lab, lab.VIP6, 81), "Route") })
	t.Run("spill by fo", func(t *testing.T) { testSpill(newPlace(t, lab, lab.VIP, 82), "fo") })
	t.Run("spill by ovf", func(t *testing.T) { testSpill(newPlace(t, lab, lab.VIP, 83), "ovf") })
	t.Run("share by masquerading", func(t *testing.T) {
		lab := nstest.NewLab(t, nstest.LabConfig{}) // answers have to come through the director
		testShare(newPlace(t, lab, lab.VIP, 80), "Masq")
	})
}

// The sorry server: real clients get its page while both servers have weight 0, and at no other time.
func testSorry(p *place) {
	t := p.T
	for _, rs := range p.RealServers {
		rs.NS.ServeHTTP(t, p.vip, rs.Addr.String(), nil)
	}
	page := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(page, []byte("sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	real := "-real=" + p.RealServers[0].Addr.String() + "," + p.RealServers[1].Addr.String()
	w := program.Watch(t, append([]string{"start", "-watch", "-interval", "100ms", "-page", page, real, "-netns", p.Director.Path()}, p.flags...)...)
	get := func() string {
		resp, err := p.Clients[0].NS.HTTPClient(netip.Addr{}).Get("http://" + p.vip.String() + "/")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || (resp.StatusCode == http.StatusServiceUnavailable) != (string(body) == "sorry") {
			t.Errorf("a request is answered with status %d and %q, %v: 503 and the page belong together", resp.StatusCode, body, err)
		}
		return strings.TrimSpace(string(body))
	}
	// Until the program has seen a change the director and the servers may both get clients, by turns.
	await := func(when string, sorry bool) {
		t.Helper()
		for row, end := 0, time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			got := get()
			if !sorry && got != "sorry" && got != p.RealServers[0].Addr.String() && got != p.RealServers[1].Addr.String() {
				t.Fatalf("%s: a request is answered by %q, and the table is %s", when, got, p.table())
			}
			if row++; (got == "sorry") != sorry {
				row = 0
			}
			if row == 4 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: four answers in a row are wanted, all by the sorry server: %v, or else none; the last one is %q, and the table is %s", when, sorry, got, p.table())
			}
		}
	}
	// Servers come into the table one by one, and the first one answers before the program has added the others.
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := get()
		status, out, errs := program.Run(t, "", append([]string{"status", real, "-netns", p.Director.Path()}, p.flags...)...)
		if got == p.RealServers[0].Addr.String() && status == setup.ExitOK {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the last answer is %q and not the first server's, or status has findings (%d): %s%s\nstart says %s", got, status, out, errs, w.Output())
		}
	}
	await("both servers have a weight", false)
	p.weigh(0, 0)
	time.Sleep(150 * time.Millisecond) // the program looks; if it comes to it later, the test sees less of a mistake, and nothing wrong
	await("the second server has a weight", false)
	p.weigh(1, 0)
	await("no server has a weight", true)
	p.weigh(0, 1)
	await("the first server is back", false)
	if status := w.Interrupt(); status != setup.ExitOK {
		t.Errorf("interrupted, the program ends with status %d", status)
	}
	p.do(setup.ExitError, "status", real) // nothing serves the page
	p.do(setup.ExitOK, "stop")
	if list, err := p.client.Services(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("services after stop: %v, %v", list, err)
	}
	if t.Failed() {
		t.Logf("output:\n%s", w.Output())
	}
}

// The director as a member: real clients get what the model says.
func testShare(p *place, method string) {
	t := p.T
	p.Director.ServeHTTP(t, p.vip, p.localName(), nil)
	for _, rs := range p.RealServers {
		addr := p.vip
		if method == "Masq" {
			addr = netip.AddrPortFrom(rs.Addr, p.vip.Port())
		}
		rs.NS.ServeHTTP(t, addr, rs.Addr.String(), nil)
	}
	real := "-real=" + p.RealServers[0].Addr.String() + "=2," + p.RealServers[1].Addr.String()
	flags := []string{real, "-share", "2", "-scheduler", "wrr", "-method", method}
	p.do(setup.ExitOK, "start", flags...)
	p.do(setup.ExitOK, "status", flags...)
	client := p.Clients[0]
	if p.vip.Addr().Is6() {
		client.Addr = client.Addr6
	}
	answers := setuptest.Load{
		Director: p.Director.Path(), Service: p.vip, Clients: []netip.Addr{client.Addr}, Count: 10, FirstPort: 30000,
		Dial: client.NS.Dial, Server: netip.MustParseAddr,
	}.Requests(t)
	if answers[netip.MustParseAddr(p.localName())] != 4 {
		t.Errorf("the local node has answered %d of 10 requests and not 4: %v", answers[netip.MustParseAddr(p.localName())], answers)
	}
	p.do(setup.ExitOK, "stop")
}

// localName is the name of the local node.
func (p *place) localName() string {
	if p.vip.Addr().Is6() {
		return "::1"
	}
	return "127.0.0.1"
}

// Real connections that stay open spill as the model says.
func testSpill(p *place, scheduler string) {
	t := p.T
	p.Director.ServeTCP(t, p.vip, "127.0.0.1")
	for _, rs := range p.RealServers {
		rs.NS.ServeTCP(t, p.vip, rs.Addr.String())
	}
	real := "-real=" + p.RealServers[0].Addr.String() + "=2," + p.RealServers[1].Addr.String() + "=1"
	p.do(setup.ExitOK, "start", real, "-spill", "4", "-scheduler", scheduler)
	model := setuptest.Model(t, p.Director.Path())
	var got, want []string
	for i := range 7 {
		conn, err := p.Clients[0].NS.Dial("tcp", netip.AddrPort{}, p.vip)
		if err != nil {
			t.Fatalf("connection %d: %v; before it %v", i, err, got)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		name := make([]byte, 64)
		n, err := conn.Read(name)
		if err != nil {
			t.Fatalf("connection %d: no name: %v; before it %v", i, err, got)
		}
		got = append(got, strings.TrimSpace(string(name[:n])))
		r := model.Establish(ipvstest.Flow(netip.AddrPortFrom(p.Clients[0].Addr, uint16(30000+i)), p.id))
		if r.Verdict != sim.Forwarded {
			t.Fatalf("connection %d: the model says %v", i, r.Verdict)
		}
		want = append(want, r.Dest.Addr().String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || got[0] != "127.0.0.1" || got[3] != "127.0.0.1" || got[4] == "127.0.0.1" {
		t.Errorf("got %v, and the model says %v", got, want)
	}
	t.Log(got)
	p.do(setup.ExitOK, "stop")
}

// The page is served as soon as the address is there, and one that cannot be served leaves everything as it was.
func TestIntegrationPage(t *testing.T) {
	nstest.RequireKernel(t)
	ns := nstest.New(t)
	ns.Dummy(t, "eth0")
	before := setuptest.Before(t, ns)
	page := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(page, []byte("sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := strings.Fields("start -watch -dev eth0 -page " + page)
	for vip, real := range map[string]string{"192.0.2.10": "192.0.2.2=0", "2001:db8::10": "2001:db8::2=0"} {
		flags := append(start, "-vip", vip, "-real", real)
		taken := ns.Listen(t, netip.MustParseAddrPort("[::]:80"))
		if out := program.Do(t, setup.ExitError, ns, flags...); !strings.Contains(out, "localnode: the page cannot be served: ") || strings.Contains(out, "ipvsadm") {
			t.Errorf("the port is taken:\n%s", out)
		}
		before(t, "the port is taken")
		taken.Close()
		w := program.Watch(t, append(flags, "-netns", ns.Path())...)
		w.Expect(t, "takes packets for the virtual address")
		var got string
		var err error
		for end := time.Now().Add(patience); got != "sorry" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			got, err = ns.AskHTTP(netip.Addr{}, netip.AddrPortFrom(netip.MustParseAddr(vip), 80))
		}
		if got != "sorry" {
			t.Errorf("%v answers %q, %v, after %v", vip, got, err, patience)
		}
		if status := w.Interrupt(); status != setup.ExitOK {
			t.Errorf("status %d\n%s", status, w.Output())
		}
		program.Do(t, setup.ExitOK, ns, "stop", "-vip", vip)
	}
	before(t, "stopped")
}
