package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// once makes the check of a service's first server and returns the error's text.
func once(t *testing.T, check string, addr string) (answer, failure string) {
	t.Helper()
	cfg := parse(t, fmt.Sprintf(`{"defaults": {"interval": "20s", "timeout": "20s"}, "services": [{"service": "FWM 7", "checks": [%s], "real": [{"addr": %q}]}]}`, check, addr))
	s := &cfg.Services[0]
	q := ask(s.Checks[0], s, &s.Real[0], nil, 0)
	o := askOnce(t.Context(), q, newChecker(q))
	if o.key != q.key() || o.took < 0 {
		t.Errorf("outcome %+v", o)
	}
	if o.err != nil {
		failure = o.err.Error()
	}
	return o.answer, failure
}

// expect compares a failure; empty means none.
func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if (want == "") != (got == "") || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestTCPCheck(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_, failure := once(t, `{"type": "tcp"}`, addr)
	expect(t, "open", failure, "")
	ln.Close()
	_, failure = once(t, `{"type": "tcp"}`, addr)
	expect(t, "closed", failure, "refused")
}

func TestHTTPCheck(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/elsewhere":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.Header.Get("X-Test"))
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	tests := map[string]struct{ check, answer, failure string }{
		"plain":          {`{"type": "http"}`, "GET ADDR ", ""},
		"all fields":     {`{"type": "http", "method": "POST", "path": "/x?y", "host": "www.example", "header": {"X-Test": "z"}, "status": "404,200", "body": "^POST"}`, "POST www.example z", ""},
		"status":         {`{"type": "http", "path": "/gone"}`, "", "status 410 is not 200-299"},
		"status allowed": {`{"type": "http", "path": "/gone", "status": "200-299,410"}`, "", ""},
		"no redirects":   {`{"type": "http", "path": "/elsewhere"}`, "", "status 302"},
		"content":        {`{"type": "http", "body": "^y"}`, "", "the content does not match"},
		"too slow":       {`{"type": "http", "path": "/slow", "timeout": "300ms"}`, "", "no answer within 300ms"},
		"no TLS":         {`{"type": "https"}`, "", "HTTP response to HTTPS"},
	}
	for name, tt := range tests {
		addr := plain.Listener.Addr().String()
		answer, failure := once(t, tt.check, addr)
		expect(t, name, failure, tt.failure)
		if want := strings.ReplaceAll(tt.answer, "ADDR", addr); answer != want && want != "" {
			t.Errorf("%s: answer %q, want %q", name, answer, want)
		}
	}
	_, failure := once(t, `{"type": "https"}`, secure.Listener.Addr().String())
	expect(t, "unknown authority", failure, "certificate")
	answer, failure := once(t, `{"type": "https", "insecure": true, "host": "www.example:443"}`, secure.Listener.Addr().String())
	expect(t, "insecure", failure, "")
	if answer != "GET www.example:443 " {
		t.Errorf("answer %q", answer)
	}
}

