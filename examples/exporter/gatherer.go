package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/golvs/lvs/ipvs"
)

// dialer opens a client of the kernel, and returns what closes it.
type dialer func(context.Context) (*ipvs.Client, func() error, error)

// gatherer reads the kernel at each scrape, with a client of its own, so that nothing of one scrape is in the way of the next:
// the module may go and come back, and the network namespace too. Between scrapes it keeps labels and memory, no values.
//
// It serves scrapes itself, without a registry, which would make, check and sort each sample anew.
type gatherer struct {
	ctx     context.Context // ends every read
	dial    dialer
	timeout time.Duration
	log     func(error) // told the outcome of each scrape, nil if it is a good one

	mu       sync.Mutex // held from Gather until its page has been written
	page     *page
	snapshot ipvs.Snapshot
	failures uint64
}

var _ prometheus.TransactionalGatherer = (*gatherer)(nil)

func newGatherer(ctx context.Context, dial dialer, l limits, timeout time.Duration, log func(error)) *gatherer {
	return &gatherer{ctx: ctx, dial: dial, timeout: timeout, log: log, page: newPage(l)}
}

// Gather reads the kernel. After an error there is up 0, and no value that could be an old one. The families hold until the
// returned function is called, which has to be; another Gather waits for that.
func (g *gatherer) Gather() ([]*dto.MetricFamily, func(), error) {
	g.mu.Lock()
	g.page.clear()
	begin := time.Now()
	err := g.read()
	if err != nil {
		g.failures++
		g.page.clear()
	}
	g.log(err)
	g.page.putScrape(err == nil, time.Since(begin).Seconds(), g.failures)
	return g.page.filled(), g.mu.Unlock, nil
}

func (g *gatherer) read() (err error) {
	ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
	defer cancel()
	c, done, err := g.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	if err := c.SnapshotInto(ctx, &g.snapshot); err != nil {
		return err
	}
	stats, err := c.KernelStats(ctx)
	if err != nil {
		return err
	}
	g.page.put(info, &g.snapshot, stats.Total)
	return nil
}
