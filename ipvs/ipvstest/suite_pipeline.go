package ipvstest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/mdlayher/netlink"
)

// outcome is an answer to one of several requests: which one, and how it went. A reply has the errno -1.
type outcome struct {
	Request int
	Errno   errno
}

// outcomes sends requests in one datagram and returns the answers in their order, by the number of the request.
func (s *socket) outcomes(frames ...[]byte) []outcome {
	s.t.Helper()
	var list []outcome
	for _, m := range s.exchange(frames...) {
		o := outcome{Errno: -1, Request: slices.IndexFunc(frames, func(f []byte) bool { return message(f).seq() == m.seq() })}
		if m.typ() == typeError || m.typ() == typeDone {
			o.Errno = m.errno()
		}
		list = append(list, o)
	}
	return list
}

// pipelineCases are several requests in one send.
var pipelineCases = []testCase{
	{name: "every acknowledgement in order", run: func(b *bench) {
		var requests [][]byte
		var want []outcome
		for i := range 100 {
			id := mark4(uint32(i/2) + 1)
			requests = append(requests, b.set(cNewService, svc(id, conf("rr"))))
			want = append(want, outcome{i, []errno{0, eEXIST}[i%2]})
		}
		equal(b, "answers", want, b.outcomes(requests...))
		equal(b, "services", 50, len(b.services()))
	}},
	{name: "each answer in a datagram of its own", run: func(b *bench) {
		b.send(b.set(cFlush), b.set(cGetInfo), b.set(cDelService, svc(vip)), b.request(cGetConfig, flRequest))
		var counts []int
		for _, d := range b.datagrams() {
			counts = append(counts, len(d))
		}
		equal(b, "messages per datagram", []int{1, 1, 1, 1, 1}, counts)
	}},
	{name: "without acknowledgement only failures", run: func(b *bench) {
		quiet := func(cmd uint8, parts ...[]byte) []byte { return b.request(cmd, flRequest, parts...) }
		equal(b, "answers", []outcome{{3, eEXIST}, {5, 0}}, b.outcomes(
			quiet(cFlush),
			quiet(cNewService, svc(vip, conf("rr"))),
			quiet(cNewDest, svc(vip), dst(rip, routed)),
			quiet(cNewDest, svc(vip), dst(rip, routed)),
			quiet(cNewDest, svc(vip), dst(newRIP, routed)),
			b.set(cSetConfig, u32(aTCP, 77)),
		))
		equal(b, "destinations", []string{newRIP, rip}, b.dests(vip))
		equal(b, "timeout", uint64(77), b.timeouts()[0])
	}},
	{name: "an error does not stop the rest", run: func(b *bench) {
		equal(b, "answers", []outcome{{0, eSRCH}, {1, 0}, {2, eOPNOTSUPP}, {3, eNOENT}, {4, eRANGE}, {5, 0}}, b.outcomes(
			b.set(cDelService, svc(vip)),
			b.set(cNewService, svc(vip, conf("rr"))),
			b.set(99),
			b.set(cNewService, svc(missing, conf("what"))),
			b.set(cSetConfig, u16(aTCP, 1)),
			b.set(cNewDest, svc(vip), dst(rip, routed)),
		))
		equal(b, "destinations", []string{rip}, b.dests(vip))
	}},
	{name: "a length below the header's ends it", run: func(b *bench) {
		bad := b.set(cNewService, svc(missing, conf("rr")))
		native.PutUint32(bad, headerLen-1)
		equal(b, "answers", []outcome{{0, 0}}, b.outcomes(
			b.set(cNewService, svc(vip, conf("rr"))), bad, b.set(cNewService, svc(mark4(1), conf("rr"))),
		))
		equal(b, "services", []string{"6 192.0.2.10:80"}, b.services())
	}},
	{name: "a length beyond the end ends it", run: func(b *bench) {
		bad := b.set(cNewService, svc(missing, conf("rr")))
		native.PutUint32(bad, uint32(len(bad)+1))
		equal(b, "answers", []outcome{{0, 0}}, b.outcomes(b.set(cNewService, svc(vip, conf("rr"))), bad))
		equal(b, "services", []string{"6 192.0.2.10:80"}, b.services())
	}},
	{name: "lengths are padded to four bytes", run: func(b *bench) {
		odd := sized(append(b.set(cGetInfo), 1, 2, 3))
		equal(b, "answers", []outcome{{0, -1}, {0, 0}, {1, -1}, {1, 0}}, b.outcomes(odd, b.set(cGetConfig)))
	}},
	{name: "replies and acknowledgements in order", run: func(b *bench) {
		equal(b, "answers", []outcome{{0, -1}, {0, 0}, {1, 0}, {2, -1}, {3, -1}, {3, 0}, {4, eSRCH}}, b.outcomes(
			b.set(cGetInfo), b.set(cNewService, svc(vip, conf("rr"))), b.request(cGetConfig, flRequest), b.set(cGetService, svc(vip)),
			b.request(cGetService, flRequest, svc(missing)),
		))
	}},
	{name: "a list in the middle", run: func(b *bench) {
		b.fourKiB()
		b.fill(30)
		b.send(b.set(cGetInfo), b.request(cGetService, flRequest|flDump), b.set(cNewService, svc(mark4(1), conf("rr"))), b.set(cSetConfig, u32(aTCP, 5)))
		last := b.seq
		var order []uint32
		for _, d := range b.datagrams() {
			order = append(order, d[0].seq()-(last-3))
		}
		// Information and its acknowledgement, the first part of the list, two acknowledgements, the rest and the end.
		equal(b, "datagrams", []uint32{0, 0, 1, 2, 3, 1, 1, 1}, order)
	}},
	{name: "two lists", run: func(b *bench) {
		b.fill(2)
		first, second := b.request(cGetService, flRequest|flDump), b.request(cGetDaemon, flRequest|flDump)
		equal(b, "answers", []outcome{{0, -1}, {0, -1}, {1, eBUSY}, {0, 0}}, b.outcomes(first, second))
		first, second = b.request(cGetDaemon, flRequest|flDump), b.request(cGetService, flRequest|flDump)
		equal(b, "answers, the first list being empty", []outcome{{0, 0}, {1, -1}, {1, -1}, {1, 0}}, b.outcomes(first, second))
	}},
	{name: "families mixed", run: func(b *bench) {
		lookup := b.lookup("IPVS")
		equal(b, "answers", []outcome{{0, -1}, {1, -1}, {2, 0}}, b.outcomes(lookup, b.request(cGetInfo, flRequest), b.set(cFlush)))
	}},
	{name: "too long for the send buffer", run: func(b *bench) {
		if runtime.GOOS != "linux" {
			b.Skip("the limit is Linux's")
		}
		size, err := writeBuffer(b.raw)
		none(b, err)
		b.must(cNewService, svc(vip, conf("rr")))
		long := b.request(cFlush, flRequest)
		for len(long) < 2*size {
			long = append(long, b.request(cFlush, flRequest, make([]byte, 60<<10))...)
		}
		if err := write(b.raw, long); !errors.Is(err, errTooLong) {
			b.Fatalf("sending %d bytes: %v, want EMSGSIZE", len(long), err)
		}
		equal(b, "answers", []message(nil), slices.Concat(b.datagrams()...))
		equal(b, "services", 1, len(b.services())) // nothing of it was executed
	}},
	{name: "as long as the send buffer", run: func(b *bench) {
		if runtime.GOOS != "linux" {
			b.Skip("the limit is Linux's")
		}
		size, err := writeBuffer(b.raw)
		none(b, err)
		quiet := b.request(cSetConfig, flRequest, make([]byte, 32<<10-genHeaderLen))
		long := slices.Repeat(quiet, size/len(quiet)+1)[:size-32]
		none(b, write(b.raw, long))
		long = append(long, 0, 0, 0, 0)
		if err := write(b.raw, long); !errors.Is(err, errTooLong) {
			b.Fatalf("sending %d bytes with a buffer of %d: %v, want EMSGSIZE", len(long), size, err)
		}
	}},
	{name: "more answers than the receive buffer holds", run: func(b *bench) {
		const n = 600
		var requests [][]byte
		for i := range n {
			requests = append(requests, b.set(cNewService, svc(mark4(uint32(i)+1), conf("rr"))))
		}
		from := b.seq - n + 1
		b.send(requests...)
		if _, err := read(b.raw, b.buffer); !errors.Is(err, errOverrun) {
			b.Fatalf("first receive: %v, want ENOBUFS", err)
		}
		got := slices.Concat(b.datagrams()...)
		for i, m := range got {
			if m.seq() != from+uint32(i) || m.errno() != 0 {
				b.Fatalf("answer %d: %v", i, m)
			}
		}
		if len(got) == 0 || len(got) >= n {
			b.Fatalf("%d answers to %d requests", len(got), n)
		}
		b.Logf("%d of %d answers fitted", len(got), n)
		equal(b, "services", n, len(b.services()))
	}},
	{name: "acknowledgement of the last only", run: func(b *bench) {
		const n = 1000
		var requests [][]byte
		for i := range n {
			requests = append(requests, b.request(cNewService, flRequest, svc(mark4(uint32(i)+1), conf("rr"))))
		}
		requests = append(requests, b.set(cSetConfig))
		equal(b, "answers", []outcome{{n, 0}}, b.outcomes(requests...))
		equal(b, "services", n, len(b.services()))
	}},
}

