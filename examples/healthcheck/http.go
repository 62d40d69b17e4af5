package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 1 << 20

// httpCheck asks for a page: its status has to be among the good ones, and its content has to match.
type httpCheck struct {
	question
	client *http.Client
	good   [][2]int
	body   *regexp.Regexp // nil if any will do
}

func newHTTPCheck(q question) httpCheck {
	c := httpCheck{question: q}
	c.good, _ = parseStatus(q.Check.Status) // valid: the configuration was checked
	if q.Check.Body != "" {
		c.body = regexp.MustCompile(q.Check.Body)
	}
	name := q.Check.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return q.dial(ctx, "tcp") },
			// A server that takes no new connections is down, whatever an old one says.
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{ServerName: name, InsecureSkipVerify: q.Check.Insecure},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

func (c httpCheck) check(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, c.Check.Method, c.Check.Type+"://"+c.Target.String()+c.Check.Path, nil)
	if err != nil {
		return "", err
	}
	if c.Check.Host != "" {
		req.Host = c.Check.Host
	}
	req.Header.Set("User-Agent", "lvs-healthcheck")
	for k, v := range c.Check.Header {
		req.Header.Set(k, v)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	if !c.isGood(resp.StatusCode) {
		return "", fmt.Errorf("status %d is not %s", resp.StatusCode, c.Check.Status)
	}
	if c.body != nil && !c.body.Match(body) {
		return "", fmt.Errorf("the content does not match %q", c.Check.Body)
	}
	return string(body), nil
}

func (c httpCheck) isGood(status int) bool {
	for _, r := range c.good {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}
