package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Ways to run the guest's instructions.
const (
	accelKVM = "kvm" // by the processor
	accelTCG = "tcg" // emulated by QEMU
)

// Descriptors that QEMU gets.
const (
	consoleFD = 3 + iota // first serial line
	serialFD             // second serial line
	portFD               // virtio port
	initrdFD             // initramfs
)

// qemuArgs returns the command line of QEMU, without its name.
func qemuArgs(o options, image, accel string) []string {
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"}
	switch {
	case o.ICount:
		// Without the fast-string features: a repeated string instruction counts once for each repetition, and with them the
		// kernel copies a byte at a time.
		args = append(args, "-icount", "shift=0,sleep=off", "-accel", "tcg,thread=single", "-cpu", "max,-erms,-fsrm")
	case accel == accelKVM:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	default:
		// Without the fast-string features, as above, and without what emulation pays for at every copy between a program and
		// the kernel and at every look-up of a page: protection of the one from the other, and a fifth level of page tables.
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm,-smap,-smep,-pku,-la57")
	}
	args = append(args, "-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.Memory))
	for i, model := range o.NICs {
		id := "nic" + strconv.Itoa(i)
		// One hub is the cable. No boot ROM: that is another package.
		args = append(args, "-netdev", "hubport,hubid=0,id="+id,
			"-device", fmt.Sprintf("%s,netdev=%s,mac=52:54:00:00:00:%02x,romfile=", model, id, i+1))
	}
	if o.NVMe {
		args = append(args, "-blockdev", "driver=null-co,read-zeroes=on,size=1048576,node-name=disk", "-device", "nvme,serial=vm,drive=disk")
	}
	fd := func(id string, n int) string { return "socket,id=" + id + ",fd=" + strconv.Itoa(n) }
	return append(args,
		"-chardev", fd("console", consoleFD), "-serial", "chardev:console",
		"-chardev", fd("serial", serialFD), "-serial", "chardev:serial",
		"-chardev", fd("port", portFD), "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name=vm",
		"-kernel", image, "-initrd", "/proc/self/fd/"+strconv.Itoa(initrdFD),
		"-append", kernelCommandLine(o))
}

// kernelCommandLine returns the kernel's parameters. An oops ends the machine, which ends vm with the console's last lines.
func kernelCommandLine(o options) string {
	words := []string{"console=ttyS0", "panic=-1", "oops=panic", "mitigations=off", "no_timer_check"}
	if o.Verbose {
		words = append(words, "loglevel=7")
	} else {
		words = append(words, "loglevel=4")
	}
	// For modules that are built in.
	for _, module := range slices.Sorted(maps.Keys(o.ModuleOptions)) {
		for option := range strings.FieldsSeq(o.ModuleOptions[module]) {
			words = append(words, module+"."+option)
		}
	}
	return strings.Join(words, " ")
}
