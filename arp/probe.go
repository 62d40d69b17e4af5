package arp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// ProbeOptions say how an address is asked for. Nil and the zero value are: twice, for one second in all, as the
// device's own address.
type ProbeOptions struct {
	// Sender is the address that the question comes from. Invalid means an address of the device, one in the subnet of
	// the target if there is one; without any, and if it is unspecified (0.0.0.0, ::), the question is that of a machine
	// that is about to take the address, to which the same is answered (observed on Linux 6.12).
	Sender netip.Addr

	// Count is how often to ask, evenly over the wait; zero means 2.
	Count int

	// Wait is the time to wait for answers in all; zero means one second.
	Wait time.Duration
}

// Reply is the answer to a question.
type Reply struct {
	HardwareAddr net.HardwareAddr // where the answer says the address is
	After        time.Duration    // since the first question
}

// Probe asks for an address on a device, as an ARP request or neighbour solicitation, and returns the answers, the first
// one of each hardware address. Ask from another machine, such as the director, or from another namespace: a machine
// does not hear its own question. With the virtual address on the director, each answer but the director's own names a
// real server that does not keep silent. A real server that only announces the address is not found, see [Host.Check].
//
// The errors are those of [Host.Announce]; no answer is none.
func (h *Host) Probe(ctx context.Context, device string, target netip.Addr, options *ProbeOptions) ([]Reply, error) {
	const op = "probe"
	var opt ProbeOptions
	if options != nil {
		opt = *options
	}
	plain, err := checkVIP(target)
	if err != nil {
		return nil, &OpError{Op: op, Device: device, Address: target, Err: err}
	}
	if opt.Count == 0 {
		opt.Count = 2
	}
	if opt.Wait == 0 {
		opt.Wait = time.Second
	}
	opt.Sender = opt.Sender.Unmap().WithZone("")
	if opt.Count < 0 || opt.Wait < 0 || opt.Sender.IsValid() && opt.Sender.BitLen() != plain.BitLen() {
		return nil, &OpError{Op: op, Device: device, Address: plain, Err: fmt.Errorf("negative count or time, or a sender of the other family: %w", fs.ErrInvalid)}
	}
	s, err := h.links(ctx)
	if err != nil {
		return nil, err
	}
	link, err := s.ethernet(op, device, false)
	if err != nil {
		return nil, err
	}
	if !opt.Sender.IsValid() {
		opt.Sender = s.sender(device, plain)
	}
	ether := uint16(etherARP)
	if plain.Is6() {
		ether = etherIPv6
	}
	p, err := openPacket(h.ns, link.Index, ether)
	if err != nil {
		return nil, explain(op, device, plain, err)
	}
	defer func() { _ = p.close() }()
	replies, err := ask(ctx, p, probeFrame(link.HardwareAddr, opt.Sender, plain), plain, opt)
	replies = slices.DeleteFunc(replies, func(r Reply) bool { return bytes.Equal(r.HardwareAddr, link.HardwareAddr) })
	return replies, explain(op, device, plain, err)
}

// sender returns the address of a device to ask from.
func (s State) sender(device string, target netip.Addr) netip.Addr {
	best := netip.IPv6Unspecified()
	if target.Is4() {
		best = netip.IPv4Unspecified()
	}
	for _, a := range s.addressesOf(device, target.Is4()) {
		switch {
		case a.Addr() == target || a.Flags&(AddressTentative|AddressDADFailed) != 0:
		case a.Prefix.Contains(target):
			return a.Addr()
		case best.IsUnspecified():
			best = a.Addr()
		}
	}
	return best
}

// packets is a socket for frames.
type packets interface {
	send([]byte) error

	// receive fails with os.ErrDeadlineExceeded only if there is no frame in the socket.
	receive(b []byte, deadline time.Time) (int, error)
}

// mostLate bounds how many frames are looked at after the time is over: more than a socket holds have come since.
const mostLate = 1000

func ask(ctx context.Context, p packets, question []byte, target netip.Addr, opt ProbeOptions) ([]Reply, error) {
	var replies []Reply
	start := time.Now()
	buf := make([]byte, 2048)
	for i := range opt.Count {
		if err := p.send(question); err != nil {
			return replies, err
		}
		until := start.Add(opt.Wait * time.Duration(i+1) / time.Duration(opt.Count))
		for late := 0; late < mostLate; {
			if err := ctx.Err(); err != nil {
				return replies, err
			}
			// In short turns, so that the end of the context is noticed.
			turn := time.Now().Add(50 * time.Millisecond)
			if turn.After(until) {
				turn = until
			}
			if time.Now().After(until) {
				late++
			}
			n, err := p.receive(buf, turn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if turn.Equal(until) {
					break
				}
				continue
			}
			if err != nil {
				return replies, err
			}
			mac, ok := parseReply(buf[:n], target)
			if ok && !slices.ContainsFunc(replies, func(r Reply) bool { return bytes.Equal(r.HardwareAddr, mac) }) {
				replies = append(replies, Reply{HardwareAddr: mac, After: time.Since(start)})
			}
		}
	}
	return replies, nil
}
