package ipvsadm

import (
	"context"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// Parser reads command lines. The zero value reads what ipvsadm 1.31 reads, without names. A Parser is not written to,
// and is safe for concurrent use.
type Parser struct {
	// Resolver reads names of hosts and ports; nil takes numbers only.
	Resolver Resolver

	// Extensions adds the options that ipvsadm does not have: --json and --numeric-sort for -L, --lossless for -S and -R,
	// --atomic for -R.
	Extensions bool

	// Lossless reads the lossless form, which says what is meant: a port given with -r is kept for -g and -i, ports and
	// protocols are not checked against -p and -o, tunnel options go with every forwarding method, times go up to the
	// kernel's limits, and there are a few more words: see [Operation].
	Lossless bool

	// Strict reads rule files with comments and with a last line that ends in blanks; see [Parser.Rules].
	Strict bool
}

// Parse reads a command line without the program's name, numbers only. No words at all are a listing with names, the
// zero Operation. The error is an [*Error].
func Parse(words []string) (Operation, error) {
	return (&Parser{}).Parse(context.Background(), words)
}

// Parse reads a command line without the program's name. No words at all are a listing with names, the zero Operation.
// The error is an [*Error]. The context ends looking up names.
func (p *Parser) Parse(ctx context.Context, words []string) (Operation, error) {
	if len(words) == 0 {
		return Operation{}, nil
	}
	l := commandLine{p: p, ctx: ctx, scanner: scanner{p: p, words: words}}
	if err := l.parse(); err != nil {
		return Operation{}, err
	}
	return l.op, nil
}

// The longest times that the options take, in seconds: 31 days, and what kernels of every clock rate store unchanged.
const (
	maxSeconds         = 31 * 24 * 3600
	maxLosslessPersist = 4294967
	maxLosslessTimeout = math.MaxInt32
	defaultPersistence = 360 * time.Second
	defaultScheduler   = "wlc"
	defaultMcast       = "eth0"
	maxSyncMaxLen      = 65507
	maxSchedulerName   = 15
	maxPEName          = 16
	maxInterfaceName   = 15
	maxSchedFlags      = 127
)

// commandLine is a command line that is being read.
type commandLine struct {
	scanner
	p   *Parser
	ctx context.Context
	op  Operation

	seen       optionSet
	at         [optCount]int32 // the word of an option
	positional []int           // words

	family     ipvs.Family // of the service; 0 if none was read yet
	proto      ipvs.Protocol
	mark       uint32
	mask       netip.Addr
	server     netip.AddrPort
	serverPort bool // the server's port was given
	flagList   string
	flagListAt int
	stored     time.Duration
}

func (l *commandLine) parse() *Error {
	// What a server is given by default; it goes at the end where the command is about no server.
	l.op.Destination = ipvs.Destination{Forward: ipvs.Route, Weight: 1}
	l.mask = wholeAddr4
	command := false
	for {
		opt, ok, err := l.scan()
		if !ok {
			break
		}
		switch {
		case opt == nil && err == nil:
			l.positional = append(l.positional, l.argAt)
		case !command && (err != nil || opt.opt != optCommand):
			return &Error{Kind: NoCommand, Word: l.word}
		case err != nil:
			return err
		case !command:
			command = true
			l.op.Command = opt.command
			if opt.command == Help || opt.command == Version {
				l.op = Operation{Command: opt.command}
				return nil
			}
			err = l.daemonState()
		case opt.opt == optCommand:
			return &Error{
				Kind: Repeated, Option: opt.command.String(), Word: l.word,
				Text: "invalid option `" + l.words[l.word] + "'",
			}
		default:
			if err = l.once(opt.opt); err == nil {
				err = l.option(opt)
			}
		}
		if err != nil {
			return err
		}
	}
	if !command {
		return &Error{Kind: NoCommand, Word: -1}
	}
	return l.finish()
}

// once notes an option and refuses its second occurrence.
func (l *commandLine) once(o option) *Error {
	if o >= optCount {
		return nil
	}
	if l.seen.has(o) {
		return &Error{Kind: Repeated, Option: o.String(), Word: l.word, Text: "multiple '" + o.String() + "' options specified"}
	}
	l.seen |= 1 << o
	l.at[o] = int32(l.word)
	return nil
}

// bad is the error of an option's argument.
func (l *commandLine) bad(o option, text string) *Error {
	return &Error{Kind: BadValue, Option: o.String(), Word: l.argAt, Text: text}
}

func (l *commandLine) daemonState() *Error {
	if l.op.Command != StartDaemon && l.op.Command != StopDaemon {
		return nil
	}
	switch l.arg {
	case "master":
		l.op.Daemon.State = ipvs.Master
	case "backup":
		l.op.Daemon.State = ipvs.Backup
	default:
		text := "illegal start-daemon parameter specified"
		if l.op.Command == StopDaemon {
			text = "illegal start_daemon specified"
		}
		return &Error{Kind: BadValue, Option: l.op.Command.String(), Word: l.argAt, Text: text}
	}
	return nil
}

// option evaluates an option and its argument.
func (l *commandLine) option(s *spec) *Error {
	switch s.opt {
	case optService, optIPv6, optServer:
		return l.addressOption(s)
	case optScheduler, optPersistent, optStoredTimeout, optNetmask, optPE, optOnePacket, optSchedFlags:
		return l.serviceOption(s)
	case optForward, optForwardAs, optWeight, optUpper, optLower, optTunType, optTunPort, optTunFlags, optTunNoCsum, optTunCsum,
		optTunRemCsum:
		return l.serverOption(s)
	case optMcastInterface, optSyncID, optSyncMaxLen, optMcastGroup, optMcastPort, optMcastTTL:
		return l.daemonOption(s)
	}
	l.listOption(s)
	return nil
}

func (l *commandLine) addressOption(s *spec) *Error {
	switch {
	case s.opt == optIPv6:
		if l.mark == 0 {
			return &Error{Kind: BadValue, Option: "ipv6", Word: l.word, Text: "-6 used before -f\n"}
		}
		l.family, l.mask = ipvs.IPv6, wholeAddr6
		l.op.Service.ID.Family = ipvs.IPv6
		return nil
	case s.opt == optServer:
		addr, hasPort, ok := l.p.address(l.ctx, l.proto, l.arg)
		if !ok {
			return l.bad(s.opt, "illegal real server address[:port] specified")
		}
		if !hasPort {
			addr = netip.AddrPortFrom(addr.Addr(), l.op.Service.ID.Addr.Port())
		}
		l.server, l.serverPort = addr, hasPort
		return nil
	case s.short == 'f':
		n, ok := number(l.arg, 1, math.MaxUint32)
		if !ok {
			return l.bad(s.opt, "invalid fwmark value `"+l.arg+"' specified")
		}
		l.mark, l.family = uint32(n), ipvs.IPv4
		l.proto = ipvs.TCP // whose names a server's port can have
		l.op.Service.ID = ipvs.Mark(l.mark, l.family)
		return nil
	}
	switch s.long {
	case "tcp-service":
		l.proto = ipvs.TCP
	case "udp-service":
		l.proto = ipvs.UDP
	default:
		l.proto = ipvs.SCTP
	}
	addr, _, ok := l.p.address(l.ctx, l.proto, l.arg)
	if !ok {
		return l.bad(s.opt, "illegal virtual server address[:port] specified")
	}
	l.op.Service.ID = serviceID(l.proto, addr)
	l.family = l.op.Service.ID.AddrFamily()
	if l.family == ipvs.IPv6 {
		l.mask = wholeAddr6
	}
	return nil
}

// serviceID keeps an IPv4-mapped address an IPv6 one.
func serviceID(p ipvs.Protocol, addr netip.AddrPort) ipvs.ServiceID {
	id := ipvs.ServiceID{Protocol: p, Addr: addr}
	if addr.Addr().Is4In6() {
		id.Family = ipvs.IPv6
	}
	return id
}

func (l *commandLine) serviceOption(s *spec) *Error {
	svc := &l.op.Service
	switch s.opt {
	case optScheduler:
		svc.Scheduler = cut(l.arg, maxSchedulerName)
	case optPersistent, optStoredTimeout:
		low, high := int64(1), int64(maxSeconds)
		if l.p.Lossless {
			low, high = 0, maxLosslessPersist
		}
		d := defaultPersistence
		if l.given {
			n, ok := number(l.arg, low, high)
			if !ok {
				return l.badTimeout(s.opt, l.arg)
			}
			d = time.Duration(n) * time.Second
		}
		if s.opt == optStoredTimeout {
			l.stored = d
			break
		}
		svc.Flags |= ipvs.Persistent
		svc.Timeout = d
	case optNetmask:
		if l.family == ipvs.IPv6 {
			// The number is read loosely, into 32 bits.
			n, _, _ := leadingNumber(l.arg)
			if l.mask = ipvs.MaskBits(ipvs.IPv6, int(int32(n))); !l.mask.IsValid() || int32(n) == 0 {
				return l.bad(s.opt, "illegal ipv6 netmask specified")
			}
			break
		}
		mask, ok := l.p.ipv4(l.ctx, l.arg)
		if !ok {
			return l.bad(s.opt, "illegal virtual server persistent mask specified")
		}
		l.mask = mask
	case optPE:
		svc.PE = cut(l.arg, maxPEName)
	case optOnePacket:
		svc.Flags |= ipvs.OnePacket
	case optSchedFlags:
		l.flagList, l.flagListAt = l.arg, l.argAt
	}
	return nil
}

func (l *commandLine) badTimeout(o option, text string) *Error {
	return l.bad(o, "invalid timeout value `"+text+"' specified")
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

func (l *commandLine) serverOption(s *spec) *Error {
	d := &l.op.Destination
	number32 := func(to *uint32, text string) *Error {
		n, ok := number(l.arg, 0, math.MaxInt32)
		if !ok {
			return l.bad(s.opt, text)
		}
		*to = uint32(n)
		return nil
	}
	switch s.opt {
	case optForward:
		switch s.short {
		case 'g':
			d.Forward = ipvs.Route
		case 'i':
			d.Forward = ipvs.Tunnel
		case 'm':
			d.Forward = ipvs.Masquerade
		}
	case optForwardAs:
		n, ok := number(l.arg, 0, 7)
		if !ok {
			return l.bad(s.opt, "illegal forwarding method specified")
		}
		d.Forward = ipvs.ForwardMethod(n)
	case optWeight:
		return number32(&d.Weight, "illegal weight specified")
	case optUpper:
		return number32(&d.UpperThreshold, "illegal u_threshold specified")
	case optLower:
		return number32(&d.LowerThreshold, "illegal l_threshold specified")
	case optTunType:
		switch n, ok := number(l.arg, 0, math.MaxUint8); {
		case l.arg == "ipip":
			d.Tunnel.Type = ipvs.IPIP
		case l.arg == "gue":
			d.Tunnel.Type = ipvs.GUE
		case l.arg == "gre":
			d.Tunnel.Type = ipvs.GRE
		case ok && l.p.Lossless:
			d.Tunnel.Type = ipvs.TunnelType(n)
		default:
			return l.bad(s.opt, "illegal tunnel type specified")
		}
	case optTunPort:
		n, ok := number(l.arg, 1, math.MaxUint16)
		if !ok {
			return l.bad(s.opt, "illegal tunnel port specified")
		}
		d.Tunnel.Port = uint16(n)
	case optTunFlags:
		n, err := strconv.ParseUint(l.arg, 0, 16)
		if err != nil {
			return l.bad(s.opt, "illegal tunnel flags specified")
		}
		d.Tunnel.Flags |= ipvs.TunnelFlags(n)
	case optTunCsum:
		d.Tunnel.Flags |= ipvs.Checksum
	case optTunRemCsum:
		d.Tunnel.Flags |= ipvs.RemoteChecksum
	}
	return nil
}

func (l *commandLine) daemonOption(s *spec) *Error {
	d := &l.op.Daemon
	ranged := func(low, high int64) (int64, *Error) {
		n, ok := number(l.arg, low, high)
		if !ok {
			return 0, l.bad(s.opt, "illegal "+s.long+" specified")
		}
		return n, nil
	}
	var n int64
	var err *Error
	switch s.opt {
	case optMcastInterface:
		d.Interface = cut(l.arg, maxInterfaceName)
	case optSyncID:
		n, err = ranged(0, 255)
		d.SyncID = uint32(n)
	case optSyncMaxLen:
		n, err = ranged(1, maxSyncMaxLen)
		d.MaxLen = uint16(n)
	case optMcastPort:
		n, err = ranged(1, math.MaxUint16)
		d.Port = uint16(n)
	case optMcastTTL:
		n, err = ranged(1, math.MaxUint8)
		d.TTL = uint8(n)
	case optMcastGroup:
		family := "IPv4"
		if strings.Contains(l.arg, ":") {
			family = "IPv6"
		}
		a, parseErr := netip.ParseAddr(l.arg)
		if parseErr != nil || a.Zone() != "" || !a.IsMulticast() || a.Is4In6() {
			return l.bad(s.opt, "invalid "+family+" mcast-group `"+l.arg+"'")
		}
		d.Group = a
	}
	return err
}

func (l *commandLine) listOption(s *spec) {
	switch s.opt {
	case optNumeric:
		l.op.Listing.Numeric = true
	case optExact:
		l.op.Listing.Exact = true
	case optNoSort:
		l.op.Listing.Order = KernelOrder
	case optConnection:
		l.op.Listing.Subject = Connections
	case optTimeout:
		l.op.Listing.Subject = Timeouts
	case optDaemon:
		l.op.Listing.Subject = Daemons
	case optJSON:
		l.op.Listing.JSON = true
	case optLossless:
		l.op.Lossless = true
	case optAtomic:
		l.op.Atomic = true
	}
}
