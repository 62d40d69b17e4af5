package ipvsadm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nltest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// tool runs command lines on an in-memory kernel.
type tool struct {
	t   *testing.T
	k   *nltest.Kernel
	run runFunc
}

func newTool(t *testing.T) *tool {
	t.Helper()
	k := newKernel(t, nil)
	return &tool{t, k, runner(k)}
}

// try returns what a command line prints and its status.
func (tl *tool) try(stdin string, args ...string) (stdout, stderr string, status int) {
	tl.t.Helper()
	var out, errs strings.Builder
	status = tl.run(append([]string{"ipvsadm"}, args...), strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), status
}

// must returns what a command line prints, which must succeed.
func (tl *tool) must(stdin string, args ...string) string {
	tl.t.Helper()
	stdout, stderr, status := tl.try(stdin, args...)
	if status != 0 || stderr != "" {
		tl.t.Fatalf("%q: status %d, %s", args, status, stderr)
	}
	return stdout
}

// fails runs a command line that must fail with a status and a message.
func (tl *tool) fails(status int, message, stdin string, args ...string) {
	tl.t.Helper()
	stdout, stderr, got := tl.try(stdin, args...)
	if got != status || stdout != "" {
		tl.t.Errorf("%q: status %d, %q", args, got, stdout)
	}
	if diff := cmp.Diff(message, stderr); diff != "" {
		tl.t.Errorf("%q (-want +got):\n%s", args, diff)
	}
}

const sureText = "Are you sure that IP Virtual Server is built in the kernel or as module?\n"

