//go:build linux && amd64

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// A table has services of so many destinations each.
type table struct{ services, dests int }

// Tables of the benchmark.
var (
	standard = table{1000, 10}
	longList = table{1, 10_000}
)

func (t table) objects() int { return t.services * (1 + t.dests) }

// service returns the identity of a service: TCP, port 80.
func (t table) service(i int) ipvs.ServiceID {
	return ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.AddrPortFrom(address([4]byte{10, 1}, i), 80)}
}

// destination returns one of a service's: no two services share one. Its port is the service's, as ipvsadm has it for
// direct routing.
func (t table) destination(i, j int) ipvs.Destination {
	return ipvs.Destination{Addr: netip.AddrPortFrom(address([4]byte{10, 128}, i*t.dests+j), 80), Forward: ipvs.Route, Weight: 1}
}

// address counts from a network's first address.
func address(base [4]byte, i int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+uint32(i)+1)
	return netip.AddrFrom4(a)
}

func (t table) ruleset() ipvs.Ruleset {
	r := ipvs.Ruleset{Services: make([]ipvs.ServiceRules, t.services)}
	for i := range r.Services {
		s := &r.Services[i]
		s.Service = ipvs.Service{ID: t.service(i), Scheduler: "wlc"}
		for j := range t.dests {
			s.Destinations = append(s.Destinations, t.destination(i, j))
		}
	}
	return r
}

func (t table) changes() []ipvs.Change {
	c := make([]ipvs.Change, 0, t.objects())
	for i := range t.services {
		id := t.service(i)
		c = append(c, ipvs.Change{Kind: ipvs.ServiceAdd, Service: ipvs.Service{ID: id, Scheduler: "wlc"}})
		for j := range t.dests {
			c = append(c, ipvs.Change{Kind: ipvs.DestinationAdd, Service: ipvs.Service{ID: id}, Destination: t.destination(i, j)})
		}
	}
	return c
}

// rules returns what "ipvsadm -S -n" would print.
func (t table) rules() string {
	var b strings.Builder
	for i := range t.services {
		vip := t.service(i).Addr
		fmt.Fprintf(&b, "-A -t %v -s wlc\n", vip)
		for j := range t.dests {
			fmt.Fprintf(&b, "-a -t %v -r %v -g -w 1\n", vip, t.destination(i, j).Addr)
		}
	}
	return b.String()
}