// option sets a netlink option of the socket.
func (s *socket) option(o netlink.ConnOption, on bool) {
	s.t.Helper()
	none(s.t, s.conn.SetOption(o, on))
}

const (
	capped   = netlink.CapAcknowledge
	extended = netlink.ExtendedAcknowledge
)

// answer sends a request and returns its only answer.
func (s *socket) answer(request []byte) message {
	s.t.Helper()
	got := s.exchange(request)
	if len(got) != 1 || got[0].typ() != typeError {
		s.t.Fatalf("%v, want one acknowledgement", got)
	}
	return got[0]
}

// acknowledgement is what a request must be answered by: the errno, so much of the request, and extended attributes.
func acknowledgement(request []byte, port uint32, flags uint16, e errno, whole bool, tlvs ...[]byte) message {
	b := make([]byte, headerLen, len(request)+64)
	native.PutUint16(b[4:], typeError)
	native.PutUint16(b[6:], flags)
	native.PutUint32(b[8:], message(request).seq())
	native.PutUint32(b[12:], port)
	b = native.AppendUint32(b, uint32(-e))
	if !whole {
		request = request[:headerLen]
	}
	b = pad4(append(b, request...))
	for _, t := range tlvs {
		b = append(b, t...)
	}
	return sized(b)
}

