package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// State says what became of a change.
type State uint8

// What can become of a change.
const (
	NotTried State = iota // an earlier change failed, or the context ended before
	Applied
	Failed  // the kernel refused it, or it could not be sent
	Unclear // sent, but the answer was lost and nothing could be found out
)

var stateNames = [...]string{NotTried: "not tried", Applied: "applied", Failed: "failed", Unclear: "unclear"}

// String returns "not tried", "applied", "failed" or "unclear".
func (s State) String() string { return enumString(stateNames[:], "state", uint8(s)) }

// MarshalText returns the form of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Outcome is what became of one change, and why.
type Outcome struct {
	State State
	Err   error // nil if the change was applied
}

// Report says for each change what became of it.
type Report struct {
	Changes  []Change  // in the order in which they were sent
	Outcomes []Outcome // one for each change
}

// Applied returns how many changes took effect.
func (r Report) Applied() int {
	n := 0
	for i := range r.Outcomes {
		if r.Outcomes[i].State == Applied {
			n++
		}
	}
	return n
}

// Err returns the errors of all changes that did not take effect, joined, and nil if there is none. Changes that were not
// tried count if there is no other error.
func (r Report) Err() error {
	var errs []error
	untried := 0
	for i := range r.Outcomes {
		switch o := r.Outcomes[i]; {
		case o.Err != nil:
			errs = append(errs, o.Err)
		case o.State == NotTried:
			untried++
		}
	}
	if len(errs) == 0 && untried > 0 {
		return fmt.Errorf("ipvs: %d changes were not tried", untried)
	}
	return errors.Join(errs...)
}

