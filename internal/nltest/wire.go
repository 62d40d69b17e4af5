package nltest

import (
	"bytes"
	"encoding/binary"
)

// align rounds n up to the 4-byte boundary on which messages and attributes start.
func align(n int) int { return (n + 3) &^ 3 }

// A header is a netlink message header with the generic header behind it, if the message is long enough for one.
type header struct {
	length, seq, pid uint32
	typ, flags       uint16
	cmd, version     uint8
}

// parseHeader reads the header at the start of b, which has at least headerLen bytes.
func parseHeader(b []byte) header {
	h := header{
		length: native.Uint32(b),
		typ:    native.Uint16(b[4:]),
		flags:  native.Uint16(b[6:]),
		seq:    native.Uint32(b[8:]),
		pid:    native.Uint32(b[12:]),
	}
	if h.length >= genHeaderLen && len(b) >= genHeaderLen {
		h.cmd, h.version = b[16], b[17]
	}
	return h
}

// splitMessages cuts a datagram into its messages. It stops without a word at a length below a header's or beyond the end,
// as the kernel does.
func splitMessages(b []byte) [][]byte {
	var msgs [][]byte
	for len(b) >= headerLen {
		n := int64(native.Uint32(b))
		if n < headerLen || n > int64(len(b)) {
			break
		}
		msgs = append(msgs, b[:n:n])
		b = b[min(align(int(n)), len(b)):]
	}
	return msgs
}

// An encoder appends attributes to a buffer.
type encoder struct{ b []byte }

// message starts a message with an empty length; finish fills it in.
func message(h header) *encoder {
	e := &encoder{b: make([]byte, headerLen, 512)}
	native.PutUint16(e.b[4:], h.typ)
	native.PutUint16(e.b[6:], h.flags)
	native.PutUint32(e.b[8:], h.seq)
	native.PutUint32(e.b[12:], h.pid)
	return e
}

// genMessage starts a message of a generic netlink family.
func genMessage(h header) *encoder {
	e := message(h)
	e.b = append(e.b, h.cmd, h.version, 0, 0)
	return e
}

// finish writes the length and returns the message.
func (e *encoder) finish() []byte {
	native.PutUint32(e.b, uint32(len(e.b)))
	return e.b
}

// attr appends one attribute with its padding.
func (e *encoder) attr(typ uint16, data []byte) {
	e.b = native.AppendUint16(e.b, uint16(4+len(data)))
	e.b = native.AppendUint16(e.b, typ)
	e.b = append(e.b, data...)
	e.pad()
}

func (e *encoder) pad() {
	for len(e.b)%4 != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) u8(typ uint16, v uint8)   { e.attr(typ, []byte{v}) }
func (e *encoder) u16(typ uint16, v uint16) { e.attr(typ, native.AppendUint16(nil, v)) }
func (e *encoder) u32(typ uint16, v uint32) { e.attr(typ, native.AppendUint32(nil, v)) }
func (e *encoder) u64(typ uint16, v uint64) { e.attr(typ, native.AppendUint64(nil, v)) }

// be16 appends a 16-bit value in network order, as ports travel.
func (e *encoder) be16(typ uint16, v uint16) { e.attr(typ, binary.BigEndian.AppendUint16(nil, v)) }

// str appends a string with its terminating NUL.
func (e *encoder) str(typ uint16, s string) { e.attr(typ, append([]byte(s), 0)) }

// nest appends an attribute whose payload fill writes.
func (e *encoder) nest(typ uint16, fill func()) {
	start := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	fill()
	native.PutUint16(e.b[start:], uint16(len(e.b)-start))
	native.PutUint16(e.b[start+2:], typ)
}

// kind is how an attribute's length and content are checked.
type kind uint8

const (
	kindAny kind = iota
	kindU8
	kindU16
	kindU32
	kindString // ends with a NUL, at most max characters before it
	kindBinary // at most max bytes
	kindNested
	kindLeast // at least max bytes, of which the first count
)

