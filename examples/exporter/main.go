// Program exporter serves the IPVS table of this director to Prometheus: counters and rates of services and destinations,
// connections, the synchronisation daemons.
//
//	go -C examples/exporter run . -once                       prints the metrics
//	go -C examples/exporter run .                             serves http://127.0.0.1:9763/metrics
//	go -C examples/exporter run . -listen 10.0.0.1:9763       on another address, for everybody who reaches it
//	LVS_KERNEL=memory:FILE go -C examples/exporter run .      for an in-memory kernel that keeps its state in FILE
//
// Every service and every destination makes some twenty time series. -max-services and -max-destinations bound them, and
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
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{stdout: os.Stdout, stderr: os.Stderr, kernel: os.Getenv("LVS_KERNEL")}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is what a run depends on.
type program struct {
	stdout, stderr io.Writer
	kernel         string // see ipvstest.Dial
}

// options are the flags.
type options struct {
	listen  string
	timeout time.Duration
	netns   string
	once    bool
	limits  limits
}

func (p *program) run(ctx context.Context, args []string) int {
	var o options
	fs := flag.NewFlagSet("exporter", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:9763", "`address` and port to serve on")
	fs.DurationVar(&o.timeout, "timeout", 8*time.Second, "`time` that reading the table may take")
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	fs.BoolVar(&o.once, "once", false, "print the metrics and end")
	fs.IntVar(&o.limits.services, "max-services", 1000, "`number` of services with metrics of their own")
	fs.IntVar(&o.limits.destinations, "max-destinations", 10000, "`number` of destinations with metrics of their own")
	fs.BoolVar(&o.limits.rates, "rates", true, "the kernel's rates too")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(p.stdout, "usage: exporter [flags]")
		fs.SetOutput(p.stdout)
		fs.PrintDefaults()
		return exitOK
	case err != nil:
		return p.mistake("%v", err)
	case fs.NArg() > 0:
		return p.mistake("unexpected argument %q", fs.Arg(0))
	case o.timeout <= 0:
		return p.mistake("-timeout %v is not above 0", o.timeout)
	case o.limits.services < 0 || o.limits.destinations < 0:
		return p.mistake("a limit is not below 0")
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return p.mistake("-listen %q is not an address and a port", o.listen)
	}
	c, done, err := ipvstest.Dial(ctx, p.kernel, &ipvs.Config{NetNS: o.netns})
	if err != nil {
		return p.fail(err)
	}
	err = p.export(ctx, c, o)
	if err = errors.Join(err, done()); err != nil {
		return p.fail(err)
	}
	return exitOK
}

func (p *program) mistake(format string, args ...any) int {
	fmt.Fprintf(p.stderr, "exporter: "+format+"\n", args...)
	return exitUsage
}

// fail prints an error, with what a person can do about it.
func (p *program) fail(err error) int {
	fmt.Fprintf(p.stderr, "exporter: %v\n", err)
	if oe, ok := errors.AsType[*ipvs.OpError](err); ok && oe.Hint() != "" {
		fmt.Fprintf(p.stderr, "exporter: %s\n", oe.Hint())
	}
	return exitError
}

func (p *program) export(ctx context.Context, c *ipvs.Client, o options) error {
	var mu sync.Mutex
	var last error // of -once
	registry := prometheus.NewPedanticRegistry()
	log := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
		if !o.once {
			p.fail(err)
		}
	}
	if err := registry.Register(newCollector(c, o.limits, o.timeout, log)); err != nil {
		return err
	}
	if o.once {
		err := write(p.stdout, registry)
		return errors.Join(err, last)
	}
	return p.serve(ctx, o, registry)
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
func (p *program) serve(ctx context.Context, o options, g prometheus.Gatherer) error {
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
	fmt.Fprintf(p.stdout, "http://%s/metrics\n", ln.Addr())
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
