package nstest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func family(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// AddAddr adds an address with its prefix length to a device. An IPv6 address is usable at once: the kernel does not look
// for duplicates, and the route by which packets for it are taken, which the kernel adds in the background, is there.
func (n *NS) AddAddr(t testing.TB, name string, p netip.Prefix) {
	t.Helper()
	what := fmt.Sprintf("add address %v to %s", p, name)
	n.addr(t, what, unix.RTM_NEWADDR, create, name, p)
	if l := n.Link(t, name); p.Addr().Is6() && l.Up {
		settle(t, what, func() (bool, string) { return n.local(p.Addr(), l.Index) })
	}
}

// DeleteAddr removes an address from a device.
func (n *NS) DeleteAddr(t testing.TB, name string, p netip.Prefix) {
	t.Helper()
	n.addr(t, fmt.Sprintf("delete address %v of %s", p, name), unix.RTM_DELADDR, 0, name, p)
}

func (n *NS) addr(t testing.TB, what string, typ netlink.HeaderType, flags netlink.HeaderFlags, name string, p netip.Prefix) {
	t.Helper()
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = family(p.Addr()), byte(p.Bits())
	if p.Addr().Is6() {
		b[2] = unix.IFA_F_NODAD
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(n.Link(t, name).Index))
	n.change(t, what, typ, flags, b, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		if p.Addr().Is4() {
			ae.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
		}
		return nil
	})
}

// Route is a route to add.
type Route struct {
	Dst   netip.Prefix // 0.0.0.0/0 or ::/0 for the default route
	Via   netip.Addr   // gateway, may be invalid if there is a device
	Dev   string       // device, may be empty if there is a gateway
	Local bool         // deliver to this host, whatever its addresses, as sockets for whole networks want it; Dev is then "lo"
	Table uint32       // routing table, 0 for the main one, or the local one of a local route
}

// AddRoute adds a route.
func (n *NS) AddRoute(t testing.TB, r Route) {
	t.Helper()
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[5] = family(r.Dst.Addr()), byte(r.Dst.Bits()), unix.RTPROT_STATIC
	b[6], b[7] = unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	if !r.Via.IsValid() {
		b[6] = unix.RT_SCOPE_LINK
	}
	if r.Local {
		b[6], b[7], r.Dev = unix.RT_SCOPE_HOST, unix.RTN_LOCAL, "lo"
		if r.Table == 0 {
			table = unix.RT_TABLE_LOCAL
		}
	}
	n.change(t, fmt.Sprintf("add route to %v", r.Dst), unix.RTM_NEWROUTE, create, b, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.RTA_TABLE, table)
		if r.Dst.Bits() > 0 {
			ae.Bytes(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
		}
		if r.Via.IsValid() {
			ae.Bytes(unix.RTA_GATEWAY, r.Via.AsSlice())
		}
		if r.Dev != "" {
			ae.Uint32(unix.RTA_OIF, uint32(n.Link(t, r.Dev).Index))
		}
		return nil
	})
}

// AddNeighbor pins the hardware address of a neighbour, so that packets for it leave without ARP or neighbour discovery.
func (n *NS) AddNeighbor(t testing.TB, name string, addr netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = family(addr)
	binary.NativeEndian.PutUint32(b[4:], uint32(n.Link(t, name).Index))
	binary.NativeEndian.PutUint16(b[8:], unix.NUD_PERMANENT)
	n.change(t, fmt.Sprintf("add neighbour %v to %s", addr, name), unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, b, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NDA_DST, addr.AsSlice())
		ae.Bytes(unix.NDA_LLADDR, mac)
		return nil
	})
}

// HideVIP adds a virtual IP address to lo such that the host takes packets for it but neither answers ARP requests for it
// nor tells it in its own, as a real server for direct routing or tunnelling does.
func (n *NS) HideVIP(t testing.TB, vip netip.Addr) {
	t.Helper()
	if vip.Is4() {
		n.SetSysctl(t, "net/ipv4/conf/all/arp_ignore", "1")
		n.SetSysctl(t, "net/ipv4/conf/all/arp_announce", "2")
	}
	n.AddAddr(t, "lo", netip.PrefixFrom(vip, vip.BitLen()))
}
