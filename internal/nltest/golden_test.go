package nltest

import (
	"fmt"
	"slices"
	"testing"
)

// goldenStep is one request of the captured scenario with the answers that followed, in order.
type goldenStep struct {
	request string
	alter   func([]byte) // of a request that was not captured itself
	answers []string     // frames; "ack" is the acknowledgement of the request, "multi 16" frame 16 as part of a dump
	before  func(*session)
}

var goldenScenario = []goldenStep{
	{request: "01", answers: []string{"02", "03"}},
	{request: "04", answers: []string{"05", "ack"}},
	{request: "06", answers: []string{"07"}},
	{request: "08", answers: []string{"ack"}},
	{request: "09", answers: []string{"ack"}},
	{request: "06", alter: func(b []byte) { b[8] = 6 }, answers: []string{"11"}},
	{request: "12", answers: []string{"ack"}},
	{request: "13", answers: []string{"ack"}},
	{request: "14", answers: []string{"ack"}},
	{request: "15", answers: []string{"16", "ack"}},
	{request: "17", answers: []string{"multi 16|19|mark", "21"}},
	{request: "22", answers: []string{"23|dest", "25"}},
	{request: "26", answers: []string{"ack"}},
	{request: "27", answers: []string{"28", "ack"}},
	{request: "29", answers: []string{"ack"}},
	{request: "30", answers: []string{"ack"}},
	{request: "31", answers: []string{"32", "33"}},
	{request: "34", answers: []string{"ack"}},
	{request: "35", answers: []string{"36"}, before: func(s *session) { s.capAck, s.extAck = true, true }},
	{request: "37", answers: []string{"38"}},
	{request: "39", answers: []string{"ack"}, before: func(s *session) { s.capAck, s.extAck = false, false }},
	{request: "40", answers: []string{"ack"}},
}

// ackOf is the acknowledgement of a request, built from frame 07 by hand.
func ackOf(t testing.TB, req []byte) []byte {
	b := frame(t, "07")
	copy(b[8:12], req[8:12])
	copy(b[20:36], req[:16])
	return b
}

// markEntry is the dump entry of the mark service, derived from frame 16: the mark instead of protocol, address and port,
// another scheduler, another flag.
func markEntry(t testing.TB) []byte {
	a := frame(t, "16")
	b := append([]byte{}, a[:0x20]...)
	b = append(b, 8, 0, 5, 0, 7, 0, 0, 0)           // FWMARK 7
	b = append(b, 7, 0, 6, 0, 'r', 'r', 0, 0)       // SCHED_NAME
	b = append(b, 12, 0, 7, 0, 6, 0, 0, 0)          // FLAGS: one packet, hashed
	b = append(b, a[0x54:]...)                      // mask and the rest
	b[0], b[1], b[0x14], b[0x15] = 0x24, 1, 0x10, 1 // 292, 272
	return b
}

// destEntry is the dump entry of the first destination, derived from frame 23.
func destEntry(t testing.TB) []byte {
	b := frame(t, "23")
	copy(b[0x1c:], []byte{198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	b[0x38] = 3                // direct route
	b[0x40] = 0                // weight
	b[0x48] = 0                // IPIP
	b[0x50], b[0x51] = 0, 0    // tunnel port
	b[0x58] = 0                // tunnel flags
	b[0x60], b[0x68] = 100, 80 // thresholds
	b[0x88] = 2                // IPv4
	return b
}

// goldenAnswer resolves the notation of goldenStep.
func goldenAnswer(t testing.TB, name string, req []byte) []byte {
	multi := func(b []byte) []byte {
		b[6] = 2
		copy(b[8:12], req[8:12])
		return b
	}
	switch name {
	case "ack":
		return ackOf(t, req)
	case "multi 16|19|mark":
		return slices.Concat(multi(frame(t, "16")), frame(t, "19"), multi(markEntry(t)))
	case "23|dest":
		return slices.Concat(frame(t, "23"), multi(destEntry(t)))
	}
	return frame(t, name)
}

// TestGoldenScenario feeds the requests that were captured on Linux and compares every answer.
func TestGoldenScenario(t *testing.T) {
	skipBigEndian(t)
	for _, version := range []string{"6.1", "6.12"} {
		t.Run(version, func(t *testing.T) {
			k := newKernel(t, &Config{Version: version})
			ns := k.Namespace("")
			if err := ns.AddDevice("dm0", 1500); err != nil {
				t.Fatal(err)
			}
			if err := ns.SetLink("dm0", true); err != nil {
				t.Fatal(err)
			}
			p := newTap(t, ns, Port(0x1234))
			for i, step := range goldenScenario {
				if step.before != nil {
					step.before(p.s)
				}
				req := goldenFor(version, frame(t, step.request))
				if step.alter != nil {
					step.alter(req)
				}
				got := p.exchange(req)
				if len(got) != len(step.answers) {
					t.Fatalf("step %d (frame %s): %d answers, want %d: %x", i, step.request, len(got), len(step.answers), got)
				}
				for j, name := range step.answers {
					want := goldenFor(version, goldenAnswer(t, name, frame(t, step.request)))
					if step.alter != nil && name == "ack" {
						step.alter(want)
					}
					compareBytes(t, fmt.Sprintf("step %d: frame %s, answer %d", i, step.request, j+1), want, got[j])
				}
			}
		})
	}
}

// goldenFor turns a frame of 6.12 into what 6.1 sends: another family id, and two words in the family description.
func goldenFor(version string, b []byte) []byte {
	if version == "6.12" {
		return b
	}
	for _, m := range splitMessages(b) {
		if native.Uint16(m[4:]) == 34 {
			m[4] = 32
		}
		if native.Uint16(m[4:]) == typeError && native.Uint16(m[24:]) == 34 {
			m[24] = 32
		}
		if len(m) == 388 {
			m[0x24], m[0xe0], m[0x11c] = 32, 0x0d, 0x0d
		}
	}
	return b
}

// TestGoldenReencode decodes every captured request and checks that the codec writes the same attributes again, so that
// encoder and decoder are held to the capture in both directions.
func TestGoldenReencode(t *testing.T) {
	skipBigEndian(t)
	for _, name := range []string{"06", "08", "09", "12", "13", "14", "15", "30", "34", "35", "39"} {
		t.Run(name, func(t *testing.T) {
			req := frame(t, name)
			h := parseHeader(req)
			top, left, bad := topPolicy.parse(req[genHeaderLen:], genHeaderLen)
			if left || bad != nil {
				t.Fatalf("left %v, bad %+v", left, bad)
			}
			e := genMessage(h)
			// The captures differ in the nest flag only; attributes come in the order of their numbers but for the
			// destination's, whose family precedes its tunnel.
			nested := native.Uint16(req[genHeaderLen+2:]) & attrNested
			reencode := func(typ int, p policy) {
				if !top.has(typ) {
					return
				}
				f, left, bad := p.parse(top[typ], 0)
				if left || bad != nil {
					t.Fatalf("nest %d: left %v, bad %+v", typ, left, bad)
				}
				e.nest(uint16(typ)|nested, func() {
					for i := range f {
						if f[i] != nil {
							e.attr(uint16(i), f[i])
						}
					}
				})
			}
			reencode(topService, servicePolicy)
			reencode(topDest, destPolicy)
			reencode(topDaemon, daemonPolicy)
			compareBytes(t, "frame "+name, req, e.finish())
		})
	}
}
