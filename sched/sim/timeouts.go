package sim

import (
	"fmt"
	"math"
	"time"
)

// maxTimeout is what the kernel takes for one of the three timeouts, in seconds, at 250 ticks per second.
const maxTimeout = math.MaxInt32 / 250

// Timeouts are those timeouts of connections that can be set. All others are fixed.
type Timeouts struct {
	TCP    time.Duration // established TCP connections; default 900 s
	TCPFin time.Duration // TCP connections in FIN_WAIT; default 120 s
	UDP    time.Duration // UDP; default 300 s
}

// Timeouts returns the timeouts in force.
func (d *Director) Timeouts() Timeouts { return d.timeouts }

// SetTimeouts changes timeouts; zero leaves one as it is. An entry takes the new one with its next packet.
//
// The error matches ErrInvalid for a negative timeout, one that is no whole number of seconds, or one of more than
// 8589934 s; nothing is changed then.
func (d *Director) SetTimeouts(t Timeouts) error {
	for _, v := range []time.Duration{t.TCP, t.TCPFin, t.UDP} {
		if v < 0 || v > maxTimeout*time.Second || v%time.Second != 0 {
			return &Error{"set", "timeouts", fmt.Errorf("%w: %v", ErrInvalid, v)}
		}
	}
	d.timeouts = Timeouts{orElse(t.TCP, d.timeouts.TCP), orElse(t.TCPFin, d.timeouts.TCPFin), orElse(t.UDP, d.timeouts.UDP)}
	d.fillQueues()
	return nil
}

func orElse(v, other time.Duration) time.Duration {
	if v == 0 {
		return other
	}
	return v
}

// fillQueues finds the queue of every state.
func (d *Director) fillQueues() {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	d.conns.inForce = d.conns.inForce[:0]
	find := func(t time.Duration) uint16 {
		q := d.conns.queueFor(t)
		d.conns.inForce = append(d.conns.inForce, q)
		return q
	}
	for state, n := range tcpSeconds {
		t := seconds(n)
		switch state {
		case tcpES:
			t = d.timeouts.TCP
		case tcpFW:
			t = d.timeouts.TCPFin
		}
		d.tcpQueues[state] = find(t)
	}
	for state, n := range sctpSeconds {
		d.sctpQueues[state] = find(seconds(n))
	}
	d.udpQueue = find(d.timeouts.UDP)
}
