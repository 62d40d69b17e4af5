package nstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// askTimeout limits one question to a server. It is long, as no test claims that an answer comes soon.
const askTimeout = 20 * time.Second

// Listen listens for TCP connections inside of the namespace. The listener is closed when the test ends.
func (n *NS) Listen(t testing.TB, addr netip.AddrPort) net.Listener {
	t.Helper()
	var ln net.Listener
	var err error
	n.Do(t, func() {
		var cfg net.ListenConfig
		cfg.SetMultipathTCP(false)
		ln, err = cfg.Listen(context.Background(), "tcp", addr.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// ListenUDP opens a UDP socket inside of the namespace. It is closed when the test ends.
func (n *NS) ListenUDP(t testing.TB, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	var err error
	n.Do(t, func() { conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Dial opens a TCP ("tcp") or UDP ("udp") connection inside of the namespace, from the address and port src unless it is the
// zero value; port 0 is any. The caller closes it. The timeout is 20 seconds.
func (n *NS) Dial(network string, src, dst netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return n.DialContext(ctx, network, src, dst)
}

// DialContext is Dial with the timeout of a context instead of its own.
func (n *NS) DialContext(ctx context.Context, network string, src, dst netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	if src.IsValid() {
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(src)
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(src)
		}
	}
	var conn net.Conn
	var err error
	if doErr := n.do(func() { conn, err = d.DialContext(ctx, network, dst.String()) }); doErr != nil {
		return nil, doErr
	}
	return conn, err
}

// ServeTCP answers every connection with the server's name and a newline, then sends back what comes until the client is
// done. It serves until the test ends.
func (n *NS) ServeTCP(t testing.TB, addr netip.AddrPort, name string) {
	t.Helper()
	ln := n.Listen(t, addr)
	var serving sync.WaitGroup
	var mu sync.Mutex
	conns := make(map[net.Conn]bool)
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			serving.Go(func() {
				_, err := io.WriteString(conn, name+"\n")
				if err == nil {
					_, _ = io.Copy(conn, conn)
				}
				conn.Close()
				mu.Lock()
				delete(conns, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
}

// ServeUDP answers every datagram with the server's name, a space and the datagram, until the test ends.
func (n *NS) ServeUDP(t testing.TB, addr netip.AddrPort, name string) {
	t.Helper()
	conn := n.ListenUDP(t, addr)
	var serving sync.WaitGroup
	serving.Go(func() {
		b := make([]byte, 1<<16)
		for {
			m, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // otherwise an ICMP error of an earlier answer
				_, _ = conn.WriteToUDPAddrPort(append([]byte(name+" "), b[:m]...), from)
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
}

// ServeHTTP answers every request with the handler, or, if it is nil, with the server's name, until the test ends.
func (n *NS) ServeHTTP(t testing.TB, addr netip.AddrPort, name string, handler http.Handler) {
	t.Helper()
	if handler == nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	}
	ln := n.Listen(t, addr)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: askTimeout}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Close()
		serving.Wait()
	})
}

// ask opens a connection for one question.
func (n *NS) ask(network string, src, dst netip.AddrPort) (net.Conn, error) {
	end := time.Now().Add(askTimeout)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	conn, err := n.DialContext(ctx, network, src, dst)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(end); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// AskTCP connects to a server as ServeTCP's, from src unless it is the zero value, and returns the name that it answers.
func (n *NS) AskTCP(src, dst netip.AddrPort) (string, error) {
	conn, err := n.ask("tcp", src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	return line[:len(line)-1], nil
}

// AskUDP sends a datagram to a server as ServeUDP's, from src unless it is the zero value, and returns the name that it
// answers.
func (n *NS) AskUDP(src, dst netip.AddrPort) (string, error) {
	conn, err := n.ask("udp", src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	const question = "who"
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	b := make([]byte, 1<<16)
	m, err := conn.Read(b)
	if err != nil {
		return "", err
	}
	name, ok := strings.CutSuffix(string(b[:m]), " "+question)
	if !ok {
		return "", fmt.Errorf("nstest: answer %q", b[:m])
	}
	return name, nil
}

// HTTPClient returns a client that connects from inside of the namespace, from the address src unless it is the zero value,
// with a new connection for each request.
func (n *NS) HTTPClient(src netip.Addr) *http.Client {
	return &http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				dst, err := netip.ParseAddrPort(addr)
				if err != nil {
					return nil, err
				}
				var from netip.AddrPort
				if src.IsValid() {
					from = netip.AddrPortFrom(src, 0)
				}
				return n.DialContext(ctx, network, from, dst)
			},
		},
	}
}

// AskHTTP gets / of a server as ServeHTTP's and returns the body without its last newline.
func (n *NS) AskHTTP(src netip.Addr, dst netip.AddrPort) (string, error) {
	resp, err := n.HTTPClient(src).Get("http://" + dst.String() + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if len(body) > 0 && body[len(body)-1] == '\n' {
		body = body[:len(body)-1]
	}
	return string(body), nil
}
