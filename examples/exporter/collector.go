package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/golvs/lvs/ipvs"
)

// limits bound the number of time series.
type limits struct {
	services     int // 0 for none
	destinations int // of all services together, 0 for none
	rates        bool
}

// collector reads the table at each scrape. It keeps no values of its own: counters are the kernel's.
type collector struct {
	client  *ipvs.Client
	limits  limits
	timeout time.Duration
	log     func(error)
	errors  atomic.Uint64

	up, duration, failures                *prometheus.Desc
	info, buckets, services, destinations *prometheus.Desc
	omitted, agreed                       *prometheus.Desc
	daemon, daemonInfo                    *prometheus.Desc
	total, service, destination           statsDescs
	serviceInfo                           *prometheus.Desc
	serviceConns                          connsDescs
	destinationInfo, weight               *prometheus.Desc
	destinationConns                      connsDescs
}

// statsDescs describe the counters and rates of one kind of thing, in the order of statsValues.
type statsDescs struct{ counters, rates []*prometheus.Desc }

// connsDescs describe what a thing has at the moment.
type connsDescs struct{ connections, templates *prometheus.Desc }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lvs_"+name, help, labels, nil)
}

func newCollector(c *ipvs.Client, l limits, timeout time.Duration, log func(error)) *collector {
	service := []string{"service"}
	destination := []string{"service", "destination"}
	return &collector{
		client: c, limits: l, timeout: timeout, log: log,
		up:       desc("up", "Whether the kernel's table could be read."),
		duration: desc("scrape_duration_seconds", "How long reading the table took."),
		failures: desc("scrape_errors_total", "How often reading the table or the totals has failed since the exporter was started."),
		info:     desc("info", "The version of IPVS, always 1.", "version"),
		buckets:  desc("connection_table_buckets", "Buckets of the connection hash table; they do not limit the number of connections."),
		services: desc("services", "Virtual services in the table."),
		destinations: desc("destinations",
			"Destinations in the table, of all services together."),
		omitted: desc("omitted", "Services and destinations in the table that have no metrics of their own because of the exporter's limits.", "kind"),
		agreed:  desc("snapshot_agreed", "Whether the services were read as of one moment, which fails if others keep changing the table."),
		daemon:  desc("sync_daemon_running", "Whether a connection synchronisation daemon of this role runs.", "role"),
		daemonInfo: desc("sync_daemon_info", "How a running synchronisation daemon is configured, always 1.",
			"role", "interface", "sync_id", "group", "port"),
		total:            newStatsDescs("", "of the network namespace"),
		service:          newStatsDescs("service_", "of a virtual service", service...),
		destination:      newStatsDescs("destination_", "of a destination of a virtual service", destination...),
		serviceInfo:      desc("service_info", "How a virtual service is configured, always 1.", "service", "protocol", "address", "port", "mark", "scheduler", "flags"),
		serviceConns:     newConnsDescs("service_", "of a virtual service", service...),
		destinationInfo:  desc("destination_info", "How a destination is configured, always 1.", "service", "destination", "forward"),
		weight:           desc("destination_weight", "Weight of a destination; new clients are sent elsewhere if it is 0.", destination...),
		destinationConns: newConnsDescs("destination_", "of a destination of a virtual service", destination...),
	}
}

func newStatsDescs(prefix, of string, labels ...string) (d statsDescs) {
	for _, s := range []struct{ name, what string }{
		{"connections", "New connections"},
		{"incoming_packets", "Packets from clients"},
		{"outgoing_packets", "Packets to clients that pass the director"},
		{"incoming_bytes", "Bytes of packets from clients, IP headers included,"},
		{"outgoing_bytes", "Bytes of packets to clients that pass the director, IP headers included,"},
	} {
		d.counters = append(d.counters, desc(prefix+s.name+"_total", s.what+" "+of+".", labels...))
		d.rates = append(d.rates, desc(prefix+s.name+"_per_second", s.what+" "+of+", as the kernel's estimator has it, which looks every two seconds.", labels...))
	}
	return d
}

func newConnsDescs(prefix, of string, labels ...string) connsDescs {
	return connsDescs{
		connections: desc(prefix+"connections", "Connections "+of+" at the moment; all of UDP are inactive.", append(slices.Clone(labels), "state")...),
		templates:   desc(prefix+"persistence_templates", "Persistence templates "+of+" at the moment: clients that are pinned.", labels...),
	}
}

// Describe sends all descriptions.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	list := []*prometheus.Desc{
		c.up, c.duration, c.failures, c.info, c.buckets, c.services, c.destinations, c.omitted, c.agreed, c.daemon, c.daemonInfo,
		c.serviceInfo, c.serviceConns.connections, c.serviceConns.templates,
		c.destinationInfo, c.weight, c.destinationConns.connections, c.destinationConns.templates,
	}
	for _, s := range []statsDescs{c.total, c.service, c.destination} {
		list = append(append(list, s.counters...), s.rates...)
	}
	for _, d := range list {
		ch <- d
	}
}

