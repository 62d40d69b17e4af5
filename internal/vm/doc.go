// Command vm runs a program, most often a Go test binary, on a real Linux kernel in a QEMU machine of its own.
//
// It is made for the -exec flag of the go command, which then starts it in each package's folder:
//
//	CGO_ENABLED=0 go build -C internal/vm -o ../../bin/vm .
//	go test -exec "$PWD/bin/vm -kernel 6.12" ./...
//	bin/vm -kernel 6.1 -program ip -program ipvsadm ipvsadm -Ln
//
// The machine boots from memory in a few seconds, runs the one program as root with all of its privileges, and is gone.
// Nothing on the host is changed, and no privilege is needed on the host.
//
// # What the program finds there
//
// The program runs in the same working directory as on the host. If it is a test binary, that directory holds the regular
// files of the package folder and its testdata; -copy brings anything else, and -program brings programs of the host with
// their shared libraries. There are /tmp, /run, /proc, /sys, /dev, /etc/hosts with localhost only, /etc/services,
// /etc/protocols and /etc/passwd; the loopback device is up, and the only
// other network devices are those that modules bring (dummy0 and the tunnels' fallback devices) and those of -nic. The environment has
// LVS_KERNEL_TEST=1, the caller's LVS_* variables, those that the Go runtime reads (GODEBUG, GOGC, GOMAXPROCS, GOMEMLIMIT,
// GOTRACEBACK, GORACE) and what -env adds.
//
// Standard output and standard error arrive as they are written and stay apart; when both of vm's own are the same file, as
// they are under go test, the program too has one pipe for both, so that their order is kept. Standard input is empty. Files
// that a test binary is told to write (-test.coverprofile, -test.cpuprofile and the like) are brought back to the host.
//
// # Modules
//
// Loaded before the program starts, in the order of their dependencies: IPVS with every scheduler, the SIP persistence
// engine and the FTP helper; veth, dummy, bridge, ipip, sit, ip6_tunnel, ip_gre, ip6_gre, fou, fou6; nf_conntrack,
// nf_conntrack_netlink, nf_tables with nft_compat, iptable_mangle, ip6table_mangle, xt_mark, xt_tcpudp, xt_ipvs, sch_netem.
// Those that the kernel does not have are named on standard error.
//
//	-modules none        loads nothing: a kernel without IPVS
//	-modules a,b         loads these and what they depend on
//	-modules +a,b        loads the usual ones and these
//	-module-options "ip_vs.conn_tab_bits=16"
//	-autoload            puts the module files and a working /sbin/modprobe there, so that the kernel loads modules when
//	                     it wants them; combine it with -modules none. Without it the kernel cannot load any by itself.
//
// # Devices
//
// With -nic the machine has network cards, eth0 and so on in the order of the flags, whose drivers are loaded. They are on
// one cable, so that what one of them sends the others get, and reach nothing else. A vmxnet3 has a queue for each
// processor, a virtio-net-pci has one. With -nvme there is an empty disk, the interrupts of whose queues are placed by the
// kernel and by nobody else.
//
// # Kernels
//
// Kernels are named by their first two numbers, 6.1 or 6.12. "vm -kernels" prints the names of those that can be had here;
// without -kernel the newest is used. They are those of the distribution: on Debian what the linux-image-cloud-amd64 and
// linux-image-N.N-cloud-amd64 packages depend on, on Ubuntu what linux-image-virtual or linux-image-generic depends on. On
// first use, or by "vm -fetch", they are downloaded with apt-get from the sources that apt is configured with and unpacked
// (not installed) in a folder below the user's cache folder. Several vm may run and download at the same time.
//
//	LVS_VM_CACHE         the cache folder, instead of lvs-vm below the user's cache folder
//	LVS_VM_KERNEL        a kernel image (vmlinuz, bzImage) to use instead; it is then the only one
//	LVS_VM_MODULES       the folder with that kernel's modules, such as /lib/modules/6.12.1
//
// Needed on the host: Linux on amd64, qemu-system-x86_64 (package qemu-system-x86), and, unless LVS_VM_KERNEL is set, apt
// and dpkg. KVM is used where a machine boots with it, which is tried once after each start of the host; elsewhere QEMU
// emulates the processor. With -icount the machine counts instructions instead of time: an idle machine skips to its next
// timer at once, so that minutes of waiting take a moment, on a single processor. The processor's fast-string features are
// hidden then, as every repetition of an instruction counts.
//
// # End
//
// The exit status is the program's own, 128 and the signal's number if a signal ended it, 2 after a mistake on the command
// line, and 125 if the machine could not be started, broke, or was stopped after -timeout; its last console lines are then
// printed. Without -timeout the limit is ten minutes, or a minute more than the test binary's own -test.timeout, so that
// this one comes first. A program that is stopped for taking too long is sent SIGQUIT before, to which a Go program
// answers with its goroutines; SIGQUIT to vm does that too. SIGINT and SIGTERM stop the machine, and so does the
// death of vm or of the process that started it.
package main
