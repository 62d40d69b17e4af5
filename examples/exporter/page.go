package main

import (
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/golvs/lvs/ipvs"
)

// limits bound the number of time series.
type limits struct {
	services     int // 0 for none
	destinations int // of all services together, 0 for none
	rates        bool
}

// page is what a scrape gets. All values are new each time, but services and destinations that were there the last time
// keep their samples, so that labels are made only for what is new.
type page struct {
	limits   limits
	families []*dto.MetricFamily // all of them, sorted by name

	scrape, table                row
	scrapeKind, tableKind        kind
	info, daemonInfo             kind
	service, serviceInfo         kind
	destination, destinationInfo kind

	rows         []*serviceRow             // sorted by service
	order        []*ipvs.ServiceSnapshot   // what is being read, sorted
	destinations []*ipvs.DestinationStatus // those of one service
}

func newPage(l limits) *page {
	p := &page{limits: l}
	p.scrapeKind = kind{
		{family: gauge("up", "Whether the kernel's table could be read.")},
		{family: gauge("scrape_duration_seconds", "How long reading the table took.")},
		{family: counter("scrape_errors_total", "How often reading the table or the totals has failed since the exporter was started.")},
	}
	omitted := gauge("omitted", "Services and destinations in the table that have no metrics of their own because of the exporter's limits.")
	running := gauge("sync_daemon_running", "Whether a connection synchronisation daemon of this role runs.")
	p.tableKind = append(kind{
		{family: gauge("connection_table_buckets", "Buckets of the connection hash table; they do not limit the number of connections.")},
		{family: gauge("snapshot_agreed", "Whether the services were read as of one moment, which fails if others keep changing the table.")},
		{family: gauge("services", "Virtual services in the table.")},
		{family: gauge("destinations", "Destinations in the table, of all services together.")},
		{omitted, []*dto.LabelPair{label("kind", "service")}},
		{omitted, []*dto.LabelPair{label("kind", "destination")}},
		{running, []*dto.LabelPair{label("role", ipvs.Master.String())}},
		{running, []*dto.LabelPair{label("role", ipvs.Backup.String())}},
	}, p.stats("", "of the network namespace")...)
	p.info = single("info", "The version of IPVS, always 1.")
	p.daemonInfo = single("sync_daemon_info", "How a running synchronisation daemon is configured, always 1.")
	p.serviceInfo = single("service_info", "How a virtual service is configured, always 1.")
	p.service = append(p.connections("service_", "of a virtual service"), p.stats("service_", "of a virtual service")...)
	p.destinationInfo = single("destination_info", "How a destination is configured, always 1.")
	const ofDestination = "of a destination of a virtual service"
	p.destination = slices.Concat(single("destination_weight", "Weight of a destination; new clients are sent elsewhere if it is 0."),
		p.connections("destination_", ofDestination), p.stats("destination_", ofDestination))

	for _, k := range []kind{p.scrapeKind, p.tableKind, p.info, p.daemonInfo, p.serviceInfo, p.service, p.destinationInfo, p.destination} {
		for _, c := range k {
			if !slices.Contains(p.families, c.family) {
				p.families = append(p.families, c.family)
			}
		}
	}
	slices.SortFunc(p.families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	p.scrape, p.table = p.scrapeKind.row(), p.tableKind.row()
	return p
}

// single is the kind of what has a single gauge.
func single(name, help string) kind { return kind{{family: gauge(name, help)}} }

// connections is the part of a kind that connectionValues is for.
func (p *page) connections(prefix, of string) kind {
	connections := gauge(prefix+"connections", "Connections "+of+" at the moment; all of UDP are inactive.")
	return kind{
		{connections, []*dto.LabelPair{label("state", "active")}},
		{connections, []*dto.LabelPair{label("state", "inactive")}},
		{family: gauge(prefix+"persistence_templates", "Persistence templates "+of+" at the moment: clients that are pinned.")},
	}
}

// stats is the part of a kind that statsValues is for.
func (p *page) stats(prefix, of string) (k kind) {
	var rates kind
	for _, s := range []struct{ name, what string }{
		{"connections", "New connections"},
		{"incoming_packets", "Packets from clients"},
		{"outgoing_packets", "Packets to clients that pass the director"},
		{"incoming_bytes", "Bytes of packets from clients, IP headers included,"},
		{"outgoing_bytes", "Bytes of packets to clients that pass the director, IP headers included,"},
	} {
		k = append(k, column{family: counter(prefix+s.name+"_total", s.what+" "+of+".")})
		rates = append(rates, column{family: gauge(prefix+s.name+"_per_second", s.what+" "+of+", as the kernel's estimator has it, which looks every two seconds.")})
	}
	if p.limits.rates {
		k = append(k, rates...)
	}
	return k
}

// clear takes all samples out.
func (p *page) clear() {
	for _, f := range p.families {
		clear(f.Metric) // or what has gone would be kept in memory
		f.Metric = f.Metric[:0]
	}
}

// filled returns the families that have samples. They hold until the next change of the page.
func (p *page) filled() []*dto.MetricFamily {
	list := make([]*dto.MetricFamily, 0, len(p.families))
	for _, f := range p.families {
		if len(f.Metric) > 0 {
			list = append(list, f)
		}
	}
	return list
}

// putScrape enters what is there in any case.
func (p *page) putScrape(up bool, seconds float64, failures uint64) {
	p.scrapeKind.put(p.scrape, truth(up), seconds, float64(failures))
}

// put enters a table. Which services and destinations have samples of their own does not depend on the kernel's order, which
// changes as services come and go, so that a time series that is there stays.
func (p *page) put(info ipvs.Info, s *ipvs.Snapshot, total ipvs.Stats) {
	p.info.put(p.info.row(label("version", info.Version.String())), 1)
	running := make(map[ipvs.DaemonState]bool)
	for _, d := range s.Daemons {
		running[d.State] = true
		p.daemonInfo.put(p.daemonInfo.row(label("role", d.State.String()), label("interface", d.Interface), label("sync_id", strconv.FormatUint(uint64(d.SyncID), 10)),
			label("group", d.Group.String()), label("port", strconv.Itoa(int(d.Port)))), 1)
	}

	all := 0
	p.order = p.order[:0]
	for i := range s.Services {
		p.order = append(p.order, &s.Services[i])
		all += len(s.Services[i].Destinations)
	}
	slices.SortFunc(p.order, func(a, b *ipvs.ServiceSnapshot) int { return a.ID.Compare(b.ID) })
	shown := p.order[:min(len(p.order), p.limits.services)]
	p.rows = follow(p.rows, shown, func(r *serviceRow, s *ipvs.ServiceSnapshot) int { return r.id.Compare(s.ID) }, p.newServiceRow)
	sent := 0
	for i, s := range shown {
		sent += p.putService(p.rows[i], s, p.limits.destinations-sent)
	}

	values := append(make([]float64, 0, 18), float64(info.ConnTabSize), truth(s.Agreed), float64(len(s.Services)), float64(all),
		float64(len(s.Services)-len(shown)), float64(all-sent), truth(running[ipvs.Master]), truth(running[ipvs.Backup]))
	p.tableKind.put(p.table, statsValues(values, total)...)
}

// connectionValues appends the values for what connections describes.
func connectionValues(v []float64, active, inactive, templates uint64) []float64 {
	return append(v, float64(active), float64(inactive), float64(templates))
}

// statsValues appends the values for what stats describes, those of rates at the end.
func statsValues(v []float64, s ipvs.Stats) []float64 {
	return append(v,
		float64(s.Connections), float64(s.InPackets), float64(s.OutPackets), float64(s.InBytes), float64(s.OutBytes),
		float64(s.ConnectionRate), float64(s.InPacketRate), float64(s.OutPacketRate), float64(s.InByteRate), float64(s.OutByteRate))
}

// follow returns the rows of a list, in its order: old ones where there are some, and new ones. Both lists are sorted.
func follow[R, T any](old []R, list []T, compare func(R, T) int, fresh func(T) R) []R {
	same := func(r R, t T) bool { return compare(r, t) == 0 }
	if slices.EqualFunc(old, list, same) {
		return old
	}
	rows := make([]R, 0, len(list))
	for _, t := range list {
		for len(old) > 0 && compare(old[0], t) < 0 {
			old = old[1:]
		}
		if len(old) > 0 && same(old[0], t) {
			rows, old = append(rows, old[0]), old[1:]
		} else {
			rows = append(rows, fresh(t))
		}
	}
	return rows
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
