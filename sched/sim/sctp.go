package sim

import (
	"fmt"
	"strconv"
)

// Chunk is the type of the first chunk of an SCTP packet, as RFC 9260 numbers them.
type Chunk uint8

// Types of chunks.
const (
	Data             Chunk = 0
	Init             Chunk = 1
	InitAck          Chunk = 2
	Sack             Chunk = 3
	Heartbeat        Chunk = 4
	HeartbeatAck     Chunk = 5
	Abort            Chunk = 6
	Shutdown         Chunk = 7
	ShutdownAck      Chunk = 8
	ChunkError       Chunk = 9
	CookieEcho       Chunk = 10
	CookieAck        Chunk = 11
	ECNE             Chunk = 12
	CWR              Chunk = 13
	ShutdownComplete Chunk = 14
)

var chunkNames = [...]string{
	"DATA", "INIT", "INIT_ACK", "SACK", "HEARTBEAT", "HEARTBEAT_ACK", "ABORT", "SHUTDOWN", "SHUTDOWN_ACK", "ERROR", "COOKIE_ECHO",
	"COOKIE_ACK", "ECNE", "CWR", "SHUTDOWN_COMPLETE",
}

// String returns the name in capital letters, such as "INIT_ACK", or "chunk(N)" for a value this package does not know.
func (c Chunk) String() string {
	if int(c) < len(chunkNames) {
		return chunkNames[c]
	}
	return "chunk(" + strconv.Itoa(int(c)) + ")"
}

// ParseChunk reads a name as String returns it.
func ParseChunk(s string) (Chunk, error) {
	for i, name := range chunkNames {
		if name == s {
			return Chunk(i), nil
		}
	}
	return 0, fmt.Errorf("sim: %q is no type of an SCTP chunk", s)
}

// SCTP states, with the kernel's numbers.
const (
	sctpNO = iota // none
	sctpI1        // INIT seen
	sctpIN        // INIT seen again
	sctpCS        // INIT_ACK sent
	sctpCR        // COOKIE_ECHO received
	sctpCW        // cookie awaited
	sctpCO        // cookie
	sctpCE        // cookie echoed
	sctpES        // established
	sctpSS        // SHUTDOWN sent
	sctpSR        // SHUTDOWN received
	sctpSA        // SHUTDOWN_ACK sent
	sctpRJ        // rejected
	sctpCL        // closed
	sctpStates
)

var sctpNames = [sctpStates]string{
	"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED", "S-SENT", "S-RECEIVED",
	"S-ACK-SENT", "REJECTED", "CLOSED",
}

var sctpSeconds = [sctpStates]int{2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61}

const sctpEvents = 10

// sctpEvent is the column of each type of chunk; other types count as data.
var sctpEvent = [...]uint8{
	Data: 0, Init: 1, InitAck: 2, Sack: 0, Heartbeat: 0, HeartbeatAck: 0, Abort: 9, Shutdown: 5, ShutdownAck: 6, ChunkError: 8,
	CookieEcho: 3, CookieAck: 4, ECNE: 0, CWR: 0, ShutdownComplete: 7,
}

func nextSCTP(dir direction, state uint8, c Chunk) uint8 {
	event := uint8(0)
	if int(c) < len(sctpEvent) {
		event = sctpEvent[c]
	}
	return sctpNext[dir][state][event]
}

