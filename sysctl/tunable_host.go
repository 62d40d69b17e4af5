package sysctl

import "math"

// hostTunables are parameters outside IPVS. Ranges are no wider than those observed on Linux 6.1 and 6.12.
func hostTunables() []Tunable {
	const anyInt = math.MinInt32
	rows := []Tunable{
		// Forwarding and interfaces.
		boolean("net/ipv4/ip_forward", "0", "the host routes IPv4; writing it sets forwarding of every interface"),
		boolean("net/ipv4/conf/*/forwarding", "0", "the interface routes IPv4"),
		boolean("net/ipv6/conf/*/forwarding", "0", "the interface routes IPv6; on all it also ends accepting router advertisements"),
		integer("net/ipv4/conf/*/arp_ignore", "0", 0, 8,
			"which addresses ARP requests are answered for; 1: only those of the receiving interface"),
		integer("net/ipv4/conf/*/arp_announce", "0", 0, 2,
			"which source address ARP requests carry; 2: one of the sending interface"),
		integer("net/ipv4/conf/*/arp_accept", "0", 0, 2, "gratuitous ARP creates neighbour entries"),
		boolean("net/ipv4/conf/*/arp_notify", "0", "addresses are announced when the interface comes up"),
		boolean("net/ipv4/conf/*/arp_filter", "0", "ARP is answered only on the interface that replies would leave by"),
		boolean("net/ipv4/conf/*/proxy_arp", "0", "ARP is answered for routed addresses"),
		integer("net/ipv4/conf/*/rp_filter", "0", 0, 2, "packets whose source is not routed back are dropped; 1 strict, 2 loose"),
		boolean("net/ipv4/conf/*/accept_local", "0", "packets with a source address of this host are accepted"),
		boolean("net/ipv4/conf/*/send_redirects", "1", "ICMP redirects are sent"),
		boolean("net/ipv4/conf/*/accept_redirects", "", "ICMP redirects are believed"),
		boolean("net/ipv4/conf/*/accept_source_route", "", "source-routed packets are accepted"),
		boolean("net/ipv4/ip_nonlocal_bind", "0", "programs may bind addresses that the host does not have"),
		integer("net/ipv4/ip_no_pmtu_disc", "0", 0, 3, "path MTU discovery is off"),
		vector("net/ipv4/ip_local_port_range", "32768 60999", 2, 1024, 65535, "ports of outgoing connections").ruled(ascending),
		{Key: "net/ipv4/ip_local_reserved_ports", Kind: Text, Effect: "ports that outgoing connections do not get"},
		integer("net/ipv4/neigh/default/gc_thresh1", "128", 0, maxInt, "neighbour entries below this many are kept").scope(InitOnly),
		integer("net/ipv4/neigh/default/gc_thresh2", "512", 0, maxInt, "neighbour entries above this many are cleaned up after 5 s").scope(InitOnly),
		integer("net/ipv4/neigh/default/gc_thresh3", "1024", 0, maxInt, "largest number of neighbour entries").scope(InitOnly),
		duration("net/ipv4/route/gc_timeout", "300", "nothing since the IPv4 route cache is gone").scope(InitOnly),
		integer("net/ipv4/route/max_size", "2147483647", anyInt, maxInt, "nothing since the IPv4 route cache is gone").scope(InitOnly),

		// TCP.
		integer("net/ipv4/tcp_syncookies", "1", 0, 2, "SYN cookies when the queue overflows; 2 always"),
		boolean("net/ipv4/tcp_abort_on_overflow", "0", "a full accept queue answers RST"),
		integer("net/ipv4/tcp_max_tw_buckets", "", 0, maxInt, "largest number of sockets in TIME_WAIT").unit("sockets"),
		boolean("net/ipv4/tcp_sack", "1", "selective acknowledgements"),
		boolean("net/ipv4/tcp_window_scaling", "1", "windows above 64 KiB"),
		boolean("net/ipv4/tcp_no_metrics_save", "0", "path metrics are not remembered"),
		vector("net/ipv4/tcp_rmem", "4096 131072 6291456", 3, 4096, maxInt, "receive buffer of a TCP socket: least, initial, most").
			unit("bytes").ruled(ascending),
		vector("net/ipv4/tcp_wmem", "4096 16384 4194304", 3, 1, maxInt, "send buffer of a TCP socket: least, initial, most").
			unit("bytes").ruled(ascending),
		vector("net/ipv4/tcp_mem", "", 3, 0, math.MaxInt64, "memory of all TCP sockets: low, pressure, most").
			unit("pages").ruled(ascending).scope(InitOnly),
		integer("net/ipv4/tcp_max_syn_backlog", "", 0, maxInt, "half-open connections of one listening socket"),
		integer("net/ipv4/tcp_max_orphans", "", 0, maxInt, "sockets without a process").scope(InitOnly),
		integer("net/ipv4/tcp_timestamps", "1", 0, 2, "time stamps, which PAWS, round-trip measurement and tcp_tw_reuse need"),
		integer("net/ipv4/tcp_synack_retries", "5", 0, 255, "repetitions of a SYN-ACK"),
		integer("net/ipv4/tcp_syn_retries", "6", 1, 127, "repetitions of a SYN"),
		integer("net/ipv4/tcp_retries2", "15", 0, 255, "repetitions before an established connection is given up"),
		integer("net/ipv4/tcp_tw_reuse", "2", 0, 2, "outgoing connections may reuse ports in TIME_WAIT; 2 on loopback only"),
		duration("net/ipv4/tcp_fin_timeout", "60", "time in FIN_WAIT_2 of sockets without a process"),
		duration("net/ipv4/tcp_keepalive_time", "7200", "idle time before the first keepalive probe"),
		duration("net/ipv4/tcp_keepalive_intvl", "75", "time between keepalive probes"),
		integer("net/ipv4/tcp_keepalive_probes", "9", 0, 255, "unanswered keepalive probes that end a connection"),
		boolean("net/ipv4/tcp_fack", "0", "nothing since Linux 4.15"),
		boolean("net/ipv4/tcp_low_latency", "0", "nothing since Linux 4.14"),
		{Key: "net/ipv4/tcp_congestion_control", Kind: Text, Effect: "congestion control of new sockets"},

		// Sockets and queues.
		integer("net/core/somaxconn", "4096", 0, maxInt, "largest listen backlog"),
		integer("net/core/rmem_max", "212992", 2304, maxInt, "largest SO_RCVBUF").unit("bytes").privileged(),
		integer("net/core/wmem_max", "212992", 4608, maxInt, "largest SO_SNDBUF").unit("bytes").privileged(),
		integer("net/core/rmem_default", "212992", 2304, maxInt, "receive buffer of sockets other than TCP").unit("bytes").privileged(),
		integer("net/core/wmem_default", "212992", 4608, maxInt, "send buffer of sockets other than TCP").unit("bytes").privileged(),
		integer("net/core/optmem_max", "", 0, maxInt, "ancillary memory of a socket").unit("bytes"),
		integer("net/core/netdev_max_backlog", "1000", 0, maxInt, "input queue of a CPU for RPS, veth and loopback").
			unit("packets").scope(InitOnly),
		integer("net/core/netdev_budget", "300", 1, maxInt, "packets of one polling round").unit("packets").scope(InitOnly),
		integer("net/core/netdev_budget_usecs", "", 1, maxInt, "time of one polling round").unit("µs").scope(InitOnly),
		integer("net/core/dev_weight", "64", 1, maxInt, "packets of one device in a polling round").unit("packets").scope(InitOnly),
		integer("net/core/rps_sock_flow_entries", "0", 0, 1<<29, "flows that RFS knows, rounded up to a power of two").scope(InitOnly),
		{Key: "net/core/default_qdisc", Kind: Text, Effect: "queueing discipline of new devices", Scope: InitOnly},
		integer("net/core/busy_poll", "0", 0, maxInt, "time of busy polling").unit("µs").scope(InitOnly),
		integer("net/core/devconf_inherit_init_net", "0", 0, 3, "what new namespaces copy").scope(InitOnly),
		integer("net/core/fb_tunnels_only_for_init_net", "0", 0, 2, "where fallback devices such as tunl0 are created").scope(InitOnly),

		// Connection tracking.
		integer("net/netfilter/nf_conntrack_max", "", 0, maxInt, "largest number of tracked connections").
			module("nf_conntrack").privileged(),
		integer("net/nf_conntrack_max", "", 0, maxInt, "another name of net.netfilter.nf_conntrack_max").
			module("nf_conntrack").scope(InitOnly),
		integer("net/netfilter/nf_conntrack_buckets", "", 1, maxInt, "buckets of the tracking table, rounded up to whole pages").
			module("nf_conntrack").privileged(),
		duration("net/netfilter/nf_conntrack_tcp_timeout_established", "432000", "idle time of a tracked TCP connection").
			module("nf_conntrack"),
		boolean("net/netfilter/nf_conntrack_tcp_be_liberal", "0", "packets outside the window stay valid").module("nf_conntrack"),
		boolean("net/netfilter/nf_conntrack_tcp_loose", "1", "tracking may begin in the middle of a connection").module("nf_conntrack"),

		// The machine.
		integer("fs/file-max", "", 0, math.MaxInt64, "open files of the machine").scope(HostWide),
		integer("fs/nr_open", "1048576", 64, maxInt, "largest limit of open files of a process").scope(HostWide),
		integer("kernel/sysrq", "", 0, 511, "keys that reach the kernel from the console").scope(HostWide),
		boolean("kernel/core_uses_pid", "0", "core files carry the process number").scope(HostWide),
		integer("kernel/msgmnb", "16384", 0, maxInt, "bytes of a System V message queue").unit("bytes").scope(HostWide),
		integer("kernel/msgmax", "8192", 0, maxInt, "bytes of a System V message").unit("bytes").scope(HostWide),
		integer("kernel/shmmax", "18446744073692774399", 0, math.MaxUint64, "bytes of a System V shared memory segment").unit("bytes").scope(HostWide),
		integer("kernel/shmall", "18446744073692774399", 0, math.MaxUint64, "pages of all System V shared memory").unit("pages").scope(HostWide),
	}
	return rows
}

// removedTunables no longer exist. The releases are from release history; that the files are absent was observed on
// Linux 6.1 and 6.12.
func removedTunables() []Tunable {
	return []Tunable{
		boolean("net/ipv4/tcp_tw_recycle", "", "broke clients behind NAT").gone(4, 12),
		boolean("net/ipv4/tcp_tw_recyle", "", "a misspelling of tcp_tw_recycle, which broke clients behind NAT").gone(4, 12),
		integer("net/ipv4/ip_conntrack_max", "", 0, maxInt, "today net.netfilter.nf_conntrack_max").gone(2, 6),
		{Key: "net/ipv4/netfilter/*", Kind: Text, Effect: "old names of connection tracking, today net.netfilter.nf_conntrack_*", Gone: Kernel{4, 9}},
		{Key: "net/ipv4/conf/*/hidden", Kind: Text, Effect: "a patch of Linux 2.2 and 2.4, today arp_ignore and arp_announce", Gone: Kernel{2, 6}},
		boolean("net/netfilter/nf_conntrack_helper", "0", "helpers are assigned by explicit rules").gone(6, 0).module("nf_conntrack"),
	}
}
