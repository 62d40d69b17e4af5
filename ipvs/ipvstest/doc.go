// Package ipvstest is an IPVS kernel in memory, for tests and demonstrations of programs that use package ipvs: no root,
// no modules, any system with Unix sockets.
//
//	func TestController(t *testing.T) {
//		kernel, client := ipvstest.Start(t, nil)
//		controller.Run(t.Context(), client)              // the code under test
//		kernel.Advance(time.Minute)                      // its clock moves when told to
//		kernel.Inject(ipvstest.Fault{Op: "add service", Errno: syscall.ENOMEM})
//		…
//	}
//
// It answers netlink requests as Linux 6.1 or 6.12 do, byte for byte and errno by errno: [TestClient] is the suite that
// says so, which passes in the same way on those kernels and on this one, and which anyone can run on a set-up of their
// own.
//
// [Dial] lets a program choose between the host's kernel and one in memory whose state is kept in a file.
//
// No packets flow in it: connections and counters are what [Namespace.SetConns] and [Namespace.Count] say.
package ipvstest
