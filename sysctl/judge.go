package sysctl

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Verdict is the result of looking at a line of a sysctl list.
type Verdict uint8

// Verdicts.
const (
	Fine      Verdict = iota // takes effect, and nothing speaks against it
	Default                  // what the kernel does anyway
	NoEffect                 // exists, but changes nothing here
	Removed                  // the parameter no longer exists
	TooNew                   // the parameter does not exist yet on this kernel
	Harmful                  // does more harm than good
	BadValue                 // the kernel refuses it, or takes it for something else
	Unknown                  // nothing is known about the parameter
	NotSysctl                // the line is not a kernel parameter
	Malformed                // the line cannot be read
)

// String returns a word or two for people, or "verdict(N)".
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "verdict(" + strconv.Itoa(int(v)) + ")"
}

// MarshalText returns the form of String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

var verdictNames = [...]string{
	Fine: "fine", Default: "default already", NoEffect: "no effect", Removed: "gone", TooNew: "too new", Harmful: "harmful",
	BadValue: "bad value", Unknown: "unknown", NotSysctl: "no sysctl", Malformed: "malformed",
}

// Judgement is what [Judge] thinks of a value.
type Judgement struct {
	Verdict Verdict
	Reason  string // one sentence without a full stop
}

// Environment is what a judgement depends on. The zero value judges in general.
type Environment struct {
	Kernel  Kernel  // release that it is meant for
	Role    Profile // what the host does
	Current string  // text of the parameter now, empty if unknown
}

// Judge says whether a value for a parameter is a good idea on an LVS host. It does not look at the host.
func Judge(key Key, value string, env Environment) Judgement {
	if err := key.Valid(); err != nil {
		return Judgement{Malformed, err.Error()}
	}
	t, known := Lookup(key)
	if !known {
		if strings.Contains(string(key), "ip_conntrack") {
			return Judgement{Removed, "ip_conntrack became nf_conntrack in Linux 2.6: net.netfilter.nf_conntrack_*"}
		}
		return Judgement{Unknown, "not known to this check"}
	}
	switch {
	case t.Gone != (Kernel{}) && !env.Kernel.Before(t.Gone):
		return Judgement{Removed, fmt.Sprintf("gone since Linux %v: %s", t.Gone, t.Effect)}
	case env.Kernel.Before(t.Since):
		return Judgement{TooNew, fmt.Sprintf("exists since Linux %v, this is %v", t.Since, env.Kernel)}
	}
	idle := func(inGeneral bool) *Judgement {
		for _, r := range idleRules {
			if key.matches(r.key) && (r.roles == nil) == inGeneral && (inGeneral || r.roles(env.Role)) {
				return &Judgement{NoEffect, r.reason}
			}
		}
		return nil
	}
	if j := idle(true); j != nil {
		return *j
	}
	// Some harmful values would be out of range as well; the harm is the better explanation.
	for _, r := range harmRules {
		if key.matches(r.key) {
			if reason := r.harm(numbers(value), env); reason != "" {
				return Judgement{Harmful, reason}
			}
		}
	}
	if err := t.check(key, value); err != nil {
		reason := err.Error()
		if v, ok := err.(*ValueError); ok {
			reason = v.Reason
		}
		return Judgement{BadValue, reason}
	}
	if j := idle(false); j != nil {
		return *j
	}
	effect := t.Effect
	if t.Kind == Bool && strings.TrimSpace(value) == "0" && !strings.HasPrefix(effect, "nothing") {
		effect = "switches this off: " + effect
	}
	if t.Default != "" && Same(key, value, t.Default) {
		return Judgement{Default, effect}
	}
	return Judgement{Fine, effect}
}

// numbers returns the decimal numbers of a value; what is none counts as 0.
func numbers(value string) []*big.Int {
	var list []*big.Int
	for _, field := range strings.Fields(value) {
		n, ok := number(field)
		if !ok {
			n = new(big.Int)
		}
		list = append(list, n)
	}
	for len(list) < 3 {
		list = append(list, new(big.Int))
	}
	return list
}

func is(n *big.Int, v int64) bool    { return n.Cmp(big.NewInt(v)) == 0 }
func above(n *big.Int, v int64) bool { return n.Cmp(big.NewInt(v)) > 0 }
func below(n *big.Int, v int64) bool { return n.Cmp(big.NewInt(v)) < 0 }

// lowers says whether n is less than the current value, or than def if that is unknown.
func lowers(n *big.Int, env Environment, def int64) bool {
	if c, ok := number(strings.TrimSpace(env.Current)); ok {
		return n.Cmp(c) < 0
	}
	return below(n, def)
}

