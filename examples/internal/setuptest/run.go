package setuptest

import (
	"bytes"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
)

// Run runs a program in this process. The kernel is as in setup.Env.
func Run(t testing.TB, name string, m *setup.Method, kernel string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = m.Run(t.Context(), &setup.Env{Name: name, Stdout: &out, Stderr: &errs, Kernel: kernel}, args)
	return status, out.String(), errs.String()
}
