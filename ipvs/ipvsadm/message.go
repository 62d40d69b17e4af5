package ipvsadm

import (
	"errors"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/golvs/lvs/ipvs"
)

// Explain returns what ipvsadm prints about an error, without the newline, and its exit status: for the mistakes that
// [Parser] finds, and for the kernel's refusals of a command, whose meaning depends on the command. Of an error from
// elsewhere it returns the text.
func Explain(c Command, err error) (text string, status int) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Error(), e.Status()
	}
	status = statusRefused
	if !c.Changes() {
		status = statusListing
	}
	e, ok := errors.AsType[*ipvs.OpError](err)
	switch {
	case ok && e.Errno != 0:
		return errnoText(c, e.Errno), status
	case errors.Is(err, ipvs.ErrModule):
		return errnoText(c, eNOPROTOOPT), status
	case errors.Is(err, fs.ErrPermission):
		return errnoText(c, ePERM), status
	case errors.Is(err, ipvs.ErrNoService):
		return errnoText(c, eSRCH), status
	}
	return err.Error(), status
}

// errnoText returns the text for a command and an errno, for the errno alone, or the C library's.
func errnoText(c Command, errno syscall.Errno) string {
	switch errno {
	case eEXIST:
		switch c {
		case AddService:
			return "Service already exists"
		case AddDestination:
			return "Destination already exists"
		case StartDaemon:
			return "Daemon has already run"
		}
	case eNOENT:
		switch c {
		case AddService, SetService:
			return "Scheduler or persistence engine not found"
		case SetDestination, DeleteDestination:
			return "No such destination"
		}
	case eSRCH:
		switch c {
		case SetService, DeleteService, Zero, List, Save:
			return "No such service"
		case AddDestination, SetDestination, DeleteDestination:
			return "Service not defined"
		case StopDaemon:
			return "No daemon is running"
		}
	case ePERM:
		return "Permission denied (you must be root)"
	case eINVAL:
		return "Invalid operation.  Possibly wrong module version, address not unicast, ..."
	case eNOPROTOOPT:
		return "Protocol not available"
	case eNOMEM:
		return "Memory allocation problem"
	case eOPNOTSUPP:
		return "Operation not supported with IPv6"
	case eAFNOSUPPORT:
		return "Operation not supported with specified address family"
	case eMSGSIZE:
		return "Module is wrong version"
	}
	if s, ok := libraryText(errno); ok {
		return s
	}
	return "Unknown error " + strconv.Itoa(int(errno))
}

// libraryText returns the C library's text of an errno that the kernel can answer.
func libraryText(errno syscall.Errno) (string, bool) {
	switch errno {
	case eNOENT:
		return "No such file or directory", true
	case eSRCH:
		return "No such process", true
	case 4:
		return "Interrupted system call", true
	case 5:
		return "Input/output error", true
	case 11:
		return "Resource temporarily unavailable", true
	case 13:
		return "Permission denied", true
	case 14:
		return "Bad address", true
	case 16:
		return "Device or resource busy", true
	case eEXIST:
		return "File exists", true
	case eNODEV:
		return "No such device", true
	case 28:
		return "No space left on device", true
	case eRANGE:
		return "Numerical result out of range", true
	case 61:
		return "No data available", true
	case 98:
		return "Address already in use", true
	case 99:
		return "Cannot assign requested address", true
	case 100:
		return "Network is down", true
	case 101:
		return "Network is unreachable", true
	case 105:
		return "No buffer space available", true
	case 110:
		return "Connection timed out", true
	case 111:
		return "Connection refused", true
	}
	return "", false
}
