package ipvstest

import (
	_ "embed" // the frames
	"encoding/hex"
	"slices"
	"strings"
)

//go:embed testdata/frames.txt
var capturedFrames string

// captured returns a captured message by its number.
func (b *bench) captured(number string) message {
	b.Helper()
	for line := range strings.Lines(capturedFrames) {
		words := strings.Fields(line)
		if words[0] != number {
			continue
		}
		m, err := hex.DecodeString(words[2])
		none(b, err)
		return m
	}
	b.Fatalf("no frame %s", number)
	return nil
}

// A capturedStep is a request that was captured, and the answers to it: numbers of frames, "ack" for a plain
// acknowledgement. The entries of a list can come in any order if unordered is set.
type capturedStep struct {
	request   string
	answers   []string
	extended  bool // with short and extended acknowledgements
	unordered bool
}

var capturedSteps = []capturedStep{
	{request: "01", answers: []string{"02", "03"}},
	{request: "04", answers: []string{"05", "ack"}},
	{request: "06", answers: []string{"07"}},
	{request: "08", answers: []string{"ack"}},
	{request: "09", answers: []string{"ack"}},
	{request: "again", answers: []string{"11"}},
	{request: "12", answers: []string{"ack"}},
	{request: "13", answers: []string{"ack"}},
	{request: "14", answers: []string{"ack"}},
	{request: "15", answers: []string{"16", "ack"}},
	{request: "17", answers: []string{"listed", "19", "marked", "21"}, unordered: true},
	{request: "22", answers: []string{"23", "other", "25"}},
	{request: "26", answers: []string{"ack"}},
	{request: "27", answers: []string{"28", "ack"}},
	{request: "29", answers: []string{"ack"}},
	{request: "30", answers: []string{"ack"}},
	{request: "31", answers: []string{"32", "33"}},
	{request: "34", answers: []string{"ack"}},
	{request: "35", answers: []string{"36"}, extended: true},
	{request: "37", answers: []string{"38"}, extended: true},
	{request: "39", answers: []string{"ack"}},
	{request: "40", answers: []string{"ack"}},
}

// sent returns the request of a step.
func (b *bench) sent(name string) message {
	if name == "again" { // the service of frame 06 once more
		m := b.captured("06")
		native.PutUint32(m[8:], 6)
		return m
	}
	return b.captured(name)
}

// answered returns an answer of a step, to be completed by b.here.
func (b *bench) answered(name string, request message) message {
	b.Helper()
	listed := func(m message) message {
		native.PutUint16(m[6:], flMulti)
		native.PutUint32(m[8:], request.seq())
		return m
	}
	switch name {
	case "ack":
		return acknowledgement(request, 0x1234, flCapped, 0, false)
	case "listed":
		return listed(b.captured("16"))
	case "marked":
		// As frame 16, with the mark in place of protocol, address and port, and its own scheduler and flags.
		a := b.captured("16")
		m := slices.Concat(a[:0x20], u32(sMark, 7), str(sSched, "rr"), flagPair(6, 0xffffffff), a[0x58:])
		native.PutUint16(m[0x14:], uint16(len(m)-genHeaderLen))
		return listed(sized(m))
	case "other":
		// As frame 23, with the address and configuration of the other destination.
		a := b.captured("23")
		m := slices.Concat(a[:0x18], bin(dAddr, 198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), be16(dPort, 80), u32(dForward, 3),
			u32(dWeight, 0), u8(dTunType, 0), be16(dTunPort, 0), u16(dTunFlags, 0), u32(dUpper, 100), u32(dLower, 80),
			u32(dActive, 0), u32(dInactive, 0), u32(dPersist, 0), u16(dFamily, inet4), a[0x8c:])
		return listed(sized(m))
	}
	return b.captured(name)
}

// here turns a captured message into what this kernel and this socket have: their numbers, and two words in the
// description of the family.
func (b *bench) here(m message, port uint32) message {
	if m.typ() == 34 {
		native.PutUint16(m[4:], b.family)
	}
	if m.port() == 0x1234 {
		native.PutUint32(m[12:], port)
	}
	if m.typ() == typeError && native.Uint16(m[24:]) == 34 {
		native.PutUint16(m[24:], b.family)
	}
	if m.typ() == typeControl && m.cmd() == 1 {
		native.PutUint16(m[0x24:], b.family)
		if b.u.Version == "6.1" {
			m[0xe0], m[0x11c] = 0x0d, 0x0d
		}
	}
	return m
}

// goldenCases replay what was captured.
var goldenCases = []testCase{{name: "captured scenario", run: func(b *bench) {
	if native.Uint16([]byte{1, 0}) != 1 {
		b.Skip("the frames were captured on a little-endian machine")
	}
	b.version()
	b.device("dm0", 1500)
	port := b.get(cGetInfo).port()
	for i, step := range capturedSteps {
		b.option(capped, step.extended)
		b.option(extended, step.extended)
		request := b.here(b.sent(step.request), port)
		got := b.exchange(request)
		if step.request == "34" && len(got) == 0 {
			continue // see stop
		}
		var want []message
		for _, name := range step.answers {
			want = append(want, b.here(b.answered(name, b.sent(step.request)), port))
		}
		if step.unordered {
			byContent := func(x, y message) int { return strings.Compare(string(x[genHeaderLen:]), string(y[genHeaderLen:])) }
			slices.SortFunc(want[:len(want)-1], byContent)
			slices.SortFunc(got[:len(got)-1], byContent)
		}
		if len(got) != len(want) {
			b.Fatalf("step %d, frame %s: %d answers, want %d: %v", i, step.request, len(got), len(want), got)
		}
		for j := range want {
			b.compare("frame "+step.request+", answer "+step.answers[j], want[j], got[j])
		}
	}
}}}
