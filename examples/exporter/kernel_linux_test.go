package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// TestKernelScrape scrapes 10,000 destinations of 1,000 services over HTTP, and prints what that took. Where instructions are
// counted as time, by "vm -icount" and LVS_ICOUNT=1, a nanosecond is one instruction of the kernel, the exporter and this client
// together.
//
//	CGO_ENABLED=0 go -C examples/exporter test -exec "$PWD/bin/vm -kernel 6.12" -run '^TestKernel' -v .
//	LVS_ICOUNT=1 CGO_ENABLED=0 go -C examples/exporter test -exec "$PWD/bin/vm -kernel 6.12 -icount" -run '^TestKernel' -v .
func TestKernelScrape(t *testing.T) {
	nstest.RequireKernel(t)
	unit := "ms"
	if os.Getenv("LVS_ICOUNT") == "1" {
		unit = "million instructions"
	}
	ns := nstest.New(t)
	dial := func(ctx context.Context) (*ipvs.Client, func() error, error) {
		return ipvstest.Dial(ctx, "", &ipvs.Config{NetNS: ns.Path()})
	}
	c, done, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addTable(t, c)
	if err := done(); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dial, time.Minute)
	for _, encoding := range []string{"identity", "gzip"} {
		var best, read, first time.Duration
		var size int
		for i := range 4 {
			begin := time.Now()
			sent, compressed := s.fetch(t, encoding)
			took := time.Since(begin)
			body := plain(t, sent, compressed)
			if n := strings.Count(body, "\nlvs_destination_connections_total{"); n != 10000 {
				t.Fatalf("%d destinations", n)
			}
			if i == 0 {
				first = took
			} else if best == 0 || took < best {
				best, size = took, len(sent)
				_, after, _ := strings.Cut(body, "\nlvs_scrape_duration_seconds ")
				line, _, _ := strings.Cut(after, "\n")
				seconds, err := strconv.ParseFloat(line, 64)
				if err != nil {
					t.Fatal(err)
				}
				read = time.Duration(seconds * float64(time.Second))
			}
		}
		t.Logf("exporter: 10,000 destinations of 1,000 services, %s: %d bytes, %d %s, of which reading and entering the table %d; the first scrape %d",
			encoding, size, best.Milliseconds(), unit, read.Milliseconds(), first.Milliseconds())
	}
	s.interrupt()
	s.expectEnd(t)
}
