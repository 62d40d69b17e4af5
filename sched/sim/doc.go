// Package sim is a director without a kernel: virtual services with their schedulers, persistence templates, connections
// with their protocol states and timeouts, counters, and virtual time. It answers which server a client gets, and what
// happens to the others when one is drained.
//
//	d := sim.New(nil)
//	vip := sim.ServiceID{Protocol: sim.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
//	err := d.AddService(sim.Service{ID: vip, Scheduler: "wlc"})
//	err = d.AddDest(vip, sim.Dest{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 1})
//	f := sim.Flow{Protocol: sim.TCP, Client: netip.MustParseAddrPort("198.51.100.7:40000"), Virtual: vip.Addr}
//	r := d.Open(f)                 // a SYN: r.Dest is where it goes
//	d.Advance(10 * time.Second)    // to that time
//	d.Close(f)
//
// The rules are those of Linux 6.1 and 6.12, as observed there. Timers fire exactly when they are due, where the kernel's
// fire up to an eighth of their interval late; at one moment connections end before templates, and both before the event that
// the caller makes next. What the kernel does one tick later happens at the end of the event.
//
// Virtual addresses are taken to be the director's own, and nothing to listen there: what no service wants is answered by
// its network stack.
//
// Not modelled: synchronisation between directors, ICMP, fragments, the FTP helper's data connections, connections that
// begin at a real server, netfilter's connection tracking (which the kernel uses for masqueraded services with port 21, and
// which then drops the first SYN that uses a port again), and the defences against a shortage of memory, of which there is
// always enough.
//
// There is no clock, goroutine, lock or I/O, and the same calls give the same answers. A Director is not safe for concurrent
// use. No privilege and no kernel module is needed.
package sim
