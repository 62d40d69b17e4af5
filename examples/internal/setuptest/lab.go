package setuptest

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
)

// Station is a network namespace from which connections can be made.
type Station interface {
	Place
	DialContext(ctx context.Context, network string, src, dst netip.AddrPort) (net.Conn, error)
}

// Lab is a network with clients that a program sets a director and real servers up in.
type Lab[S Station] struct {
	Program
	Client, Director S
	Real             []S
}

// Stations are those that the program changes.
func (l *Lab[S]) Stations() []S { return append([]S{l.Director}, l.Real...) }

// Service is a virtual service of a lab, which is set up, used and taken back again.
type Service struct {
	VIP      netip.Addr
	Director []string // flags for start and status, but for the role; those for a real server are for all verbs
	Server   func(i int) []string

	// Clients take turns in asking, Count times in all, from FirstPort on.
	Clients   []netip.Addr
	Count     int
	FirstPort uint16

	// Answers returns the address of the real server that gave an answer.
	Answers func(answer string) netip.Addr

	// ServersFirst has the real servers started before the director, and stopped before it.
	ServersFirst bool

	// Each, if it is set, is called after each verb, with the place where it was run.
	Each func(verb string, at Place)

	// Meanwhile, if it is set, is called when all are started, and what it returns when all have been asked.
	Meanwhile func() func()
}

// Play sets a service up by the program alone, has it used, and takes it back: requests are balanced as the model says. It
// returns how often each real server has answered.
func (l *Lab[S]) Play(t testing.TB, s Service) map[netip.Addr]int {
	t.Helper()
	run := func(at S, verb string, flags []string) {
		t.Helper()
		l.Do(t, setup.ExitOK, at, append([]string{verb}, flags...)...)
		if s.Each != nil {
			s.Each(verb, at)
		}
	}
	vip := []string{"-vip", s.VIP.String()}
	director := func(verb string, flags ...string) { t.Helper(); run(l.Director, verb, append(flags, vip...)) }
	server := func(verb string, i int) {
		t.Helper()
		run(l.Real[i], verb, append([]string{"-role", setup.RoleRealServer}, s.Server(i)...))
	}
	servers := func(verb string) {
		t.Helper()
		for i := range l.Real {
			server(verb, i)
		}
	}
	if !s.ServersFirst {
		director("start", s.Director...)
	}
	servers("start")
	if s.ServersFirst {
		director("start", s.Director...)
	}
	director("status", s.Director...)
	server("status", len(l.Real)-1) // the others are its like
	after := func() {}
	if s.Meanwhile != nil {
		after = s.Meanwhile()
	}
	dial := func(network string, src, dst netip.AddrPort) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return l.Client.DialContext(ctx, network, src, dst)
	}
	answers := Load{
		Director: l.Director.Path(), Service: netip.AddrPortFrom(s.VIP, 80), Clients: s.Clients, Count: s.Count, FirstPort: s.FirstPort,
		Dial: dial, Server: s.Answers,
	}.Requests(t)
	after()
	if !s.ServersFirst {
		director("stop")
	}
	servers("stop")
	if s.ServersFirst {
		director("stop")
	}
	return answers
}
