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
	services := make([]ipvs.ServiceSnapshot, 0, len(t.Services))
	t.walk(o, func(s *ipvs.ServiceSnapshot) {
		services = append(services, ipvs.ServiceSnapshot{
			ServiceStatus: s.ServiceStatus, Destinations: make([]ipvs.DestinationStatus, 0, len(s.Destinations)),
		})
	}, func(_ *ipvs.ServiceSnapshot, d *ipvs.DestinationStatus) {
		last := &services[len(services)-1]
		last.Destinations = append(last.Destinations, *d)
	})
	return services
}

// walk visits each service and then its destinations, all in an order.
func (t Table) walk(
	o Order, service func(*ipvs.ServiceSnapshot), destination func(*ipvs.ServiceSnapshot, *ipvs.DestinationStatus),
) {
	s := sorter{order: o}
	keys := make([]sortKey, len(t.Services))
	for i := range keys {
		id := &t.Services[i].ID
		keys[i] = sortKey{mark: id.FWMark, family: id.AddrFamily(), protocol: id.Protocol, index: i}
		keys[i].set(id.Addr)
	}
	s.sort(keys)
	var dests []sortKey
	for i := range keys {
		svc := &t.Services[keys[i].index]
		service(svc)
		dests = slices.Grow(dests[:0], len(svc.Destinations))[:len(svc.Destinations)]
		for j := range dests {
			dests[j] = sortKey{index: j}
			dests[j].set(svc.Destinations[j].Addr)
		}
		s.sort(dests)
		for j := range dests {
			destination(svc, &svc.Destinations[dests[j].index])
		}
	}
}

// sortKey is what a service or a destination is sorted by, and its place in the list.
type sortKey struct {
	mark     uint32
	family   ipvs.Family
	protocol ipvs.Protocol
	words    [4]uint32 // of the address
	count    int       // of words that are compared
	port     uint16
	index    int
}

// set takes 32 bits at a time: of IPv4 as many as there are, and the kernel's field for an IPv4 address is filled with zeros
// when it is compared with an IPv6 one.
func (k *sortKey) set(a netip.AddrPort) {
	k.port, k.count = a.Port(), 4
	switch addr := a.Addr(); {
	case addr.Is4():
		b := addr.As4()
		k.words[0], k.count = binary.BigEndian.Uint32(b[:]), 1
	case addr.IsValid():
		b := addr.As16()
		for i := range k.words {
			k.words[i] = binary.BigEndian.Uint32(b[4*i:])
		}
	}
}

// sorter sorts lists, one after the other.
type sorter struct {
	order Order
	spare []sortKey
}

func (s *sorter) sort(list []sortKey) {
	if s.order == KernelOrder {
		return
	}
	s.spare = slices.Grow(s.spare[:0], len(list))[:len(list)]
	mergeSort(list, s.spare, s.order == CompatibleOrder)
}

// mergeSort sorts as the C library's qsort does, step by step: where the comparison is no order, the algorithm decides.
func mergeSort(list, spare []sortKey, wrap bool) {
	if len(list) < 2 {
		return
	}
	half := len(list) / 2
	a, b := list[:half], list[half:]
	mergeSort(a, spare[:half], wrap)
	mergeSort(b, spare[half:], wrap)
	merged := 0
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(&b[0], wrap) <= 0 {
			spare[merged], a = a[0], a[1:]
		} else {
			spare[merged], b = b[0], b[1:]
		}
		merged++
	}
	// What is left of b is at its place already.
	copy(spare[merged:], a)
	copy(list, spare[:merged+len(a)])
}

func (k *sortKey) compare(other *sortKey, wrap bool) int {
	if c := compareNumbers(k.mark, other.mark, wrap); c != 0 {
		return c
	}
	if k.family != other.family {
		return cmp.Compare(k.family, other.family)
	}
	if k.protocol != other.protocol {
		return cmp.Compare(k.protocol, other.protocol)
	}
	for i := range k.count {
		if c := compareNumbers(k.words[i], other.words[i], wrap); c != 0 {
			return c
		}
	}
	return cmp.Compare(k.port, other.port)
}

// compareNumbers compares numbers, or, as ipvsadm does, looks at the sign of their difference in 32 bits, which is no order
// when three values are far apart.
func compareNumbers(a, b uint32, wrap bool) int {
	switch {
	case a == b:
		return 0
	case wrap && int32(a-b) < 0, !wrap && a < b:
		return -1
	}
	return 1
}
