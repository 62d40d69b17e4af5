package nstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network device.
type Link struct {
	Index int
	MTU   int // bytes
	Up    bool
	MAC   net.HardwareAddr

	state uint8 // operational, IF_OPER_UP and the like
}

// Link returns a device by its name.
func (n *NS) Link(t testing.TB, name string) Link {
	t.Helper()
	l, err := n.link(name)
	if err != nil {
		t.Fatalf("device %s: %v", name, err)
	}
	return l
}

func (n *NS) link(name string) (Link, error) {
	msgs, err := n.request(unix.RTM_GETLINK, 0, ifinfomsg(0, 0, 0), func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.IFLA_IFNAME, name)
		return nil
	})
	if err != nil {
		return Link{}, err
	}
	if len(msgs) != 1 || len(msgs[0].Data) < unix.SizeofIfInfomsg {
		return Link{}, errors.New("no answer")
	}
	data := msgs[0].Data
	l := Link{
		Index: int(int32(binary.NativeEndian.Uint32(data[4:]))),
		Up:    binary.NativeEndian.Uint32(data[8:])&unix.IFF_UP != 0,
	}
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(ad.Bytes())
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		case unix.IFLA_OPERSTATE:
			l.state = ad.Uint8()
		}
	}
	return l, ad.Err()
}

// addLink makes a device of a kind, with that kind's own attributes, down.
func (n *NS) addLink(t testing.TB, name, kind string, data attrs) {
	t.Helper()
	n.change(t, fmt.Sprintf("add %s %s", kind, name), unix.RTM_NEWLINK, create, ifinfomsg(0, 0, 0), func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, kind)
			if data != nil {
				ae.Nested(unix.IFLA_INFO_DATA, data)
			}
			return nil
		})
		return nil
	})
}

// Dummy makes a dummy device and switches it on. It is of use at once, its link-local address included.
func (n *NS) Dummy(t testing.TB, name string) {
	t.Helper()
	n.addLink(t, name, "dummy", nil)
	n.Up(t, name)
	n.settleLinkLocal(t, name)
}

// Bridge makes a bridge, which forwards at once and all multicast, and switches it on. Ports are added with SetMaster.
func (n *NS) Bridge(t testing.TB, name string) {
	t.Helper()
	const mcastSnooping = 23 // IFLA_BR_MCAST_SNOOPING
	n.addLink(t, name, "bridge", func(ae *netlink.AttributeEncoder) error {
		ae.Uint8(mcastSnooping, 0)
		return nil
	})
	n.Up(t, name)
}

// Veth connects two namespaces, or one with itself, by a pair of devices and switches both on. They are of use at once, their
// link-local addresses included: no packet is lost because the kernel has not got that far.
func Veth(t testing.TB, a *NS, aName string, b *NS, bName string) {
	t.Helper()
	const peer = 1 // VETH_INFO_PEER
	a.addLink(t, aName, "veth", func(ae *netlink.AttributeEncoder) error {
		ae.Do(peer, func() ([]byte, error) {
			inner := netlink.NewAttributeEncoder()
			inner.String(unix.IFLA_IFNAME, bName)
			inner.Uint32(unix.IFLA_NET_NS_FD, uint32(b.file.Fd()))
			attrs, err := inner.Encode()
			return append(ifinfomsg(0, 0, 0), attrs...), err
		})
		return nil
	})
	a.Up(t, aName)
	b.Up(t, bName)
	a.settleLink(t, aName)
	b.settleLink(t, bName)
	a.settleLinkLocal(t, aName)
	b.settleLinkLocal(t, bName)
}

// setLink changes a device.
func (n *NS) setLink(t testing.TB, what, name string, flags, mask uint32, add attrs) {
	t.Helper()
	n.change(t, what+" "+name, unix.RTM_NEWLINK, 0, ifinfomsg(n.Link(t, name).Index, flags, mask), add)
}

// Up switches a device on.
func (n *NS) Up(t testing.TB, name string) {
	t.Helper()
	n.setLink(t, "up", name, unix.IFF_UP, unix.IFF_UP, nil)
}

// Down switches a device off, which removes its routes.
func (n *NS) Down(t testing.TB, name string) {
	t.Helper()
	n.setLink(t, "down", name, 0, unix.IFF_UP, nil)
}

// SetMaster makes a device a port of a bridge.
func (n *NS) SetMaster(t testing.TB, name, bridge string) {
	t.Helper()
	master := n.Link(t, bridge).Index
	n.setLink(t, "set master of", name, 0, 0, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
		return nil
	})
}

// SetMAC sets a device's hardware address.
func (n *NS) SetMAC(t testing.TB, name string, mac net.HardwareAddr) {
	t.Helper()
	n.setLink(t, "set address of", name, 0, 0, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.IFLA_ADDRESS, mac)
		return nil
	})
}

// SetMTU sets a device's MTU, in bytes.
func (n *NS) SetMTU(t testing.TB, name string, mtu int) {
	t.Helper()
	n.setLink(t, "set MTU of", name, 0, 0, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
		return nil
	})
}

// DeleteLink removes a device.
func (n *NS) DeleteLink(t testing.TB, name string) {
	t.Helper()
	n.change(t, "delete "+name, unix.RTM_DELLINK, 0, ifinfomsg(n.Link(t, name).Index, 0, 0), nil)
}
