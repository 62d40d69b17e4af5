package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"time"
)

// ftpPort is the port whose services take a client's other connections, too.
const ftpPort = 21

// protocolUDP is the only protocol that the engine sip reads.
const protocolUDP = 17

// EngineSIP is the name of the kernel's only persistence engine. It adds the Call-ID of SIP over UDP to the key.
const EngineSIP = "sip"

// ErrService says that a field of a Service does not go with the others.
var ErrService = errors.New("invalid persistent service")

// Service is what persistence reads of a virtual service: either by address, or by a firewall mark.
type Service struct {
	// Virtual is the address and port of a service by address. Port 0 takes all ports. It is not read if there is a Mark.
	Virtual netip.AddrPort

	// Mark is the firewall mark of the packets, 0 for a service by address.
	Mark uint32

	// Mask is applied to the client's address: a mask of the same family, such as 255.255.255.0 or ffff:ffff::. An IPv4
	// mask may have holes and may be 0.0.0.0, which makes all clients one. The kernel takes only a prefix of 1 to 128 bits
	// for IPv6. The zero value, and a mask of the other family, mean the whole address.
	Mask netip.Addr

	// Timeout is how long a template lives after the client's last new connection; whole seconds. A template copies it
	// when it is made. ipvsadm -p without a value means 360 s, and the kernel has no default. With 0 a template is gone
	// as soon as no connection needs it.
	Timeout time.Duration

	// Engine is the persistence engine: "sip", or empty for none.
	Engine string
}

// Check returns an error that matches ErrService if the kernel would refuse the service: a negative timeout, an unknown
// engine, an IPv6 mask that is no prefix of 1 to 128 bits.
func (s *Service) Check() error {
	switch {
	case s.Timeout < 0:
		return fmt.Errorf("persist: %w: timeout %v is negative", ErrService, s.Timeout)
	case s.Engine != "" && s.Engine != EngineSIP:
		return fmt.Errorf("persist: %w: unknown engine %q", ErrService, s.Engine)
	case s.Mask.Is6() && !isPrefix(s.Mask):
		return fmt.Errorf("persist: %w: %v is no prefix of 1 to 128 bits", ErrService, s.Mask)
	}
	return nil
}

// isPrefix reports whether an IPv6 mask is some ones and then zeros, and not all zeros.
func isPrefix(mask netip.Addr) bool {
	b := mask.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if hi != ^uint64(0) {
		return lo == 0 && hi != 0 && ^hi&(^hi+1) == 0
	}
	return ^lo&(^lo+1) == 0
}

// Form returns the form of persistence of the service.
func (s *Service) Form() Form {
	switch {
	case s.Mark != 0:
		return PNMPP
	case s.Virtual.Port() == 0:
		return PCC
	case s.Virtual.Port() == ftpPort:
		return FTP
	}
	return PPC
}

// port is the service's port, 0 for a mark.
func (s *Service) port() uint16 {
	if s.Mark != 0 {
		return 0
	}
	return s.Virtual.Port()
}

// Packet is what persistence reads of a packet that opens a connection.
type Packet struct {
	Protocol uint8          // IP protocol number: 6, 17 or 132
	Client   netip.AddrPort // source
	Virtual  netip.AddrPort // destination
	Payload  []byte         // what follows the UDP header; read by the engine sip only
}

// Key is what a template is found by.
type Key struct {
	Protocol uint8      // 0 for PNMPP
	Client   netip.Addr // with the mask applied

	// Virtual is the virtual address and the port, which is 0 but for PPC. For PNMPP the address is the mark: as an
	// IPv4 address in network order (10 is 0.0.0.10), or as the first four bytes of an IPv6 address (7 is 0:7::).
	Virtual netip.AddrPort

	// Data is what the persistence engine found, the Call-ID; empty without an engine.
	Data string
}

// hash mixes by multiplication to twice the width.
func (k *Key) hash() uint64 {
	c, v := k.Client.As16(), k.Virtual.Addr().As16()
	h := mix(binary.BigEndian.Uint64(c[8:])^0x9e3779b97f4a7c15, uint64(k.Virtual.Port())<<8^uint64(k.Protocol)^0xd1b54a32d192ed03)
	h = mix(h^binary.BigEndian.Uint64(c[:8]), binary.BigEndian.Uint64(v[8:])^0xeb44accab455d165)
	h = mix(h^binary.BigEndian.Uint64(v[:8]), 0x8cb92ba72f3d8dd7)
	for i := range len(k.Data) {
		h = mix(h^uint64(k.Data[i]), 0x9e3779b97f4a7c15)
	}
	return h
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Key returns the key of the packet's template. It does not check that the packet belongs to the service.
//
// The error matches ErrCallID if the service has the engine sip and it fails; the kernel then drops the packet.
func (s *Service) Key(p *Packet) (Key, error) {
	k := Key{Protocol: p.Protocol, Client: Masked(p.Client.Addr(), s.Mask)}
	addr, port := p.Virtual.Addr().Unmap(), uint16(0)
	switch {
	case p.Virtual.Port() == s.port():
		// A packet to port 0 counts as one to its service's port, also if that is by mark.
		if port = s.port(); port == ftpPort {
			port = 0
		}
	case s.Mark != 0:
		k.Protocol, addr = 0, MarkAddr(s.Mark, addr.Is6())
	}
	k.Virtual = netip.AddrPortFrom(addr, port)
	if s.Engine == EngineSIP {
		if p.Protocol != protocolUDP {
			return Key{}, fmt.Errorf("persist: protocol %d: %w", p.Protocol, ErrCallID)
		}
		id, err := CallID(p.Payload)
		if err != nil {
			return Key{}, err
		}
		k.Data = id
	}
	return k, nil
}

// MarkAddr returns a firewall mark as the virtual address of a template.
func MarkAddr(mark uint32, ipv6 bool) netip.Addr {
	if ipv6 {
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], mark)
		return netip.AddrFrom16(b)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], mark)
	return netip.AddrFrom4(b)
}

// storesPort reports whether the template of a packet to port vport shows the server's port. Others show 0.
func (s *Service) storesPort(vport uint16) bool { return vport == s.port() && vport != ftpPort }

// Port returns the port at the server of a connection to port vport, given the configured port of the server: that one
// for packets to the service's port, unless it is 0, and otherwise the packet's own.
func (s *Service) Port(vport, server uint16) uint16 {
	if vport == s.port() && server != 0 {
		return server
	}
	return vport
}

// Masked applies a service's mask to a client's address: the bits of both. The whole address is returned if the mask is the
// zero value or of another family. IPv4-mapped addresses count as IPv4.
func Masked(addr, mask netip.Addr) netip.Addr {
	addr, mask = addr.Unmap(), mask.Unmap()
	switch {
	case addr.Is4() && mask.Is4():
		a, m := addr.As4(), mask.As4()
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])&binary.BigEndian.Uint32(m[:]))
		return netip.AddrFrom4(a)
	case addr.Is6() && mask.Is6():
		a, m := addr.As16(), mask.As16()
		for i := range a {
			a[i] &= m[i]
		}
		return netip.AddrFrom16(a)
	}
	return addr
}
