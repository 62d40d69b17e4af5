package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// Demo is a demonstration on an in-memory kernel: a director is set up, clients connect, a real server is maintained.
type Demo struct {
	Intro    string // what the method does, whole lines
	VIP      netip.Addr
	Real     string // as the value of -real; the second one is maintained
	Template ipvs.Destination
}

// clients is the number of clients that connect in each round.
const clients = 24

// Run runs the demonstration.
func (d Demo) Run(ctx context.Context, e *Env) error {
	k, err := ipvstest.New(nil)
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }() // nothing of it is left
	c, err := k.Client()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	var real RealServers
	if err := real.Set(d.Real); err != nil {
		return err
	}
	service := NewService(ipvs.TCP, d.VIP, 80)
	service.Scheduler = "wrr"
	table := &Table{
		Client: c, Program: e.Name, Service: service, Forward: d.Template.Forward, Destinations: real.Destinations(80, d.Template),
	}
	parts := []Part{table}
	say := func(format string, args ...any) { fmt.Fprintf(e.Stdout, format+"\n", args...) }
	asked := 0
	ask := func() error {
		got := make(map[netip.AddrPort][]netip.Addr)
		client := netip.MustParseAddr("198.51.100.1")
		for range asked {
			client = client.Next()
		}
		for range clients {
			flow := ipvstest.Flow(netip.AddrPortFrom(client, 40000), service.ID)
			r := k.Namespace("").Connect(flow)
			if r.Verdict != sim.Forwarded {
				return fmt.Errorf("%v: %v", client, r.Verdict)
			}
			got[r.Dest] = append(got[r.Dest], client)
			client = client.Next()
		}
		asked += clients
		return shares(ctx, e.Stdout, c, table, got)
	}

	fmt.Fprint(e.Stdout, d.Intro)
	say("\nThis is what \"%s start -vip %v -scheduler wrr -real %s\" does, on a kernel in memory:\n", e.Name, d.VIP, d.Real)
	if err := Start(ctx, e.Stdout, parts, false); err != nil {
		return err
	}
	say("\n%d clients connect, and the weights decide who gets them:\n", clients)
	if err := ask(); err != nil {
		return err
	}
	addr := table.Destinations[1].Addr
	say("\n%v is to be maintained. With weight 0 its connections go on, and new clients go elsewhere:\n", addr.Addr())
	if _, err := c.Quiesce(ctx, service.ID, addr); err != nil {
		return err
	}
	if err := ask(); err != nil {
		return err
	}
	say("\n\"%s status\" with the same flags says what differs:\n", e.Name)
	if err := Status(ctx, e.Stdout, parts, false); !errors.Is(err, ErrFindings) {
		return fmt.Errorf("the status finds nothing: %w", err)
	}
	say("\nMaintenance is over. \"%s start\" again changes just that:\n", e.Name)
	if err := Start(ctx, e.Stdout, parts, false); err != nil {
		return err
	}
	say("")
	return ask()
}

// shares prints who got what, and what the kernel counts.
func shares(ctx context.Context, out io.Writer, c *ipvs.Client, t *Table, got map[netip.AddrPort][]netip.Addr) error {
	snapshot, err := ipvsadm.ReadService(ctx, c, t.Service.ID)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "real server\tweight\tnew clients\tconnections\tthe new clients")
	for _, want := range t.Destinations {
		for _, d := range snapshot.Services[0].Destinations {
			if d.Addr != want.Addr {
				continue
			}
			var words []string
			for _, a := range got[d.Addr] {
				words = append(words, a.String()[strings.LastIndexByte(a.String(), '.')+1:])
			}
			fmt.Fprintf(w, "%v\t%d\t%d\t%d\t%s\n", d.Addr, d.Weight, len(words), d.Active+d.Inactive, cut(words, 8))
		}
	}
	return w.Flush()
}

// cut returns the first words of a list.
func cut(words []string, n int) string {
	if len(words) > n {
		words = append(words[:n:n], "…")
	}
	return strings.Join(words, " ")
}
