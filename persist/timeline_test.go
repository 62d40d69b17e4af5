package persist

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const vip = "10.0.0.100:53"

func udpService(timeout time.Duration) Service {
	return Service{Virtual: netip.MustParseAddrPort(vip), Timeout: timeout}
}

func (d *director) check(when string, list ...want) {
	d.t.Helper()
	if diff := cmp.Diff(list, d.list(), cmpopts.EquateEmpty(), cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		d.t.Errorf("%s: templates (-want +got):\n%s", when, diff)
	}
}

func (d *director) visits(server int, clients ...string) {
	d.t.Helper()
	for _, c := range clients {
		if got := d.packet(c, vip); got != server {
			d.t.Errorf("at %v: client %s goes to %d, want %d", d.now, c, got, server)
		}
	}
}

// TestPostponement is a run observed on Linux 6.1 and 6.12: persistence for 5 s, UDP timeout 20 s.
func TestPostponement(t *testing.T) {
	r1, r2 := newServer("10.1.0.11:53"), newServer("10.1.0.12:53")
	d := newDirector(t, udpService(5*time.Second), r1, r2)
	tmpl := func(timeout, left float64, conns int) want {
		return want{"10.0.0.10", vip, "10.1.0.12:53", timeout, left, conns}
	}
	d.visits(12, "10.0.0.10:4000")
	d.check("made", tmpl(5, 5, 1))
	d.at(3.5)
	d.visits(12, "10.0.0.10:4000")
	d.check("a packet does not refresh", tmpl(5, 1.5, 1))
	d.at(5)
	d.check("postponed", tmpl(60, 60, 1))
	d.at(16.1)
	d.check("counting", tmpl(60, 48.9, 1))
	d.at(23.6)
	d.check("connection gone", tmpl(60, 41.4, 0))
	d.at(26.7)
	d.visits(12, "10.0.0.10:4001")
	d.check("restarted with what it was postponed by", tmpl(60, 60, 1))
	d.at(48.1)
	d.check("alone again", tmpl(60, 38.6, 0))
	if r2.pinned != 1 {
		t.Errorf("%d templates of the server, want 1", r2.pinned)
	}
	d.at(86.6)
	d.check("last moment", tmpl(60, 0.1, 0))
	d.at(86.7)
	d.check("expired")
	if r2.pinned != 0 {
		t.Errorf("%d templates of the server, want 0", r2.pinned)
	}
}

// TestEdits is a run observed on Linux 6.1 and 6.12: the service is edited, deleted and made again.
func TestEdits(t *testing.T) {
	r1, r2 := newServer("10.1.0.11:53"), newServer("10.1.0.12:53")
	d := newDirector(t, udpService(30*time.Second), r1, r2)
	d.udp = 4 * time.Second
	d.at(0.1)
	d.visits(12, "10.0.0.11:4000")
	d.at(6.2)
	eleven := func(timeout, left float64, conns int) want {
		return want{"10.0.0.11", vip, "10.1.0.12:53", timeout, left, conns}
	}
	d.check("connection gone", eleven(30, 23.9, 0))
	d.at(6.4)
	d.visits(12, "10.0.0.11:4001")
	d.check("restarted", eleven(30, 30, 1))
	d.at(11.5)
	d.service.Timeout = 100 * time.Second
	d.check("edited", eleven(30, 24.9, 0))
	d.at(11.8)
	d.visits(12, "10.0.0.11:4002")
	d.check("restarted with the stored timeout", eleven(30, 30, 1))
	d.at(12)
	d.visits(11, "10.0.0.12:4002")
	twelve := want{"10.0.0.12", vip, "10.1.0.11:53", 100, 100, 1}
	d.check("new template with the new timeout", eleven(30, 29.8, 1), twelve)
	d.at(17.2) // not persistent: nothing asks the table until 23.8
	d.at(23.8)
	d.service.Timeout = 40 * time.Second
	d.visits(12, "10.0.0.11:4005")
	twelve.Left, twelve.Connections = 88.2, 0
	d.check("the old template again", eleven(30, 30, 1), twelve)
	d.at(30.9)
	d.service.Mask = netip.MustParseAddr("255.255.255.0")
	first := d.packet("10.0.0.11:4006", vip)
	d.visits(first, "10.0.0.12:4006", "10.0.0.13:4006")
	list := d.list()
	if len(list) != 3 || list[0].Client != "10.0.0.0" || list[0].Timeout != 40 || list[0].Connections != 3 {
		t.Errorf("another mask: %+v", list)
	}
	d.at(36) // the service is deleted
	d.service.Mask = netip.Addr{}
	r1.gone, r2.gone = true, true
	d.at(37)
	d.visits(0, "10.0.0.11:4007")
	list = d.list()
	if list[1].Client != "10.0.0.11" || list[1].Virtual != "10.0.0.100:65535" || list[1].Server != "10.1.0.12:65535" {
		t.Errorf("without servers: %+v", list[1])
	}
	if left := list[1].Left; left < 16.79 || left > 16.81 {
		t.Errorf("invalidation changed the timer: %v left", left)
	}
	d.at(38)
	r1.gone, r2.gone = false, false
	if d.packet("10.0.0.11:4008", vip) == 0 || d.table.Len() != 4 {
		t.Errorf("servers are back: %+v", d.list())
	}
}

