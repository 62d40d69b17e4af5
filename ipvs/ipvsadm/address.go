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
