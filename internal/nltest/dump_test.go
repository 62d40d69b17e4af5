package nltest

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fillServices adds TCP services with ports 1 to n.
func (p *tap) fillServices(n int) {
	p.t.Helper()
	for i := range n {
		p.must(NewService, svc(tcp("192.0.2.10:"+itoa(i+1)), rr))
	}
}

// ports returns the ports of the entries of a GET_SERVICE dump.
func (p *tap) ports(entries [][]byte) []int {
	p.t.Helper()
	var ports []int
	for _, e := range entries {
		ports = append(ports, int(fieldsOf(p.t, servicePolicyAll, e).be16(svcPort)))
	}
	return ports
}

func TestMessageSizes(t *testing.T) {
	for name, c := range map[string]struct {
		id   ServiceID
		conf func(*encoder)
		want int
	}{
		"rr":        {vip, rr, 320},
		"wlc":       {vip, conf("wlc", 0, 0, 0), 320},
		"none":      {vip, conf("none", 0, 0, 0), 324},
		"lblcr":     {vip, conf("lblcr", 0, 0, 0), 324},
		"mark":      {mark(7), rr, 292},
		"IPv6":      {vip6, conf6("rr", 0, 0, 0, 128), 320},
		"with sip":  {vip, in2(rr, str(svcEngine, "sip")), 328},
		"IPv6 mark": {ServiceID{Mark: 7, IPv6: true}, conf6("rr", 0, 0, 0, 128), 292},
	} {
		p := newTap(t, newKernel(t, nil).Namespace(""))
		p.must(NewService, svc(c.id, c.conf))
		if _, sizes := p.dump(GetService); sizes[0] != c.want {
			t.Errorf("%s: %d bytes, want %d", name, sizes[0], c.want)
		}
		p.must(NewDest, svc(c.id), dst("[2001:db8::5]:80", full(2, 1, 0, 0)))
		if _, sizes := p.dump(GetDest, svc(c.id)); sizes[0] != 356 {
			t.Errorf("%s: destination of %d bytes", name, sizes[0])
		}
	}
}

func in2(f ...func(*encoder)) func(*encoder) {
	return func(e *encoder) {
		for _, x := range f {
			x(e)
		}
	}
}

func TestChunks(t *testing.T) {
	for name, c := range map[string]struct {
		buffer int
		fresh  bool // the socket has received nothing yet
		want   []int
	}{
		"asks for the size": {0, false, []int{11, 11, 11, 7}},
		"4096":              {4096, false, []int{12, 12, 12, 4}},
		"4096, new socket":  {4096, true, []int{11, 12, 12, 5}},
		"8192":              {8192, false, []int{25, 15}},
		"32768":             {32768, true, []int{11, 29}},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newKernel(t, nil).Namespace("")
			newTap(t, ns).fillServices(40)
			p := newTap(t, ns, ReceiveBuffer(c.buffer))
			if !c.fresh {
				p.must(Zero)
			}
			_, sizes := p.dump(GetService)
			var got []int
			for _, n := range sizes {
				got = append(got, n/320)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("services per chunk (-want +got):\n%s", diff)
			}
		})
	}
	// The largest chunk.
	ns := newKernel(t, nil).Namespace("")
	p := newTap(t, ns, ReceiveBuffer(1<<20))
	p.fillServices(300)
	if _, sizes := p.dump(GetService); sizes[0] != 101*320 {
		t.Errorf("largest chunk %d bytes", sizes[0])
	}
}

// TestDumpRace deletes and adds entries between two chunks: a dump resumes at an index.
func TestDumpRace(t *testing.T) {
	ns := newKernel(t, nil).Namespace("")
	p, q := newTap(t, ns), newTap(t, ns)
	p.fillServices(40)
	all, _ := p.dump(GetService)
	order := p.ports(all)

	// Deleting three of the first chunk skips three others.
	inj := ns.k.Inject(Fault{Command: GetService, Nth: 1, Effect: AfterChunk(1, func() {
		for _, port := range order[:3] {
			q.must(DelService, svc(tcp("192.0.2.10:"+itoa(port))))
		}
	})})
	got, _ := p.dump(GetService)
	want := slices.Concat(order[:11], order[14:])
	if diff := cmp.Diff(want, p.ports(got)); diff != "" {
		t.Errorf("with deletions (-want +got):\n%s", diff)
	}
	if inj.Fired() != 1 {
		t.Errorf("fired %d times", inj.Fired())
	}
	inj.Remove()

	// A service that comes in before the index makes another appear twice.
	now, _ := p.dump(GetService)
	order = p.ports(now)
	ns.k.Inject(Fault{Command: GetService, Effect: AfterChunk(2, func() {
		q.must(NewService, svc(tcp("192.0.2.10:"+itoa(256+order[0])), rr))
	})})
	got, _ = p.dump(GetService)
	seen := map[int]int{}
	twice := 0
	for _, port := range p.ports(got) {
		if seen[port]++; seen[port] > 1 {
			twice++
		}
	}
	if twice != 1 {
		t.Errorf("%d services twice, want 1", twice)
	}
	ns.k.ClearFaults()

	// A service that vanishes ends the dump of its destinations, without an error.
	p.must(NewService, svc(vip6, conf6("rr", 0, 0, 0, 128)))
	for i := range 30 {
		p.must(NewDest, svc(vip6), dst("[2001:db8::"+itoa(i+1)+"]:80", w1))
	}
	ns.k.Inject(Fault{Command: GetDest, Effect: AfterChunk(1, func() { q.must(DelService, svc(vip6)) })})
	if got, _ := p.dump(GetDest, svc(vip6)); len(got) != 10 {
		t.Errorf("%d destinations of a vanished service, want one chunk of 10", len(got))
	}
}

