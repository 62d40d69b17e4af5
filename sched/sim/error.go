package sim

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors of changes to the tables, each for one answer of the kernel. They come in an [*Error].
var (
	// ErrServiceExists matches fs.ErrExist; the kernel's EEXIST.
	ErrServiceExists = fmt.Errorf("service exists: %w", fs.ErrExist)
	// ErrNoService matches fs.ErrNotExist; the kernel's ESRCH.
	ErrNoService = fmt.Errorf("no such service: %w", fs.ErrNotExist)
	// ErrDestExists matches fs.ErrExist; the kernel's EEXIST.
	ErrDestExists = fmt.Errorf("destination exists: %w", fs.ErrExist)
	// ErrNoDest matches fs.ErrNotExist; the kernel's ENOENT.
	ErrNoDest = fmt.Errorf("no such destination: %w", fs.ErrNotExist)
	// ErrScheduler is an unknown scheduler; the kernel's ENOENT.
	ErrScheduler = errors.New("unknown scheduler")
	// ErrEngine is an unknown persistence engine; the kernel's ENOENT.
	ErrEngine = errors.New("unknown persistence engine")
	// ErrRange is a weight above 2147483647, or a lower threshold above the upper one; the kernel's ERANGE.
	ErrRange = errors.New("value out of range")
	// ErrInvalid is anything else that the kernel answers with EINVAL: an address that no real server can have, another family
	// without a tunnel, an upper threshold above 2147483647, a timeout or the value of a sysctl out of range.
	ErrInvalid = errors.New("invalid value")
	// ErrSysctl is a sysctl that no kernel looked at has.
	ErrSysctl = errors.New("no such sysctl")
	// ErrNotModelled is a value of a sysctl that the kernel takes, but this package has no model of.
	ErrNotModelled = errors.New("not modelled")
)

// Error is a change that was refused. Nothing has changed then.
type Error struct {
	Op  string // such as "add service"
	On  string // the service, the service and destination, or the sysctl
	Err error  // what it means; one of the errors of this package may be wrapped
}

// Error says what was refused, and why.
func (e *Error) Error() string { return "sim: " + e.Op + " " + e.On + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
