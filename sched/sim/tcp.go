package sim

import (
	"fmt"
	"strings"
)

// TCPFlags are the flags of a TCP segment that IPVS looks at.
type TCPFlags uint8

// TCP flags, with the header's values.
const (
	FIN TCPFlags = 0x01
	SYN TCPFlags = 0x02
	RST TCPFlags = 0x04
	ACK TCPFlags = 0x10
)

var tcpFlagNames = [...]struct {
	flag TCPFlags
	name string
}{{SYN, "SYN"}, {FIN, "FIN"}, {ACK, "ACK"}, {RST, "RST"}}

// String returns the names joined by commas, other bits in hex, and "-" for none.
func (f TCPFlags) String() string {
	var names []string
	for _, n := range tcpFlagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
			f &^= n.flag
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("%#x", uint8(f)))
	}
	if names == nil {
		return "-"
	}
	return strings.Join(names, ",")
}

// ParseTCPFlags reads any of SYN, FIN, ACK and RST joined by commas, or "-" for none.
func ParseTCPFlags(s string) (TCPFlags, error) {
	if s == "-" {
		return 0, nil
	}
	var f TCPFlags
words:
	for word := range strings.SplitSeq(s, ",") {
		for _, n := range tcpFlagNames {
			if n.name == word {
				f |= n.flag
				continue words
			}
		}
		return 0, fmt.Errorf("sim: %q is none of the TCP flags SYN, FIN, ACK and RST", word)
	}
	return f, nil
}

// TCP states, with the kernel's numbers.
const (
	tcpNO = iota // none
	tcpES        // established
	tcpSS        // SYN sent, the server opened
	tcpSR        // SYN received
	tcpFW        // FIN seen
	tcpTW        // both closed
	tcpCL        // closed or reset
	tcpCW        // client closed, server open
	tcpLA        // last ACK
	tcpLI        // listen
	tcpSA        // SYN seen while secure_tcp is active
	tcpStates
)

var tcpNames = [tcpStates]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
}

// tcpSeconds are the default timeouts.
var tcpSeconds = [tcpStates]int{2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120}

// tcpActive says which states count in ActiveConn.
var tcpActive = [tcpStates]bool{tcpES: true, tcpSS: true, tcpSR: true, tcpSA: true}

// Events of a segment, in the order in which flags are looked at.
const (
	eventRST = iota
	eventSYN
	eventFIN
	eventACK
	tcpEvents
)

// nextTCP returns the state after a segment. A segment without any of the four flags closes.
func nextTCP(secure bool, dir direction, state uint8, f TCPFlags) uint8 {
	event := 0
	switch {
	case f&RST != 0:
		event = eventRST
	case f&SYN != 0:
		event = eventSYN
	case f&FIN != 0:
		event = eventFIN
	case f&ACK != 0:
		event = eventACK
	default:
		return tcpCL
	}
	if secure {
		return tcpSecure[dir][state][event]
	}
	return tcpNormal[dir][state][event]
}