// harmRules find values that do harm. Each gives a reason, or nothing. The reasons are from the kernel's documentation
// of ip-sysctl and from observations on Linux 6.1 and 6.12.
var harmRules = []struct {
	key  Key
	harm func(n []*big.Int, env Environment) string
}{
	{"net/ipv4/tcp_timestamps", func(n []*big.Int, _ Environment) string {
		return reasonIf(is(n[0], 0), "without time stamps there is no protection against old segments, tcp_tw_reuse stops and SYN cookies lose options; keep 1")
	}},
	{"net/ipv4/tcp_abort_on_overflow", func(n []*big.Int, _ Environment) string {
		return reasonIf(!is(n[0], 0), "a short burst is answered with RST instead of a repetition; keep 0")
	}},
	{"net/ipv4/tcp_max_tw_buckets", func(n []*big.Int, env Environment) string {
		return reasonIf(lowers(n[0], env, 65536), "TIME_WAIT is cut short, so that old segments can hit new connections; leave the default")
	}},
	{"net/ipv4/tcp_max_orphans", func(n []*big.Int, _ Environment) string {
		return reasonIf(above(n[0], 262144), "each of them may hold 64 KiB of memory that cannot be swapped; leave the default")
	}},
	{"net/ipv4/tcp_mem", func(n []*big.Int, _ Environment) string {
		return reasonIf(above(n[2], 64<<20), "the unit is pages, not bytes: that is "+gib(n[2])+" GiB, which disables the protection against running out of memory; leave the default")
	}},
	{"net/ipv4/tcp_rmem", func(n []*big.Int, _ Environment) string {
		switch {
		case above(n[0], 4096):
			return "the first value is guaranteed to each socket even when memory is short; keep 4096"
		case above(n[1], 0) && below(n[1], 131072):
			return "the second value lowers the default of 131072; use 4096 131072 16777216"
		}
		return ""
	}},
	{"net/ipv4/tcp_wmem", func(n []*big.Int, _ Environment) string {
		switch {
		case above(n[0], 4096):
			return "the first value is guaranteed to each socket even when memory is short; keep 4096"
		case above(n[1], 65536):
			return "the second value is what each connection starts with and costs memory; use 4096 65536 16777216 at most"
		}
		return ""
	}},
	{"net/core/rmem_default", bufferDefault},
	{"net/core/wmem_default", bufferDefault},
	{"net/core/optmem_max", func(n []*big.Int, env Environment) string {
		def := int64(131072)
		if env.Kernel.Before(Kernel{6, 2}) {
			def = 20480
		}
		return reasonIf(lowers(n[0], env, def), "lowers the kernel's default of 131072 (20480 on Linux 6.1); drop it")
	}},
	{"net/core/netdev_max_backlog", func(n []*big.Int, _ Environment) string {
		return reasonIf(above(n[0], 10000), "a queue this long is delay; raise it to 10000 at most, and only if the second column of /proc/net/softnet_stat grows")
	}},
	{"net/ipv4/tcp_synack_retries", func(n []*big.Int, _ Environment) string {
		return reasonIf(below(n[0], 2), "gives up a client after about 3 s; 2 or 3 under attack, else 5")
	}},
	{"net/ipv4/tcp_syn_retries", func(n []*big.Int, _ Environment) string {
		return reasonIf(below(n[0], 3), "outgoing connections, health checks for example, fail after a lost packet or two; leave 6")
	}},
	{"net/ipv4/tcp_retries2", func(n []*big.Int, _ Environment) string {
		return reasonIf(below(n[0], 8), "connections die after seconds of a network problem; RFC 1122 asks for 100 s, which is 8")
	}},
	{"net/ipv4/ip_local_port_range", func(n []*big.Int, _ Environment) string {
		return reasonIf(below(n[0], 10000), "outgoing connections take ports that services want; 16384 65535 has room, without effect on forwarded packets")
	}},
	{"net/netfilter/nf_conntrack_tcp_timeout_established", func(n []*big.Int, _ Environment) string {
		return reasonIf(below(n[0], 900), "idle connections lose their tracking before IPVS forgets them after 900 s; 900 or more")
	}},
	{"fs/file-max", func(n []*big.Int, env Environment) string {
		return reasonIf(env.Current != "" && lowers(n[0], env, 0), "lowers the value in force, "+strings.TrimSpace(env.Current))
	}},
	{"kernel/shmmax", sharedMemory},
	{"kernel/shmall", sharedMemory},
	{"net/ipv4/conf/*/rp_filter", func(n []*big.Int, env Environment) string {
		return reasonIf(is(n[0], 1) && env.Role == RealServerTUN, "strict filtering drops what comes out of the tunnel, as the larger of all and the device counts")
	}},
	{"net/ipv4/conf/*/send_redirects", func(n []*big.Int, env Environment) string {
		return reasonIf(!is(n[0], 0) && env.Role == DirectorNAT, "redirects make real servers of the client's network bypass a NAT director; 0 on all and on the card")
	}},
	{"net/ipv4/ip_forward", func(n []*big.Int, env Environment) string {
		return reasonIf(is(n[0], 0) && env.Role == DirectorNAT, "a NAT director must route the replies of the real servers")
	}},
	{"net/ipv4/conf/*/arp_ignore", func(n []*big.Int, env Environment) string {
		switch {
		case env.Role.director() && !is(n[0], 0):
			return "belongs on real servers: a director with its VIP on lo would not answer ARP for it; harmless only with the VIP on the card"
		case is(n[0], 8):
			return "no ARP request is answered at all, not even for the host's own address"
		case above(n[0], 3) && below(n[0], 8):
			return "4 to 7 act like 0, and hide a 1 elsewhere as the larger number counts"
		}
		return ""
	}},
	{"net/ipv4/conf/*/arp_announce", func(n []*big.Int, env Environment) string {
		return reasonIf(is(n[0], 1) && env.Role.realServer(), "1 still announces a VIP that lies in the network of the card; 2")
	}},
	{"net/ipv4/tcp_keepalive_time", func(n []*big.Int, env Environment) string {
		return reasonIf(above(n[0], 899) && env.Role.realServer(), "IPVS forgets an idle connection after 900 s, before the first probe; use less")
	}},
}

