package nltest

// sampleEvery is the interval at which the estimator visits an object, in seconds.
const sampleEvery = 2

// Counters are the five counters of a service, a destination or a namespace. Bytes are those of whole IP packets.
type Counters struct {
	Conns      uint64 `json:"conns,omitempty"`
	InPackets  uint64 `json:"inPackets,omitempty"`
	OutPackets uint64 `json:"outPackets,omitempty"`
	InBytes    uint64 `json:"inBytes,omitempty"`
	OutBytes   uint64 `json:"outBytes,omitempty"`
}

// Add returns the sum of c and d.
func (c Counters) Add(d Counters) Counters {
	return Counters{c.Conns + d.Conns, c.InPackets + d.InPackets, c.OutPackets + d.OutPackets, c.InBytes + d.InBytes, c.OutBytes + d.OutBytes}
}

// Sub returns the difference of c and d, modulo 2^64 as the kernel counts.
func (c Counters) Sub(d Counters) Counters {
	return Counters{c.Conns - d.Conns, c.InPackets - d.InPackets, c.OutPackets - d.OutPackets, c.InBytes - d.InBytes, c.OutBytes - d.OutBytes}
}

// list returns the counters in the order of their attributes.
func (c Counters) list() [5]uint64 {
	return [5]uint64{c.Conns, c.InPackets, c.OutPackets, c.InBytes, c.OutBytes}
}

// rates are the five displayed rates in the order of their attributes, per second; the last two are bytes.
type rates [5]uint64

// stats are the statistics of one object: what was counted, what the estimator saw last, what ZERO took as its base, and
// the moving averages.
type stats struct {
	live    Counters // counted up to now
	sampled Counters // at the last visit
	base    Counters // subtracted from sampled when shown
	avg     [5]int64 // fixed point: 1/1024 for connections and packets, 1/32 for bytes
}

// visit samples the live counters and moves the averages, as the estimator does every two seconds.
func (s *stats) visit() {
	delta := s.live.Sub(s.sampled).list()
	s.sampled = s.live
	for i, d := range delta {
		rate := int64(d) << 9 // over two seconds, scaled by 2^10
		if i >= 3 {
			rate = int64(d) << 4 // scaled by 2^5
		}
		s.avg[i] += (rate - s.avg[i]) >> 2
	}
}

// zero makes the visible counters and rates 0; what was counted since the last visit comes back at the next.
func (s *stats) zero() {
	s.base, s.avg = s.sampled, [5]int64{}
}

// view returns what netlink and /proc show.
func (s *stats) view() (Counters, rates) {
	var r rates
	for i, e := range s.avg {
		if i < 3 {
			r[i] = uint64((e + 511) >> 10)
		} else {
			r[i] = uint64((e + 15) >> 5)
		}
	}
	return s.sampled.Sub(s.base), r
}

// appendStats writes the two statistics nests.
func (s *stats) appendStats(e *encoder, nest32, nest64 uint16) {
	counters, r := s.view()
	list := counters.list()
	e.nest(nest32, func() {
		for i, v := range list {
			if i < 3 {
				e.u32(uint16(statsCounter+i), uint32(v))
			} else {
				e.u64(uint16(statsCounter+i), v)
			}
		}
		for i, v := range r {
			e.u32(uint16(statsRate+i), uint32(v))
		}
	})
	e.nest(nest64, func() {
		for i, v := range list {
			e.u64(uint16(statsCounter+i), v)
		}
		for i, v := range r {
			e.u64(uint16(statsRate+i), v)
		}
	})
}
