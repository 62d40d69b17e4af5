package setuptest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// Load is what clients ask of a virtual TCP service.
type Load struct {
	Director string // its network namespace
	Service  netip.AddrPort
	Clients  []netip.Addr
	Count    int

	// FirstPort is the port that the first request comes from; the others count up. A client that uses a port again before
	// the director has forgotten its last connection is not scheduled, but sent to the same server.
	FirstPort uint16

	// Dial opens a connection in the clients' network namespace.
	Dial func(network string, src, dst netip.AddrPort) (net.Conn, error)

	// Server returns the address of the real server that gave an answer.
	Server func(answer string) netip.Addr
}

// Requests makes the clients take turns in asking the service over HTTP, and compares each answer with what the model says
// about the director's table as it is. It fails at the first difference, and returns how often each real server has answered.
func (l Load) Requests(t testing.TB) map[netip.Addr]int {
	t.Helper()
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: l.Service}
	model := Model(t, l.Director)
	answers := make(map[netip.Addr]int)
	var client netip.AddrPort
	c := l.client(func() netip.AddrPort { return client })
	for i := range l.Count {
		client = netip.AddrPortFrom(l.Clients[i%len(l.Clients)], l.FirstPort+uint16(i))
		flow := ipvstest.Flow(client, id)
		want := model.Establish(flow)
		if want.Verdict != sim.Forwarded {
			t.Fatalf("request %d of %v to %v: the model says %v", i, client, id, want.Verdict)
		}
		model.Close(flow)
		begin := time.Now()
		answer, err := l.get(c)
		if err != nil {
			t.Fatalf("request %d of %v to %v, which the model sends to %v: after %v: %v; so far %v\n%s",
				i, client, id, want.Dest, time.Since(begin), err, answers, l.director())
		}
		got := l.Server(answer)
		if got != want.Dest.Addr() {
			t.Fatalf("request %d of %v to %v: answered by %v after %v, and the model says %v; so far %v\n%s",
				i, client, id, got, time.Since(begin), want.Dest, answers, l.director())
		}
		answers[got]++
	}
	if len(answers) < 2 {
		t.Errorf("%v: all requests were answered by %v", id, answers)
	}
	t.Logf("%v: %v", id, answers)
	return answers
}

// Model returns the table of a director without a kernel.
func Model(t testing.TB, director string) *sim.Director {
	t.Helper()
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNS: director})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rules, err := c.Ruleset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ipvstest.NewDirector(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// client returns an HTTP client that makes a connection for each request, from the address that from returns.
func (l Load) client(from func() netip.AddrPort) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
				return l.Dial(network, from(), l.Service)
			},
		},
	}
}

// director says how things are there, for the message of a failure: the table, the connections of its clients, whom it knows.
func (l Load) director() string {
	var text strings.Builder
	err := setup.Inside(l.Director, func() error {
		for _, name := range []string{"ip_vs", "ip_vs_conn"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + name)
			fmt.Fprintf(&text, "director, %s:\n%s", name, b)
			if err != nil {
				return err
			}
		}
		b, err := exec.Command("ip", "neigh").CombinedOutput()
		fmt.Fprintf(&text, "director, ip neigh:\n%s", b)
		return err
	})
	if err != nil {
		fmt.Fprintln(&text, err)
	}
	return text.String()
}

func (l Load) get(c *http.Client) (string, error) {
	resp, err := c.Get("http://" + l.Service.String() + "/")
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	return strings.TrimSpace(string(body)), err
}
