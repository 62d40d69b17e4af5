//go:build linux && amd64

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/mdlayher/netlink"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// The typed table, its changes and its rules are the same table.
func TestTable(t *testing.T) {
	tab := table{3, 4}
	want := tab.ruleset()
	if n := tab.objects(); n != 15 || len(tab.changes()) != n || strings.Count(tab.rules(), "\n") != n {
		t.Fatalf("%d objects, %d changes, rules\n%s", n, len(tab.changes()), tab.rules())
	}
	read := func(fill func(c *ipvs.Client) error) ipvs.Ruleset {
		c, done, err := ipvstest.Dial(t.Context(), "memory:", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = done() }()
		if err := fill(c); err != nil {
			t.Fatal(err)
		}
		r, err := c.Ruleset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ipvs.Ruleset{Services: r.Services}
	}
	for name, fill := range map[string]func(c *ipvs.Client) error{
		"changes": func(c *ipvs.Client) error {
			_, err := c.Do(t.Context(), tab.changes())
			return err
		},
		"rules": func(c *ipvs.Client) error {
			parser := ipvsadm.Parser{Strict: true}
			rules, err := parser.ReadRules(t.Context(), strings.NewReader(tab.rules()))
			if err != nil {
				return err
			}
			for _, r := range rules {
				if err := r.Operation.Apply(t.Context(), c); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		if have := read(fill); !have.Equal(want) {
			t.Errorf("%s make another table: %v", name, have)
		}
	}
}

// A message of the floor has the length that it says and the attributes that it was given.
func TestMessage(t *testing.T) {
	b, err := message(34, flagRequest, cmdFlush, func(ae *netlink.AttributeEncoder) { ae.Uint32(7, 9) })
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{28, 0, 0, 0, 34, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 1, 0, 0, 8, 0, 7, 0, 9, 0, 0, 0}
	if !bytes.Equal(b, want) {
		t.Fatalf("got  %x\nwant %x", b, want)
	}
}

// The system calls between the marks are counted, those of children too, and no others.
func TestCountCalls(t *testing.T) {
	if mode := os.Getenv("PEERBENCH_TEST"); mode != "" {
		for range 50 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		mark(markBegin)
		for range 500 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		if mode == "child" {
			_ = exec.Command("/bin/true").Run()
		}
		mark(markEnd)
		for range 5000 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		return
	}
	count := func(mode string) int {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCountCalls$")
		cmd.Env = append(os.Environ(), "PEERBENCH_TEST="+mode)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		n, err := countCalls(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	alone, child := count("alone"), count("child")
	if alone < 500 || alone > 700 { // the runtime may make some of its own
		t.Errorf("%d calls, want 500 and few more", alone)
	}
	if child < alone+10 {
		t.Errorf("%d calls with a child, %d without", child, alone)
	}
}

func TestPrintLines(t *testing.T) {
	var b bytes.Buffer
	printLines(&b, []line{
		{"floor", result{measurement: measurement{Nanoseconds: 1000}, calls: 4}, 10},
		{"other", result{measurement: measurement{Nanoseconds: 2500, Allocations: 20}, calls: 40}, 10},
	})
	const want = "other                                    2500        250     2.500       40       4.0000        2.0000\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Fatalf("printed\n%swant at the end\n%s", &b, want)
	}
}

func TestMethods(t *testing.T) {
	titles := make(map[string]bool)
	for _, r := range rows {
		titles[r.name] = true
	}
	for i, m := range methods {
		if !titles[m.row] {
			t.Errorf("method %d is of no row that is printed: %s", i, m.row)
		}
		if i > 0 && methods[i-1].row == m.row {
			continue
		}
		if !strings.HasPrefix(m.name, "floor") {
			t.Errorf("the first method of %s is %s", m.row, m.name)
		}
	}
	if err := run(context.Background(), []string{"-method", fmt.Sprint(len(methods))}, &bytes.Buffer{}); err == nil {
		t.Error("a method that does not exist")
	}
	if err := run(context.Background(), []string{"-only", "create,lists"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `"lists"`) {
		t.Errorf("a row that does not exist: %v", err)
	}
}
