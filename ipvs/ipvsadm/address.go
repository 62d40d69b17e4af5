package ipvsadm

import (
	"context"
	"math"
	"net/netip"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// address reads what -t, -u, --sctp-service and -r take: an address with or without a port. Without a protocol, ports
// have no names. An IPv4-mapped address stays an IPv6 one.
func (p *Parser) address(ctx context.Context, proto ipvs.Protocol, s string) (addr netip.AddrPort, hasPort, ok bool) {
	if addr, ok := plainAddrPort(s); ok {
		return addr, true, true
	}
	if strings.Trim(s, "0123456789") == "" {
		return addr, false, false
	}
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		host, port, ok = strings.Cut(s[1:], "]:")
		if !ok || strings.Contains(host, "]") {
			return addr, false, false
		}
		hasPort = true
	}
	a, ok := parseIPv6(host)
	if !ok {
		// Brackets around anything else just go, and the port behind them with them.
		if host, port, hasPort = cutLast(host, ":"); host == "" {
			return addr, false, false
		}
		if a, ok = p.ipv4(ctx, host); !ok {
			return addr, false, false
		}
	}
	if !hasPort {
		return netip.AddrPortFrom(a, 0), false, true
	}
	n, ok := p.port(ctx, proto, port)
	return netip.AddrPortFrom(a, n), true, ok
}

// plainAddrPort reads the form that programs write, four decimal numbers and a port, and nothing else.
func plainAddrPort(s string) (netip.AddrPort, bool) {
	var addr [4]byte
	i := 0
	for part := range addr {
		n, start := uint(0), i
		for ; i < len(s) && i < start+3 && '0' <= s[i] && s[i] <= '9'; i++ {
			n = n*10 + uint(s[i]-'0')
		}
		end := byte('.')
		if part == 3 {
			end = ':'
		}
		leadingZero := i > start+1 && s[start] == '0' // octal
		if i == start || i >= len(s) || s[i] != end || n > 255 || leadingZero {
			return netip.AddrPort{}, false
		}
		addr[part] = byte(n)
		i++
	}
	n, start := uint(0), i
	for ; i < len(s) && i < start+5 && '0' <= s[i] && s[i] <= '9'; i++ {
		n = n*10 + uint(s[i]-'0')
	}
	if i == start || i < len(s) || n > math.MaxUint16 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4(addr), uint16(n)), true
}

// parseIPv6 reads an IPv6 address without a zone.
func parseIPv6(s string) (netip.Addr, bool) {
	if strings.Count(s, ":") < 2 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == ""
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// ipv4 reads a number or a host's name.
func (p *Parser) ipv4(ctx context.Context, s string) (netip.Addr, bool) {
	if a, ok := parseIPv4(s); ok {
		return a, true
	}
	if s == "" || p.Resolver == nil {
		return netip.Addr{}, false
	}
	a, err := p.Resolver.LookupHost(ctx, s)
	return a, err == nil && a.Is4()
}

func (p *Parser) port(ctx context.Context, proto ipvs.Protocol, s string) (uint16, bool) {
	if n, ok := number(s, 0, math.MaxUint16); ok {
		return uint16(n), true
	}
	if s == "" || proto == 0 || p.Resolver == nil {
		return 0, false
	}
	// What is a number, but out of range or followed by something, is looked up too, in vain.
	n, err := p.Resolver.LookupPort(ctx, proto, s)
	return n, err == nil
}
