package ipvsadm_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func TestPortNames(t *testing.T) {
	file := "# comment\nhttp 80/tcp www web # more\nhttp 81/tcp\nother 80/tcp\nhttp\t8080/udp\nbad\nbad x/tcp\nbad 70000/tcp\nbad 9/foo\nsip 5060/sctp"
	r := ipvsadm.NewSystemResolver(fstest.MapFS{"etc/services": &fstest.MapFile{Data: []byte(file)}}, nil)
	ctx := context.Background()
	for _, tt := range []struct {
		p    ipvs.Protocol
		name string
		port uint16 // 0: none
	}{
		{ipvs.TCP, "http", 80}, {ipvs.TCP, "web", 80}, {ipvs.TCP, "other", 80}, {ipvs.UDP, "http", 8080}, {ipvs.UDP, "www", 0},
		{ipvs.TCP, "HTTP", 0}, {ipvs.TCP, "bad", 0}, {ipvs.SCTP, "sip", 5060}, {ipvs.TCP, "80/tcp", 0}, {ipvs.TCP, "", 0},
	} {
		port, err := r.LookupPort(ctx, tt.p, tt.name)
		if port != tt.port || (err == nil) != (tt.port != 0) {
			t.Errorf("%v %q: %d, %v", tt.p, tt.name, port, err)
		}
	}
	for _, tt := range []struct {
		p    ipvs.Protocol
		port uint16
		name string
	}{{ipvs.TCP, 80, "http"}, {ipvs.TCP, 81, "http"}, {ipvs.UDP, 8080, "http"}, {ipvs.UDP, 80, ""}, {ipvs.TCP, 9, ""}} {
		name, err := r.PortName(ctx, tt.p, tt.port)
		if name != tt.name || (err == nil) != (tt.name != "") {
			t.Errorf("%v %d: %q, %v", tt.p, tt.port, name, err)
		}
	}
	none := ipvsadm.NewSystemResolver(fstest.MapFS{}, nil)
	if _, err := none.PortName(ctx, ipvs.TCP, 80); !errors.Is(err, ipvsadm.ErrNoName) {
		t.Errorf("no file: %v", err)
	}
}

func TestSystemHosts(t *testing.T) {
	r := ipvsadm.NewSystemResolver(nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	if a, err := r.LookupHost(ctx, "127.0.0.2"); err != nil || a != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := r.LookupHost(ctx, "::1"); err == nil {
		t.Errorf("an IPv6 address became %v", a)
	}
	cancel()
	if name, err := r.HostName(ctx, netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Errorf("a name after the end: %q", name)
	}
}
