package ipvs

import (
	"math"
	"net/netip"
	"strings"
	"time"
)

// Service is the configuration of a virtual service.
//
// The kernel has no partial edit: [Client.SetService] replaces everything but the identity, so that a program reads a
// service, changes a field and writes it back.
type Service struct {
	// ID names the service.
	ID ServiceID `json:"id"`

	// Scheduler is the name of the algorithm, 1 to 15 bytes: rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh, twos
	// since Linux 5.10 where it is built, or "none", which schedules no new connection. The kernel loads the
	// scheduler's module by itself.
	Scheduler string `json:"scheduler"`

	// Flags of the service. Without [Persistent] the fields Timeout, Netmask and PE are stored but not used.
	Flags ServiceFlags `json:"flags,omitzero"`

	// FlagMask says which bits of Flags are written; the kernel keeps the others as they are, and clear in a new
	// service. Zero writes all of them. It is always zero in what this package returns.
	FlagMask ServiceFlags `json:"flagMask,omitzero"`

	// Timeout is how long a client stays with its server after its last new connection: whole seconds, at most
	// 4294967 (49 days), the longest time that kernels of every clock rate store unchanged. Zero is stored as such; the
	// kernel has no default, and ipvsadm's -p without a value sends 360 s.
	Timeout time.Duration `json:"timeout,omitzero"`

	// Netmask is applied to the client's address to tell clients apart: a mask of the service's family, such as
	// 255.255.255.0 or ffff:ffff:ffff:ffff::. An IPv4 mask may have holes; an IPv6 mask is a prefix of 1 to 128 bits.
	// The zero value means the whole address; what this package returns is always a mask.
	Netmask netip.Addr `json:"netmask,omitzero"`

	// PE names the persistence engine, at most 16 bytes; "sip" is the kernel's only one. Empty means none. The kernel
	// accepts an engine for any protocol, but uses it for UDP.
	PE string `json:"pe,omitzero"`
}

// ServiceStatus is a virtual service as the kernel reports it.
type ServiceStatus struct {
	Service
	Stats Stats `json:"stats"`
}

// MaskBits returns the netmask of the first n bits for a family, for the field Netmask of [Service]; the zero address
// if n is not between 0 and the family's 32 or 128 bits, or the family unknown.
func MaskBits(family Family, n int) netip.Addr {
	var all netip.Addr
	switch family {
	case IPv4:
		all = allOnes4
	case IPv6:
		all = allOnes6
	}
	p, err := all.Prefix(n)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

var (
	allOnes4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	allOnes6 = netip.AddrFrom16([16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
)

// prefixBits returns the number of leading ones of an IPv6 mask, and whether no other bit is set.
func prefixBits(mask netip.Addr) (int, bool) {
	b := mask.As16()
	n := 0
	for n < 128 && b[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	return n, MaskBits(IPv6, n) == mask
}

// The longest persistence timeout that a kernel with 1,000 clock ticks a second, the most there are, keeps in its 32
// bits of ticks; it would store a longer one as something else without an error.
const maxPersistence = math.MaxUint32 / 1000 * time.Second

// canonical checks the service before it is sent and completes it.
func (s Service) canonical(adding bool) (Service, error) {
	id, err := s.ID.canonical()
	if err != nil {
		return s, prefixField("ID", err)
	}
	s.ID = id
	if p := id.Protocol; adding && !id.IsMark() && p != TCP && p != UDP && p != SCTP {
		return s, fieldErrorf("ID.Protocol", "%v is not scheduled; TCP, UDP and SCTP are", p)
	}
	if s.Scheduler == "" {
		return s, fieldErrorf("Scheduler", "empty")
	}
	if err := checkName("Scheduler", s.Scheduler, maxSchedulerName); err != nil {
		return s, err
	}
	if err := checkName("PE", s.PE, maxPEName); err != nil {
		return s, err
	}
	if _, err := seconds("Timeout", s.Timeout, maxPersistence); err != nil {
		return s, err
	}
	family := id.AddrFamily()
	switch m := s.Netmask; {
	case !m.IsValid() && family == IPv4:
		s.Netmask = allOnes4
	case !m.IsValid():
		s.Netmask = allOnes6
	case m.Zone() != "":
		return s, fieldErrorf("Netmask", "%v has a zone", m)
	case family == IPv4 && !m.Is4(), family == IPv6 && !m.Is6():
		return s, fieldErrorf("Netmask", "%v does not fit an %v service", m, family)
	case family == IPv6:
		if n, ok := prefixBits(m); !ok || n == 0 {
			return s, fieldErrorf("Netmask", "%v is not a prefix of 1 to 128 bits", m)
		}
	}
	return s, nil
}

// checkName refuses a name that would reach the kernel as another one.
func checkName(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return fieldErrorf(field, "%q is longer than %d bytes", s, limit)
	case strings.IndexByte(s, 0) >= 0:
		return fieldErrorf(field, "%q contains a NUL", s)
	}
	return nil
}

// seconds converts a duration to the kernel's whole seconds.
func seconds(field string, d, limit time.Duration) (uint32, error) {
	switch {
	case d < 0:
		return 0, fieldErrorf(field, "%v is negative", d)
	case d%time.Second != 0:
		return 0, fieldErrorf(field, "%v is not a whole number of seconds", d)
	case d > limit:
		return 0, fieldErrorf(field, "%v is above %v", d, limit)
	}
	return uint32(d / time.Second), nil
}
