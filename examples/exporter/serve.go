package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/golvs/lvs/examples/internal/setup"
)

// How long a scrape that is under way at the end may go on reading the table.
const grace = time.Second

// How long a client may take to fetch what is ready.
const fetchTime = 30 * time.Second

// serve answers scrapes until ctx ends, and lets those that are under way finish.
func serve(ctx context.Context, e *setup.Env, dial dialer, o options) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g := newGatherer(reading, dial, o.limits, o.timeout, changes(e))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", buffered(promhttp.HandlerForTransactional(g, promhttp.HandlerOpts{
		CoalesceGather: true, MaxRequestsInFlight: 10, DisableCompression: true,
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>lvs exporter</title><a href=\"/metrics\">metrics</a>\n")
	})
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Stdout, "http://%s/metrics\n", ln.Addr())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: o.timeout + fetchTime, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	defer time.AfterFunc(grace, stop).Stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace)
	defer cancel()
	if srv.Shutdown(ending) != nil { // a client that does not fetch what it asked for
		_ = srv.Close()
	}
	<-served // http.ErrServerClosed
	return nil
}

// changes returns a function that reports an outcome that differs from the last one.
func changes(e *setup.Env) func(error) {
	var mu sync.Mutex
	last := ""
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		now := ""
		if err != nil {
			now = err.Error()
		}
		switch {
		case now == last:
		case err == nil:
			fmt.Fprintf(e.Stderr, "%s: the table can be read again\n", e.Name)
		default:
			e.Report(err)
		}
		last = now
	}
}

// buffered keeps the answer of a handler in memory until it is complete, so that a client that fetches slowly keeps nobody
// else waiting. It is compressed, if the client likes, at the speed that costs an eighth of the usual one's processor time
// for a sixth more bytes.
func buffered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		a := &answer{ResponseWriter: w, body: &body, status: http.StatusOK}
		if zip := accepts(r.Header, "gzip"); zip {
			z, _ := gzip.NewWriterLevel(&body, gzip.BestSpeed) // the level is a good one
			a.body = z
			h.ServeHTTP(a, r)
			_ = z.Close() // into memory
			w.Header().Set("Content-Encoding", "gzip")
		} else {
			h.ServeHTTP(a, r)
		}
		w.Header().Add("Vary", "Accept-Encoding")
		w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		w.WriteHeader(a.status)
		_, _ = body.WriteTo(w)
	})
}

// answer is a response whose body goes elsewhere.
type answer struct {
	http.ResponseWriter
	body   io.Writer
	status int
}

func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// accepts reports whether a client takes an encoding.
func accepts(h http.Header, encoding string) bool {
	for _, list := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(list, ",") {
			name, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), encoding) {
				quality, given := strings.CutPrefix(strings.TrimSpace(params), "q=")
				q, err := strconv.ParseFloat(quality, 64)
				return !given || err != nil || q > 0
			}
		}
	}
	return false
}
