// Package persist models the persistence templates of Linux Virtual Server, the entries that keep a client on its server,
// and the arithmetic of the table that holds them and all connections.
//
//	t := persist.NewTable[*sched.Server](nil)
//	s := persist.Service{Virtual: netip.MustParseAddrPort("192.0.2.1:80"), Timeout: 5 * time.Minute}
//	p := persist.Packet{Protocol: 6, Client: netip.MustParseAddrPort("198.51.100.7:40000"), Virtual: s.Virtual}
//	e, err := t.Open(now, &s, &p, pick) // asks pick only if the client has no server yet
//	…
//	t.Release(e) // the connection is gone
//	t.Advance(later)
//
// A template is found by a key that depends on the service: see [Form]. It lives for the persistence timeout of the
// service after the client's last new connection; packets of a connection do not prolong it. If connections are left when
// it expires, it is postponed by 60 seconds, and those replace its timeout for good: see [Table.Advance].
//
// The rules were observed on Linux 6.1 and 6.12. The kernel's timers fire up to an eighth of their interval late; here they
// fire exactly.
//
// There is no clock, lock, goroutine or I/O in this package: time is an argument, a duration since any fixed moment. What
// it makes is not safe for concurrent use. No privilege and no kernel module is needed.
package persist
