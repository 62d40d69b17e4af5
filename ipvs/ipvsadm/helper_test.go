package ipvsadm_test

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/golvs/lvs/internal/nltest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

var equateAddrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}

// newKernel returns an in-memory kernel like the one that the golden files are from: the loopback device is up, and
// there is no other.
func newKernel(tb testing.TB, cfg *nltest.Config) *nltest.Kernel {
	tb.Helper()
	k, err := nltest.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { k.Close() })
	ns := k.Namespace("")
	if err := ns.SetLink("lo", true); err != nil {
		tb.Fatal(err)
	}
	return k
}

func dial(tb testing.TB, k *nltest.Kernel) *ipvs.Client {
	tb.Helper()
	ns := k.Namespace("")
	conn, err := ns.Dial()
	if err != nil {
		tb.Fatal(err)
	}
	c, err := ipvs.NewClient(conn, &ipvs.Config{Root: ns.FS()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func newClient(tb testing.TB) *ipvs.Client { return dial(tb, newKernel(tb, nil)) }

func golden(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// fakeNames is a resolver with a few hosts, and the ports of testdata/services.
type fakeNames struct {
	*ipvsadm.SystemResolver
	hosts map[string]string // address by name
}

func newNames() fakeNames {
	return fakeNames{
		SystemResolver: ipvsadm.NewSystemResolver(os.DirFS("testdata/root"), nil),
		hosts:          map[string]string{"localhost": "127.0.0.1"},
	}
}

func (f fakeNames) LookupHost(_ context.Context, name string) (netip.Addr, error) {
	if a, ok := f.hosts[name]; ok {
		return netip.ParseAddr(a)
	}
	return netip.Addr{}, ipvsadm.ErrNoName
}

func (f fakeNames) HostName(_ context.Context, addr netip.Addr) (string, error) {
	for name, a := range f.hosts {
		if a == addr.String() {
			return name, nil
		}
	}
	return "", ipvsadm.ErrNoName
}

// program returns the program over an in-memory kernel.
func program(k *nltest.Kernel, r ipvsadm.Resolver, stdin io.Reader, stdout, stderr io.Writer) *ipvsadm.Program {
	return &ipvsadm.Program{
		Open: func(context.Context) (*ipvs.Client, error) {
			ns := k.Namespace("")
			conn, err := ns.Dial()
			if err != nil {
				return nil, err
			}
			return ipvs.NewClient(conn, &ipvs.Config{Root: ns.FS()})
		},
		Resolver: r, Stdin: stdin, Stdout: stdout, Stderr: stderr,
	}
}

type runFunc func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

func runnerWith(k *nltest.Kernel, r ipvsadm.Resolver) runFunc {
	return func(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
		return program(k, r, stdin, stdout, stderr).Run(context.Background(), args)
	}
}

func runner(k *nltest.Kernel) runFunc { return runnerWith(k, newNames()) }

// restore carries out a rule file on a client.
func restore(tb testing.TB, c *ipvs.Client, p *ipvsadm.Parser, rules string) {
	tb.Helper()
	for rule, err := range p.Rules(context.Background(), stringReader(rules)) {
		if err == nil {
			err = rule.Operation.Apply(context.Background(), c)
		}
		if err != nil {
			tb.Fatalf("line %d: %v", rule.Line, err)
		}
	}
}
