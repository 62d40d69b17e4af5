package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// dnsCheck asks a name server for a record: there has to be one, and, if the configuration says which, that one.
type dnsCheck struct{ question }

func (c dnsCheck) check(ctx context.Context) (string, error) {
	id := uint16(rand.Uint32())
	query, err := dnsQuery(id, c.Check.Name, c.Check.Record)
	if err != nil {
		return "", err
	}
	answer, err := c.exchange(ctx, query)
	if err != nil {
		return "", err
	}
	addrs, err := dnsAnswer(id, dnsRecords[c.Check.Record], answer)
	if err == nil && c.Check.Answer.IsValid() && !slices.Contains(addrs, c.Check.Answer) {
		err = fmt.Errorf("the answer has %v and not %v", addrs, c.Check.Answer)
	}
	return "", err
}

// Numbers of RFC 1035 and RFC 3596.
const (
	dnsHeader   = 12     // bytes
	dnsResponse = 1 << 7 // in the third byte
	dnsClassIN  = 1
	dnsA        = 1
	dnsAAAA     = 28
)

var dnsRecords = map[string]uint16{"A": dnsA, "NS": 2, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": dnsAAAA}

// dnsQuery returns a question for a name's records, with recursion desired.
func dnsQuery(id uint16, name, record string) ([]byte, error) {
	kind, known := dnsRecords[record]
	if !known {
		return nil, fmt.Errorf("record %q is none of A, AAAA, NS, SOA, MX and TXT", record)
	}
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if name == "." {
			break // the root
		}
		if label == "" || len(label) > 63 {
			return nil, fmt.Errorf("%q is not a name", name)
		}
		q = append(append(q, byte(len(label))), label...)
	}
	if len(q)-dnsHeader > 254 {
		return nil, fmt.Errorf("%.20q… is too long for a name", name)
	}
	q = append(q, 0)
	q = binary.BigEndian.AppendUint16(q, kind)
	return binary.BigEndian.AppendUint16(q, dnsClassIN), nil
}

var dnsStatus = map[byte]string{1: "format error", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}

// dnsAnswer reads an answer to the question of that number: it has records of the kind, and no error. The addresses among them
// are returned.
func dnsAnswer(id, kind uint16, b []byte) (addrs []netip.Addr, err error) {
	errShort := errors.New("the answer is cut off")
	switch {
	case len(b) < dnsHeader:
		return nil, errShort
	case binary.BigEndian.Uint16(b) != id || b[2]&dnsResponse == 0:
		return nil, errors.New("not an answer to the question")
	case b[3]&15 != 0:
		if text, known := dnsStatus[b[3]&15]; known {
			return nil, fmt.Errorf("the server answers: %s", text)
		}
		return nil, fmt.Errorf("the server answers with error %d", b[3]&15)
	}
	questions, answers := int(binary.BigEndian.Uint16(b[4:])), int(binary.BigEndian.Uint16(b[6:]))
	found := false
	rest, ok := b[dnsHeader:], true
	for range questions {
		if rest, ok = skipName(rest); !ok || len(rest) < 4 {
			return nil, errShort
		}
		rest = rest[4:]
	}
	for range answers {
		if rest, ok = skipName(rest); !ok || len(rest) < 10 {
			return nil, errShort
		}
		is, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[8:]))
		if rest = rest[10:]; len(rest) < size {
			return nil, errShort
		}
		found = found || is == kind // another name of the server's, CNAME, comes before, and may be all there is
		if addr, isAddr := netip.AddrFromSlice(rest[:size]); isAddr && (is == dnsA && size == 4 || is == dnsAAAA && size == 16) {
			addrs = append(addrs, addr)
		}
		rest = rest[size:]
	}
	if !found {
		return nil, errors.New("the server has no such record")
	}
	return addrs, nil
}

// skipName returns what follows a name.
func skipName(b []byte) (rest []byte, ok bool) {
	for len(b) > 0 {
		switch n := int(b[0]); {
		case n == 0:
			return b[1:], true
		case n >= 0xc0: // the rest of the name is elsewhere
			return b[min(2, len(b)):], len(b) >= 2
		case n > 63 || len(b) <= n:
			return nil, false
		default:
			b = b[1+n:]
		}
	}
	return nil, false
}
