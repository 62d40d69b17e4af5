package arp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/golvs/lvs/internal/hostfs"
)

// kernel is the network configuration of one namespace. All its errors are *OpError. It is used by one goroutine.
type kernel interface {
	// identity tells the namespace from all others, in a word that can be part of a file's name.
	identity() (string, error)

	links() ([]Link, error)
	addresses() ([]Address, error)
	local() ([]LocalRoute, error)
	proxies() ([]Proxy, error)
	fouPorts() ([]FOUPort, error)

	addLink(name string, t *Tunnel) error // a dummy if t is nil
	deleteLink(name string) error
	setLink(name string, up bool) error
	addAddress(a Address) error
	deleteAddress(a Address) error
	addFOU(p FOUPort) error
	deleteFOU(p FOUPort) error

	close() error
}

// rtnetlink is the kernel over sockets of its own, opened for one call of the user.
type rtnetlink struct {
	ns    hostfs.NetNS
	ctx   context.Context
	route *netlink.Conn
	stop  func() bool

	generic     *netlink.Conn // opened at first use
	stopGeneric func() bool
	fouID       uint16

	names map[int]string // of devices, by index
}

const (
	netlinkRoute   = 0  // NETLINK_ROUTE
	netlinkGeneric = 16 // NETLINK_GENERIC
)

func openKernel(ctx context.Context, ns hostfs.NetNS) (*rtnetlink, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := &rtnetlink{ns: ns, ctx: ctx}
	var err error
	if k.route, k.stop, err = k.dial(netlinkRoute); err != nil {
		return nil, explain("open rtnetlink", "", netip.Addr{}, err)
	}
	return k, nil
}

