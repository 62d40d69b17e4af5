package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

var (
	web  = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	dns  = ipvs.ServiceID{Protocol: ipvs.UDP, Addr: netip.MustParseAddrPort("[2001:db8::1]:53")}
	mark = ipvs.Mark(7, ipvs.IPv4)
	rip1 = netip.MustParseAddrPort("10.0.0.2:80")
	rip2 = netip.MustParseAddrPort("10.0.0.3:80")
)

// director returns a kernel with three services, and a client.
func director(t *testing.T) (*ipvstest.Kernel, *ipvs.Client) {
	t.Helper()
	k, c := ipvstest.Start(t, nil)
	ctx := t.Context()
	for _, id := range []ipvs.ServiceID{web, dns, mark} {
		s := ipvs.Service{ID: id, Scheduler: "wlc", Netmask: ipvs.MaskBits(ipvs.IPv4, 32)}
		if id.AddrFamily() == ipvs.IPv6 {
			s.Netmask = ipvs.MaskBits(ipvs.IPv6, 128)
		}
		if err := c.AddService(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	for i, addr := range []netip.AddrPort{rip1, rip2} {
		d := ipvs.NewDestination(addr)
		d.Weight = uint32(i)
		if err := c.AddDestination(ctx, web, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddDestination(ctx, mark, ipvs.NewDestination(rip1)); err != nil {
		t.Fatal(err)
	}
	return k, c
}

// client returns a dialer of a client that stays open.
func client(c *ipvs.Client) dialer {
	return func(context.Context) (*ipvs.Client, func() error, error) { return c, func() error { return nil }, nil }
}

func newTestGatherer(t testing.TB, c *ipvs.Client, l limits) *gatherer {
	t.Helper()
	return newGatherer(t.Context(), client(c), l, 10*time.Second, func(err error) {
		if err != nil {
			t.Log("scrape:", err)
		}
	})
}

// checked is a Gatherer whose series are checked: no two are the same, and those of a family have the same type.
func checked(g *gatherer) prometheus.Gatherer {
	return prometheus.Gatherers{prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, done, err := g.Gather()
		done()
		return families, err
	})}
}

var plenty = limits{services: 1000, destinations: 10000, rates: true}

// value returns a sample of the text format.
func value(t *testing.T, g *gatherer, sample string) string {
	t.Helper()
	for line := range strings.Lines(text(t, g)) {
		if v, ok := strings.CutPrefix(line, sample+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "none"
}

func text(t *testing.T, g *gatherer) string {
	t.Helper()
	families, err := checked(g).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := writeFamilies(&b, families); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestConventions(t *testing.T) {
	_, c := director(t)
	problems, err := testutil.GatherAndLint(checked(newTestGatherer(t, c, plenty)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestValues(t *testing.T) {
	k, c := director(t)
	g := newTestGatherer(t, c, plenty)
	expect := func(want map[string]string) {
		t.Helper()
		for sample, v := range want {
			if got := value(t, g, sample); got != v {
				t.Errorf("%s is %s, want %s", sample, got, v)
			}
		}
	}
	const destination = `{destination="10.0.0.2:80",service="TCP 192.0.2.1:80"}`
	expect(map[string]string{
		"lvs_up":           "1",
		"lvs_services":     "3",
		"lvs_destinations": "3",
		`lvs_service_info{address="192.0.2.1",flags="0",mark="",port="80",protocol="TCP",scheduler="wlc",service="TCP 192.0.2.1:80"}`: "1",
		`lvs_service_info{address="",flags="0",mark="7",port="",protocol="",scheduler="wlc",service="FWM 7"}`:                         "1",
		`lvs_destination_info{destination="10.0.0.2:80",forward="Masq",service="TCP 192.0.2.1:80"}`:                                   "1",
		`lvs_destination_weight{destination="10.0.0.3:80",service="TCP 192.0.2.1:80"}`:                                                "1",
		"lvs_destination_weight" + destination:            "0",
		"lvs_destination_connections_total" + destination: "0",
		`lvs_sync_daemon_running{role="master"}`:          "0",
		"lvs_connection_table_buckets":                    "4096",
	})
	ns := k.Namespace("")
	count := ipvs.Stats{Connections: 1 << 40, InPackets: 6, OutPackets: 5, InBytes: 600, OutBytes: 5000}
	for range 2 { // counters grow, beyond 32 bits
		if err := ns.Count(web, rip1, count); err != nil {
			t.Fatal(err)
		}
		k.Advance(2 * time.Second)
	}
	if err := ns.SetConns(web, rip1, 3, 2, 1); err != nil {
		t.Fatal(err)
	}
	if err := ns.SetConns(web, rip2, 10, 20, 30); err != nil {
		t.Fatal(err)
	}
	if err := c.StartDaemon(t.Context(), ipvs.Daemon{State: ipvs.Backup, Interface: "lo", SyncID: 9}); err != nil {
		t.Fatal(err)
	}
	expect(map[string]string{
		"lvs_destination_connections_total" + destination:                                               "2.199023255552e+12",
		"lvs_destination_outgoing_bytes_total" + destination:                                            "10000",
		`lvs_service_connections_total{service="TCP 192.0.2.1:80"}`:                                     "2.199023255552e+12",
		`lvs_service_incoming_packets_total{service="TCP 192.0.2.1:80"}`:                                "12",
		"lvs_outgoing_packets_total":                                                                    "10",
		`lvs_service_connections{service="TCP 192.0.2.1:80",state="active"}`:                            "13",
		`lvs_service_connections{service="TCP 192.0.2.1:80",state="inactive"}`:                          "22",
		`lvs_service_persistence_templates{service="TCP 192.0.2.1:80"}`:                                 "31",
		`lvs_destination_persistence_templates` + destination:                                           "1",
		`lvs_sync_daemon_running{role="backup"}`:                                                        "1",
		`lvs_sync_daemon_running{role="master"}`:                                                        "0",
		`lvs_scrape_errors_total`:                                                                       "0",
		`lvs_service_connections_total{service="UDP [2001:db8::1]:53"}`:                                 "0",
		`lvs_omitted{kind="service"}`:                                                                   "0",
		`lvs_sync_daemon_info{group="224.0.0.81",interface="lo",port="8848",role="backup",sync_id="9"}`: "1",
	})
	if v := value(t, g, `lvs_service_incoming_bytes_per_second{service="TCP 192.0.2.1:80"}`); v == "0" || v == "none" {
		t.Errorf("the rate is %s", v)
	}
}

// What is beyond the limits is counted, and the sums over destinations are complete.
func TestLimits(t *testing.T) {
	k, c := director(t)
	if err := k.Namespace("").SetConns(web, rip2, 5, 0, 0); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		limits                               limits
		services, destinations               int // with metrics of their own
		omittedServices, omittedDestinations string
	}{
		{plenty, 3, 3, "0", "0"},
		{limits{services: 3, destinations: 1, rates: true}, 3, 1, "0", "2"},
		{limits{services: 1, destinations: 10}, 1, 2, "2", "1"},
		{limits{services: 3}, 3, 0, "0", "3"},
		{limits{}, 0, 0, "3", "3"},
	}
	for _, tt := range tests {
		g := newTestGatherer(t, c, tt.limits)
		all := text(t, g)
		for name, want := range map[string]int{
			"lvs_service_info{":                  tt.services,
			"lvs_service_connections_total{":     tt.services,
			"lvs_destination_info{":              tt.destinations,
			"lvs_destination_connections_total{": tt.destinations,
		} {
			if got := strings.Count(all, "\n"+name); got != want {
				t.Errorf("%+v: %d of %s, want %d", tt.limits, got, name, want)
			}
		}
		if rates := strings.Contains(all, "_per_second"); rates != tt.limits.rates {
			t.Errorf("%+v: rates: %v", tt.limits, rates)
		}
		if got := value(t, g, `lvs_omitted{kind="service"}`); got != tt.omittedServices {
			t.Errorf("%+v: %s services omitted, want %s", tt.limits, got, tt.omittedServices)
		}
		if got := value(t, g, `lvs_omitted{kind="destination"}`); got != tt.omittedDestinations {
			t.Errorf("%+v: %s destinations omitted, want %s", tt.limits, got, tt.omittedDestinations)
		}
		if got := value(t, g, `lvs_service_connections{service="TCP 192.0.2.1:80",state="active"}`); tt.services > 1 && got != "5" {
			t.Errorf("%+v: the service has %s active connections", tt.limits, got)
		}
	}
}

// A kernel that fails is up 0 and counted, and old values are not served.
func TestFailure(t *testing.T) {
	k, c := director(t)
	g := newTestGatherer(t, c, plenty)
	if got := value(t, g, "lvs_up"); got != "1" {
		t.Fatalf("lvs_up is %s", got)
	}
	remove, err := k.Inject(ipvstest.Fault{Op: "list services", Errno: 12})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		all := text(t, g)
		if !strings.Contains(all, "\nlvs_up 0\n") || !strings.Contains(all, fmt.Sprintf("\nlvs_scrape_errors_total %d\n", i)) || strings.Contains(all, "lvs_service") {
			t.Fatalf("after %d failures:\n%s", i, all)
		}
	}
	remove()
	if up, errs := value(t, g, "lvs_up"), value(t, g, "lvs_scrape_errors_total"); up != "1" || errs != "2" {
		t.Fatalf("afterwards: up %s, %s errors", up, errs)
	}
}

// A failure at the end counts, too, and leaves nothing.
func TestFailureAtTheEnd(t *testing.T) {
	_, c := director(t)
	failure := errors.New("no space left")
	var outcome error
	g := newGatherer(t.Context(), func(context.Context) (*ipvs.Client, func() error, error) {
		return c, func() error { return failure }, nil
	}, plenty, time.Minute, func(err error) { outcome = err })
	if all := text(t, g); !strings.Contains(all, "\nlvs_up 0\n") || strings.Contains(all, "lvs_service") || !errors.Is(outcome, failure) {
		t.Errorf("%v, and\n%s", outcome, all)
	}
}
