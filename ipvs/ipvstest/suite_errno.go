package ipvstest

import (
	"fmt"
	"slices"
)

// errnoCases are the ways to be refused.
func errnoCases() []testCase {
	return []testCase{
		{name: "generic", rows: genericRows()},
		{name: "unprivileged", rows: unprivilegedRows()},
		{name: "identity", rows: identityRows()},
		{name: "service", rows: serviceRows()},
		{name: "destination", rows: destRows()},
		{name: "address", rows: addressRows()},
		{name: "daemon", rows: daemonRows()},
		{name: "config", rows: configRows()},
		{name: "order", rows: orderRows()},
	}
}

func list(parts ...[]byte) [][]byte { return parts }

// What a command can be asked to do.
func canDo(cmd uint8) bool {
	return cmd >= cNewService && cmd <= cFlush && cmd != cGetDest && cmd != cGetDaemon && cmd != cSetInfo
}
func canDump(cmd uint8) bool { return cmd == cGetService || cmd == cGetDest || cmd == cGetDaemon }

// genericRows are about the message, before its command counts.
func genericRows() []row {
	rows := []row{
		{name: "unknown family", want: eNOENT, frame: func(s *socket) []byte {
			return frame(0x7ffe, flRequest|flAck, s.seq+1, cGetInfo)
		}},
		{name: "unknown family without generic header", want: eNOENT, frame: func(s *socket) []byte {
			return sized(frame(0x7ffe, flRequest|flAck, s.seq+1, 0)[:headerLen])
		}},
		{name: "no generic header", want: eINVAL, frame: func(s *socket) []byte {
			return sized(s.set(cGetInfo)[:headerLen])
		}},
		{name: "three bytes of generic header", want: eINVAL, frame: func(s *socket) []byte {
			return sized(s.set(cGetInfo)[:headerLen+3])
		}},
		{name: "EXCL and REPLACE together are a dump", cmd: cNewService, flags: flRequest | flAck | flDump, want: eOPNOTSUPP,
			parts: list(svc(missing, conf("rr")))},
		{name: "nest of one byte", cmd: cDelService, parts: list(bin(aService, 1)), want: eRANGE},
		{name: "nest of two bytes", cmd: cNewDest, parts: list(svc(vip), bin(aDest, 1, 2)), want: eRANGE},
		{name: "nest of three bytes", cmd: cNewDaemon, parts: list(bin(aDaemon, 1, 2, 3)), want: eRANGE},
		{name: "nest of three bytes that the command does not use", cmd: cGetInfo, parts: list(bin(aDaemon, 1, 2, 3)), want: eRANGE},
	}
	for cmd := range uint8(24) {
		name := commandName(cmd)
		if !canDo(cmd) {
			rows = append(rows, row{name: "do " + name, cmd: cmd, want: eOPNOTSUPP})
		}
		if !canDump(cmd) {
			rows = append(rows, row{name: "dump " + name, cmd: cmd, flags: flRequest | flAck | flDump, want: eOPNOTSUPP})
		}
		if canDo(cmd) {
			for typ := uint16(aTCP); typ <= aUDP; typ++ {
				rows = append(rows, row{
					name: fmt.Sprintf("%s with timeout %d of three bytes", name, typ), cmd: cmd, parts: list(bin(typ, 1, 2, 3)), want: eRANGE,
				})
			}
		}
	}
	rows = append(rows, row{name: "do command 255", cmd: 255, want: eOPNOTSUPP},
		row{name: "dump command 255", cmd: 255, flags: flRequest | flAck | flDump, want: eOPNOTSUPP})
	return rows
}

// unprivilegedRows: nothing works, and the versions differ in what is looked at first.
func unprivilegedRows() []row {
	rows := []row{
		{name: "no generic header", unprivileged: true, want: eINVAL, frame: func(s *socket) []byte {
			return sized(s.set(cGetInfo)[:headerLen])
		}},
		{name: "unknown family", unprivileged: true, want: eNOENT, frame: func(s *socket) []byte {
			return frame(0x7ffe, flRequest|flAck, s.seq+1, cGetInfo)
		}},
	}
	for cmd := range uint8(20) {
		for mode, can := range map[uint16]bool{flRequest | flAck: canDo(cmd), flRequest | flAck | flDump: canDump(cmd)} {
			name := "do " + commandName(cmd)
			if mode&flDump != 0 {
				name = "dump " + commandName(cmd)
			}
			// A broken attribute does not show.
			r := row{name: name, cmd: cmd, flags: mode, parts: list(bin(aTCP, 1)), unprivileged: true, want: ePERM}
			switch {
			case can:
			case !canDo(cmd) && !canDump(cmd):
				r.want = eOPNOTSUPP
			default:
				old := r
				old.version = "6.1"
				rows = append(rows, old)
				r.version, r.want = "6.12", eOPNOTSUPP
			}
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return int(a.cmd) - int(b.cmd) })
	return rows
}

