package nltest

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// errnoCase is one row of the errno matrix: a request to a namespace that has the TCP service vip with the destination
// 10.0.0.1:80, the IPv6 service vip6, and the device dm0 (up) and dm1 (down).
type errnoCase struct {
	name    string
	before  func(*testing.T, *tap) // further preparation
	opts    []DialOption
	version string // of a kernel that differs; empty for both
	cmd     Command
	flags   uint16 // do unless set
	fill    []func(*encoder)
	raw     func(*tap) []byte // instead of cmd, flags, fill
	want    Errno
}

var vip6 = tcp("[2001:db8::10]:80")

// nest writes a nest with raw content.
func nest(typ uint16, content ...byte) func(*encoder) {
	return func(e *encoder) { e.attr(typ, content) }
}

// attrs is a list of fill functions.
func attrs(f ...func(*encoder)) []func(*encoder) { return f }

func u8(t uint16, v uint8) func(*encoder)    { return func(e *encoder) { e.u8(t, v) } }
func u16(t uint16, v uint16) func(*encoder)  { return func(e *encoder) { e.u16(t, v) } }
func u32(t uint16, v uint32) func(*encoder)  { return func(e *encoder) { e.u32(t, v) } }
func be16(t uint16, v uint16) func(*encoder) { return func(e *encoder) { e.be16(t, v) } }
func str(t uint16, s string) func(*encoder)  { return func(e *encoder) { e.str(t, s) } }
func bin(t uint16, b ...byte) func(*encoder) { return func(e *encoder) { e.attr(t, b) } }
func zeroes(t uint16, n int) func(*encoder)  { return func(e *encoder) { e.attr(t, make([]byte, n)) } }
func in(t uint16, f ...func(*encoder)) func(*encoder) {
	return func(e *encoder) {
		e.nest(t, func() {
			for _, x := range f {
				x(e)
			}
		})
	}
}

// svcID writes the identity of vip without the nest.
func svcID(e *encoder) {
	e.u16(svcAF, afInet)
	e.u16(svcProtocol, protoTCP)
	e.attr(svcAddr, []byte{192, 0, 2, 10})
	e.be16(svcPort, 80)
}

// destID writes the identity of the destination without the nest.
func destID(e *encoder) {
	e.attr(destAddr, []byte{10, 0, 0, 1})
	e.be16(destPort, 80)
}

// daemonOn is a complete daemon.
func daemonOn(state uint32, dev string, more ...func(*encoder)) func(*encoder) {
	return in(topDaemon, append(attrs(u32(daemonState, state), str(daemonIfname, dev), u32(daemonSyncID, 1)), more...)...)
}

var missing = tcp("192.0.2.99:80")

var errnoCases = slices.Concat(genericErrnos, identityErrnos, serviceErrnos, destErrnos, daemonErrnos)

