package ipvsadm_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
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

func newSide(t testing.TB) side {
	t.Helper()
	ns := nstest.New(t)
	c, err := ipvs.Dial(context.Background(), &ipvs.Config{NetNSFile: ns.File()})
	if err != nil {
		t.Fatal(err)
	}
	// What would go in the background with the namespace, when nobody uses it any more, would make the lists of the next
	// test miss something: the kernel numbers their entries across all namespaces.
	t.Cleanup(func() {
		_ = c.Flush(context.Background())
		_ = c.Close()
	})
	return side{ns, c}
}

// outcome is what a command line leaves behind.
type outcome struct {
	Status         int
	Stdout, Stderr string
}

// original runs the real ipvsadm.
func (s side) original(t testing.TB, stdin string, args ...string) outcome {
	t.Helper()
	if slices.ContainsFunc(slices.Concat(args, []string{stdin}), func(s string) bool { return strings.Contains(s, "--stop-daemon") }) {
		nstest.SettleDaemons(t)
	}
	// It waits for ever for the answer to a request to stop a daemon that has not begun to run, which the kernel does not
	// give; a rule file can have both in two lines.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ipvsadm", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var err error
	s.ns.Do(t, func() { err = cmd.Run() })
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("ipvsadm %q does not start or does not end: %v, %v\nstdin:\n%s\nstdout: %s\nstderr: %s", args, err, ctx.Err(), stdin, &stdout, &stderr)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ours runs this package's.
func (s side) ours(t testing.TB, stdin string, args ...string) outcome {
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
func (s side) state(t testing.TB) ipvs.Snapshot {
	t.Helper()
	st, err := s.client.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range st.Services {
		st.Services[i].Stats = ipvs.Stats{}
		for j := range st.Services[i].Destinations {
			st.Services[i].Destinations[j].Stats = ipvs.Stats{}
		}
	}
	slices.SortFunc(st.Services, func(a, b ipvs.ServiceSnapshot) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return st
}

// difference describes how two states differ; empty if they do not. Comparing in steps, as cmp does it, takes long.
func difference(a, b ipvs.Snapshot) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, equateAddrs)
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
		if !g.oneIn(3) {
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
		if diff := difference(a.state(t), b.state(t)); diff != "" {
			t.Fatalf("after %d command lines the states differ (-ipvsadm +ours):\n%s", lines, diff)
		}
	}
	t.Logf("differential: ipvsadm: %d command lines (%d alone, %d listings; the others in %d rule files), %d runs failed, %d differences, %v",
		lines, single, listings, files, failed, differences, time.Since(start).Round(time.Second))
}

// wild makes, in both namespaces, a service or a destination that ipvsadm cannot make but can list. It lists forwarding
// methods above 3 as "(null)", and its -S does not survive tunnel flags above 2.
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
		Tunnel: ipvs.TunnelOptions{Type: ipvs.TunnelType(g.IntN(4)), Port: 7, Flags: ipvs.TunnelFlags(g.IntN(3))},
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

// TestIntegrationSaveRestore carries states from one namespace to another through text: what the one writes the other
// reads, in both directions, and in the lossless form with limits, timeouts, daemons and the kernel's own order.
func TestIntegrationSaveRestore(t *testing.T) {
	nstest.RequireKernel(t)
	a, b := newSide(t), newSide(t)
	clear := func(s side) {
		s.ours(t, "-C\n--stop-daemon master\n--stop-daemon backup\n--set 900 120 300\n", "-R")
	}
	ok := func(o outcome) string {
		t.Helper()
		if o.Status != 0 || o.Stderr != "" {
			t.Fatalf("status %d, %s", o.Status, o.Stderr)
		}
		return o.Stdout
	}
	same := func(what, text string) {
		t.Helper()
		if diff := cmp.Diff(a.state(t), b.state(t), equateAddrs); diff != "" {
			t.Fatalf("%s (-before +after):\n%s\n%s", what, diff, text)
		}
	}
	trips := 0
	for seed := range uint64(12) {
		g := newGenerator(seed)
		clear(a)
		clear(b)
		for range 60 {
			op, err := ipvsadm.Parse(g.change())
			if err == nil && op.Command != ipvsadm.Flush && op.Service.ID.FWMark < 1<<31 && op.Service.Flags&ipvs.Sched3 == 0 {
				_ = op.Apply(context.Background(), a.client)
			}
		}
		lossless := ok(a.ours(t, "", "-S", "--lossless"))
		ok(b.original(t, lossless, "-R"))
		same("lossless form read by ipvsadm", lossless)
		clear(b)
		ok(b.ours(t, lossless, "-R", "--lossless", "--atomic"))
		same("lossless form", lossless)

		// The plain form drops limits, timeouts, daemons and the order; it is compared with itself, line by line, as
		// ipvsadm's order of addresses that are far apart depends on the kernel's.
		plain := ok(a.original(t, "", "-S", "-n"))
		if diff := cmp.Diff(plain, ok(a.ours(t, "", "-S", "-n"))); diff != "" {
			t.Fatalf("plain form (-ipvsadm +ours):\n%s", diff)
		}
		for _, restore := range []func(testing.TB, string, ...string) outcome{b.original, b.ours} {
			clear(b)
			ok(restore(t, plain, "-R"))
			if diff := cmp.Diff(sortedLines(plain), sortedLines(ok(b.ours(t, "", "-S", "-n")))); diff != "" {
				t.Fatalf("plain form restored (-before +after):\n%s", diff)
			}
		}
		trips += 4

		clear(a)
		clear(b)
		g.randomState(t, a.client)
		lossless = ok(a.ours(t, "", "-S", "--lossless"))
		ok(b.ours(t, lossless, "-R", "--lossless"))
		same("lossless form of any state", lossless)
		trips++
	}
	t.Logf("differential: ipvsadm: %d states saved and restored", trips)
}

// TestIntegrationMistakeInLine700 restores 1,000 lines of which one is wrong: after some mistakes ipvsadm stops,
// after others it goes on. With --atomic nothing is done, and the line is named.
func TestIntegrationMistakeInLine700(t *testing.T) {
	nstest.RequireKernel(t)
	a, b := newSide(t), newSide(t)
	for _, mistake := range []string{
		"-A -t 10.2.0.1:700 -w 3", // ends the restore
		"-A -t 10.2.0.1:1 -s rr",  // the kernel refuses, what follows is done
	} {
		var text strings.Builder
		for i := range 1000 {
			switch {
			case i == 699:
				text.WriteString(mistake + "\n")
			case i%10 == 0:
				fmt.Fprintf(&text, "-A -t 10.2.0.1:%d -s rr\n", i+1)
			default:
				fmt.Fprintf(&text, "-a -t 10.2.0.1:%d -r 10.3.0.%d:80 -m -w %d\n", i-i%10+1, i%10, i)
			}
		}
		theirs, ours := a.original(t, text.String(), "-R"), b.ours(t, text.String(), "-R")
		if diff := cmp.Diff(theirs, ours); diff != "" || theirs.Stderr == "" {
			t.Errorf("%q (-ipvsadm +ours):\n%s", mistake, diff)
		}
		if diff := cmp.Diff(a.state(t), b.state(t), equateAddrs); diff != "" {
			t.Errorf("after %q (-ipvsadm +ours):\n%s", mistake, diff)
		}
		a.ours(t, "", "-C")
		b.ours(t, "", "-C")
		o := b.ours(t, text.String(), "-R", "--atomic")
		if left := len(b.state(t).Services); o.Status == 0 || !strings.HasPrefix(o.Stderr, "line 700") || left != 0 {
			t.Errorf("%q with --atomic: %+v, %d services", mistake, o, left)
		}
	}
}

func sortedLines(text string) []string { return slices.Sorted(strings.Lines(text)) }