func bufferDefault(n []*big.Int, _ Environment) string {
	return reasonIf(above(n[0], 212992), "every UDP, raw and local socket may queue this much; leave the default, programs that need more ask for it")
}

func sharedMemory(n []*big.Int, _ Environment) string {
	if def, _ := number("18446744073692774399"); n[0].Cmp(def) < 0 {
		return "lowers the default, which is practically unlimited; drop it"
	}
	return ""
}

func reasonIf(cond bool, reason string) string {
	if cond {
		return reason
	}
	return ""
}

// gib turns pages of 4 KiB into GiB.
func gib(pages *big.Int) string { return new(big.Int).Rsh(pages, 18).String() }

// idleRules find parameters that change nothing, for some roles or all.
var idleRules = []struct {
	key    Key
	roles  func(Profile) bool
	reason string
}{
	{"net/ipv4/route/gc_timeout", nil, "no effect since Linux 3.6 removed the IPv4 route cache"},
	{"net/ipv4/route/max_size", nil, "no effect since Linux 3.6 removed the IPv4 route cache"},
	{"net/ipv4/tcp_fack", nil, "no effect since Linux 4.15"},
	{"net/ipv4/tcp_low_latency", nil, "no effect since Linux 4.14"},
	{"net/ipv4/conf/lo/arp_ignore", nil, "the value of the interface where requests arrive counts, or that of all; lo is never that interface"},
	{"net/ipv4/conf/lo/arp_announce", nil, "the value of the interface that requests leave by counts, or that of all; lo is never that interface"},
	{"net/ipv4/conf/tunl0/arp_ignore", nil, "no ARP request arrives on a tunnel; the card's value or that of all counts"},
	{"net/ipv4/conf/tunl0/arp_announce", nil, "no ARP request leaves by a tunnel; the card's value or that of all counts"},
	{"net/ipv4/tcp_rmem", Profile.director, socketsOnly}, {"net/ipv4/tcp_wmem", Profile.director, socketsOnly},
	{"net/core/rmem_max", Profile.director, socketsOnly}, {"net/core/wmem_max", Profile.director, socketsOnly},
	{"net/core/somaxconn", Profile.director, socketsOnly}, {"net/ipv4/tcp_max_syn_backlog", Profile.director, socketsOnly},
	{"net/ipv4/tcp_fin_timeout", Profile.director, socketsOnly + "; the time of balanced connections is the second value of ipvsadm --set"},
	{"net/ipv4/tcp_keepalive_time", Profile.director, socketsOnly}, {"net/ipv4/tcp_keepalive_intvl", Profile.director, socketsOnly},
	{"net/ipv4/tcp_keepalive_probes", Profile.director, socketsOnly}, {"net/ipv4/tcp_tw_reuse", Profile.director, socketsOnly},
	{"net/ipv4/tcp_no_metrics_save", Profile.director, socketsOnly},
	{"net/core/rps_sock_flow_entries", Profile.director, "steering flows to programs does nothing for forwarded packets"},
	{"kernel/sysrq", nil, "nothing to do with the network"},
	{"kernel/core_uses_pid", nil, "nothing to do with the network"},
	{"kernel/msgmnb", nil, "nothing to do with the network"},
	{"kernel/msgmax", nil, "nothing to do with the network"},
}

const socketsOnly = "concerns sockets of local programs, not packets that a director forwards"