var genericErrnos = func() []errnoCase {
	cases := []errnoCase{
		{name: "unknown family", want: ENOENT, raw: func(p *tap) []byte {
			return genMessage(header{typ: 99, flags: do, seq: 1, cmd: 15}).finish()
		}},
		{name: "unknown family, short", want: ENOENT, raw: func(p *tap) []byte {
			return message(header{typ: 99, flags: do, seq: 1}).finish()
		}},
		{name: "no generic header", want: EINVAL, raw: func(p *tap) []byte {
			return message(header{typ: p.s.k.family, flags: do, seq: 1}).finish()
		}},
		{name: "no generic header, unprivileged", want: EINVAL, opts: []DialOption{Unprivileged()}, raw: func(p *tap) []byte {
			return message(header{typ: p.s.k.family, flags: do, seq: 1}).finish()
		}},
		{name: "exclusive and replace together are a dump", cmd: NewService, flags: do | 0x300, fill: attrs(svc(missing, rr)), want: EOPNOTSUPP},
		{name: "exclusive alone", cmd: NewService, flags: do | 0x200, fill: attrs(svc(missing, rr)), want: 0},
		{name: "replace, create, append alone", cmd: NewService, flags: do | 0x100 | 0x400 | 0x800 | 0x8000, fill: attrs(svc(missing, rr)), want: 0},
		{name: "short timeout in FLUSH", cmd: FlushServices, fill: attrs(u16(topTimeoutTCP, 1)), want: ERANGE},
		{name: "short timeout in GET_INFO", cmd: GetInfo, fill: attrs(u8(topTimeoutUDP, 1)), want: ERANGE},
		{name: "short timeout before a missing service", cmd: DelService, fill: attrs(svc(missing), u16(topTimeoutFIN, 1)), want: ERANGE},
		{name: "nest with one byte", cmd: DelService, fill: attrs(nest(topService, 1)), want: ERANGE},
		{name: "nest with three bytes", cmd: DelService, fill: attrs(nest(topDest, 1, 2, 3)), want: ERANGE},
		{name: "unknown attribute", cmd: GetInfo, fill: attrs(u8(77, 1), u8(0, 1)), want: 0},
		{name: "trailing bytes", want: 0, raw: func(p *tap) []byte {
			b := append(p.request(GetInfo, do), 1, 2, 3)
			native.PutUint32(b, uint32(len(b)))
			return b
		}},
		{name: "integer longer than its type", cmd: SetConfig, fill: attrs(func(e *encoder) { e.u64(topTimeoutTCP, 77) }), want: 0},
	}
	for c := range 24 {
		cmd := Command(c)
		var flags uint32
		for _, o := range mustFacts("6.12").ipvsOps() {
			if o.id == uint8(c) {
				flags = o.flags
			}
		}
		if flags&opDo == 0 {
			cases = append(cases, errnoCase{name: "do " + cmd.String(), cmd: cmd, want: EOPNOTSUPP})
		}
		if flags&opDump == 0 {
			cases = append(cases, errnoCase{name: "dump " + cmd.String(), cmd: cmd, flags: do | flagDump, want: EOPNOTSUPP})
		}
		// Without privilege nothing works, and the two versions differ in what comes first.
		for _, mode := range []uint16{do, do | flagDump} {
			has := flags&opDo != 0
			if mode != do {
				has = flags&opDump != 0
			}
			for _, version := range []string{"6.1", "6.12"} {
				want := EPERM
				if flags == 0 || version == "6.12" && !has {
					want = EOPNOTSUPP
				}
				cases = append(cases, errnoCase{
					name: "unprivileged " + cmd.String() + " " + version + map[uint16]string{do: "", do | flagDump: " dump"}[mode],
					cmd:  cmd, flags: mode, version: version, opts: []DialOption{Unprivileged()}, want: want,
					fill: attrs(u8(topTimeoutTCP, 1)), // broken attributes do not show
				})
			}
		}
	}
	return cases
}()

func mustFacts(v string) versionFacts {
	f, err := facts(v)
	if err != nil {
		panic(err)
	}
	return f
}

