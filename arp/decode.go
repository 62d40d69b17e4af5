package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/josharian/native"
	"github.com/mdlayher/netlink"
)

var errShort = errors.New("message is too short")

// attributes returns the decoder for what follows a header of size bytes.
func attributes(b []byte, size int) (*netlink.AttributeDecoder, error) {
	if len(b) < size {
		return nil, errShort
	}
	return netlink.NewAttributeDecoder(b[size:])
}

// ip reads an address of the family.
func ip(fam uint8, b []byte) (netip.Addr, error) {
	switch {
	case fam == afInet && len(b) == 4:
		return netip.AddrFrom4([4]byte(b)), nil
	case fam == afInet6 && len(b) == 16:
		return netip.AddrFrom16([16]byte(b)), nil
	}
	return netip.Addr{}, fmt.Errorf("family %d with %d address bytes", fam, len(b))
}

// decodeAddress returns an address and the index of its device. ok is false for other families than the IPs.
func decodeAddress(b []byte) (a Address, index int, ok bool, err error) {
	ad, err := attributes(b, 8)
	if err != nil {
		return a, 0, false, err
	}
	fam, bits := b[0], int(b[1])
	if fam != afInet && fam != afInet6 {
		return a, 0, false, nil
	}
	a.Flags, a.Scope, index = AddressFlags(b[2]), Scope(b[3]), int(native.Endian.Uint32(b[4:]))
	var local, address []byte
	for ad.Next() {
		switch ad.Type() {
		case ifaLocal:
			local = ad.Bytes()
		case ifaAddress:
			address = ad.Bytes()
		case ifaLabel:
			a.Label = ad.String()
		case ifaFlags:
			a.Flags = AddressFlags(ad.Uint32())
		} // a newer kernel may send more: skip it
	}
	if err := ad.Err(); err != nil {
		return a, 0, false, err
	}
	if local == nil {
		local = address // IPv6; with both, IPv4's ADDRESS is the peer's
	}
	addr, err := ip(fam, local)
	if err != nil {
		return a, 0, false, err
	}
	if a.Prefix = netip.PrefixFrom(addr, bits); !a.Prefix.IsValid() {
		return a, 0, false, fmt.Errorf("prefix length %d of %v", bits, addr)
	}
	return a, index, true, nil
}

func decodeLink(b []byte) (Link, error) {
	ad, err := attributes(b, 16)
	if err != nil {
		return Link{}, err
	}
	l := Link{
		Type: native.Endian.Uint16(b[2:]), Index: int(native.Endian.Uint32(b[4:])), Flags: LinkFlags(native.Endian.Uint32(b[8:])),
	}
	var data []byte
	for ad.Next() {
		switch ad.Type() {
		case iflaName:
			l.Name = ad.String()
		case iflaMTU:
			l.MTU = ad.Uint32()
		case iflaAddress:
			l.HardwareAddr = slices.Clone(ad.Bytes())
		case iflaLinkInfo:
			ad.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					switch info.Type() {
					case infoKind:
						l.Kind = info.String()
					case infoData:
						data = info.Bytes()
					}
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Link{}, err
	}
	if kind, err := ParseTunnelKind(l.Kind); err == nil {
		t, err := decodeTunnel(kind, data)
		if err != nil {
			return Link{}, fmt.Errorf("device %s: %w", l.Name, err)
		}
		t.Name = l.Name
		l.Tunnel = &t
	}
	return l, nil
}

func decodeTunnel(kind TunnelKind, data []byte) (Tunnel, error) {
	t := Tunnel{Kind: kind}
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return t, err
	}
	gre := kind == GRE || kind == IP6GRE
	fam := uint8(afInet)
	if tunnelKinds[kind].outer == 128 {
		fam = afInet6
	}
	end := func(dst *netip.Addr) func([]byte) error {
		return func(b []byte) error {
			a, err := ip(fam, b)
			if err == nil && !a.IsUnspecified() {
				*dst = a
			}
			return err
		}
	}
	for ad.Next() {
		switch typ := ad.Type(); {
		case !gre && typ == iptunLocal || gre && typ == greLocal:
			ad.Do(end(&t.Local))
		case !gre && typ == iptunRemote || gre && typ == greRemote:
			ad.Do(end(&t.Remote))
		case gre && typ == greIFlags:
			ad.Do(func(b []byte) error {
				if len(b) != 2 {
					return errShort
				}
				t.Checksum = binary.BigEndian.Uint16(b)&greCsum != 0
				return nil
			})
		}
	}
	return t, ad.Err()
}

