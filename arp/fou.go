package arp

import (
	"fmt"
	"io/fs"
	"strconv"
)

// FOUPort is a UDP port at which the kernel takes off an encapsulation in UDP: GUE for the tunnel type gue of IPVS. The
// packet inside goes on to a tunnel device, IPIP for IPv4.
type FOUPort struct {
	Port uint16 `json:"port"` // 1 to 65535, the director's --tun-port

	// IPv6 says that the outer packets are IPv6, for which the module is fou6 instead of fou.
	IPv6 bool `json:"ipv6,omitempty"`

	// Protocol is that of plain foo-over-UDP, such as 4 for IPv4. Zero means GUE, whose header tells the protocol; that
	// is what IPVS sends.
	Protocol uint8 `json:"protocol,omitempty"`
}

// String returns the port as ip-fou(8) would be told it: "port 5555 gue".
func (p FOUPort) String() string {
	s := "port " + strconv.Itoa(int(p.Port))
	if p.Protocol == 0 {
		s += " gue"
	} else {
		s += " ipproto " + strconv.Itoa(int(p.Protocol))
	}
	if p.IPv6 {
		s += " over IPv6"
	}
	return s
}

// Module returns the kernel module that is needed.
func (p FOUPort) Module() string {
	if p.IPv6 {
		return "fou6"
	}
	return "fou"
}

func (p FOUPort) valid() error {
	if p.Port == 0 {
		return fmt.Errorf("fou port 0: %w", fs.ErrInvalid)
	}
	return nil
}