// identityErrnos are the faults of a SERVICE nest, which all commands that take one share.
var identityErrnos = func() []errnoCase {
	var cases []errnoCase
	for _, cmd := range []Command{NewService, SetService, DelService, GetService, NewDest, SetDest, DelDest, Zero} {
		rest := attrs(conf("rr", 0, 0, 0))
		if cmd > GetService {
			rest = nil
		}
		with := func(name string, want Errno, fill ...func(*encoder)) {
			d := dst("10.0.0.1:80", w1)
			cases = append(cases, errnoCase{name: cmd.String() + " " + name, cmd: cmd, want: want, fill: attrs(in(topService, append(fill, rest...)...), d)})
		}
		if cmd != Zero {
			cases = append(cases, errnoCase{name: cmd.String() + " without SERVICE", cmd: cmd, want: EINVAL})
		}
		cases = append(cases, errnoCase{name: cmd.String() + " empty nest", cmd: cmd, want: EINVAL, fill: attrs(nest(topService))})
		cases = append(cases, errnoCase{name: cmd.String() + " malformed attribute", cmd: cmd, want: EINVAL, fill: attrs(nest(topService, 99, 0, 1, 0))})
		with("family too short", EINVAL, u8(svcAF, afInet), u16(svcProtocol, 6), zeroes(svcAddr, 4), be16(svcPort, 80))
		with("protocol too short", EINVAL, svcID, u8(svcProtocol, 6))
		with("port too short", EINVAL, svcID, u8(svcPort, 6))
		with("mark too short", EINVAL, svcID, u16(svcMark, 6))
		with("address too long", EINVAL, svcID, zeroes(svcAddr, 17))
		with("scheduler not terminated", EINVAL, svcID, bin(svcSched, 'r', 'r'))
		with("scheduler attribute empty", EINVAL, svcID, bin(svcSched))
		with("scheduler of 16 characters", EINVAL, svcID, str(svcSched, "abcdefghijklmnop"))
		with("engine of 17 characters", EINVAL, svcID, str(svcEngine, "abcdefghijklmnopq"))
		with("engine not terminated", EINVAL, svcID, bin(svcEngine, 's', 'i', 'p'))
		with("flags of 9 bytes", EINVAL, svcID, zeroes(svcFlags, 9))
		with("timeout too short", EINVAL, svcID, u16(svcTimeout, 1))
		with("netmask too short", EINVAL, svcID, bin(svcNetmask, 255, 255))
		with("no family", EINVAL, u16(svcProtocol, 6), zeroes(svcAddr, 4), be16(svcPort, 80))
		with("no protocol", EINVAL, u16(svcAF, afInet), zeroes(svcAddr, 4), be16(svcPort, 80))
		with("no address", EINVAL, u16(svcAF, afInet), u16(svcProtocol, 6), be16(svcPort, 80))
		with("no port", EINVAL, u16(svcAF, afInet), u16(svcProtocol, 6), zeroes(svcAddr, 4))
		with("family 3", EAFNOSUPPORT, u16(svcAF, 3), u16(svcProtocol, 6), zeroes(svcAddr, 4), be16(svcPort, 80))
		with("family 0 and a mark", EAFNOSUPPORT, u16(svcAF, 0), u32(svcMark, 1))
		if cmd != NewService {
			missingFill := attrs(svc(missing, rest...), dst("10.0.0.1:80", w1))
			cases = append(cases, errnoCase{name: cmd.String() + " missing service", cmd: cmd, want: ESRCH, fill: missingFill})
			cases = append(cases, errnoCase{name: cmd.String() + " missing service, broken destination", cmd: cmd, want: ESRCH, fill: attrs(svc(missing, rest...), nest(topDest))})
		}
	}
	for _, cmd := range []Command{NewService, SetService} {
		parts := map[string]func(*encoder){
			"scheduler": str(svcSched, "rr"), "flags": zeroes(svcFlags, 8), "timeout": u32(svcTimeout, 0), "netmask": u32(svcNetmask, 32),
		}
		for lacking := range parts {
			fill := attrs(svcID)
			for name, f := range parts {
				if name != lacking {
					fill = append(fill, f)
				}
			}
			cases = append(cases, errnoCase{name: cmd.String() + " lacks " + lacking, cmd: cmd, want: EINVAL, fill: attrs(in(topService, fill...))})
		}
	}
	return cases
}()

