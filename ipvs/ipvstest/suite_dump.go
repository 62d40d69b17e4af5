package ipvstest

import (
	"fmt"
	"slices"
)

// fill adds n address services with the scheduler rr, of 320 bytes each in a list.
func (s *socket) fill(n int) {
	s.t.Helper()
	var requests [][]byte
	for i := range n {
		requests = append(requests, s.set(cNewService, svc(tcp(fmt.Sprintf("192.0.2.1:%d", i+1)), conf("rr"))))
	}
	s.setup(requests...)
}

// fillDests adds a service with n destinations, of 356 bytes each in a list.
func (s *socket) fillDests(id []byte, n int) {
	s.t.Helper()
	requests := [][]byte{s.set(cNewService, svc(id, conf("rr")))}
	for i := range n {
		requests = append(requests, s.set(cNewDest, svc(id), dst(fmt.Sprintf("10.0.0.1:%d", i+1), routed)))
	}
	s.setup(requests...)
}

// sizes are those of datagrams.
func sizes(datagrams [][]message) []int {
	var list []int
	for _, d := range datagrams {
		n := 0
		for _, m := range d {
			n += len(m)
		}
		list = append(list, n)
	}
	return list
}

// filled returns the sizes of the datagrams of a list of n messages of one size, for the capacity of a datagram.
func filled(n, size, capacity int) []int {
	var list []int
	for per := capacity / size; n > 0; n -= per {
		list = append(list, min(n, per)*size)
	}
	return list
}

// fourKiB skips the case where the sizes of datagrams were not observed.
func (b *bench) fourKiB() int {
	b.Helper()
	if pageSize != 4096 {
		b.Skip("observed with pages of 4 KiB")
	}
	return pageSize - bookkeeping
}