func TestInitialisationFails(t *testing.T) {
	tests := map[string]struct {
		open func(context.Context) (*ipvs.Client, error)
		want string
	}{
		"unprivileged": {
			open: func(context.Context) (*ipvs.Client, error) {
				conn, err := newKernel(t, nil).Namespace("").Dial(nltest.Unprivileged())
				if err != nil {
					return nil, err
				}
				return ipvs.NewClient(conn, nil)
			},
			want: "Can't initialize ipvs: Permission denied (you must be root)\n" + sureText,
		},
		"no module": {
			open: func(context.Context) (*ipvs.Client, error) {
				return dial(t, newKernel(t, &nltest.Config{NoModule: true})), nil
			},
			want: "Can't initialize ipvs: Protocol not available\n" + sureText,
		},
		"no socket": {
			open: func(context.Context) (*ipvs.Client, error) { return nil, errors.New("no socket") },
			want: "Can't initialize ipvs: no socket\n" + sureText,
		},
	}
	for name, tt := range tests {
		for _, args := range [][]string{{"-Ln"}, {"-h"}, {"--nonsense"}, nil} {
			t.Run(fmt.Sprint(name, args), func(t *testing.T) {
				var stdout, stderr strings.Builder
				p := ipvsadm.Program{Open: tt.open, Stdout: &stdout, Stderr: &stderr}
				status := p.Run(context.Background(), append([]string{"ipvsadm"}, args...))
				if status != 2 || stdout.String() != "" {
					t.Errorf("status %d, %q", status, stdout.String())
				}
				if diff := cmp.Diff(tt.want, stderr.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// The name in messages is that of the first word.
func TestProgramName(t *testing.T) {
	k := newKernel(t, nil)
	var stdout, stderr strings.Builder
	p := program(k, nil, strings.NewReader("-R\n"), &stdout, &stderr)
	if status := p.Run(context.Background(), []string{"/sbin/other", "-R"}); status != 255 {
		t.Errorf("status %d", status)
	}
	if want := "Try `/sbin/other -h' or '/sbin/other --help' for more information.\n"; stderr.String() != want {
		t.Errorf("%q", stderr.String())
	}
	if status := p.Run(context.Background(), []string{"/sbin/other", "-h"}); status != 0 {
		t.Errorf("status %d", status)
	}
	if s := stdout.String(); !strings.Contains(s, "  /sbin/other -A|-E") || strings.Contains(s, "%!") {
		t.Errorf("help:\n%s", s)
	}
}

// What nobody can write does no harm, but the lossless form, which is kept to be restored, says so.
func TestFullDevice(t *testing.T) {
	k := newKernel(t, nil)
	var stderr strings.Builder
	p := program(k, nil, nil, brokenWriter{}, &stderr)
	for _, args := range []string{"-Ln", "-Lc", "-L --timeout", "-L --json", "-S", "-h", "-v"} {
		if status := p.Run(context.Background(), append([]string{"ipvsadm"}, strings.Fields(args)...)); status != 0 || stderr.String() != "" {
			t.Errorf("%s: status %d, %q", args, status, stderr.String())
		}
	}
	if status := p.Run(context.Background(), []string{"ipvsadm", "-S", "--lossless"}); status != 1 || stderr.String() != io.ErrShortWrite.Error()+"\n" {
		t.Errorf("-S --lossless: status %d, %q", status, stderr.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestJSON(t *testing.T) {
	tl := newTool(t)
	tl.must("-A -t 192.168.0.1:80 -s rr\n-A -t 10.0.0.1:80 -s sh -p 300 -M 255.255.255.0\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3\n", "-R")
	var table struct {
		Info     map[string]any
		Services []ipvs.ServiceSnapshot
	}
	if err := json.Unmarshal([]byte(tl.must("", "-L", "--json", "--numeric-sort")), &table); err != nil {
		t.Fatal(err)
	}
	want, err := ipvsadm.ReadTable(context.Background(), dial(t, tl.k))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want.Services, func(a, b ipvs.ServiceSnapshot) int { return a.ID.Addr.Compare(b.ID.Addr) })
	if diff := cmp.Diff(map[string]any{"version": "1.2.1", "connTabSize": 4096.0}, table.Info); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Services, table.Services, equateAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for args, want := range map[string]string{
		"-L --json --timeout": "{\n  \"tcp\": 900000000000,\n  \"tcpFin\": 120000000000,\n  \"udp\": 300000000000\n}\n",
		"-L --json --daemon":  "[]\n",
		"-L --json -c":        "[]\n",
	} {
		if got := tl.must("", strings.Fields(args)...); got != want {
			t.Errorf("%s: %q", args, got)
		}
	}
}

// The original puts addresses that are more than half of all apart in the wrong order.
func TestNumericOrder(t *testing.T) {
	tl := newTool(t)
	for _, addr := range []string{"203.0.113.5", "10.0.0.5", "192.168.0.5"} {
		tl.must("", "-A", "-t", addr+":80")
	}
	addrs := func(text string) (list []string) {
		for line := range strings.Lines(text) {
			if addr, ok := strings.CutPrefix(line, "TCP  "); ok {
				list = append(list, addr[:strings.IndexByte(addr, ':')])
			}
		}
		return list
	}
	if diff := cmp.Diff([]string{"192.168.0.5", "203.0.113.5", "10.0.0.5"}, addrs(tl.must("", "-Ln"))); diff != "" {
		t.Errorf("compatible (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.5", "192.168.0.5", "203.0.113.5"}, addrs(tl.must("", "-Ln", "--numeric-sort"))); diff != "" {
		t.Errorf("numeric (-want +got):\n%s", diff)
	}
}

func TestAtomicRestore(t *testing.T) {
	const before = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 1\n-A -f 7 -s sh -p 60\n"
	var thousand strings.Builder
	for i := range 1000 {
		if i == 699 {
			thousand.WriteString("-A -t 10.2.0.1:80 -w 3\n")
			continue
		}
		fmt.Fprintf(&thousand, "-A -t 10.2.0.1:%d\n", i+1)
	}
	tests := map[string]struct {
		rules, message string
		status         int
	}{
		"mistake in line 700 of 1000": {thousand.String(), "line 700, column 19: Illegal 'weight' option with the 'add-service' command\n", 2},
		"unknown option":              {"-A -t 10.0.0.2:80\n# comment\n-A -t 10.0.0.3:80 --bogus\n", "line 3, column 19: --bogus: unknown option\n", 255},
		"no command":                  {"-C\nx\n", "line 2: the first option is not a command\n", 255},
		"listing":                     {"-C\n-L\n", "line 2: the 'list' command changes nothing\n", 2},
		"exists":                      {"-C\n-A -f 8\n-A -f 8\n", "line 3: Service already exists\n", 255},
		"existed":                     {"-A -f 8\n-A -f 7\n", "line 2: Service already exists\n", 255},
		"not there":                   {"-D -f 7\n-e -f 7 -r 10.0.0.1\n", "line 2: Service not defined\n", 255},
		"server not there":            {"-a -f 7 -r 10.0.0.2\n-d -f 7 -r 10.0.0.1\n", "line 2: No such destination\n", 255},
		"server there":                {"-a -f 7 -r 10.0.0.2\n-a -f 7 -r 10.0.0.2\n", "line 2: Destination already exists\n", 255},
		"range":                       {"-Z\n-a -f 7 -r 10.0.0.2 -x 1 -y 2\n", "line 2: Numerical result out of range\n", 255},
		"daemon":                      {"--set 1 2 3\n--stop-daemon backup\n", "line 2: No daemon is running\n", 255},
		// These only the kernel knows.
		"scheduler": {"-C\n--set 1 2 3\n-A -f 8 -s nosuch\n", "line 3: Scheduler or persistence engine not found\n", 255},
		"address": {
			"-E -t 10.0.0.1:80 -s wlc -p\n-e -t 10.0.0.1:80 -r 10.1.0.1 -w 9 -i --tun-type gre\n-d -t 10.0.0.1:80 -r 10.1.0.1\n-D -f 7\n" +
				"--stop-daemon master\n--start-daemon backup --mcast-interface lo\n-A -f 9\n-a -f 9 -r 224.0.0.1\n",
			"line 8: Invalid operation.  Possibly wrong module version, address not unicast, ...\n", 255,
		},
		"device": {
			"-A -f 9\n-a -f 9 -r 10.0.0.1\n-D -t 10.0.0.1:80\n--stop-daemon master\n--start-daemon master --mcast-interface nosuch\n",
			"line 5: No such device\n", 255,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tl := newTool(t)
			tl.must(before+"--start-daemon master --mcast-interface lo --syncid 7\n", "-R")
			want := tl.must("", "-S", "--lossless")
			tl.fails(tt.status, tt.message, tt.rules, "-R", "--atomic")
			if diff := cmp.Diff(want, tl.must("", "-S", "--lossless")); diff != "" {
				t.Errorf("the state has changed (-before +after):\n%s", diff)
			}
		})
	}
	tl := newTool(t)
	tl.must("# comment\n-C # another\n"+before+"-a -f 7 -r 10.0.0.1 -w 1\n-e -f 7 -r 10.0.0.1 -w 2", "-R", "--atomic", "--lossless")
	if got := tl.must("", "-Ln", "-f", "7"); !strings.Contains(got, " Route   2 ") {
		t.Errorf("after an atomic restore:\n%s", got)
	}
}

// A refusal that leaves changes behind says so.
func TestAtomicRestoreCannotUndo(t *testing.T) {
	tl := newTool(t)
	c := dial(t, tl.k)
	rules, err := (&ipvsadm.Parser{}).ReadRules(context.Background(), strings.NewReader("-A -f 1\n-A -f 2\n-A -f 3 -s nosuch\n"))
	if err != nil {
		t.Fatal(err)
	}
	tl.k.Inject(nltest.Fault{Command: nltest.DelService, Nth: 1, Effect: nltest.Fail(nltest.Errno(12))})
	err = ipvsadm.ApplyAll(context.Background(), c, rules)
	rule, ok := errors.AsType[*ipvsadm.RuleError](err)
	if !ok || rule.Line != 3 || !errors.Is(err, ipvs.ErrScheduler) {
		t.Fatalf("error %v", err)
	}
	undo, ok := errors.AsType[*ipvsadm.UndoError](err)
	if !ok || len(undo.Undo) != 1 || !strings.Contains(undo.Error(), "-D -f 2") {
		t.Fatalf("error %v", err)
	}
	if got := tl.must("", "-S", "-n"); got != "-A -f 2 -s wlc\n" {
		t.Errorf("left behind: %q", got)
	}
}
