package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/sched/sim"
)

// runner replays a trace.
type runner struct {
	*options
	director  *sim.Director
	scheduler string // instead of those of the trace; empty for none
	out       *bufio.Writer
	stderr    io.Writer
	progress  *progress
	refused   bool
	totals    totals
	line      []byte // reused
}

// totals are what a run did.
type totals struct {
	Events    int     `json:"events"`
	Opened    int     `json:"opened"`    // events open
	Scheduled int     `json:"scheduled"` // packets for which a destination was looked for
	NoServer  int     `json:"noServer"`  // of these, how many found none
	Seconds   float64 `json:"seconds"`   // of virtual time
}

func newRunner(o *options, scheduler string) *runner {
	random := rand.New(rand.NewPCG(o.seed, 0))
	return &runner{
		options: o, scheduler: scheduler,
		director: sim.New(&sim.Config{Rand: random.Uint32, RememberClients: o.quiet || scheduler != ""}),
	}
}

// run replays the trace. A refused change ends it with an error, unless it is told to keep going.
func (r *runner) run(ctx context.Context, in io.Reader) error {
	trace := newReader(r.file(), in)
	for {
		e, err := trace.next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if e.line%progressLines == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			conns, _ := r.director.Len()
			r.progress.show(e.line, r.director.Now(), conns)
		}
		r.totals.Events++
		if err := r.event(ctx, &e); err != nil {
			return err
		}
	}
	r.totals.Seconds = r.director.Now().Seconds()
	return nil
}

// file names the trace in messages.
func (o *options) file() string {
	if o.trace == "-" {
		return "standard input"
	}
	return o.trace
}

func (r *runner) event(ctx context.Context, e *event) error {
	switch e.kind {
	case kindAt:
		r.director.Advance(e.at)
	case kindSysctl:
		if err := r.director.SetSysctl(e.name, e.value); err != nil {
			return r.refuse(e, err.Error())
		}
	case kindCommand:
		if r.scheduler != "" {
			e.op.Service.Scheduler = r.scheduler
		}
		if err := apply(r.director, e.op); err != nil {
			return r.refuse(e, e.op.String()+": "+explain(e.op.Command, err))
		}
	case kindShow:
		if r.quiet || r.scheduler != "" {
			return nil
		}
		return r.show(ctx, e.name)
	case kindOpen, kindPacket:
		return r.packet(e)
	}
	return nil
}

// refuse reports a change that the kernel would refuse.
func (r *runner) refuse(e *event, reason string) error {
	r.refused = true
	r.progress.clear()
	err := fmt.Errorf("%s:%d: %s", r.file(), e.line, reason)
	if !r.keepGoing {
		return err
	}
	_, werr := fmt.Fprintf(r.stderr, "lvssim: %v\n", err)
	return werr
}

func (r *runner) packet(e *event) error {
	result := r.director.Packet(e.packet)
	if e.kind == kindOpen {
		r.totals.Opened++
	}
	if result.Scheduled {
		r.totals.Scheduled++
		if !result.Dest.IsValid() {
			r.totals.NoServer++
		}
	}
	if r.quiet || r.scheduler != "" || e.kind == kindPacket && !result.Scheduled {
		return nil
	}
	if r.json {
		return r.decisionJSON(e, result)
	}
	b := append(r.line[:0], seconds(r.director.Now())...)
	b = append(b, ' ')
	b = append(b, protocolName(e.packet.Protocol)...)
	b = append(b, ' ')
	b = e.packet.Client.AppendTo(b)
	b = append(b, ' ')
	b = e.packet.Virtual.AppendTo(b)
	b = append(b, " -> "...)
	if result.Dest.IsValid() {
		b = result.Dest.AppendTo(b)
	} else {
		b = append(b, '-')
	}
	r.line = append(b, '\n')
	_, err := r.out.Write(r.line)
	return err
}

func protocolName(p sim.Protocol) string {
	switch p {
	case sim.TCP:
		return "tcp"
	case sim.UDP:
		return "udp"
	case sim.SCTP:
		return "sctp"
	}
	return strings.ToLower(p.String())
}

// decision is a line of the output as JSON.
type decision struct {
	Time     float64        `json:"time"`
	Protocol string         `json:"protocol"`
	Client   netip.AddrPort `json:"client"`
	Virtual  netip.AddrPort `json:"virtual"`
	Mark     uint32         `json:"mark,omitzero"`
	Dest     netip.AddrPort `json:"dest,omitzero"`
	Verdict  string         `json:"verdict"`
}

func (r *runner) decisionJSON(e *event, result sim.Result) error {
	return r.encode(decision{
		float64(r.director.Now().Round(time.Millisecond)) / float64(time.Second), protocolName(e.packet.Protocol),
		e.packet.Client, e.packet.Virtual, e.packet.Mark, result.Dest, result.Verdict.String(),
	})
}

func (r *runner) encode(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = r.out.Write(append(b, '\n'))
	return err
}

// command names a service in the words of ipvsadm.
func command(s sim.ServiceStatus) string {
	return strings.TrimPrefix(ipvsadm.Operation{Command: ipvsadm.AddService, Service: ipvsService(s).Service}.String(), "-A ")
}
