package persist

import (
	"bytes"
	"errors"
)

// maxCallID is the length of the longest Call-ID that the engine takes.
const maxCallID = 255

// ErrCallID says that the engine sip found no usable Call-ID: the packet is not UDP, has none, or one that is longer than
// 255 bytes or does not end before the datagram does.
var ErrCallID = errors.New("no Call-ID")

// CallID returns the Call-ID of a SIP message, which RFC 3261 also lets begin with the short name "i".
//
// The error matches ErrCallID.
func CallID(payload []byte) (string, error) {
	_, rest, ok := cutLine(payload) // the request or status line
	for ok {
		var line []byte
		var ended bool
		line, rest, ended = cutLine(rest)
		if len(line) == 0 {
			break // the body follows
		}
		name, value, found := bytes.Cut(line, []byte{':'})
		name = bytes.TrimRight(name, " \t")
		if found && (bytes.EqualFold(name, []byte("Call-ID")) || bytes.EqualFold(name, []byte("i"))) {
			value = bytes.TrimLeft(value, " \t")
			if !ended || len(value) == 0 || len(value) > maxCallID {
				return "", ErrCallID
			}
			return string(value), nil
		}
		ok = ended
	}
	return "", ErrCallID
}

// cutLine returns what is before the first end of line, what is after it, and whether there is one.
func cutLine(b []byte) (line, rest []byte, ended bool) {
	i := bytes.IndexAny(b, "\r\n")
	if i < 0 {
		return b, nil, false
	}
	line, rest = b[:i], b[i+1:]
	if b[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return line, rest, true
}
