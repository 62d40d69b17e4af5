package nltest

// A Fault makes the kernel misbehave towards one request, or all of a kind.
type Fault struct {
	// Command is the IPVS command that is affected; AnyCommand, the zero value, means all of them.
	Command Command

	// Controller makes the fault one of family look-ups instead of IPVS commands.
	Controller bool

	// Namespace, if not nil, restricts the fault to sockets of one namespace.
	Namespace *Namespace

	// Nth is the matching request that is affected, counted from 1 after the injection; 0 means every one.
	Nth int

	// Effect is what happens.
	Effect Effect
}

type effectKind uint8

const (
	effectNone effectKind = iota
	effectFail
	effectNoBuffers
	effectTruncate
	effectReverse
	effectForeign
	effectIgnore
	effectLose
	effectHold
	effectAfterChunk
)

// An Effect is what a [Fault] does; see the functions that return one. The zero Effect does nothing, which is a way of
// counting requests.
type Effect struct {
	kind  effectKind
	errno Errno
	n     int
	call  func()
}

// Fail has the request answered with an error and not executed.
func Fail(errno Errno) Effect { return Effect{kind: effectFail, errno: errno} }

// NoBuffers has the request executed and its answers lost; the next receive fails with ENOBUFS.
func NoBuffers() Effect { return Effect{kind: effectNoBuffers} }

// Truncate has every answer cut to its first n bytes, its length field unchanged.
func Truncate(n int) Effect { return Effect{kind: effectTruncate, n: n} }

// Reverse has all answers of the send call queued in reverse order, later chunks of a dump excepted.
func Reverse() Effect { return Effect{kind: effectReverse} }

// ForeignFirst puts a success answer to a request that nobody sent before the request's own answers. Its sequence number is
// the request's with the highest bit inverted.
func ForeignFirst() Effect { return Effect{kind: effectForeign} }

// Ignore has the request neither executed nor answered, ever.
func Ignore() Effect { return Effect{kind: effectIgnore} }

// Lose has the request executed and its answers lost without a sign.
func Lose() Effect { return Effect{kind: effectLose} }

// Hold has the request, and all later ones of its socket, wait until [Injection.Release].
func Hold() Effect { return Effect{kind: effectHold} }

// AfterChunk has f called when chunk n of the dump, counted from 1, has been made, and the next one is about to be, which
// happens when the program receives something. A program that peeks at a datagram before it receives it, as the netlink
// package does, thereby has two chunks made for each that it reads. f may use the kernel; the socket that dumps waits for it.
func AfterChunk(n int, f func()) Effect { return Effect{kind: effectAfterChunk, n: n, call: f} }

// An Injection is a fault that was injected.
type Injection struct {
	k       *Kernel
	fault   Fault
	matched int
	fired   int
	removed bool
}

// Inject adds a fault. Of several that match a request the first injected takes effect; all of them count it.
func (k *Kernel) Inject(f Fault) *Injection {
	k.lock()
	defer k.mu.Unlock()
	inj := &Injection{k: k, fault: f}
	k.faults = append(k.faults, inj)
	return inj
}

// ClearFaults removes all faults and releases what they hold.
func (k *Kernel) ClearFaults() {
	k.lock()
	all := k.faults
	k.mu.Unlock()
	for _, inj := range all {
		inj.Remove()
	}
}

// Fired returns how many requests the fault took effect on.
func (i *Injection) Fired() int {
	i.k.lock()
	defer i.k.mu.Unlock()
	return i.fired
}

// Release lets requests that [Hold] holds go on, in the order in which they were sent. The fault stays: what matches it later
// is held again.
func (i *Injection) Release() {
	i.k.lock()
	var touched []*session
	for s := range i.k.sessions {
		if s.heldBy == i {
			s.release(i)
			touched = append(touched, s)
		}
	}
	i.k.mu.Unlock()
	for _, s := range touched {
		s.deliver()
	}
}

// Remove ends the fault and releases what it holds. Removing it again does nothing.
func (i *Injection) Remove() {
	i.k.lock()
	i.removed = true
	for n, x := range i.k.faults {
		if x == i {
			i.k.faults = append(i.k.faults[:n:n], i.k.faults[n+1:]...)
			break
		}
	}
	i.k.mu.Unlock()
	i.Release()
}

// match returns the injection that takes effect on a request, and the effect.
func (k *Kernel) match(s *session, h header) (*Injection, Effect) {
	var hit *Injection
	isIPVS := k.loaded && h.typ == k.family
	for _, inj := range k.faults {
		f := inj.fault
		switch {
		case f.Controller && h.typ != typeControl, !f.Controller && !isIPVS:
			continue
		case !f.Controller && f.Command != AnyCommand && f.Command != Command(h.cmd):
			continue
		case f.Namespace != nil && f.Namespace != s.ns:
			continue
		}
		inj.matched++
		if hit == nil && (f.Nth == 0 || f.Nth == inj.matched) {
			hit = inj
		}
	}
	if hit == nil {
		return nil, Effect{}
	}
	hit.fired++
	return hit, hit.fault.Effect
}

// alter applies the effect to a request's answers, those from index first of the sending.
func (e Effect) alter(s *session, h header, first int) {
	answers := s.sending.answers[first:]
	switch e.kind {
	case effectNoBuffers:
		s.sending.answers = s.sending.answers[:first]
		s.sending.overrun = true
		s.dropDump(answers)
	case effectLose:
		s.sending.answers = s.sending.answers[:first]
		s.dropDump(answers)
	case effectTruncate:
		for i := range answers {
			answers[i].b = answers[i].b[:min(max(e.n, 1), len(answers[i].b))]
		}
	case effectReverse:
		s.sending.reversed = true
	case effectForeign:
		foreign := message(header{typ: typeControl, flags: flagRequest | flagAck, seq: h.seq ^ 1<<31}).finish()
		own := append([]datagram(nil), answers...)
		ack := datagram{b: ackMessage(foreign, s.port, 0, nil, "", false, false)}
		s.sending.answers = append(append(s.sending.answers[:first], ack), own...)
	}
}

// dropDump ends the running dump if its first chunk is among lost answers.
func (s *session) dropDump(lost []datagram) {
	for _, d := range lost {
		if d.dump != nil && d.dump == s.dump {
			s.dump = nil
		}
	}
}
