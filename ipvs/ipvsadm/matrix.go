package ipvsadm

// What a command says to an option.
const (
	required  = '+'
	forbidden = 'x'
	optional  = '.'
	oneOf     = '1' // at most one of these
)

// matrix says which options go with which commands. It is never written to.
//
//	A E D C L a e d set start stop R S Z
var matrix = [optCount]struct{ name, row string }{
	optNumeric:        {"numeric", "xxx.xxxxxx.x"},
	optConnection:     {"connection", "xxx1xxxxxxxx"},
	optService:        {"service-address", "++x1++xxxxx."},
	optScheduler:      {"scheduler", ".xxxxxxxxxxx"},
	optPersistent:     {"persistent", ".xxxxxxxxxxx"},
	optNetmask:        {"netmask", ".xxxxxxxxxxx"},
	optServer:         {"real-server", "xxxx++xxxxxx"},
	optForward:        {"forwarding-method", "xxxx.xxxxxxx"},
	optWeight:         {"weight", "xxxx.xxxxxxx"},
	optUpper:          {"u-threshold", "xxxx.xxxxxxx"},
	optLower:          {"l-threshold", "xxxx.xxxxxxx"},
	optMcastInterface: {"mcast-interface", "xxxxxxx.xxxx"},
	optTimeout:        {"timeout", "xxx1xxxxxxxx"},
	optDaemon:         {"daemon", "xxx1xxxxxxxx"},
	optStats:          {"stats", "xxx.xxxxxxxx"},
	optRate:           {"rate", "xxx.xxxxxxxx"},
	optThresholds:     {"thresholds", "xxx.xxxxxxxx"},
	optPersistentConn: {"persistent-conn", "xxx.xxxxxxxx"},
	optNoSort:         {"nosort", "xxx.xxxxxxxx"},
	optSyncID:         {"syncid", "xxx.xxx..xxx"}, // -L takes it and does nothing with it
	optExact:          {"exact", "xxx.xxxxxxxx"},
	optOnePacket:      {"ops", ".xxxxxxxxxxx"},
	optPE:             {"pe", ".xxxxxxxxxxx"},
	optSchedFlags:     {"sched-flags", ".xxxxxxxxxxx"},
	optMcastGroup:     {"mcast-group", "xxxxxxx.xxxx"},
	optMcastPort:      {"mcast-port", "xxxxxxx.xxxx"},
	optMcastTTL:       {"mcast-ttl", "xxxxxxx.xxxx"},
	optSyncMaxLen:     {"sync-maxlen", "xxxxxxx.xxxx"},
	optTunInfo:        {"tun-info", "xxx.xxxxxxxx"},
	optTunType:        {"tun-type", "xxxx.xxxxxxx"},
	optTunPort:        {"tun-port", "xxxx.xxxxxxx"},
	optTunNoCsum:      {"tun-nocsum", "xxxx.xxxxxxx"},
	optTunCsum:        {"tun-csum", "xxxx.xxxxxxx"},
	optTunRemCsum:     {"tun-remcsum", "xxxx.xxxxxxx"},

	optJSON:          {"json", "xxx.xxxxxxxx"},
	optNumericSort:   {"numeric-sort", "xxx.xxxxxxxx"},
	optLossless:      {"lossless", "xxxxxxxxx..x"},
	optAtomic:        {"atomic", "xxxxxxxxx.xx"},
	optStoredTimeout: {"stored-timeout", ".xxxxxxxxxxx"},
	optForwardAs:     {"forward", "xxxx.xxxxxxx"},
	optTunFlags:      {"tun-flags", "xxxx.xxxxxxx"},
}

// matrixColumn is never written to.
var matrixColumn = [...]int{
	AddService: 0, SetService: 0, DeleteService: 1, Flush: 2, List: 3, AddDestination: 4, SetDestination: 4, DeleteDestination: 5,
	SetTimeouts: 6, StartDaemon: 7, StopDaemon: 8, Restore: 9, Save: 10, Zero: 11,
}

// String returns the name in messages.
func (o option) String() string { return matrix[o].name }

// optionSet is a set of options below optCount.
type optionSet uint64

func (s optionSet) has(o option) bool { return s>>o&1 != 0 }

// matrixSets holds the columns of the matrix as sets, with which a command line without a mistake is found at once; never
// written to after it was made.
var matrixSets = makeMatrixSets()

type columnSets struct{ required, forbidden, oneOf optionSet }

func makeMatrixSets() (sets [12]columnSets) {
	for o := range optCount {
		for column := range sets {
			c, bit := &sets[column], optionSet(1)<<o
			switch matrix[o].row[column] {
			case required:
				c.required |= bit
			case forbidden:
				c.forbidden |= bit
			case oneOf:
				c.oneOf |= bit
			}
		}
	}
	return sets
}

// fits reports whether nothing is wrong with the options that were seen.
func (c *columnSets) fits(seen optionSet) bool {
	one := seen & c.oneOf
	return c.required&^seen == 0 && seen&c.forbidden == 0 && one&(one-1) == 0
}

// tunnelOptions are the columns of tunnelMatrix.
var tunnelOptions = [...]option{optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum}

// tunnelMatrix is indexed by the tunnel type.
var tunnelMatrix = [...]string{
	"xxxx", // ipip
	"+111", // gue
	"x11x", // gre
}

// checkMatrix walks the options and reports the first finding.
func (l *commandLine) checkMatrix() *Error {
	column := matrixColumn[l.op.Command]
	if matrixSets[column].fits(l.seen) {
		return nil
	}
	command, chosen := l.op.Command.String(), optCount
	for o := range optCount {
		if err := l.checkCell(o, matrix[o].row[column], &chosen, command, "command"); err != nil {
			return err
		}
	}
	return nil
}

// checkTunnel checks the options of an encapsulation.
func (l *commandLine) checkTunnel() *Error {
	typ := l.op.Destination.Tunnel.Type
	chosen := optCount
	for i, o := range tunnelOptions {
		if err := l.checkCell(o, tunnelMatrix[typ][i], &chosen, typ.String(), "tunnel type"); err != nil {
			return err
		}
	}
	return nil
}

// checkCell checks an option against a cell; chosen is the option out of several that was found before.
func (l *commandLine) checkCell(o option, cell byte, chosen *option, name, kind string) *Error {
	switch {
	case !l.seen.has(o) && cell == required:
		return &Error{
			Kind: MissingValue, Option: o.String(), Word: -1,
			Text: "You need to supply the '" + o.String() + "' option for the '" + name + "' " + kind,
		}
	case !l.seen.has(o) || cell == optional || cell == required:
		return nil
	case cell == forbidden:
		return &Error{
			Kind: Illegal, Option: o.String(), Word: int(l.at[o]),
			Text: "Illegal '" + o.String() + "' option with the '" + name + "' " + kind,
		}
	case *chosen != optCount:
		return &Error{
			Kind: Conflict, Option: o.String(), Word: int(l.at[o]),
			Text: "The option '" + o.String() + "' conflicts with the '" + chosen.String() + "' option in the '" + name + "' " + kind,
		}
	}
	*chosen = o
	return nil
}
