package sim

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEstablish: a whole handshake, for each protocol with and without replies that pass.
func TestEstablish(t *testing.T) {
	for name, tt := range map[string]struct {
		protocol Protocol
		method   Method
		flags    Flags
		state    string
		active   int32
		in, out  uint64
	}{
		"TCP NAT":         {TCP, Masquerade, 0, "ESTABLISHED", 1, 2, 1},
		"TCP DR":          {TCP, Route, 0, "ESTABLISHED", 1, 2, 0},
		"TCP local":       {TCP, LocalNode, 0, "ESTABLISHED", 1, 2, 0},
		"UDP NAT":         {UDP, Masquerade, 0, "UDP", 0, 1, 1},
		"UDP TUN":         {UDP, Tunnel, 0, "UDP", 0, 1, 0},
		"UDP one packet":  {UDP, Masquerade, OnePacket, "", 0, 1, 0},
		"SCTP NAT":        {SCTP, Masquerade, 0, "ESTABLISHED", 1, 2, 2},
		"SCTP DR":         {SCTP, Route, 0, "ESTABLISHED", 1, 2, 0},
		"TCP, one packet": {TCP, Masquerade, OnePacket, "ESTABLISHED", 1, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(nil)
			vip := ServiceID{Protocol: tt.protocol, Addr: addr4("192.0.2.1:80")}
			if err := d.AddService(Service{ID: vip, Scheduler: "rr", Flags: tt.flags}); err != nil {
				t.Fatal(err)
			}
			f := Flow{Protocol: tt.protocol, Client: addr4("198.51.100.1:1000"), Virtual: vip.Addr}
			if r := d.Establish(f); r.Verdict != Refused {
				t.Fatalf("without a server: %+v", r)
			}
			if err := d.AddDest(vip, Dest{Addr: addr4("10.0.0.1:80"), Method: tt.method, Weight: 1}); err != nil {
				t.Fatal(err)
			}
			if r := d.Establish(f); r != (Result{Forwarded, addr4("10.0.0.1:80"), true}) {
				t.Fatalf("result %+v", r)
			}
			state := ""
			for c := range d.Conns() {
				state = c.State
			}
			s, err := d.Dest(vip, addr4("10.0.0.1:80"))
			if err != nil {
				t.Fatal(err)
			}
			type outcome struct {
				State   string
				Active  int32
				In, Out uint64
			}
			want := outcome{tt.state, tt.active, tt.in, tt.out}
			if diff := cmp.Diff(want, outcome{state, s.Active, s.Stats.Counted.InPackets, s.Stats.Counted.OutPackets}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if r := New(nil).Establish(Flow{}); r.Verdict != Passed {
		t.Errorf("a flow without addresses: %+v", r)
	}
}

func TestSetWeight(t *testing.T) {
	d := New(nil)
	vip := ServiceID{Protocol: TCP, Addr: addr4("192.0.2.1:80")}
	if err := d.AddService(Service{ID: vip, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	dest := Dest{Addr: addr4("10.0.0.1:80"), Method: Route, Weight: 7, Upper: 9, Lower: 2}
	if err := d.AddDest(vip, dest); err != nil {
		t.Fatal(err)
	}
	d.Advance(time.Second)
	if err := d.SetWeight(vip, dest.Addr, 0); err != nil {
		t.Fatal(err)
	}
	dest.Weight = 0
	if s, err := d.Dest(vip, dest.Addr); err != nil || s.Dest != dest {
		t.Errorf("%+v, %v", s.Dest, err)
	}
	for err, want := range map[error]error{
		d.SetWeight(vip, addr4("10.0.0.2:80"), 1): ErrNoDest,
		d.SetWeight(ServiceID{}, dest.Addr, 1):    ErrNoService,
		d.SetWeight(vip, dest.Addr, 1<<31):        ErrRange,
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// TestTrashOfMarks: the destination of one family's service by mark comes back to the other's.
func TestTrashOfMarks(t *testing.T) {
	d := New(nil)
	a, b := ServiceID{Mark: 7}, ServiceID{Mark: 7, IPv6: true}
	for _, id := range []ServiceID{a, b} {
		if err := d.AddService(Service{ID: id, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
	}
	dest := Dest{Addr: addr4("10.0.0.1:0"), Method: Tunnel, Weight: 1}
	if err := d.AddDest(a, dest); err != nil {
		t.Fatal(err)
	}
	if r := d.Open(Flow{Protocol: TCP, Client: addr4("198.51.100.1:1000"), Virtual: addr4("192.0.2.1:80"), Mark: 7}); r.Verdict != Forwarded {
		t.Fatalf("%+v", r)
	}
	if err := d.DeleteDest(a, dest.Addr); err != nil {
		t.Fatal(err)
	}
	if err := d.AddDest(b, dest); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Dest(b, dest.Addr); err != nil || s.Inactive+s.Active != 1 || !s.Held {
		t.Errorf("%+v, %v", s, err)
	}
}
