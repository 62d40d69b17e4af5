package nltest

import "slices"

// A Request is what a program sent: one message.
type Request struct {
	Namespace string
	Port      uint32  // of the socket
	Sending   uint64  // number of the send call that it came with, from 1; requests of one call share it
	Type      uint16  // family id
	Flags     uint16  // netlink header
	Seq       uint32  // netlink header
	PID       uint32  // netlink header; programs normally send 0 or their port
	Command   Command // generic header; meaningful for the IPVS family
	Version   uint8   // generic header
	Raw       []byte  // the whole message
	Errno     Errno   // what was answered; 0 for success, and for what was not executed
}

// Requests returns what was sent to all namespaces, oldest first. Controller requests are among them. A request that is
// held appears when it is released.
func (k *Kernel) Requests() []Request {
	k.lock()
	defer k.mu.Unlock()
	return slices.Clone(k.log)
}

// ClearRequests forgets the requests so far.
func (k *Kernel) ClearRequests() {
	k.lock()
	defer k.mu.Unlock()
	k.log = nil
}

// logRequest remembers a request and returns its entry, valid until the next call.
func (s *session) logRequest(req []byte, h header) *Request {
	k := s.k
	if len(k.log) >= k.cfg.LogSize {
		k.log = slices.Delete(k.log, 0, len(k.log)-k.cfg.LogSize/2) // half at a time, so that it costs little
	}
	k.log = append(k.log, Request{
		Namespace: s.ns.name, Port: s.port, Sending: k.sendings, Type: h.typ, Flags: h.flags, Seq: h.seq, PID: h.pid,
		Command: Command(h.cmd), Version: h.version, Raw: slices.Clone(req),
	})
	return &k.log[len(k.log)-1]
}