// serveUDP answers datagrams until the test ends; nil is no answer.
func serveUDP(t *testing.T, answer func([]byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if a := answer(b[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestUDPCheck(t *testing.T) {
	echo := serveUDP(t, func(b []byte) []byte { return append([]byte("got "), b...) })
	silent := serveUDP(t, func([]byte) []byte { return nil })
	for name, tt := range map[string]struct{ check, addr, failure string }{
		"any answer": {`{"type": "udp", "send": "x"}`, echo, ""},
		"match":      {`{"type": "udp", "sendHex": "4142", "expect": "^got AB$"}`, echo, ""},
		"mismatch":   {`{"type": "udp", "send": "x", "expect": "^y"}`, echo, `the answer "got x" does not match "^y"`},
		"silence":    {`{"type": "udp", "send": "x", "timeout": "300ms"}`, silent, "no answer within 300ms"},
		"nobody":     {`{"type": "udp", "send": "x"}`, "127.0.0.1:1", "refused"},
	} {
		_, failure := once(t, tt.check, tt.addr)
		expect(t, name, failure, tt.failure)
	}
}

// dnsReply answers a query with records of the given data.
func dnsReply(query []byte, status byte, kind uint16, data ...[]byte) []byte {
	r := append([]byte(nil), query...)
	r[2] |= dnsResponse
	r[3] = status
	binary.BigEndian.PutUint16(r[6:], uint16(len(data)))
	for _, d := range data {
		r = append(r, 0xc0, dnsHeader)
		r = binary.BigEndian.AppendUint16(r, kind)
		r = append(r, 0, dnsClassIN, 0, 0, 0, 60)
		r = binary.BigEndian.AppendUint16(r, uint16(len(d)))
		r = append(r, d...)
	}
	return r
}

func TestDNSCheck(t *testing.T) {
	v4, v6 := []byte{192, 0, 2, 1}, netip.MustParseAddr("2001:db8::1").AsSlice()
	server := serveUDP(t, func(q []byte) []byte {
		switch name := string(q[dnsHeader+1 : dnsHeader+2]); {
		case name == "n":
			return dnsReply(q, 3, dnsA)
		case name == "e":
			return dnsReply(q, 0, dnsA)
		case name == "c":
			return dnsReply(q, 0, 5, []byte{1, 'x', 0})
		case name == "i":
			r := dnsReply(q, 0, dnsA, v4)
			r[0]++
			return r
		case name == "q":
			return q
		case name == "s":
			return dnsReply(q, 0, dnsA, v4)[:20]
		case q[len(q)-3] == dnsAAAA:
			return dnsReply(q, 0, dnsAAAA, v6)
		}
		return dnsReply(q, 0, dnsA, []byte{192, 0, 2, 9}, v4)
	})
	for name, tt := range map[string]struct{ check, failure string }{
		"A":            {`{"type": "dns", "name": "www.example"}`, ""},
		"this one":     {`{"type": "dns", "name": "www.example.", "answer": "192.0.2.1"}`, ""},
		"another one":  {`{"type": "dns", "name": "www.example.", "answer": "192.0.2.2"}`, "the answer has [192.0.2.9 192.0.2.1] and not 192.0.2.2"},
		"AAAA":         {`{"type": "dns", "name": "www.example", "answer": "2001:db8::1"}`, ""},
		"NXDOMAIN":     {`{"type": "dns", "name": "n.example"}`, "the server answers: no such name"},
		"empty":        {`{"type": "dns", "name": "e.example"}`, "the server has no such record"},
		"only CNAME":   {`{"type": "dns", "name": "c.example"}`, "the server has no such record"},
		"other number": {`{"type": "dns", "name": "i.example"}`, "not an answer to the question"},
		"a question":   {`{"type": "dns", "name": "q.example"}`, "not an answer to the question"},
		"short":        {`{"type": "dns", "name": "s.example"}`, "the answer is cut off"},
	} {
		_, failure := once(t, tt.check, server)
		expect(t, name, failure, tt.failure)
	}
}

func TestDNSQuery(t *testing.T) {
	q, err := dnsQuery(0x1234, "a.bc.", "SOA")
	want := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x06\x00\x01"
	if err != nil || string(q) != want {
		t.Errorf("%q, %v", q, err)
	}
	if q, err := dnsQuery(0, ".", "NS"); err != nil || len(q) != dnsHeader+5 {
		t.Errorf("root: %q, %v", q, err)
	}
	for _, name := range []string{"", "a..b", ".a", strings.Repeat("a", 64), strings.Repeat("abc.", 64)} {
		if _, err := dnsQuery(0, name, "A"); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

// No answer of a server makes the program fall over, and one that is accepted is one to the question.
func FuzzDNSAnswer(f *testing.F) {
	q, err := dnsQuery(7, "www.example", "A")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(dnsReply(q, 0, dnsA, []byte{192, 0, 2, 1}))
	f.Add(dnsReply(q, 3, dnsA))
	f.Add(q)
	f.Fuzz(func(t *testing.T, b []byte) {
		addrs, err := dnsAnswer(7, dnsA, b)
		if err == nil && (binary.BigEndian.Uint16(b) != 7 || b[2]&dnsResponse == 0 || b[3]&15 != 0) || err != nil && addrs != nil && len(b) < dnsHeader {
			t.Errorf("%v, %v of %x", addrs, err, b)
		}
		for _, a := range addrs {
			if !strings.Contains(string(b), string(a.AsSlice())) {
				t.Errorf("%v is not in %x", a, b)
			}
		}
	})
}

func TestCommandCheck(t *testing.T) {
	sh, err := os.Stat("/bin/sh")
	if err != nil || sh.IsDir() {
		t.Skip("there is no /bin/sh")
	}
	for name, tt := range map[string]struct{ script, answer, failure string }{
		"good":              {"echo 5 $1", "5 10.0.0.2:53\n", ""},
		"bad":               {"echo wrong >&2; echo more >&2; exit 3", "", "exit status 3: wrong"},
		"too slow":          {"exec sleep 10", "", "no answer within 300ms"},
		"leaves a child":    {"sleep 10 & echo on", "on\n", ""},
		"a child too, slow": {"sleep 10; echo on", "", "no answer within 300ms"},
	} {
		begin, limit := time.Now(), "9s"
		if strings.HasPrefix(tt.failure, "no answer") {
			limit = "300ms"
		}
		answer, failure := once(t, fmt.Sprintf(`{"type": "command", "command": ["/bin/sh", "-c", %q, "sh", "{addr}:{port}"], "timeout": %q}`, tt.script, limit), "10.0.0.2:53")
		expect(t, name, failure, tt.failure)
		if answer != tt.answer {
			t.Errorf("%s: answer %q, want %q", name, answer, tt.answer)
		}
		if d := time.Since(begin); d > 9*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
	}
	// What a check that takes too long has started ends with it, and lets go of the pipe.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pipe, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	_, failure := once(t, fmt.Sprintf(`{"type": "command", "command": ["/bin/sh", "-c", "sleep 60 3>%s; true"], "timeout": "500ms"}`, fifo), "10.0.0.2:53")
	expect(t, "hangs", failure, "no answer within 500ms")
	if err := pipe.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(pipe); err != nil {
		t.Errorf("what the check has started goes on: %v", err)
	}

	_, failure = once(t, `{"type": "command", "command": ["/nonexistent"]}`, "10.0.0.2:53")
	expect(t, "no program", failure, "no such file")
}

// Servers of several services that have a check in common are asked by one question.
func TestSharedQuestions(t *testing.T) {
	cfg := parse(t, `{"through": {"marks": [50, 59], "sources": ["10.0.0.1"]}, "services": [
		{"service": "TCP 192.0.2.10:80", "forward": "Route", "real": [{"addr": "10.0.0.2:80"}, {"addr": "10.0.0.3:80"}], "checks": [
			{"type": "tcp", "port": 80}, {"type": "command", "command": ["x", "{addr}"]}, {"type": "tcp", "through": "vip"}]},
		{"service": "TCP 192.0.2.10:443", "forward": "Route", "real": [{"addr": "10.0.0.2:443"}], "checks": [
			{"type": "tcp", "port": 80}, {"type": "command", "command": ["x", "{addr}"]}, {"type": "tcp"}]}]}`)
	var e engine
	added, _ := e.load(cfg, nil)
	var got []string
	for _, q := range added {
		got = append(got, q.String())
	}
	want := []string{
		"tcp 10.0.0.2:80", "command x 10.0.0.2", "tcp 192.0.2.10:80 (mark 50)",
		"tcp 10.0.0.3:80", "command x 10.0.0.3", "tcp 192.0.2.10:80 (mark 51)", "tcp 10.0.0.2:443",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// checkFunc is a checker for tests.
type checkFunc func(context.Context) (string, error)

func (f checkFunc) check(ctx context.Context) (string, error) { return f(ctx) }
