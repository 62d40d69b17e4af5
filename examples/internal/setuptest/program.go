package setuptest

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

// Program is a program with the verbs start, stop and status.
type Program struct {
	Name string
	Main func(ctx context.Context, e *setup.Env, args []string) int

	// Hasty runs take a real server that has not answered after a second for one that does not, as they do for a user. Others
	// wait until it is sure: what is tested is not how fast the machine is.
	Hasty bool
}

// patience is for what comes some time, on a machine that stands still now and then.
const patience = 30 * time.Second

func (p Program) env(stdout, stderr io.Writer, kernel string) *setup.Env {
	e := &setup.Env{Name: p.Name, Stdout: stdout, Stderr: stderr, Kernel: kernel, Connect: patience}
	if p.Hasty {
		e.Connect = 0
	}
	return e
}

// Method returns the program of a method, which is made anew for each run.
func Method(name string, method func() *setup.Method) Program {
	return Program{Name: name, Main: func(ctx context.Context, e *setup.Env, args []string) int { return method().Run(ctx, e, args) }}
}

// Run runs the program in this process. The kernel is as in setup.Env.
func (p Program) Run(t testing.TB, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = p.Main(t.Context(), p.env(&out, &errs, kernel), args)
	return status, out.String(), errs.String()
}

// Place is a network namespace, such as those of nstest.
type Place interface{ Path() string }

// Do runs the program for a namespace, where it has to end with a status. It returns what was printed, errors last.
func (p Program) Do(t testing.TB, want int, at Place, args ...string) string {
	t.Helper()
	args = append(slices.Clone(args), "-netns", at.Path())
	status, out, errs := p.Run(t, "", args...)
	if status != want {
		t.Fatalf("%s %v: status %d, want %d; %s\n%s", p.Name, args, status, want, errs, out)
	}
	return out + errs
}

// Prints runs the program on a kernel, where it has to end with a status and print a text.
func (p Program) Prints(t testing.TB, kernel string, want int, text string, args ...string) {
	t.Helper()
	status, out, errs := p.Run(t, kernel, args...)
	if out != text || status != want {
		t.Fatalf("%s %v: status %d, want %d; %s\n%s\nwant\n%s", p.Name, args, status, want, errs, out, text)
	}
}

// Mistakes runs the program with command lines that are none, each of which has to be reported by one line with the text
// that is its key, and asks each verb for help.
func (p Program) Mistakes(t testing.TB, kernel string, lines map[string][]string) {
	t.Helper()
	for want, args := range lines {
		status, out, errs := p.Run(t, kernel, args...)
		if status != setup.ExitUsage || out != "" || !strings.HasPrefix(errs, p.Name) || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s %v: status %d, output %q, error %q; want %q", p.Name, args, status, out, errs, want)
		}
	}
	for _, args := range [][]string{{"-h"}, {"start", "-h"}, {"status", "-h"}, {"stop", "--help"}} {
		if status, out, errs := p.Run(t, kernel, args...); status != setup.ExitOK || !strings.HasPrefix(out, "usage: "+p.Name+" ") || errs != "" {
			t.Errorf("%s %v: status %d, output %q, error %q", p.Name, args, status, out, errs)
		}
	}
}