var serviceErrnos = []errnoCase{
	{name: "NEW existing", cmd: NewService, fill: attrs(svc(vip, rr)), want: EEXIST},
	{name: "NEW existing, unknown scheduler", cmd: NewService, fill: attrs(svc(vip, conf("what", 0, 0, 0))), want: EEXIST},
	{name: "NEW unknown scheduler", cmd: NewService, fill: attrs(svc(missing, conf("what", 0, 0, 0))), want: ENOENT},
	{name: "NEW empty scheduler", cmd: NewService, fill: attrs(svc(missing, conf("", 0, 0, 0))), want: ENOENT},
	{name: "NEW scheduler none", cmd: NewService, fill: attrs(svc(missing, conf("none", 0, 0, 0))), want: 0},
	{name: "NEW scheduler twos on 6.1", version: "6.1", cmd: NewService, fill: attrs(svc(missing, conf("twos", 0, 0, 0))), want: ENOENT},
	{name: "NEW scheduler twos on 6.12", version: "6.12", cmd: NewService, fill: attrs(svc(missing, conf("twos", 0, 0, 0))), want: 0},
	{name: "NEW unknown engine", cmd: NewService, fill: attrs(svc(missing, rr, str(svcEngine, "what"))), want: ENOENT},
	{name: "NEW empty engine", cmd: NewService, fill: attrs(svc(missing, rr, str(svcEngine, ""))), want: 0},
	{name: "NEW engine sip", cmd: NewService, fill: attrs(svc(missing, rr, str(svcEngine, "sip"))), want: 0},
	{name: "NEW unknown scheduler and IPv6 mask", cmd: NewService, fill: attrs(svc(tcp("[::1]:1"), conf6("what", 0, 0, 0, 0))), want: ENOENT},
	{name: "NEW IPv6 prefix 0", cmd: NewService, fill: attrs(svc(tcp("[::1]:1"), conf6("rr", 0, 0, 0, 0))), want: EINVAL},
	{name: "NEW IPv6 prefix 129", cmd: NewService, fill: attrs(svc(tcp("[::1]:1"), conf6("rr", 0, 0, 0, 129))), want: EINVAL},
	{name: "NEW IPv6 prefix 128", cmd: NewService, fill: attrs(svc(tcp("[::1]:1"), conf6("rr", 0, 0, 0, 128))), want: 0},
	{name: "NEW IPv6 prefix 1", cmd: NewService, fill: attrs(svc(tcp("[::1]:1"), conf6("rr", 0, 0, 0, 1))), want: 0},
	{name: "NEW IPv4 mask 0", cmd: NewService, fill: attrs(svc(missing, conf6("rr", 0, 0, 0, 0))), want: 0},
	{name: "NEW protocol 65535", cmd: NewService, fill: attrs(svc(ServiceID{Protocol: 65535, Addr: missing.Addr}, rr)), want: 0},
	{name: "NEW port 0 without persistence", cmd: NewService, fill: attrs(svc(tcp("192.0.2.99:0"), rr)), want: 0},
	{name: "NEW multicast address", cmd: NewService, fill: attrs(svc(tcp("224.0.0.1:80"), rr)), want: 0},
	{name: "NEW address of no bytes", cmd: NewService, fill: attrs(in(topService, u16(svcAF, afInet), u16(svcProtocol, 6), bin(svcAddr), be16(svcPort, 1), rr)), want: 0},
	{name: "SET IPv6 prefix 0", cmd: SetService, fill: attrs(svc(vip6, conf6("rr", 0, 0, 0, 0))), want: EINVAL},
	{name: "SET unknown scheduler", cmd: SetService, fill: attrs(svc(vip, conf("what", 0, 0, 0))), want: ENOENT},
	{name: "SET unknown engine", cmd: SetService, fill: attrs(svc(vip, rr, str(svcEngine, "what"))), want: ENOENT},
	{name: "SET missing, unknown scheduler", cmd: SetService, fill: attrs(svc(missing, conf("what", 0, 0, 0))), want: ESRCH},
	{name: "SET", cmd: SetService, fill: attrs(svc(vip, rr)), want: 0},
	{name: "DEL", cmd: DelService, fill: attrs(svc(vip)), want: 0},
	{name: "DEL missing mark", cmd: DelService, fill: attrs(svc(mark(9))), want: ESRCH},
	{name: "DEL same address, other protocol", cmd: DelService, fill: attrs(svc(udp("192.0.2.10:80"))), want: ESRCH},
	{name: "ZERO", cmd: Zero, fill: attrs(svc(vip)), want: 0},
	{name: "ZERO everything", cmd: Zero, want: 0},
	{name: "FLUSH", cmd: FlushServices, want: 0},
	{name: "FLUSH with attributes", cmd: FlushServices, fill: attrs(svc(missing)), want: 0},
}

