package sim

import "time"

// sampleEvery is the interval at which the estimator visits everything.
const sampleEvery = 2 * time.Second

// Counters count since the start. Bytes are those of whole IP packets.
type Counters struct {
	Conns      uint64 `json:"conns"`
	InPackets  uint64 `json:"inPackets"`
	OutPackets uint64 `json:"outPackets"`
	InBytes    uint64 `json:"inBytes"`
	OutBytes   uint64 `json:"outBytes"`
}

// Sub returns the difference of c and o, modulo 2^64 as the kernel counts.
func (c Counters) Sub(o Counters) Counters {
	return Counters{c.Conns - o.Conns, c.InPackets - o.InPackets, c.OutPackets - o.OutPackets, c.InBytes - o.InBytes, c.OutBytes - o.OutBytes}
}

// Rates are moving averages per second, as the kernel's estimator rounds them.
type Rates struct {
	Conns      uint64 `json:"conns"`
	InPackets  uint64 `json:"inPackets"`
	OutPackets uint64 `json:"outPackets"`
	InBytes    uint64 `json:"inBytes"`
	OutBytes   uint64 `json:"outBytes"`
}

// Stats are what the kernel shows of a service, a destination or the whole director.
type Stats struct {
	// Counted is everything up to now. The kernel shows it nowhere but, summed up, in ip_vs_stats_percpu.
	Counted Counters `json:"counted"`

	// Visible is what was counted from the last zeroing to the estimator's last visit: it comes every two seconds.
	Visible Counters `json:"visible"`

	// Rates are those of the estimator's last visit.
	Rates Rates `json:"rates"`
}

// stats are the statistics of one object.
type stats struct {
	live    Counters
	sampled Counters // at the last visit
	base    Counters // subtracted from sampled when shown
	avg     [5]int64 // fixed point: 1/1024 for connections and packets, 1/32 for bytes
}

func (s *stats) in(bytes uint64) {
	s.live.InPackets++
	s.live.InBytes += bytes
}

func (s *stats) out(bytes uint64) {
	s.live.OutPackets++
	s.live.OutBytes += bytes
}

// visit samples the counters and moves the averages by a quarter of the difference, rounded down.
func (s *stats) visit() {
	d := s.live.Sub(s.sampled)
	s.sampled = s.live
	for i, scaled := range [5]uint64{d.Conns << 9, d.InPackets << 9, d.OutPackets << 9, d.InBytes << 4, d.OutBytes << 4} {
		s.avg[i] += (int64(scaled) - s.avg[i]) >> 2
	}
}

// zero clears what is visible. What was counted since the last visit comes back at the next.
func (s *stats) zero() { s.base, s.avg = s.sampled, [5]int64{} }

func (s *stats) view() Stats {
	count := func(i int) uint64 { return uint64((s.avg[i] + 511) >> 10) }
	bytes := func(i int) uint64 { return uint64((s.avg[i] + 15) >> 5) }
	return Stats{
		Counted: s.live,
		Visible: s.sampled.Sub(s.base),
		Rates:   Rates{count(0), count(1), count(2), bytes(3), bytes(4)},
	}
}
