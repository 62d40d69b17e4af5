// Package lvs is a map of this module: Linux Virtual Server (IPVS), the kernel's layer-4 load balancer, for Go.
//
// # Control
//
//   - ipvs: the typed client of the kernel's netlink interface, and the readers of /proc/net/ip_vs*. Start here.
//   - ipvs/ipvsadm: the language of ipvsadm(8): command lines, rule files and listings, to and from typed values.
//   - ipvs/ipvstest: a kernel in memory for tests and demonstrations, and the conformance suite that real kernels and it
//     pass in the same way.
//
// # Models
//
//   - sched: the schedulers rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh and twos, pick by pick as the
//     kernel does it, without a kernel.
//   - persist: persistence templates, and how large the connection table has to be.
//   - sched/sim: a director made of the two: connections with their states and timeouts, counters, virtual time.
//
// # Host
//
//   - sysctl: the tunables of IPVS and of the machines around it: plan, show, apply, verify, take back.
//   - irq: interrupts, CPU sets and topology.
//   - arp: what real servers of direct routing and tunnelling need: ARP suppression and the virtual address.
//
// # Programs
//
// The folder examples has a program for each task. They run a demonstration on the in-memory kernel, or act on this host
// when given a verb:
//
//	go run github.com/golvs/lvs/examples/dr
//
// # A first program
//
//	c, err := ipvs.Dial(ctx, nil)
//	if err != nil {
//		return err // err.(*ipvs.OpError).Hint() says what to do about it
//	}
//	defer c.Close()
//	services, err := c.Services(ctx)
package lvs
