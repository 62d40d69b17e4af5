package nstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// IP protocol numbers.
const (
	ICMP   = 1
	IPIP   = 4
	TCP    = 6
	UDP    = 17
	IPv6   = 41
	GRE    = 47
	ICMPv6 = 58
	SCTP   = 132
)

// TCPFlags are the flags of a TCP header.
type TCPFlags uint8

// The TCP flags, with the header's values.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Packet is one IP packet, IPv4 or IPv6 by its addresses. The zero value of the optional fields gives an ordinary packet.
type Packet struct {
	Src, Dst netip.AddrPort // the ports are those of TCP or UDP, and zero for other protocols
	Proto    uint8          // TCP, UDP or another protocol, whose header and data are then the payload
	Flags    TCPFlags       // of TCP
	Seq, Ack uint32         // of TCP
	TTL      uint8          // time to live or hop limit; 0 means 64
	TOS      uint8          // type of service or traffic class
	ID       uint16         // identification of IPv4
	Payload  []byte         // what follows the TCP or UDP header, or the IP header of other protocols
}

// header sizes in bytes, without options.
const (
	ethernetHeader = 14
	ipv4Header     = 20
	ipv6Header     = 40
	tcpHeader      = 20
	udpHeader      = 8
)

// Marshal returns the packet as it goes over the wire, from the IP header on, with valid checksums. It fails if the
// addresses are not both valid, of one family and without a zone, or if the packet is too long.
func (p Packet) Marshal() ([]byte, error) {
	src, dst := p.Src.Addr().Unmap(), p.Dst.Addr().Unmap()
	if !src.IsValid() || !dst.IsValid() || src.Is4() != dst.Is4() || src.Zone() != "" || dst.Zone() != "" {
		return nil, fmt.Errorf("nstest: no packet goes from %v to %v", p.Src, p.Dst)
	}
	var transport []byte
	checksumAt := -1
	switch p.Proto {
	case TCP:
		transport = make([]byte, tcpHeader, tcpHeader+len(p.Payload))
		binary.BigEndian.PutUint32(transport[4:], p.Seq)
		binary.BigEndian.PutUint32(transport[8:], p.Ack)
		transport[12] = tcpHeader / 4 << 4
		transport[13] = byte(p.Flags)
		binary.BigEndian.PutUint16(transport[14:], 0xffff) // window
		checksumAt = 16
	case UDP:
		transport = make([]byte, udpHeader, udpHeader+len(p.Payload))
		binary.BigEndian.PutUint16(transport[4:], uint16(udpHeader+len(p.Payload)))
		checksumAt = 6
	}
	if checksumAt >= 0 {
		binary.BigEndian.PutUint16(transport[0:], p.Src.Port())
		binary.BigEndian.PutUint16(transport[2:], p.Dst.Port())
	}
	transport = append(transport, p.Payload...)
	if len(transport) > 0xffff-ipv4Header {
		return nil, fmt.Errorf("nstest: packet of %d bytes", len(transport))
	}
	if checksumAt >= 0 {
		sum := checksum(transport, pseudoSum(src, dst, p.Proto, len(transport)))
		if sum == 0 && p.Proto == UDP {
			sum = 0xffff // zero stands for no checksum
		}
		binary.BigEndian.PutUint16(transport[checksumAt:], sum)
	}

	ttl := p.TTL
	if ttl == 0 {
		ttl = 64
	}
	if src.Is4() {
		b := make([]byte, ipv4Header, ipv4Header+len(transport))
		b[0] = 4<<4 | ipv4Header/4
		b[1] = p.TOS
		binary.BigEndian.PutUint16(b[2:], uint16(ipv4Header+len(transport)))
		binary.BigEndian.PutUint16(b[4:], p.ID)
		b[8], b[9] = ttl, p.Proto
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(b, 0))
		return append(b, transport...), nil
	}
	b := make([]byte, ipv6Header, ipv6Header+len(transport))
	binary.BigEndian.PutUint32(b[0:], 6<<28|uint32(p.TOS)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(len(transport)))
	b[6], b[7] = p.Proto, ttl
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, transport...), nil
}

// ParsePacket reads a packet from its IP header on; bytes after the end that the header tells are ignored. It does not
// verify checksums, because those of captured packets are often left to hardware that is not there. IPv6 extension headers
// are not looked into: the first one is the protocol. The payload shares memory with b.
func ParsePacket(b []byte) (Packet, error) {
	if len(b) < 1 {
		return Packet{}, errShort
	}
	var p Packet
	var src, dst netip.Addr
	var rest []byte
	switch b[0] >> 4 {
	case 4:
		if len(b) < ipv4Header {
			return Packet{}, errShort
		}
		head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if head < ipv4Header || total < head || total > len(b) {
			return Packet{}, errShort
		}
		p.TOS, p.ID, p.TTL, p.Proto = b[1], binary.BigEndian.Uint16(b[4:]), b[8], b[9]
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		rest = b[head:total]
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // a later fragment has no ports
			p.Src, p.Dst, p.Payload = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0), rest
			return p, nil
		}
	case 6:
		if len(b) < ipv6Header {
			return Packet{}, errShort
		}
		total := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return Packet{}, errShort
		}
		p.TOS, p.Proto, p.TTL = byte(binary.BigEndian.Uint16(b[0:])>>4), b[6], b[7]
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		rest = b[ipv6Header:total]
	default:
		return Packet{}, fmt.Errorf("nstest: IP version %d", b[0]>>4)
	}
	var sport, dport uint16
	switch p.Proto {
	case TCP:
		if len(rest) < tcpHeader {
			return Packet{}, errShort
		}
		head := int(rest[12]>>4) * 4
		if head < tcpHeader || head > len(rest) {
			return Packet{}, errShort
		}
		p.Seq, p.Ack, p.Flags = binary.BigEndian.Uint32(rest[4:]), binary.BigEndian.Uint32(rest[8:]), TCPFlags(rest[13])
		sport, dport = binary.BigEndian.Uint16(rest[0:]), binary.BigEndian.Uint16(rest[2:])
		rest = rest[head:]
	case UDP:
		if len(rest) < udpHeader {
			return Packet{}, errShort
		}
		sport, dport = binary.BigEndian.Uint16(rest[0:]), binary.BigEndian.Uint16(rest[2:])
		rest = rest[udpHeader:]
	}
	p.Src, p.Dst, p.Payload = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport), rest
	return p, nil
}

var errShort = errors.New("nstest: packet too short")

// ChecksumsValid reports whether the IPv4 header's checksum and the TCP or UDP one of a packet are right.
func ChecksumsValid(b []byte) bool {
	p, err := ParsePacket(b)
	if err != nil {
		return false
	}
	head, total := ipv6Header, ipv6Header+int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 == 4 {
		head, total = int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if checksum(b[:head], 0) != 0 {
			return false
		}
	}
	if p.Proto != TCP && p.Proto != UDP {
		return true
	}
	transport := b[head:total]
	return checksum(transport, pseudoSum(p.Src.Addr(), p.Dst.Addr(), p.Proto, len(transport))) == 0
}

// checksum is the Internet checksum of RFC 1071.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// pseudoSum is the sum of the pseudo header of TCP and UDP.
func pseudoSum(src, dst netip.Addr, proto uint8, length int) uint32 {
	sum := uint32(proto) + uint32(length)
	for _, addr := range []netip.Addr{src, dst} {
		b := addr.AsSlice()
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
	}
	return sum
}
