// Program peerbench counts the instructions and system calls that big IPVS tables cost: with this library, with
// moby/ipvs, with ipvsadm, with examples/ipvsadm, and with the floor, a program that does nothing but send bytes that were
// made before and receive into one buffer.
//
//	make bench-kernel                      all of it, on the newest kernel
//	.ci/bench-kernel 6.1                   on another
//	peerbench -only create                 one row of the table; as root, on a kernel with IPVS
//
// It is made for a machine of internal/vm that counts instructions instead of time: there a nanosecond is an instruction, in
// the kernel or outside. Elsewhere it prints nanoseconds of a clock that everything else on the machine disturbs.
//
// Each method runs in processes of its own, with a network namespace of their own in which lo is up: twice on the clock, or
// six times what only reads, whose runs differ by up to seven per cent (-runs). The smallest count is printed. Once more its
// system calls are counted by ptrace, without those of Go's scheduler. After it ran the table is read back and compared with what it ought to be; a list is compared with what was put
// there. What a method needs before it starts (a socket, a family number, the typed values or the rule file to send) does
// not count; what it does afterwards does, page faults and garbage collection included. For programs the count is from fork
// to exit.
package main
