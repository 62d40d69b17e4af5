package ipvsadm

import (
	"context"
	"net/netip"
	"slices"

	"github.com/golvs/lvs/ipvs"
)

// FromChange returns the operation that does what a change does, so that a plan can be printed as a rule file:
//
//	for _, c := range ipvs.Diff(have, want, nil) {
//		if op, ok := ipvsadm.FromChange(c); ok {
//			fmt.Println(op) // -e -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 0
//		} else {
//			fmt.Println("#", c)
//		}
//	}
//
// The operation's text is in the lossless form: a [Parser] with Lossless reads it as the same operation, and so does
// ipvsadm if what it says could have been said there; see [Operation]. FromChange reports false for what no line can say: an
// edit that leaves some flags of a service as they are (FlagMask), a weight or threshold above 2147483647, a time with a
// fraction of a second, an IPv6 mask with holes, a name with a blank, no address, no scheduler, and the zero kind.
func FromChange(c ipvs.Change) (Operation, bool) {
	var op Operation
	switch c.Kind {
	case ipvs.ServiceAdd, ipvs.ServiceSet:
		op.Service = c.Service
		if m := c.Service.FlagMask; m != 0 {
			if c.Kind == ipvs.ServiceSet && m != ^ipvs.ServiceFlags(0) {
				return Operation{}, false
			}
			op.Service.Flags, op.Service.FlagMask = c.Service.Flags&m, 0
		}
	case ipvs.ServiceDelete:
		op.Service.ID = c.Service.ID
	case ipvs.DestinationAdd, ipvs.DestinationSet:
		op.Service.ID, op.Destination = c.Service.ID, c.Destination
	case ipvs.DestinationDelete:
		op.Service.ID, op.Destination.Addr = c.Service.ID, c.Destination.Addr
	case ipvs.TimeoutsSet:
		op.Timeouts = c.Timeouts
	case ipvs.DaemonStart:
		op.Daemon = c.Daemon
	case ipvs.DaemonStop:
		op.Daemon.State = c.Daemon.State
	default:
		return Operation{}, false
	}
	op.Command = changeCommand(c.Kind)
	op.normalize()
	lossless := Parser{Lossless: true}
	if again, err := lossless.ParseLine(context.Background(), op.String()); err != nil || again != op {
		return Operation{}, false
	}
	return op, true
}

// changeKinds are the kinds of the commands that package ipvs can carry out together with others; never written to.
var changeKinds = [commandCount]ipvs.ChangeKind{
	AddService: ipvs.ServiceAdd, SetService: ipvs.ServiceSet, DeleteService: ipvs.ServiceDelete,
	AddDestination: ipvs.DestinationAdd, SetDestination: ipvs.DestinationSet, DeleteDestination: ipvs.DestinationDelete,
	SetTimeouts: ipvs.TimeoutsSet, StartDaemon: ipvs.DaemonStart, StopDaemon: ipvs.DaemonStop,
}

func changeCommand(k ipvs.ChangeKind) Command { return Command(slices.Index(changeKinds[:], k)) }

// operationOf returns the operation that a change was made from.
func operationOf(c *ipvs.Change) Operation {
	return Operation{
		Command: changeCommand(c.Kind), Service: c.Service, Destination: c.Destination, Timeouts: c.Timeouts, Daemon: c.Daemon,
	}
}

// normalize writes out what package ipvs understands when it is left out, and brings addresses into the form in which a
// parser returns them.
func (op *Operation) normalize() {
	if op.Service.ID != (ipvs.ServiceID{}) {
		if id, err := ipvs.ParseServiceID(op.Service.ID.String()); err == nil {
			op.Service.ID = id
		}
	}
	if (op.Command == AddService || op.Command == SetService) && !op.Service.Netmask.IsValid() {
		op.Service.Netmask = wholeAddr4
		if op.Service.ID.AddrFamily() == ipvs.IPv6 {
			op.Service.Netmask = wholeAddr6
		}
	}
	addr := op.Destination.Addr
	op.Destination.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	op.Daemon.Group = op.Daemon.Group.Unmap()
}