var destErrnos = func() []errnoCase {
	cases := []errnoCase{
		{name: "mixed family, masquerade", cmd: NewDest, fill: attrs(svc(vip), dst("[2001:db8::5]:80", full(0, 1, 0, 0))), want: EINVAL},
		{name: "mixed family, tunnel", cmd: NewDest, fill: attrs(svc(vip), dst("[2001:db8::5]:80", full(2, 1, 0, 0))), want: 0},
		{name: "mixed family, tunnel with a daemon", before: func(t *testing.T, p *tap) { p.must(NewDaemon, daemonOn(stateBackup, "dm0")) },
			cmd: NewDest, fill: attrs(svc(vip), dst("[2001:db8::5]:80", full(2, 1, 0, 0))), want: EINVAL},
		{name: "mixed family, SET of a missing one", cmd: SetDest, fill: attrs(svc(vip), dst("[2001:db8::5]:80", full(3, 1, 0, 0))), want: EINVAL},
		{name: "mixed family, DEL of a missing one", cmd: DelDest, fill: attrs(svc(vip), dst("[2001:db8::5]:80")), want: ENOENT},
		{name: "IPv4 in an IPv6 service, tunnel", cmd: NewDest, fill: attrs(svc(vip6), dst("10.0.0.1:80", full(2, 1, 0, 0))), want: 0},
		{name: "family 0", cmd: DelDest, fill: attrs(svc(vip), in(topDest, destID, u16(destAF, 0))), want: 0},
		{name: "no family", cmd: DelDest, fill: attrs(svc(vip), in(topDest, destID)), want: 0},
		{name: "DEL", cmd: DelDest, fill: attrs(svc(vip), dst("10.0.0.1:80")), want: 0},
		{name: "DEL missing", cmd: DelDest, fill: attrs(svc(vip), dst("10.0.0.1:81")), want: ENOENT},
		{name: "SET missing", cmd: SetDest, fill: attrs(svc(vip), dst("10.0.0.9:80", w1)), want: ENOENT},
		{name: "NEW existing", cmd: NewDest, fill: attrs(svc(vip), dst("10.0.0.1:80", w1)), want: EEXIST},
		{name: "NEW existing, other method", cmd: NewDest, fill: attrs(svc(vip), dst("10.0.0.1:80", full(0, 1, 0, 0))), want: EEXIST},
		{name: "NEW existing, bad weight", cmd: NewDest, fill: attrs(svc(vip), dst("10.0.0.1:80", full(3, 1<<31, 0, 0))), want: ERANGE},
		{name: "4-byte address in an IPv6 service", cmd: NewDest, fill: attrs(svc(vip6), in(topDest, destID, w1)), want: 0},
	}
	for _, cmd := range []Command{NewDest, SetDest} {
		with := func(name string, want Errno, fill ...func(*encoder)) {
			addr := "10.0.0.2:80" // a new one
			if cmd == SetDest {
				addr = "10.0.0.1:80"
			}
			cases = append(cases, errnoCase{name: cmd.String() + " " + name, cmd: cmd, want: want, fill: attrs(svc(vip), dst(addr, fill...))})
		}
		with("weight 2^31-1", 0, full(3, 1<<31-1, 0, 0))
		with("weight 2^31", ERANGE, full(3, 1<<31, 0, 0))
		with("weight 2^32-1", ERANGE, full(3, 1<<32-1, 0, 0))
		with("lower above upper", ERANGE, full(3, 1, 10, 11))
		with("lower without upper", ERANGE, full(3, 1, 0, 1))
		with("lower equal to upper", 0, full(3, 1, 10, 10))
		with("upper 2^31-1", 0, full(3, 1, 1<<31-1, 0))
		with("upper 2^31", EINVAL, full(3, 1, 1<<31, 0))
		with("upper 2^31, lower above", ERANGE, full(3, 1, 1<<31, 1<<31+1))
		with("method 2003h", 0, full(0x2003, 1, 0, 0))
		with("GUE without port", EINVAL, w1, u8(destTunType, tunGUE))
		with("GUE with port 0", EINVAL, w1, u8(destTunType, tunGUE), be16(destTunPort, 0))
		with("GUE with port", 0, w1, u8(destTunType, tunGUE), be16(destTunPort, 6080))
		with("tunnel type 255", 0, w1, u8(destTunType, 255), u16(destTunFlags, 65535))
		parts := map[string]func(*encoder){
			"method": u32(destFwd, 3), "weight": u32(destWeight, 1), "upper": u32(destUpper, 0), "lower": u32(destLower, 0),
		}
		for lacking := range parts {
			var fill []func(*encoder)
			for name, f := range parts {
				if name != lacking {
					fill = append(fill, f)
				}
			}
			with("lacks "+lacking, EINVAL, fill...)
		}
	}
	for _, cmd := range []Command{NewDest, SetDest, DelDest} {
		with := func(name string, want Errno, fill ...func(*encoder)) {
			cases = append(cases, errnoCase{name: cmd.String() + " " + name, cmd: cmd, want: want, fill: append(attrs(svc(vip)), fill...)})
		}
		with("without DEST", EINVAL)
		with("empty DEST", EINVAL, nest(topDest))
		with("malformed DEST", EINVAL, nest(topDest, 99, 0, 1, 0))
		with("address missing", EINVAL, in(topDest, be16(destPort, 80), w1))
		with("port missing", EINVAL, in(topDest, bin(destAddr, 10, 0, 0, 1), w1))
		with("address too long", EINVAL, in(topDest, be16(destPort, 80), w1, zeroes(destAddr, 17)))
		with("weight too short", EINVAL, in(topDest, destID, w1, u16(destWeight, 1)))
		with("tunnel port too short", EINVAL, in(topDest, destID, w1, u8(destTunPort, 1)))
		with("family too short", EINVAL, in(topDest, destID, w1, u8(destAF, 2)))
		with("family 3", EAFNOSUPPORT, in(topDest, destID, w1, u16(destAF, 3)))
	}
	for addr, want := range map[string]Errno{
		"0.0.0.0": EINVAL, "255.255.255.255": EINVAL, "224.0.0.1": EINVAL, "239.255.255.255": EINVAL, "192.168.77.255": EINVAL,
		"127.0.0.1": 0, "127.1.2.3": 0, "192.168.77.1": 0, "192.168.77.0": 0, "240.0.0.1": 0, "0.1.2.3": 0, "10.1.0.1": 0,
		"::": EINVAL, "fe80::1": EINVAL, "ff02::1": EINVAL, "::ffff:10.0.0.1": EINVAL,
		"::1": 0, "::10.0.0.1": 0, "fd00::1": 0, "2001:db8::1": 0, "fe80::77": 0,
	} {
		a := netip.MustParseAddr(addr)
		of := vip
		if a.Is6() {
			of = vip6
		}
		cases = append(cases, errnoCase{
			name: "NEW_DEST " + addr, cmd: NewDest, want: want,
			fill: attrs(svc(of), dst(netip.AddrPortFrom(a, 80).String(), w1)),
		})
	}
	return cases
}()

