package sim

import (
	"errors"
	"net/netip"

	"github.com/golvs/lvs/persist"
	"github.com/golvs/lvs/sched"
)

const (
	ftpPort      = 21
	ftpDataPort  = 20
	unprivileged = 1024 // first port that needs no privilege
)

// A direction is a set of transitions.
type direction uint8

const (
	dirIn direction = iota
	dirOut
	dirInOnly // from the client, while no reply was seen and none is expected
	directions
)

// Open sends the first packet of a connection: a TCP SYN, an SCTP INIT, a UDP packet.
func (d *Director) Open(f Flow) Result {
	p := Packet{Flow: f, TCP: SYN, Chunk: Init}
	return d.packet(&p)
}

// Establish sends all packets that make a connection, as far as they pass the director: for TCP a SYN, the server's SYN and
// ACK if its replies pass, and an ACK; for SCTP INIT, INIT_ACK, COOKIE_ECHO and COOKIE_ACK in the same way; for UDP a packet
// and its reply. The result is that of the first packet. If it is not forwarded, the others are not sent.
func (d *Director) Establish(f Flow) Result {
	r := d.Open(f)
	if r.Verdict != Forwarded {
		return r
	}
	p := Packet{Flow: f}
	k := keyOf(&p.Flow)
	id := d.conns.find(&k)
	if id == 0 { // one-packet scheduling
		return r
	}
	reply := func(flags TCPFlags, c Chunk) {
		if d.conns.at(id).flags&masquerade != 0 {
			p.Out, p.TCP, p.Chunk = true, flags, c
			d.packet(&p)
			p.Out = false
		}
	}
	reply(SYN|ACK, InitAck)
	switch f.Protocol {
	case TCP:
		p.TCP = ACK
		d.packet(&p)
	case SCTP:
		p.Chunk = CookieEcho
		d.packet(&p)
		reply(0, CookieAck)
	}
	return r
}

// Close sends what ends a connection in an orderly way, begun by the client. For TCP these are a FIN of the client, one of
// the server if the director has seen replies or expects them, and an ACK; for SCTP SHUTDOWN, SHUTDOWN_ACK and
// SHUTDOWN_COMPLETE in the same way. UDP has no end. The entry stays until its timeout in either case.
func (d *Director) Close(f Flow) {
	p := Packet{Flow: f}
	k := key{}
	if f.valid() {
		k = keyOf(&p.Flow)
	}
	id := d.conns.find(&k)
	if id == 0 || f.Protocol == UDP {
		return
	}
	replies := d.conns.at(id).flags&noOutput == 0
	p.TCP, p.Chunk = FIN|ACK, Shutdown
	d.packet(&p)
	if replies {
		p.Out, p.Chunk = true, ShutdownAck
		d.packet(&p)
		p.Out = false
	}
	p.TCP, p.Chunk = ACK, ShutdownComplete
	d.packet(&p)
}

// Packet lets a packet of either direction through the director. A packet with invalid addresses, or addresses of two
// families, is passed.
func (d *Director) Packet(p Packet) Result { return d.packet(&p) }

func (f *Flow) valid() bool {
	c, v := f.Client.Addr(), f.Virtual.Addr()
	return c.IsValid() && v.IsValid() && c.Unmap().Is4() == v.Unmap().Is4()
}

func (d *Director) packet(p *Packet) Result {
	if !p.valid() {
		return Result{}
	}
	var r Result
	k := keyOf(&p.Flow)
	id := d.conns.find(&k)
	switch {
	case id == 0 && !p.Out:
		r = d.scheduleNew(p, &k)
	case id == 0:
	case p.Out:
		r = d.reply(p, id)
	default:
		r = d.request(p, id, &k)
	}
	if d.next <= d.now || len(d.dying) > 0 {
		d.end()
	}
	return r
}

// reply lets a packet from the server through.
func (d *Director) reply(p *Packet, id uint32) Result {
	c := d.conns.at(id)
	c.flags &^= noOutput
	d.countOut(c.dest, p.bytes())
	if p.Protocol == UDP && c.template != nil {
		d.templates.Assure(c.template)
	}
	r := Result{Verdict: Forwarded, Dest: c.server()}
	d.transition(p, id, dirOut)
	return r
}

