package arp

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/internal/nstest"
)

// A question that is looked after too late, as the machine stood still, has the answers that came in time.
func TestIntegrationLateReceive(t *testing.T) {
	nstest.RequireRoot(t)
	ns := nstest.New(t)
	p, err := openPacket(hostfs.NetNS{File: ns.File()}, 1, 0x0800) // IPv4 on lo
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.close() }()
	b := make([]byte, 100)
	gone := time.Unix(1, 0)
	if n, err := p.receive(b, gone); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes of no frame, %v", n, err)
	}
	conn, err := ns.Dial("udp", netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:9"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	// What is sent over lo has arrived when Write returns, or a moment later.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		n, err := p.receive(b, gone)
		if err == nil {
			if n != 14+20+8+1 {
				t.Errorf("a frame of %d bytes", n)
			}
			return
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