// extText and extOffset are attributes of an extended acknowledgement.
func extText(s string) []byte      { return str(1, s) }
func extOffset(n uint32) []byte    { return u32(2, n) }
func extPolicy(p ...[]byte) []byte { return nest(4|nestedBit, p...) }

// integer is the policy of an integer of a number of bytes.
func integer(bytes int, kind uint32) []byte {
	return extPolicy(u64(4, 0), u64(5, 1<<(8*bytes)-1), u32(1, kind))
}

const failedPolicy = "Attribute failed policy validation"

// compare compares an answer byte by byte.
func (s *socket) compare(what string, want, got message) {
	s.t.Helper()
	if string(want) != string(got) {
		s.t.Errorf("%s (offset, want, got):\n%s", what, sideBySide(want, got))
	}
}

// ackCases are the forms of acknowledgements.
var ackCases = []testCase{
	{name: "success", run: func(b *bench) {
		for _, c := range []bool{false, true} {
			for _, e := range []bool{false, true} {
				b.option(capped, c)
				b.option(extended, e)
				r := b.set(cSetConfig, u32(aTCP, 900), u32(99, 1))
				got := b.answer(r)
				b.compare(fmt.Sprintf("capped %v, extended %v", c, e), acknowledgement(r, got.port(), flCapped, 0, false), got)
			}
		}
	}},
	{name: "failure", run: func(b *bench) {
		for _, c := range []bool{false, true} {
			for _, e := range []bool{false, true} {
				b.option(capped, c)
				b.option(extended, e)
				flags := uint16(0)
				if c {
					flags = flCapped
				}
				r := b.set(cDelService, svc(missing))
				got := b.answer(r)
				b.compare(fmt.Sprintf("capped %v, extended %v", c, e), acknowledgement(r, got.port(), flags, eSRCH, !c), got)
			}
		}
	}},
	{name: "attribute at the top", run: func(b *bench) {
		for _, c := range []bool{false, true} {
			b.option(capped, c)
			b.option(extended, true)
			flags := uint16(flTLVs)
			if c {
				flags |= flCapped
			}
			r := b.set(cSetConfig, u32(aUDP, 5), u16(aTCP, 900))
			got := b.answer(r)
			b.compare(fmt.Sprint("capped ", c), acknowledgement(r, got.port(), flags, eRANGE, !c,
				extText(failedPolicy), extOffset(genHeaderLen+8), integer(4, 4)), got)
		}
	}},
	{name: "attribute of a daemon", run: func(b *bench) {
		b.option(capped, true)
		b.option(extended, true)
		r := b.set(cNewDaemon, nest(aDaemon, u32(mState, master), str(mDevice, "lo"), u32(mSyncID, 1), u8(mMaxLen, 1)))
		got := b.answer(r)
		b.compare("answer", acknowledgement(r, got.port(), flCapped|flTLVs, eINVAL, false,
			extText(failedPolicy), extOffset(genHeaderLen+4+8+8+8), integer(2, 3)), got)
	}},
	{name: "attribute of a service or destination", run: func(b *bench) {
		b.option(capped, true)
		b.option(extended, true)
		b.must(cNewService, svc(vip, conf("rr")))
		for _, parts := range [][][]byte{{svc(vip, u8(sPort, 1)), dst(rip, routed)}, {svc(vip), dst(rip, routed, u8(dPort, 1))}} {
			r := b.set(cNewDest, parts...)
			got := b.answer(r)
			b.compare("answer", acknowledgement(r, got.port(), flCapped, eINVAL, false), got)
		}
	}},
	{name: "bytes behind the last attribute", run: func(b *bench) {
		b.option(extended, true)
		r := sized(append(b.set(cSetConfig, u32(aTCP, 900)), 1, 2, 3))
		got := b.answer(r)
		b.compare("answer", acknowledgement(r, got.port(), flCapped|flTLVs, 0, false, extText("bytes leftover after parsing attributes")), got)
	}},
	{name: "echo of a request of odd length", run: func(b *bench) {
		r := sized(append(b.set(cDelService, svc(missing)), 1, 2, 3))
		got := b.answer(r)
		want := acknowledgement(r, got.port(), 0, eSRCH, true)
		if len(got) == len(r)+genHeaderLen { // the last byte of padding need not be in the length
			want = message(sized(want[:len(got)]))
		}
		b.compare("answer", want, got)
	}},
}
