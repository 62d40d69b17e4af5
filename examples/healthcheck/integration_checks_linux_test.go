package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
)

// kind is a service whose real servers are checked in one way.
type kind struct {
	id    ipvs.ServiceID
	check string // as the configuration has it

	// reaction is what a dead server may go on getting clients for: fall intervals and a second.
	reaction time.Duration

	// serve starts the program of real server i, with its name, until it is closed.
	serve func(i int) io.Closer

	// ask is a client's question to the service; the answer is the name of the real server.
	ask func() (string, error)
}

// Checks by DNS, UDP, HTTPS with a certificate that is verified, and a command, of one program. The program of a real server
// ends, and later the machine is gone without a word: its clients go elsewhere in time, and when it is back it has its weight.
func TestIntegrationICountChecks(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{})
	client := lab.Clients[0].NS
	name := func(i int) string { return fmt.Sprint("rs", i) }
	rs := func(i int, port uint16) (*nstest.NS, netip.AddrPort) {
		return lab.RealServers[i].NS, netip.AddrPortFrom(lab.RealServers[i].Addr, port)
	}
	virtual := func(p ipvs.Protocol, port uint16) ipvs.ServiceID {
		return ipvs.ServiceID{Protocol: p, Addr: netip.AddrPortFrom(lab.VIP, port)}
	}
	// A port of its own for each datagram: for some minutes another one from the same port would go to the same server.
	asks := uint16(0)
	from := func() netip.AddrPort { asks++; return netip.AddrPortFrom(lab.Clients[0].Addr, 20000+asks) }
	cert, authority := certificate(t, "www.example")
	web := client.HTTPClient(netip.Addr{})
	web.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ServerName: "www.example", RootCAs: x509.NewCertPool()}
	web.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(cert.Leaf)

	dns, udp, https, command := virtual(ipvs.UDP, 53), virtual(ipvs.UDP, 514), virtual(ipvs.TCP, 443), virtual(ipvs.TCP, 25)
	// A handshake and a new process are much work for an emulated processor: those checks are made once a second.
	const slow = fall*time.Second + time.Second
	kinds := []kind{
		{dns, `{"type": "dns", "name": "www.example"}`, reaction, func(i int) io.Closer {
			ns, addr := rs(i, 53)
			return answerUDP(t, ns, addr, func(query []byte) []byte { return dnsReply(query, 0, dnsA, []byte{192, 0, 2, byte(i)}) })
		}, func() (string, error) {
			query, err := dnsQuery(7, "www.example", "A")
			if err != nil {
				return "", err
			}
			answer, err := exchange(client, from(), dns.Addr, query)
			if err != nil {
				return "", err
			}
			addrs, err := dnsAnswer(7, dnsA, answer)
			if err != nil {
				return "", err
			}
			return name(int(addrs[0].As4()[3])), nil
		}},
		{udp, `{"type": "udp", "send": "ping", "expect": "^rs. ping$"}`, reaction, func(i int) io.Closer {
			ns, addr := rs(i, 514)
			return answerUDP(t, ns, addr, func(b []byte) []byte { return append([]byte(name(i)+" "), b...) })
		}, func() (string, error) { return client.AskUDP(from(), udp.Addr) }},
		{https, `{"type": "https", "host": "www.example", "path": "/health", "body": "rs", "interval": "1s", "timeout": "700ms"}`, slow, func(i int) io.Closer {
			ns, addr := rs(i, 443)
			quiet := log.New(io.Discard, "", 0) // of checks that its end interrupts
			s := &http.Server{ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, name(i))
			})}
			ln := tls.NewListener(ns.Listen(t, addr), &tls.Config{Certificates: []tls.Certificate{cert}})
			go func() { _ = s.Serve(ln) }()
			return s
		}, func() (string, error) {
			resp, err := web.Get("https://" + https.Addr.String() + "/")
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return string(body), err
		}},
		{command, `{"type": "command", "command": ["/proc/self/exe", "connect", "{addr}:{port}"], "interval": "1s", "timeout": "700ms"}`,
			slow, func(i int) io.Closer {
				ns, addr := rs(i, 25)
				ln := ns.Listen(t, addr)
				go func() {
					for {
						conn, err := ln.Accept()
						if errors.Is(err, net.ErrClosed) {
							return
						}
						if err == nil {
							_, _ = fmt.Fprintln(conn, name(i))
							_ = conn.Close()
						}
					}
				}()
				return ln
			}, func() (string, error) { return client.AskTCP(netip.AddrPort{}, command.Addr) }},
	}
	var services []string
	programs := make([]io.Closer, len(kinds)) // of the first real server
	for n, k := range kinds {
		_, first := rs(0, k.id.Addr.Port())
		_, second := rs(1, k.id.Addr.Port())
		services = append(services, fmt.Sprintf(`{"service": "%v", "scheduler": "wrr", "checks": [%s], "real": [
			{"addr": "%v", "weight": 3}, {"addr": "%v", "checks": []}]}`, // the second one is always up
			k.id, k.check, first, second))
		programs[n] = k.serve(0)
		t.Cleanup(func() { _ = programs[n].Close() })
		other := k.serve(1)
		t.Cleanup(func() { _ = other.Close() })
	}
	file, _ := configFile(t, fmt.Sprintf(`{"defaults": {"interval": "%v", "timeout": "500ms", "rise": 1, "fall": %d}, "services": [%s]}`,
		interval, fall, strings.Join(services, ",\n")))
	d := newDirector(t, lab.Director)
	t.Setenv("SSL_CERT_FILE", authority)
	p := start(t, lab.Director, file)

	// seen is who answers clients of a service, in brief.
	seen := func(k kind, asks int) string {
		t.Helper()
		count := make(map[string]int)
		for range asks {
			who, err := k.ask()
			if err != nil {
				t.Errorf("%v: %v", k.id, err)
			}
			count[who]++
		}
		return fmt.Sprint(count)
	}
	server := func(k kind) netip.AddrPort { _, addr := rs(0, k.id.Addr.Port()); return addr }
	up := func() {
		t.Helper()
		for _, k := range kinds {
			d.await(k.id, server(k), 3, patience)
			if got := seen(k, 4); got != "map[rs0:3 rs1:1]" {
				t.Errorf("%v: four clients of servers with weight 3 and 1 went to %s", k.id, got)
			}
		}
	}
	down := func(how string, died time.Time) {
		t.Helper()
		for _, k := range kinds {
			at := d.await(k.id, server(k), 0, time.Until(died.Add(k.reaction)))
			t.Logf("%s: %v: weight 0 after %v", how, k.id, at.Sub(died))
		}
		for _, k := range kinds {
			if got := seen(k, 2); got != "map[rs1:2]" {
				t.Errorf("%s: clients of %v went to %s", how, k.id, got)
			}
		}
	}
	up()
	died := time.Now()
	for _, program := range programs {
		_ = program.Close()
	}
	down("the program ends", died)
	for n, k := range kinds {
		programs[n] = k.serve(0)
	}
	up()

	mac := lab.RealServers[0].NS.Link(t, "eth0").MAC
	died = time.Now()
	lab.Director.AddNeighbor(t, "eth1", lab.RealServers[0].Addr, net.HardwareAddr{2, 0, 0, 0, 0, 99})
	down("the machine is gone", died)
	lab.Director.AddNeighbor(t, "eth1", lab.RealServers[0].Addr, mac)
	up()
	p.stop()
	for _, want := range []string{"check=\"udp 10.0.2.11:514\" error=\"no answer within 500ms\"", "connection refused", "exit status 1", "no answer within 700ms"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("%q is not in the log", want)
		}
	}
}

// answerUDP answers datagrams until it is closed.
func answerUDP(t *testing.T, ns *nstest.NS, addr netip.AddrPort, answer func([]byte) []byte) io.Closer {
	t.Helper()
	conn := ns.ListenUDP(t, addr)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(answer(b[:n]), from)
			}
		}
	}()
	return conn
}

// exchange sends a datagram and returns the answer.
func exchange(ns *nstest.NS, src, dst netip.AddrPort, b []byte) ([]byte, error) {
	conn, err := ns.Dial("udp", src, dst)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	return answer[:n], err
}

// certificate makes one that vouches for itself, and writes it to a file.
func certificate(t *testing.T, name string) (cert tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, file
}
