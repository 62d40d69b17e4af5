package ipvs

// Stats are the counters and rates of a service, a destination or a whole namespace.
//
// The kernel refreshes what it reports every two seconds; reading more often gives the same numbers (observed on 6.1
// and 6.12). Sizes are those of IP packets, header included. For a destination of the forwarding methods [Tunnel] and
// [Route] answers do not pass the director, and nothing outgoing is counted.
type Stats struct {
	Connections uint64 `json:"connections"` // new connections since the start or the last zeroing
	InPackets   uint64 `json:"inPackets"`   // packets from clients
	OutPackets  uint64 `json:"outPackets"`  // packets to clients
	InBytes     uint64 `json:"inBytes"`
	OutBytes    uint64 `json:"outBytes"`

	// The rates are averages over several samples: a quarter of each comes from the last two seconds.

	ConnectionRate uint64 `json:"connectionRate"` // new connections per second
	InPacketRate   uint64 `json:"inPacketRate"`   // packets per second
	OutPacketRate  uint64 `json:"outPacketRate"`
	InByteRate     uint64 `json:"inByteRate"` // bytes per second
	OutByteRate    uint64 `json:"outByteRate"`

	// Narrow says that the kernel sent 32-bit statistics only, as before Linux 4.1: Connections, packets and rates are
	// then the low 32 bits of their counters.
	Narrow bool `json:"narrow,omitzero"`
}
