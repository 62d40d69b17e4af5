package ipvsadm

import (
	"context"
	"errors"
	"net/netip"

	"github.com/golvs/lvs/ipvs"
)

// ErrNoName is what a [Resolver] returns when there is no such name, or no name for a number.
var ErrNoName = errors.New("ipvsadm: no such name")

// Resolver turns names into numbers and back. An error of any kind means that there is no answer: ipvsadm prints numbers
// then, and refuses a name. An implementation must be safe for concurrent use.
type Resolver interface {
	// LookupHost returns the first IPv4 address of a host.
	LookupHost(ctx context.Context, name string) (netip.Addr, error)

	// LookupPort returns the port of a service such as "http"; case matters.
	LookupPort(ctx context.Context, p ipvs.Protocol, name string) (uint16, error)

	// HostName returns the name of an address of either family.
	HostName(ctx context.Context, addr netip.Addr) (string, error)

	// PortName returns the name of a service.
	PortName(ctx context.Context, p ipvs.Protocol, port uint16) (string, error)
}
