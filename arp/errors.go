package arp

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"

	"github.com/mdlayher/netlink"
)

// Reasons why nothing can be announced or asked on a device. They are matched with errors.Is.
var (
	// ErrDown says that the device is switched off.
	ErrDown = errors.New("the device is down")

	// ErrNoCarrier says that the device is on but has no carrier, so that frames would be lost without an error.
	ErrNoCarrier = errors.New("the device has no carrier")

	// ErrNoHardwareAddress says that the device has no Ethernet address, as tunnels have none.
	ErrNoHardwareAddress = errors.New("the device has no Ethernet hardware address")

	// ErrNoNeighbours says that nobody listens on the device: it is the loopback device or does not use ARP.
	ErrNoNeighbours = errors.New("the device is loopback or does not use ARP, nobody would hear it")
)

// ErrStale says that the host was changed after a plan was made, so that the plan no longer says what would happen.
// Make a new one.
var ErrStale = errors.New("the host was changed after the plan was made")

// OpError is the error of a request that the kernel refused, or of a look at one thing.
type OpError struct {
	Op      string        // "add address", "list links", "announce", …
	Device  string        // the device it was about, if any
	Address netip.Addr    // the address it was about, if any
	Errno   syscall.Errno // what the kernel answered, Linux numbers; 0 if it was not asked
	Err     error         // what it means
}

// Error says what was asked, about what, and what the answer means.
func (e *OpError) Error() string {
	s := "arp: " + e.Op
	if e.Address.IsValid() {
		s += " " + e.Address.String()
	}
	if e.Device != "" {
		s += " on " + e.Device
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the meaning.
func (e *OpError) Unwrap() error { return e.Err }

// Is matches the raw error number.
func (e *OpError) Is(target error) bool {
	errno, ok := target.(syscall.Errno)
	return ok && e.Errno != 0 && e.Errno == errno
}

// meaning is a text that matches one of the usual errors.
type meaning struct {
	text string
	kind error
}

func (m meaning) Error() string        { return m.text }
func (m meaning) Is(target error) bool { return target == m.kind }

// errnoOf returns the kernel's answer in an error, 0 if there is none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

// explain turns the kernel's answer to a request into an OpError.
func explain(op, device string, addr netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	var done *OpError
	if errors.As(err, &done) {
		return err
	}
	e := &OpError{Op: op, Device: device, Address: addr, Errno: errnoOf(err), Err: err}
	hint := ""
	var nl *netlink.OpError
	if errors.As(err, &nl) && nl.Message != "" {
		hint = " (" + nl.Message + ")"
	}
	switch e.Errno {
	case 0:
	case errnoPERM, errnoACCES:
		e.Err = meaning{"needs CAP_NET_ADMIN or CAP_NET_RAW in the network namespace" + hint, fs.ErrPermission}
	case errnoEXIST, errnoADDRINUSE:
		e.Err = meaning{"exists already" + hint, fs.ErrExist}
	case errnoNODEV, errnoNXIO:
		e.Err = meaning{"no such device", fs.ErrNotExist}
	case errnoADDRNOTAVAIL, errnoSRCH, errnoNOENT:
		e.Err = meaning{"does not exist" + hint, fs.ErrNotExist}
	case errnoOPNOTSUPP:
		e.Err = meaning{"not supported: the kernel module for it is missing" + hint, errors.ErrUnsupported}
	case errnoINVAL, errnoRANGE:
		e.Err = meaning{"the kernel refuses a value" + hint, fs.ErrInvalid}
	case errnoNETDOWN:
		e.Err = ErrDown
	default:
		e.Err = meaning{fmt.Sprintf("error %d%s", uint(e.Errno), hint), nil}
	}
	return e
}

// errNotOurs is about a device that this package does not remove.
var errNotOurs error = meaning{"neither a tunnel nor a dummy device", fs.ErrInvalid}
