package sysctl

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Profile is a role of a host in an LVS cluster, or an addition to one.
type Profile uint8

// Profiles. Unspecified has no settings.
const (
	Unspecified     Profile = iota
	DirectorNAT             // balances by masquerading, and routes the replies
	DirectorDR              // balances by direct routing
	DirectorTUN             // balances by tunnelling
	RealServerDR            // serves behind a director that routes directly: holds the VIP silently
	RealServerTUN           // serves behind a tunnel: holds the VIP silently, and decapsulates
	HighConnections         // in addition to a role: very many connections
	UnderAttack             // in addition to a director's role: defences of IPVS, to be undone afterwards
)

// String returns the name used on command lines, such as "director-dr", or "profile(N)".
func (p Profile) String() string {
	if int(p) < len(profileNames) {
		return profileNames[p]
	}
	return "profile(" + strconv.Itoa(int(p)) + ")"
}

var profileNames = [...]string{
	Unspecified: "unspecified", DirectorNAT: "director-nat", DirectorDR: "director-dr", DirectorTUN: "director-tun",
	RealServerDR: "realserver-dr", RealServerTUN: "realserver-tun", HighConnections: "high-connections",
	UnderAttack: "under-attack",
}

// ParseProfile is the inverse of String. The error matches fs.ErrInvalid and lists the names.
func ParseProfile(s string) (Profile, error) {
	if i := slices.Index(profileNames[:], s); i > 0 {
		return Profile(i), nil
	}
	return 0, fmt.Errorf("sysctl: %q is none of %s: %w", s, strings.Join(profileNames[1:], ", "), fs.ErrInvalid)
}

// Profiles returns all profiles but Unspecified.
func Profiles() []Profile {
	return []Profile{DirectorNAT, DirectorDR, DirectorTUN, RealServerDR, RealServerTUN, HighConnections, UnderAttack}
}

func (p Profile) director() bool   { return DirectorNAT <= p && p <= DirectorTUN }
func (p Profile) realServer() bool { return p == RealServerDR || p == RealServerTUN }

// Options adapt a profile to a host. The zero value is a host with the usual devices.
type Options struct {
	// Devices are the network cards that carry balanced traffic; they get what must be set for each. Without any, all
	// devices do that are there when the plan is made.
	Devices []string

	// Tunnel is the device that decapsulates on a tunnel real server; empty is "tunl0".
	Tunnel string

	// TunnelAddress says that Tunnel has an IPv4 address of its own, such as the VIP. Then rp_filter can be loose (2)
	// there, whatever "all" says; without one, loose drops everything, and both must be 0. Observed on Linux 6.1 and
	// 6.12.
	TunnelAddress bool

	// IPv6 adds what IPv6 services need.
	IPv6 bool

	// Tracked says that netfilter tracks the balanced connections: stateful rules or SNAT apply to them.
	Tracked bool

	// MemoryPages is the machine's memory in pages. UnderAttack then raises the threshold of the automatic defences to
	// a thirty-second of it; zero leaves the threshold.
	MemoryPages uint64

	// Always makes the defences of UnderAttack act at once, and not only when memory gets short.
	Always bool
}

// Settings returns what the profile sets, each with its reason. Settings for parameters that not every host has are
// optional.
//
// A role sets little: most of what lists on the net contain has no effect on forwarded packets or replaces a good
// default. Buffers, budgets and backlogs are left to measurements.
func (p Profile) Settings(o Options) []Setting {
	var l settings
	switch p {
	case DirectorNAT:
		l.set("net/ipv4/ip_forward", "1", "replies of the real servers are routed through the director")
		if o.IPv6 {
			l.set(IPv6("all", "forwarding"), "1", "replies of the real servers are routed through the director")
		}
		devices := []string{"*"} // a device's own value is enough to send redirects
		if len(o.Devices) > 0 {
			devices = append([]string{"all", "default"}, o.Devices...)
		}
		for _, dev := range devices {
			l.set(IPv4(dev, "send_redirects"), "0", "a redirect makes real servers of the client's network bypass the director")
		}
		l.director(o)
	case DirectorDR, DirectorTUN:
		l.director(o)
	case RealServerDR:
		l.realServer()
	case RealServerTUN:
		l.realServer()
		l.tunnel(o)
	case HighConnections:
		l.highConnections(o)
	case UnderAttack:
		l.underAttack(o)
	}
	return l
}

type settings []Setting

func (l *settings) set(key Key, value, reason string) {
	*l = append(*l, Setting{Key: key, Value: value, Reason: reason})
}