// identityRows are the faults of a SERVICE nest, for all commands that take one.
func identityRows() []row {
	var rows []row
	for _, cmd := range []uint8{cNewService, cSetService, cDelService, cGetService, cNewDest, cSetDest, cDelDest, cGetDest, cZero} {
		name := commandName(cmd)
		var rest []byte
		if cmd == cNewService || cmd == cSetService {
			rest = conf("rr")
		}
		other := dst(newRIP, routed)
		add := func(what string, want errno, parts ...[]byte) {
			r := row{name: name + " " + what, cmd: cmd, want: want, parts: append(list(parts...), other)}
			if cmd == cGetDest {
				r.flags, r.want, r.empty = flRequest|flDump, 0, true
			}
			rows = append(rows, r)
		}
		with := func(what string, want errno, parts ...[]byte) {
			add(what, want, nest(aService, append(parts, rest)...))
		}
		if cmd != cZero {
			add("without SERVICE", eINVAL)
		}
		add("empty SERVICE", eINVAL, nest(aService))
		if cmd == cGetDest {
			add("SERVICE of one byte", 0, bin(aService, 1))
			add("SERVICE of three bytes", 0, bin(aService, 1, 2, 3))
		}
		add("malformed attribute in SERVICE", eINVAL, bin(aService, 99, 0, 1, 0))
		with("family of one byte", eINVAL, u8(sFamily, inet4), u16(sProtocol, 6), zeroes(sAddr, 4), be16(sPort, 80))
		with("protocol of one byte", eINVAL, vip, u8(sProtocol, 6))
		with("port of one byte", eINVAL, vip, u8(sPort, 80))
		with("mark of two bytes", eINVAL, vip, u16(sMark, 6))
		with("mark of three bytes", eINVAL, u16(sFamily, inet4), bin(sMark, 1, 0, 0))
		with("address of 17 bytes", eINVAL, vip, zeroes(sAddr, 17))
		with("scheduler without end", eINVAL, vip, bin(sSched, 'r', 'r'))
		with("scheduler attribute without content", eINVAL, vip, bin(sSched))
		with("scheduler of 16 characters", eINVAL, vip, str(sSched, "abcdefghijklmnop"))
		with("engine without end", eINVAL, vip, bin(sEngine, 's', 'i', 'p'))
		with("engine of 17 characters", eINVAL, vip, str(sEngine, "abcdefghijklmnopq"))
		with("flags of 9 bytes", eINVAL, vip, zeroes(sFlags, 9))
		with("timeout of three bytes", eINVAL, vip, bin(sTimeout, 1, 0, 0))
		with("netmask of three bytes", eINVAL, vip, bin(sNetmask, 255, 255, 255))
		with("no family", eINVAL, u16(sProtocol, 6), zeroes(sAddr, 4), be16(sPort, 80))
		with("no family, mark", eINVAL, u32(sMark, 5))
		with("no protocol", eINVAL, u16(sFamily, inet4), zeroes(sAddr, 4), be16(sPort, 80))
		with("no address", eINVAL, u16(sFamily, inet4), u16(sProtocol, 6), be16(sPort, 80))
		with("no port", eINVAL, u16(sFamily, inet4), u16(sProtocol, 6), zeroes(sAddr, 4))
		with("family 3", eAFNOSUPPORT, u16(sFamily, 3), u16(sProtocol, 6), zeroes(sAddr, 4), be16(sPort, 80))
		with("family 0", eAFNOSUPPORT, u16(sFamily, 0), u16(sProtocol, 6), zeroes(sAddr, 4), be16(sPort, 80))
		with("family 3, mark", eAFNOSUPPORT, u16(sFamily, 3), u32(sMark, 5))
		if cmd != cNewService {
			with("missing service", eSRCH, missing)
			with("missing mark", eSRCH, mark4(9))
			with("missing service of another protocol", eSRCH, udp("192.0.2.10:80"))
			with("missing service of another port", eSRCH, tcp("192.0.2.10:81"))
			with("missing service of another family", eSRCH, tcp("[c000:20a::]:80"))
		}
	}
	return rows
}