// size returns the bytes of an integer kind, 0 for the others.
func (k kind) size() int {
	switch k {
	case kindU8:
		return 1
	case kindU16:
		return 2
	case kindU32:
		return 4
	}
	return 0
}

// policyNumber returns the number of the kind in a policy nest, NL_ATTR_TYPE_*.
func (k kind) policyNumber() uint32 {
	switch k {
	case kindU8:
		return 2
	case kindU16:
		return 3
	case kindU32:
		return 4
	case kindBinary:
		return 10
	case kindString:
		return 12
	case kindNested:
		return 13
	}
	return 0
}

// A rule checks one attribute.
type rule struct {
	kind kind
	max  int
}

// check returns the error of an attribute with the payload data; 0 if it is good. Integers may be longer than their type.
func (r rule) check(data []byte) Errno {
	switch r.kind {
	case kindU8, kindU16, kindU32:
		if len(data) < r.kind.size() {
			return ERANGE
		}
	case kindString:
		if bytes.IndexByte(data[:min(len(data), r.max+1)], 0) < 0 {
			return EINVAL
		}
		n := len(data)
		if data[n-1] == 0 {
			n--
		}
		if n > r.max {
			return ERANGE
		}
	case kindBinary:
		if len(data) > r.max {
			return ERANGE
		}
	case kindLeast:
		if len(data) < r.max {
			return ERANGE
		}
	case kindNested:
		if len(data) > 0 && len(data) < 4 {
			return ERANGE
		}
	}
	return 0
}

// A policy has one rule for each attribute number; what is beyond its end is ignored.
type policy []rule

// fields are the payloads of a nest by attribute number; nil where there is none.
type fields [][]byte

// A fault of an attribute, for the extended acknowledgement.
type attrError struct {
	errno  Errno
	offset int // of the attribute, from the start of the message
	rule   rule
}

// parse reads the attributes in b, which begins offset bytes into the message. Unknown attributes are skipped, the last of
// several equal ones counts, and the first that breaks its rule ends it. left reports bytes behind the last attribute.
func (p policy) parse(b []byte, offset int) (f fields, left bool, bad *attrError) {
	f = make(fields, len(p))
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			break
		}
		data := b[4:n:n]
		if typ := native.Uint16(b[2:]) & attrTypeMask; typ > 0 && int(typ) < len(p) {
			if errno := p[typ].check(data); errno != 0 {
				return nil, false, &attrError{errno: errno, offset: offset, rule: p[typ]}
			}
			f[typ] = data
		}
		step := min(align(n), len(b))
		b, offset = b[step:], offset+step
	}
	return f, len(b) > 0, nil
}

// payloadOffset returns where in the message req the payload of the last top-level attribute of the type begins.
func payloadOffset(req []byte, typ uint16) int {
	at := 0
	for off := genHeaderLen; off+4 <= len(req); {
		n := int(native.Uint16(req[off:]))
		if n < 4 || off+n > len(req) {
			break
		}
		if native.Uint16(req[off+2:])&attrTypeMask == typ {
			at = off + 4
		}
		off += align(n)
	}
	return at
}

// has reports whether all the given attributes are there.
func (f fields) has(types ...int) bool {
	for _, t := range types {
		if f[t] == nil {
			return false
		}
	}
	return true
}

// u8, u16, u32 and be16 return the value of an attribute, 0 if it is missing.
func (f fields) u8(t int) uint8 {
	if f[t] == nil {
		return 0
	}
	return f[t][0]
}

func (f fields) u16(t int) uint16 {
	if f[t] == nil {
		return 0
	}
	return native.Uint16(f[t])
}

func (f fields) u32(t int) uint32 {
	if f[t] == nil {
		return 0
	}
	return native.Uint32(f[t])
}

func (f fields) be16(t int) uint16 {
	if f[t] == nil {
		return 0
	}
	return binary.BigEndian.Uint16(f[t])
}

// str returns a string attribute without its NUL and what follows.
func (f fields) str(t int) string {
	s, _, _ := bytes.Cut(f[t], []byte{0})
	return string(s)
}

