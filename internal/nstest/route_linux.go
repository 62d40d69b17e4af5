package nstest

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attrs adds the attributes of a request.
type attrs func(*netlink.AttributeEncoder) error

// request sends one rtnetlink request, its fixed part followed by attributes, and returns the replies.
func (n *NS) request(typ netlink.HeaderType, flags netlink.HeaderFlags, fixed []byte, add attrs) ([]netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	if add != nil {
		if err := add(ae); err != nil {
			return nil, err
		}
	}
	b, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(n.file.Fd())})
		if err != nil {
			return nil, err
		}
		n.conn = conn
	}
	return n.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: append(fixed, b...),
	})
}

// change sends a request that is only acknowledged; what is for the message of a failure.
func (n *NS) change(t testing.TB, what string, typ netlink.HeaderType, flags netlink.HeaderFlags, fixed []byte, add attrs) {
	t.Helper()
	if _, err := n.request(typ, netlink.Acknowledge|flags, fixed, add); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

const create = netlink.Create | netlink.Excl

// ifinfomsg is the fixed part of requests about devices.
func ifinfomsg(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}
