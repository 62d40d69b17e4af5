// Package sched models the connection schedulers of Linux Virtual Server (IPVS) without a kernel: given the same
// servers, connections and packets, a [Scheduler] picks the server that the kernel picks, decision by decision.
//
//	s, err := sched.New("wlc", sched.Config{})
//	a, err := s.Add(netip.MustParseAddrPort("10.0.0.1:80"), sched.Settings{Weight: 1})
//	b, err := s.Add(netip.MustParseAddrPort("10.0.0.2:80"), sched.Settings{Weight: 2})
//	d := s.Pick(sched.Flow{}, 0) // a, b, or nil if none is available
//	d.Open(sched.Active)         // the connection counts from now on
//	d.Close(sched.Active)        // and no longer
//
// It needs no privileges, runs on any system, and has no clock, no randomness, no goroutine and no lock of its
// own: time and random numbers are arguments, so equal calls give equal answers. It is meant for simulation, for
// capacity planning, and as a reference in tests. A Scheduler and its servers belong to one goroutine at a time.
//
// # What is modelled
//
// One Scheduler is one virtual service with its list of real servers. The list has the order of the kernel, which
// is part of the behaviour: a new server comes first, an update does not move it, and a server that was removed
// and added again comes first again. Note that restoring a table from the sorted output of ipvsadm -S reverses the
// order.
//
// Schedulers read of a server its weight, its counters of active and inactive connections, and whether it is
// overloaded. Weight 0 quiesces a server: no scheduler gives it a new connection. (Persistence templates do, but
// they come before the scheduler and are not part of this package.) A server with an upper threshold is overloaded
// from the moment its connections, inactive ones included, reach it, until they fall below the lower threshold,
// and gets no new connections meanwhile; see [Settings]. Persistent clients and open connections go on regardless.
//
// Connections are counted by [Server.Open], [Server.Move] and [Server.Close]. A pick does not count itself:
// between pick and arrival the caller may drop the packet, as the kernel may. A server that [Scheduler.Remove]
// took out of the list keeps its counters, because its connections go on and because the kernel finds the same
// object, counters and all, when the server is added again while it still lingers; [Scheduler.Restore] is that
// addition.
//
// Decisions were compared with those of Linux 6.1 and 6.12, where an active connection weighs as much as 257
// inactive ones. Other texts and older kernels say 256; [Config.LegacyCounters] models them, unproven.
//
// # The schedulers
//
// Static schedulers do not look at connections, only at weights and addresses; dynamic ones do. With UDP no
// connection is ever active, so what counts active connections only sees idle servers. "Usable" means: weight
// above 0 and not overloaded. In a tie the first server of the list wins, that is the one added last.
//
// rr, round robin (static). The next usable server after the one used last. Use it for equal servers and short,
// equal requests. Weights make no difference, except that 0 quiesces: a server of weight 100 gets as much as one
// of weight 1.
//
// wrr, weighted round robin (static). Shares connections by weight: in a period of sum(weight)/gcd(weights)
// connections each server gets weight/gcd. It goes level by level and does not interleave: with weights 4, 3, 2
// the order is A, A B, A B C, A B C, so a server of large weight gets bursts. Each change of any server, even one
// that changes nothing, starts the walk over at the head, which favours the servers added last if changes are
// frequent. With overloaded servers, the others share what they would have got.
//
// lc, least-connection (dynamic). The usable server with the least overhead, 257·active + inactive. Ignores
// weights above 0. Use it for equal servers and requests of unequal length.
//
// wlc, weighted least-connection (dynamic), the default of ipvsadm. The usable server with the least overhead per
// weight. A server that returns empty gets all new connections until it has caught up.
//
// sed, shortest expected delay (dynamic). The usable server with the least (active+1)/weight. Inactive connections
// do not count. While there are few connections, fast servers get them all: with weights 1 and 10 the first nine
// go to the large one. With UDP it always picks the largest weight.
//
// nq, never queue (dynamic). The first usable server without any active connection, however slow it is; if all are
// busy, like sed. With UDP it always picks the first usable server of the list.
//
// lblc, locality-based least-connection (dynamic). For caches and transparent proxies, with a firewall-mark
// service: each destination address has a server, chosen by wlc when it first comes up, and stays there until the
// server is removed or quiesced, or has more active connections than its weight while another server has fewer
// than half its weight. An overloaded server keeps the addresses that it has. Weights must be in the order of the
// connections a server can take, or that rule never applies, or always. In a service with one VIP there is one
// address, and one server gets everything. Addresses are forgotten when unused for 24 hours, at a check that runs
// every 30 minutes and 43.2 seconds.
//
// lblcr, locality-based least-connection with replication (dynamic). Like lblc, but a destination address has a
// set of servers and goes to its least loaded one; where lblc would move the address, the set grows, and a set
// that has not changed for 24 hours loses its most loaded server with the next packet. For caches with a few
// popular addresses. Overloaded servers of the set are skipped.
//
// dh, destination hashing (static). A table of 256 slots, looked up by the destination address. Each server has as
// many slots as any other, whatever its weight. If the server of a slot is quiesced or overloaded, its clients are
// refused: there is no fallback. Removing a server deals all slots anew. For firewall-mark services only, since a
// VIP is one address.
//
// sh, source hashing (static). A table of 256 slots, looked up by the client's address (and port, with the flag
// [Port]); a server has slots in proportion to its weight, and one if the weight is 0. Without the flag
// [Fallback], clients of a quiesced or overloaded server are refused; with it, they go to others, though not
// evenly: with four equal servers, all clients of one go to the same other one. A weight above 255 that comes
// first in the list leaves no slots to the others. Each change of a weight or of the list builds a new table, in
// which many clients have another server.
//
// fo, weighted failover (static). The usable server with the largest weight gets everything; the next one takes
// over when it is quiesced or overloaded.
//
// ovf, weighted overflow (dynamic). The usable server with the largest weight whose active connections do not
// exceed its weight, so weight 10 takes eleven. When all are full, connections are refused. With UDP nothing ever
// overflows.
//
// mh, Maglev hashing (static). Like sh, with a table of 4093 slots that changes little when a server comes or
// goes: removing one of n servers of equal weight moved at most 2.5 % of the other servers' slots with 3, 10 and
// 200 servers, and 4.2 % with 50 servers, in the tests of this package. Weights are scaled down until the largest,
// divided by the common divisor, is below 64, so 200 to 1 becomes 50 to 1. Setting weight 0 leaves the table
// alone: clients of that server are refused, or go to others with the flag Fallback, and come back with the
// weight. Removing the server gives its slots away, and adding it with weight 0 gives it none. More servers than
// slots leave the old table in use.
//
// twos, power of two choices (dynamic). Draws two servers at random, by weight, and takes the one with less
// overhead per weight. Avoids the rush on a server that returns empty. The first usable server of the list is
// drawn a little more often, (w+1)/(W+1) instead of w/W for a sum W of weights. Not in every kernel: some
// distributions do not build it.
//
// # Speed
//
// A pick does not allocate for a flow seen before. With ten thousand servers it takes hardly longer than with ten
// under rr, wrr, dh, sh and mh; under lc, wlc, sed, nq, fo and ovf the time grows with the logarithm of the number.
// Exceptions are twos, which walks the list; and the changes of servers that make wrr look at all of them, or make dh,
// sh and mh fill their table with the next pick.
//
// One search cannot be cut short. With the flag Fallback, mh probes slots in an order that a hash of the client's address
// and of the probe's number gives. If one of the 4093 slots is usable, it takes up to 4093 hashes to find it, or to see
// that this client never comes there: 30 µs on average, measured with 10,000 servers. The scheduler remembers, for some
// thousand clients, where their search ended until a server becomes usable again, so that their further picks take 50 ns.
package sched