var daemonErrnos = func() []errnoCase {
	running := func(t *testing.T, p *tap) { p.must(NewDaemon, daemonOn(stateMaster, "dm0")) }
	mixed := func(t *testing.T, p *tap) { p.must(NewDest, svc(vip), dst("[2001:db8::5]:80", full(2, 1, 0, 0))) }
	state, ifname, id := u32(daemonState, stateMaster), str(daemonIfname, "dm0"), u32(daemonSyncID, 1)
	return []errnoCase{
		{name: "NEW_DAEMON without DAEMON", cmd: NewDaemon, want: EINVAL},
		{name: "DEL_DAEMON without DAEMON", cmd: DelDaemon, want: EINVAL},
		{name: "lacks state", cmd: NewDaemon, fill: attrs(in(topDaemon, ifname, id)), want: EINVAL},
		{name: "lacks device", cmd: NewDaemon, fill: attrs(in(topDaemon, state, id)), want: EINVAL},
		{name: "lacks id", cmd: NewDaemon, fill: attrs(in(topDaemon, state, ifname)), want: EINVAL},
		{name: "DEL lacks state", cmd: DelDaemon, fill: attrs(in(topDaemon, ifname, id)), want: EINVAL},
		{name: "unknown device", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "nope")), want: ENODEV},
		{name: "empty device", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "")), want: ENODEV},
		{name: "unknown device, state 3", cmd: NewDaemon, fill: attrs(daemonOn(3, "nope")), want: ENODEV},
		{name: "device of 16 characters", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "abcdefghijklmnop")), want: EINVAL},
		{name: "state 0", cmd: NewDaemon, fill: attrs(daemonOn(0, "dm0")), want: EINVAL},
		{name: "state 3", cmd: NewDaemon, fill: attrs(daemonOn(3, "dm0")), want: EINVAL},
		{name: "running", before: running, cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0")), want: EEXIST},
		{name: "running, other device is down", before: running, cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm1")), want: EEXIST},
		{name: "other state", before: running, cmd: NewDaemon, fill: attrs(daemonOn(stateBackup, "dm0")), want: 0},
		{name: "master on a device that is down", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm1")), want: ENETUNREACH},
		{name: "backup on a device that is down", cmd: NewDaemon, fill: attrs(daemonOn(stateBackup, "dm1")), want: 0},
		{name: "group not multicast", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "nope", bin(daemonGroup, 10, 0, 0, 1))), want: EINVAL},
		{name: "group too short", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonGroup, 224, 0, 0))), want: EINVAL},
		{name: "IPv6 group not multicast", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "nope", zeroes(daemonGroup6, 16))), want: EINVAL},
		{name: "IPv6 group too short", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonGroup6, 0xff, 2))), want: EINVAL},
		{name: "IPv4 group wins", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", bin(daemonGroup, 239, 0, 0, 1), zeroes(daemonGroup6, 16))), want: 0},
		{name: "mixed families", before: mixed, cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "nope")), want: EINVAL},
		{name: "length as u8", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", u8(daemonMaxLen, 100))), want: EINVAL},
		{name: "length as u32", cmd: NewDaemon, fill: attrs(daemonOn(stateMaster, "dm0", u32(daemonMaxLen, 100))), want: 0},
		{name: "DEL not running", cmd: DelDaemon, fill: attrs(in(topDaemon, state)), want: ESRCH},
		{name: "DEL other state running", before: running, cmd: DelDaemon, fill: attrs(in(topDaemon, u32(daemonState, stateBackup))), want: ESRCH},
		{name: "DEL state 0", cmd: DelDaemon, fill: attrs(in(topDaemon, u32(daemonState, 0))), want: EINVAL},
		{name: "DEL state 3", cmd: DelDaemon, fill: attrs(in(topDaemon, u32(daemonState, 3))), want: EINVAL},
		{name: "DEL", before: running, cmd: DelDaemon, fill: attrs(in(topDaemon, state)), want: 0},
		{name: "SET_CONFIG largest", cmd: SetConfig, fill: attrs(u32(topTimeoutTCP, 8589934), u32(topTimeoutFIN, 8589934), u32(topTimeoutUDP, 8589934)), want: 0},
		{name: "SET_CONFIG TCP too large", cmd: SetConfig, fill: attrs(u32(topTimeoutTCP, 8589935)), want: EINVAL},
		{name: "SET_CONFIG FIN too large", cmd: SetConfig, fill: attrs(u32(topTimeoutFIN, 8589935)), want: EINVAL},
		{name: "SET_CONFIG UDP too large", cmd: SetConfig, fill: attrs(u32(topTimeoutUDP, 1<<31)), want: EINVAL},
		{name: "SET_CONFIG too short", cmd: SetConfig, fill: attrs(u16(topTimeoutUDP, 1)), want: ERANGE},
		{name: "SET_CONFIG empty", cmd: SetConfig, want: 0},
	}
}()

