package ipvsadm

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// Operation is what a command line asks for. Fields that a command does not need are zero, so that two operations can be
// compared with ==.
//
// The words of the lossless form, which only a [Parser] with Lossless reads, say what ipvsadm cannot: --stored-timeout
// SECONDS (a timeout that the kernel holds although the service is not persistent), an item 0xN of -b (further flags of
// a service), --forward N (a forwarding method by its number), a number for --tun-type, --tun-flags N (further flags of a
// tunnel), tunnel options of servers that are not tunnelled, ports of -g and -i that are not the service's, and what is
// beyond ipvsadm's limits.
type Operation struct {
	Command Command

	// Service is the whole configuration for [AddService] and [SetService], and only ID is set for the other commands
	// about a service. It is zero for [List] and [Zero] of everything. The scheduler is wlc if none was given, the netmask
	// always a mask. An IPv4-mapped address is that of an IPv6 service, as ipvsadm takes it.
	Service ipvs.Service

	// Destination is the whole configuration for [AddDestination] and [SetDestination], and only Addr is set for
	// [DeleteDestination]. Its address can be an IPv4-mapped one, which the kernel refuses.
	Destination ipvs.Destination

	Timeouts ipvs.Timeouts // for SetTimeouts; zero leaves a value as it is
	Daemon   ipvs.Daemon   // for StartDaemon; for StopDaemon State and SyncID, which means nothing
	Listing  Listing       // for List; for Save only Numeric

	Lossless bool // --lossless of Save and Restore, which ipvsadm does not have
	Atomic   bool // --atomic of Restore, which ipvsadm does not have
}

// String returns the operation as a line of a rule file: the Words with blanks between.
func (op Operation) String() string { return strings.Join(op.Words(), " ") }

// Words returns the operation as a command line without the program's name. It holds numbers only, and what ipvsadm has no
// words for in those of the lossless form. What a [Parser] has read it reads again from the words as an equal operation.
func (op Operation) Words() []string {
	var w wordList
	switch op.Command {
	case List:
		w.add("-L")
		w.service(op.Service.ID)
		w.listing(op.Listing)
	case AddService:
		w.add("-A")
		w.wholeService(op.Service)
	case SetService:
		w.add("-E")
		w.wholeService(op.Service)
	case DeleteService:
		w.add("-D")
		w.service(op.Service.ID)
	case Flush:
		w.add("-C")
	case AddDestination:
		w.add("-a")
		w.server(op.Service.ID, op.Destination)
	case SetDestination:
		w.add("-e")
		w.server(op.Service.ID, op.Destination)
	case DeleteDestination:
		w.add("-d")
		w.service(op.Service.ID)
		w.add("-r", addrText(op.Destination.Addr))
	case SetTimeouts:
		t := op.Timeouts
		w.add("--set", seconds(t.TCP), seconds(t.TCPFin), seconds(t.UDP))
	case StartDaemon:
		w.daemon(op.Daemon)
	case StopDaemon:
		w.add("--stop-daemon", op.Daemon.State.String())
		if op.Daemon.SyncID != 0 {
			w.number("--syncid", op.Daemon.SyncID)
		}
	case Restore:
		w.add("-R")
	case Save:
		w.add("-S")
		w.flag(op.Listing.Numeric, "-n")
	case Zero:
		w.add("-Z")
		w.service(op.Service.ID)
	case Help:
		w.add("-h")
	case Version:
		w.add("-v")
	}
	w.flag(op.Lossless, "--lossless")
	w.flag(op.Atomic, "--atomic")
	return w
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// addrText is netip's form, in which the port is always there and IPv6 stands in brackets.
func addrText(a netip.AddrPort) string { return a.String() }

type wordList []string

func (w *wordList) add(words ...string) { *w = append(*w, words...) }

func (w *wordList) flag(on bool, word string) {
	if on {
		w.add(word)
	}
}

func (w *wordList) number(option string, n uint32) { w.add(option, strconv.FormatUint(uint64(n), 10)) }

// text adds an option with a value of the user's choice. Some values would be dropped from a rule file if they were words of
// their own.
func (w *wordList) text(option, value string) {
	if value == "" || value == programWord || value[0] == '#' {
		w.add(option + "=" + value)
		return
	}
	w.add(option, value)
}

func (w *wordList) service(id ipvs.ServiceID) {
	switch {
	case id == ipvs.ServiceID{}:
	case id.IsMark():
		w.number("-f", id.FWMark)
		w.flag(id.Family == ipvs.IPv6, "-6")
	default:
		w.add(serviceOptionWord(id.Protocol), addrText(id.Addr))
	}
}

// serviceOptionWord returns the option that names a service of a protocol. There is none for others than the three, and
// ipvsadm writes then what nobody reads.
func serviceOptionWord(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "-t"
	case ipvs.UDP:
		return "-u"
	case ipvs.SCTP:
		return "--sctp-service"
	}
	return "--xxx-service"
}

