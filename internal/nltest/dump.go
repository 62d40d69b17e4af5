package nltest

// A dump is a list on its way to a program. It resumes at an index, so that changes to the table between two chunks make it
// skip or repeat entries.
type dump struct {
	req   []byte
	h     header
	index int // of the next entry
	sent  int // chunks so far

	after int // call hook before the chunk that follows this many
	hook  func()
}

// startDump begins the dump that req asks for and queues its first chunk.
func (s *session) startDump(req []byte, h header) outcome {
	if s.dump != nil {
		return outcome{errno: EBUSY}
	}
	s.dump = &dump{req: append([]byte(nil), req...), h: h}
	s.sending.answers = append(s.sending.answers, s.nextChunk())
	return outcome{started: true}
}

// nextChunk makes the next datagram of the running dump: as many entries as fit, or the message that ends it.
func (s *session) nextChunk() datagram {
	d := s.dump
	var b []byte
	for {
		m := s.entry(d, d.index)
		if m == nil || len(b) > 0 && len(b)+len(m) > s.chunkSize() {
			break
		}
		b = append(b, m...)
		d.index++
	}
	if b == nil {
		s.dump = nil
		return datagram{b: doneMessage(d.h.seq, s.port), dump: d}
	}
	d.sent++
	return datagram{b: b, dump: d}
}

// chunkSize returns how large a dump's datagram can be.
func (s *session) chunkSize() int {
	if !s.received {
		return firstChunk
	}
	return min(max(firstChunk, s.recvSize), largestChunk)
}

// entry returns the message for the entry at an index of the dump, or nil behind the last.
func (s *session) entry(d *dump, index int) []byte {
	if d.h.typ == typeControl {
		all := s.k.families()
		if index >= len(all) {
			return nil
		}
		e := genMessage(s.replyHeader(d.h, typeControl, flagMulti, ctrlNewFamily, ctrlVersion))
		all[index].append(e)
		return e.finish()
	}
	reply := func(cmd Command, fill func(*encoder)) []byte {
		e := genMessage(s.replyHeader(d.h, d.h.typ, flagMulti, uint8(cmd), familyVersion))
		fill(e)
		return e.finish()
	}
	switch Command(d.h.cmd) {
	case GetService:
		if svc := s.ns.serviceAt(index); svc != nil {
			return reply(NewService, svc.append)
		}
	case GetDest:
		if dst := s.ns.destAt(d.req, index); dst != nil {
			return reply(NewDest, func(e *encoder) { s.ns.appendDest(e, dst) })
		}
	case GetDaemon:
		if dm := s.ns.daemonAt(index); dm != nil {
			return reply(NewDaemon, dm.append)
		}
	}
	return nil
}

// serviceAt returns the service at an index of the list, or nil.
func (ns *Namespace) serviceAt(index int) *service {
	for t := range ns.tables {
		for b := range ns.tables[t] {
			list := ns.tables[t][b]
			if index < len(list) {
				return list[len(list)-1-index]
			}
			index -= len(list)
		}
	}
	return nil
}

// destAt returns the destination at an index of the list of the service that a request names. The service is looked up for
// every chunk, and whatever is wrong with the request makes an empty list.
func (ns *Namespace) destAt(req []byte, index int) *dest {
	top, _, bad := topPolicy.parse(req[genHeaderLen:], genHeaderLen)
	if bad != nil {
		return nil
	}
	r, errno := ns.parseService(top[topService], false)
	if errno != 0 {
		return nil
	}
	svc := ns.find(r.key())
	if svc == nil || index >= len(svc.dests) {
		return nil
	}
	return svc.dests[len(svc.dests)-1-index]
}

// daemonAt returns the running daemon at an index of the list, or nil.

func (ns *Namespace) daemonAt(index int) *daemon {
	for _, d := range ns.daemons {
		if d == nil {
			continue
		}
		if index == 0 {
			return d
		}
		index--
	}
	return nil
}
