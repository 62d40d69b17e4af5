package arp

import (
	"encoding/binary"
	"net/netip"

	"github.com/josharian/native"
	"github.com/mdlayher/netlink"
)

const (
	flagsAdd    = netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl
	flagsChange = netlink.Request | netlink.Acknowledge
	flagsDump   = netlink.Request | netlink.Dump
)

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return afInet
	}
	return afInet6
}

// message joins a family's fixed header and the attributes.
func message(typ uint16, flags netlink.HeaderFlags, header []byte, attrs func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: flags}, Data: header}
	if attrs == nil {
		return m, nil
	}
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, err
	}
	m.Data = append(m.Data, b...)
	return m, nil
}

// nested encodes attributes in an attribute, without the flag that says so, which rtnetlink does not ask for.
func nested(ae *netlink.AttributeEncoder, typ uint16, attrs func(*netlink.AttributeEncoder)) {
	ae.Do(typ, func() ([]byte, error) {
		in := netlink.NewAttributeEncoder()
		attrs(in)
		return in.Encode()
	})
}

// addressHeader is struct ifaddrmsg.
func addressHeader(p netip.Prefix, flags uint8, scope Scope, index int) []byte {
	h := []byte{family(p.Addr()), uint8(p.Bits()), flags, uint8(scope), 0, 0, 0, 0}
	native.Endian.PutUint32(h[4:], uint32(index))
	return h
}

func encodeAddAddress(a Address, index int) (netlink.Message, error) {
	var flags uint8
	deprecated := a.Addr().Is6() && a.Flags&AddressDeprecated != 0
	if a.Addr().Is6() && !deprecated && a.Flags&AddressNoDAD != 0 {
		flags = uint8(AddressNoDAD)
	}
	return message(typeNewAddr, flagsAdd, addressHeader(a.Prefix, flags, a.Scope, index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(ifaLocal, a.Addr().AsSlice())
		ae.Bytes(ifaAddress, a.Addr().AsSlice())
		if a.Addr().Is4() && a.Label != "" && a.Label != a.Device {
			ae.String(ifaLabel, a.Label)
		}
		if deprecated {
			ae.Uint32(ifaFlags, uint32(a.Flags&AddressNoDAD|ifaFNoPrefix))
			cache := make([]byte, 16) // preferred for 0 s, valid for ever
			native.Endian.PutUint32(cache[4:], ^uint32(0))
			ae.Bytes(ifaCacheInfo, cache)
		}
	})
}

// encodeDeleteAddress names the address in full: without its length the kernel would take every one alike.
func encodeDeleteAddress(a Address, index int) (netlink.Message, error) {
	return message(typeDelAddr, flagsChange, addressHeader(a.Prefix, 0, 0, index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(ifaLocal, a.Addr().AsSlice())
		if a.Addr().Is4() {
			ae.Bytes(ifaAddress, a.Addr().AsSlice())
		}
	})
}

func encodeDumpAddresses(fam uint8) (netlink.Message, error) {
	return message(typeGetAddr, flagsDump, []byte{fam, 0, 0, 0, 0, 0, 0, 0}, nil)
}

// linkHeader is struct ifinfomsg.
func linkHeader(index int, flags, change LinkFlags) []byte {
	h := make([]byte, 16)
	native.Endian.PutUint32(h[4:], uint32(index))
	native.Endian.PutUint32(h[8:], uint32(flags))
	native.Endian.PutUint32(h[12:], uint32(change))
	return h
}

func encodeAddDummy(name string) (netlink.Message, error) {
	return message(typeNewLink, flagsAdd, linkHeader(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(iflaName, name)
		nested(ae, iflaLinkInfo, func(info *netlink.AttributeEncoder) { info.String(infoKind, kindDummy) })
	})
}

const kindDummy = "dummy"

func encodeAddTunnel(t Tunnel) (netlink.Message, error) {
	local, remote := uint16(iptunLocal), uint16(iptunRemote)
	if t.Kind == GRE || t.Kind == IP6GRE {
		local, remote = greLocal, greRemote
	}
	return message(typeNewLink, flagsAdd, linkHeader(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(iflaName, t.Name)
		nested(ae, iflaLinkInfo, func(info *netlink.AttributeEncoder) {
			info.String(infoKind, t.Kind.String())
			if t.Checksum || t.Local.IsValid() || t.Remote.IsValid() {
				nested(info, infoData, func(data *netlink.AttributeEncoder) {
					if t.Checksum {
						data.Bytes(greIFlags, binary.BigEndian.AppendUint16(nil, greCsum))
						data.Bytes(greOFlags, binary.BigEndian.AppendUint16(nil, greCsum))
					}
					if t.Local.IsValid() {
						data.Bytes(local, t.Local.AsSlice())
					}
					if t.Remote.IsValid() {
						data.Bytes(remote, t.Remote.AsSlice())
					}
				})
			}
		})
	})
}

func encodeSetLink(index int, up bool) (netlink.Message, error) {
	var flags LinkFlags
	if up {
		flags = LinkUp
	}
	return message(typeNewLink, flagsChange, linkHeader(index, flags, LinkUp), nil)
}

func encodeDeleteLink(index int) (netlink.Message, error) {
	return message(typeDelLink, flagsChange, linkHeader(index, 0, 0), nil)
}

func encodeDumpLinks() (netlink.Message, error) {
	return message(typeGetLink, flagsDump, linkHeader(0, 0, 0), nil)
}

// encodeDumpLocal asks for the table that says which packets are for this machine. The header is struct rtmsg.
func encodeDumpLocal(fam uint8) (netlink.Message, error) {
	return message(typeGetRoute, flagsDump, []byte{fam, 0, 0, 0, tableLocal, 0, 0, 0, 0, 0, 0, 0}, nil)
}

// encodeDumpProxies asks for the proxy entries of the neighbour table. The header is struct ndmsg.
func encodeDumpProxies(fam uint8) (netlink.Message, error) {
	return message(typeGetNeigh, flagsDump, []byte{fam, 0, 0, 0, 0, 0, 0, 0, 0, 0, ntfProxy, 0}, nil)
}

// genericHeader is struct genlmsghdr, version 1.
func genericHeader(cmd uint8) []byte { return []byte{cmd, 1, 0, 0} }

func encodeGetFamily(name string) (netlink.Message, error) {
	// Without an acknowledgement, which would come in a message of its own after the answer.
	return message(typeCtrl, netlink.Request, genericHeader(ctrlGetFamily), func(ae *netlink.AttributeEncoder) {
		ae.String(ctrlFamilyName, name)
	})
}

func encodeDumpFamilies() (netlink.Message, error) {
	return message(typeCtrl, flagsDump, genericHeader(ctrlGetFamily), nil)
}

// encodeFOU adds (fouAdd) or deletes (fouDel) a port.
func encodeFOU(id uint16, cmd uint8, p FOUPort) (netlink.Message, error) {
	return message(id, flagsChange, genericHeader(cmd), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(fouPort, binary.BigEndian.AppendUint16(nil, p.Port))
		af := uint8(afInet)
		if p.IPv6 {
			af = afInet6
		}
		ae.Uint8(fouAF, af)
		if cmd != fouAdd {
			return
		}
		if p.Protocol == 0 {
			ae.Uint8(fouType, fouTypeGUE)
			return
		}
		ae.Uint8(fouProto, p.Protocol)
		ae.Uint8(fouType, fouTypePlain)
	})
}

func encodeDumpFOU(id uint16) (netlink.Message, error) {
	return message(id, flagsDump, genericHeader(fouGet), nil)
}