// dial opens a socket in the namespace, to which it belongs for ever, and has the context's end interrupt it.
func (k *rtnetlink) dial(family int) (conn *netlink.Conn, stop func() bool, err error) {
	err = k.ns.Do(func() error {
		conn, err = netlink.Dial(family, nil)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	// The kernel's explanations, and filters of dumps, where they exist: Linux 4.12 and 4.20. Nothing depends on them.
	// Not with capped acknowledgements, in which package netlink looks for the explanation at the wrong place.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	if family == netlinkRoute {
		_ = conn.SetOption(netlink.GetStrictCheck, true)
	}
	stop = context.AfterFunc(k.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, stop, nil
}

func (k *rtnetlink) close() error {
	k.stop()
	err := k.route.Close()
	if k.generic != nil {
		k.stopGeneric()
		err = errors.Join(err, k.generic.Close())
	}
	return err
}

// execute sends a request and returns its answers.
func (k *rtnetlink) execute(conn *netlink.Conn, m netlink.Message, err error) ([]netlink.Message, error) {
	const attempts = 10
	for range attempts {
		if err != nil {
			return nil, err
		}
		var answers []netlink.Message
		answers, err = conn.Execute(m)
		if ctxErr := k.ctx.Err(); ctxErr != nil && err != nil {
			return nil, ctxErr
		}
		interrupted := errnoOf(err) == errnoINTR
		for _, a := range answers {
			interrupted = interrupted || a.Header.Flags&netlink.DumpInterrupted != 0
		}
		if !interrupted || m.Header.Flags&netlink.Dump != netlink.Dump {
			return answers, err
		}
		err = nil
	}
	return nil, errors.New("the table kept changing while it was read")
}

// dump reads a table: each message of type typ is handed to fn.
func (k *rtnetlink) dump(what string, conn *netlink.Conn, m netlink.Message, err error, typ uint16, fn func([]byte) error) error {
	answers, err := k.execute(conn, m, err)
	if err != nil {
		return explain("list "+what, "", netip.Addr{}, err)
	}
	for _, a := range answers {
		if uint16(a.Header.Type) != typ {
			continue
		}
		if err := fn(a.Data); err != nil {
			return explain("list "+what, "", netip.Addr{}, err)
		}
	}
	return nil
}

func (k *rtnetlink) links() ([]Link, error) {
	var all []Link
	k.names = map[int]string{}
	m, err := encodeDumpLinks()
	err = k.dump("links", k.route, m, err, typeNewLink, func(b []byte) error {
		l, err := decodeLink(b)
		if err == nil {
			k.names[l.Index] = l.Name
			all = append(all, l)
		}
		return err
	})
	return all, err
}

// name returns the device with an index. Devices come and go while tables are read: one without a name is passed over.
func (k *rtnetlink) name(index int) (string, error) {
	if k.names == nil {
		if _, err := k.links(); err != nil {
			return "", err
		}
	}
	return k.names[index], nil
}

// index returns the index of a device, which may have been made since the names were read.
func (k *rtnetlink) index(name string) (int, error) {
	links, err := k.links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.Name == name {
			return l.Index, nil
		}
	}
	return 0, &OpError{Op: "find device", Device: name, Err: meaning{"no such device", fs.ErrNotExist}}
}

var families = [...]uint8{afInet, afInet6}

func (k *rtnetlink) addresses() ([]Address, error) {
	var all []Address
	for _, fam := range families {
		m, err := encodeDumpAddresses(fam)
		err = k.dump("addresses", k.route, m, err, typeNewAddr, func(b []byte) error {
			a, index, ok, err := decodeAddress(b)
			if err != nil || !ok {
				return err
			}
			if a.Device, err = k.name(index); err == nil && a.Device != "" {
				all = append(all, a)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (k *rtnetlink) local() ([]LocalRoute, error) {
	var all []LocalRoute
	for _, fam := range families {
		m, err := encodeDumpLocal(fam)
		err = k.dump("routes", k.route, m, err, typeNewRoute, func(b []byte) error {
			p, index, ok, err := decodeLocal(b)
			if err != nil || !ok {
				return err
			}
			dev, err := k.name(index)
			if err == nil {
				all = append(all, LocalRoute{Prefix: p, Device: dev})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (k *rtnetlink) proxies() ([]Proxy, error) {
	var all []Proxy
	for _, fam := range families {
		m, err := encodeDumpProxies(fam)
		err = k.dump("proxy neighbours", k.route, m, err, typeNewNeigh, func(b []byte) error {
			a, index, ok, err := decodeProxy(b)
			if err != nil || !ok {
				return err
			}
			dev, err := k.name(index)
			if err == nil {
				all = append(all, Proxy{Addr: a, Device: dev})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (k *rtnetlink) addLink(name string, t *Tunnel) error {
	m, err := encodeAddDummy(name)
	if t != nil {
		m, err = encodeAddTunnel(*t)
	}
	_, err = k.execute(k.route, m, err)
	return explain("add link", name, netip.Addr{}, err)
}

func (k *rtnetlink) deleteLink(name string) error {
	i, err := k.index(name)
	if err != nil {
		return err
	}
	m, err := encodeDeleteLink(i)
	_, err = k.execute(k.route, m, err)
	return explain("delete link", name, netip.Addr{}, err)
}

func (k *rtnetlink) setLink(name string, up bool) error {
	i, err := k.index(name)
	if err != nil {
		return err
	}
	m, err := encodeSetLink(i, up)
	_, err = k.execute(k.route, m, err)
	return explain("set link", name, netip.Addr{}, err)
}

func (k *rtnetlink) addAddress(a Address) error {
	i, err := k.index(a.Device)
	if err != nil {
		return err
	}
	m, err := encodeAddAddress(a, i)
	_, err = k.execute(k.route, m, err)
	return explain("add address", a.Device, a.Addr(), err)
}

func (k *rtnetlink) deleteAddress(a Address) error {
	i, err := k.index(a.Device)
	if err != nil {
		return err
	}
	m, err := encodeDeleteAddress(a, i)
	_, err = k.execute(k.route, m, err)
	return explain("delete address", a.Device, a.Addr(), err)
}

// fou finds the family for ports in the kernel. Asking for it by name makes the kernel load the module if it can, which
// is for changes; for reading all families are listed.
func (k *rtnetlink) fou(load bool) error {
	if k.fouID != 0 {
		return nil
	}
	const op = "find the family fou"
	if k.generic == nil {
		conn, stop, err := k.dial(netlinkGeneric)
		if err != nil {
			return explain("open generic netlink", "", netip.Addr{}, err)
		}
		k.generic, k.stopGeneric = conn, stop
	}
	m, err := encodeGetFamily("fou")
	if !load {
		m, err = encodeDumpFamilies()
	}
	answers, err := k.execute(k.generic, m, err)
	if err != nil && errnoOf(err) != errnoNOENT {
		return explain(op, "", netip.Addr{}, err)
	}
	for _, a := range answers {
		if uint16(a.Header.Type) != typeCtrl {
			continue
		}
		name, id, err := decodeFamily(a.Data)
		if err != nil {
			return explain(op, "", netip.Addr{}, err)
		}
		if name == "fou" {
			k.fouID = id
			return nil
		}
	}
	return &OpError{Op: op, Errno: errnoNOENT, Err: meaning{"the kernel module fou is not loaded", errors.ErrUnsupported}}
}

// fouPorts returns none where the module is not loaded: then there are none.
func (k *rtnetlink) fouPorts() ([]FOUPort, error) {
	if err := k.fou(false); errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all []FOUPort
	m, err := encodeDumpFOU(k.fouID)
	err = k.dump("fou ports", k.generic, m, err, k.fouID, func(b []byte) error {
		p, err := decodeFOU(b)
		if err == nil {
			all = append(all, p)
		}
		return err
	})
	return all, err
}

func (k *rtnetlink) addFOU(p FOUPort) error { return k.changeFOU("add", fouAdd, p) }

func (k *rtnetlink) deleteFOU(p FOUPort) error {
	err := k.changeFOU("delete", fouDel, p)
	if !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	// That is also the answer for a port that does not exist (observed on Linux 6.12).
	if ports, listErr := k.fouPorts(); listErr != nil || slices.Contains(ports, p) {
		return err
	}
	return explain(fmt.Sprintf("delete fou %v", p), "", netip.Addr{}, syscall.Errno(errnoNOENT))
}

func (k *rtnetlink) changeFOU(verb string, cmd uint8, p FOUPort) error {
	if err := k.fou(true); err != nil {
		return err
	}
	m, err := encodeFOU(k.fouID, cmd, p)
	_, err = k.execute(k.generic, m, err)
	return explain(fmt.Sprintf("%s fou %v", verb, p), "", netip.Addr{}, err)
}

// identity prefers the namespace's cookie, which is never used again before the next boot, to its inode.
func (k *rtnetlink) identity() (string, error) {
	const op = "identify the namespace"
	conn, err := k.route.SyscallConn()
	if err != nil {
		return "", explain(op, "", netip.Addr{}, err)
	}
	var cookie uint64
	var cookieErr error
	if err := conn.Control(func(fd uintptr) { cookie, cookieErr = netnsCookie(fd) }); err != nil {
		return "", explain(op, "", netip.Addr{}, err)
	}
	if cookieErr == nil {
		return strconv.FormatUint(cookie, 10), nil
	}
	f, err := k.ns.Open() // before Linux 5.14
	if err != nil {
		return "", explain(op, "", netip.Addr{}, err)
	}
	defer f.Close()
	inode, err := netnsInode(f)
	return "ns" + strconv.FormatUint(inode, 10), explain(op, "", netip.Addr{}, err)
}