// lacking returns what is left of named parts without each of them in turn.
func lacking(parts map[string][]byte) map[string][]byte {
	rest := make(map[string][]byte)
	for without := range parts {
		var b []byte
		for name, p := range parts {
			if name != without {
				b = append(b, p...)
			}
		}
		rest[without] = b
	}
	return rest
}

func serviceRows() []row {
	other6 := tcp("[2001:db8::99]:80")
	rows := []row{
		{name: "NEW", cmd: cNewService, parts: list(svc(missing, conf("rr")))},
		{name: "NEW existing", cmd: cNewService, parts: list(svc(vip, conf("rr"))), want: eEXIST},
		{name: "NEW unknown scheduler", cmd: cNewService, parts: list(svc(missing, conf("what"))), want: eNOENT},
		{name: "NEW empty scheduler", cmd: cNewService, parts: list(svc(missing, conf(""))), want: eNOENT},
		{name: "NEW scheduler of 15 characters", cmd: cNewService, parts: list(svc(missing, conf("abcdefghijklmno"))), want: eNOENT},
		{name: "NEW scheduler none", cmd: cNewService, parts: list(svc(missing, conf("none")))},
		{name: "NEW scheduler twos", cmd: cNewService, parts: list(svc(missing, conf("twos"))), version: "6.1", want: eNOENT},
		{name: "NEW scheduler twos", cmd: cNewService, parts: list(svc(missing, conf("twos"))), version: "6.12"},
		{name: "NEW unknown engine", cmd: cNewService, parts: list(svc(missing, conf("rr"), str(sEngine, "what"))), want: eNOENT},
		{name: "NEW engine of 16 characters", cmd: cNewService, parts: list(svc(missing, conf("rr"), str(sEngine, "abcdefghijklmnop"))), want: eNOENT},
		{name: "NEW empty engine", cmd: cNewService, parts: list(svc(missing, conf("rr"), str(sEngine, "")))},
		{name: "NEW engine sip", cmd: cNewService, parts: list(svc(missing, conf("rr"), str(sEngine, "sip")))},
		{name: "NEW IPv6 prefix 0", cmd: cNewService, parts: list(svc(other6, settings("rr", 0, 0, u32(sNetmask, 0)))), want: eINVAL},
		{name: "NEW IPv6 prefix 129", cmd: cNewService, parts: list(svc(other6, settings("rr", 0, 0, u32(sNetmask, 129)))), want: eINVAL},
		{name: "NEW IPv6 prefix of an IPv4 mask", cmd: cNewService, parts: list(svc(other6, conf("rr"))), want: eINVAL},
		{name: "NEW IPv6 prefix 1", cmd: cNewService, parts: list(svc(other6, settings("rr", 0, 0, u32(sNetmask, 1))))},
		{name: "NEW IPv6 prefix 128", cmd: cNewService, parts: list(svc(other6, conf6("rr")))},
		{name: "NEW IPv6 mark prefix 0", cmd: cNewService, parts: list(svc(mark6(5), settings("rr", 0, 0, u32(sNetmask, 0)))), want: eINVAL},
		{name: "SET", cmd: cSetService, parts: list(svc(vip, conf("wlc")))},
		{name: "SET unknown scheduler", cmd: cSetService, parts: list(svc(vip, conf("what"))), want: eNOENT},
		{name: "SET empty scheduler", cmd: cSetService, parts: list(svc(vip, conf(""))), want: eNOENT},
		{name: "SET unknown engine", cmd: cSetService, parts: list(svc(vip, conf("rr"), str(sEngine, "what"))), want: eNOENT},
		{name: "SET unknown engine, another scheduler", cmd: cSetService, parts: list(svc(vip, conf("wlc"), str(sEngine, "what"))), want: eNOENT},
		{name: "SET IPv6 prefix 0", cmd: cSetService, parts: list(svc(vip6, settings("rr", 0, 0, u32(sNetmask, 0)))), want: eINVAL},
		{name: "SET IPv6 prefix 129", cmd: cSetService, parts: list(svc(vip6, settings("rr", 0, 0, u32(sNetmask, 129)))), want: eINVAL},
		{name: "DEL", cmd: cDelService, parts: list(svc(vip))},
		{name: "GET", cmd: cGetService, parts: list(svc(vip))},
		{name: "ZERO", cmd: cZero, parts: list(svc(vip))},
		{name: "ZERO everything", cmd: cZero},
		{name: "FLUSH", cmd: cFlush},
		{name: "FLUSH of nothing", cmd: cFlush, before: list(first(cFlush))},
		{name: "FLUSH with attributes", cmd: cFlush, parts: list(svc(missing), dst(rip))},
	}
	parts := map[string][]byte{
		"scheduler": str(sSched, "rr"), "flags": flagPair(0, 0), "timeout": u32(sTimeout, 0), "netmask": mask32,
	}
	for what, rest := range lacking(parts) {
		rows = append(rows,
			row{name: "NEW without " + what, cmd: cNewService, parts: list(svc(missing, rest)), want: eINVAL},
			row{name: "SET without " + what, cmd: cSetService, parts: list(svc(vip, rest)), want: eINVAL})
	}
	slices.SortFunc(rows, byName)
	return rows
}

