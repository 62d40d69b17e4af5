package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/sched/sim"
)

// A kind is what an event does.
type kind uint8

const (
	kindAt kind = iota
	kindSysctl
	kindOpen
	kindPacket
	kindShow
	kindCommand
)

// An event is a line of a trace.
type event struct {
	line   int
	kind   kind
	at     time.Duration
	packet sim.Packet
	name   string // of a sysctl or a listing
	value  string
	op     ipvsadm.Operation
}

// syntaxError is a mistake in a trace.
type syntaxError struct {
	file         string
	line, column int // from 1; column 0 is unknown
	text         string
}

// Error begins as compilers do.
func (e *syntaxError) Error() string {
	if e.column == 0 {
		return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.file, e.line, e.column, e.text)
}

// maxLine is the length of the longest line.
const maxLine = 1 << 20

// reader reads a trace.
type reader struct {
	file    string
	lines   *bufio.Scanner
	line    int
	now     time.Duration
	parser  ipvsadm.Parser
	words   []word
	text    string
	lastEnd int // column after the last word, for what is missing
}

// word is a word of a line.
type word struct {
	text   string
	column int // from 1
}

func newReader(file string, r io.Reader) *reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	return &reader{file: file, lines: lines, parser: ipvsadm.Parser{Strict: true}}
}

func (r *reader) fail(column int, format string, args ...any) error {
	return &syntaxError{r.file, r.line, column, fmt.Sprintf(format, args...)}
}

// next returns the next event, and io.EOF at the end.
func (r *reader) next(ctx context.Context) (event, error) {
	for r.lines.Scan() {
		r.line++
		r.split(r.lines.Text())
		if len(r.words) == 0 {
			continue
		}
		e, err := r.parse(ctx)
		e.line = r.line
		return e, err
	}
	if err := r.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		r.line++
		return event{}, r.fail(0, "line of more than %d bytes", maxLine)
	} else if err != nil {
		return event{}, fmt.Errorf("%s: %w", r.file, err)
	}
	return event{}, io.EOF
}