// TestServerChanges is what a template does when its server changes, observed on Linux 6.1 and 6.12.
func TestServerChanges(t *testing.T) {
	tests := map[string]struct {
		expireQuiescent bool
		change, undo    func(*server)
		now, after      int // where the client goes after the change, and after it was undone
		templates       int
	}{
		"quiesced":                   {change: func(s *server) { s.weight = 0 }, undo: func(s *server) { s.weight = 1 }, now: 12, after: 12, templates: 1},
		"quiesced, expire_quiescent": {expireQuiescent: true, change: func(s *server) { s.weight = 0 }, undo: func(s *server) { s.weight = 1 }, now: 11, after: 11, templates: 2},
		"removed":                    {change: func(s *server) { s.gone = true }, undo: func(s *server) { s.gone = false }, now: 11, after: 11, templates: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r1, r2 := newServer("10.1.0.11:53"), newServer("10.1.0.12:53")
			d := newDirector(t, udpService(60*time.Second), r1, r2)
			d.table.SetExpireQuiescent(tt.expireQuiescent)
			d.visits(12, "10.0.0.10:1")
			tt.change(r2)
			d.check("an idle template is not touched", want{"10.0.0.10", vip, "10.1.0.12:53", 60, 60, 1})
			d.visits(tt.now, "10.0.0.10:2")
			tt.undo(r2)
			d.visits(tt.after, "10.0.0.10:3")
			if n := d.table.Len(); n != tt.templates || r1.pinned+r2.pinned != n {
				t.Errorf("%d templates, counted %d and %d, want %d", n, r1.pinned, r2.pinned, tt.templates)
			}
		})
	}
	t.Run("removed and back before the next visit", func(t *testing.T) {
		r1, r2 := newServer("10.1.0.11:53"), newServer("10.1.0.12:53")
		d := newDirector(t, udpService(60*time.Second), r1, r2)
		d.visits(12, "10.0.0.10:1")
		r2.gone = true
		d.at(10)
		r2.gone = false
		d.visits(12, "10.0.0.10:2")
	})
}

// TestInvalidIsPostponed: an invalidated template lives on while its old connections do, and is never found again.
func TestInvalidIsPostponed(t *testing.T) {
	r1, r2 := newServer("10.1.0.11:53"), newServer("10.1.0.12:53")
	d := newDirector(t, udpService(5*time.Second), r1, r2)
	d.visits(12, "10.0.0.10:1")
	r2.gone = true
	d.at(1)
	d.visits(11, "10.0.0.10:2")
	d.at(5)
	d.check("the old one is postponed",
		want{"10.0.0.10", vip, "10.1.0.11:53", 5, 1, 1},
		want{"10.0.0.10", "10.0.0.100:65535", "10.1.0.12:65535", 60, 60, 1})
	d.at(65)
	d.check("the old one is gone", want{"10.0.0.10", vip, "10.1.0.11:53", 60, 1, 0})
}

// TestTie: a connection that is due with its template goes first.
func TestTie(t *testing.T) {
	d := newDirector(t, udpService(20*time.Second), newServer("10.1.0.11:53"))
	d.visits(11, "10.0.0.10:1")
	d.at(20)
	d.check("both gone")
}

func TestZeroTimeout(t *testing.T) {
	d := newDirector(t, udpService(0), newServer("10.1.0.11:53"))
	d.visits(11, "10.0.0.10:1")
	d.table.Advance(d.now)
	d.check("postponed at once", want{"10.0.0.10", vip, "10.1.0.11:53", 60, 60, 1})
	d.at(60)
	d.check("gone")
}

// TestOnePacket: every packet opens a connection and releases it, so every packet refreshes.
func TestOnePacket(t *testing.T) {
	r := newServer("10.1.0.11:53")
	d := newDirector(t, udpService(60*time.Second), r)
	p := Packet{Protocol: 17, Client: netip.MustParseAddrPort("10.0.0.10:1"), Virtual: netip.MustParseAddrPort(vip)}
	for i := range 3 {
		d.at(float64(i) * 50)
		e, err := d.table.Open(d.now, &d.service, &p, d.pick)
		if err != nil {
			t.Fatal(err)
		}
		d.table.Release(e)
		d.check("refreshed", want{"10.0.0.10", vip, "10.1.0.11:53", 60, 60, 0})
	}
	if r.pinned != 1 {
		t.Errorf("%d templates, want 1", r.pinned)
	}
}

// TestEarlyDeletion: what goes before its time may take its template along.
func TestEarlyDeletion(t *testing.T) {
	tests := map[string]struct {
		assured, gone, flush bool
		conns                int
		left                 int
	}{
		"last one":                     {conns: 1, left: 0},
		"one of two":                   {conns: 2, left: 1},
		"assured":                      {assured: true, conns: 1, left: 1},
		"assured, flush":               {assured: true, flush: true, conns: 1, left: 1},
		"assured, server gone":         {assured: true, gone: true, conns: 1, left: 1},
		"assured, server gone, flush":  {assured: true, gone: true, flush: true, conns: 1, left: 0},
		"two, server gone, flush":      {gone: true, flush: true, conns: 2, left: 1},
		"server there, nothing, flush": {flush: true, conns: 2, left: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newServer("10.1.0.11:53")
			d := newDirector(t, udpService(60*time.Second), r)
			for i := range tt.conns {
				d.visits(11, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.10"), uint16(i+1)).String())
			}
			e := d.conns[0].template
			if tt.assured {
				d.table.Assure(e)
			}
			if e.State() != map[bool]string{false: "NONE", true: "ASSURED"}[tt.assured] {
				t.Errorf("state %s", e.State())
			}
			r.gone = tt.gone
			d.table.Drop(e)
			if tt.flush {
				d.table.Flush()
			}
			if d.table.Len() != tt.left || r.pinned != tt.left {
				t.Errorf("%d templates, counted %d, want %d", d.table.Len(), r.pinned, tt.left)
			}
		})
	}
}
