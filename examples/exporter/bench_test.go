package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// addTable adds 1,000 services with ten destinations each.
func addTable(t testing.TB, c *ipvs.Client) {
	t.Helper()
	var changes []ipvs.Change
	for i := range 1000 {
		id := ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 80)}
		changes = append(changes, ipvs.Change{Kind: ipvs.ServiceAdd, Service: ipvs.Service{ID: id, Scheduler: "wlc", Netmask: ipvs.MaskBits(ipvs.IPv4, 32)}})
		for j := range 10 {
			d := ipvs.NewDestination(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(1 + j)}), 80))
			changes = append(changes, ipvs.Change{Kind: ipvs.DestinationAdd, Service: ipvs.Service{ID: id}, Destination: d})
		}
	}
	if report, err := c.Do(t.Context(), changes); err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
}

// BenchmarkScrape takes the steps of a scrape one by one: reading the table, here from the kernel in memory, which costs more
// than the reading; entering the numbers; and writing them. The whole of it is what Prometheus asks for.
func BenchmarkScrape(b *testing.B) {
	_, c := ipvstest.Start(b, nil)
	addTable(b, c)
	g := newTestGatherer(b, c, plenty)
	if err := c.SnapshotInto(b.Context(), &g.snapshot); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := c.SnapshotInto(b.Context(), &g.snapshot); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("enter new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newPage(plenty).put(ipvs.Info{}, &g.snapshot, ipvs.Stats{})
		}
	})
	b.Run("enter", func(b *testing.B) {
		b.ReportAllocs()
		p := newPage(plenty)
		p.put(ipvs.Info{}, &g.snapshot, ipvs.Stats{})
		for b.Loop() {
			p.clear()
			p.put(ipvs.Info{}, &g.snapshot, ipvs.Stats{})
		}
	})
	b.Run("write", func(b *testing.B) {
		families, done, _ := g.Gather()
		defer done()
		b.ReportAllocs()
		var size int
		for b.Loop() {
			size = 0
			for _, f := range families {
				n, err := expfmt.MetricFamilyToText(io.Discard, f)
				if err != nil {
					b.Fatal(err)
				}
				size += n
			}
		}
		b.ReportMetric(float64(size), "bytes")
	})
	handler := promhttp.HandlerForTransactional(g, promhttp.HandlerOpts{DisableCompression: true})
	for name, encoding := range map[string]string{"whole": "identity", "whole, gzip": "gzip"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept-Encoding", encoding)
			var size int
			for b.Loop() {
				w := httptest.NewRecorder()
				buffered(handler).ServeHTTP(w, r)
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
