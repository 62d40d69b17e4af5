package nltest

// Sizes of a socket's buffers, and of dump chunks.
const (
	defaultBuffer = 212992 // SO_SNDBUF and SO_RCVBUF of a new socket
	sendOverhead  = 32     // of the send buffer, not for the message
	firstChunk    = 3776   // capacity of a dump's datagram, one page less overhead
	largestChunk  = 32448
)

// A datagram is an answer on its way to the program.
type datagram struct {
	b    []byte
	cost int
	dump *dump // that it is a chunk of, or the end
}

// A session is the kernel's side of a netlink socket. It knows nothing of how bytes travel.
type session struct {
	k    *Kernel
	ns   *Namespace
	port uint32

	privileged bool
	capAck     bool
	extAck     bool
	noENOBUFS  bool

	sendBuffer int
	recvBuffer int // capacity for answers
	recvSize   int // the program's largest receive buffer, as far as told
	received   bool

	queue     []datagram // answers that the program has not taken
	used      int        // bytes of the receive buffer
	congested bool       // answers are dropped until the queue is empty
	pending   Errno      // error of the next receive

	dump *dump // that is running

	heldBy  *Injection // requests wait for its release
	backlog [][]byte

	sending *sending // while requests are executed

	transport transport // nil in tests that need none
	closed    bool
}

// A transport carries datagrams between a session and its program.
type transport interface {
	Close() error
	// pump executes what the program has sent, and moves answers its way. The kernel's lock is not held.
	pump()
}

// deliver has answers moved to the program. The kernel's lock is not held.
func (s *session) deliver() {
	if s.transport != nil {
		s.transport.pump()
	}
}

// sending is what one send call has produced so far.
type sending struct {
	answers  []datagram
	reversed bool
	overrun  bool
}

// outcome is what a request leads to.
type outcome struct {
	reply   []byte // of a do-request
	errno   Errno
	bad     *attrError
	left    bool // bytes behind the attributes
	started bool // a dump: no acknowledgement
}

// cost returns the bytes of the receive buffer that an answer of n bytes takes: a fixed amount for small ones, and for
// others what an allocation rounded up to a power of two takes, which is an estimate.
func (s *session) cost(n int) int {
	const overhead, shared = 256, 320
	if n+overhead+shared <= s.k.facts.ackCost {
		return s.k.facts.ackCost
	}
	size := 512
	for size < n+shared {
		size *= 2
	}
	return size + overhead
}

// send executes the requests in b, or puts them behind those that are held.
func (s *session) send(b []byte) {
	if s.heldBy != nil {
		s.backlog = append(s.backlog, b)
		return
	}
	s.run(b, nil)
}

// run executes the messages in b in order. The first is not held by released.
func (s *session) run(b []byte, released *Injection) {
	s.sending = &sending{}
	s.k.sendings++
	start := 0
	for _, m := range splitMessages(b) {
		if s.request(m, released) {
			s.backlog = append([][]byte{b[start:]}, s.backlog...)
			break
		}
		start += align(len(m))
		released = nil
	}
	done := s.sending
	s.sending = nil
	if done.reversed {
		for i, j := 0, len(done.answers)-1; i < j; i, j = i+1, j-1 {
			done.answers[i], done.answers[j] = done.answers[j], done.answers[i]
		}
	}
	for _, d := range done.answers {
		s.enqueue(d)
	}
	if done.overrun {
		s.overrun()
	}
}

// release lets the requests go on that inj held.
func (s *session) release(inj *Injection) {
	if s.heldBy != inj {
		return
	}
	waiting := s.backlog
	s.heldBy, s.backlog = nil, nil
	for i, b := range waiting {
		switch {
		case s.heldBy != nil:
			s.backlog = append(s.backlog, b)
		case i == 0:
			s.run(b, inj)
		default:
			s.run(b, nil)
		}
	}
}

// enqueue adds an answer to the receive queue, or drops it if there is no room. A dump's chunk always fits: it is made
// when there is room for it.
func (s *session) enqueue(d datagram) {
	d.cost = s.cost(len(d.b))
	if d.dump == nil && (s.congested || s.used+d.cost > s.recvBuffer) {
		s.overrun()
		return
	}
	s.used += d.cost
	s.queue = append(s.queue, d)
}

