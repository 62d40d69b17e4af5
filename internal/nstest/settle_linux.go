package nstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settleTimeout limits the wait for what the kernel does in the background after a request. It takes milliseconds as a
// rule, but longer on a machine that stands still now and then.
const settleTimeout = 30 * time.Second

// settle waits until what it is called for is so; otherwise the test fails with the state that was last seen.
func settle(t testing.TB, what string, look func() (ok bool, state string)) {
	t.Helper()
	for begin, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		ok, state := look()
		if ok {
			return
		}
		if took := time.Since(begin); took > settleTimeout {
			t.Fatalf("%s: not so after %v: %s", what, took, state)
		}
		time.Sleep(pause)
	}
}

// settleLink waits until a device whose other end is up too passes packets. The kernel notices in the background that both
// are; before, it throws away what is sent, and a bridge does not forward to it (observed on Linux 6.1 and 6.12).
func (n *NS) settleLink(t testing.TB, name string) {
	t.Helper()
	const up = 6 // IF_OPER_UP
	settle(t, name+" is in operation", func() (bool, string) {
		l, err := n.link(name)
		return err == nil && l.state == up, fmt.Sprintf("operational state %d, want %d; %v", l.state, up, err)
	})
}

// settleLinkLocal waits until a device that is up has its IPv6 link-local address, and its routes, which it gets in the
// background, unless it is to have none.
func (n *NS) settleLinkLocal(t testing.TB, name string) {
	t.Helper()
	for _, parameter := range []string{"disable_ipv6", "addr_gen_mode"} {
		value, err := n.readSysctl("net/ipv6/conf/" + name + "/" + parameter)
		if err != nil || value != "0" {
			return
		}
	}
	index := n.Link(t, name).Index
	settle(t, name+" has a link-local address", func() (bool, string) {
		addr, flags, err := n.linkLocal(index)
		switch {
		case err != nil || !addr.IsValid():
			return false, fmt.Sprintf("none; %v", err)
		case flags&unix.IFA_F_DADFAILED != 0:
			return true, ""
		case flags&unix.IFA_F_TENTATIVE != 0:
			return false, fmt.Sprintf("%v is tentative", addr)
		}
		return n.local(addr, index)
	})
}

// linkLocal returns the IPv6 link-local address of a device, invalid if there is none, and its flags.
func (n *NS) linkLocal(device int) (addr netip.Addr, flags uint32, err error) {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0] = unix.AF_INET6
	msgs, err := n.request(unix.RTM_GETADDR, netlink.Dump, b, nil)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	for _, m := range msgs {
		if len(m.Data) < unix.SizeofIfAddrmsg || binary.NativeEndian.Uint32(m.Data[4:]) != uint32(device) {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfAddrmsg:])
		if err != nil {
			return netip.Addr{}, 0, err
		}
		for ad.Next() {
			switch ad.Type() {
			case unix.IFA_ADDRESS:
				addr, _ = netip.AddrFromSlice(ad.Bytes())
			case unix.IFA_FLAGS:
				flags = ad.Uint32()
			}
		}
		if err := ad.Err(); err != nil || addr.IsLinkLocalUnicast() {
			return addr, flags, err
		}
	}
	return netip.Addr{}, 0, nil
}

// local reports whether packets to an address, a link-local one by a device, are for this namespace; the state says what
// is done with them otherwise.
func (n *NS) local(addr netip.Addr, device int) (ok bool, state string) {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = family(addr), byte(addr.BitLen())
	msgs, err := n.request(unix.RTM_GETROUTE, 0, b, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.RTA_DST, addr.AsSlice())
		if addr.IsLinkLocalUnicast() {
			ae.Uint32(unix.RTA_OIF, uint32(device))
		}
		return nil
	})
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) < unix.SizeofRtMsg {
		return false, fmt.Sprintf("%v has no route: %v", addr, err)
	}
	typ := msgs[0].Data[7]
	return typ == unix.RTN_LOCAL, fmt.Sprintf("%v has a route of type %d, want a local one", addr, typ)
}
