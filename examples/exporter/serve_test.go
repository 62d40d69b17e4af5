package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// server is an exporter that serves.
type server struct {
	url       string
	interrupt func()
	ended     chan error
	messages  *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func startServer(t *testing.T, dial dialer, timeout time.Duration) *server {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	r, w := io.Pipe()
	s := &server{interrupt: interrupt, ended: make(chan error, 1), messages: new(safeBuffer)}
	e := &setup.Env{Name: "exporter", Stdout: w, Stderr: s.messages}
	go func() {
		s.ended <- serve(ctx, e, dial, options{listen: "127.0.0.1:0", timeout: timeout, limits: plenty})
	}()
	line := make([]byte, 200)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	s.url = strings.TrimSpace(string(line[:n]))
	return s
}

// get scrapes.
func (s *server) get() (status int, body string, err error) {
	resp, err := http.Get(s.url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (s *server) expect(t *testing.T, lines ...string) {
	t.Helper()
	status, body, err := s.get()
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	for _, want := range lines {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Fatalf("no %s in\n%s", want, body)
		}
	}
}

func (s *server) expectEnd(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("an interrupt does not end it")
	}
}

// Without IPVS the program lives, says so once, and finds it when it comes.
func TestServeWithoutIPVS(t *testing.T) {
	none, err := ipvstest.New(&ipvstest.Config{NoModule: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = none.Close() })
	k, _ := ipvstest.Start(t, nil)
	var kernel atomic.Pointer[ipvstest.Kernel]
	kernel.Store(none)
	dial := func(ctx context.Context) (*ipvs.Client, func() error, error) {
		c, err := kernel.Load().Client()
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	if err := try(t.Context(), dial, time.Second); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dial, 5*time.Second)
	s.expect(t, "lvs_up 0", "lvs_scrape_errors_total 1")
	s.expect(t, "lvs_up 0", "lvs_scrape_errors_total 2")
	kernel.Store(k)
	s.expect(t, "lvs_up 1", "lvs_services 0", "lvs_scrape_errors_total 2")
	k.ReloadModule()
	s.expect(t, "lvs_up 1")
	kernel.Store(none)
	s.expect(t, "lvs_up 0")
	s.interrupt()
	s.expectEnd(t)
	const failure, hint, again = "exporter: ipvs: ", "exporter: load the module", "exporter: the table can be read again\n"
	got := s.messages.String()
	if strings.Count(got, failure) != 2 || strings.Count(got, hint) != 2 || strings.Count(got, again) != 1 {
		t.Errorf("it says:\n%s", got)
	}
}

// stuck returns a dialer of a kernel that does not answer before the returned function is called, and a channel that tells
// of each scrape.
func stuck(t *testing.T) (dial dialer, asked chan struct{}, release func()) {
	t.Helper()
	_, c := director(t)
	asked = make(chan struct{}, 100)
	free := make(chan struct{})
	return func(ctx context.Context) (*ipvs.Client, func() error, error) {
		asked <- struct{}{}
		select {
		case <-free:
			return client(c)(ctx)
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}, asked, sync.OnceFunc(func() { close(free) })
}

// A kernel that stops in the middle of an answer is up 0 after the timeout, and the program lives.
func TestServeTimeout(t *testing.T) {
	k, c := ipvstest.Start(t, nil)
	addTable(t, c)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	remove, err := k.Inject(ipvstest.Fault{Op: "list services", MidDump: func() { <-free }})
	if err != nil {
		t.Fatal(err)
	}
	short, long := 100*time.Millisecond, time.Minute
	s := startServer(t, client(c), short)
	s.expect(t, "lvs_up 0", "lvs_scrape_errors_total 1")
	if got := s.messages.String(); !strings.Contains(got, context.DeadlineExceeded.Error()) {
		t.Errorf("it says:\n%s", got)
	}
	s.interrupt()
	s.expectEnd(t)
	release()
	remove()
	startServer(t, client(c), long).expect(t, "lvs_up 1")
}

// Scrapes at the same time share one look at the table.
func TestServeTogether(t *testing.T) {
	dial, asked, release := stuck(t)
	s := startServer(t, dial, 10*time.Second)
	const n = 5
	var wg sync.WaitGroup
	var good atomic.Int64
	scrape := func() {
		if status, body, err := s.get(); err == nil && status == http.StatusOK && strings.Contains(body, "\nlvs_services 3\n") {
			good.Add(1)
		}
	}
	wg.Go(scrape)
	<-asked
	for range n - 1 {
		wg.Go(scrape)
	}
	time.Sleep(100 * time.Millisecond) // or the others would come after it
	release()
	wg.Wait()
	if good.Load() != n || len(asked) > 0 {
		t.Errorf("%d good scrapes of %d, with %d looks at the table", good.Load(), n, 1+len(asked))
	}
}

// Scrapes, in any number at a time, are whole while the table changes.
func TestServeManyTimes(t *testing.T) {
	_, c := director(t)
	s := startServer(t, client(c), 10*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	var changing, scraping sync.WaitGroup
	changing.Go(func() {
		for ctx.Err() == nil {
			_ = c.DeleteDestination(ctx, web, rip1)
			_ = c.AddDestination(ctx, web, ipvs.NewDestination(rip1))
			_ = c.DeleteService(ctx, mark)
			_ = c.AddService(ctx, ipvs.Service{ID: mark, Scheduler: "rr", Netmask: ipvs.MaskBits(ipvs.IPv4, 32)})
		}
	})
	for range 4 {
		scraping.Go(func() {
			parser := expfmt.NewTextParser(model.UTF8Validation)
			for range 25 {
				status, body, err := s.get()
				if err != nil || status != http.StatusOK {
					t.Errorf("status %d, %v", status, err)
					return
				}
				if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil || !strings.Contains(body, "\nlvs_up 1\n") {
					t.Errorf("%v in\n%s", err, body)
					return
				}
			}
		})
	}
	scraping.Wait()
	cancel()
	changing.Wait()
}

// An interrupt lets a scrape finish, and does not wait for a kernel that does not answer.
func TestServeInterrupt(t *testing.T) {
	for name, answers := range map[string]bool{"the kernel answers": true, "the kernel does not": false} {
		t.Run(name, func(t *testing.T) {
			dial, asked, release := stuck(t)
			s := startServer(t, dial, time.Minute)
			type result struct {
				status int
				body   string
				err    error
			}
			got := make(chan result, 1)
			go func() {
				status, body, err := s.get()
				got <- result{status, body, err}
			}()
			<-asked
			s.interrupt()
			want := "\nlvs_up 0\n"
			if answers {
				time.Sleep(50 * time.Millisecond)
				release()
				want = "\nlvs_up 1\n"
			}
			s.expectEnd(t)
			if r := <-got; r.err != nil || r.status != http.StatusOK || !strings.Contains(r.body, want) {
				t.Errorf("the scrape got status %d, %v, want %q in\n%s", r.status, r.err, want, r.body)
			}
			if _, _, err := s.get(); err == nil {
				t.Error("it still serves")
			}
		})
	}
}

// A client that does not fetch what it asked for keeps neither others nor the end waiting.
func TestServeSlowClient(t *testing.T) {
	_, c := ipvstest.Start(t, nil)
	addTable(t, c)
	s := startServer(t, client(c), 10*time.Second)
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "lvs_up 1", "lvs_services 1000")
	s.interrupt()
	s.expectEnd(t)
}

// What is sent is compressed for those who take it.
func TestServeCompressed(t *testing.T) {
	_, c := director(t)
	s := startServer(t, client(c), 10*time.Second)
	for accept, want := range map[string]bool{"gzip": true, "deflate, GZIP;q=0.5": true, "identity": false, "gzip;q=0": false, "": false} {
		sent, compressed := s.fetch(t, accept)
		if text := plain(t, sent, compressed); compressed != want || !strings.Contains(text, "\nlvs_up 1\n") {
			t.Errorf("Accept-Encoding %q: compressed: %v, want %v\n%s", accept, compressed, want, text)
		}
	}
}

// fetch scrapes as a client that accepts these encodings, and returns what was sent.
func (s *server) fetch(t *testing.T, accept string) (sent []byte, compressed bool) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", accept)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	sent, err = io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return sent, resp.Header.Get("Content-Encoding") == "gzip"
}

func plain(t *testing.T, sent []byte, compressed bool) string {
	t.Helper()
	if !compressed {
		return string(sent)
	}
	z, err := gzip.NewReader(bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
