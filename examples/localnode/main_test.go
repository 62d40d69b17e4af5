package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/examples/internal/setuptest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

var program = setuptest.Program{Name: "localnode", Main: run}

func TestDemo(t *testing.T) {
	status, out, errs := program.Run(t, "")
	if status != setup.ExitOK || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	for _, want := range []string{
		"\nclients                      10.0.0.3 10.0.0.2 10.0.0.3 10.0.0.2\n",
		"\nboth servers have weight 0   director director director\n",
		"\nthey are back                10.0.0.3 10.0.0.2 10.0.0.3 10.0.0.2\n",
		"\nclients                      director 10.0.0.3 10.0.0.2 10.0.0.3 10.0.0.2 director 10.0.0.3 10.0.0.2 10.0.0.3 10.0.0.2\n",
		"\nclients, all stay            director director director director 10.0.0.2 10.0.0.2 10.0.0.2\n",
		"\ntwo of the director's leave  director director 10.0.0.2\n",
		"ipvsadm -a -t 192.0.2.10:80 -r 127.0.0.1:80 -g -w 3 -x 4\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// The verbs on a kernel that keeps its state: -n changes nothing, a second start does nothing, stop leaves nothing.
func TestVerbs(t *testing.T) {
	for _, more := range [][]string{nil, {"-share", "2"}, {"-spill", "9"}, {"-spill", "9", "-scheduler", "ovf"}, {"-method", "masq"}, {"-method", "Tunnel"}} {
		kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
		flags := append([]string{"-vip", "192.0.2.10", "-real", "10.0.0.2,10.0.0.3=2"}, more...)
		verb := func(v string, more ...string) []string { return append(append([]string{v}, flags...), more...) }
		for _, step := range []struct {
			args   []string
			status int
			want   string
		}{
			{verb("start", "-n"), setup.ExitOK, "ipvsadm -a -t 192.0.2.10:80 -r 127.0.0.1:80"},
			{verb("status"), setup.ExitError, "there is no service"},
			{verb("start"), setup.ExitOK, "ipvsadm -A -t 192.0.2.10:80"},
			{verb("start"), setup.ExitOK, "nothing to do"},
			{verb("status"), setup.ExitOK, "127.0.0.1:80"},
			{verb("status", "-json"), setup.ExitOK, `"findings": []`},
			{[]string{"stop", "-vip", "192.0.2.10", "-n"}, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:80"},
			{verb("status"), setup.ExitOK, "127.0.0.1:80"},
			{[]string{"stop", "-vip", "192.0.2.10"}, setup.ExitOK, "ipvsadm -D -t 192.0.2.10:80"},
			{[]string{"stop", "-vip", "192.0.2.10"}, setup.ExitOK, "nothing to do"},
		} {
			if status, out, errs := program.Run(t, kernel, step.args...); status != step.status || !strings.Contains(out, step.want) {
				t.Fatalf("%q: status %d\n%s%s", step.args, status, out, errs)
			}
		}
	}
}

// All other servers are down, and the status says that the local node should have a weight; IPv6.
func TestStatusOfSorryServer(t *testing.T) {
	kernel := "memory:" + filepath.Join(t.TempDir(), "kernel")
	flags := []string{"-vip", "2001:db8::10", "-real", "fd00::2"}
	if status, out, errs := program.Run(t, kernel, append([]string{"start"}, flags...)...); status != setup.ExitOK {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	c, done, err := ipvstest.Dial(t.Context(), kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("[2001:db8::10]:80")}
	if _, err := c.Quiesce(t.Context(), id, netip.MustParseAddrPort("[fd00::2]:80")); err != nil {
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	status, out, errs := program.Run(t, kernel, append([]string{"status"}, flags...)...)
	if status != setup.ExitError || !strings.Contains(out, "! [::1]:80 has weight 0 and not 1") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

// step gives the sorry server its weight, and mends what others did to it.
func TestStep(t *testing.T) {
	kernel, c := ipvstest.Start(t, nil)
	n := node{client: c, out: &bytes.Buffer{}}
	if err := n.options.flags("start").Parse([]string{"-vip", "192.0.2.10", "-real", "10.0.0.2,10.0.0.3"}); err != nil {
		t.Fatal(err)
	}
	if err := n.options.check(&setup.Env{}, "start"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.step(t.Context()); err == nil {
		t.Error("no error without a service")
	}
	if err := setup.Start(t.Context(), n.out, []setup.Part{&n}, false); err != nil {
		t.Fatal(err)
	}
	id, real, local := n.service().ID, n.others(), n.local(true).Addr
	set := func(i int, weight uint32) func() error {
		d := real[i]
		d.Weight = weight
		return func() error { return c.SetDestination(t.Context(), id, d) }
	}
	for i, step := range []struct {
		do   func() error
		want uint32
		text bool
	}{
		{set(0, 0), 0, false},
		{set(1, 0), 1, true},
		{set(1, 0), 1, false},
		{func() error { return c.DeleteDestination(t.Context(), id, real[1].Addr) }, 1, false},
		{func() error { return c.DeleteDestination(t.Context(), id, local) }, 1, true},
		{func() error { return c.AddDestination(t.Context(), id, real[1]) }, 0, true},
		{set(0, 1), 0, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		before := len(kernel.Requests())
		text, err := n.step(t.Context())
		if err != nil || (text != "") != step.text {
			t.Errorf("step %d: %q, %v", i, text, err)
		}
		if changes := len(kernel.Requests()) - before; !step.text && changes > 2 {
			t.Errorf("step %d: %d requests", i, changes)
		}
		d, err := c.Destination(t.Context(), id, local)
		if err != nil || d.Weight != step.want {
			t.Errorf("step %d: weight %d, %v", i, d.Weight, err)
		}
	}
}

// A page that cannot be served is found before anything is changed, and one that is not served any more ends the program.
func TestPage(t *testing.T) {
	kernel, c := ipvstest.Start(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).AddrPort().Port()
	n := node{client: c, out: &bytes.Buffer{}}
	file := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(file, []byte("sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.options.flags("start").Parse([]string{"-vip", "127.0.0.1", "-port", fmt.Sprint(port), "-real", "10.0.0.2", "-watch", "-page", file}); err != nil {
		t.Fatal(err)
	}
	if err := n.options.check(&setup.Env{}, "start"); err != nil {
		t.Fatal(err)
	}
	if err := n.watch(t.Context(), []setup.Part{&n}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the port is taken: %v", err)
	}
	for _, r := range kernel.Requests() {
		if strings.HasPrefix(r.Op, "add") {
			t.Errorf("the port is taken: %v", r.Op)
		}
	}

	p := &page{node: &n}
	taken.Close()
	if err := setup.Start(t.Context(), n.out, []setup.Part{p, &n}, false); err != nil {
		t.Fatal(err)
	}
	p.ln.Close() // as a failing socket
	n.keep(t.Context(), p.done)
	if err := p.close(); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "the page is not served any more: ") {
		t.Errorf("the server has failed: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	start := func(more ...string) []string {
		return append([]string{"start", "-vip", "192.0.2.10", "-real", "10.0.0.2=5"}, more...)
	}
	program.Mistakes(t, "memory:", map[string][]string{
		`localnode: unknown verb "x"; "localnode -h" shows the verbs`:                         []string{"x"},
		"localnode start: -vip is required":                                                   []string{"start"},
		"localnode start: -real is required":                                                  []string{"start", "-vip", "192.0.2.10"},
		"localnode start: -share and -spill exclude each other":                               start("-share", "1", "-spill", "2"),
		"localnode start: -watch is for the sorry server, and goes without -share and -spill": start("-share", "1", "-watch"),
		"localnode start: -watch goes without -n":                                             start("-n", "-watch"),
		"localnode start: -interval is a time above zero":                                     start("-watch", "-interval", "0s"),
		"localnode start: -page goes with -watch":                                             start("-page", "x"),
		"localnode start: -page is for tcp":                                                   start("-watch", "-page", "x", "-proto", "udp"),
		"localnode start: -spill goes with the schedulers fo and ovf, not with wlc":           start("-spill", "5", "-scheduler", "wlc"),
		"localnode start: with -scheduler ovf the local node comes first only if -spill is at least 2 above all weights, and 6 is not so for 5": start("-spill", "6", "-scheduler", "ovf"),
		`localnode start: invalid value "0" for flag -share: a number from 1 to 2147483647 is wanted`:                                           start("-share", "0"),
		`localnode start: invalid value "Local" for flag -method: method "Local" is none of Masq, Route and Tunnel`:                             start("-method", "Local"),
		"localnode start: real server 127.0.0.1 is this machine: -share makes it a member":                                                      start("-real", "127.0.0.1"),
		"localnode start: real server 10.0.0.3 has port 81, and packets come to it with port 80":                                                start("-real", "10.0.0.3:81"),
		"localnode start: real server 2001:db8::3 and the VIP are of different families":                                                        start("-real", "2001:db8::3"),
		"localnode start: LVS_KERNEL=memory: has no devices for -dev":                                                                           start("-dev", "eth0"),
		"localnode start: LVS_KERNEL=memory: has no clients for -page":                                                                          start("-watch", "-page", "x"),
		"localnode stop: flag provided but not defined: -real":                                                                                  []string{"stop", "-vip", "192.0.2.10", "-real", "10.0.0.2"},
	})
}