// Collect reads the kernel and sends what it finds. After an error there is up 0, and no value that could be an old one.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	begin := time.Now()
	up := 1.0
	if err := c.collect(ctx, ch); err != nil {
		c.errors.Add(1)
		c.log(err)
		up = 0
	}
	gauge(ch, c.up, up)
	gauge(ch, c.duration, time.Since(begin).Seconds())
	counter(ch, c.failures, c.errors.Load())
}

func (c *collector) collect(ctx context.Context, ch chan<- prometheus.Metric) error {
	info, err := c.client.Info(ctx)
	if err != nil {
		return err
	}
	s, err := c.client.Snapshot(ctx)
	if err != nil {
		return err
	}
	stats, err := c.client.KernelStats(ctx)
	if err != nil {
		return err
	}
	gauge(ch, c.info, 1, info.Version.String())
	gauge(ch, c.buckets, float64(info.ConnTabSize))
	gauge(ch, c.agreed, truth(s.Agreed))
	c.stats(ch, c.total, stats.Total)
	c.daemons(ch, s.Daemons)
	c.table(ch, s.Services)
	return nil
}

func (c *collector) daemons(ch chan<- prometheus.Metric, list []ipvs.Daemon) {
	for _, role := range []ipvs.DaemonState{ipvs.Master, ipvs.Backup} {
		running := false
		for _, d := range list {
			if d.State != role {
				continue
			}
			running = true
			gauge(ch, c.daemonInfo, 1, role.String(), d.Interface, strconv.FormatUint(uint64(d.SyncID), 10), d.Group.String(), strconv.Itoa(int(d.Port)))
		}
		gauge(ch, c.daemon, truth(running), role.String())
	}
}

// table sends services and destinations up to the limits. Which ones those are does not depend on the kernel's order, which
// changes as services come and go, so that a time series that is there stays.
func (c *collector) table(ch chan<- prometheus.Metric, list []ipvs.ServiceSnapshot) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b ipvs.ServiceSnapshot) int { return a.ID.Compare(b.ID) })
	all, sent := 0, 0
	for i, s := range list {
		all += len(s.Destinations)
		if i >= c.limits.services {
			continue
		}
		name := s.ID.String()
		c.one(ch, name, s)
		dests := slices.Clone(s.Destinations)
		slices.SortFunc(dests, func(a, b ipvs.DestinationStatus) int { return a.Addr.Compare(b.Addr) })
		dests = dests[:min(len(dests), c.limits.destinations-sent)]
		sent += len(dests)
		for _, d := range dests {
			addr := d.Addr.String()
			gauge(ch, c.destinationInfo, 1, name, addr, d.Forward.String())
			gauge(ch, c.weight, float64(d.Weight), name, addr)
			gauge(ch, c.destinationConns.connections, float64(d.Active), name, addr, "active")
			gauge(ch, c.destinationConns.connections, float64(d.Inactive), name, addr, "inactive")
			gauge(ch, c.destinationConns.templates, float64(d.Persistent), name, addr)
			c.stats(ch, c.destination, d.Stats, name, addr)
		}
	}
	gauge(ch, c.services, float64(len(list)))
	gauge(ch, c.destinations, float64(all))
	gauge(ch, c.omitted, float64(max(0, len(list)-c.limits.services)), "service")
	gauge(ch, c.omitted, float64(all-sent), "destination")
}

// one sends a service, with the sums over all of its destinations.
func (c *collector) one(ch chan<- prometheus.Metric, name string, s ipvs.ServiceSnapshot) {
	protocol, addr, port, mark := s.ID.Protocol.String(), s.ID.Addr.Addr().String(), strconv.Itoa(int(s.ID.Addr.Port())), ""
	if s.ID.IsMark() {
		protocol, addr, port, mark = "", "", "", strconv.FormatUint(uint64(s.ID.FWMark), 10)
	}
	gauge(ch, c.serviceInfo, 1, name, protocol, addr, port, mark, s.Scheduler, s.Flags.String())
	var active, inactive, templates uint64
	for _, d := range s.Destinations {
		active += uint64(d.Active)
		inactive += uint64(d.Inactive)
		templates += uint64(d.Persistent)
	}
	gauge(ch, c.serviceConns.connections, float64(active), name, "active")
	gauge(ch, c.serviceConns.connections, float64(inactive), name, "inactive")
	gauge(ch, c.serviceConns.templates, float64(templates), name)
	c.stats(ch, c.service, s.Stats, name)
}

func (c *collector) stats(ch chan<- prometheus.Metric, d statsDescs, s ipvs.Stats, labels ...string) {
	for i, v := range [...]uint64{s.Connections, s.InPackets, s.OutPackets, s.InBytes, s.OutBytes} {
		counter(ch, d.counters[i], v, labels...)
	}
	if !c.limits.rates {
		return
	}
	for i, v := range [...]uint64{s.ConnectionRate, s.InPacketRate, s.OutPacketRate, s.InByteRate, s.OutByteRate} {
		gauge(ch, d.rates[i], float64(v), labels...)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- metric(d, prometheus.GaugeValue, v, labels)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	ch <- metric(d, prometheus.CounterValue, float64(v), labels)
}

func metric(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) prometheus.Metric {
	m, err := prometheus.NewConstMetric(d, kind, v, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, fmt.Errorf("labels %q: %w", labels, err))
	}
	return m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
