// Package sched models the connection schedulers of Linux Virtual Server: given the same servers, connections and
// packets it picks the server that the kernel picks, decision by decision.
package sched