// tcpNormal gives the next state by direction, state, and the events RST, SYN, FIN, ACK.
var tcpNormal = [directions][tcpStates][tcpEvents]uint8{
	{ // in
		{tcpCL, tcpSR, tcpCL, tcpES}, // NO
		{tcpCL, tcpES, tcpCW, tcpES}, // ES
		{tcpCL, tcpES, tcpSS, tcpSS}, // SS
		{tcpSR, tcpSR, tcpTW, tcpES}, // SR
		{tcpCL, tcpSR, tcpTW, tcpFW}, // FW
		{tcpCL, tcpSR, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSR, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSR, tcpCW, tcpCW}, // CW
		{tcpLA, tcpSR, tcpLA, tcpCL}, // LA
		{tcpLI, tcpSR, tcpLI, tcpLI}, // LI
		{tcpSR, tcpSR, tcpTW, tcpES}, // SA
	},
	{ // out
		{tcpCL, tcpSS, tcpTW, tcpES}, // NO
		{tcpCL, tcpES, tcpFW, tcpES}, // ES
		{tcpSS, tcpSS, tcpSS, tcpSS}, // SS
		{tcpCL, tcpSR, tcpTW, tcpES}, // SR
		{tcpCL, tcpSS, tcpFW, tcpFW}, // FW
		{tcpTW, tcpSS, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSS, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSS, tcpTW, tcpCW}, // CW
		{tcpCL, tcpSS, tcpLA, tcpLA}, // LA
		{tcpCL, tcpLI, tcpLI, tcpES}, // LI
		{tcpCL, tcpSR, tcpTW, tcpES}, // SA
	},
	{ // in only
		{tcpCL, tcpSR, tcpCL, tcpES}, // NO
		{tcpCL, tcpES, tcpFW, tcpES}, // ES
		{tcpCL, tcpES, tcpSS, tcpSS}, // SS
		{tcpSR, tcpSR, tcpTW, tcpES}, // SR
		{tcpCL, tcpSR, tcpFW, tcpFW}, // FW
		{tcpCL, tcpSR, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSR, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSR, tcpCW, tcpCW}, // CW
		{tcpLA, tcpSR, tcpLA, tcpCL}, // LA
		{tcpLI, tcpSR, tcpLI, tcpLI}, // LI
		{tcpCL, tcpSR, tcpTW, tcpES}, // SA
	},
}

// tcpSecure are the transitions while the defence secure_tcp is active.
var tcpSecure = [directions][tcpStates][tcpEvents]uint8{
	{ // in
		{tcpCL, tcpSR, tcpCL, tcpES}, // NO
		{tcpCL, tcpES, tcpCW, tcpES}, // ES
		{tcpCL, tcpES, tcpSS, tcpSS}, // SS
		{tcpSR, tcpSR, tcpTW, tcpSR}, // SR
		{tcpCL, tcpSR, tcpTW, tcpFW}, // FW
		{tcpCL, tcpSR, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSR, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSR, tcpCW, tcpCW}, // CW
		{tcpLA, tcpSR, tcpLA, tcpCL}, // LA
		{tcpLI, tcpSR, tcpLI, tcpLI}, // LI
		{tcpCL, tcpSA, tcpSA, tcpSA}, // SA
	},
	{ // out
		{tcpCL, tcpSS, tcpTW, tcpES}, // NO
		{tcpCL, tcpES, tcpFW, tcpES}, // ES
		{tcpSS, tcpSS, tcpSS, tcpSS}, // SS
		{tcpCL, tcpSA, tcpTW, tcpES}, // SR
		{tcpCL, tcpSS, tcpFW, tcpFW}, // FW
		{tcpTW, tcpSS, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSS, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSS, tcpTW, tcpCW}, // CW
		{tcpCL, tcpSS, tcpLA, tcpLA}, // LA
		{tcpCL, tcpLI, tcpLI, tcpES}, // LI
		{tcpCL, tcpSA, tcpTW, tcpES}, // SA
	},
	{ // in only
		{tcpCL, tcpSA, tcpCL, tcpES}, // NO
		{tcpCL, tcpES, tcpFW, tcpES}, // ES
		{tcpCL, tcpES, tcpSS, tcpSS}, // SS
		{tcpSR, tcpSR, tcpTW, tcpES}, // SR
		{tcpCL, tcpSA, tcpFW, tcpFW}, // FW
		{tcpCL, tcpSA, tcpTW, tcpTW}, // TW
		{tcpCL, tcpSA, tcpCL, tcpCL}, // CL
		{tcpCL, tcpSA, tcpCW, tcpCW}, // CW
		{tcpLA, tcpSA, tcpLA, tcpCL}, // LA
		{tcpLI, tcpSA, tcpLI, tcpLI}, // LI
		{tcpCL, tcpSA, tcpTW, tcpES}, // SA
	},
}
