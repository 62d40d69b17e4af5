package arp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Form is the shape of a gratuitous ARP packet. Neighbour discovery has only one.
type Form uint8

// Forms.
const (
	// RequestForm is a request for the address itself without a target hardware address: the announcement of RFC 5227,
	// and what the kernel sends for arp_notify.
	RequestForm Form = iota

	// RequestBroadcastForm is the same with ff:ff:ff:ff:ff:ff as target, as "arping -U" and keepalived send it.
	RequestBroadcastForm

	// ReplyForm is a reply to nobody, as "arping -A" sends it, for devices that ignore requests.
	ReplyForm
)

var formNames = [...]string{RequestForm: "request", RequestBroadcastForm: "request-broadcast", ReplyForm: "reply"}

// String returns "request", "request-broadcast" or "reply", or "form(N)".
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return "form(" + strconv.Itoa(int(f)) + ")"
}

// ParseForm is the inverse of String. The error matches fs.ErrInvalid.
func ParseForm(s string) (Form, error) {
	if i := slices.Index(formNames[:], s); i >= 0 {
		return Form(i), nil
	}
	return 0, fmt.Errorf("arp: form %q: %w", s, fs.ErrInvalid)
}

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noMAC     = make(net.HardwareAddr, 6)
	allNodes  = netip.MustParseAddr("ff02::1")
)

const (
	arpRequest = 1
	arpReply   = 2
	arpFrame   = 42 // bytes, header included, without padding

	icmpSolicit   = 135 // neighbour solicitation
	icmpAdvertise = 136
	optionSource  = 1 // link-layer addresses
	optionTarget  = 2

	flagRouter   = 0x80
	flagOverride = 0x20
)

// AnnounceFrame returns the Ethernet frame that tells all neighbours that addr is at the hardware address mac: a
// gratuitous ARP packet of 42 bytes for IPv4, an unsolicited neighbour advertisement of 86 bytes for IPv6, which says
// so if the machine is a router. The form is for IPv4 only.
//
// The error matches fs.ErrInvalid.
func AnnounceFrame(form Form, addr netip.Addr, mac net.HardwareAddr, router bool) ([]byte, error) {
	addr, err := checkVIP(addr)
	if err != nil {
		return nil, fmt.Errorf("arp: announce: %w", err)
	}
	if len(mac) != 6 {
		return nil, fmt.Errorf("arp: announce: hardware address %v: not Ethernet: %w", mac, fs.ErrInvalid)
	}
	if int(form) >= len(formNames) {
		return nil, fmt.Errorf("arp: announce: %v: unknown: %w", form, fs.ErrInvalid)
	}
	if addr.Is4() {
		switch form {
		case ReplyForm:
			return buildARP(arpReply, mac, addr, mac, addr), nil
		case RequestBroadcastForm:
			return buildARP(arpRequest, mac, addr, broadcast, addr), nil
		}
		return buildARP(arpRequest, mac, addr, noMAC, addr), nil
	}
	flags := uint8(flagOverride)
	if router {
		flags |= flagRouter
	}
	return buildND(icmpAdvertise, flags, mac, addr, allNodes, addr, optionTarget), nil
}

// buildARP returns a broadcast ARP frame.
func buildARP(op uint16, mac net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	b := make([]byte, 0, arpFrame)
	b = append(b, broadcast...)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, etherARP)
	b = append(b, 0, hwEthernet, 0x08, 0x00, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, mac...)
	b = append(b, sender.AsSlice()...)
	b = append(b, targetMAC...)
	return append(b, target.AsSlice()...)
}

// buildND returns a neighbour discovery frame to a multicast address. An option of 0 is none.
func buildND(typ, flags uint8, mac net.HardwareAddr, src, dst, target netip.Addr, option uint8) []byte {
	to := dst.As16()
	body := []byte{typ, 0, 0, 0, flags, 0, 0, 0}
	body = append(body, target.AsSlice()...)
	if option != 0 {
		body = append(append(body, option, 1), mac...)
	}
	pseudo := slices.Concat(src.AsSlice(), to[:], []byte{0, 0, 0, uint8(len(body)), 0, 0, 0, 58})
	binary.BigEndian.PutUint16(body[2:], checksum(pseudo, body))

	b := []byte{0x33, 0x33, to[12], to[13], to[14], to[15]}
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, uint8(len(body)), 58, 255)
	return slices.Concat(b, src.AsSlice(), to[:], body)
}

// checksum is that of RFC 1071 over parts of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// probeFrame returns the question for target: an ARP request, or a neighbour solicitation to the multicast address that
// the target listens to. An unspecified sender asks as a machine does that is about to take the address.
func probeFrame(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	if target.Is4() {
		return buildARP(arpRequest, mac, sender, noMAC, target)
	}
	option := uint8(optionSource)
	if sender.IsUnspecified() {
		option = 0
	}
	t := target.As16()
	node := netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	return buildND(icmpSolicit, 0, mac, sender, node, target, option)
}

// parseReply returns the hardware address that a frame tells for target in answer to a question. ok is false for all
// other frames, malformed ones included.
func parseReply(b []byte, target netip.Addr) (mac net.HardwareAddr, ok bool) {
	if len(b) < 14 {
		return nil, false
	}
	ether, from := binary.BigEndian.Uint16(b[12:]), b[6:12]
	switch {
	case target.Is4() && ether == etherARP && len(b) >= arpFrame:
		p := b[14:]
		want := target.As4()
		if !bytes.Equal(p[:6], []byte{0, hwEthernet, 0x08, 0x00, 6, 4}) || binary.BigEndian.Uint16(p[6:]) != arpReply || !bytes.Equal(p[14:18], want[:]) {
			return nil, false
		}
		return slices.Clone(p[8:14]), true
	case target.Is6() && ether == etherIPv6 && len(b) >= 14+40+24:
		p, want := b[14:], target.As16()
		length := int(binary.BigEndian.Uint16(p[4:]))
		if p[0]>>4 != 6 || p[6] != 58 || p[7] != 255 || length < 24 || len(p) < 40+length {
			return nil, false
		}
		body := p[40 : 40+length]
		if body[0] != icmpAdvertise || body[1] != 0 || !bytes.Equal(body[8:24], want[:]) {
			return nil, false
		}
		mac := slices.Clone(from)
		for opts := body[24:]; len(opts) >= 8 && opts[1] > 0 && len(opts) >= 8*int(opts[1]); opts = opts[8*int(opts[1]):] {
			if opts[0] == optionTarget && opts[1] == 1 {
				mac = slices.Clone(opts[2:8])
			}
		}
		return mac, true
	}
	return nil, false
}
