package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// vip is the virtual address of most tests; real servers are 10.1.0.11 (r1) and 10.1.0.12 (r2).
const vip = "10.0.0.100"

func addr4(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// lab is a director under test. Its methods fail the test instead of returning errors.
type lab struct {
	*Director
	t testing.TB
}

func newLab(t testing.TB) *lab { return &lab{New(nil), t} }

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func tcp(s string) ServiceID { return ServiceID{Protocol: TCP, Addr: addr4(s)} }
func udp(s string) ServiceID { return ServiceID{Protocol: UDP, Addr: addr4(s)} }

// serve adds a service with destinations, so that the last one is the first in the list.
func (l *lab) serve(id ServiceID, scheduler string, persist int, method Method, dests ...string) {
	l.t.Helper()
	s := Service{ID: id, Scheduler: scheduler}
	if persist > 0 {
		s.Flags, s.Timeout = Persistent, time.Duration(persist)*time.Second
	}
	l.must(l.AddService(s))
	for _, a := range dests {
		l.add(id, a, method)
	}
}

func (l *lab) add(id ServiceID, dest string, method Method) {
	l.t.Helper()
	l.must(l.AddDest(id, Dest{Addr: addr4(dest), Method: method, Weight: 1}))
}

func (l *lab) weight(id ServiceID, dest string, weight uint32) {
	l.t.Helper()
	t, err := l.Dest(id, addr4(dest))
	l.must(err)
	t.Dest.Weight = weight
	l.must(l.SetDest(id, t.Dest))
}

func (l *lab) remove(id ServiceID, dest string) {
	l.t.Helper()
	l.must(l.DeleteDest(id, addr4(dest)))
}

func (l *lab) sysctl(name, value string) {
	l.t.Helper()
	l.must(l.SetSysctl(name, value))
}

// edit changes the persistence timeout and the mask of a service; 0 is not persistent.
func (l *lab) edit(id ServiceID, persist int, mask string) {
	l.t.Helper()
	s, err := l.Service(id)
	l.must(err)
	s.Flags, s.Timeout, s.Mask = 0, 0, netip.Addr{}
	if persist > 0 {
		s.Flags, s.Timeout = Persistent, time.Duration(persist)*time.Second
	}
	if mask != "" {
		s.Mask = netip.MustParseAddr(mask)
	}
	l.must(l.SetService(s.Service))
}

func (l *lab) at(seconds float64) { l.Advance(time.Duration(seconds * float64(time.Second))) }

func flow(p Protocol, client, virtual string) Flow {
	return Flow{Protocol: p, Client: addr4(client), Virtual: addr4(virtual)}
}

// goes opens a connection and compares the destination; an empty one is none.
func (l *lab) goes(f Flow, want string) Result {
	l.t.Helper()
	r := l.Open(f)
	got := ""
	if r.Dest.IsValid() {
		got = r.Dest.String()
	}
	if got != want {
		l.t.Errorf("at %v: %v %v to %v goes to %q, want %q (%v)", l.Now(), f.Protocol, f.Client, f.Virtual, got, want, r.Verdict)
	}
	return r
}

// send lets packets of a TCP flow pass: "in SYN", "out SYN,ACK", …
func (l *lab) send(f Flow, packets ...string) {
	l.t.Helper()
	for _, p := range packets {
		dir, text, _ := strings.Cut(p, " ")
		packet := Packet{Flow: f, Out: dir == "out"}
		var err error
		switch f.Protocol {
		case TCP:
			packet.TCP, err = ParseTCPFlags(text)
		case SCTP:
			packet.Chunk, err = ParseChunk(text)
		}
		l.must(err)
		l.Packet(packet)
	}
}

// list returns the table in the form of ipvsadm -Lnc, with full seconds, sorted.
func (l *lab) list() []string {
	var out []string
	for c := range l.Conns() {
		line := fmt.Sprintf("%v %d %s %v %v %v", c.Protocol, int(c.Expires.Seconds()), c.State, c.Client, c.Virtual, c.Dest)
		if c.Engine != "" {
			line += " " + c.Engine + " " + c.Data
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func (l *lab) listed(when string, want ...string) {
	l.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, l.list(), cmpopts.EquateEmpty()); diff != "" {
		l.t.Errorf("%s, at %v: table (-want +got):\n%s", when, l.Now(), diff)
	}
}

// counts compares active, inactive and persistent connections of a destination.
func (l *lab) counts(when string, id ServiceID, dest string, active, inactive int32, persistent int) {
	l.t.Helper()
	t, err := l.Dest(id, addr4(dest))
	l.must(err)
	if t.Active != active || t.Inactive != inactive || t.Persistent != persistent {
		l.t.Errorf("%s, at %v: %s has %d active, %d inactive, %d persistent; want %d, %d, %d",
			when, l.Now(), dest, t.Active, t.Inactive, t.Persistent, active, inactive, persistent)
	}
}
