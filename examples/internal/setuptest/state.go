package setuptest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// State is all that a program may have changed in a network namespace: devices, addresses, routes, ports, kernel
// parameters, and the table. Each thing is a key.
type State map[string]string

// Read returns the state of a network namespace.
func Read(t testing.TB, netns string) State {
	t.Helper()
	return read(t, netns, nil)
}

// read returns the state with these parameters, nil for all.
func read(t testing.TB, netns string, parameters []string) State {
	t.Helper()
	s := make(State)
	err := setup.Inside(netns, func() error {
		for _, name := range parameters {
			s.parameter(name)
		}
		err := s.list("link show", "addr show", "route show table all", "rule show", "fou show")
		if parameters == nil {
			err = errors.Join(err, s.parameters())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNS: netns})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	snapshot, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ipvsadm.Operations(snapshot) {
		s["ipvsadm "+op.String()] = "is there"
	}
	return s
}

// only returns the state with no parameters but these.
func (s State) only(parameters []string) State {
	left := maps.Clone(s)
	maps.DeleteFunc(left, func(key, _ string) bool {
		return strings.HasPrefix(key, "/proc/") && !slices.Contains(parameters, key)
	})
	return left
}

// Before reads the state of namespaces. Compare says which of them have become different, and how; the message says when.
func Before[P Place](t testing.TB, places ...P) (compare func(t testing.TB, when string)) {
	t.Helper()
	states := make([]State, len(places))
	for i, p := range places {
		states[i] = Read(t, p.Path())
	}
	return func(t testing.TB, when string) {
		t.Helper()
		for i, p := range places {
			if diff := states[i].Diff(Read(t, p.Path())); diff != nil {
				t.Errorf("%s: station %d is not as before:\n%s", when, i, strings.Join(diff, "\n"))
			}
		}
	}
}

// list has the program ip list things in the calling thread's namespace, each on a line of its own.
func (s State) list(commands ...string) error {
	cmd := exec.Command("ip", "-o", "-b", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ip %v: %w, %s", commands, err, &stderr)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		switch { // the queueing discipline of a device remains when it was on
		case len(words) > 6 && words[3] == "mtu" && words[5] == "qdisc": // 2: eth0@if3: <BROADCAST,UP> mtu 1500 qdisc …
			s["device "+words[1]] = strings.Join(words[2:5], " ")
		case len(words) > 0:
			s[strings.Join(words, " ")] = "is there"
		}
	}
	return nil
}

// parameters reads those of the calling thread's namespace.
func (s State) parameters() error {
	var errs []error
	for _, root := range []string{"ipv4/conf", "ipv6/conf", "ipv4/vs", "ipv4/ip_forward"} {
		errs = append(errs, filepath.WalkDir("/proc/sys/net/"+root, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				s.parameter(name)
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// parameter reads one, unless it can only be written or is not there.
func (s State) parameter(name string) {
	if value, err := os.ReadFile(name); err == nil {
		s[name] = strings.TrimSpace(string(value))
	}
}

const conf6 = "/proc/sys/net/ipv6/conf/"

// Diff says what is different after something, one line each; nothing if all is as before. IPv6 parameters of a fallback
// device for IPv4 do not count: Linux 6.1 gives them to it when it is first switched on, and they stay.
func (s State) Diff(after State) (lines []string) {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if value, ok := after[key]; !ok {
			lines = append(lines, fmt.Sprintf("%s: %s before, gone", key, s[key]))
		} else if value != s[key] {
			lines = append(lines, fmt.Sprintf("%s: %s before, now %s", key, s[key], value))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, ok := s[key]; !ok && !strings.HasPrefix(key, conf6+"tunl0/") && !strings.HasPrefix(key, conf6+"gre0/") {
			lines = append(lines, fmt.Sprintf("%s: %s, and was not there before", key, after[key]))
		}
	}
	return lines
}