func (l *settings) try(key Key, value, reason string) {
	*l = append(*l, Setting{Key: key, Value: value, Reason: reason, Optional: true})
}

func (l *settings) director(o Options) {
	l.set(IPVS("expire_nodest_conn"), "1", "connections of a removed server end at once instead of hanging until they time out")
	l.set(IPVS("conn_reuse_mode"), "1", "clients that reuse a port reach a server that is in service")
	if o.Tracked {
		l.set(IPVS("conntrack"), "1", "stateful rules and SNAT on balanced connections need tracking")
		l.tracking(o)
	}
	for _, n := range [...]struct{ name, value string }{{"1", "4096"}, {"2", "8192"}, {"3", "16384"}} {
		l.try(Key("net/ipv4/neigh/default/gc_thresh"+n.name), n.value, "room for many real servers and clients on the link")
	}
}

func (l *settings) tracking(Options) {
	l.try("net/netfilter/nf_conntrack_buckets", "262144", "short chains in the tracking table")
	l.try("net/netfilter/nf_conntrack_max", "1048576", "a full tracking table drops packets; about 320 bytes each")
	l.try("net/netfilter/nf_conntrack_tcp_timeout_established", "3600", "not below the 900 s of IPVS, or idle connections lose their tracking first")
}

func (l *settings) realServer() {
	l.set(IPv4("all", "arp_ignore"), "1", "no ARP replies for the VIP; all covers every card, lo has no effect")
	l.set(IPv4("all", "arp_announce"), "2", "no ARP requests with the VIP as sender")
	l.set("net/ipv4/tcp_keepalive_time", "600", "below the 900 s after which IPVS forgets an idle connection")
	l.set("net/ipv4/tcp_keepalive_intvl", "30", "a dead peer is known 150 s after the first probe")
	l.set("net/ipv4/tcp_keepalive_probes", "5", "a dead peer is known 150 s after the first probe")
	l.set("net/core/somaxconn", "16384", "bursts of connections wait instead of being dropped, if the program asks for as much")
	l.set("net/ipv4/tcp_max_syn_backlog", "16384", "as somaxconn, for half-open connections")
}

func (l *settings) tunnel(o Options) {
	dev := o.Tunnel
	if dev == "" {
		dev = "tunl0"
	}
	if o.TunnelAddress {
		l.set(IPv4(dev, "rp_filter"), "2", "decapsulated packets come from clients that are routed elsewhere; loose, as the device has an address")
		return
	}
	const reason = "decapsulated packets come from clients that are routed elsewhere; the larger of all and the device counts"
	l.set(IPv4("all", "rp_filter"), "0", reason)
	l.set(IPv4(dev, "rp_filter"), "0", reason)
}

func (l *settings) highConnections(o Options) {
	l.set("net/ipv4/ip_local_port_range", "16384 65535", "more ports for health checks and proxies")
	l.set("net/ipv4/tcp_tw_reuse", "1", "outgoing connections do not run out of ports; forwarded ones are not affected")
	l.set("net/core/somaxconn", "65535", "bursts of connections to local programs wait instead of being dropped")
	l.set("net/ipv4/tcp_max_syn_backlog", "65535", "as somaxconn, for half-open connections")
	l.try("net/core/netdev_max_backlog", "10000", "room for bursts when packets are spread to other CPUs (RPS)")
	l.try("net/core/netdev_budget", "600", "longer polling rounds under load")
	l.try("net/core/netdev_budget_usecs", "16000", "longer polling rounds under load")
	if o.Tracked {
		l.tracking(o)
	}
}

func (l *settings) underAttack(o Options) {
	mode, when := "1", "once memory is short"
	if o.Always {
		mode, when = "3", "now"
	}
	if pages := o.MemoryPages / 32; pages > 1024 {
		l.set(IPVS("amemthresh"), strconv.FormatUint(min(pages, maxInt), 10), "memory counts as short before the machine is in need")
	}
	l.set(IPVS("secure_tcp"), mode, "half-open connections time out sooner "+when)
	l.set(IPVS("drop_entry"), mode, "random half-open and idle connections are dropped "+when)
	l.set(IPVS("drop_packet"), mode, "a part of the new connections is dropped "+when)
	l.set("net/ipv4/tcp_syncookies", "1", "local services survive a SYN flood; forwarded packets do not see it")
	l.set("net/ipv4/tcp_synack_retries", "3", "local half-open connections end sooner")
}
