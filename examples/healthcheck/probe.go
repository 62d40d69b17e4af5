package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// question is what is asked of whom. Real servers of several services that ask the same share one probe.
type question struct {
	Check  Check          `json:"check"`
	Target netip.AddrPort `json:"target"`

	// Mark, Source and Server are those of a question to the virtual address that one real server gets; else zero.
	Mark   uint32         `json:"mark,omitzero"`
	Source netip.Addr     `json:"source,omitzero"`
	Server netip.AddrPort `json:"server,omitzero"`
}

// ask makes the question of a check for a real server of a service. The mark is for checks of the virtual address.
func ask(c Check, s *Service, r *Real, through *Through, mark uint32) question {
	q := question{Check: c}
	addr, port := r.Addr.Addr(), r.Addr.Port()
	if c.Through == throughVIP {
		addr, q.Mark, q.Server = c.vip(s), mark, r.Addr
		q.Source = through.source(addr)
		if !s.Service.IsMark() {
			port = s.Service.Addr.Port()
		}
	} else if c.Address.IsValid() {
		addr = c.Address
	}
	if c.Port != 0 {
		port = c.Port
	}
	if c.Type == "command" {
		q.Check.Command = make([]string, len(c.Command))
		for i, word := range c.Command {
			q.Check.Command[i] = strings.NewReplacer("{addr}", addr.String(), "{port}", strconv.Itoa(int(port))).Replace(word)
		}
		port = 0 // services with other ports share the check if its command does not have the port
	}
	// They are part of the target now, and must not keep apart what is the same.
	q.Check.Address, q.Check.Port = netip.Addr{}, 0
	q.Target = netip.AddrPortFrom(addr, port)
	return q
}

// key is equal for equal questions.
func (q question) key() string {
	b, err := json.Marshal(q)
	if err != nil {
		return fmt.Sprint(q) // cannot be: all fields have a text
	}
	return string(b)
}

// String says what is asked in a few words.
func (q question) String() string {
	var b strings.Builder
	b.WriteString(q.Check.Type)
	if q.Check.Type == "command" {
		b.WriteString(" " + strings.Join(q.Check.Command, " "))
		return b.String()
	}
	b.WriteString(" " + q.Target.String() + q.Check.Path)
	if q.Check.Name != "" {
		b.WriteString(" " + q.Check.Name + " " + q.Check.Record)
	}
	if q.Mark != 0 {
		fmt.Fprintf(&b, " (mark %d)", q.Mark)
	}
	return b.String()
}

// checker asks once. It returns when the context ends. The answer is what a weight is read from.
type checker interface {
	check(ctx context.Context) (answer string, err error)
}

// newChecker returns the checker of a question of a valid configuration.
func newChecker(q question) checker {
	switch q.Check.Type {
	case "http", "https":
		return newHTTPCheck(q)
	case "udp":
		return newUDPCheck(q)
	case "dns":
		return dnsCheck{q}
	case "command":
		return commandCheck{q.Check.Command}
	}
	return tcpCheck{q}
}

// outcome is what one check found.
type outcome struct {
	key    string
	answer string
	err    error
	at     time.Time // when the answer was there
	took   time.Duration
}

// askOnce makes one check within its time.
func askOnce(ctx context.Context, q question, c checker) outcome {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(q.Check.Timeout))
	defer cancel()
	begin := time.Now()
	answer, err := c.check(ctx)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v", time.Duration(q.Check.Timeout))
	}
	now := time.Now()
	return outcome{q.key(), answer, err, now, now.Sub(begin)}
}

// repeat makes the check again and again until the context ends: the next one begins an interval after this one began, less
// the jitter, and never before this one has ended. A value of again has it made at once.
func repeat(ctx context.Context, q question, c checker, results chan<- outcome, again <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-again:
			next = time.Now()
		}
		o := askOnce(ctx, q, c)
		if ctx.Err() != nil {
			return // it was interrupted: that says nothing about the server
		}
		select {
		case <-ctx.Done():
			return
		case results <- o:
		}
		interval := time.Duration(q.Check.Interval)
		next = next.Add(interval - time.Duration(rand.Float64()**q.Check.Jitter*float64(interval)))
		if now := time.Now(); next.Before(now) {
			next = now
		}
		timer.Reset(time.Until(next))
	}
}
