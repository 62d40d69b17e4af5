package ipvsadm_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// generator makes command lines, most of them good and some of them not. The values are few, so that services and servers
// that are there are hit again.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 1))} }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// oneIn is true once in n times.
func (g generator) oneIn(n int) bool { return g.IntN(n) == 0 }

func (g generator) addr4() string {
	if g.oneIn(25) {
		return pick(g, "0.0.0.0", "255.255.255.255", "224.0.0.1", "10.1", "0x0a000001", "012.0.0.1", "localhost", "nosuch", "1.2.3.4.5",
			"10.0.0.256", "240.0.0.1", "10.0.0.1 x", "", "167772161")
	}
	return pick(g, "10.0.0.1", "10.0.0.2", "192.168.0.1", "172.16.0.5", "203.0.113.5", "100.64.0.5", "127.0.0.1")
}

func (g generator) addr6() string {
	if g.oneIn(25) {
		return pick(g, "::", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "::10.0.0.1", "::1:0", "fe80::1%lo", "1::2::3", "")
	}
	return pick(g, "2001:db8::1", "fd00::1", "::1", "2001:db8:0:1:1:1:1:1", "2001:db8::1:0:0:1", "2001:0DB8:aaaa:bbbb:cccc:dddd:eeee:ffff")
}

func (g generator) port() string {
	if g.oneIn(20) {
		return pick(g, "0", "", "+80", "080", "65536", "-1", "0x50", "http", "domain", "nosuch", " 80", "80 ", "zabbix-trapper")
	}
	return pick(g, "80", "443", "53", "8080", "5060", "65535", "1")
}

func (g generator) addrPort() string {
	if g.oneIn(4) {
		if g.oneIn(20) {
			return pick(g, "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]80", "[2001:db8::1", "[10.0.0.1]:80", "[10.0.0.1:80]:90", "[]:80")
		}
		return "[" + g.addr6() + "]:" + g.port()
	}
	if g.oneIn(30) {
		return g.addr4()
	}
	return g.addr4() + ":" + g.port()
}

// server returns the address of a real server.
func (g generator) server() string {
	if !g.oneIn(3) {
		return pick(g, "10.0.0.1", "192.168.0.1:80", "172.16.0.5:8080", "100.64.0.5", "[2001:db8::1]:443", "fd00::1")
	}
	return g.addrPort()
}

func (g generator) mark() string {
	if g.oneIn(12) {
		return pick(g, "0", "-1", "4294967295", "2147483648", "4294967296", "0x10", "007", "+7", "", "x")
	}
	return pick(g, "1", "7", "100")
}

// service returns the words that name a service.
func (g generator) service() []string {
	if !g.oneIn(3) {
		return strings.Fields(pick(g, "-t 10.0.0.1:80", "-u 10.0.0.1:53", "-t [2001:db8::1]:443", "-f 1", "-f 7 -6", "-t 192.168.0.1:80"))
	}
	switch g.IntN(10) {
	case 0, 1:
		w := []string{"-f", g.mark()}
		if g.oneIn(3) {
			w = append(w, "-6")
		}
		return w
	case 2, 3:
		return []string{"-u", g.addrPort()}
	case 4:
		return []string{"--sctp-service", g.addrPort()}
	case 5:
		return []string{"--tcp-service=" + g.addrPort()}
	}
	return []string{"-t", g.addrPort()}
}