// addr returns an address attribute, filled up with zeroes.
func (f fields) addr(t int) (a [16]byte) {
	copy(a[:], f[t])
	return a
}

// Policies, as the kernel applies them.
var (
	topPolicy = policy{
		topService: {kind: kindNested}, topDest: {kind: kindNested}, topDaemon: {kind: kindNested},
		topTimeoutTCP: {kind: kindU32}, topTimeoutFIN: {kind: kindU32}, topTimeoutUDP: {kind: kindU32},
	}
	servicePolicy = policy{
		svcAF: {kind: kindU16}, svcProtocol: {kind: kindU16}, svcAddr: {kind: kindBinary, max: 16}, svcPort: {kind: kindU16},
		svcMark: {kind: kindU32}, svcSched: {kind: kindString, max: 15}, svcFlags: {kind: kindBinary, max: 8},
		svcTimeout: {kind: kindU32}, svcNetmask: {kind: kindU32}, svcStats: {kind: kindNested},
		svcEngine: {kind: kindString, max: 16},
	}
	destPolicy = policy{
		destAddr: {kind: kindBinary, max: 16}, destPort: {kind: kindU16}, destFwd: {kind: kindU32}, destWeight: {kind: kindU32},
		destUpper: {kind: kindU32}, destLower: {kind: kindU32}, destActive: {kind: kindU32}, destInactive: {kind: kindU32},
		destPersist: {kind: kindU32}, destStats: {kind: kindNested}, destAF: {kind: kindU16},
		destTunType: {kind: kindU8}, destTunPort: {kind: kindU16}, destTunFlags: {kind: kindU16},
	}
	daemonPolicy = policy{
		daemonState: {kind: kindU32}, daemonIfname: {kind: kindString, max: 15}, daemonSyncID: {kind: kindU32},
		daemonMaxLen: {kind: kindU16}, daemonGroup: {kind: kindU32}, daemonGroup6: {kind: kindLeast, max: 16},
		daemonPort: {kind: kindU16}, daemonTTL: {kind: kindU8},
	}
	ctrlPolicy = policy{ctrlFamilyID: {kind: kindU16}, ctrlFamilyName: {kind: kindString, max: 15}}
)

// appendPolicy writes the policy nest of an extended acknowledgement for a broken rule.
func (r rule) appendPolicy(e *encoder) {
	e.nest(ackPolicy|attrNested, func() {
		if n := r.kind.size(); n != 0 {
			e.u64(policyMinU, 0)
			e.u64(policyMaxU, 1<<(8*n)-1)
		}
		if r.kind == kindString || r.kind == kindBinary {
			e.u32(policyMaxLength, uint32(r.max))
		}
		e.u32(policyType, r.kind.policyNumber())
	})
}

// ackMessage builds the NLMSG_ERROR answer to the request req: a success if errno is 0.
func ackMessage(req []byte, port uint32, errno Errno, bad *attrError, warning string, capped, extended bool) []byte {
	h := parseHeader(req)
	var flags uint16
	if errno == 0 || capped {
		flags |= flagCapped
		req = req[:headerLen]
	}
	tlvs := extended && (bad != nil || warning != "")
	if tlvs {
		flags |= flagAckTLVs
	}
	e := message(header{typ: typeError, flags: flags, seq: h.seq, pid: port})
	e.b = native.AppendUint32(e.b, uint32(-errno))
	e.b = append(e.b, req...)
	e.pad()
	if tlvs {
		if bad != nil {
			e.str(ackMsg, "Attribute failed policy validation")
			e.u32(ackOffset, uint32(bad.offset))
			if bad.rule.kind != kindLeast { // which has no number for programs
				bad.rule.appendPolicy(e)
			}
		} else {
			e.str(ackMsg, warning)
		}
	}
	return e.finish()
}

// doneMessage ends a dump.
func doneMessage(seq, port uint32) []byte {
	e := message(header{typ: typeDone, flags: flagMulti, seq: seq, pid: port})
	e.b = native.AppendUint32(e.b, 0)
	return e.finish()
}
