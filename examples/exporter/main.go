// Program exporter serves the IPVS table of this director to Prometheus: counters and rates of services and destinations,
// connections, the synchronisation daemons.
//
//	go -C examples/exporter run . -once                       prints the metrics
//	go -C examples/exporter run .                             serves http://127.0.0.1:9763/metrics
//	go -C examples/exporter run . -listen 10.0.0.1:9763       on another address, for everybody who reaches it
//	LVS_KERNEL=memory:FILE go -C examples/exporter run .      for an in-memory kernel that keeps its state in FILE
//
// Every service and every destination makes some fifteen time series. -max-services and -max-destinations bound them, and
// lvs_omitted counts what has none; -max-destinations 0 leaves destinations out. Services have the sums of connections over
// all of their destinations in any case. -rates=false leaves out the kernel's own rates, as rate() in Prometheus tells
// nearly the same.
//
// The file dashboard.json beside this program is for Grafana. Reading the table needs CAP_NET_ADMIN.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() { setup.Main("exporter", run) }

// options are the flags.
type options struct {
	listen  string
	timeout time.Duration
	netns   string
	once    bool
	limits  limits
}

func run(ctx context.Context, e *setup.Env, args []string) int {
	var o options
	fs := flag.NewFlagSet("exporter", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:9763", "`address` and port to serve on")
	fs.DurationVar(&o.timeout, "timeout", 8*time.Second, "`time` that reading the table may take")
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	fs.BoolVar(&o.once, "once", false, "print the metrics and end")
	fs.IntVar(&o.limits.services, "max-services", 1000, "`number` of services with metrics of their own")
	fs.IntVar(&o.limits.destinations, "max-destinations", 10000, "`number` of destinations with metrics of their own")
	fs.BoolVar(&o.limits.rates, "rates", true, "the kernel's rates too")
	if status, done := e.Parse("", fs, args, o.check); done {
		return status
	}
	c, done, err := ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: o.netns})
	if err != nil {
		return e.Report(err)
	}
	err = export(ctx, e, c, o)
	return e.Report(errors.Join(err, done()))
}

// check judges the flags.
func (o *options) check() error {
	switch {
	case o.timeout <= 0:
		return fmt.Errorf("-timeout %v is not above 0", o.timeout)
	case o.limits.services < 0 || o.limits.destinations < 0:
		return errors.New("a limit is not below 0")
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return fmt.Errorf("-listen %q is not an address and a port", o.listen)
	}
	return nil
}

func export(ctx context.Context, e *setup.Env, c *ipvs.Client, o options) error {
	var mu sync.Mutex
	var last error // of -once
	registry := prometheus.NewPedanticRegistry()
	log := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
		if !o.once {
			e.Report(err)
		}
	}
	if err := registry.Register(newCollector(c, o.limits, o.timeout, log)); err != nil {
		return err
	}
	if o.once {
		err := write(e.Stdout, registry)
		return errors.Join(err, last)
	}
	return serve(ctx, e, o, registry)
}

// write writes the metrics in Prometheus's text format.
func write(w io.Writer, g prometheus.Gatherer) error {
	families, err := g.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// serve answers scrapes until ctx ends, and lets those that are under way finish.
func serve(ctx context.Context, e *setup.Env, o options, g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	// One scrape at a time is enough; a second one may be Prometheus's that has given the first up.
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: o.timeout + time.Second}))
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
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout+2*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return err
	}
	<-served // http.ErrServerClosed
	return nil
}