// kinds names answers: "ack N", "error N ERRNO", "reply N", "chunk N", "done N", with N the sequence number.
func kinds(answers [][]byte) []string {
	var names []string
	for _, b := range answers {
		h := parseHeader(b)
		n := itoa(int(h.seq))
		switch {
		case h.typ == typeDone:
			names = append(names, "done "+n)
		case h.typ == typeError && errnoOf(b) != 0:
			names = append(names, "error "+n+" "+errnoOf(b).Error())
		case h.typ == typeError:
			names = append(names, "ack "+n)
		case h.flags&flagMulti != 0:
			names = append(names, "chunk "+n)
		default:
			names = append(names, "reply "+n)
		}
	}
	return names
}

func TestPipelines(t *testing.T) {
	const silent = flagRequest
	a, b := dst("10.0.0.1:80", w1), dst("10.0.0.2:80", w1)
	for name, c := range map[string]struct {
		fill  int // services there before
		build func(p *tap) [][]byte
		want  []string
	}{
		"acknowledgement on the last only": {0, func(p *tap) [][]byte {
			return [][]byte{
				p.request(FlushServices, silent), p.request(NewService, silent, svc(vip, rr)), p.request(NewDest, silent, svc(vip), a),
				p.request(NewDest, silent, svc(vip), a), p.request(NewDest, silent, svc(vip), b), p.request(SetConfig, do),
			}
		}, []string{"error 4 EEXIST", "ack 6"}},
		"an error does not stop": {0, func(p *tap) [][]byte {
			return [][]byte{p.request(NewService, do, svc(vip, rr)), p.request(NewService, do, svc(vip, rr)), p.request(NewDest, do, svc(vip), a)}
		}, []string{"ack 1", "error 2 EEXIST", "ack 3"}},
		"replies and acknowledgements in order": {0, func(p *tap) [][]byte {
			return [][]byte{p.request(GetInfo, do), p.request(GetConfig, do), p.request(GetInfo, silent)}
		}, []string{"reply 1", "ack 1", "reply 2", "ack 2", "reply 3"}},
		"dump among others": {20, func(p *tap) [][]byte {
			return [][]byte{p.request(GetInfo, silent), p.request(GetService, list), p.request(GetConfig, do), p.request(FlushServices, do)}
		}, []string{"reply 1", "chunk 2", "reply 3", "ack 3", "ack 4", "done 2"}},
		"two dumps": {20, func(p *tap) [][]byte {
			return [][]byte{p.request(GetService, list), p.request(GetService, list)}
		}, []string{"chunk 1", "error 2 EBUSY", "chunk 1", "done 1"}},
		"two dumps, the first empty": {0, func(p *tap) [][]byte {
			return [][]byte{p.request(GetService, list), p.request(GetService, list)}
		}, []string{"done 1", "done 2"}},
		"acknowledgement of a dump": {1, func(p *tap) [][]byte {
			return [][]byte{p.request(GetService, list|flagAck)}
		}, []string{"chunk 1", "done 1"}},
		"several families": {0, func(p *tap) [][]byte {
			e := genMessage(header{typ: typeControl, flags: do, seq: 77, cmd: ctrlGetFamily, version: 1})
			e.str(ctrlFamilyName, familyName)
			return [][]byte{p.request(GetInfo, silent), e.finish(), p.request(GetInfo, silent)}
		}, []string{"reply 1", "reply 77", "ack 77", "reply 2"}},
		"length too short": {0, func(p *tap) [][]byte {
			bad := p.request(GetInfo, do)
			native.PutUint32(bad, 15)
			return [][]byte{p.request(GetInfo, silent), bad, p.request(GetInfo, silent)}
		}, []string{"reply 2"}},
		"length beyond the end": {0, func(p *tap) [][]byte {
			bad := p.request(GetInfo, do)
			native.PutUint32(bad, 4096)
			return [][]byte{p.request(GetInfo, silent), bad, p.request(GetInfo, silent)}
		}, []string{"reply 2"}},
		"not a request": {1, func(p *tap) [][]byte {
			return [][]byte{p.request(FlushServices, 0), p.request(FlushServices, flagAck), p.request(GetService, list)}
		}, []string{"ack 2", "chunk 3", "done 3"}},
		"lengths are rounded up": {0, func(p *tap) [][]byte {
			odd := append(p.request(GetInfo, silent), 1, 2, 3)
			native.PutUint32(odd, uint32(len(odd)))
			return [][]byte{odd, {0}, p.request(GetConfig, silent)}
		}, []string{"reply 1", "reply 2"}},
		"control message": {0, func(p *tap) [][]byte {
			return [][]byte{message(header{typ: 1, flags: do, seq: 5}).finish(), message(header{typ: 3, flags: silent, seq: 6}).finish()}
		}, []string{"ack 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newKernel(t, nil).Namespace("")
			newTap(t, ns).fillServices(c.fill)
			p := newTap(t, ns)
			got := kinds(p.exchange(slices.Concat(c.build(p)...)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
	// Version and reserved field of the generic header do not matter.
	p := newTap(t, newKernel(t, nil).Namespace(""))
	for _, version := range []byte{0, 99} {
		req := p.request(GetInfo, silent)
		req[17], req[18] = version, 0xff
		got := p.exchange(req)
		if len(got) != 1 || got[0][17] != 1 {
			t.Errorf("version %d: %x", version, got)
		}
	}
	// Any receive makes the next chunk, one that only looks too.
	q := newTap(t, newKernel(t, nil).Namespace(""))
	q.fillServices(50)
	q.send(slices.Concat(q.request(GetService, list), q.request(Zero, do), q.request(Zero, do)))
	made := func(want int, when string) {
		t.Helper()
		if q.s.dump == nil || q.s.dump.sent != want {
			t.Errorf("%s: %+v, want %d chunks", when, q.s.dump, want)
		}
	}
	made(1, "in the send")
	q.next()
	made(2, "with the first chunk")
	q.next()
	made(3, "with an acknowledgement")
	q.s.k.lock()
	q.s.receive()
	q.s.k.mu.Unlock()
	made(4, "with a look")
	q.s.k.lock()
	q.s.used += q.s.recvBuffer
	q.s.receive()
	q.s.used -= q.s.recvBuffer
	q.s.k.mu.Unlock()
	made(4, "with a full buffer")
	// After a dump the socket is free again, also before its DONE is received.
	p.fillServices(1)
	p.send(p.request(GetService, list))
	if b, _ := p.next(); parseHeader(b).flags&flagMulti == 0 {
		t.Fatalf("no chunk: %x", b)
	}
	p.send(p.request(GetService, list))
	if got := kinds(p.drain()); len(got) != 3 {
		t.Errorf("after the last chunk: %v", got)
	}
}

// TestExtendedAck checks the warning about bytes that are left over, and that the nests of services give no details.
func TestExtendedAck(t *testing.T) {
	k := newKernel(t, nil)
	prepare(t, k)
	p := newTap(t, k.Namespace(""))
	p.s.extAck = true
	ack := func(fill ...func(*encoder)) (flags uint16, tlvs fields) {
		t.Helper()
		req := p.request(SetConfig, do, fill...)
		if fill == nil {
			req = append(req, 1, 2, 3)
			native.PutUint32(req, uint32(len(req)))
		}
		got := p.exchange(req)
		b := got[len(got)-1]
		from := headerLen + 4 + headerLen
		if errnoOf(b) != 0 {
			from = headerLen + 4 + align(len(req))
		}
		tlvs, _, _ = policy{1: {}, 2: {}, 3: {}, 4: {}}.parse(b[from:], 0)
		return parseHeader(b).flags, tlvs
	}
	flags, tlvs := ack()
	if flags != flagCapped|flagAckTLVs || tlvs.str(ackMsg) != "bytes leftover after parsing attributes" {
		t.Errorf("trailing bytes: flags %x, %q", flags, tlvs.str(ackMsg))
	}
	flags, tlvs = ack(u32(topTimeoutTCP, 1), u8(topTimeoutUDP, 1))
	if flags != flagAckTLVs || tlvs.u32(ackOffset) != genHeaderLen+8 || !tlvs.has(ackPolicy) {
		t.Errorf("second attribute: flags %x, offset %d", flags, tlvs.u32(ackOffset))
	}
	req := p.request(NewDaemon, do, in(topDaemon, u32(daemonState, 1), u8(daemonMaxLen, 1)))
	b := p.exchange(req)[0]
	tlvs, _, _ = policy{1: {}, 2: {}, 3: {}, 4: {}}.parse(b[headerLen+4+align(len(req)):], 0)
	if errnoOf(b) != EINVAL || tlvs.u32(ackOffset) != genHeaderLen+4+8 {
		t.Errorf("daemon: %v, offset %d", errnoOf(b), tlvs.u32(ackOffset))
	}
	// The IPv6 group has a least length, without a policy for programs; bytes left over in the nest are reported with an error too.
	req = p.request(NewDaemon, do, in(topDaemon, bin(daemonGroup6, 0xff)))
	tlvs, _, _ = policy{1: {}, 2: {}, 3: {}, 4: {}}.parse(p.exchange(req)[0][headerLen+4+align(len(req)):], 0)
	if !tlvs.has(ackMsg, ackOffset) || tlvs.has(ackPolicy) {
		t.Errorf("short IPv6 group: %x", tlvs)
	}
	req = p.request(DelDaemon, do, in(topDaemon, u32(daemonState, 1), func(e *encoder) { e.b = append(e.b, 1, 2, 0, 0) }))
	native.PutUint16(req[genHeaderLen:], native.Uint16(req[genHeaderLen:])-2)
	b = p.exchange(req)[0]
	tlvs, _, _ = policy{1: {}, 2: {}, 3: {}, 4: {}}.parse(b[headerLen+4+align(len(req)):], 0)
	if errnoOf(b) != ESRCH || tlvs.str(ackMsg) != "bytes leftover after parsing attributes" {
		t.Errorf("bytes behind a daemon: %v, %q", errnoOf(b), tlvs.str(ackMsg))
	}
	// What echoes a request of an odd length is rounded up.
	req = append(p.request(DelService, do, svc(missing)), 1)
	native.PutUint32(req, uint32(len(req)))
	p.s.extAck = false
	if b := p.exchange(req)[0]; len(b) != 20+len(req)+3 || int(native.Uint32(b)) != len(b) {
		t.Errorf("echo of %d bytes has %d", len(req), len(b))
	}
	p.s.extAck = true
	b = p.exchange(p.request(DelService, do, in(topService, u8(svcAF, 1))))[0]
	if h := parseHeader(b); h.flags != 0 || errnoOf(b) != EINVAL {
		t.Errorf("service nest: flags %x, %v", h.flags, errnoOf(b))
	}
}

// TestAnswerCapacity fills the receive buffer.
func TestAnswerCapacity(t *testing.T) {
	for _, c := range []struct {
		version string
		buffer  int // set with SetReadBuffer's arithmetic; 0 for the default
		want    int
	}{{"6.1", 0, 277}, {"6.12", 0, 237}, {"6.1", 1 << 20, 2730}, {"6.12", 1 << 20, 2340}} {
		k := newKernel(t, &Config{Version: c.version})
		p := newTap(t, k.Namespace(""))
		if c.buffer != 0 {
			p.s.recvBuffer = p.s.doubled(c.buffer)
		}
		var batch []byte
		for i := range 3000 {
			batch = append(batch, p.request(NewService, do, svc(tcp("192.0.2.10:"+itoa(i+1)), rr))...)
		}
		p.send(batch)
		if b, errno := p.next(); errno != ENOBUFS {
			t.Fatalf("first receive: %x, %v", b, errno)
		}
		got := p.drain()
		if len(got) != c.want {
			t.Errorf("%s, %d: %d answers, want %d", c.version, c.buffer, len(got), c.want)
		}
		for i, b := range got {
			if parseHeader(b).seq != uint32(i+1) {
				t.Fatalf("answer %d has sequence %d", i, parseHeader(b).seq)
			}
		}
		// While answers are left, new ones are dropped without a further error.
		p.send(batch)
		if _, errno := p.next(); errno != ENOBUFS {
			t.Fatal("no error the second time")
		}
		p.next()
		p.send(p.request(Zero, do))
		if got := p.drain(); len(got) != c.want-1 {
			t.Errorf("%d answers behind the first, want %d", len(got), c.want-1)
		}
		// All were executed, and the socket goes on.
		if entries, _ := p.dump(GetService); len(entries) != 3000 {
			t.Errorf("%d services, want 3000", len(entries))
		}
	}
}
