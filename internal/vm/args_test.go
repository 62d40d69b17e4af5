package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseArgs(t *testing.T) {
	base := options{
		Modules: defaultModules, CPUs: 2, Memory: 1024, Timeout: 10 * time.Minute, Command: []string{"prog"},
	}
	with := func(change func(*options)) options {
		o := base
		change(&o)
		return o
	}
	tests := map[string]struct {
		args []string
		want options
	}{
		"defaults": {[]string{"prog"}, base},
		"program's flags are not ours": {
			[]string{"-kernel", "6.12", "prog", "-smp", "9", "-h"},
			with(func(o *options) { o.Kernel, o.Command = "6.12", []string{"prog", "-smp", "9", "-h"} }),
		},
		"no modules": {
			[]string{"-modules", "none", "prog"},
			with(func(o *options) { o.Modules, o.Required = nil, true }),
		},
		"named modules": {
			[]string{"-modules", "ip-vs, ip_vs_rr", "prog"},
			with(func(o *options) { o.Modules, o.Required = []string{"ip_vs", "ip_vs_rr"}, true }),
		},
		"more modules": {
			[]string{"-modules", "+nft_nat", "prog"},
			with(func(o *options) { o.Modules = append(slices.Clone(defaultModules), "nft_nat") }),
		},
		"module options": {
			[]string{"-module-options", "ip_vs.conn_tab_bits=16 a-b.c=d", "-module-options", "a_b.e", "prog"},
			with(func(o *options) {
				o.ModuleOptions = map[string]string{"ip_vs": "conn_tab_bits=16", "a_b": "c=d e"}
			}),
		},
		"repeated": {
			[]string{"-program", "ip", "-program", "nft", "-env", "A=", "-env", "B=1=2", "-copy", "x", "prog"},
			with(func(o *options) {
				o.Programs, o.Env, o.Copies = []string{"ip", "nft"}, []string{"A=", "B=1=2"}, []string{"x"}
			}),
		},
		"devices": {
			[]string{"-nic", "virtio-net-pci", "-nic", "vmxnet3", "-nic", "vmxnet3", "-nvme", "-modules", "none", "prog"},
			with(func(o *options) {
				o.NICs, o.NVMe = []string{"virtio-net-pci", "vmxnet3", "vmxnet3"}, true
				o.Modules, o.Required = []string{"virtio_net", "vmxnet3", "nvme"}, true
			}),
		},
		"icount": {
			[]string{"-icount", "prog", "-test.timeout=2h"},
			with(func(o *options) { o.ICount, o.CPUs, o.Command = true, 1, []string{"prog", "-test.timeout=2h"} }),
		},
		"test timeout": {
			[]string{"prog", "-test.timeout=20m0s"},
			with(func(o *options) { o.Timeout, o.Command = 21*time.Minute, []string{"prog", "-test.timeout=20m0s"} }),
		},
		"no test timeout": {
			[]string{"prog", "-test.timeout=0"},
			with(func(o *options) { o.Timeout, o.Command = 0, []string{"prog", "-test.timeout=0"} }),
		},
		"own timeout wins": {
			[]string{"-timeout", "5s", "prog", "-test.timeout=20m0s"},
			with(func(o *options) { o.Timeout, o.Command = 5*time.Second, []string{"prog", "-test.timeout=20m0s"} }),
		},
		"list": {[]string{"-kernels"}, options{Modules: defaultModules, CPUs: 2, Memory: 1024, List: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseArgs(tt.args, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseArgsMistakes(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no program":       {nil, "no program given"},
		"unknown flag":     {[]string{"-frob", "prog"}, "-frob"},
		"unknown card":     {[]string{"-nic", "tulip", "prog"}, "-nic"},
		"zero processors":  {[]string{"-smp", "0", "prog"}, "-smp 0"},
		"little memory":    {[]string{"-mem", "16", "prog"}, "-mem 16"},
		"env":              {[]string{"-env", "=x", "prog"}, "want K=V"},
		"env without =":    {[]string{"-env", "x", "prog"}, "want K=V"},
		"module option":    {[]string{"-module-options", "bits=16", "prog"}, "want module.option=value"},
		"timeout":          {[]string{"-timeout", "ten", "prog"}, "want a duration"},
		"negative timeout": {[]string{"-timeout", "-1s", "prog"}, "want a duration"},
		"icount with smp":  {[]string{"-icount", "-smp", "4", "prog"}, "one processor"},
		"list and fetch":   {[]string{"-kernels", "-fetch"}, "exclude"},
		"list and program": {[]string{"-kernels", "prog"}, "unexpected argument"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseArgs(tt.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("the error has several lines: %q", err)
			}
		})
	}
}

func TestParseArgsHelp(t *testing.T) {
	var b bytes.Buffer
	if _, err := parseArgs([]string{"-h"}, &b); !errors.Is(err, errHelp) {
		t.Fatalf("got error %v, want %v", err, errHelp)
	}
	for _, want := range []string{"usage: vm", "-kernel name", "-module-options", "-timeout duration"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("usage lacks %q:\n%s", want, b.String())
		}
	}
}

func TestTestFiles(t *testing.T) {
	files, folders := testFiles([]string{
		"-test.v=true", "-test.testlogfile=/w/b001/testlog.txt", "-test.gocoverdir=/w/b001/gocoverdir",
		"-test.coverprofile=/w/b001/_cover_.out", "-test.cpuprofile=cpu.out", "-test.outputdir=/home/u", "-test.run=x=y",
	}, "/src/pkg")
	if diff := cmp.Diff([]string{"/w/b001/_cover_.out", "/home/u/cpu.out"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	want := []string{"/w/b001", "/w/b001/gocoverdir", "/w/b001", "/home/u", "/home/u"}
	if diff := cmp.Diff(want, folders); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
}

func TestGuestEnv(t *testing.T) {
	got := guestEnv(
		[]string{"PATH=/opt", "LVS_A=1", "LVS_B=1", "LVS_KERNEL_TEST=0", "GODEBUG=x=1", "GOPATH=/go", "GOFLAGS=-v", "LC_ALL=C"},
		[]string{"LVS_B=2", "X=y"})
	slices.Sort(got)
	want := []string{
		"GODEBUG=x=1", "HOME=/root", "LVS_A=1", "LVS_B=2", "LVS_KERNEL_TEST=1",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "USER=root", "X=y",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("environment (-want +got):\n%s", diff)
	}
}

func TestLessVersion(t *testing.T) {
	got := []string{"6.12", "6.1", "5.10", "10.0", "6.2"}
	slices.SortFunc(got, func(a, b string) int {
		if lessVersion(a, b) {
			return -1
		}
		return 1
	})
	if diff := cmp.Diff([]string{"5.10", "6.1", "6.2", "6.12", "10.0"}, got); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
}
