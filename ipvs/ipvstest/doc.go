// Package ipvstest is an IPVS kernel in memory, for tests and demonstrations of programs that use package ipvs: no root,
// no modules, any system with Unix sockets.
//
//	func TestController(t *testing.T) {
//		kernel, client := ipvstest.Start(t, nil)
//		controller.Run(t.Context(), client)              // the code under test
//		r := kernel.Namespace("").Connect(flow)          // a client comes: r.Dest is where it goes
//		kernel.Advance(time.Minute)                      // its clock moves when told to
//		kernel.Inject(ipvstest.Fault{Op: "add service", Errno: syscall.ENOMEM})
//		…
//	}
//
// It answers netlink requests as Linux 6.1 or 6.12 do, byte for byte and errno by errno: [TestClient] is the suite that
// says so, which passes in the same way on those kernels and on this one, and which anyone can run on a set-up of their
// own.
//
// # Clients
//
// A namespace schedules the packets that a test or a demonstration sends ([Namespace.Connect], [Namespace.Send],
// [Namespace.Disconnect]) with the very schedulers, templates, protocol states and timeouts of package sim, which are
// compared with those of the running kernels. What netlink and /proc tell of it, counters, rates, connections, comes from
// that one state, and the sysctls below proc/sys/net/ipv4/vs of [Namespace.FS] can be written and change it. Outside of
// what packets do, [Namespace.SetConns] and [Namespace.Count] add numbers of any size at once.
//
// # What if
//
// [NewDirector] makes a director without a kernel from a table that was read from a live one, and [Namespace.Load] an
// in-memory kernel, so that a change can be tried before it is made: which clients move if this server is drained?
//
// # Programs
//
// [New] and [Kernel.Client] serve programs that demonstrate something, without a [testing.TB]. [Dial] lets a program choose
// between the host's kernel and one in memory whose state is kept in a file.
package ipvstest
