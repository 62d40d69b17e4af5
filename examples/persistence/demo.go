package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// director is one of the demonstration's, with one kind of persistence.
type director struct {
	options
	title  string
	kernel *ipvstest.Kernel
	client *ipvs.Client
	visits uint16
}

// Command lines of the directors.
const (
	demoReal = "-scheduler rr -real 10.0.0.2,10.0.0.3"
	demoFlag = "-vip 192.0.2.10 " + demoReal
)

// demo lets the same clients visit three directors, one for each kind.
func demo(ctx context.Context, out io.Writer) error {
	var directors []*director
	for _, d := range []struct{ title, flags string }{
		{"PPC", "-kind ppc -ports 80,443,53/udp " + demoFlag},
		{"PCC", "-kind pcc " + demoFlag},
		{"PNMPP", "-kind pnmpp -ports 80,443,53/udp -mark 10 " + demoFlag},
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
		one := &director{title: d.title, kernel: kernel, client: c}
		if err := one.start(ctx, out, d.flags); err != nil {
			return err
		}
		directors = append(directors, one)
	}

	fmt.Fprintln(out, "Three clients come. With PPC the server that a client has for one port says nothing about its others. With")
	fmt.Fprintln(out, "PCC one server has all its ports of a protocol; with PNMPP those that the rule marks, of every protocol:")
	http, https, dns, other := port{ipvs.TCP, 80}, port{ipvs.TCP, 443}, port{ipvs.UDP, 53}, port{ipvs.TCP, 8080}
	visits := []visitor{{1, http}, {2, https}, {1, https}, {2, http}, {3, http}, {1, dns}, {2, dns}, {3, other}, {1, http}, {3, https}}
	show(out, directors, visits)
	fmt.Fprintln(out, "\n(-: no service wants the packet, and the director's own programs get it.)")

	fmt.Fprintln(out, "\nThe templates behind it:")
	for _, d := range directors {
		look, err := d.affinity(d.client)(ctx)
		if err != nil {
			return err
		}
		_, templates, _ := strings.Cut(look.Text, "template of")
		fmt.Fprintf(out, "\n%s\n%s", d.title, strings.TrimPrefix(templates[strings.Index(templates, "\n"):], "\n"))
	}

	fmt.Fprintln(out, "\n10.0.0.3 gets weight 0. The clients that were there before keep coming:")
	for _, d := range directors {
		for _, id := range d.ids() {
			if _, err := d.client.Quiesce(ctx, id, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.3"), id.Addr.Port())); err != nil {
				return err
			}
		}
	}
	show(out, directors, visits[:4])
	fmt.Fprintln(out, "\nWith the sysctl expire_quiescent_template they get another server at once:")
	for _, d := range directors {
		if err := d.set("expire_quiescent_template", "1"); err != nil {
			return err
		}
	}
	show(out, directors, visits[:4])
	return nil
}

// start does what the verb does.
func (d *director) start(ctx context.Context, out io.Writer, flags string) error {
	if err := d.options.flags("start").Parse(strings.Fields(flags)); err != nil {
		return err
	}
	e := setup.Env{Kernel: "memory:"}
	if err := d.check(&e, "start"); err != nil {
		return err
	}
	parts, err := d.parts(&e, d.client)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: persistence start %s\n\n", d.title, flags)
	if err := setup.Start(ctx, out, parts, false); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return nil
}

// set writes a sysctl of IPVS.
func (d *director) set(name, value string) error {
	tree, ok := d.kernel.Namespace("").FS().(interface {
		WriteFile(name string, data []byte, perm fs.FileMode) error
	})
	if !ok {
		return fmt.Errorf("sysctl %s cannot be written", name)
	}
	return tree.WriteFile("proc/sys/net/ipv4/vs/"+name, []byte(value), 0)
}

// visitor is a client that comes to a port.
type visitor struct {
	number byte // of the client
	port   port
}

// show lets clients come, and prints which server each got, a column for each director.
func show(out io.Writer, directors []*director, visits []visitor) {
	line := fmt.Sprintf("\n%-15s%-9s", "client", "port")
	for _, d := range directors {
		line += fmt.Sprintf("%-10s", d.title)
	}
	fmt.Fprintln(out, strings.TrimRight(line, " "))
	for _, v := range visits {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, v.number})
		line := fmt.Sprintf("%-15v%-9v", addr, v.port)
		for _, d := range directors {
			line += fmt.Sprintf("%-10s", d.visit(addr, v.port))
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}

// visit opens a connection, ends it, and returns the server.
func (d *director) visit(client netip.Addr, p port) string {
	d.visits++
	flow := d.flow(netip.AddrPortFrom(client, 40000+d.visits), p)
	ns := d.kernel.Namespace("")
	r := ns.Connect(flow)
	ns.Disconnect(flow)
	switch r.Verdict {
	case sim.Forwarded:
		return r.Dest.Addr().String()
	case sim.Passed:
		return "-"
	}
	return r.Verdict.String()
}

// flow is a client's connection to a port, with the mark that the rule gives it.
func (o *options) flow(client netip.AddrPort, p port) sim.Flow {
	return sim.Flow{Protocol: sim.Protocol(p.protocol), Client: client, Virtual: netip.AddrPortFrom(o.vip, p.number), Mark: o.markOf(p)}
}
