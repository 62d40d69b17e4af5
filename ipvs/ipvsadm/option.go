package ipvsadm

// option is the name of an option in messages. The order is that of the checks: the first finding is reported.
type option uint8

const (
	optNumeric option = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUpper
	optLower
	optMcastInterface
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOnePacket
	optPE
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum

	// Those below ipvsadm does not have.

	optJSON
	optNumericSort
	optLossless
	optAtomic
	optStoredTimeout
	optForwardAs
	optTunFlags

	optCount

	// Those below are not part of the checks.

	optSort
	optIPv6
	optCommand
)

// How an option takes its argument.
type argKind uint8

const (
	argNone argKind = iota
	argRequired
	argOptional // the rest of the word, or the next word if that does not begin with a dash
)

// A spec is one spelling of an option or a command.
type spec struct {
	long    string
	short   byte
	arg     argKind
	opt     option
	command Command // if opt is optCommand
}

// specs is never written to.
var specs = [...]spec{
	{"add-service", 'A', argNone, optCommand, AddService},
	{"edit-service", 'E', argNone, optCommand, SetService},
	{"delete-service", 'D', argNone, optCommand, DeleteService},
	{"clear", 'C', argNone, optCommand, Flush},
	{"restore", 'R', argNone, optCommand, Restore},
	{"save", 'S', argNone, optCommand, Save},
	{"add-server", 'a', argNone, optCommand, AddDestination},
	{"edit-server", 'e', argNone, optCommand, SetDestination},
	{"delete-server", 'd', argNone, optCommand, DeleteDestination},
	{"list", 'L', argNone, optCommand, List},
	{"", 'l', argNone, optCommand, List},
	{"zero", 'Z', argNone, optCommand, Zero},
	{"set", 0, argNone, optCommand, SetTimeouts},
	{"start-daemon", 0, argRequired, optCommand, StartDaemon},
	{"stop-daemon", 0, argRequired, optCommand, StopDaemon},
	{"help", 'h', argNone, optCommand, Help},
	{"version", 'v', argNone, optCommand, Version},

	{long: "tcp-service", short: 't', arg: argRequired, opt: optService},
	{long: "udp-service", short: 'u', arg: argRequired, opt: optService},
	{long: "sctp-service", arg: argRequired, opt: optService},
	{long: "fwmark-service", short: 'f', arg: argRequired, opt: optService},
	{long: "ipv6", short: '6', opt: optIPv6},
	{long: "scheduler", short: 's', arg: argRequired, opt: optScheduler},
	{long: "persistent", short: 'p', arg: argOptional, opt: optPersistent},
	{long: "netmask", short: 'M', arg: argRequired, opt: optNetmask},
	{long: "pe", arg: argRequired, opt: optPE},
	{long: "ops", short: 'o', opt: optOnePacket},
	{long: "sched-flags", short: 'b', arg: argRequired, opt: optSchedFlags},
	{long: "real-server", short: 'r', arg: argRequired, opt: optServer},
	{long: "gatewaying", short: 'g', opt: optForward},
	{long: "ipip", short: 'i', opt: optForward},
	{long: "masquerading", short: 'm', opt: optForward},
	{long: "weight", short: 'w', arg: argRequired, opt: optWeight},
	{long: "u-threshold", short: 'x', arg: argRequired, opt: optUpper},
	{long: "l-threshold", short: 'y', arg: argRequired, opt: optLower},
	{long: "tun-type", arg: argRequired, opt: optTunType},
	{long: "tun-port", arg: argRequired, opt: optTunPort},
	{long: "tun-nocsum", opt: optTunNoCsum},
	{long: "tun-csum", opt: optTunCsum},
	{long: "tun-remcsum", opt: optTunRemCsum},
	{long: "numeric", short: 'n', opt: optNumeric},
	{long: "connection", short: 'c', opt: optConnection},
	{long: "timeout", opt: optTimeout},
	{long: "daemon", opt: optDaemon},
	{long: "stats", opt: optStats},
	{long: "rate", opt: optRate},
	{long: "thresholds", opt: optThresholds},
	{long: "persistent-conn", opt: optPersistentConn},
	{long: "tun-info", opt: optTunInfo},
	{long: "nosort", opt: optNoSort},
	{long: "sort", opt: optSort},
	{long: "exact", short: 'X', opt: optExact},
	{long: "mcast-interface", arg: argRequired, opt: optMcastInterface},
	{long: "syncid", arg: argRequired, opt: optSyncID},
	{long: "sync-maxlen", arg: argRequired, opt: optSyncMaxLen},
	{long: "mcast-group", arg: argRequired, opt: optMcastGroup},
	{long: "mcast-port", arg: argRequired, opt: optMcastPort},
	{long: "mcast-ttl", arg: argRequired, opt: optMcastTTL},

	// Options of this package, known to a Parser with Extensions.
	{long: "json", opt: optJSON},
	{long: "numeric-sort", opt: optNumericSort},
	{long: "lossless", opt: optLossless},
	{long: "atomic", opt: optAtomic},

	// Words of the lossless form, known to a Parser with Lossless.
	{long: "stored-timeout", arg: argRequired, opt: optStoredTimeout},
	{long: "forward", arg: argRequired, opt: optForwardAs},
	{long: "tun-flags", arg: argRequired, opt: optTunFlags},
}

// known reports whether a parser reads the option.
func (p *Parser) known(s *spec) bool {
	switch s.opt {
	case optJSON, optNumericSort, optLossless, optAtomic:
		return p.Extensions
	case optStoredTimeout, optForwardAs, optTunFlags:
		return p.Lossless
	}
	return true
}

func (p *Parser) long(name string) *spec { return p.spec(longOptions[name]) }

func (p *Parser) short(c byte) *spec { return p.spec(shortOptions[c]) }

// spec returns the spelling of a number if the parser knows it; 0 is none.
func (p *Parser) spec(n uint8) *spec {
	if n == 0 || !p.known(&specs[n-1]) {
		return nil
	}
	return &specs[n-1]
}

// Numbers, from 1, of the spellings; never written to after they were made.
var (
	longOptions  = makeLongOptions()
	shortOptions = makeShortOptions()
)

func makeLongOptions() map[string]uint8 {
	m := make(map[string]uint8, len(specs))
	for i := range specs {
		if specs[i].long != "" {
			m[specs[i].long] = uint8(i + 1)
		}
	}
	return m
}

func makeShortOptions() (m [256]uint8) {
	for i := range specs {
		if c := specs[i].short; c != 0 {
			m[c] = uint8(i + 1)
		}
	}
	return m
}
