package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/golvs/lvs/ipvs"
)

// A rule file is read in pieces of this many bytes at most, and what they say goes to the kernel together.
const restoreBuffer = 64 << 10

// restorer carries out a rule file as ipvsadm does: line by line, going on after the kernel's refusals and after unknown
// options. Changes wait for each other, to be sent together, until there is no more input at hand or something else is
// to be done.
type restorer struct {
	*run
	ctx     context.Context
	waiting []Operation
	changes []ipvs.Change
	status  int // of the last line
}

// restore returns the status of the last line.
func (r *run) restore(ctx context.Context, op Operation) int {
	p := r.parser
	p.Lossless = p.Lossless || op.Lossless
	s := &restorer{run: r, ctx: ctx}
	for rule, err := range p.Rules(ctx, bufio.NewReaderSize(s, restoreBuffer)) {
		goOn := true
		switch change, ok := changeOf(rule.Operation); {
		case err == nil && ok:
			s.waiting, s.changes = append(s.waiting, rule.Operation), append(s.changes, change)
		case err == nil:
			s.flush()
			s.status, goOn = r.do(ctx, rule.Operation)
		default:
			s.flush()
			e, ok := errors.AsType[*Error](err)
			goOn = ok && e.Kind == BadOption
			s.status = r.mistake(err)
		}
		if !goOn || ctx.Err() != nil {
			return s.status
		}
	}
	s.flush()
	return s.status
}

// Read reads standard input, and before, as that can take time, carries out what waits.
func (s *restorer) Read(b []byte) (int, error) {
	s.flush()
	if s.p.Stdin == nil {
		return 0, io.EOF
	}
	return s.p.Stdin.Read(b)
}

// flush carries out what waits, and prints refusals in the order of the lines.
func (s *restorer) flush() {
	if len(s.waiting) == 0 {
		return
	}
	report, err := s.client.Do(s.ctx, s.changes)
	sent := false
	for _, o := range report.Outcomes {
		sent = sent || o.State == ipvs.Applied || o.State == ipvs.Unclear || o.State == ipvs.Failed && !refused(o.Err)
	}
	for i, op := range s.waiting {
		s.status = 0
		var failure error
		switch {
		case !sent && s.ctx.Err() == nil:
			failure = op.Apply(s.ctx, s.client) // one by one, so that the bad one is refused alone
		case report.Outcomes[i].State != ipvs.Applied:
			if failure = report.Outcomes[i].Err; failure == nil {
				failure = err
			}
		}
		if failure != nil {
			s.status = s.fail(op.Command, failure)
		}
	}
	s.waiting, s.changes = s.waiting[:0], s.changes[:0]
}

// changeOf returns an operation in the form of package ipvs, if it has one that says the same.
func changeOf(op Operation) (ipvs.Change, bool) {
	c := ipvs.Change{Service: op.Service, Destination: op.Destination, Timeouts: op.Timeouts, Daemon: op.Daemon}
	if op.Destination.Addr.Addr().Is4In6() || op.Destination.LowerThreshold > op.Destination.UpperThreshold {
		return c, false // the kernel is asked what it thinks of that
	}
	switch op.Command {
	case AddService:
		c.Kind = ipvs.ServiceAdd
	case SetService:
		c.Kind = ipvs.ServiceSet
	case DeleteService:
		c.Kind = ipvs.ServiceDelete
	case AddDestination:
		c.Kind = ipvs.DestinationAdd
	case SetDestination:
		c.Kind = ipvs.DestinationSet
	case DeleteDestination:
		c.Kind = ipvs.DestinationDelete
	case SetTimeouts:
		c.Kind = ipvs.TimeoutsSet
	case StartDaemon:
		c.Kind = ipvs.DaemonStart
	case StopDaemon:
		c.Kind = ipvs.DaemonStop
	default:
		return c, false
	}
	return c, true
}
