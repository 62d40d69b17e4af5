package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"
)

// udpCheck sends a datagram and waits for one that matches.
type udpCheck struct {
	question
	payload []byte
	expect  *regexp.Regexp
}

func newUDPCheck(q question) udpCheck {
	c := udpCheck{question: q, payload: []byte(q.Check.Send), expect: regexp.MustCompile(q.Check.Expect)}
	if q.Check.SendHex != "" {
		c.payload, _ = hex.DecodeString(q.Check.SendHex) // valid: the configuration was checked
	}
	return c
}

func (c udpCheck) check(ctx context.Context) (string, error) {
	answer, err := c.exchange(ctx, c.payload)
	if err == nil && !c.expect.Match(answer) {
		err = fmt.Errorf("the answer %.40q does not match %q", answer, c.Check.Expect)
	}
	return "", err
}

// exchange sends a datagram and returns the answer.
func (q question) exchange(ctx context.Context, payload []byte) ([]byte, error) {
	conn, err := q.dial(ctx, "udp")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// A read ends with the context, by its deadline or before.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(payload); err != nil {
		return nil, err
	}
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	return answer[:n], err
}
