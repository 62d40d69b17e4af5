package main

import (
	"context"
	"net"
	"net/netip"
)

// tcpCheck connects, and no more.
type tcpCheck struct{ question }

func (c tcpCheck) check(ctx context.Context) (string, error) {
	conn, err := c.dial(ctx, "tcp")
	if err != nil {
		return "", err
	}
	return "", conn.Close()
}

// dial connects to the target, or, with a mark, to the virtual address by the service of that mark.
func (q question) dial(ctx context.Context, network string) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	if q.Mark != 0 {
		d.Control = setMark(q.Mark)
		// The system would take the virtual address, and the answer would never leave the real server.
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(q.Source, 0))
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.Source, 0))
		}
	}
	return d.DialContext(ctx, network, q.Target.String())
}
