package main

import _ "embed"

// example is a configuration.
//
//go:embed example.json
var example string

// help is what -h prints, around the flags and the example.
const help = `usage: healthcheck [flags] FILE

Asks real servers again and again, takes those that fail out of service, and brings them back.
SIGHUP reads FILE again, SIGUSR1 prints the status, SIGINT and SIGTERM end the program; the table serves on.

%s
FILE is JSON, such as

%s
The file:
  defaults    interval, timeout, rise, fall and jitter of checks that do not have them (5s, 2s, 2, 3, 0.1)
  resync      how often the table is compared with the file besides (30s)
  through     for checks of virtual addresses: marks, the first and last firewall mark that the program may use,
              and sources, the director's own addresses that they come from
  services    the virtual services; others are not touched

A service:
  service     "TCP 192.0.2.10:80", "UDP [2001:db8::1]:53", "FWM 7" (required)
  scheduler, flags, engine, persist (a time), mask (a length)    as ipvsadm has them (scheduler wlc)
  forward     Masq, Route or Tunnel (Masq)
  action      what becomes of a server that fails: quiesce, its weight is 0, or remove (quiesce)
  checks      all of them have to pass; without any a server is always up
  slowStart   a server that returns gets its weight little by little, for so long
  sorry       the server that gets the clients while no other is up
  real        the real servers

A real server:
  addr        address and port (required)
  weight      its weight while it is up (1); 0 takes it out of service
  forward, upper, lower, tunnel (type, port, flags)    as ipvsadm has them
  checks      instead of the service's

A check:
  type        tcp, http, https, udp, dns or command (required)
  interval, timeout, rise, fall, jitter    from the beginning of one to that of the next; for an answer; how many good
              ones in a row bring a server back; how many bad ones take it out; the random part that intervals are shorter by
  address, port    that are asked (the real server's)
  through     "vip": ask the virtual address on this server only, see the field through of the file
  method, path, host, header, status, body    http: the request, the good statuses (200-299), what the content matches
  insecure    https: any certificate will do
  send, sendHex, expect    udp: what is sent, and what the answer matches (anything)
  name, record, answer     dns: what is looked up, A, AAAA, NS, SOA, MX or TXT (A), and an address that has to be among the
              answers
  command     a program and its arguments, no shell; status 0 is good; {addr} and {port} stand for the server's
  weight      http and command: the first word of the answer is the server's weight: between min (1) and max, smoothed,
              smooth being the part of a new number in the average (0.3)
`
