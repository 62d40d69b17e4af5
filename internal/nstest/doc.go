// Package nstest supports tests on a real Linux kernel: network namespaces, devices, addresses and routes over rtnetlink,
// packet captures, forged packets, and tiny clients and servers.
//
//	func TestIntegrationForward(t *testing.T) {
//		nstest.RequireKernel(t)
//		lab := nstest.NewLab(t, nstest.LabConfig{RealServers: 2})
//		lab.Director.Do(t, func() { /* configure IPVS here */ })
//		for i, rs := range lab.RealServers {
//			rs.NS.ServeTCP(t, netip.AddrPortFrom(rs.Addr, 80), fmt.Sprint("rs", i))
//		}
//		name, err := lab.Clients[0].NS.AskTCP(netip.AddrPort{}, netip.AddrPortFrom(lab.VIP, 80))
//		…
//	}
//
// Everything that is made for a test goes with it; nothing has to be cleaned up by hand, and the namespace that the test
// runs in is left alone. No program is run. All but the packet builder needs root, and builds on Linux only.
package nstest
