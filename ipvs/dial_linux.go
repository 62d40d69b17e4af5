package ipvs

import (
	"io/fs"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/golvs/lvs/internal/hostfs"
)

func dial(cfg *Config) (*Client, error) {
	pin, err := pinNetNS(cfg)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Client, error) {
		_ = pin.Close()
		return nil, err
	}
	conn, err := dialIn(pin)
	if err != nil {
		return fail(err)
	}
	var root fs.FS = hostfs.Host(hostfs.NetNS{File: pin})
	if cfg.Root != nil {
		root = cfg.Root
	}
	c, err := newClient(conn, cfg, root, pin.Close)
	if err != nil {
		_ = conn.Close()
		return fail(err)
	}
	c.redial = func(int) (*genetlink.Conn, error) { return dialIn(pin) }
	return c, nil
}

// dialIn opens a socket in a namespace, to which it belongs for ever.
func dialIn(ns *os.File) (conn *genetlink.Conn, err error) {
	err = hostfs.NetNS{File: ns}.Do(func() error {
		conn, err = genetlink.Dial(&netlink.Config{})
		return err
	})
	if err != nil {
		return nil, err
	}
	// Short answers with the kernel's explanation, if it knows these options: Linux 4.12.
	_ = conn.SetOption(netlink.CapAcknowledge, true)
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	return conn, nil
}