// split finds the words up to a comment.
func (r *reader) split(line string) {
	r.words, r.text, r.lastEnd = r.words[:0], line, 1
	for i := 0; i < len(line); {
		if blank(line[i]) {
			i++
			continue
		}
		if line[i] == '#' {
			return
		}
		start := i
		for i < len(line) && !blank(line[i]) {
			i++
		}
		r.words = append(r.words, word{line[start:i], start + 1})
		r.lastEnd = i + 1
	}
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func (r *reader) parse(ctx context.Context) (event, error) {
	first := r.words[0]
	if strings.HasPrefix(first.text, "-") {
		return r.command(ctx)
	}
	r.words = r.words[1:]
	switch first.text {
	case "at":
		return r.time()
	case "sysctl":
		return r.sysctl()
	case "open":
		return r.open()
	case "pkt":
		return r.pkt()
	case "show":
		return r.show()
	}
	return event{}, r.fail(first.column, "unknown event %q, expected at, sysctl, open, pkt, show or a command line of ipvsadm", first.text)
}

// take returns the next word.
func (r *reader) take(what string) (word, error) {
	if len(r.words) == 0 {
		return word{}, r.fail(r.lastEnd, "line ends, expected %s", what)
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w, nil
}

// done refuses further words.
func (r *reader) done() error {
	if len(r.words) > 0 {
		return r.fail(r.words[0].column, "unexpected %q, expected the end of the line", r.words[0].text)
	}
	return nil
}

func (r *reader) time() (event, error) {
	w, err := r.take("a time in seconds")
	if err != nil {
		return event{}, err
	}
	t, ok := parseSeconds(w.text)
	if !ok {
		return event{}, r.fail(w.column, "%q is no time, expected seconds such as 12 or 12.5", w.text)
	}
	if t < r.now {
		return event{}, r.fail(w.column, "time runs backwards from %s to %s", seconds(r.now), w.text)
	}
	r.now = t
	return event{kind: kindAt, at: t}, r.done()
}

// parseSeconds reads a decimal number of seconds, down to nanoseconds.
func parseSeconds(s string) (time.Duration, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if len(fraction) > 9 || point && fraction == "" && whole == "" {
		return 0, false
	}
	for _, c := range []byte(whole + fraction) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	if whole == "" && fraction == "" {
		return 0, false
	}
	n, err := strconv.ParseInt("0"+whole, 10, 64)
	if err != nil || n >= math.MaxInt64/int64(time.Second) {
		return 0, false
	}
	f, err := strconv.ParseInt("0"+(fraction + "000000000")[:9], 10, 64)
	return time.Duration(n)*time.Second + time.Duration(f), err == nil
}

// seconds prints a time with three decimals.
func seconds(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', 3, 64) }

func (r *reader) sysctl() (event, error) {
	name, err := r.take("the name of a sysctl")
	if err != nil {
		return event{}, err
	}
	value, err := r.take("a value")
	if err != nil {
		return event{}, err
	}
	text := r.text[value.column-1 : r.lastEnd-1] // some have more than one number
	return event{kind: kindSysctl, name: name.text, value: text}, nil
}

func (r *reader) flow(p *sim.Packet) error {
	w, err := r.take("a protocol")
	if err != nil {
		return err
	}
	switch w.text {
	case "tcp":
		p.Protocol = sim.TCP
	case "udp":
		p.Protocol = sim.UDP
	case "sctp":
		p.Protocol = sim.SCTP
	default:
		return r.fail(w.column, "unknown protocol %q, expected tcp, udp or sctp", w.text)
	}
	if p.Client, err = r.address("the client's address and port"); err != nil {
		return err
	}
	column := r.lastEnd
	if len(r.words) > 0 {
		column = r.words[0].column
	}
	if p.Virtual, err = r.address("the virtual address and port"); err != nil {
		return err
	}
	if p.Client.Addr().Is4() != p.Virtual.Addr().Is4() {
		return r.fail(column, "%v is of another family than the client, %v", p.Virtual.Addr(), p.Client.Addr())
	}
	return nil
}

func (r *reader) address(what string) (netip.AddrPort, error) {
	w, err := r.take(what)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := netip.ParseAddrPort(w.text)
	if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() {
		return netip.AddrPort{}, r.fail(w.column, "%q is not %s, expected such as 192.0.2.1:80 or [2001:db8::1]:80", w.text, what)
	}
	return a, nil
}

// mark reads "mark N" if it is there, and then the line must end.
func (r *reader) mark(p *sim.Packet) error {
	if len(r.words) == 0 {
		return nil
	}
	if r.words[0].text != "mark" {
		return r.fail(r.words[0].column, "unexpected %q, expected mark or the end of the line", r.words[0].text)
	}
	r.words = r.words[1:]
	w, err := r.take("a firewall mark")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(w.text, 0, 32)
	if err != nil {
		return r.fail(w.column, "%q is no firewall mark, expected a number from 0 to 4294967295", w.text)
	}
	p.Mark = uint32(n)
	return r.done()
}

func (r *reader) open() (event, error) {
	e := event{kind: kindOpen}
	if err := r.flow(&e.packet); err != nil {
		return e, err
	}
	e.packet.TCP, e.packet.Chunk = sim.SYN, sim.Init
	return e, r.mark(&e.packet)
}

func (r *reader) pkt() (event, error) {
	e := event{kind: kindPacket}
	p := &e.packet
	if err := r.flow(p); err != nil {
		return e, err
	}
	w, err := r.take("a direction")
	if err != nil {
		return e, err
	}
	switch w.text {
	case "in":
	case "out":
		p.Out = true
	default:
		return e, r.fail(w.column, "unknown direction %q, expected in or out", w.text)
	}
	if w, err = r.take("flags"); err != nil {
		return e, err
	}
	switch p.Protocol {
	case sim.TCP:
		if p.TCP, err = sim.ParseTCPFlags(w.text); err != nil {
			return e, r.fail(w.column, "unknown flags %q, expected SYN, FIN, ACK and RST joined by commas, or -", w.text)
		}
	case sim.SCTP:
		if p.Chunk, err = sim.ParseChunk(w.text); err != nil {
			return e, r.fail(w.column, "unknown chunk %q, expected such as INIT or COOKIE_ECHO", w.text)
		}
	default:
		if w.text != "-" {
			return e, r.fail(w.column, "unknown flags %q, expected -, as udp has none", w.text)
		}
	}
	return e, r.mark(p)
}

func (r *reader) show() (event, error) {
	w, err := r.take("conns, services, stats or state")
	if err != nil {
		return event{}, err
	}
	switch w.text {
	case "conns", "services", "stats", "state":
		return event{kind: kindShow, name: w.text}, r.done()
	}
	return event{}, r.fail(w.column, "unknown listing %q, expected conns, services, stats or state", w.text)
}

// command reads a command line of ipvsadm.
func (r *reader) command(ctx context.Context) (event, error) {
	op, err := r.parser.ParseLine(ctx, r.text)
	if e, ok := errors.AsType[*ipvsadm.RuleError](err); ok {
		return event{}, r.fail(e.Column, "%v", e.Err)
	} else if err != nil {
		return event{}, r.fail(0, "%v", err)
	}
	switch op.Command {
	case ipvsadm.AddService, ipvsadm.SetService, ipvsadm.DeleteService, ipvsadm.Flush, ipvsadm.AddDestination, ipvsadm.SetDestination,
		ipvsadm.DeleteDestination, ipvsadm.Zero, ipvsadm.SetTimeouts:
		return event{kind: kindCommand, op: op}, nil
	}
	return event{}, r.fail(r.words[0].column, "a trace cannot use the command %q of ipvsadm, expected -A, -E, -D, -C, -a, -e, -d, -Z or --set", op.Command)
}
