package ipvsadm

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// finish checks what only the whole command line tells, and completes the operation.
func (l *commandLine) finish() *Error {
	err := l.takeTimeouts()
	if err == nil {
		err = l.takeSchedFlags()
	}
	if err == nil {
		err = l.checkMatrix()
	}
	if err == nil {
		err = l.checkService()
	}
	if err == nil {
		err = l.checkServer()
	}
	if err == nil {
		err = l.checkList()
	}
	if err != nil {
		return err
	}
	l.complete()
	return nil
}

// takeTimeouts reads the words that are no options: three for --set, none for other commands.
func (l *commandLine) takeTimeouts() *Error {
	free := l.positional
	if l.op.Command == SetTimeouts {
		if len(free) < 3 {
			return &Error{
				Kind: MissingValue, Option: SetTimeouts.String(), Word: -1, Text: "--set option requires 3 timeout values",
			}
		}
		high := int64(maxSeconds)
		if l.p.Lossless {
			high = maxLosslessTimeout
		}
		t := &l.op.Timeouts
		for i, to := range []*time.Duration{&t.TCP, &t.TCPFin, &t.UDP} {
			n, ok := number(l.words[free[i]], 0, high)
			if !ok {
				l.argAt = free[i]
				err := l.badTimeout(optTimeout, l.words[free[i]])
				err.Option = SetTimeouts.String()
				return err
			}
			*to = time.Duration(n) * time.Second
		}
		free = free[3:]
	}
	if len(free) > 0 {
		return &Error{Kind: Unexpected, Word: free[0], Text: "unexpected argument " + l.words[free[0]]}
	}
	return nil
}

// takeSchedFlags reads the list of -b, whose words depend on the scheduler.
func (l *commandLine) takeSchedFlags() *Error {
	if l.op.Service.Scheduler == "" {
		l.op.Service.Scheduler = defaultScheduler
	}
	if l.flagList == "" {
		return nil
	}
	for item := range strings.SplitSeq(cut(l.flagList, maxSchedFlags), ",") {
		if item == "" {
			continue
		}
		flag, scheduler := schedFlag(item)
		switch {
		case flag == 0 && l.p.Lossless && strings.HasPrefix(item, "0x"):
			n, err := strconv.ParseUint(item[2:], 16, 32)
			if err == nil {
				flag = ipvs.ServiceFlags(n)
				break
			}
			fallthrough
		case flag == 0:
			return &Error{
				Kind: BadValue, Option: optSchedFlags.String(), Word: l.flagListAt, Text: "invalid scheduler flag `" + item + "'",
			}
		case scheduler != "" && scheduler != l.op.Service.Scheduler:
			return &Error{
				Kind: Conflict, Option: optSchedFlags.String(), Word: l.flagListAt, Text: "incompatible scheduler flag `" + item + "'",
			}
		}
		l.op.Service.Flags |= flag
	}
	return nil
}

// schedFlag returns the flag of an item of -b, and the scheduler that it is for if it is for one only.
func schedFlag(item string) (flag ipvs.ServiceFlags, scheduler string) {
	switch item {
	case "flag-1":
		return ipvs.Sched1, ""
	case "flag-2":
		return ipvs.Sched2, ""
	case "flag-3":
		return ipvs.Sched3, ""
	case "sh-fallback":
		return ipvs.SHFallback, "sh"
	case "sh-port":
		return ipvs.SHPort, "sh"
	case "mh-fallback":
		return ipvs.MHFallback, "mh"
	case "mh-port":
		return ipvs.MHPort, "mh"
	}
	return 0, ""
}

func (l *commandLine) noUse(o option, text string) *Error {
	return &Error{Kind: NoUse, Option: o.String(), Word: int(l.at[o]), Text: text}
}

func (l *commandLine) checkService() *Error {
	if l.op.Command != AddService && l.op.Command != SetService || l.p.Lossless {
		return nil
	}
	s := &l.op.Service
	switch {
	case s.ID.IsMark():
	case s.ID.Addr.Port() == 0 && s.Flags&ipvs.Persistent == 0:
		return l.noUse(optService, "Zero port specified for non-persistent service")
	case s.Flags&ipvs.OnePacket != 0 && s.ID.Protocol != ipvs.UDP:
		return l.noUse(optOnePacket, "One-Packet Scheduling is only for UDP virtual services")
	}
	return nil
}

