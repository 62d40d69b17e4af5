package sim

import (
	"net/netip"
	"strconv"
)

// Flow names a connection by its ends, as the client sees them.
type Flow struct {
	Protocol Protocol
	Client   netip.AddrPort
	Virtual  netip.AddrPort // the address and port that the client sends to
	Mark     uint32         // firewall mark of the client's packets; 0 for none
}

// Packet is a packet of a flow.
type Packet struct {
	Flow

	// Out says that the packet comes from the server, and passes the director. Otherwise it comes from the client.
	Out bool

	TCP   TCPFlags // of TCP
	Chunk Chunk    // of SCTP

	// Size is the length of the IP packet in bytes; 0 means the least that the protocol's headers need.
	Size int

	// Payload is what follows the UDP header; read for services with the persistence engine sip only. It does not add to Size.
	Payload []byte
}

// bytes is the length of the packet.
func (p *Packet) bytes() uint64 {
	if p.Size > 0 {
		return uint64(p.Size)
	}
	n := uint64(20)
	if p.Client.Addr().Is6() {
		n = 40
	}
	switch p.Protocol {
	case TCP:
		n += 20
	case UDP:
		n += 8
	case SCTP:
		n += 12 + 4
	}
	return n
}

// begins reports whether the packet is the first one of a connection by its own account, which matters for an entry that
// exists already.
func (p *Packet) begins() bool {
	return p.Protocol == TCP && p.TCP&SYN != 0 || p.Protocol == SCTP && p.Chunk == Init
}

// Verdict is what became of a packet.
type Verdict uint8

// Verdicts.
const (
	Passed    Verdict = iota // left to the director's own network stack: no service wants it
	Forwarded                // to a destination, or for a reply to the client
	Refused                  // no destination is available: ICMP port unreachable
	Dropped                  // without a word
	Bypassed                 // sent on to its own destination, under the sysctl cache_bypass
)

var verdictNames = [...]string{"passed", "forwarded", "refused", "dropped", "bypassed"}

// String returns the name in lower case, or "verdict(N)" for a value this package does not know.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "verdict(" + strconv.Itoa(int(v)) + ")"
}

// Result is what the director did with a packet.
type Result struct {
	Verdict Verdict

	// Dest is the address and port of the destination of the entry that the packet ended up on, also if it was dropped
	// because that destination is gone. It is the zero value without an entry, and 0.0.0.0:0 or [::]:0 of a bypass.
	Dest netip.AddrPort

	// Scheduled says that the packet belonged to no entry, or not any more, that a service wanted it and that the director
	// looked for a destination: in a template or by asking the scheduler.
	Scheduled bool
}
