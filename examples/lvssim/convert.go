package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/sched/sim"
)

// Conversions between the simulator's words and those of package ipvs.

func simID(id ipvs.ServiceID) sim.ServiceID {
	if id.IsMark() {
		return sim.ServiceID{Mark: id.FWMark, IPv6: id.Family == ipvs.IPv6}
	}
	return sim.ServiceID{Protocol: sim.Protocol(id.Protocol), Addr: id.Addr}
}

func ipvsID(id sim.ServiceID) ipvs.ServiceID {
	if id.Mark != 0 {
		family := ipvs.IPv4
		if id.IPv6 {
			family = ipvs.IPv6
		}
		return ipvs.Mark(id.Mark, family)
	}
	return ipvs.ServiceID{Protocol: ipvs.Protocol(id.Protocol), Addr: id.Addr}
}

func simService(s ipvs.Service) sim.Service {
	return sim.Service{
		ID: simID(s.ID), Scheduler: s.Scheduler, Flags: sim.Flags(s.Flags), Timeout: s.Timeout, Mask: s.Netmask, Engine: s.PE,
	}
}

func ipvsService(s sim.ServiceStatus) ipvs.ServiceStatus {
	return ipvs.ServiceStatus{
		Service: ipvs.Service{
			ID: ipvsID(s.ID), Scheduler: s.Scheduler, Flags: ipvs.ServiceFlags(s.Flags), Timeout: s.Timeout, Netmask: s.Mask, PE: s.Engine,
		},
		Stats: ipvsStats(s.Stats),
	}
}

func simDest(d ipvs.Destination) sim.Dest {
	return sim.Dest{Addr: d.Addr, Method: sim.Method(d.Forward), Weight: d.Weight, Upper: d.UpperThreshold, Lower: d.LowerThreshold}
}

func ipvsDest(d sim.DestStatus) ipvs.DestinationStatus {
	return ipvs.DestinationStatus{
		Destination: ipvs.Destination{
			Addr: d.Addr, Forward: ipvs.ForwardMethod(d.Method), Weight: d.Weight, UpperThreshold: d.Upper, LowerThreshold: d.Lower,
		},
		Active: uint32(d.Active), Inactive: uint32(d.Inactive), Persistent: uint32(d.Persistent), Stats: ipvsStats(d.Stats),
	}
}

func ipvsStats(s sim.Stats) ipvs.Stats {
	v, r := s.Visible, s.Rates
	return ipvs.Stats{
		Connections: v.Conns, InPackets: v.InPackets, OutPackets: v.OutPackets, InBytes: v.InBytes, OutBytes: v.OutBytes,
		ConnectionRate: r.Conns, InPacketRate: r.InPackets, OutPacketRate: r.OutPackets, InByteRate: r.InBytes, OutByteRate: r.OutBytes,
	}
}

func ipvsConn(c sim.Conn) ipvs.Connection {
	return ipvs.Connection{
		Protocol: c.Protocol.String(), Client: c.Client, Virtual: c.Virtual, Destination: c.Dest, State: c.State, Expires: c.Expires,
		PE: c.Engine, PEData: c.Data,
	}
}

// explain returns what ipvsadm says about a refused change.
func explain(c ipvsadm.Command, err error) string {
	var errno syscall.Errno // Linux numbers
	switch {
	case errors.Is(err, fs.ErrExist):
		errno = 17
	case errors.Is(err, sim.ErrNoService):
		errno = 3
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, sim.ErrScheduler), errors.Is(err, sim.ErrEngine):
		errno = 2
	case errors.Is(err, sim.ErrRange):
		errno = 34
	case errors.Is(err, sim.ErrInvalid):
		errno = 22
	default:
		return err.Error()
	}
	text, _ := ipvsadm.Explain(c, &ipvs.OpError{Op: c.String(), Errno: errno, Err: err})
	return text
}

// apply carries out a command line of ipvsadm.
func apply(d *sim.Director, op ipvsadm.Operation) error {
	id := simID(op.Service.ID)
	switch op.Command {
	case ipvsadm.AddService:
		return d.AddService(simService(op.Service))
	case ipvsadm.SetService:
		return d.SetService(simService(op.Service))
	case ipvsadm.DeleteService:
		return d.DeleteService(id)
	case ipvsadm.Flush:
		d.Clear()
	case ipvsadm.AddDestination:
		return d.AddDest(id, simDest(op.Destination))
	case ipvsadm.SetDestination:
		return d.SetDest(id, simDest(op.Destination))
	case ipvsadm.DeleteDestination:
		return d.DeleteDest(id, op.Destination.Addr)
	case ipvsadm.SetTimeouts:
		return d.SetTimeouts(sim.Timeouts{TCP: op.Timeouts.TCP, TCPFin: op.Timeouts.TCPFin, UDP: op.Timeouts.UDP})
	case ipvsadm.Zero:
		if op.Service.ID == (ipvs.ServiceID{}) {
			d.ZeroAll()
			return nil
		}
		return d.Zero(id)
	}
	return nil
}