func (l *commandLine) checkServer() *Error {
	if l.op.Command != AddDestination && l.op.Command != SetDestination {
		return nil
	}
	d, id := &l.op.Destination, &l.op.Service.ID
	direct := d.Forward == ipvs.Route || d.Forward == ipvs.Tunnel
	switch {
	case id.IsMark():
	case l.p.Lossless && !l.serverPort, !l.p.Lossless && direct:
		// Packets keep their port, whatever was asked for.
		l.server = netip.AddrPortFrom(l.server.Addr(), id.Addr.Port())
	}
	family := ipvs.IPv4
	if l.server.Addr().Is6() {
		family = ipvs.IPv6
	}
	if family != id.AddrFamily() && d.Forward != ipvs.Tunnel {
		return l.noUse(optServer, "Different address family is allowed only for tunneling servers")
	}
	if l.p.Lossless {
		return nil
	}
	if d.Forward == ipvs.Tunnel {
		return l.checkTunnel()
	}
	for _, o := range [...]option{optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum} {
		if l.seen.has(o) {
			return l.noUse(o, "Tunnel options conflict with forward method")
		}
	}
	return nil
}

func (l *commandLine) checkList() *Error {
	if l.op.Command != List {
		return nil
	}
	seen := l.seen
	other := seen.has(optTimeout) || seen.has(optDaemon)
	if (other || seen.has(optConnection)) && (seen.has(optStats) || seen.has(optRate) || seen.has(optThresholds)) ||
		other && seen.has(optPersistentConn) {
		return &Error{Kind: Conflict, Word: -1, Text: "options conflicts in the list command"}
	}
	return nil
}

// complete leaves in the operation what its command needs, so that equal operations compare as equal.
func (l *commandLine) complete() {
	op := Operation{Command: l.op.Command}
	id := l.op.Service.ID
	switch op.Command {
	case AddService, SetService:
		op.Service = l.op.Service
		op.Service.Netmask = l.mask
		if l.seen.has(optStoredTimeout) && op.Service.Flags&ipvs.Persistent == 0 {
			op.Service.Timeout = l.stored
		}
	case DeleteService:
		op.Service.ID = id
	case Zero:
		// An address of nothing but zeros is sent as no service at all.
		if id.IsMark() || id.Addr.Port() != 0 || !id.Addr.Addr().IsUnspecified() {
			op.Service.ID = id
		}
	case AddDestination, SetDestination:
		op.Service.ID = id
		op.Destination = l.op.Destination
		op.Destination.Addr = l.server
	case DeleteDestination:
		op.Service.ID = id
		op.Destination.Addr = l.server
	case SetTimeouts:
		op.Timeouts = l.op.Timeouts
	case StartDaemon:
		op.Daemon = l.op.Daemon
		if op.Daemon.Interface == "" {
			op.Daemon.Interface = defaultMcast
		}
	case StopDaemon:
		op.Daemon = ipvs.Daemon{State: l.op.Daemon.State, SyncID: l.op.Daemon.SyncID}
	case List:
		op.Service.ID = id
		op.Listing = l.op.Listing
		op.Listing.View = l.chosenView()
		if l.seen.has(optNumericSort) && op.Listing.Order == CompatibleOrder {
			op.Listing.Order = NumericOrder
		}
	case Save:
		op.Listing.Numeric = l.op.Listing.Numeric
		op.Lossless = l.op.Lossless
	case Restore:
		op.Lossless, op.Atomic = l.op.Lossless, l.op.Atomic
	}
	l.op = op
}

func (l *commandLine) chosenView() View {
	for _, v := range [...]struct {
		opt  option
		view View
	}{
		{optStats, Stats},
		{optRate, Rate},
		{optThresholds, Thresholds},
		{optPersistentConn, PersistentConns},
		{optTunInfo, TunnelInfo},
	} {
		if l.seen.has(v.opt) {
			return v.view
		}
	}
	return Plain
}