func byName(a, b row) int {
	switch {
	case a.name < b.name:
		return -1
	case a.name > b.name:
		return 1
	}
	return 0
}

func destRows() []row {
	rows := []row{
		{name: "NEW existing", cmd: cNewDest, parts: list(svc(vip), dst(rip, routed)), want: eEXIST},
		{name: "NEW existing, another method", cmd: cNewDest, parts: list(svc(vip), dst(rip, full(0, 1, 0, 0))), want: eEXIST},
		{name: "NEW same address, another port", cmd: cNewDest, parts: list(svc(vip), dst("10.0.0.1:81", routed))},
		{name: "NEW same address in another service", cmd: cNewDest, parts: list(svc(vip6), dst(rip, full(2, 1, 0, 0)))},
		{name: "SET missing", cmd: cSetDest, parts: list(svc(vip), dst(newRIP, routed)), want: eNOENT},
		{name: "SET missing port", cmd: cSetDest, parts: list(svc(vip), dst("10.0.0.1:81", routed)), want: eNOENT},
		{name: "DEL missing", cmd: cDelDest, parts: list(svc(vip), dst(newRIP)), want: eNOENT},
		{name: "DEL of another family", cmd: cDelDest, parts: list(svc(vip), dst("[a00:1::]:80")), want: eNOENT},
		{name: "DEL", cmd: cDelDest, parts: list(svc(vip), dst(rip))},
		{name: "DEL with broken configuration", cmd: cDelDest, parts: list(svc(vip), dst(rip, full(9, 1<<31, 1, 2)))},
		{name: "DEL without family", cmd: cDelDest, parts: list(svc(vip), nest(aDest, bin(dAddr, 10, 0, 0, 1), be16(dPort, 80)))},
		{name: "DEL with family 0", cmd: cDelDest, parts: list(svc(vip), nest(aDest, place(rip), u16(dFamily, 0)))},
		{name: "mixed family, masquerade", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(0, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, local", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(1, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, direct routing", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(3, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, bypass", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(4, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, method 6", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(6, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, tunnel", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(2, 1, 0, 0)))},
		{name: "mixed family, tunnel and higher bits", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(0x2002, 1, 0, 0)))},
		{name: "mixed family, IPv4 in IPv6", cmd: cNewDest, parts: list(svc(vip6), dst(rip, full(2, 1, 0, 0)))},
		{name: "mixed family, IPv4 in IPv6, masquerade", cmd: cNewDest, parts: list(svc(vip6), dst(rip, full(0, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, SET of a missing one", cmd: cSetDest, parts: list(svc(vip), dst(rip6, routed)), want: eINVAL},
		{name: "mixed family, SET to direct routing", before: list(first(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))),
			cmd: cSetDest, parts: list(svc(vip), dst(rip6, routed)), want: eINVAL},
		{name: "mixed family, DEL of a missing one", cmd: cDelDest, parts: list(svc(vip), dst(rip6)), want: eNOENT},
		{name: "mixed family, tunnel, with a daemon", devices: true, before: list(first(cNewDaemon, syncd(backup, "dm0"))),
			cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(2, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, SET, with a daemon", devices: true, before: list(first(cNewDaemon, syncd(backup, "dm0"))),
			cmd: cSetDest, parts: list(svc(vip), dst(rip6, full(2, 1, 0, 0))), want: eINVAL},
		{name: "mixed family, DEL, with a daemon", devices: true, before: list(first(cNewDaemon, syncd(backup, "dm0"))),
			cmd: cDelDest, parts: list(svc(vip), dst(rip6)), want: eNOENT},
	}
	for _, cmd := range []uint8{cNewDest, cSetDest} {
		name, addr := commandName(cmd), newRIP
		if cmd == cSetDest {
			addr = rip
		}
		with := func(what string, want errno, more ...[]byte) {
			rows = append(rows, row{name: name + " " + what, cmd: cmd, want: want, parts: list(svc(vip), dst(addr, more...))})
		}
		with("weight 0", 0, full(3, 0, 0, 0))
		with("weight 65536", 0, full(3, 65536, 0, 0))
		with("weight 2^31-1", 0, full(3, 1<<31-1, 0, 0))
		with("weight 2^31", eRANGE, full(3, 1<<31, 0, 0))
		with("weight 2^32-1", eRANGE, full(3, 1<<32-1, 0, 0))
		with("lower above upper", eRANGE, full(3, 1, 10, 11))
		with("lower without upper", eRANGE, full(3, 1, 0, 1))
		with("lower like upper", 0, full(3, 1, 10, 10))
		with("upper 2^31-1", 0, full(3, 1, 1<<31-1, 0))
		with("upper 2^31", eINVAL, full(3, 1, 1<<31, 0))
		with("method with higher bits", 0, full(0x2003, 1, 0, 0))
		with("method 7", 0, full(7, 1, 0, 0))
		with("GUE without port", eINVAL, full(2, 1, 0, 0), u8(dTunType, 1))
		with("GUE with port 0", eINVAL, full(2, 1, 0, 0), u8(dTunType, 1), be16(dTunPort, 0))
		with("GUE without port, masquerade", eINVAL, full(0, 1, 0, 0), u8(dTunType, 1))
		with("GUE with port", 0, full(2, 1, 0, 0), u8(dTunType, 1), be16(dTunPort, 6080))
		with("GRE without port", 0, full(2, 1, 0, 0), u8(dTunType, 2))
		with("tunnel type 255, flags 65535", 0, full(2, 1, 0, 0), u8(dTunType, 255), u16(dTunFlags, 65535))
		parts := map[string][]byte{
			"method": u32(dForward, 3), "weight": u32(dWeight, 1), "upper threshold": u32(dUpper, 0), "lower threshold": u32(dLower, 0),
		}
		for what, rest := range lacking(parts) {
			with("without "+what, eINVAL, rest)
		}
	}
	for _, cmd := range []uint8{cNewDest, cSetDest, cDelDest} {
		name, addr := commandName(cmd), rip
		if cmd == cNewDest {
			addr = newRIP
		}
		with := func(what string, want errno, parts ...[]byte) {
			rows = append(rows, row{name: name + " " + what, cmd: cmd, want: want, parts: append(list(svc(vip)), parts...)})
		}
		with("without DEST", eINVAL)
		with("empty DEST", eINVAL, nest(aDest))
		with("malformed attribute in DEST", eINVAL, bin(aDest, 99, 0, 1, 0))
		with("without address", eINVAL, nest(aDest, be16(dPort, 80), routed))
		with("without port", eINVAL, nest(aDest, bin(dAddr, 10, 0, 0, 1), routed))
		with("address of 17 bytes", eINVAL, nest(aDest, zeroes(dAddr, 17), be16(dPort, 80), routed))
		for typ, n := range map[uint16]int{
			dPort: 1, dForward: 3, dWeight: 3, dUpper: 3, dLower: 3, dFamily: 1, dTunType: 0, dTunPort: 1, dTunFlags: 1,
		} {
			with(fmt.Sprintf("attribute %d of %d bytes", typ, n), eINVAL, dst(addr, routed, zeroes(typ, n)))
		}
		with("family 3", eAFNOSUPPORT, nest(aDest, place(addr), routed, u16(dFamily, 3)))
		with("family 1", eAFNOSUPPORT, nest(aDest, place(addr), routed, u16(dFamily, 1)))
	}
	slices.SortFunc(rows, byName)
	return rows
}

// addressRows are what a new destination can have as address. dm0 has 192.168.77.1 and a network of 256 addresses.
func addressRows() []row {
	var rows []row
	for _, a := range []struct {
		addr    string
		want    errno
		devices bool
	}{
		{"0.0.0.0", eINVAL, false},
		{"255.255.255.255", eINVAL, false},
		{"224.0.0.1", eINVAL, false},
		{"239.255.255.255", eINVAL, false},
		{"127.0.0.1", 0, false},
		{"127.1.2.3", 0, false},
		{"240.0.0.1", 0, false},
		{"0.1.2.3", 0, false},
		{"10.1.0.1", 0, false},
		{"192.168.77.255", eINVAL, true},
		{"192.168.77.0", 0, true},
		{"192.168.77.1", 0, true},
		{"192.168.77.2", 0, true},
		{"::", eINVAL, false},
		{"::1", 0, false},
		{"::10.0.0.1", 0, false},
		{"::ffff:10.0.0.1", eINVAL, false},
		{"fd00::1", 0, false},
		{"2001:db8::1", 0, false},
		{"fe80::1", eINVAL, false},
		{"ff02::1", eINVAL, false},
	} {
		of, s := vip, a.addr+":80"
		if s[0] == ':' || s[4] == ':' {
			of, s = vip6, "["+a.addr+"]:80"
		}
		rows = append(rows, row{name: a.addr, cmd: cNewDest, parts: list(svc(of), dst(s, routed)), want: a.want, devices: a.devices})
	}
	return rows
}

func daemonRows() []row {
	state, device, id := u32(mState, master), str(mDevice, "dm0"), u32(mSyncID, 1)
	runs := list(first(cNewDaemon, syncd(master, "dm0")))
	mixed := list(first(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0))))
	group6 := func(first byte) []byte { return bin(mGroup6, append([]byte{first, 2}, make([]byte, 14)...)...) }
	with := func(more ...[]byte) [][]byte { return list(syncd(master, "dm0", more...)) }
	rows := []row{
		{name: "NEW master", cmd: cNewDaemon, parts: with()},
		{name: "NEW backup", cmd: cNewDaemon, parts: list(syncd(backup, "dm0"))},
		{name: "NEW without DAEMON", cmd: cNewDaemon, want: eINVAL},
		{name: "NEW empty DAEMON", cmd: cNewDaemon, parts: list(nest(aDaemon)), want: eINVAL},
		{name: "NEW malformed attribute", cmd: cNewDaemon, parts: list(bin(aDaemon, 99, 0, 1, 0)), want: eINVAL},
		{name: "NEW without state", cmd: cNewDaemon, parts: list(nest(aDaemon, device, id)), want: eINVAL},
		{name: "NEW without device", cmd: cNewDaemon, parts: list(nest(aDaemon, state, id)), want: eINVAL},
		{name: "NEW without sync id", cmd: cNewDaemon, parts: list(nest(aDaemon, state, device)), want: eINVAL},
		{name: "NEW state 0", cmd: cNewDaemon, parts: list(syncd(0, "dm0")), want: eINVAL},
		{name: "NEW state 3", cmd: cNewDaemon, parts: list(syncd(3, "dm0")), want: eINVAL},
		{name: "NEW state of two bytes", cmd: cNewDaemon, parts: list(nest(aDaemon, u16(mState, master), device, id)), want: eINVAL},
		{name: "NEW unknown device", cmd: cNewDaemon, parts: list(syncd(master, "nope")), want: eNODEV},
		{name: "NEW empty device", cmd: cNewDaemon, parts: list(syncd(master, "")), want: eNODEV},
		{name: "NEW device of 15 characters", cmd: cNewDaemon, parts: list(syncd(master, "abcdefghijklmno")), want: eNODEV},
		{name: "NEW device of 16 characters", cmd: cNewDaemon, parts: list(syncd(master, "abcdefghijklmnop")), want: eINVAL},
		{name: "NEW device without end", cmd: cNewDaemon, parts: list(nest(aDaemon, state, bin(mDevice, 'd', 'm', '0'), id)), want: eINVAL},
		{name: "NEW running", before: runs, cmd: cNewDaemon, parts: with(), want: eEXIST},
		{name: "NEW running, another device", before: runs, cmd: cNewDaemon, parts: list(syncd(master, "lo")), want: eEXIST},
		{name: "NEW other state", before: runs, cmd: cNewDaemon, parts: list(syncd(backup, "dm0"))},
		{name: "NEW length of one byte", cmd: cNewDaemon, parts: with(u8(mMaxLen, 100)), want: eINVAL},
		{name: "NEW length of four bytes", cmd: cNewDaemon, parts: with(u32(mMaxLen, 100))},
		{name: "NEW port of one byte", cmd: cNewDaemon, parts: with(u8(mPort, 100)), want: eINVAL},
		{name: "NEW group of three bytes", cmd: cNewDaemon, parts: with(bin(mGroup, 224, 0, 0)), want: eINVAL},
		{name: "NEW unicast group", cmd: cNewDaemon, parts: with(bin(mGroup, 10, 0, 0, 1)), want: eINVAL},
		{name: "NEW group 240.0.0.1", cmd: cNewDaemon, parts: with(bin(mGroup, 240, 0, 0, 1)), want: eINVAL},
		{name: "NEW unicast IPv6 group", cmd: cNewDaemon, parts: with(group6(0x20)), want: eINVAL},
		{name: "NEW IPv6 group of four bytes", cmd: cNewDaemon, parts: with(bin(mGroup6, 0xff, 2, 0, 0)), want: eINVAL},
		{name: "NEW IPv6 group of 17 bytes", cmd: cNewDaemon, parts: with(zeroes(mGroup6, 17)), want: eINVAL},
		{name: "NEW good group, bad IPv6 group", cmd: cNewDaemon, parts: with(bin(mGroup, 224, 0, 0, 9), group6(0x20))},
		{name: "NEW bad group, good IPv6 group", cmd: cNewDaemon, parts: with(bin(mGroup, 10, 0, 0, 9), group6(0xff)), want: eINVAL},
		{name: "NEW master on a device that is down", cmd: cNewDaemon, parts: list(syncd(master, "dm1")), want: eNETUNREACH},
		{name: "NEW backup on a device that is down", cmd: cNewDaemon, parts: list(syncd(backup, "dm1"))},
		{name: "NEW with a mixed destination", before: mixed, cmd: cNewDaemon, parts: list(syncd(backup, "dm0")), want: eINVAL},
		{name: "DEL master", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, state))},
		{name: "DEL without DAEMON", before: runs, cmd: cDelDaemon, want: eINVAL},
		{name: "DEL without state", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, device)), want: eINVAL},
		{name: "DEL state 0", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, u32(mState, 0))), want: eINVAL},
		{name: "DEL state 3", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, u32(mState, 3))), want: eINVAL},
		{name: "DEL not running", cmd: cDelDaemon, parts: list(nest(aDaemon, state)), want: eSRCH},
		{name: "DEL other one running", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, u32(mState, backup))), want: eSRCH},
		{name: "DEL of another device", before: runs, cmd: cDelDaemon, parts: list(nest(aDaemon, state, str(mDevice, "nope")))},
	}
	for i := range rows {
		rows[i].devices = true
	}
	return rows
}