// decodeLocal returns the destination of a route of type local in table local. ok is false for other routes.
func decodeLocal(b []byte) (p netip.Prefix, index int, ok bool, err error) {
	ad, err := attributes(b, 12)
	if err != nil {
		return p, 0, false, err
	}
	fam, bits, table, typ := b[0], int(b[1]), uint32(b[4]), b[7]
	if fam != afInet && fam != afInet6 {
		return p, 0, false, nil
	}
	addr := netip.IPv6Unspecified()
	if fam == afInet {
		addr = netip.IPv4Unspecified()
	}
	for ad.Next() {
		switch ad.Type() {
		case rtaDst:
			ad.Do(func(b []byte) (err error) { addr, err = ip(fam, b); return err })
		case rtaOIF:
			index = int(ad.Uint32())
		case rtaTable:
			table = ad.Uint32()
		}
	}
	if err := ad.Err(); err != nil {
		return p, 0, false, err
	}
	if p = netip.PrefixFrom(addr, bits); !p.IsValid() {
		return p, 0, false, fmt.Errorf("prefix length %d of %v", bits, addr)
	}
	return p, index, table == tableLocal && typ == rtnLocal, nil
}

// decodeProxy returns the address of a proxy entry of the neighbour table. ok is false for other entries.
func decodeProxy(b []byte) (addr netip.Addr, index int, ok bool, err error) {
	ad, err := attributes(b, 12)
	if err != nil {
		return addr, 0, false, err
	}
	fam := b[0]
	if fam != afInet && fam != afInet6 || b[10]&ntfProxy == 0 {
		return addr, 0, false, nil
	}
	for ad.Next() {
		if ad.Type() == ndaDst {
			ad.Do(func(b []byte) (err error) { addr, err = ip(fam, b); return err })
		}
	}
	if err := ad.Err(); err != nil {
		return addr, 0, false, err
	}
	return addr, int(native.Endian.Uint32(b[4:])), addr.IsValid(), nil
}

// decodeFamily returns the name and number of a generic netlink family.
func decodeFamily(b []byte) (name string, id uint16, err error) {
	ad, err := attributes(b, 4)
	if err != nil {
		return "", 0, err
	}
	for ad.Next() {
		switch ad.Type() {
		case ctrlFamilyID:
			id = ad.Uint16()
		case ctrlFamilyName:
			name = ad.String()
		}
	}
	if err := ad.Err(); err != nil {
		return "", 0, err
	}
	if id == 0 || name == "" {
		return "", 0, errors.New("family without a name or number")
	}
	return name, id, nil
}

func decodeFOU(b []byte) (p FOUPort, err error) {
	ad, err := attributes(b, 4)
	if err != nil {
		return p, err
	}
	var typ uint8
	for ad.Next() {
		switch ad.Type() {
		case fouPort:
			ad.Do(func(b []byte) error {
				if len(b) != 2 {
					return errShort
				}
				p.Port = binary.BigEndian.Uint16(b)
				return nil
			})
		case fouAF:
			p.IPv6 = ad.Uint8() == afInet6
		case fouProto:
			p.Protocol = ad.Uint8()
		case fouType:
			typ = ad.Uint8()
		}
	}
	if typ == fouTypeGUE {
		p.Protocol = 0
	}
	return p, ad.Err()
}
