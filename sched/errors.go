package sched

import "errors"

// Errors of this package. They come wrapped with what was asked about which server; test with errors.Is.
var (
	// ErrUnknownScheduler says that no scheduler has the name asked for.
	ErrUnknownScheduler = errors.New("unknown scheduler")
	// ErrUnknownServer says that the server is not in this scheduler's list.
	ErrUnknownServer = errors.New("unknown server")
	// ErrDuplicateServer says that a server with this address and port is in a list already.
	ErrDuplicateServer = errors.New("server is already there")
	// ErrAddress says that a server's address is invalid or has an IPv6 zone.
	ErrAddress = errors.New("invalid server address")
	// ErrWeight says that a weight is negative.
	ErrWeight = errors.New("negative weight")
	// ErrThreshold says that the lower threshold is above the upper one, or the upper one above 2147483647.
	ErrThreshold = errors.New("threshold out of range")
	// ErrTooManyServers says that there are more servers than slots in the table of mh.
	ErrTooManyServers = errors.New("more servers than table slots")
	// ErrConfig says that a field of Config is out of range, or that twos has no source of randomness.
	ErrConfig = errors.New("invalid configuration")
)