func configRows() []row {
	return []row{
		{name: "nothing", cmd: cSetConfig},
		{name: "zeroes", cmd: cSetConfig, parts: list(u32(aTCP, 0), u32(aTCPFin, 0), u32(aUDP, 0))},
		{name: "TCP 2^31", cmd: cSetConfig, parts: list(u32(aTCP, 1<<31)), want: eINVAL},
		{name: "FIN 2^31", cmd: cSetConfig, parts: list(u32(aTCPFin, 1<<31)), want: eINVAL},
		{name: "UDP 2^31", cmd: cSetConfig, parts: list(u32(aUDP, 1<<31)), want: eINVAL},
		{name: "TCP 2^32-1", cmd: cSetConfig, parts: list(u32(aTCP, 1<<32-1)), want: eINVAL},
		{name: "TCP 2^31-1", cmd: cSetConfig, parts: list(u32(aTCP, 1<<31-1)), want: eINVAL},
		{name: "good and bad", cmd: cSetConfig, parts: list(u32(aTCP, 77), u32(aTCPFin, 78), u32(aUDP, 1<<31)), want: eINVAL},
		{name: "bad and good", cmd: cSetConfig, parts: list(u32(aTCP, 1<<31), u32(aTCPFin, 78), u32(aUDP, 79)), want: eINVAL},
	}
}