// dumpCases are lists: their messages, datagrams, and what happens when a table changes meanwhile.
var dumpCases = []testCase{
	{name: "empty lists", run: func(b *bench) {
		for _, request := range [][]byte{
			b.request(cGetService, flRequest|flDump), b.request(cGetDaemon, flRequest|flDump),
			b.request(cGetDest, flRequest|flDump, svc(vip)), b.request(cGetDest, flRequest|flDump),
		} {
			want := sized(append(frame(typeDone, flMulti, message(request).seq(), 0)[:headerLen], 0, 0, 0, 0))
			got := b.exchange(request)
			if len(got) != 1 {
				b.Fatalf("%v", got)
			}
			native.PutUint32(got[0][12:], 0) // the port
			equal(b, "answer", message(want), got[0])
		}
	}},
	{name: "destinations of a missing service", run: func(b *bench) {
		b.must(cNewService, svc(vip, conf("rr")))
		b.must(cNewDest, svc(vip), dst(rip, routed))
		equal(b, "destinations", 0, len(b.list(cGetDest, svc(missing))))
		equal(b, "destinations", 0, len(b.list(cGetDest, svc(mark4(9)))))
		equal(b, "destinations", []string{rip}, b.dests(vip))
	}},
	{name: "an acknowledgement does not come", run: func(b *bench) {
		b.fill(20)
		b.send(b.request(cGetService, flRequest|flDump|flAck))
		equal(b, "services", 20, len(slices.Concat(b.rest(b.seq)...)))
	}},
	{name: "headers", run: func(b *bench) {
		b.fill(30)
		b.fillDests(mark4(5), 30)
		b.must(cNewDaemon, syncd(backup, "lo"))
		for cmd, list := range map[uint8][][]message{
			cNewService: b.dump(cGetService), cNewDest: b.dump(cGetDest, svc(mark4(5))), cNewDaemon: b.dump(cGetDaemon),
		} {
			for _, m := range slices.Concat(list...) {
				if m.typ() != b.family || m.flags() != flMulti || m.cmd() != cmd || m[17] != 1 || m[18] != 0 || m[19] != 0 {
					b.Fatalf("%s: header %x", commandName(cmd), m[:genHeaderLen])
				}
				equal(b, "port", list[0][0].port(), m.port())
			}
		}
	}},
	{name: "message sizes", run: func(b *bench) {
		for _, sched := range []string{"rr", "sed", "none", "lblcr"} {
			for _, engine := range []string{"", "sip"} {
				extra := named(sched)
				var more []byte
				if engine != "" {
					extra += named(engine)
					more = str(sEngine, engine)
				}
				b.must(cNewService, svc(vip, conf(sched), more))
				b.must(cNewService, svc(vip6, conf6(sched), more))
				b.must(cNewService, svc(mark4(7), conf(sched), more))
				b.must(cNewService, svc(mark6(7), conf6(sched), more))
				got := slices.Concat(b.dump(cGetService)...)
				var lengths []int
				for _, m := range got {
					lengths = append(lengths, len(m))
				}
				equal(b, sched+engine, []int{312 + extra, 312 + extra, 284 + extra, 284 + extra}, lengths)
				equal(b, "single", 312+extra, len(b.get(cGetService, svc(vip))))
				b.must(cFlush)
			}
		}
		b.fillDests(vip, 3)
		b.must(cNewDest, svc(vip), dst(rip6, full(2, 1, 0, 0)))
		for _, m := range slices.Concat(b.dump(cGetDest, svc(vip))...) {
			equal(b, "destination", 356, len(m))
		}
	}},
	{name: "datagrams of services", run: func(b *bench) {
		capacity := b.fourKiB()
		b.fill(50)
		equal(b, "datagrams", filled(50, 320, capacity), sizes(b.second().dump(cGetService)))
		equal(b, "datagrams", filled(50, 320, capacity), sizes(b.dump(cGetService)))
	}},
	{name: "datagrams of destinations", run: func(b *bench) {
		capacity := b.fourKiB()
		b.fillDests(vip, 50)
		equal(b, "datagrams", filled(50, 356, capacity), sizes(b.dump(cGetDest, svc(vip))))
	}},
	{name: "datagrams follow the largest receive buffer", run: func(b *bench) {
		b.fourKiB()
		b.fill(300)
		for _, buffer := range []int{4096, 8192, 16384, 32768, 65536} {
			s := newSocketSize(b.T, b.env.reader(buffer), buffer)
			s.exchange(s.request(cGetInfo, flRequest)) // tells the kernel
			equal(b, fmt.Sprint("buffer of ", buffer), filled(300, 320, min(buffer, 32448)), sizes(s.dump(cGetService)))
		}
	}},
	{name: "a second list on a socket", run: func(b *bench) {
		b.fill(50)
		b.fillDests(vip, 50)
		b.send(b.request(cGetService, flRequest|flDump))
		first := b.seq
		for _, cmd := range []uint8{cGetService, cGetDest, cGetDaemon} {
			b.send(b.request(cmd, flRequest|flDump, svc(vip)))
		}
		// Another socket is not concerned, nor are requests for one thing.
		other := b.second()
		equal(b, "services on another socket", 51, len(other.list(cGetService)))
		b.send(b.set(cGetInfo))
		last := b.seq
		answers := make(map[uint32][]message)
		for _, m := range slices.Concat(b.datagrams()...) {
			answers[m.seq()] = append(answers[m.seq()], m)
		}
		for seq := first + 1; seq < last; seq++ {
			if got := answers[seq]; len(got) != 1 || got[0].typ() != typeError || got[0].errno() != eBUSY {
				b.Errorf("second list: %v", got)
			}
		}
		equal(b, "answers for one thing", 2, len(answers[last]))
		equal(b, "services", 51+1, len(answers[first]))
		equal(b, "services afterwards", 51, len(b.list(cGetService)))
	}},
	{name: "a list resumes at an index", run: func(b *bench) {
		capacity := b.fourKiB()
		b.fill(40)
		other := b.second()
		names := other.services()
		ids := make(map[string][]byte)
		for _, a := range other.list(cGetService) {
			ids[serviceName(a)] = serviceID(a)
		}
		b.send(b.request(cGetService, flRequest|flDump))
		for _, name := range names[:3] {
			other.must(cDelService, svc(ids[name]))
		}
		var got []string
		for _, m := range slices.Concat(b.rest(b.seq)...) {
			got = append(got, serviceName(m.inner()))
		}
		n := capacity / 320
		equal(b, "services, three of which are skipped", slices.Concat(names[:n], names[n+3:]), got)
	}},
	{name: "a new entry shows another one twice", run: func(b *bench) {
		capacity := b.fourKiB()
		b.fillDests(vip, 40)
		names := b.dests(vip)
		b.send(b.request(cGetDest, flRequest|flDump, svc(vip)))
		b.second().must(cNewDest, svc(vip), dst(newRIP, routed))
		var got []string
		for _, m := range slices.Concat(b.rest(b.seq)...) {
			got = append(got, destName(m.inner()))
		}
		n := capacity / 356
		equal(b, "destinations", slices.Concat(names[:n], names[n-1:]), got)
	}},
	{name: "a service that goes during the list of its destinations", run: func(b *bench) {
		capacity := b.fourKiB()
		b.fillDests(vip, 40)
		b.send(b.request(cGetDest, flRequest|flDump, svc(vip)))
		b.second().must(cDelService, svc(vip))
		equal(b, "destinations", capacity/356, len(slices.Concat(b.rest(b.seq)...)))
	}},
	{name: "large tables", run: func(b *bench) {
		b.fill(1000)
		got := b.services()
		slices.Sort(got)
		equal(b, "services", 1000, len(slices.Compact(got)))
		b.fillDests(vip, 300)
		equal(b, "destinations", 300, len(b.dests(vip)))
	}},
}
