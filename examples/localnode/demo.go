package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// show is a demonstration on an in-memory kernel, with simulated clients.
type show struct {
	node
	kernel  *ipvstest.Kernel
	clients int // that have come so far
	open    []sim.Flow
}

// demo shows the three ways to use the director as a server.
func demo(ctx context.Context, out io.Writer) error {
	for _, scene := range []struct {
		title string
		flags []string
		play  func(*show, context.Context) error
	}{
		{"The sorry server: it gets the clients while no other server can.", []string{"-real", "10.0.0.2,10.0.0.3"}, (*show).sorry},
		{"A regular member, with a share of the clients.", []string{"-real", "10.0.0.2=2,10.0.0.3=2", "-share", "1"}, (*show).share},
		{"First itself, then its neighbours.", []string{"-real", "10.0.0.2=2,10.0.0.3=1", "-spill", "4"}, (*show).spill},
	} {
		kernel, err := ipvstest.New(nil)
		if err != nil {
			return err
		}
		defer kernel.Close()
		c, err := kernel.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		s := show{node: node{client: c, out: out}, kernel: kernel}
		fs := s.options.flags("start")
		flags := append([]string{"-vip", "192.0.2.10"}, scene.flags...)
		if err := fs.Parse(flags); err != nil {
			return err
		}
		if err := s.options.check(&setup.Env{}, "start"); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n\nlocalnode start %s\n\n", scene.title, strings.Join(flags, " "))
		if err := setup.Start(ctx, out, []setup.Part{&s.node}, false); err != nil {
			return err
		}
		fmt.Fprintln(out)
		if err := scene.play(&s, ctx); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

// connect lets clients come, and prints which server each of them got.
func (s *show) connect(ctx context.Context, clients int, who string) error {
	fmt.Fprintf(s.out, "%-28s", who)
	for range clients {
		s.clients++
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(s.clients)}), 40000)
		f := ipvstest.Flow(client, s.service().ID)
		switch r := s.kernel.Namespace("").Connect(f); {
		case r.Verdict != sim.Forwarded:
			fmt.Fprint(s.out, " ", r.Verdict)
		case r.Dest.Addr().IsLoopback():
			fmt.Fprint(s.out, " director")
		default:
			fmt.Fprint(s.out, " ", r.Dest.Addr())
		}
		s.open = append(s.open, f)
	}
	fmt.Fprintln(s.out)
	return ctx.Err()
}

// disconnect lets the first clients go, and their entries with them.
func (s *show) disconnect(clients int) {
	for _, f := range s.open[:clients] {
		s.kernel.Namespace("").Disconnect(f)
	}
	s.open = s.open[clients:]
	s.kernel.Advance(3 * time.Minute)
}

// look is what -watch does at each interval.
func (s *show) look(ctx context.Context) error {
	text, err := s.step(ctx)
	if err == nil && text != "" {
		fmt.Fprintln(s.out, "   ", text)
	}
	return err
}

// weigh gives all other servers a weight, as an operator or a health checker does.
func (s *show) weigh(ctx context.Context, weight uint32) error {
	for _, d := range s.others() {
		d.Weight = weight
		if err := s.client.SetDestination(ctx, s.service().ID, d); err != nil {
			return err
		}
	}
	return s.look(ctx)
}

func (s *show) sorry(ctx context.Context) error {
	if err := s.connect(ctx, 4, "clients"); err != nil {
		return err
	}
	if err := s.weigh(ctx, 0); err != nil {
		return err
	}
	if err := s.connect(ctx, 3, "both servers have weight 0"); err != nil {
		return err
	}
	if err := s.weigh(ctx, 1); err != nil {
		return err
	}
	return s.connect(ctx, 4, "they are back")
}

func (s *show) share(ctx context.Context) error { return s.connect(ctx, 10, "clients") }

func (s *show) spill(ctx context.Context) error {
	if err := s.connect(ctx, 7, "clients, all stay"); err != nil {
		return err
	}
	s.disconnect(2)
	return s.connect(ctx, 3, "two of the director's leave")
}