// orderRows have two faults each: the one that is looked at first shows.
func orderRows() []row {
	short := bin(aTCP, 1)
	return []row{
		{name: "no such command before attributes", cmd: 99, parts: list(short), want: eOPNOTSUPP},
		{name: "dump of a command without before attributes", cmd: cNewService, flags: flRequest | flAck | flDump, parts: list(short), want: eOPNOTSUPP},
		{name: "timeout before a missing SERVICE", cmd: cDelService, parts: list(short), want: eRANGE},
		{name: "timeout before a missing service", cmd: cDelService, parts: list(svc(missing), short), want: eRANGE},
		{name: "first of two faults at the top", cmd: cDelService, parts: list(bin(aService, 1), short), want: eRANGE},
		{name: "broken SERVICE before broken DEST", cmd: cNewDest, parts: list(nest(aService), nest(aDest)), want: eINVAL},
		{name: "missing attribute before the family", cmd: cNewService, parts: list(svc(u16(sFamily, 3), conf("rr"))), want: eINVAL},
		{name: "family before the configuration", cmd: cNewService, parts: list(svc(u16(sFamily, 3), u32(sMark, 1))), want: eAFNOSUPPORT},
		{name: "configuration before existence, NEW", cmd: cNewService, parts: list(svc(vip)), want: eINVAL},
		{name: "configuration before existence, SET", cmd: cSetService, parts: list(svc(missing)), want: eINVAL},
		{name: "existing service before the scheduler", cmd: cNewService, parts: list(svc(vip, conf("what"))), want: eEXIST},
		{name: "existing service before the engine", cmd: cNewService, parts: list(svc(vip, conf("rr"), str(sEngine, "what"))), want: eEXIST},
		{name: "existing service before the prefix", cmd: cNewService, parts: list(svc(vip6, settings("rr", 0, 0, u32(sNetmask, 0)))), want: eEXIST},
		{name: "missing service before the scheduler", cmd: cSetService, parts: list(svc(missing, conf("what"))), want: eSRCH},
		{name: "missing service before the engine", cmd: cSetService, parts: list(svc(missing, conf("rr"), str(sEngine, "what"))), want: eSRCH},
		{name: "scheduler before the prefix", cmd: cNewService, parts: list(svc(tcp("[2001:db8::99]:80"), settings("what", 0, 0, u32(sNetmask, 0)))), want: eNOENT},
		{name: "engine before the prefix", cmd: cNewService, parts: list(svc(tcp("[2001:db8::99]:80"), settings("rr", 0, 0, u32(sNetmask, 0)), str(sEngine, "what"))), want: eNOENT},
		{name: "missing service before broken DEST", cmd: cNewDest, parts: list(svc(missing), nest(aDest)), want: eSRCH},
		{name: "missing service before missing DEST", cmd: cDelDest, parts: list(svc(missing)), want: eSRCH},
		{name: "missing service before the weight", cmd: cSetDest, parts: list(svc(missing), dst(rip, full(3, 1<<31, 0, 0))), want: eSRCH},
		{name: "missing configuration before the destination's family", cmd: cNewDest, parts: list(svc(vip), nest(aDest, place(newRIP), u16(dFamily, 3))), want: eINVAL},
		{name: "destination's family before the weight", cmd: cNewDest, parts: list(svc(vip), nest(aDest, place(newRIP), u16(dFamily, 3), full(3, 1<<31, 0, 0))), want: eAFNOSUPPORT},
		{name: "mixed family before the weight", cmd: cNewDest, parts: list(svc(vip), dst(rip6, full(3, 1<<31, 0, 0))), want: eINVAL},
		{name: "weight before the thresholds", cmd: cNewDest, parts: list(svc(vip), dst(newRIP, full(3, 1<<31, 1<<31, 0))), want: eRANGE},
		{name: "lower threshold before the upper", cmd: cNewDest, parts: list(svc(vip), dst(newRIP, full(3, 1, 1<<31, 1<<31+1))), want: eRANGE},
		{name: "thresholds before the tunnel port", cmd: cNewDest, parts: list(svc(vip), dst(newRIP, full(3, 1, 1, 2), u8(dTunType, 1))), want: eRANGE},
		{name: "weight before existence, NEW", cmd: cNewDest, parts: list(svc(vip), dst(rip, full(3, 1<<31, 0, 0))), want: eRANGE},
		{name: "weight before existence, SET", cmd: cSetDest, parts: list(svc(vip), dst(newRIP, full(3, 1<<31, 0, 0))), want: eRANGE},
		{name: "tunnel port before existence, NEW", cmd: cNewDest, parts: list(svc(vip), dst(rip, full(3, 1, 0, 0), u8(dTunType, 1))), want: eINVAL},
		{name: "tunnel port before existence, SET", cmd: cSetDest, parts: list(svc(vip), dst(newRIP, full(3, 1, 0, 0), u8(dTunType, 1))), want: eINVAL},
		{name: "weight before the address", cmd: cNewDest, parts: list(svc(vip), dst("224.0.0.1:80", full(3, 1<<31, 0, 0))), want: eRANGE},
		{name: "daemon, missing attribute before the group", devices: true, cmd: cNewDaemon, parts: list(nest(aDaemon, u32(mState, master), bin(mGroup, 10, 0, 0, 1))), want: eINVAL},
		{name: "daemon, group before the device", devices: true, cmd: cNewDaemon, parts: list(syncd(master, "nope", bin(mGroup, 10, 0, 0, 1))), want: eINVAL},
		{name: "daemon, mixed destination before the device", devices: true, before: list(first(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))),
			cmd: cNewDaemon, parts: list(syncd(master, "nope")), want: eINVAL},
		{name: "daemon, device before the state", devices: true, cmd: cNewDaemon, parts: list(syncd(3, "nope")), want: eNODEV},
		{name: "daemon, device before running", devices: true, before: list(first(cNewDaemon, syncd(master, "dm0"))),
			cmd: cNewDaemon, parts: list(syncd(master, "nope")), want: eNODEV},
		{name: "daemon, running before a device that is down", devices: true, before: list(first(cNewDaemon, syncd(master, "dm0"))),
			cmd: cNewDaemon, parts: list(syncd(master, "dm1")), want: eEXIST},
	}
}