func (g generator) scheduler() string {
	if g.oneIn(15) {
		return pick(g, "nosuch", "", "none", "abcdefghijklmnopqrstuvwxyz", "WLC")
	}
	return pick(g, "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
}

// serviceOptions returns groups of words, each an option of a service.
func (g generator) serviceOptions() (o [][]string) {
	add := func(n int, words ...string) {
		if g.oneIn(n) {
			o = append(o, words)
		}
	}
	scheduler := g.scheduler()
	if !g.oneIn(6) {
		o = append(o, []string{"-s", scheduler})
	}
	add(3, "-p", pick(g, "1", "300", "360", "2678400", "60"))
	add(12, "-p")
	add(40, "--persistent="+pick(g, "0", "", "2678401", "x", "+5", "5x"))
	add(5, "-M", pick(g, "255.255.255.0", "64", "0.0.0.0", "255.0.255.0", "0xffffff00", "128", "255.255.255.255", "localhost", "nosuch", "0", "129", "64abc"))
	add(12, "--pe", pick(g, "sip", "sip", "sip", "nosuch", ""))
	add(10, "-o")
	list := pick(g, "flag-1", "flag-2", "flag-3", "flag-3,flag-1", "flag-1,flag-2,flag-3", "nosuch", "", "sh-port", "mh-fallback,mh-port")
	if (scheduler == "sh" || scheduler == "mh") && !g.oneIn(5) {
		list = pick(g, scheduler+"-port", scheduler+"-fallback,"+scheduler+"-port", scheduler+"-fallback", "flag-3", "flag-2,,flag-1")
	}
	add(6, "-b", list)
	return o
}

func (g generator) weight() string {
	if g.oneIn(25) {
		return pick(g, "-1", "2147483648", "x", "", " 5", "0x5")
	}
	return pick(g, "0", "1", "2", "100", "65535", "65536", "2147483647")
}

// serverOptions returns groups of words, each an option of a server.
func (g generator) serverOptions() (o [][]string) {
	add := func(n int, words ...string) {
		if g.oneIn(n) {
			o = append(o, words)
		}
	}
	forward := pick(g, "-g", "-i", "-m", "-m", "")
	if forward != "" {
		o = append(o, []string{forward})
	}
	add(2, "-w", g.weight())
	add(5, "-x", pick(g, "10", "100", "2147483647", "0", "-1"))
	add(6, "-y", pick(g, "5", "10", "100", "0", "x"))
	n := 60
	if forward == "-i" {
		n = 3
	}
	if g.oneIn(n) {
		typ := pick(g, "ipip", "gue", "gue", "gre", "nosuch")
		o = append(o, []string{"--tun-type", typ})
		if typ == "gue" && !g.oneIn(5) {
			o = append(o, []string{"--tun-port", pick(g, "6080", "1", "65535", "6080", "0")})
		}
	}
	if g.oneIn(n) {
		o = append(o, []string{pick(g, "--tun-csum", "--tun-remcsum", "--tun-nocsum", "--tun-port=5")})
	}
	return o
}

func (g generator) join(command []string, groups ...[]string) []string {
	if !g.oneIn(3) {
		g.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	}
	return append(command, slices.Concat(groups...)...)
}

// change returns a command line that changes something.
func (g generator) change() []string {
	switch n := g.IntN(100); {
	case n < 35:
		return g.join([]string{pick(g, "-A", "-A", "-A", "--add-service")}, append(g.serviceOptions(), g.service())...)
	case n < 42:
		return g.join([]string{"-E"}, append(g.serviceOptions(), g.service())...)
	case n < 45:
		return append([]string{"-D"}, g.service()...)
	case n < 78:
		return append(append(append([]string{"-a"}, g.service()...), "-r", g.server()), slices.Concat(g.serverOptions()...)...)
	case n < 86:
		return g.join([]string{"-e"}, append(g.serverOptions(), g.service(), []string{"-r", g.server()})...)
	case n < 90:
		return append(append([]string{"-d"}, g.service()...), "-r", g.server())
	case n < 92:
		return []string{"--set", pick(g, "0", "900", "1"), pick(g, "0", "120", "2678400"), pick(g, "0", "300", "2678401", "x")}
	case n < 95:
		return g.daemon()
	case n < 98:
		if g.oneIn(2) {
			return []string{"-Z"}
		}
		return append([]string{"-Z"}, g.service()...)
	}
	return []string{"-C"}
}

func (g generator) daemon() []string {
	if g.oneIn(3) {
		return []string{"--stop-daemon", pick(g, "master", "backup", "x")}
	}
	w := []string{"--start-daemon", pick(g, "master", "backup")}
	add := func(n int, words ...string) {
		if g.oneIn(n) {
			w = append(w, words...)
		}
	}
	if !g.oneIn(10) {
		w = append(w, "--mcast-interface", pick(g, "lo", "lo", "lo", "nosuch"))
	}
	add(2, "--syncid", pick(g, "0", "7", "255", "256"))
	add(4, "--sync-maxlen", pick(g, "1", "1000", "65507", "65508"))
	add(4, "--mcast-group", pick(g, "224.0.0.100", "ff02::81", "10.0.0.1", "fd00::1", "x"))
	add(4, "--mcast-port", pick(g, "9999", "0"))
	add(4, "--mcast-ttl", pick(g, "5", "256"))
	return w
}

// listing returns a command line that prints something in an order that does not depend on the boot.
func (g generator) listing() []string {
	switch g.IntN(12) {
	case 0:
		return []string{"-S", "-n"}
	case 1:
		return []string{"-S"}
	case 2:
		return []string{"-L", "--timeout"}
	case 3:
		return []string{"-L", "--daemon", "-n"}
	case 4:
		return []string{pick(g, "-Lnc", "-Lc"), pick(g, "--persistent-conn", "--sort", "--exact")}
	case 5:
		return append([]string{"-Ln"}, g.service()...)
	case 6:
		return []string{"-L"}
	}
	w := []string{pick(g, "-Ln", "-ln", "-nL"), pick(g, "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info", "--sort")}
	if g.oneIn(3) {
		w = append(w, pick(g, "--stats", "--rate", "--thresholds", "--tun-info", "--exact", "--nosort", "--timeout", "-c", "-X"))
	}
	return w
}

// spoil makes a command line illegal, as a rule.
func (g generator) spoil(w []string) []string {
	w = slices.Clone(w)
	i := g.IntN(len(w))
	switch g.IntN(7) {
	case 0: // without a word
		return slices.Delete(w, i, i+1)
	case 1: // a word twice
		return slices.Insert(w, i, w[i])
	case 2: // two words in the wrong order
		j := g.IntN(len(w))
		w[i], w[j] = w[j], w[i]
	case 3, 4: // another option
		return slices.Insert(w, 1+g.IntN(len(w)), pick(g,
			"-n", "-c", "-p", "-o", "-m", "-6", "--sort", "--nosort", "--stats", "--timeout", "--exact", "-q", "--bogus", "-A", "-L", "--", "-",
			"x", "--tun-csum", "--ops=1", "-w7", "-s=rr", "-srr", "--syncid=3", "-x9", "--pe=sip", "--numeric", "-X", "-nX", "---", "-v"))
	case 5: // a word cut short
		w[i] = w[i][:g.IntN(len(w[i])+1)]
	case 6: // words glued together
		if i+1 < len(w) {
			w[i] += pick(g, "", "=") + w[i+1]
			return slices.Delete(w, i+1, i+2)
		}
	}
	return w
}

// commandLine returns any command line.
func (g generator) commandLine() []string {
	w := g.change()
	if g.oneIn(4) {
		w = g.listing()
	}
	if g.oneIn(5) {
		w = g.spoil(w)
	}
	if g.oneIn(100) {
		w = g.spoil(w)
	}
	return w
}

// ruleFile returns a rule file of at most n lines, and how many it has. It ends with the first line that ipvsadm would not
// go on after. It prints nothing that depends on the kernel's order.
func (g generator) ruleFile(n int) (text string, lines int) {
	var b strings.Builder
	for lines < n {
		words := g.change()
		if g.oneIn(5) {
			words = g.spoil(words)
		}
		line := strings.Join(words, " ")
		if len(strings.Fields(line)) != len(words) || crashes(line) {
			continue
		}
		op, err := ipvsadm.ParseLine(line)
		if err == nil && (op.Command == ipvsadm.List || op.Command == ipvsadm.Save) && op.Listing.Subject == ipvsadm.Services {
			continue
		}
		e, ok := errors.AsType[*ipvsadm.Error](err)
		last := ok && e.Kind != ipvsadm.BadOption || err == nil && !op.Command.Changes()
		if last && !g.oneIn(5) {
			continue
		}
		if g.oneIn(20) {
			line = strings.Join(words, pick(g, "  ", "\t", "\r", " ipvsadm "))
		}
		fmt.Fprintf(&b, "%s%s", line, pick(g, "\n", "\n", "\n", "\n", "\n\n", "\r\n", "  \n"))
		lines++
		if last {
			break
		}
	}
	if g.oneIn(5) {
		b.WriteString(pick(g, "-C", "-C  ", "-C \t", "# end", "  \n", "-v\n", "-L --timeout\n", "-R\n"))
		lines++
	}
	return b.String(), lines
}

// crashes reports whether ipvsadm would not survive the command line: one with an option -b of commas only.
func crashes(line string) bool {
	words := strings.Fields(line)
	for i, w := range words {
		value, long := strings.CutPrefix(w, "--sched-flags")
		if !long {
			at := strings.IndexByte(w, 'b')
			if strings.HasPrefix(w, "--") || !strings.HasPrefix(w, "-") || at < 0 {
				continue
			}
			value = w[at+1:]
		}
		if value == "" && i+1 < len(words) {
			value = words[i+1]
		}
		if strings.Contains(value, ",") && strings.Trim(value, ",=") == "" {
			return true
		}
	}
	return false
}
