package main

import (
	"slices"
	"strings"
	"testing"
)

func TestQEMUArgs(t *testing.T) {
	for name, tt := range map[string]struct {
		o     options
		accel string
		want  []string // each in this order, words apart
		never []string
	}{
		"emulated": {
			options{CPUs: 2, Memory: 1024}, accelTCG,
			[]string{"-accel tcg,thread=multi", "-cpu max,-erms,-fsrm,", "-smp 2", "-m 1024", "-kernel /k", "loglevel=4"},
			[]string{"-icount", "kvm"},
		},
		"kvm": {options{CPUs: 1, Memory: 512}, accelKVM, []string{"-accel kvm", "-cpu host", "-smp 1"}, []string{"tcg"}},
		"icount": {
			options{CPUs: 1, Memory: 512, ICount: true}, accelKVM,
			[]string{"-icount shift=0,sleep=off", "-accel tcg,thread=single", "-cpu max,-erms,-fsrm ", "-smp 1"}, []string{"kvm"},
		},
		"devices": {
			options{CPUs: 2, Memory: 512, NICs: []string{"virtio-net-pci", "vmxnet3"}, NVMe: true}, accelTCG,
			[]string{"-nic none", "-netdev hubport,hubid=0,id=nic0 -device virtio-net-pci,netdev=nic0,mac=52:54:00:00:00:01,romfile= ",
				"-netdev hubport,hubid=0,id=nic1 -device vmxnet3,netdev=nic1,mac=52:54:00:00:00:02,romfile= ", "-device nvme,serial=vm,drive=disk"},
			[]string{"user,", "tap,"},
		},
		"built-in module": {
			options{CPUs: 1, Memory: 512, Verbose: true, ModuleOptions: map[string]string{"ip_vs": "conn_tab_bits=16 x=1"}}, accelTCG,
			[]string{"loglevel=7 ip_vs.conn_tab_bits=16 ip_vs.x=1"}, []string{"loglevel=4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := qemuArgs(tt.o, "/k", tt.accel)
			line := strings.Join(args, " ")
			for _, want := range tt.want {
				if !strings.Contains(line, want) {
					t.Errorf("%q is not in %q", want, line)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(line, never) {
					t.Errorf("%q is in %q", never, line)
				}
			}
			if !slices.Contains(args, "-no-reboot") {
				t.Error("a panic would boot again for ever")
			}
		})
	}
}

func TestConsole(t *testing.T) {
	var c console
	for range 3000 {
		if _, err := c.Write([]byte("a line\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("\r\nlast")); err != nil {
		t.Fatal(err)
	}
	lines := c.lines()
	if len(lines) != maxConsoleLines || lines[0] != "a line\n" || lines[len(lines)-1] != "last\n" {
		t.Fatalf("got %d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}