// String lists the changes, each with what became of it.
func (r Report) String() string {
	var b strings.Builder
	for i := range r.Changes {
		fmt.Fprintf(&b, "%v: %v", r.Outcomes[i].State, &r.Changes[i])
		if err := r.Outcomes[i].Err; err != nil {
			fmt.Fprintf(&b, ": %v", err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Limits of a batch. A refused request is answered, and a socket's receive buffer of the default size holds 237 answers
// (6.12; 277 on 6.1) whatever their length; its send buffer takes 212,960 bytes. Batches of more than 200 gain nothing.
const (
	batchRequests = 200
	batchBytes    = 64 << 10
)

// Do carries out changes in their order, many in one system call: it asks the kernel to acknowledge only the last one of
// a batch, and matches the answers of those that it refused by their numbers. A change that fails does not stop those
// after it; [Client.Apply] has an option for that.
//
// A change that is not well formed is refused before anything is sent, with an error for each such change. Otherwise
// the error is that of the report, or of the context. If answers are lost, the table is read to find out what took
// effect.
func (c *Client) Do(ctx context.Context, changes []Change) (Report, error) {
	return c.do(ctx, changes, false)
}

func (c *Client) do(ctx context.Context, changes []Change, stop bool) (Report, error) {
	r := Report{Changes: changes, Outcomes: make([]Outcome, len(changes))}
	if !wellFormed(&r) {
		return r, r.Err()
	}
	outcomes := r.Outcomes
	err := c.exchange(ctx, func(l *link) error {
		for done := 0; done < len(changes); {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := l.batch(changes[done:], outcomes[done:], stop)
			if err != nil {
				return err
			}
			done += n
			if stop && outcomes[done-1].State != Applied {
				return nil
			}
		}
		return nil
	})
	if _, ok := errors.AsType[*abandonedError](err); ok {
		r.Outcomes = make([]Outcome, len(changes)) // the exchange that was left behind may still write to the others
		for i := range r.Outcomes {
			r.Outcomes[i].State = Unclear
		}
	}
	if err != nil {
		return r, (&operation{name: "apply changes"}).fail(err)
	}
	return r, r.Err()
}

// wellFormed refuses a list of changes of which one is not well formed.
func wellFormed(r *Report) bool {
	ok := true
	var last lastService
	for i := range r.Changes {
		if err := r.Changes[i].check(&last); err != nil {
			o := r.Changes[i].operation()
			r.Outcomes[i] = Outcome{Failed, o.fail(err)}
			ok = false
		}
	}
	return ok
}

// batch sends as many changes as fit, or a single one, and writes their outcomes. After an error that is not the answer
// to a change they are unclear.
func (l *link) batch(changes []Change, outcomes []Outcome, single bool) (n int, err error) {
	if l.family == 0 {
		if err := l.lookup(); err != nil {
			return 0, err
		}
	}
	limit := min(len(changes), batchRequests)
	if single {
		limit = 1
	}
	first, last, fence := l.seq+1, 0, false
	l.out = l.out[:0]
	l.last.known = false
	for n < limit && len(l.out) < batchBytes {
		last = len(l.out)
		l.seq++
		c := &changes[n]
		var usual bool
		if l.out, usual = l.last.appendUsual(l.out, l.family, l.seq, c); !usual {
			l.out = beginMessage(l.out, l.family, flagRequest, l.seq, c.command())
			if l.out, err = c.appendRequest(l.out, &l.last); err != nil {
				return 0, err
			}
			finishMessage(l.out, last)
		}
		fence = fence || changes[n].Kind == DaemonStop
		n++
	}
	if fence {
		// A daemon that is stopped before it ran for the first time is stopped without any answer (seen on 6.12). The
		// answer to another request says that there will be none.
		last = len(l.out)
		l.seq++
		l.out = beginMessage(l.out, l.family, flagRequest, l.seq, cmdGetInfo)
		finishMessage(l.out, last)
	} else {
		host.PutUint16(l.out[last+6:], flagRequest|flagAck)
	}
	changes, outcomes = changes[:n], outcomes[:n]

	l.dirty = true
	for i := range outcomes {
		outcomes[i] = Outcome{State: Unclear}
	}
	if err := l.send(l.out); err != nil {
		return 0, err
	}
	answered, err := l.receiveBatch(first, l.seq, changes, outcomes)
	if errors.Is(err, errOverrun) {
		// The answers that fitted are those to the first requests. The others were executed as well.
		l.dirty = false
		return n, l.findOut(changes[answered:], outcomes[answered:])
	}
	if err != nil {
		return n, err
	}
	l.dirty = false

	// If the module was loaded anew, every request had a family number that nobody has.
	for i := range outcomes {
		if oe, ok := outcomes[i].Err.(*OpError); !ok || oe.Errno != eNOENT {
			return n, nil
		}
	}
	old := l.family
	if err := l.lookup(); err != nil {
		return n, err
	}
	if l.family == old {
		return n, nil
	}
	return l.batch(changes, outcomes, single)
}

// receiveBatch reads answers until that to the last request. A change before it without an answer took effect. If answers
// were lost, it returns how many changes have one or took effect for certain.
func (l *link) receiveBatch(first, last uint32, changes []Change, outcomes []Outcome) (certain int, err error) {
	applied := func(end int) {
		for ; certain < end; certain++ {
			if outcomes[certain].State == Unclear {
				outcomes[certain].State = Applied
			}
		}
	}
	overrun := false
	for {
		var rest []byte
		if overrun {
			rest, err = l.tryRecv() // what is left comes at once or not at all
		} else {
			rest, err = l.recv(false)
		}
		if errors.Is(err, errOverrun) {
			overrun = true
			continue
		}
		if err != nil {
			return certain, err
		}
		if len(rest) == 0 {
			return certain, errOverrun
		}
		for len(rest) > 0 {
			var h header
			var payload []byte
			if h, payload, rest, err = nextMessage(rest); err != nil {
				return certain, err
			}
			i := h.seq - first
			if i > last-first {
				continue
			}
			if int(i) == len(changes) {
				applied(len(changes))
				return certain, nil
			}
			if h.typ != nlmsgError {
				continue
			}
			errno, text, err := decodeError(h.flags, payload)
			if err != nil {
				return certain, err
			}
			if errno != 0 {
				o := changes[i].operation()
				outcomes[i] = Outcome{Failed, o.fail(&answerError{syscall.Errno(errno), text})}
			}
			applied(int(i))
			if h.seq == last {
				applied(len(changes))
				return certain, nil
			}
		}
	}
}

// findOut reads from the table whether changes took effect whose answers were lost: a change did if the table is as it
// wanted it.
func (l *link) findOut(changes []Change, outcomes []Outcome) error {
	lost := func(i int) {
		o := changes[i].operation()
		outcomes[i] = Outcome{Unclear, o.fail(errOverrun)}
	}
	var (
		listed ServiceID
		list   []DestinationStatus
	)
	for i := range changes {
		c := &changes[i]
		id, err := c.Service.ID.canonical()
		if err != nil {
			id = ServiceID{}
		}
		ok := false
		switch c.Kind {
		case ServiceAdd, ServiceSet, ServiceDelete:
			want, _ := c.Service.canonical(false)
			var have ServiceStatus
			err := l.service(id, &have)
			switch {
			case err == nil:
				ok = c.Kind != ServiceDelete && want.effect(have.Service) == have.Service
			case answered(err, eSRCH):
				ok = c.Kind == ServiceDelete
			default:
				return err
			}
		case DestinationAdd, DestinationSet, DestinationDelete:
			if listed != id {
				list, err = l.destinations(id, list[:0])
				if err != nil && !answered(err, eSRCH) {
					return err
				}
				listed = id
			}
			want, _ := c.Destination.canonical(id.AddrFamily())
			addr, _ := canonicalAddr("Addr", c.Destination.Addr)
			j := slices.IndexFunc(list, func(d DestinationStatus) bool { return d.Addr == addr })
			ok = j < 0 && c.Kind == DestinationDelete || j >= 0 && c.Kind != DestinationDelete && list[j].Destination == want
		case TimeoutsSet:
			have, err := l.timeouts()
			if err != nil {
				return err
			}
			ok = c.Timeouts.fits(have)
		case DaemonStart, DaemonStop:
			running, err := l.daemons()
			if err != nil {
				return err
			}
			j := slices.IndexFunc(running, func(d Daemon) bool { return d.State == c.Daemon.State })
			ok = j < 0 && c.Kind == DaemonStop || j >= 0 && c.Kind == DaemonStart && c.Daemon.fits(running[j])
		}
		if ok {
			outcomes[i] = Outcome{State: Applied}
		} else {
			lost(i)
		}
	}
	return nil
}

// effect returns what a service is after it was set to s.
func (s Service) effect(before Service) Service {
	if s.FlagMask != 0 {
		s.Flags = before.Flags&^s.FlagMask | s.Flags&s.FlagMask
		s.FlagMask = 0
	}
	s.Flags &^= flagHashed
	return s
}
