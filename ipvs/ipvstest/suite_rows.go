package ipvstest

import (
	"slices"
	"testing"
)

// A row is a request and its outcome, in a playground.
type row struct {
	name  string
	cmd   uint8
	flags uint16   // request with acknowledgement unless set
	parts [][]byte // attributes
	want  errno

	// frame makes another kind of message than cmd, flags and parts do.
	frame func(s *socket) []byte

	// before prepares the playground further.
	before [][]byte

	empty        bool   // the answer is that of an empty list
	unprivileged bool   // the sender may not use IPVS
	version      string // of kernels that the row is for; empty for all
	devices      bool   // needs dm0 and dm1
}

// The playground has an IPv4 service with a destination, an IPv6 service, the device dm0 with the address 192.168.77.1
// of a network of 256, and dm1, which is down.
var (
	vip     = tcp("192.0.2.10:80")
	vip6    = tcp("[2001:db8::10]:80")
	missing = tcp("192.0.2.99:80")
)

const (
	rip    = "10.0.0.1:80"
	newRIP = "10.0.0.2:80"
	rip6   = "[2001:db8::5]:80"
)

// A playground is where rows are checked, one after the other.
type playground struct {
	b       *bench
	state   string // when the last row left it as it was; empty if it has to be made anew
	devices bool
	poor    *socket // without privilege, nil if the setup has none
}

func newPlayground(b *bench) *playground {
	b.Helper()
	p := &playground{b: b}
	if b.env.AddDevice != nil && b.env.SetLink != nil {
		b.device("dm0", 1500, "192.168.77.1/24")
		b.device("dm1", 1500)
		b.link("dm1", false)
		p.devices = true
	}
	if b.env.Unprivileged != nil {
		p.poor = b.unprivileged()
	}
	return p
}

// reset brings the playground into its first state.
func (p *playground) reset() {
	s := p.b.socket
	s.t.Helper()
	for _, d := range s.list(cGetDaemon) {
		s.must(cDelDaemon, nest(aDaemon, u32(mState, uint32(d.number(mState)))))
	}
	s.setup(
		s.set(cFlush),
		s.set(cSetConfig, u32(aTCP, 900), u32(aTCPFin, 120), u32(aUDP, 300)),
		s.set(cNewService, svc(vip, conf("rr"))),
		s.set(cNewService, svc(vip6, conf6("rr"))),
		s.set(cNewDest, svc(vip), dst(rip, routed)),
	)
}

// check checks a row; a request that is refused must leave everything as it is.
func (p *playground) check(t *testing.T, r row) {
	t.Helper()
	s, sender := p.b.socket, p.b.socket
	was := s.t
	s.t = t
	defer func() { s.t = was }()
	switch {
	case r.version != "" && p.b.u.Version == "":
		t.Skip("depends on the kernel's version")
	case r.devices && !p.devices:
		t.Skip("the setup cannot add devices")
	case r.unprivileged && p.poor == nil:
		t.Skip("the setup has no unprivileged socket")
	case r.unprivileged:
		sender = p.poor
		sender.t = t
	}
	if p.state == "" || r.before != nil {
		p.reset()
	}
	if r.before != nil {
		for _, f := range r.before {
			// Made by another socket's counters: only the family and the number are missing.
			s.seq++
			native.PutUint16(f[4:], s.family)
			native.PutUint32(f[8:], s.seq)
		}
		s.setup(r.before...)
	}
	if p.state == "" || r.before != nil {
		p.state = s.state()
	}
	before := p.state
	p.state = ""

	var request []byte
	switch {
	case r.frame != nil:
		request = r.frame(sender)
	case r.flags != 0:
		request = sender.request(r.cmd, r.flags, r.parts...)
	default:
		request = sender.set(r.cmd, r.parts...)
	}
	switch {
	case r.empty:
		got := sender.exchange(request)
		if len(got) != 1 || got[0].typ() != typeDone || got[0].errno() != 0 {
			t.Fatalf("%v, want an empty list", got)
		}
	case r.cmd == cDelDaemon && r.want == 0:
		if got := sender.stop(request); got != 0 {
			t.Fatalf("%v, want success", got)
		}
	default:
		if got := sender.acked(request); got != r.want {
			t.Fatalf("%v, want %v", got, r.want)
		}
	}
	if r.want == 0 && !r.empty {
		return
	}
	after := s.state()
	if after != before {
		t.Fatalf("the request was refused and has changed something: before\n%s\nafter\n%s", before, after)
	}
	if r.before == nil {
		p.state = after
	}
}

// first is a request for row.before.
func first(cmd uint8, parts ...[]byte) []byte { return frame(0, flRequest|flAck, 0, cmd, parts...) }

// forVersion leaves out the rows of other versions, so that what is not run is not counted.
func forVersion(rows []row, version string) []row {
	if version == "" {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.version != "" && r.version != version })
}
