package arp

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// AnnounceOptions say how often and in which form addresses are announced. Nil and the zero value are: three times, one
// second apart, and once more the same after five seconds; the request form.
type AnnounceOptions struct {
	// Count is how often each address is announced in a round; zero means 3, the number that RFC 4861 allows and one
	// more than RFC 5227 asks for.
	Count int

	// Interval is the time from one announcement of an address to the next in a round; zero means one second.
	Interval time.Duration

	// Rounds is how often that is done; zero means 2. A switch that was starting, or was dropping bursts, hears the
	// second one.
	Rounds int

	// RoundInterval is the time from the end of a round to the next; zero means five seconds.
	RoundInterval time.Duration

	// Forms are the forms of each IPv4 announcement, sent in this order; empty means RequestForm.
	Forms []Form

	// Router says in IPv6 announcements that this machine forwards packets, as a director may.
	Router bool

	// Foreign allows to announce an address that is not on this machine. Without it that is an error, as a mistyped
	// address would take another machine off the network.
	Foreign bool

	// NoCarrier allows a device without a carrier. The frames are lost, but those of a later round may not be.
	NoCarrier bool
}

// spacing is the time between the frames of two addresses.
const spacing = time.Millisecond

func (o *AnnounceOptions) canonical() (AnnounceOptions, error) {
	var opt AnnounceOptions
	if o != nil {
		opt = *o
	}
	if opt.Count < 0 || opt.Rounds < 0 || opt.Interval < 0 || opt.RoundInterval < 0 {
		return opt, fmt.Errorf("negative count or time: %w", fs.ErrInvalid)
	}
	if opt.Count == 0 {
		opt.Count = 3
	}
	if opt.Rounds == 0 {
		opt.Rounds = 2
	}
	if opt.Interval == 0 {
		opt.Interval = time.Second
	}
	if opt.RoundInterval == 0 {
		opt.RoundInterval = 5 * time.Second
	}
	if len(opt.Forms) == 0 {
		opt.Forms = []Form{RequestForm}
	}
	return opt, nil
}

// Announce tells all neighbours on a device that the addresses are at its hardware address: gratuitous ARP for IPv4,
// unsolicited neighbour advertisements for IPv6. It returns when all rounds are over, nine seconds by default, or when
// ctx ends; run it in a goroutine to do something else meanwhile. Neighbours update an entry that they have at once, and
// most make none that they have not.
//
// The error matches [ErrDown], [ErrNoCarrier], [ErrNoNeighbours] for loopback and devices without ARP and
// [ErrNoHardwareAddress] for devices that are not Ethernet; fs.ErrNotExist if there is no such device or an address is
// not on this machine; fs.ErrInvalid for an impossible address; fs.ErrPermission without CAP_NET_RAW; ctx.Err().
func (h *Host) Announce(ctx context.Context, device string, addrs []netip.Addr, options *AnnounceOptions) error {
	const op = "announce"
	opt, err := options.canonical()
	if err != nil {
		return &OpError{Op: op, Device: device, Err: err}
	}
	s, err := h.links(ctx)
	if err != nil {
		return err
	}
	link, err := s.ethernet(op, device, opt.NoCarrier)
	if err != nil {
		return err
	}
	var frames [][]byte
	for _, addr := range addrs {
		plain, err := checkVIP(addr)
		if err != nil {
			return &OpError{Op: op, Device: device, Address: addr, Err: err}
		}
		if !opt.Foreign && !slices.ContainsFunc(s.Addresses, func(a Address) bool { return a.Addr() == plain }) {
			return &OpError{Op: op, Device: device, Address: plain, Err: meaning{"the address is not on this machine", fs.ErrNotExist}}
		}
		forms := opt.Forms
		if plain.Is6() {
			forms = forms[:1]
		}
		for _, form := range forms {
			f, err := AnnounceFrame(form, plain, link.HardwareAddr, opt.Router)
			if err != nil {
				return err
			}
			frames = append(frames, f)
		}
	}
	p, err := openPacket(h.ns, link.Index, 0)
	if err != nil {
		return explain(op, device, netip.Addr{}, err)
	}
	defer func() { _ = p.close() }()
	err = schedule(ctx, opt, frames, p.send)
	return explain(op, device, netip.Addr{}, err)
}

// links reads what has to be known of devices and addresses to send something.
func (h *Host) links(ctx context.Context) (s State, err error) {
	k, err := h.open(ctx)
	if err != nil {
		return s, err
	}
	defer func() { _ = k.close() }()
	if s.Links, err = k.links(); err != nil {
		return s, err
	}
	s.Addresses, err = k.addresses()
	return s, err
}

// ethernet returns a device on which frames reach somebody.
func (s State) ethernet(op, device string, noCarrier bool) (Link, error) {
	l, ok := s.Link(device)
	var err error
	switch {
	case !ok && strings.Contains(device, ":"):
		err = meaning{"no such device; a name with a colon is a label of an address", fs.ErrNotExist}
	case !ok:
		err = meaning{"no such device", fs.ErrNotExist}
	case l.Flags&LinkLoopback != 0:
		err = ErrNoNeighbours
	case l.Type != hwEthernet || len(l.HardwareAddr) != 6 || slices.Equal(l.HardwareAddr, net.HardwareAddr(noMAC)):
		err = ErrNoHardwareAddress
	case !l.Resolves():
		err = ErrNoNeighbours
	case !l.Up():
		err = ErrDown
	case !l.Carrier() && !noCarrier:
		err = ErrNoCarrier
	}
	if err != nil {
		return Link{}, &OpError{Op: op, Device: device, Err: err}
	}
	return l, nil
}

// schedule sends all frames at each of the times.
func schedule(ctx context.Context, opt AnnounceOptions, frames [][]byte, send func([]byte) error) error {
	for round := range opt.Rounds {
		for i := range opt.Count {
			switch {
			case i > 0:
				if err := sleep(ctx, opt.Interval); err != nil {
					return err
				}
			case round > 0:
				if err := sleep(ctx, opt.RoundInterval); err != nil {
					return err
				}
			}
			for j, f := range frames {
				if j > 0 {
					if err := sleep(ctx, spacing); err != nil {
						return err
					}
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := send(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
