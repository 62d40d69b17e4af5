package ipvsadm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func TestExplain(t *testing.T) {
	errno := func(n syscall.Errno) error {
		return fmt.Errorf("wrapped: %w", &ipvs.OpError{Errno: n, Err: errors.New("no matter")})
	}
	const invalid = "Invalid operation.  Possibly wrong module version, address not unicast, ..."
	tests := []struct {
		command ipvsadm.Command
		err     error
		text    string
		status  int
	}{
		{ipvsadm.AddService, errno(17), "Service already exists", 255},
		{ipvsadm.AddDestination, errno(17), "Destination already exists", 255},
		{ipvsadm.StartDaemon, errno(17), "Daemon has already run", 255},
		{ipvsadm.Zero, errno(17), "File exists", 255},
		{ipvsadm.AddService, errno(2), "Scheduler or persistence engine not found", 255},
		{ipvsadm.SetService, errno(2), "Scheduler or persistence engine not found", 255},
		{ipvsadm.SetDestination, errno(2), "No such destination", 255},
		{ipvsadm.DeleteDestination, errno(2), "No such destination", 255},
		{ipvsadm.AddDestination, errno(2), "No such file or directory", 255},
		{ipvsadm.SetService, errno(3), "No such service", 255},
		{ipvsadm.DeleteService, errno(3), "No such service", 255},
		{ipvsadm.Zero, errno(3), "No such service", 255},
		{ipvsadm.List, errno(3), "No such service", 1},
		{ipvsadm.AddDestination, errno(3), "Service not defined", 255},
		{ipvsadm.SetDestination, errno(3), "Service not defined", 255},
		{ipvsadm.DeleteDestination, errno(3), "Service not defined", 255},
		{ipvsadm.StopDaemon, errno(3), "No daemon is running", 255},
		{ipvsadm.AddService, errno(3), "No such process", 255},
		{ipvsadm.Flush, errno(1), "Permission denied (you must be root)", 255},
		{ipvsadm.AddDestination, errno(22), invalid, 255},
		{ipvsadm.AddDestination, errno(34), "Numerical result out of range", 255},
		{ipvsadm.StartDaemon, errno(19), "No such device", 255},
		{ipvsadm.StartDaemon, errno(101), "Network is unreachable", 255},
		{ipvsadm.AddService, errno(92), "Protocol not available", 255},
		{ipvsadm.AddService, errno(12), "Memory allocation problem", 255},
		{ipvsadm.AddService, errno(95), "Operation not supported with IPv6", 255},
		{ipvsadm.AddService, errno(97), "Operation not supported with specified address family", 255},
		{ipvsadm.AddService, errno(90), "Module is wrong version", 255},
		{ipvsadm.AddService, errno(4095), "Unknown error 4095", 255},
		{ipvsadm.List, fs.ErrPermission, "Permission denied (you must be root)", 1},
		{ipvsadm.List, ipvs.ErrModule, "Protocol not available", 1},
		{ipvsadm.List, ipvs.ErrNoService, "No such service", 1},
		{ipvsadm.Flush, context.Canceled, "context canceled", 255},
		{ipvsadm.AddService, &ipvsadm.RuleError{Line: 7, Err: &ipvsadm.Error{Kind: ipvsadm.NoUse, Text: "text"}}, "text", 2},
	}
	for _, tt := range tests {
		if text, status := ipvsadm.Explain(tt.command, tt.err); text != tt.text || status != tt.status {
			t.Errorf("%v, %v: %q and %d instead of %q and %d", tt.command, tt.err, text, status, tt.text, tt.status)
		}
	}
}

// What the client does not send, the kernel would have refused in this way.
func TestRefusals(t *testing.T) {
	const mapped = "[::ffff:10.0.0.9]:80"
	tests := map[string]string{
		"-a -f 1 -6 -r " + mapped:                    "Invalid operation.  Possibly wrong module version, address not unicast, ...",
		"-a -f 1 -r " + mapped + " -i":               "Invalid operation.  Possibly wrong module version, address not unicast, ...",
		"-a -f 1 -6 -r " + mapped + " -x 1 -y 2":     "Numerical result out of range",
		"-a -f 2 -6 -r " + mapped + " -x 1 -y 2":     "Service not defined",
		"-e -f 1 -6 -r " + mapped:                    "No such destination",
		"-e -f 1 -6 -r " + mapped + " -y 1":          "Numerical result out of range",
		"-d -f 1 -6 -r " + mapped:                    "No such destination",
		"-d -f 2 -6 -r " + mapped:                    "Service not defined",
		"-a -f 1 -r 10.0.0.9 -y 1":                   "Numerical result out of range",
		"-a -f 2 -r 10.0.0.9 -y 1":                   "Service not defined",
		"-D -t " + mapped:                            "No such service",
		"-a -t " + mapped + " -r 10.0.0.9 -i":        "Service not defined",
		"--start-daemon master --mcast-interface no": "No such device",
	}
	for line, want := range tests {
		c := newClient(t)
		restore(t, c, &ipvsadm.Parser{}, "-A -f 1\n-A -f 1 -6\n-A -t 10.0.0.9:80\n")
		op, err := ipvsadm.ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		err = op.Apply(context.Background(), c)
		if err == nil {
			t.Errorf("%s: no error", line)
			continue
		}
		if text, status := ipvsadm.Explain(op.Command, err); text != want || status != 255 {
			t.Errorf("%s: %q, %d instead of %q", line, text, status, want)
		}
	}
	// A daemon that runs forbids servers of another family, whatever else is wrong with them.
	c := newClient(t)
	restore(t, c, &ipvsadm.Parser{}, "-A -f 1 -6\n--start-daemon backup --mcast-interface lo\n")
	for _, line := range []string{"-a -f 1 -6 -r 10.0.0.9 -i -y 5", "-e -f 1 -6 -r 10.0.0.9 -i -y 5", "-a -f 1 -6 -r 10.0.0.9 -i"} {
		op, err := ipvsadm.ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := ipvsadm.Explain(op.Command, op.Apply(context.Background(), c))
		if !strings.HasPrefix(text, "Invalid operation.") {
			t.Errorf("%s: %q", line, text)
		}
		rules := []ipvsadm.Rule{{Line: 1, Operation: op}}
		if text, _ := ipvsadm.Explain(op.Command, ipvsadm.ApplyAll(context.Background(), c, rules)); !strings.HasPrefix(text, "Invalid operation.") {
			t.Errorf("%s, all or nothing: %q", line, text)
		}
	}
	for _, c := range []ipvsadm.Command{ipvsadm.List, ipvsadm.Save, ipvsadm.Restore, ipvsadm.Help, ipvsadm.Version} {
		if err := (ipvsadm.Operation{Command: c}).Apply(context.Background(), newClient(t)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v: %v", c, err)
		}
	}
}
