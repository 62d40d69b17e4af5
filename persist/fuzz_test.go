package persist

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

func FuzzCallID(f *testing.F) {
	f.Add([]byte("INVITE sip:x SIP/2.0\r\nCall-ID: abc123@host\r\n\r\n"))
	f.Add([]byte("X\ni : a\n"))
	f.Add([]byte("X\r\r\ri:\r"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := CallID(b)
		switch {
		case (err == nil) != (id != ""):
			t.Fatalf("%q and %v", id, err)
		case err != nil:
			return
		case len(id) > maxCallID || bytes.ContainsAny([]byte(id), "\r\n"):
			t.Fatalf("Call-ID %q", id)
		}
		i := bytes.Index(b, []byte(id))
		if i < 0 {
			t.Fatalf("%q is not in the message", id)
		}
		again, err := CallID([]byte("X\r\nCall-ID: " + id + "\r\n"))
		if again != id || err != nil {
			t.Fatalf("%q becomes %q, %v", id, again, err)
		}
	})
}

// FuzzTable compares the table with the rules written down one template at a time, without a heap or an index.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 5, 30, 0, 1, 2, 7, 5, 200, 1, 0, 5, 200, 5, 200})
	f.Add([]byte{0, 0, 0, 1, 3, 0, 0, 0, 3, 1, 5, 10, 4, 0, 0, 2, 5, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		type model struct {
			client   byte
			dest     *server
			timeout  time.Duration
			deadline time.Duration
			controls int
			invalid  bool
		}
		servers := []*server{newServer("10.1.0.1:53"), newServer("10.1.0.2:53"), newServer("10.1.0.3:53")}
		table := NewTable(&Config[*server]{ExpireQuiescent: true, Deleted: func(e *Entry[*server]) { e.Dest().pinned-- }})
		s := udpService(30 * time.Second)
		var models []*model
		var held []*Entry[*server]
		of := map[*Entry[*server]]*model{}
		var now time.Duration
		turn := 0
		for len(ops) >= 2 {
			op, arg := ops[0], ops[1]
			ops = ops[2:]
			switch op % 6 {
			case 0: // a client comes
				client := arg % 8
				var m *model
				for _, x := range models {
					if x.client == client && !x.invalid {
						m = x
					}
				}
				if m != nil && (m.dest.gone || m.dest.weight == 0) {
					m.invalid = true
					m = nil
				}
				picked := false
				p := Packet{Protocol: 17, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, client}), 1), Virtual: s.Virtual}
				e, err := table.Open(now, &s, &p, func() (*server, bool) {
					picked = true
					turn++
					d := servers[turn%len(servers)]
					if !d.gone && d.weight > 0 {
						d.pinned++
						return d, true
					}
					return nil, false
				})
				if picked != (m == nil) {
					t.Fatalf("asked for a server: %v", picked)
				}
				if err != nil {
					if m != nil {
						t.Fatal(err)
					}
					continue
				}
				if m == nil {
					m = &model{client: client, dest: e.Dest(), timeout: s.Timeout}
					models = append(models, m)
					of[e] = m
				}
				if of[e] != m {
					t.Fatal("another template")
				}
				m.controls++
				m.deadline = now + m.timeout
				held = append(held, e)
			case 1: // a connection goes
				if len(held) > 0 {
					i := int(arg) % len(held)
					table.Release(held[i])
					of[held[i]].controls--
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
				}
			case 2:
				servers[arg%3].weight = int32(arg>>2) % 2
			case 3:
				servers[arg%3].gone = arg&4 != 0
			case 4:
				s.Timeout = time.Duration(arg) * time.Second
			case 5:
				now += time.Duration(arg) * time.Second
				table.Advance(now)
			}
			// The same for every model; Advance comes with Open, too.
			live := models[:0]
			for _, m := range models {
				for m.deadline <= now && m.controls > 0 && (op%6 == 5) {
					m.timeout = Postponement
					m.deadline += Postponement
				}
				if m.deadline > now || op%6 != 5 {
					live = append(live, m)
				}
			}
			models = live
			if op%6 == 5 {
				n := 0
				for e := range table.All() {
					m := of[e]
					if e.Deadline() != m.deadline || e.Timeout() != m.timeout || e.Connections() != m.controls || e.Invalid() != m.invalid {
						t.Fatalf("template %+v, want %+v", e, m)
					}
					n++
				}
				pinned := servers[0].pinned + servers[1].pinned + servers[2].pinned
				if n != len(models) || pinned != n {
					t.Fatalf("%d templates, %d counted, want %d", n, pinned, len(models))
				}
			}
			if op%6 == 0 { // so that a timeout of 0 is over before the next client
				now += time.Millisecond
				ops = append([]byte{5, 0}, ops...)
			}
		}
	})
}