func (w *wordList) wholeService(s ipvs.Service) {
	w.service(s.ID)
	w.text("-s", s.Scheduler)
	switch {
	case s.Flags&ipvs.Persistent != 0:
		w.add("-p", seconds(s.Timeout))
	case s.Timeout != 0:
		w.add("--stored-timeout", seconds(s.Timeout))
	}
	if mask := maskText(s.Netmask); mask != "" {
		w.add("-M", mask)
	}
	if s.PE != "" {
		w.text("--pe", s.PE)
	}
	w.flag(s.Flags&ipvs.OnePacket != 0, "-o")
	if list := losslessSchedFlags(s.Scheduler, s.Flags); list != "" {
		w.add("-b", list)
	}
}

// Masks of whole addresses; never written to.
var (
	wholeAddr4 = ipvs.MaskBits(ipvs.IPv4, 32)
	wholeAddr6 = ipvs.MaskBits(ipvs.IPv6, 128)
)

// maskText returns the argument of -M, and "" for a mask of the whole address.
func maskText(mask netip.Addr) string {
	switch {
	case !mask.IsValid():
		return ""
	case mask.Is4():
		if mask == wholeAddr4 {
			return ""
		}
		return mask.String()
	}
	n := prefixBits(mask)
	if n == 128 {
		return ""
	}
	return strconv.Itoa(n)
}

// prefixBits returns the number of leading ones.
func prefixBits(mask netip.Addr) int {
	n := 0
	for _, b := range mask.As16() {
		for b&0x80 != 0 {
			n++
			b <<= 1
		}
		if n%8 != 0 || b != 0 {
			break
		}
	}
	return n
}

const allSchedFlags = ipvs.Sched1 | ipvs.Sched2 | ipvs.Sched3

// losslessSchedFlags returns the argument of -b. The names that ipvsadm writes for sh and mh leave out the third flag.
func losslessSchedFlags(scheduler string, f ipvs.ServiceFlags) string {
	if f&ipvs.Sched3 != 0 {
		scheduler = ""
	}
	list := schedFlagText(scheduler, f)
	if rest := f &^ (ipvs.Persistent | ipvs.OnePacket | allSchedFlags); rest != 0 {
		if list != "" {
			list += ","
		}
		list += "0x" + strconv.FormatUint(uint64(rest), 16)
	}
	return list
}

// schedFlagText returns the names of the schedulers' flags as ipvsadm has them.
func schedFlagText(scheduler string, f ipvs.ServiceFlags) string {
	var names []string
	switch scheduler {
	case "sh", "mh":
		if f&ipvs.Sched1 != 0 {
			names = append(names, scheduler+"-fallback")
		}
		if f&ipvs.Sched2 != 0 {
			names = append(names, scheduler+"-port")
		}
	default:
		for i, flag := range [...]ipvs.ServiceFlags{ipvs.Sched1, ipvs.Sched2, ipvs.Sched3} {
			if f&flag != 0 {
				names = append(names, "flag-"+strconv.Itoa(i+1))
			}
		}
	}
	return strings.Join(names, ",")
}

func (w *wordList) server(id ipvs.ServiceID, d ipvs.Destination) {
	w.service(id)
	w.add("-r", addrText(d.Addr))
	switch d.Forward {
	case ipvs.Masquerade:
		w.add("-m")
	case ipvs.Tunnel:
		w.add("-i")
	case ipvs.Route:
		w.add("-g")
	default:
		w.number("--forward", uint32(d.Forward))
	}
	w.number("-w", d.Weight)
	if d.UpperThreshold != 0 {
		w.number("-x", d.UpperThreshold)
	}
	if d.LowerThreshold != 0 {
		w.number("-y", d.LowerThreshold)
	}
	w.tunnel(d.Tunnel)
}

func (w *wordList) tunnel(t ipvs.TunnelOptions) {
	switch {
	case t.Type == ipvs.IPIP: // the default
	case t.Type > ipvs.GRE:
		w.number("--tun-type", uint32(t.Type))
	default:
		w.add("--tun-type", t.Type.String())
	}
	if t.Port != 0 {
		w.number("--tun-port", uint32(t.Port))
	}
	switch t.Flags {
	case 0:
	case ipvs.Checksum:
		w.add("--tun-csum")
	case ipvs.RemoteChecksum:
		w.add("--tun-remcsum")
	default:
		w.add("--tun-flags", "0x"+strconv.FormatUint(uint64(t.Flags), 16))
	}
}

func (w *wordList) daemon(d ipvs.Daemon) {
	w.add("--start-daemon", d.State.String())
	w.text("--mcast-interface", d.Interface)
	w.number("--syncid", d.SyncID)
	if d.MaxLen != 0 {
		w.number("--sync-maxlen", uint32(d.MaxLen))
	}
	if d.Group.IsValid() {
		w.add("--mcast-group", d.Group.String())
	}
	if d.Port != 0 {
		w.number("--mcast-port", uint32(d.Port))
	}
	if d.TTL != 0 {
		w.number("--mcast-ttl", uint32(d.TTL))
	}
}

func (w *wordList) listing(l Listing) {
	w.flag(l.Numeric, "-n")
	if l.Subject != Services {
		w.add("--" + [...]string{Connections: "connection", Timeouts: "timeout", Daemons: "daemon"}[l.Subject])
	}
	if l.View != Plain {
		w.add("--" + l.View.String())
	}
	w.flag(l.Exact, "--exact")
	switch l.Order {
	case NumericOrder:
		w.add("--numeric-sort")
	case KernelOrder:
		w.add("--nosort")
	}
	w.flag(l.JSON, "--json")
}
