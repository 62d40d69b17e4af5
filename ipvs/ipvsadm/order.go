package ipvsadm

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/golvs/lvs/ipvs"
)

// sorted returns the services in an order, each with its destinations in that order. The table is not changed.
func (t Table) sorted(o Order) []ipvs.ServiceSnapshot {
	if o == KernelOrder {
		return t.Services
	}
	order, addr := compareServices, cmp.Compare[uint32]
	if o == CompatibleOrder {
		addr = wrapped
	}
	services := slices.Clone(t.Services)
	services = mergeSorted(services, func(a, b *ipvs.ServiceSnapshot) int { return order(a.ID, b.ID, addr) })
	for i := range services {
		s := &services[i]
		s.Destinations = mergeSorted(slices.Clone(s.Destinations), func(a, b *ipvs.DestinationStatus) int {
			return compareAddrPorts(a.Addr, b.Addr, addr)
		})
	}
	return services
}

// wrapped compares as ipvsadm does: by the sign of the difference in 32 bits, which is no order when three values are
// far apart.
func wrapped(a, b uint32) int { return cmp.Compare(int32(a-b), 0) }

func compareServices(a, b ipvs.ServiceID, number func(a, b uint32) int) int {
	return cmp.Or(
		number(a.FWMark, b.FWMark),
		cmp.Compare(a.AddrFamily(), b.AddrFamily()),
		cmp.Compare(a.Protocol, b.Protocol),
		compareAddrPorts(a.Addr, b.Addr, number),
	)
}

func compareAddrPorts(a, b netip.AddrPort, number func(a, b uint32) int) int {
	return cmp.Or(compareAddrs(a.Addr(), b.Addr(), number), cmp.Compare(a.Port(), b.Port()))
}

// compareAddrs compares 32 bits at a time: of IPv4 as many as there are, and the kernel's field for an IPv4 address is
// filled with zeros when it is compared with an IPv6 one.
func compareAddrs(a, b netip.Addr, number func(a, b uint32) int) int {
	wa, wb := addrWords(a), addrWords(b)
	n := 4
	if a.Is4() {
		n = 1
	}
	for i := range n {
		if c := number(wa[i], wb[i]); c != 0 {
			return c
		}
	}
	return 0
}

func addrWords(a netip.Addr) (w [4]uint32) {
	if !a.IsValid() {
		return w
	}
	for i, b := 0, a.AsSlice(); len(b) > 0; i, b = i+1, b[4:] {
		w[i] = binary.BigEndian.Uint32(b)
	}
	return w
}

// mergeSorted sorts as the C library's qsort does, step by step: where the comparison is no order, the algorithm decides.
func mergeSorted[T any](list []T, compare func(a, b *T) int) []T {
	if len(list) < 2 {
		return list
	}
	half := len(list) / 2
	a := mergeSorted(list[:half], compare)
	b := mergeSorted(list[half:], compare)
	merged := make([]T, 0, len(list))
	for len(a) > 0 && len(b) > 0 {
		if compare(&a[0], &b[0]) <= 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}
