package nltest

import (
	"path/filepath"
	"slices"
	"testing"
)

// FuzzRequests feeds datagrams to a kernel and checks the answers: every one is a well-formed message or several, belongs to a
// request of the datagram, carries the socket's port, and an acknowledgement copies the request's header. Nothing panics or
// hangs, and the kernel answers an ordinary request afterwards.
func FuzzRequests(f *testing.F) {
	names, err := filepath.Glob("testdata/frames/6.12/*-request.hex")
	if err != nil || len(names) < 20 {
		f.Fatalf("%d frames, %v", len(names), err)
	}
	var all []byte
	for _, n := range names {
		b := frame(f, filepath.Base(n)[:2])
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		k := newKernel(t, &Config{LogSize: 1 << 10})
		ns := k.Namespace("")
		if err := ns.AddDevice("dm0", 1500); err != nil {
			t.Fatal(err)
		}
		p := newTap(t, ns, Port(0x1234))
		p.s.recvBuffer = 1 << 30
		var headers [][]byte
		for _, m := range splitMessages(b) {
			headers = append(headers, slices.Clone(m[:headerLen]))
		}
		acks := 0
		for _, answer := range p.exchange(slices.Clone(b)) {
			rest := answer
			for len(rest) > 0 {
				if len(rest) < headerLen || int(native.Uint32(rest)) > len(rest) || native.Uint32(rest)%4 != 0 {
					t.Fatalf("malformed answer %x", answer)
				}
				h := parseHeader(rest)
				if h.pid != 0x1234 || !slices.ContainsFunc(headers, func(r []byte) bool { return native.Uint32(r[8:]) == h.seq }) {
					t.Fatalf("answer to nobody: %x", rest)
				}
				if h.typ == typeError {
					acks++
					if !slices.ContainsFunc(headers, func(r []byte) bool { return slices.Equal(r, rest[headerLen+4:headerLen+20]) }) {
						t.Fatalf("acknowledgement of another request: %x", rest)
					}
				}
				rest = rest[h.length:]
			}
		}
		if acks > len(headers) {
			t.Fatalf("%d acknowledgements of %d requests", acks, len(headers))
		}
		if got := p.exchange(p.request(GetInfo, flagRequest)); len(got) != 1 {
			t.Fatalf("afterwards: %x", got)
		}
		checkTables(t, ns)
	})
}

// checkTables checks what must hold for the tables whatever was sent.
func checkTables(t *testing.T, ns *Namespace) {
	t.Helper()
	for _, s := range ns.services() {
		if ns.find(s.key()) != s {
			t.Fatalf("service %+v is not found", s.id())
		}
		if len(s.dests) != len(s.byKey) {
			t.Fatalf("%d destinations, %d keys", len(s.dests), len(s.byKey))
		}
		for _, d := range s.dests {
			if s.byKey[d.key()] != d || d.svc != s || d.lower > d.upper || d.weight > 1<<31-1 || d.visit.index < 0 {
				t.Fatalf("destination %+v", d.config())
			}
		}
	}
	for _, d := range ns.trash {
		if d.visit.index >= 0 {
			t.Fatal("an estimator visits the trash")
		}
	}
	for _, v := range ns.timeouts {
		if v > maxTimeout {
			t.Fatalf("timeout %d", v)
		}
	}
	for _, f := range ns.files() {
		f.text() // does not panic
	}
}