// overrun marks that an answer was lost.
func (s *session) overrun() {
	if s.noENOBUFS || s.congested {
		return
	}
	s.pending = ENOBUFS
	s.congested = len(s.queue) > 0
}

// take removes the first answer, which the program receives.
func (s *session) take() []byte {
	d := s.queue[0]
	s.queue = s.queue[1:]
	s.used -= d.cost
	if len(s.queue) == 0 {
		s.queue, s.congested = nil, false
	}
	s.receive()
	return d.b
}

// receive makes the next chunk of the running dump, if there is one, as every receive call does that finds the receive buffer
// no more than half full: whichever answer it takes, and also if it only peeks (observed on 6.1 and 6.12). An effect's function is
// called without the lock.
func (s *session) receive() {
	s.received = true
	d := s.dump
	if d == nil || s.used > s.recvBuffer/2 {
		return
	}
	if d.hook != nil && d.sent == d.after {
		hook := d.hook
		d.hook = nil
		s.k.mu.Unlock()
		hook()
		s.k.lock()
	}
	if s.dump == d && !s.closed {
		s.enqueue(s.nextChunk())
	}
}

// takeError returns and clears the error of the next receive.
func (s *session) takeError() Errno {
	errno := s.pending
	s.pending = 0
	return errno
}

// replyHeader returns the header of a reply to the request h.
func (s *session) replyHeader(h header, typ, flags uint16, cmd, version uint8) header {
	return header{typ: typ, flags: flags, seq: h.seq, pid: s.port, cmd: cmd, version: version}
}

// request executes one request and queues its answers. It reports whether the request is held instead.
func (s *session) request(req []byte, released *Injection) (held bool) {
	h := parseHeader(req)
	inj := released
	var eff Effect
	if released == nil {
		inj, eff = s.k.match(s, h)
		if eff.kind == effectHold {
			s.heldBy = inj
			return true
		}
	}
	entry := s.logRequest(req, h)
	first := len(s.sending.answers)
	var out outcome
	switch {
	case h.flags&flagRequest == 0 || h.typ < typeControl:
		// not for execution
	case eff.kind == effectIgnore:
		return false
	case eff.kind == effectFail:
		out.errno = eff.errno
	default:
		out = s.dispatch(req, h, eff)
	}
	entry.Errno = out.errno
	s.answer(req, h, out)
	eff.alter(s, h, first)
	return false
}

// answer queues what the program gets to see of an outcome, but for a dump's first chunk, which is there already.
func (s *session) answer(req []byte, h header, out outcome) {
	if out.reply != nil {
		s.sending.answers = append(s.sending.answers, datagram{b: out.reply})
	}
	if !out.started && (out.errno != 0 || h.flags&flagAck != 0) {
		warning := ""
		if out.left {
			warning = "bytes leftover after parsing attributes"
		}
		ack := ackMessage(req, s.port, out.errno, out.bad, warning, s.capAck, s.extAck)
		s.sending.answers = append(s.sending.answers, datagram{b: ack})
	}
}

// dispatch finds the family and the operation, checks the privilege, and executes.
func (s *session) dispatch(req []byte, h header, eff Effect) outcome {
	isIPVS := s.k.loaded && h.typ == s.k.family
	if !isIPVS && h.typ != typeControl {
		return outcome{errno: ENOENT}
	}
	if len(req) < genHeaderLen {
		return outcome{errno: EINVAL}
	}
	if !isIPVS {
		return s.control(req, h)
	}
	if errno := s.k.facts.permit(h, s.privileged); errno != 0 {
		return outcome{errno: errno}
	}
	if h.flags&flagDump == flagDump {
		return s.startDump(req, h).after(s, eff)
	}
	return s.ns.execute(s, req, h)
}

// after has a running dump call the effect's function.
func (o outcome) after(s *session, eff Effect) outcome {
	if o.started && s.dump != nil && eff.kind == effectAfterChunk {
		s.dump.after, s.dump.hook = eff.n, eff.call
	}
	return o
}

// permit checks that the family has a handler for the request, and the privilege to use it, in the order of the version.
func (v versionFacts) permit(h header, privileged bool) Errno {
	want := uint32(opDo)
	if h.flags&flagDump == flagDump {
		want = opDump
	}
	for _, o := range v.ipvsOps() {
		if o.id != h.cmd {
			continue
		}
		switch {
		case v.permFirst && !privileged:
			return EPERM
		case o.flags&want == 0:
			return EOPNOTSUPP
		case !privileged:
			return EPERM
		}
		return 0
	}
	return EOPNOTSUPP
}

