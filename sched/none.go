package sched

import (
	"net/netip"
	"time"
)

// unobservant is for algorithms that keep nothing between picks.
type unobservant struct{}

func (unobservant) bind() error     { return nil }
func (unobservant) added(*Server)   {}
func (unobservant) removed(*Server) {}
func (unobservant) updated(*Server) {}
func (unobservant) counted(*Server) {}
func (unobservant) renumbered()     {}

// none is a service without a scheduler.
type none struct{ unobservant }

func (none) pick(netip.AddrPort, netip.Addr, time.Duration) *Server { return nil }
