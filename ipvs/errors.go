package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// kindError is a sentinel that also counts as a more general error.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// What an [OpError] can mean beyond [fs.ErrPermission], [fs.ErrInvalid], [errors.ErrUnsupported], [os.ErrClosed] and
// the errors of the context. Test with [errors.Is].
var (
	// ErrModule: the kernel has no IPVS, or may not load its module.
	ErrModule = errors.New("IPVS is not available in this kernel")

	// ErrScheduler: no scheduler of that name. If the service names a persistence engine too, the kernel's answer is
	// the same for either, and the error matches both ErrScheduler and ErrPersistenceEngine.
	ErrScheduler = errors.New("unknown scheduler")

	// ErrPersistenceEngine: no persistence engine of that name; see ErrScheduler.
	ErrPersistenceEngine = errors.New("unknown persistence engine")

	// ErrServiceExists: a service of that identity is there already; matches [fs.ErrExist].
	ErrServiceExists error = &kindError{"service exists", fs.ErrExist}

	// ErrDestinationExists: the service has a destination of that address; matches [fs.ErrExist].
	ErrDestinationExists error = &kindError{"destination exists", fs.ErrExist}

	// ErrNoService: no service of that identity; matches [fs.ErrNotExist].
	ErrNoService error = &kindError{"no such service", fs.ErrNotExist}

	// ErrNoDestination: the service has no destination of that address; matches [fs.ErrNotExist].
	ErrNoDestination error = &kindError{"no such destination", fs.ErrNotExist}

	// ErrDaemonRuns: a daemon of that state runs already; matches [fs.ErrExist].
	ErrDaemonRuns error = &kindError{"daemon runs already", fs.ErrExist}

	// ErrNoDaemon: no daemon of that state runs; matches [fs.ErrNotExist].
	ErrNoDaemon error = &kindError{"daemon does not run", fs.ErrNotExist}

	// ErrInterface: no network device of that name.
	ErrInterface = errors.New("no such network interface")
)

// errSchedulerOrEngine is the kernel's one answer to two questions.
var errSchedulerOrEngine error = &bothError{"unknown scheduler or persistence engine", [2]error{ErrScheduler, ErrPersistenceEngine}}

type bothError struct {
	text string
	errs [2]error
}

func (e *bothError) Error() string   { return e.text }
func (e *bothError) Unwrap() []error { return e.errs[:] }

// FieldError says which field of an argument cannot be sent, and why. It matches [fs.ErrInvalid].
type FieldError struct {
	Field  string // path of the field, such as "Weight" or "Tunnel.Port"
	Reason string
}

// Error returns "Field: reason".
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Is reports whether target is [fs.ErrInvalid].
func (e *FieldError) Is(target error) bool { return target == fs.ErrInvalid }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// prefixField puts the name of the outer field in front of the inner one's.
func prefixField(outer string, err error) error {
	if fe, ok := errors.AsType[*FieldError](err); ok {
		return &FieldError{outer + "." + fe.Field, fe.Reason}
	}
	return err
}

// OpError is the error of a failed request: what was asked, about which object, and what the answer means.
//
// The kernel's errno alone is ambiguous (ENOENT is an unknown scheduler to one request and a missing destination to
// another), so Err is its meaning for this request, and Errno is not part of the chain that Unwrap opens; but
// errors.Is(err, syscall.EEXIST) works, with Linux numbers.
type OpError struct {
	Op          string         // "add service", "list destinations", …
	Service     ServiceID      // the service it was about, if any
	Destination netip.AddrPort // the destination it was about, if any
	Errno       syscall.Errno  // what the kernel answered, a Linux number on every system; 0 if it did not answer
	Err         error          // what it means
}

// Error returns "ipvs: OP SERVICE -> DESTINATION: MEANING".
func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("ipvs: ")
	b.WriteString(e.Op)
	if e.Service != (ServiceID{}) {
		b.WriteString(" " + e.Service.String())
	}
	if e.Destination.IsValid() {
		b.WriteString(" -> " + e.Destination.String())
	}
	b.WriteString(": ")
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(errnoName(e.Errno))
	}
	return b.String()
}

// Unwrap returns the meaning.
func (e *OpError) Unwrap() error { return e.Err }

// Is reports whether target is the kernel's errno.
func (e *OpError) Is(target error) bool {
	errno, ok := target.(syscall.Errno)
	return ok && errno != 0 && errno == e.Errno
}

// Timeout reports whether the request was given up because its time was over.
func (e *OpError) Timeout() bool { return errors.Is(e.Err, context.DeadlineExceeded) }

