package arp

import (
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
)

// LinkFlags are the flags of a network device, with the kernel's values.
type LinkFlags uint32

// Flags of a network device that matter here; others are kept as they are.
const (
	LinkUp           LinkFlags = 0x1 // administratively up
	LinkBroadcast    LinkFlags = 0x2
	LinkLoopback     LinkFlags = 0x8
	LinkPointToPoint LinkFlags = 0x10
	LinkRunning      LinkFlags = 0x40
	LinkNoARP        LinkFlags = 0x80 // neither ARP nor neighbour discovery
	LinkMulticast    LinkFlags = 0x1000
	LinkLowerUp      LinkFlags = 0x10000 // has a carrier
)

var linkFlagNames = [...]struct {
	flag LinkFlags
	name string
}{
	{LinkUp, "up"}, {LinkBroadcast, "broadcast"}, {LinkLoopback, "loopback"}, {LinkPointToPoint, "pointtopoint"},
	{LinkRunning, "running"}, {LinkNoARP, "noarp"}, {LinkMulticast, "multicast"}, {LinkLowerUp, "lower_up"},
}

// String returns the names of the flags joined by "|", unknown ones in hexadecimal, and "0" for none.
func (f LinkFlags) String() string {
	var names []string
	for _, n := range linkFlagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
			f &^= n.flag
		}
	}
	if f != 0 || len(names) == 0 {
		if f == 0 {
			return "0"
		}
		names = append(names, "0x"+strconv.FormatUint(uint64(f), 16))
	}
	return strings.Join(names, "|")
}

// Link is a network device.
type Link struct {
	Index int
	Name  string

	// Kind is the kernel's name for the type of a software device, such as "dummy", "ipip" or "veth". Empty for hardware
	// and the loopback device.
	Kind string

	// Type is the hardware type (ARPHRD_…): 1 for Ethernet and all that looks like it, 772 for the loopback device, 768
	// and above for tunnels.
	Type uint16

	Flags        LinkFlags
	MTU          uint32           // bytes
	HardwareAddr net.HardwareAddr // of 6 bytes on Ethernet

	// Tunnel is set for the kinds of [TunnelKind].
	Tunnel *Tunnel
}

// Resolves says whether the device speaks ARP and neighbour discovery, so that an address of this machine can be asked
// for there. Loopback, dummy and tunnel devices do not.
func (l Link) Resolves() bool { return l.Flags&(LinkLoopback|LinkNoARP|LinkPointToPoint) == 0 }

// Up says whether the device is switched on.
func (l Link) Up() bool { return l.Flags&LinkUp != 0 }

// Carrier says whether the device is on and has a carrier: a cable, a port of a bridge that is up.
func (l Link) Carrier() bool { return l.Up() && l.Flags&LinkLowerUp != 0 }

// checkName refuses what cannot name a network device, or would be mistaken for another file below /proc/sys.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("device name %q: 1 to %d bytes are allowed: %w", name, maxName, fs.ErrInvalid)
	case name == "." || name == ".." || name == "all" || name == "default":
		return fmt.Errorf("device name %q: reserved: %w", name, fs.ErrInvalid)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("device name %q: blank, slash, colon or control character: %w", name, fs.ErrInvalid)
	}
	return nil
}
