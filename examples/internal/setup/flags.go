package setup

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// AddrVar defines a flag for an IP address without a zone. A 4-in-6 address becomes an IPv4 one.
func AddrVar(fs *flag.FlagSet, p *netip.Addr, name, usage string) {
	fs.Func(name, usage, func(s string) error {
		a, err := parseAddr(s)
		if err == nil {
			*p = a
		}
		return err
	})
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an address", s)
	}
	return a.Unmap(), nil
}

// PortVar defines a flag for a port from 1 to 65535.
func PortVar(fs *flag.FlagSet, p *uint16, name, usage string) {
	fs.Func(name, usage, func(s string) (err error) {
		*p, err = parsePort(s)
		return err
	})
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("a port is a number from 1 to 65535")
	}
	return uint16(n), nil
}

// ProtocolVar defines a flag for tcp, udp or sctp.
func ProtocolVar(fs *flag.FlagSet, p *ipvs.Protocol, name, usage string) {
	fs.Func(name, usage, func(s string) error {
		q, err := ipvs.ParseProtocol(s)
		if err != nil || q != ipvs.TCP && q != ipvs.UDP && q != ipvs.SCTP {
			return fmt.Errorf("protocol %q is none of tcp, udp and sctp", s)
		}
		*p = q
		return nil
	})
}

// PrefixesVar defines a flag for networks separated by commas. The flag may be repeated.
func PrefixesVar(fs *flag.FlagSet, p *[]netip.Prefix, name, usage string) {
	fs.Func(name, usage, func(s string) error {
		for word := range strings.SplitSeq(s, ",") {
			prefix, err := netip.ParsePrefix(word)
			if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
				return fmt.Errorf("%q is not a network such as 192.0.2.0/24", word)
			}
			*p = append(*p, prefix)
		}
		return nil
	})
}

// RealServer is a real server as it is named on a command line.
type RealServer struct {
	Addr   netip.Addr
	Port   uint16 // 0 is that of the service
	Weight uint32
}

// RealServers is a flag value: real servers separated by commas, each ADDRESS, ADDRESS=WEIGHT, ADDRESS:PORT or
// ADDRESS:PORT=WEIGHT, an IPv6 address with a port in brackets. Without a weight it is 1. The flag may be repeated.
type RealServers []RealServer

// String returns the servers in the form that Set reads.
func (r RealServers) String() string {
	words := make([]string, len(r))
	for i, s := range r {
		words[i] = s.Addr.String()
		if s.Port != 0 {
			words[i] = netip.AddrPortFrom(s.Addr, s.Port).String()
		}
		if s.Weight != 1 {
			words[i] += "=" + strconv.FormatUint(uint64(s.Weight), 10)
		}
	}
	return strings.Join(words, ",")
}

// Set adds servers.
func (r *RealServers) Set(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		s, err := parseRealServer(word)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(*r, func(o RealServer) bool { return o.Addr == s.Addr && o.Port == s.Port }) {
			return fmt.Errorf("real server %v is there twice", s.Addr)
		}
		*r = append(*r, s)
	}
	return nil
}

func parseRealServer(word string) (RealServer, error) {
	text, weight, weighted := strings.Cut(word, "=")
	s := RealServer{Weight: 1}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Addr().Zone() == "" && ap.Port() != 0 {
		s.Addr, s.Port = ap.Addr().Unmap(), ap.Port()
	} else if s.Addr, err = parseAddr(text); err != nil {
		return s, fmt.Errorf("real server %q is not an address", text)
	}
	if weighted {
		n, err := strconv.ParseUint(weight, 10, 31)
		if err != nil {
			return s, fmt.Errorf("weight %q of %v is not a number from 0 to 2147483647", weight, s.Addr)
		}
		s.Weight = uint32(n)
	}
	return s, nil
}

// Destinations returns the servers as destinations of a service at a port, each made from the template but for its
// address and weight.
func (r RealServers) Destinations(port uint16, template ipvs.Destination) []ipvs.Destination {
	list := make([]ipvs.Destination, len(r))
	for i, s := range r {
		list[i] = template
		list[i].Addr, list[i].Weight = netip.AddrPortFrom(s.Addr, port), s.Weight
		if s.Port != 0 {
			list[i].Addr = netip.AddrPortFrom(s.Addr, s.Port)
		}
	}
	return list
}
