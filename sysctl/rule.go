package sysctl

import (
	"fmt"
	"strconv"
	"strings"
)

// Rule says how an interface's value and that of "all" make the value in effect on the interface.
type Rule uint8

// Rules. Max was observed on Linux 6.1 and 6.12 for arp_ignore, arp_announce and rp_filter, and Or for send_redirects
// and accept_local; the others are from the kernel's documentation of ip-sysctl.
const (
	Own Rule = iota // the interface's value alone
	Max             // the larger number, which is not always the stricter one
	Or              // on if either is not 0
	And             // on if both are not 0
)

// RuleOf returns the rule of an IPv4 interface parameter, such as Max for "arp_ignore". accept_redirects is And on an
// interface that forwards; on others it is Or, which this does not know.
func RuleOf(name string) Rule {
	switch name {
	case "arp_ignore", "arp_announce", "rp_filter", "arp_accept", "arp_notify":
		return Max
	case "send_redirects", "accept_local", "arp_filter", "log_martians", "shared_media", "secure_redirects", "proxy_arp",
		"proxy_arp_pvlan", "route_localnet", "promote_secondaries", "src_valid_mark", "drop_gratuitous_arp":
		return Or
	case "accept_source_route", "mc_forwarding", "bc_forwarding", "bootp_relay", "arp_evict_nocarrier", "accept_redirects":
		return And
	}
	return Own
}

// Combine returns the value in effect on an interface; of Or and And it is 0 or 1.
func (r Rule) Combine(all, own int) int {
	switch r {
	case Max:
		return max(all, own)
	case Or:
		return truth(all != 0 || own != 0)
	case And:
		return truth(all != 0 && own != 0)
	}
	return own
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Effective returns the value in effect of an IPv4 parameter on an interface: that of arp_ignore on eth0 is the larger
// of conf/all/arp_ignore and conf/eth0/arp_ignore.
//
// The error is that of [Host.Get].
func (h *Host) Effective(iface, name string) (int, error) {
	var n [2]int
	for i, dir := range [...]string{"all", iface} {
		text, err := h.Get(IPv4(dir, name))
		if err != nil {
			return 0, err
		}
		if n[i], err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
			return 0, fmt.Errorf("sysctl: read %v: %w", IPv4(dir, name), err)
		}
	}
	return RuleOf(name).Combine(n[0], n[1]), nil
}