// execute runs a do-request of the IPVS family.
func (ns *Namespace) execute(s *session, req []byte, h header) outcome {
	top, left, bad := topPolicy.parse(req[genHeaderLen:], genHeaderLen)
	if bad != nil {
		return outcome{errno: bad.errno, bad: bad}
	}
	out := outcome{left: left}
	switch cmd := Command(h.cmd); cmd {
	case GetService, GetConfig, GetInfo:
		out.reply, out.errno = ns.get(s, cmd, top, h)
	case NewDaemon, DelDaemon:
		var inner bool
		out.errno, inner, out.bad = ns.changeDaemon(cmd, top, req)
		out.left = left || inner
	case SetConfig:
		out.errno = ns.setTimeouts(top)
	case FlushServices:
		ns.flush()
	default:
		out.errno = ns.change(cmd, top)
	}
	return out
}

// get executes the requests that have a reply.
func (ns *Namespace) get(s *session, cmd Command, top fields, h header) ([]byte, Errno) {
	reply := func(cmd Command, fill func(*encoder)) []byte {
		e := genMessage(s.replyHeader(h, ns.k.family, 0, uint8(cmd), familyVersion))
		fill(e)
		return e.finish()
	}
	switch cmd {
	case GetInfo:
		return reply(SetInfo, ns.k.appendInfo), 0
	case GetConfig:
		return reply(SetConfig, ns.appendTimeouts), 0
	}
	id, errno := ns.parseService(top[topService], false)
	if errno != 0 {
		return nil, errno
	}
	svc := ns.find(id.key())
	if svc == nil {
		return nil, ESRCH
	}
	return reply(NewService, svc.append), 0
}

// changeDaemon executes NEW_DAEMON and DEL_DAEMON. Unlike the other nests this one gives an extended acknowledgement.
func (ns *Namespace) changeDaemon(cmd Command, top fields, req []byte) (errno Errno, left bool, bad *attrError) {
	if !top.has(topDaemon) {
		return EINVAL, false, nil
	}
	f, left, bad := daemonPolicy.parse(top[topDaemon], payloadOffset(req, topDaemon))
	if bad != nil {
		bad.errno = EINVAL
		return EINVAL, false, bad
	}
	if cmd == NewDaemon {
		return ns.addDaemon(f), left, nil
	}
	return ns.deleteDaemon(f), left, nil
}

// change executes the requests that name a service, or all of them.
func (ns *Namespace) change(cmd Command, top fields) Errno {
	if cmd == Zero && !top.has(topService) {
		ns.zeroAll()
		return 0
	}
	r, errno := ns.parseService(top[topService], cmd == NewService || cmd == SetService)
	if errno != 0 {
		return errno
	}
	svc := ns.find(r.key())
	switch {
	case cmd == NewService && svc != nil:
		return EEXIST
	case cmd == NewService:
		return ns.addService(r)
	case svc == nil:
		return ESRCH
	}
	switch cmd {
	case SetService:
		return ns.editService(svc, r)
	case DelService:
		ns.deleteService(svc)
		return 0
	case Zero:
		svc.zeroService()
		return 0
	}
	return ns.changeDest(cmd, svc, top)
}

// changeDest executes NEW_DEST, SET_DEST and DEL_DEST.
func (ns *Namespace) changeDest(cmd Command, svc *service, top fields) Errno {
	full := cmd != DelDest
	d, errno := parseDest(top[topDest], full)
	if errno != 0 {
		return errno
	}
	if errno := ns.resolve(svc, d, full); errno != 0 {
		return errno
	}
	switch cmd {
	case NewDest:
		return ns.addDest(svc, d)
	case SetDest:
		return ns.editDest(svc, d)
	}
	return ns.deleteDest(svc, d)
}

// doubled returns the size that a socket buffer gets when a program asks for n bytes.
func (s *session) doubled(n int) int {
	if !s.privileged {
		n = min(n, defaultBuffer)
	}
	return 2 * min(max(n, 2304/2), 1<<30)
}