// sctpNext gives the next state by direction, state, and the events data, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK,
// SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, ERROR, ABORT.
var sctpNext = [directions][sctpStates][sctpEvents]uint8{
	{ // in
		{sctpES, sctpI1, sctpCW, sctpCR, sctpES, sctpSR, sctpCL, sctpCL, sctpCL, sctpCL}, // NO
		{sctpI1, sctpIN, sctpCW, sctpIN, sctpI1, sctpI1, sctpIN, sctpCL, sctpI1, sctpCL}, // I1
		{sctpIN, sctpIN, sctpCW, sctpIN, sctpIN, sctpIN, sctpIN, sctpCL, sctpIN, sctpCL}, // IN
		{sctpCS, sctpCS, sctpCS, sctpCR, sctpCS, sctpCS, sctpCS, sctpCS, sctpCS, sctpCL}, // CS
		{sctpCR, sctpCR, sctpCR, sctpCR, sctpCR, sctpCR, sctpCR, sctpCR, sctpCR, sctpCL}, // CR
		{sctpCW, sctpCW, sctpCO, sctpCW, sctpCW, sctpCW, sctpCW, sctpCW, sctpCW, sctpRJ}, // CW
		{sctpCO, sctpCO, sctpCO, sctpCO, sctpCO, sctpCO, sctpCO, sctpCO, sctpCO, sctpCL}, // CO
		{sctpCE, sctpCE, sctpCE, sctpCE, sctpES, sctpCE, sctpCE, sctpCE, sctpCL, sctpCL}, // CE
		{sctpES, sctpES, sctpES, sctpES, sctpES, sctpSR, sctpES, sctpES, sctpES, sctpCL}, // ES
		{sctpSS, sctpSS, sctpSS, sctpSS, sctpSS, sctpSS, sctpCL, sctpSS, sctpSS, sctpCL}, // SS
		{sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpCL}, // SR
		{sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpCL, sctpCL, sctpSA, sctpCL}, // SA
		{sctpRJ, sctpIN, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpCL}, // RJ
		{sctpCL, sctpIN, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL}, // CL
	},
	{ // out
		{sctpES, sctpCW, sctpCS, sctpCE, sctpES, sctpSS, sctpSA, sctpCL, sctpCL, sctpCL}, // NO
		{sctpI1, sctpCW, sctpCS, sctpCE, sctpES, sctpSS, sctpSA, sctpI1, sctpCL, sctpRJ}, // I1
		{sctpIN, sctpCW, sctpCS, sctpCE, sctpES, sctpSS, sctpSA, sctpIN, sctpCL, sctpCL}, // IN
		{sctpCS, sctpCW, sctpCS, sctpCE, sctpES, sctpSS, sctpSA, sctpCS, sctpCL, sctpCL}, // CS
		{sctpCR, sctpCW, sctpCR, sctpCE, sctpES, sctpSS, sctpSA, sctpCR, sctpCL, sctpCL}, // CR
		{sctpCW, sctpCW, sctpCW, sctpCE, sctpES, sctpSS, sctpCW, sctpCW, sctpCW, sctpCL}, // CW
		{sctpCO, sctpCW, sctpCO, sctpCE, sctpES, sctpSS, sctpCO, sctpCO, sctpCO, sctpCL}, // CO
		{sctpCE, sctpCW, sctpCE, sctpCE, sctpES, sctpSS, sctpCE, sctpCE, sctpCE, sctpCL}, // CE
		{sctpES, sctpES, sctpES, sctpES, sctpES, sctpSS, sctpES, sctpES, sctpES, sctpCL}, // ES
		{sctpSS, sctpCW, sctpSS, sctpSS, sctpSS, sctpSS, sctpSA, sctpSS, sctpSS, sctpCL}, // SS
		{sctpSR, sctpCW, sctpSR, sctpSR, sctpSR, sctpSR, sctpSA, sctpSR, sctpSR, sctpCL}, // SR
		{sctpSA, sctpCW, sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpCL}, // SA
		{sctpRJ, sctpCW, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpCL}, // RJ
		{sctpCL, sctpCW, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL}, // CL
	},
	{ // in-only
		{sctpES, sctpI1, sctpCE, sctpES, sctpES, sctpSR, sctpCL, sctpCL, sctpCL, sctpCL}, // NO
		{sctpI1, sctpIN, sctpCE, sctpES, sctpI1, sctpI1, sctpIN, sctpCL, sctpI1, sctpCL}, // I1
		{sctpIN, sctpIN, sctpCE, sctpES, sctpIN, sctpIN, sctpIN, sctpCL, sctpIN, sctpCL}, // IN
		{sctpCS, sctpIN, sctpCE, sctpES, sctpES, sctpCS, sctpCS, sctpCL, sctpCS, sctpCL}, // CS
		{sctpCR, sctpIN, sctpCE, sctpES, sctpES, sctpCR, sctpCR, sctpCL, sctpCR, sctpCL}, // CR
		{sctpES, sctpIN, sctpCE, sctpES, sctpCW, sctpCW, sctpCW, sctpCW, sctpCW, sctpRJ}, // CW
		{sctpCO, sctpCO, sctpCO, sctpCO, sctpES, sctpCO, sctpCO, sctpCO, sctpCO, sctpCL}, // CO
		{sctpCE, sctpCE, sctpCE, sctpCE, sctpES, sctpCE, sctpCE, sctpCE, sctpCE, sctpCL}, // CE
		{sctpES, sctpES, sctpES, sctpES, sctpES, sctpSR, sctpCL, sctpES, sctpES, sctpCL}, // ES
		{sctpSS, sctpSS, sctpSS, sctpSS, sctpSS, sctpSS, sctpCL, sctpSS, sctpSS, sctpCL}, // SS
		{sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpSR, sctpCL, sctpSR, sctpCL}, // SR
		{sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpSA, sctpCL, sctpCL, sctpSA, sctpCL}, // SA
		{sctpRJ, sctpIN, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpRJ, sctpCL}, // RJ
		{sctpCL, sctpIN, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL, sctpCL}, // CL
	},
}