// prepare makes what errnoCase describes.
func prepare(t *testing.T, k *Kernel) {
	t.Helper()
	prepareDevices(t, k)
	p := newTap(t, k.Namespace(""))
	p.must(NewService, svc(vip, rr))
	p.must(NewService, svc(vip6, conf6("rr", 0, 0, 0, 128)))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
}

// prepareDevices makes the devices only.
func prepareDevices(t *testing.T, k *Kernel) {
	t.Helper()
	ns := k.Namespace("")
	for name, up := range map[string]bool{"dm0": true, "dm1": false} {
		if err := ns.AddDevice(name, 1500); err != nil {
			t.Fatal(err)
		}
		if err := ns.SetLink(name, up); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{"192.168.77.1/24", "fe80::77/64"} {
		if err := ns.AddAddr("dm0", netip.MustParsePrefix(a)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrnoMatrix(t *testing.T) {
	for _, version := range []string{"6.1", "6.12"} {
		for _, c := range errnoCases {
			if c.version != "" && c.version != version {
				continue
			}
			t.Run(version+"/"+c.name, func(t *testing.T) {
				k := newKernel(t, &Config{Version: version})
				prepare(t, k)
				if c.before != nil {
					c.before(t, newTap(t, k.Namespace("")))
				}
				p := newTap(t, k.Namespace(""), c.opts...)
				flags := c.flags
				if flags == 0 {
					flags = do
				}
				var req []byte
				if c.raw != nil {
					req = c.raw(p)
				} else {
					req = p.request(c.cmd, flags, c.fill...)
				}
				got := p.exchange(req)
				if len(got) == 0 {
					t.Fatal("no answer")
				}
				last := got[len(got)-1]
				if h := parseHeader(last); h.typ != typeError || h.seq != parseHeader(req).seq {
					t.Fatalf("answer %x", last)
				}
				if errno := errnoOf(last); errno != c.want {
					t.Fatalf("got %v, want %v", errno, c.want)
				}
				if c.want != 0 && len(got) != 1 {
					t.Fatalf("%d answers to a failed request", len(got))
				}
			})
		}
	}
}

// TestDumpErrors covers the dumps that answer nothing instead of an error.
func TestDumpErrors(t *testing.T) {
	k := newKernel(t, nil)
	prepare(t, k)
	p := newTap(t, k.Namespace(""))
	for name, fill := range map[string][]func(*encoder){
		"no service":      nil,
		"missing service": attrs(svc(missing)),
		"empty nest":      attrs(nest(topService)),
		"short nest":      attrs(nest(topService, 1, 2)),
		"family 3":        attrs(in(topService, svcID, u16(svcAF, 3))),
		"short timeout":   attrs(svc(vip), u8(topTimeoutTCP, 1)),
	} {
		if entries, _ := p.dump(GetDest, fill...); len(entries) != 0 {
			t.Errorf("%s: %d destinations", name, len(entries))
		}
	}
	if entries, _ := p.dump(GetDest, svc(vip)); len(entries) != 1 {
		t.Errorf("%d destinations, want 1", len(entries))
	}
	// The other dumps do not look at attributes.
	if entries, _ := p.dump(GetService, nest(topService, 1), u8(topTimeoutTCP, 1)); len(entries) != 2 {
		t.Errorf("%d services, want 2", len(entries))
	}
	if entries, _ := p.dump(GetDaemon, nest(topDaemon, 1)); len(entries) != 0 {
		t.Errorf("%d daemons, want none", len(entries))
	}
}

// TestFreshNamespace covers the namespace whose loopback device is still down.
func TestFreshNamespace(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("new")
	ns.Bare()
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	if errno := p.do(NewDest, svc(vip), dst("10.1.0.1:80", w1)); errno != EINVAL {
		t.Errorf("while lo is down: %v, want EINVAL", errno)
	}
	if err := ns.SetLink("lo", true); err != nil {
		t.Fatal(err)
	}
	p.must(NewDest, svc(vip), dst("10.1.0.1:80", w1))
	// The routing table stays when the device goes down.
	if err := ns.SetLink("lo", false); err != nil {
		t.Fatal(err)
	}
	p.must(NewDest, svc(vip), dst("10.1.0.2:80", w1))
	var saved bytes.Buffer
	if err := k.Save(&saved); err != nil {
		t.Fatal(err)
	}
	other := newKernel(t, nil)
	if err := other.Load(&saved); err != nil {
		t.Fatal(err)
	}
	newTap(t, other.Namespace("new")).must(NewDest, svc(vip), dst("10.1.0.3:80", w1))
}
