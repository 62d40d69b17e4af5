// Program exporter serves the IPVS table of this director to Prometheus: counters and rates of services and destinations,
// connections, the synchronisation daemons.
//
//	go -C examples/exporter run . -once                       prints the metrics
//	go -C examples/exporter run .                             serves http://127.0.0.1:9763/metrics
//	go -C examples/exporter run . -listen 10.0.0.1:9763       on another address, for everybody who reaches it
//	LVS_KERNEL=memory:/tmp/k go -C examples/exporter run .    for an in-memory kernel that keeps its state in /tmp/k
//
// Every service and every destination makes some fifteen time series. -max-services and -max-destinations bound them, and
// lvs_omitted counts what has none; -max-destinations 0 leaves destinations out. Services have the sums of connections over
// all of their destinations in any case, as the whole table is read whatever the limits are. -rates=false leaves out the
// kernel's own rates, as rate() in Prometheus tells nearly the same.
//
// A table that cannot be read, or not within -timeout, is lvs_up 0 and nothing else, a line on standard error when that
// begins or its reason changes, and another attempt at the next scrape: IPVS need not be there yet. Scrapes at the same time
// share one look at the table. SIGINT and SIGTERM let a scrape that is under way finish, within a second.
//
// The file dashboard.json beside this program is for Grafana: Dashboards, New, Import. Reading the table needs CAP_NET_ADMIN.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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
	flags := flag.NewFlagSet("exporter", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:9763", "`address` and port to serve on")
	flags.DurationVar(&o.timeout, "timeout", 8*time.Second, "`time` that reading the table may take")
	flags.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	flags.BoolVar(&o.once, "once", false, "print the metrics and end, with status 1 if the table could not be read")
	flags.IntVar(&o.limits.services, "max-services", 1000, "`number` of services with metrics of their own")
	flags.IntVar(&o.limits.destinations, "max-destinations", 10000, "`number` of destinations with metrics of their own")
	flags.BoolVar(&o.limits.rates, "rates", true, "the kernel's rates too")
	if status, done := e.Parse("", flags, args, o.check); done {
		return status
	}
	dial := func(ctx context.Context) (*ipvs.Client, func() error, error) {
		return ipvstest.Dial(ctx, e.Kernel, &ipvs.Config{NetNS: o.netns})
	}
	if o.once {
		return e.Report(once(ctx, e.Stdout, dial, o))
	}
	if err := try(ctx, dial, o.timeout); err != nil {
		return e.Report(err)
	}
	return e.Report(serve(ctx, e, dial, o))
}

// check judges the flags.
func (o *options) check() error {
	switch {
	case o.timeout <= 0:
		return fmt.Errorf("-timeout %v is not above 0", o.timeout)
	case o.limits.services < 0:
		return fmt.Errorf("-max-services %d is below 0", o.limits.services)
	case o.limits.destinations < 0:
		return fmt.Errorf("-max-destinations %d is below 0", o.limits.destinations)
	}
	_, port, err := net.SplitHostPort(o.listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("-listen %q is not an address and a port", o.listen)
	}
	return nil
}

// once prints the metrics.
func once(ctx context.Context, w io.Writer, dial dialer, o options) error {
	var outcome error
	g := newGatherer(ctx, dial, o.limits, o.timeout, func(err error) { outcome = err })
	err := write(w, g)
	return errors.Join(err, outcome)
}

// write writes the metrics in Prometheus's text format.
func write(w io.Writer, g prometheus.TransactionalGatherer) error {
	families, done, err := g.Gather()
	defer done()
	if err != nil {
		return err
	}
	return writeFamilies(w, families)
}

func writeFamilies(w io.Writer, families []*dto.MetricFamily) error {
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// try reports what another scrape would not mend: a namespace that is not there, a missing privilege. IPVS may come later.
func try(ctx context.Context, dial dialer, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, done, err := dial(ctx)
	if err == nil {
		_, err = c.Info(ctx)
		err = errors.Join(err, done())
	}
	if errors.Is(err, ipvs.ErrModule) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
