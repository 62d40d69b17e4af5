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
	waiting []ipvs.Change
	status  int // of the last line
}

// restore returns the status of the last line.
func (r *run) restore(ctx context.Context, op Operation) int {
	p := r.parser
	p.Lossless = p.Lossless || op.Lossless
	s := &restorer{run: r, ctx: ctx}
	for rule, err := range p.Rules(ctx, bufio.NewReaderSize(s, restoreBuffer)) {
		goOn := true
		kind := changeKinds[rule.Operation.Command]
		switch {
		case err == nil && kind != 0 && !rule.Operation.special():
			op := &rule.Operation
			s.waiting = append(s.waiting, ipvs.Change{
				Kind: kind, Service: op.Service, Destination: op.Destination, Timeouts: op.Timeouts, Daemon: op.Daemon,
			})
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
	report, err := s.client.Do(s.ctx, s.waiting)
	sent := false
	for i := range report.Outcomes {
		o := &report.Outcomes[i]
		sent = sent || o.State == ipvs.Applied || o.State == ipvs.Unclear || o.State == ipvs.Failed && !refused(o.Err)
	}
	for i := range s.waiting {
		s.status = 0
		if report.Outcomes[i].State == ipvs.Applied {
			continue
		}
		op := operationOf(&s.waiting[i])
		var failure error
		if !sent && s.ctx.Err() == nil {
			failure = op.Apply(s.ctx, s.client) // one by one, so that the bad one is refused alone
		} else if failure = report.Outcomes[i].Err; failure == nil {
			failure = err
		}
		if failure != nil {
			s.status = s.fail(op.Command, failure)
		}
	}
	s.waiting = s.waiting[:0]
}
