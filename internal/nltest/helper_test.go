package nltest

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// newKernel returns a kernel that is closed at the end of the test.
func newKernel(t testing.TB, cfg *Config) *Kernel {
	t.Helper()
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// A tap talks to a session without a socket.
type tap struct {
	t   testing.TB
	s   *session
	seq uint32
}

// itoa is strconv.Itoa under a name that keeps calls short.
func itoa(n int) string { return strconv.Itoa(n) }

// newTap opens a session in a namespace.
func newTap(t testing.TB, ns *Namespace, opts ...DialOption) *tap {
	t.Helper()
	s, err := ns.newSession(opts)
	if err != nil {
		t.Fatal(err)
	}
	return &tap{t: t, s: s}
}

// send has a datagram executed.
func (p *tap) send(b []byte) {
	p.s.k.lock()
	defer p.s.k.mu.Unlock()
	p.s.send(b)
}

// next receives a datagram; nil if there is none, or the error of the receive.
func (p *tap) next() ([]byte, Errno) {
	p.s.k.lock()
	defer p.s.k.mu.Unlock()
	if errno := p.s.takeError(); errno != 0 {
		return nil, errno
	}
	if len(p.s.queue) == 0 {
		return nil, 0
	}
	return p.s.take(), 0
}

// drain receives everything.
func (p *tap) drain() [][]byte {
	p.t.Helper()
	var all [][]byte
	for {
		b, errno := p.next()
		if errno != 0 {
			p.t.Fatalf("receive: %v", errno)
		}
		if b == nil {
			return all
		}
		all = append(all, b)
	}
}

// exchange sends a datagram and receives everything.
func (p *tap) exchange(b []byte) [][]byte {
	p.t.Helper()
	p.send(b)
	return p.drain()
}

// request builds an IPVS request with the next sequence number.
func (p *tap) request(cmd Command, flags uint16, fill ...func(*encoder)) []byte {
	p.seq++
	e := genMessage(header{typ: p.s.k.family, flags: flags, seq: p.seq, cmd: uint8(cmd), version: 1})
	for _, f := range fill {
		f(e)
	}
	return e.finish()
}

const (
	do   = flagRequest | flagAck
	list = flagRequest | flagDump
)

// do sends a request that asks for an acknowledgement and returns its errno.
func (p *tap) do(cmd Command, fill ...func(*encoder)) Errno {
	p.t.Helper()
	req := p.request(cmd, do, fill...)
	for _, b := range p.exchange(req) {
		if h := parseHeader(b); h.typ == typeError {
			return errnoOf(b)
		}
	}
	p.t.Fatalf("%v: no acknowledgement", cmd)
	return 0
}

// must fails the test if the request fails.
func (p *tap) must(cmd Command, fill ...func(*encoder)) {
	p.t.Helper()
	if errno := p.do(cmd, fill...); errno != 0 {
		p.t.Fatalf("%v: %v", cmd, errno)
	}
}

// dump sends a dump request and returns the payloads behind the generic header, and the size of each datagram but the last.
func (p *tap) dump(cmd Command, fill ...func(*encoder)) (entries [][]byte, sizes []int) {
	p.t.Helper()
	got := p.exchange(p.request(cmd, list, fill...))
	if len(got) == 0 || parseHeader(got[len(got)-1]).typ != typeDone {
		p.t.Fatalf("%v: the dump does not end with DONE: %x", cmd, got)
	}
	for _, b := range got[:len(got)-1] {
		sizes = append(sizes, len(b))
		for _, m := range splitMessages(b) {
			entries = append(entries, m[genHeaderLen:])
		}
	}
	return entries, sizes
}

// errnoOf returns the error of an NLMSG_ERROR.
func errnoOf(b []byte) Errno { return -Errno(int32(native.Uint32(b[headerLen:]))) }

// svc writes a SERVICE nest.
func svc(id ServiceID, fill ...func(*encoder)) func(*encoder) {
	return func(e *encoder) {
		e.nest(topService, func() {
			if id.Mark != 0 {
				af := uint16(afInet)
				if id.IPv6 {
					af = afInet6
				}
				e.u16(svcAF, af)
				e.u32(svcMark, id.Mark)
			} else {
				af, raw := rawAddress(id.Addr.Addr())
				e.u16(svcAF, af)
				e.u16(svcProtocol, id.Protocol)
				e.attr(svcAddr, raw[:])
				e.be16(svcPort, id.Addr.Port())
			}
			for _, f := range fill {
				f(e)
			}
		})
	}
}

// conf writes a service's configuration.
func conf(sched string, flags, mask, timeout uint32) func(*encoder) {
	return func(e *encoder) {
		e.str(svcSched, sched)
		e.attr(svcFlags, native.AppendUint32(native.AppendUint32(nil, flags), mask))
		e.u32(svcTimeout, timeout)
		e.attr(svcNetmask, []byte{255, 255, 255, 255})
	}
}

// conf6 is conf with a prefix length.
func conf6(sched string, flags, mask, timeout, plen uint32) func(*encoder) {
	return func(e *encoder) {
		e.str(svcSched, sched)
		e.attr(svcFlags, native.AppendUint32(native.AppendUint32(nil, flags), mask))
		e.u32(svcTimeout, timeout)
		e.u32(svcNetmask, plen)
	}
}

// rr is the configuration of a plain service.
var rr = conf("rr", 0, 0xffffffff, 0)

// dst writes a DEST nest.
func dst(addr string, fill ...func(*encoder)) func(*encoder) {
	a := netip.MustParseAddrPort(addr)
	return func(e *encoder) {
		e.nest(topDest, func() {
			af, raw := rawAddress(a.Addr())
			e.attr(destAddr, raw[:])
			e.be16(destPort, a.Port())
			e.u16(destAF, af)
			for _, f := range fill {
				f(e)
			}
		})
	}
}

// full writes a destination's configuration.
func full(fwd, weight, upper, lower uint32) func(*encoder) {
	return func(e *encoder) {
		e.u32(destFwd, fwd)
		e.u32(destWeight, weight)
		e.u32(destUpper, upper)
		e.u32(destLower, lower)
	}
}

// w1 is the configuration of a plain destination.
var w1 = full(3, 1, 0, 0)

// tcp, udp and mark name services.
func tcp(addr string) ServiceID {
	return ServiceID{Protocol: protoTCP, Addr: netip.MustParseAddrPort(addr)}
}
func udp(addr string) ServiceID {
	return ServiceID{Protocol: protoUDP, Addr: netip.MustParseAddrPort(addr)}
}
func mark(m uint32) ServiceID { return ServiceID{Mark: m} }

var vip = tcp("192.0.2.10:80")

// fieldsOf decodes the nest at the start of an entry.
func fieldsOf(t testing.TB, p policy, entry []byte) fields {
	t.Helper()
	f, _, bad := p.parse(entry[4:native.Uint16(entry)], 0)
	if bad != nil {
		t.Fatalf("bad attribute in %x", entry)
	}
	return f
}

// destNames returns the addresses and ports of the entries of a GET_DEST dump.
func destNames(t testing.TB, entries [][]byte) []string {
	t.Helper()
	var names []string
	for _, e := range entries {
		f := fieldsOf(t, destPolicy, e)
		names = append(names, netip.AddrPortFrom(address(f.u16(destAF), f.addr(destAddr)), f.be16(destPort)).String())
	}
	return names
}

// frame reads a captured message. Captures are little endian.
func frame(t testing.TB, pattern string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata/frames/6.12", pattern+"-*.hex"))
	if err != nil || len(names) != 1 {
		t.Fatalf("frame %s: %v, %v", pattern, names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(strings.TrimSpace(line))
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func isBigEndian() bool { return native.Uint16([]byte{0, 1}) == 1 }

// skipBigEndian skips a comparison with captures on a machine of the other byte order.
func skipBigEndian(t testing.TB) {
	if isBigEndian() {
		t.Skip("the frames were captured on a little-endian machine")
	}
}

// compareBytes reports a difference four bytes a row.
func compareBytes(t testing.TB, what string, want, got []byte) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	var b strings.Builder
	for i := 0; i < max(len(want), len(got)); i += 4 {
		w, g := slice4(want, i), slice4(got, i)
		sign := " "
		if w != g {
			sign = "!"
		}
		fmt.Fprintf(&b, "%s %04x  %-11s  %-11s\n", sign, i, w, g)
	}
	t.Errorf("%s (offset, want, got):\n%s", what, b.String())
}

func slice4(b []byte, i int) string {
	if i >= len(b) {
		return ""
	}
	return fmt.Sprintf("% x", b[i:min(i+4, len(b))])
}
