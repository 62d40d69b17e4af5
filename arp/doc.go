// Package arp sets up the real servers of VS/DR and VS/TUN: it binds virtual addresses without having the machine answer
// for them, makes the devices that take off the director's encapsulation, and tells the neighbours where an address is.
// Everything is planned first, can be shown, verified after, and taken back exactly.
//
//	h, err := arp.New(nil)
//	if err != nil {
//		return err
//	}
//	plan, err := h.Plan(ctx, arp.Setup{VIPs: []netip.Addr{vip}})
//	if err != nil {
//		return err
//	}
//	fmt.Print(plan) // a dry run ends here
//	if _, err := h.Apply(ctx, plan); err != nil {
//		return err
//	}
//	…
//	_, err = h.Release(ctx, vip)
//
// A Linux machine answers ARP for all of its addresses on all of its devices, and names any of them as the sender of its
// own requests. So both have to be suppressed, on the devices that ARP comes in and goes out by; the settings of the
// device that holds the address, such as lo, have no effect. IPv6 needs nothing of the kind. [Host.Check] says what the
// neighbours learn and why, [Host.Probe] asks them, [Host.Status] finds what is wrong.
//
// # Taking back
//
// What a plan is about to change is recorded in a file before it is changed, with the virtual addresses that it is for.
// Any later process can release them: what only they needed comes back to what it was, and what others need, or what
// someone else has changed since, stays. See [Config.Journal].
//
// # Privileges and modules
//
// Reading, planning and checking need no privilege in the caller's own network namespace. Changes need CAP_NET_ADMIN in
// the namespace and root's access to /run/lvs; announcing and probing need CAP_NET_RAW. Tunnels, ports and dummies need
// kernel modules ([TunnelKind.Module], [FOUPort.Module], dummy), which the kernel loads by itself if it can.
//
// # Namespaces
//
// [Config] chooses another network namespace, for which CAP_SYS_ADMIN is needed. The calling thread is never moved.
//
// Tested on Linux 6.1 and 6.12. Before 5.14 the kernel has no number for a namespace that is not used again, and the
// record's name has that of its inode. All values are safe for concurrent use.
package arp
