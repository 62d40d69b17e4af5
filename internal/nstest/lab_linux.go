package nstest

import (
	"fmt"
	"net/netip"
	"testing"
)

// Host is one station of a Lab.
type Host struct {
	NS    *NS
	Addr  netip.Addr // IPv4, on eth0
	Addr6 netip.Addr // IPv6, on eth0
}

// LabConfig says what a Lab consists of. The zero value is one client and two real servers.
type LabConfig struct {
	Clients     int  // number of clients, 0 means 1, at most 80
	RealServers int  // number of real servers, 0 means 2, at most 80
	Direct      bool // whether real servers have a leg on the client network too, eth1, by which direct routing and tunnelling answer
}

// Lab is a network of clients, a director and real servers, all in network namespaces.
//
//	client network 10.0.1.0/24 fd00:1::/64        server network 10.0.2.0/24 fd00:2::/64
//
//	client i eth0 10.0.1.11+i fd00:1::11+i ──┐    ┌── eth0 10.0.2.11+i fd00:2::11+i  real server i
//	                                         │    │   (eth1 10.0.1.101+i fd00:1::101+i if Direct)
//	         eth0 10.0.1.1    fd00:1::1  ────┴─┐  │
//	         eth0 10.0.1.100  fd00:1::100 VIP  director  eth1 10.0.2.1 fd00:2::1
//
// The last group of the IPv6 addresses has the same digits as the IPv4 ones'. The director forwards IP packets, and is the
// default gateway of all others. No host filters by return path, and the director knows the real servers' hardware
// addresses, so that no packet waits or is lost for ARP. IPVS is left to the test.
type Lab struct {
	Clients     []Host
	Director    *NS
	RealServers []Host
	VIP, VIP6   netip.Addr // on the director's eth0
	Switch      *NS        // has the bridges: br0 is the client network, br1 the server network
}

// NewLab makes a lab, which goes when the test ends.
func NewLab(t testing.TB, cfg LabConfig) *Lab {
	t.Helper()
	if cfg.Clients == 0 {
		cfg.Clients = 1
	}
	if cfg.RealServers == 0 {
		cfg.RealServers = 2
	}
	if cfg.Clients < 0 || cfg.Clients > 80 || cfg.RealServers < 0 || cfg.RealServers > 80 {
		t.Fatalf("a lab of %d clients and %d real servers", cfg.Clients, cfg.RealServers)
	}
	lab := &Lab{Director: New(t), Switch: New(t)}
	lab.VIP, lab.VIP6 = labAddrs(1, 100)
	lab.Switch.Bridge(t, "br0")
	lab.Switch.Bridge(t, "br1")
	// plug connects a device of a host with one of the networks.
	ports := 0
	plug := func(ns *NS, dev string, network, host int) Host {
		t.Helper()
		port := fmt.Sprint("port", ports)
		ports++
		Veth(t, ns, dev, lab.Switch, port)
		lab.Switch.SetMaster(t, port, fmt.Sprint("br", network-1))
		addr, addr6 := labAddrs(network, host)
		ns.AddAddr(t, dev, netip.PrefixFrom(addr, 24))
		ns.AddAddr(t, dev, netip.PrefixFrom(addr6, 64))
		ns.SetSysctl(t, "net/ipv4/conf/all/rp_filter", "0")
		ns.SetSysctl(t, "net/ipv4/conf/"+dev+"/rp_filter", "0")
		return Host{ns, addr, addr6}
	}
	gateway := func(ns *NS, network int) {
		t.Helper()
		addr, addr6 := labAddrs(network, 1)
		ns.AddRoute(t, Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: addr})
		ns.AddRoute(t, Route{Dst: netip.MustParsePrefix("::/0"), Via: addr6})
	}
	plug(lab.Director, "eth0", 1, 1)
	plug(lab.Director, "eth1", 2, 1)
	lab.Director.AddAddr(t, "eth0", netip.PrefixFrom(lab.VIP, 32))
	lab.Director.AddAddr(t, "eth0", netip.PrefixFrom(lab.VIP6, 128))
	lab.Director.SetSysctl(t, "net/ipv4/ip_forward", "1")
	lab.Director.SetSysctl(t, "net/ipv6/conf/all/forwarding", "1")
	for i := range cfg.Clients {
		lab.Clients = append(lab.Clients, plug(New(t), "eth0", 1, 11+i))
		gateway(lab.Clients[i].NS, 1)
	}
	for i := range cfg.RealServers {
		rs := plug(New(t), "eth0", 2, 11+i)
		gateway(rs.NS, 2)
		if cfg.Direct {
			plug(rs.NS, "eth1", 1, 101+i)
		}
		lab.RealServers = append(lab.RealServers, rs)
		mac := rs.NS.Link(t, "eth0").MAC
		lab.Director.AddNeighbor(t, "eth1", rs.Addr, mac)
		lab.Director.AddNeighbor(t, "eth1", rs.Addr6, mac)
	}
	return lab
}

// labAddrs returns the addresses of a host; IPv6 has the same digits as IPv4.
func labAddrs(network, host int) (addr, addr6 netip.Addr) {
	return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", network, host)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", network, host))
}

// Sender returns a sender of packets to the director's eth0, as if clients had sent them. Their sources can be any addresses;
// answers to those outside of the client network do not arrive anywhere.
func (l *Lab) Sender(t testing.TB) *Sender {
	t.Helper()
	return l.Clients[0].NS.Sender(t, "eth0", l.Director.Link(t, "eth0").MAC)
}