// server is the destination's end of a connection.
func (c *conn) server() netip.AddrPort {
	switch {
	case c.dest != nil:
		return netip.AddrPortFrom(c.dest.Dest.Addr.Addr(), c.port)
	case c.key.client.netip().Is4():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
}

// request lets a packet of the client through that belongs to a connection.
func (d *Director) request(p *Packet, id uint32, k *key) Result {
	c := d.conns.at(id)
	t := c.dest
	if p.begins() && d.reuses(c) {
		return d.replace(p, id, k)
	}
	if t != nil && !t.Available() {
		if d.sysctls.expireNodestConn != 0 {
			return d.replace(p, id, k)
		}
		return Result{Verdict: Dropped, Dest: c.server()}
	}
	r := Result{Verdict: Forwarded, Dest: c.server()}
	if t == nil {
		r.Verdict = Bypassed
	} else {
		d.countIn(t, p.bytes())
	}
	d.transition(p, id, c.inward())
	return r
}

// replace schedules a packet anew and lets the old connection expire after that. What the director itself answers passes for
// a reply of the old connection, which is still there, unless its replies have another source, the server's own: an ICMP
// error is counted, and the RST of a closed port keeps the connection in the table. Observed on Linux 6.12.
func (d *Director) replace(p *Packet, id uint32, k *key) Result {
	r := d.scheduleNew(p, k)
	c := d.conns.at(id)
	if c.flags&masquerade == 0 {
		switch {
		case r.Verdict == Refused:
			d.countOut(c.dest, unreachableBytes(p))
		case r.Verdict == Passed && p.Protocol == TCP && p.TCP&RST == 0:
			d.reply(&Packet{Flow: p.Flow, Out: true, TCP: RST}, id)
			return r
		}
	}
	d.dying = append(d.dying, id)
	return r
}

// unreachableBytes is the length of an ICMP error about a packet: as much of the packet as fits.
func unreachableBytes(p *Packet) uint64 {
	head, limit := uint64(20+8), uint64(576)
	if p.Client.Addr().Unmap().Is6() {
		head, limit = 40+8, 1280
	}
	return min(head+p.bytes(), limit)
}

// countOut counts a reply; those of no server and of removed ones count nowhere.
func (d *Director) countOut(t *dest, n uint64) {
	if t != nil && t.Available() {
		t.stats.out(n)
		t.svc.stats.out(n)
		d.total.out(n)
	}
}

func (d *Director) countIn(t *dest, n uint64) {
	t.stats.in(n)
	t.svc.stats.in(n)
	d.total.in(n)
}

func (c *conn) inward() direction {
	if c.flags&noOutput != 0 {
		return dirInOnly
	}
	return dirIn
}

// reuses reports whether a packet that begins a connection finds one that has ended, or whose server is quiesced.
func (d *Director) reuses(c *conn) bool {
	if d.sysctls.expireNodestConn != 0 && c.dest != nil && c.dest.Weight() == 0 {
		return true
	}
	mode := d.sysctls.connReuseMode
	if mode == 0 || c.template != nil {
		return false
	}
	if c.key.protocol() == SCTP {
		return c.state == sctpCL
	}
	return c.state == tcpTW || c.state == tcpCL || mode&2 != 0 && c.state == tcpFW && c.flags&noOutput != 0
}

// transition moves the state of a connection by a packet and starts its timer anew.
func (d *Director) transition(p *Packet, id uint32, dir direction) {
	c := d.conns.at(id)
	q, now := d.udpQueue, uint8(0)
	switch p.Protocol {
	case TCP:
		c.state = nextTCP(d.sysctls.secureTCP >= 2, dir, c.state, p.TCP)
		q = d.tcpQueues[c.state]
		if tcpActive[c.state] {
			now = active
		}
		if c.state == tcpES && c.template != nil {
			d.templates.Assure(c.template)
		}
	case SCTP:
		c.state = nextSCTP(dir, c.state, p.Chunk)
		q = d.sctpQueues[c.state]
		if c.state == sctpES {
			now = active
			if c.template != nil {
				d.templates.Assure(c.template)
			}
		}
	}
	if was := c.flags & active; was != now {
		c.flags ^= active
		if c.dest != nil {
			c.dest.server.Move(sched.Activity(now != 0))
		}
	}
	d.conns.start(id, q, d.now)
	d.next = min(d.next, d.conns.next)
}

// opens reports whether a packet may make a connection.
func (d *Director) opens(p *Packet) bool {
	switch p.Protocol {
	case TCP:
		return p.TCP&RST == 0 && (p.TCP&SYN != 0 || d.sysctls.sloppyTCP != 0)
	case SCTP:
		return p.Chunk == Init || d.sysctls.sloppySCTP != 0 && p.Chunk != Abort
	}
	return p.Protocol == UDP
}

// lookup finds the service of a packet that belongs to no connection.
func (d *Director) lookup(p *Packet) *service {
	virtual := unmap(p.Virtual)
	if p.Mark != 0 {
		if s := d.services[ServiceID{Mark: p.Mark, IPv6: virtual.Addr().Is6()}]; s != nil {
			return s
		}
	}
	id := ServiceID{Protocol: p.Protocol, Addr: virtual}
	if s := d.services[id]; s != nil {
		return s
	}
	if port := virtual.Port(); d.ftp > 0 && p.Protocol == TCP && (port == ftpDataPort || port >= unprivileged) {
		id.Addr = netip.AddrPortFrom(virtual.Addr(), ftpPort)
		if s := d.services[id]; s != nil {
			return s
		}
	}
	if d.anyPort > 0 {
		id.Addr = netip.AddrPortFrom(virtual.Addr(), 0)
		return d.services[id]
	}
	return nil
}

// defends is the defence drop_packet: every so many packets one is dropped.
func (d *Director) defends() bool {
	rate := d.sysctls.amDroprate
	if d.sysctls.dropPacket != 3 || rate == 0 {
		return false
	}
	if d.dropCount--; d.dropCount > 0 {
		return false
	}
	d.dropCount = rate
	return true
}

// scheduleNew makes a connection for a packet that belongs to none.
func (d *Director) scheduleNew(p *Packet, k *key) Result {
	if !d.opens(p) {
		return Result{}
	}
	s := d.lookup(p)
	if s == nil {
		return Result{}
	}
	if d.defends() {
		return Result{Verdict: Dropped}
	}
	if p.Client.Port() == ftpDataPort {
		return Result{}
	}
	t, template, port, failure := d.choose(s, p)
	if failure != Forwarded {
		if failure == Refused {
			failure = d.unavailable(s, p, k)
		}
		r := Result{Verdict: failure, Scheduled: true}
		if failure == Bypassed {
			r.Dest = (&conn{key: *k}).server()
		}
		return r
	}
	d.remember(s, p.Client.Addr(), t)
	s.stats.live.Conns++
	d.total.live.Conns++
	t.stats.live.Conns++
	d.countIn(t, p.bytes())
	r := Result{Forwarded, netip.AddrPortFrom(t.Dest.Addr.Addr(), port), true}
	if s.Flags&OnePacket != 0 && p.Protocol == UDP {
		t.open(sched.Inactive)
		t.server.Close(sched.Inactive)
		if template != nil {
			d.templates.Release(template)
		}
		return r
	}
	id := d.conns.add(k)
	c := d.conns.at(id)
	c.dest, c.template, c.port = t, template, port
	c.flags |= masquerade
	if t.Method != Masquerade {
		c.flags ^= masquerade | noOutput
	}
	// The server is told once, of the activity after the first transition: nothing looks in between.
	c.flags |= d.firstActivity(p, c)
	t.open(sched.Activity(c.flags&active != 0))
	d.transition(p, id, c.inward())
	return r
}

// firstActivity is the activity of a new connection after its first packet.
func (d *Director) firstActivity(p *Packet, c *conn) uint8 {
	switch p.Protocol {
	case TCP:
		if tcpActive[nextTCP(d.sysctls.secureTCP >= 2, c.inward(), tcpNO, p.TCP)] {
			return active
		}
	case SCTP:
		if nextSCTP(c.inward(), sctpNO, p.Chunk) == sctpES {
			return active
		}
	}
	return 0
}

// choose finds the destination, from a template or by the scheduler, and the port there. The verdict is Forwarded if there
// is one, Refused if there is none, and Dropped if the persistence engine failed.
func (d *Director) choose(s *service, p *Packet) (*dest, *persist.Entry[*dest], uint16, Verdict) {
	flow := sched.Flow{Client: p.Client, Destination: p.Virtual.Addr()}
	if !s.persistent() {
		if s.ID.Mark == 0 && p.Virtual.Port() != s.port {
			return nil, nil, 0, Refused
		}
		server := s.sched.Pick(flow, d.now)
		if server == nil {
			return nil, nil, 0, Refused
		}
		t := server.Data.(*dest)
		if port := t.Dest.Addr.Port(); port != 0 {
			return t, nil, port, Forwarded
		}
		return t, nil, p.Virtual.Port(), Forwarded
	}
	pp := persist.Packet{Protocol: uint8(p.Protocol), Client: p.Client, Virtual: p.Virtual, Payload: p.Payload}
	e, err := d.templates.Open(d.now, &s.persist, &pp, func() (*dest, bool) {
		server := s.sched.Pick(flow, d.now)
		if server == nil {
			return nil, false
		}
		t := server.Data.(*dest)
		t.pinned++
		return t, true
	})
	if errors.Is(err, persist.ErrCallID) {
		return nil, nil, 0, Dropped
	}
	if err != nil {
		return nil, nil, 0, Refused
	}
	d.next = min(d.next, e.Deadline())
	t := e.Dest()
	return t, e, s.persist.Port(p.Virtual.Port(), t.Dest.Addr.Port()), Forwarded
}

// unavailable says what becomes of a packet when no destination is available.
func (d *Director) unavailable(s *service, p *Packet, k *key) Verdict {
	s.refused++
	if s.ID.Mark != 0 && d.sysctls.cacheBypass != 0 && unicast(p.Virtual.Addr().Unmap()) && !p.Virtual.Addr().IsLoopback() {
		if s.Flags&OnePacket == 0 || p.Protocol != UDP {
			id := d.conns.add(k)
			d.conns.at(id).flags |= noOutput
			d.transition(p, id, dirInOnly)
		}
		return Bypassed
	}
	if s.port == ftpPort && p.Virtual.Port() != ftpPort {
		return Passed
	}
	return Refused
}