// Hint says in one sentence what a person can do about the error, and is empty if there is nothing general to say.
func (e *OpError) Hint() string {
	switch {
	case errors.Is(e.Err, ErrModule):
		return "load the module ip_vs (modprobe ip_vs) on the host; a container cannot load it, and some cloud kernels are built without it"
	case errors.Is(e.Err, fs.ErrPermission):
		return "run as root: IPVS needs CAP_NET_ADMIN in the initial user namespace, also for reading, so that root of a rootless container does not do"
	case errors.Is(e.Err, errSchedulerOrEngine):
		return "look for a typing error in the names of scheduler and persistence engine, or for modules ip_vs_NAME and ip_vs_pe_NAME that this kernel lacks"
	case errors.Is(e.Err, ErrScheduler):
		return "look for a typing error, or for a module ip_vs_NAME that this kernel lacks; Probe lists the schedulers that load"
	case errors.Is(e.Err, ErrInterface):
		return "name a network device of the director's namespace that is up"
	case e.Errno == eNETUNREACH:
		return "bring the device up and give it an address"
	case e.Op == opAddDestination && e.Errno == eINVAL:
		return "the address must be unicast and not link-local, and in a new network namespace some interface needs an address first (ip link set lo up)"
	case e.Op == opStartDaemon && e.Errno == eINVAL:
		return "daemons do not start while a destination of another family than its service exists"
	case errors.Is(e.Err, os.ErrClosed):
		return "the client was closed; dial a new one"
	case e.Errno == eNOBUFS:
		return "the answer was lost, and the request was executed: read the table again"
	}
	return ""
}

// The operations of OpError.Op that can change the table.
const (
	opAddService        = "add service"
	opSetService        = "set service"
	opDeleteService     = "delete service"
	opAddDestination    = "add destination"
	opSetDestination    = "set destination"
	opDeleteDestination = "delete destination"
	opSetTimeouts       = "set timeouts"
	opStartDaemon       = "start daemon"
	opStopDaemon        = "stop daemon"
)

// meaning translates an answer: the same errno says different things to different requests. withPE says that the
// request named a persistence engine.
func meaning(cmd uint8, errno syscall.Errno, withPE bool) error {
	switch errno {
	case ePERM:
		return fs.ErrPermission
	case eNOENT:
		switch cmd {
		case cmdNewService, cmdSetService:
			if withPE {
				return errSchedulerOrEngine
			}
			return ErrScheduler
		case cmdSetDest, cmdDelDest:
			return ErrNoDestination
		}
	case eSRCH:
		switch cmd {
		case cmdSetService, cmdDelService, cmdGetService, cmdNewDest, cmdSetDest, cmdDelDest, cmdGetDest, cmdZero:
			return ErrNoService
		case cmdDelDaemon:
			return ErrNoDaemon
		}
	case eEXIST:
		switch cmd {
		case cmdNewService:
			return ErrServiceExists
		case cmdNewDest:
			return ErrDestinationExists
		case cmdNewDaemon:
			return ErrDaemonRuns
		}
	case eNODEV:
		if cmd == cmdNewDaemon {
			return ErrInterface
		}
	case eINVAL, eRANGE:
		return fs.ErrInvalid
	case eOPNOTSUPP, eAFNOSUPPORT:
		return errors.ErrUnsupported
	}
	return errnoText(errno)
}

// errnoText says what the number says, but matches nothing by itself.
type errnoText syscall.Errno

func (e errnoText) Error() string { return errnoName(syscall.Errno(e)) }

// errnoNames has Linux's numbers: on other systems syscall.Errno would print something else.
var errnoNames = map[syscall.Errno]string{
	ePERM: "EPERM (operation not permitted)", eNOENT: "ENOENT (no such object)", eSRCH: "ESRCH (no such object)",
	eNOMEM: "ENOMEM (out of memory)", eBUSY: "EBUSY (busy)", eEXIST: "EEXIST (exists)", eNODEV: "ENODEV (no such device)",
	eINVAL: "EINVAL (invalid argument)", eRANGE: "ERANGE (out of range)", eMSGSIZE: "EMSGSIZE (message too long)",
	eNOPROTOOPT: "ENOPROTOOPT (the module is being unloaded)", eOPNOTSUPP: "EOPNOTSUPP (not supported)",
	eAFNOSUPPORT: "EAFNOSUPPORT (address family not supported)", eADDRNOTAVAIL: "EADDRNOTAVAIL (address not available)",
	eNETUNREACH: "ENETUNREACH (network is unreachable)", eNOBUFS: "ENOBUFS (an answer was lost for lack of buffer space)",
}

func errnoName(errno syscall.Errno) string {
	if s, ok := errnoNames[errno]; ok {
		return s
	}
	return "errno " + strconv.Itoa(int(errno))
}
