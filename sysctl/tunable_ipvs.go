package sysctl

import "math"

// ipvsTunables are the files of /proc/sys/net/ipv4/vs. Names, defaults and ranges were observed on Linux 6.1 and 6.12.
func ipvsTunables() []Tunable {
	vs := func(t Tunable) Tunable {
		t.Key = ipvsDir + t.Key
		if t.Module == "" {
			t.Module = "ip_vs"
		}
		return t
	}
	rows := []Tunable{
		integer("am_droprate", "10", math.MinInt32, maxInt,
			"drop_packet 3 drops every n-th packet that would start a connection; 0 none, 1 or less all").
			unit("packets").since(2, 4),
		integer("amemthresh", "1024", math.MinInt32, maxInt,
			"the automatic defences act while fewer pages of memory than this are available").
			unit("pages").since(2, 4),
		boolean("backup_only", "0",
			"while a backup synchronisation daemon runs, packets are not balanced but handled locally").since(3, 9),
		boolean("cache_bypass", "0",
			"a mark service without an available server sends packets to their original destination").since(2, 4),
		integer("conn_reuse_mode", "1", 0, 3,
			"a SYN that reuses the port of a finished connection is scheduled anew; bit 2 extends that to FIN_WAIT of DR and TUN; 0 keeps the old server").
			since(4, 1),
		boolean("conntrack", "0",
			"keeps netfilter connection tracking for balanced connections, which stateful rules and SNAT on them need").
			since(2, 6),
		{Key: "debug_level", Kind: Int, Max: 12, Effect: "verbosity of kernel messages, in debug builds only",
			Since: Kernel{2, 6}, Scope: HostWide, Privileged: true},
		{Key: "drop_entry", Kind: Defence, Max: 3, Default: "0",
			Effect: "drops random half-open and idle connections", Since: Kernel{2, 4}},
		{Key: "drop_packet", Kind: Defence, Max: 3, Default: "0",
			Effect: "drops packets that would start a connection", Since: Kernel{2, 4}},
		{Key: "est_cpulist", Kind: CPUs,
			Effect: "CPUs of the threads that estimate rates, by default all but isolated ones; an empty list stops them",
			Since:  Kernel{6, 2}, Privileged: true},
		integer("est_nice", "0", -20, 19, "priority of the threads that estimate rates").
			unit("nice").since(6, 2).privileged(),
		boolean("expire_nodest_conn", "0",
			"connections of a removed server end at once instead of losing their packets until they time out").since(2, 6),
		boolean("expire_quiescent_template", "0",
			"persistent clients of a server with weight 0 go to another one with their next connection").since(2, 6),
		boolean("ignore_tunneled", "0",
			"packets inside a tunnel that passed the director are not balanced again").since(4, 4),
		duration("lblc_expiration", "86400", "idle time after which lblc forgets a destination").
			since(2, 4).module("ip_vs_lblc"),
		duration("lblcr_expiration", "86400", "idle time after which lblcr forgets a destination").
			since(2, 4).module("ip_vs_lblcr"),
		boolean("nat_icmp_send", "0",
			"packets of a NAT real server's service port without a connection get an ICMP error instead of being forwarded").
			since(2, 4),
		boolean("pmtu_disc", "1",
			"too large packets for a tunnel are answered with ICMP; 0 fragments them").since(3, 5),
		boolean("run_estimation", "1", "rates per second are computed; 0 freezes them").since(5, 15).privileged(),
		boolean("schedule_icmp", "0", "ICMP errors about unknown connections may be scheduled").since(4, 4),
		{Key: "secure_tcp", Kind: Defence, Max: 3, Default: "0",
			Effect: "TCP states with shorter timeouts, against half-open connections", Since: Kernel{2, 4}},
		boolean("sloppy_sctp", "0", "any SCTP packet may start a connection, not only INIT").since(3, 11),
		boolean("sloppy_tcp", "0",
			"any TCP packet but RST may start a connection, for a backup that takes over unknown ones").since(3, 11),
		boolean("snat_reroute", "1", "replies of NAT are routed as if the director had sent them").since(2, 6),
		boolean("sync_persist_mode", "0", "connections below a persistence template are not synchronised").since(3, 11),
		integer("sync_ports", "1", 1, 64,
			"threads and UDP ports of the synchronisation daemon, the same on master and backup, a power of two").
			unit("threads").since(3, 5).ruled(powerOfTwo),
		integer("sync_qlen_max", "", 0, math.MaxUint64,
			"queue of synchronisation messages; more are dropped").unit("messages").since(3, 5).privileged(),
		duration("sync_refresh_period", "0", "a connection is synchronised when its timer moved by this much; 0 is off").
			since(3, 5),
		integer("sync_retries", "0", 0, 3, "repetitions of a synchronisation message, an eighth of the period apart").
			since(3, 5),
		integer("sync_sock_size", "0", 0, maxInt,
			"socket buffer of the synchronisation daemon; 0 is the system's").unit("bytes").since(3, 5).privileged(),
		vector("sync_threshold", "3 50", 2, 0, maxInt,
			"a connection is synchronised at its n-th packet of every m").unit("packets").since(2, 6).ruled(syncThreshold),
		integer("sync_version", "1", 0, 1, "format of synchronisation messages; 0 is that of kernels before 2.6.39").
			since(2, 6),
	}
	for i, t := range rows {
		rows[i] = vs(t)
	}
	return rows
}
