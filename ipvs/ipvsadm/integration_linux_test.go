package ipvsadm_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// side is a network namespace with a client in it.
type side struct {
	ns     *nstest.NS
	client *ipvs.Client
}

func newSide(t *testing.T) side {
	t.Helper()
	ns := nstest.New(t)
	c, err := ipvs.Dial(context.Background(), &ipvs.Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return side{ns, c}
}

// outcome is what a command line leaves behind.
type outcome struct {
	Status         int
	Stdout, Stderr string
}

// original runs the real ipvsadm.
func (s side) original(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command("ipvsadm", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var err error
	s.ns.Do(t, func() { err = cmd.Run() })
	if cmd.ProcessState == nil {
		t.Fatalf("ipvsadm does not start: %v", err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ours runs this package's.
func (s side) ours(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := ipvsadm.Program{
		Open: func(ctx context.Context) (*ipvs.Client, error) {
			return ipvs.Dial(ctx, &ipvs.Config{NetNSFile: s.ns.File()})
		},
		Resolver: ipvsadm.NewSystemResolver(nil, nil), Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	}
	status := p.Run(context.Background(), append([]string{"ipvsadm"}, args...))
	return outcome{status, stdout.String(), stderr.String()}
}

// state returns the state without counters, services in an order of its own.
func (s side) state(t *testing.T) ipvsadm.State {
	t.Helper()
	st, err := ipvsadm.ReadState(context.Background(), s.client)
	if err != nil {
		t.Fatal(err)
	}
	for i := range st.Services {
		st.Services[i].Stats = ipvs.Stats{}
		for j := range st.Services[i].Destinations {
			st.Services[i].Destinations[j].Stats = ipvs.Stats{}
		}
	}
	slices.SortFunc(st.Services, func(a, b ipvsadm.TableEntry) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return st
}

// fromEnv returns a number of the environment: LVS_IPVSADM_LINES is how many command lines to compare, LVS_IPVSADM_SEED what
// the random ones start from.
func fromEnv(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// printsTable reports whether the output of a command line follows the kernel's order.
func printsTable(args []string) bool {
	op, err := ipvsadm.Parse(args)
	return err == nil && (op.Command == ipvsadm.List || op.Command == ipvsadm.Save)
}

// TestIntegrationSideBySide gives the same random command lines, legal and illegal, alone and in rule files, to the real
// ipvsadm in one namespace and to this package in another. What changes something must leave the same output and the
// same state; what lists is compared on one state, as the kernel's own order differs between namespaces.
func TestIntegrationSideBySide(t *testing.T) {
	nstest.RequireKernel(t)
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		t.Fatalf("the program ipvsadm must be there to compare with: %v", err)
	}
	a, b := newSide(t), newSide(t)
	g := newGenerator(fromEnv("LVS_IPVSADM_SEED", 1))
	want := fromEnv("LVS_IPVSADM_LINES", 2200)
	start := time.Now()
	var lines, single, listings, files, failed, differences int
	compare := func(stdin string, args ...string) {
		target := b
		if printsTable(args) {
			target = a
			listings++
		}
		theirs, ours := a.original(t, stdin, args...), target.ours(t, stdin, args...)
		if theirs.Status != 0 {
			failed++
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			differences++
			t.Errorf("%q %q (-ipvsadm +ours):\n%s", args, stdin, diff)
		}
	}
	for round := 0; uint64(lines) < want && differences < 20; round++ {
		if round%40 == 39 {
			compare("-C\n--stop-daemon master\n--stop-daemon backup\n", "-R")
		}
		if round%15 == 14 {
			g.wild(t, a, b)
		}
		if g.oneIn(2) {
			args := g.commandLine()
			if crashes(strings.Join(args, " ")) || slices.Contains(args, "-R") {
				continue
			}
			compare("", args...)
			single++
			lines++
		} else {
			text, n := g.ruleFile(25)
			compare(text, "-R")
			files++
			lines += n
		}
		if diff := cmp.Diff(a.state(t), b.state(t), equateAddrs); diff != "" {
			t.Fatalf("after %d command lines the states differ (-ipvsadm +ours):\n%s", lines, diff)
		}
	}
	t.Logf("differential: ipvsadm: %d command lines (%d alone, %d listings; the others in %d rule files), %d runs failed, %d differences, %v",
		lines, single, listings, files, failed, differences, time.Since(start).Round(time.Second))
}

// wild makes, in both namespaces, a service or a destination that ipvsadm cannot make but can list.
func (g generator) wild(t *testing.T, sides ...side) {
	t.Helper()
	id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("10.9.9.9:9")}
	svc := ipvs.Service{
		ID: id, Scheduler: pick(g, "rr", "sh", "mh"), Timeout: time.Duration(g.IntN(1000)) * time.Second,
		Flags: ipvs.ServiceFlags(g.Uint32()) &^ 2, Netmask: ipvs.MaskBits(ipvs.IPv4, g.IntN(33)),
	}
	d := ipvs.Destination{
		Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 8, 8, byte(g.IntN(4))}), uint16(g.IntN(3))),
		Forward: ipvs.ForwardMethod(g.IntN(4)), Weight: g.Uint32() >> 1, UpperThreshold: g.Uint32() >> 1,
		Tunnel: ipvs.TunnelOptions{Type: ipvs.TunnelType(g.IntN(4)), Port: 7, Flags: ipvs.TunnelFlags(g.IntN(6))},
	}
	var errs []string
	for _, s := range sides {
		err1 := s.client.AddService(context.Background(), svc)
		err2 := s.client.SetService(context.Background(), svc)
		err3 := s.client.AddDestination(context.Background(), id, d)
		errs = append(errs, fmt.Sprint(err1, err2, err3))
	}
	if errs[0] != errs[1] {
		t.Fatalf("two namespaces, two answers: %q", errs)
	}
}
