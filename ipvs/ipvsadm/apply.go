package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/golvs/lvs/ipvs"
)

// Linux error numbers, on every system.
const (
	ePERM        syscall.Errno = 1
	eNOENT       syscall.Errno = 2
	eSRCH        syscall.Errno = 3
	eNOMEM       syscall.Errno = 12
	eEXIST       syscall.Errno = 17
	eNODEV       syscall.Errno = 19
	eINVAL       syscall.Errno = 22
	eRANGE       syscall.Errno = 34
	eMSGSIZE     syscall.Errno = 90
	eNOPROTOOPT  syscall.Errno = 92
	eOPNOTSUPP   syscall.Errno = 95
	eAFNOSUPPORT syscall.Errno = 97
	eNOBUFS      syscall.Errno = 105
)

// Apply carries out the operation if it is a change: see [Command.Changes]. For another command the error matches
// [errors.ErrUnsupported].
//
// What package ipvs refuses to send is judged as the kernel would have judged it, because ipvsadm sends everything: a
// server with an IPv4-mapped address is refused as not unicast, and not taken for the IPv4 address. The error is an
// [*ipvs.OpError] with the kernel's errno; [Explain] makes it ipvsadm's message.
func (op Operation) Apply(ctx context.Context, c *ipvs.Client) error {
	id := op.Service.ID
	var err error
	switch op.Command {
	case AddService:
		err = c.AddService(ctx, op.Service)
	case SetService:
		err = c.SetService(ctx, op.Service)
	case DeleteService:
		err = c.DeleteService(ctx, id)
	case Flush:
		err = c.Flush(ctx)
	case AddDestination, SetDestination, DeleteDestination:
		err = op.applyDestination(ctx, c)
	case SetTimeouts:
		err = c.SetTimeouts(ctx, op.Timeouts)
	case StartDaemon:
		err = c.StartDaemon(ctx, op.Daemon)
	case StopDaemon:
		err = c.StopDaemon(ctx, op.Daemon.State)
	case Zero:
		if id == (ipvs.ServiceID{}) {
			err = c.ZeroAll(ctx)
		} else {
			err = c.Zero(ctx, id)
		}
	default:
		return fmt.Errorf("ipvsadm: %v is not a change: %w", op.Command, errors.ErrUnsupported)
	}
	if refused(err) {
		return op.refuse(err, eINVAL, fs.ErrInvalid)
	}
	return err
}

// refused reports whether the client did not send the request.
func refused(err error) bool {
	_, field := errors.AsType[*ipvs.FieldError](err)
	e, ok := errors.AsType[*ipvs.OpError](err)
	return field && ok && e.Errno == 0
}

func (op Operation) applyDestination(ctx context.Context, c *ipvs.Client) error {
	id, d := op.Service.ID, op.Destination
	mapped := d.Addr.Addr().Is4In6() // the client would send the IPv4 address
	var err error
	switch {
	case mapped:
	case op.Command == AddDestination:
		err = c.AddDestination(ctx, id, d)
	case op.Command == SetDestination:
		err = c.SetDestination(ctx, id, d)
	default:
		err = c.DeleteDestination(ctx, id, d.Addr)
	}
	if !mapped && !refused(err) {
		return err
	}
	if _, err := c.Service(ctx, id); err != nil {
		if e, ok := errors.AsType[*ipvs.OpError](err); ok {
			return op.refuse(err, e.Errno, e.Err)
		}
		return err
	}
	whole := op.Command != DeleteDestination
	if whole && op.mixed() {
		// Not while a synchronisation daemon runs, which the kernel looks at first.
		if list, listErr := c.Daemons(ctx); listErr == nil && len(list) > 0 {
			return op.refuse(err, eINVAL, fs.ErrInvalid)
		}
	}
	switch {
	case whole && d.LowerThreshold > d.UpperThreshold:
		return op.refuse(err, eRANGE, fs.ErrInvalid)
	case mapped && op.Command != AddDestination:
		return op.refuse(err, eNOENT, ipvs.ErrNoDestination)
	}
	return op.refuse(err, eINVAL, fs.ErrInvalid)
}

// special reports whether package ipvs would refuse what the kernel is to be asked about, or take it for something else.
func (op *Operation) special() bool {
	return op.Destination.Addr.Addr().Is4In6() || op.Destination.LowerThreshold > op.Destination.UpperThreshold
}

// mixed reports whether the destination's family is not the service's.
func (op Operation) mixed() bool {
	return op.Destination.Addr.Addr().Is4() != (op.Service.ID.AddrFamily() == ipvs.IPv4)
}

// refuse makes the kernel's answer of what the client found out without it.
func (op Operation) refuse(err error, errno syscall.Errno, meaning error) error {
	if err != nil {
		if f, ok := errors.AsType[*ipvs.FieldError](err); ok && errors.Is(f, meaning) {
			meaning = f
		}
	}
	return &ipvs.OpError{
		Op: requestNames[op.Command], Service: op.Service.ID, Destination: op.Destination.Addr, Errno: errno, Err: meaning,
	}
}

// requestNames are the names that package ipvs has for the requests; never written to.
var requestNames = [...]string{
	AddService: "add service", SetService: "set service", DeleteService: "delete service", Flush: "flush",
	AddDestination: "add destination", SetDestination: "set destination", DeleteDestination: "delete destination",
	SetTimeouts: "set timeouts", StartDaemon: "start daemon", StopDaemon: "stop daemon", Zero: "zero service",
}
