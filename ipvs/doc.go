// Package ipvs controls Linux Virtual Server, the kernel's layer-4 load balancer, over its netlink interface.
//
// A [Client] has one method per request that the kernel knows, with every attribute in both directions, so that a
// service or destination that is read, changed in one field and written back keeps all the others:
//
//	c, err := ipvs.Dial(ctx, nil)
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	web := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
//	if err := c.AddService(ctx, ipvs.Service{ID: web, Scheduler: "wlc"}); err != nil {
//		return err
//	}
//	err = c.AddDestination(ctx, web, ipvs.NewDestination(netip.MustParseAddrPort("10.0.0.2:80")))
//
// # Privileges and modules
//
// Every request needs CAP_NET_ADMIN in the initial user namespace, reading included; root of a rootless container does
// not have it. The files of /proc, which [Client.Connections], [Client.KernelStats] and [ReadTable] read, are open to
// everybody. The kernel loads its modules when they are asked for: ip_vs by [Dial], the schedulers by
// [Client.AddService]. [Probe] says what a host can do.
//
// # Network namespaces
//
// Services, timeouts, daemons and counters belong to a network namespace, and a client to the one that it was dialled
// in: the caller's, or the one that [Config] names. The caller's thread is not moved.
//
// # Errors
//
// A failed request returns an [*OpError]. What it means is tested with errors.Is, against fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported or one of the errors of this package, whichever request it
// was; [OpError.Hint] says what a person can do.
//
// # Kernels and concurrency
//
// Tested on Linux 6.1 and 6.12, with a conformance suite that passes in the same way on the in-memory kernel of package
// ipvstest. What older kernels do not send is left zero, and what newer ones add is skipped. Off Linux everything
// builds, and a client works on an in-memory kernel where there are Unix sockets; [Dial] fails.
//
// A Client is safe for concurrent use; values of other types are not shared unless the caller shares them.
package ipvs
