package nltest

import "strconv"

// An Errno is an error number of Linux, also on systems whose own numbers differ.
type Errno int32

// The error numbers that the IPVS interface and its transport give.
const (
	EPERM        Errno = 1
	ENOENT       Errno = 2
	ESRCH        Errno = 3
	ENOMEM       Errno = 12
	EBUSY        Errno = 16
	EEXIST       Errno = 17
	ENODEV       Errno = 19
	EINVAL       Errno = 22
	ERANGE       Errno = 34
	EMSGSIZE     Errno = 90
	ENOPROTOOPT  Errno = 92
	EOPNOTSUPP   Errno = 95
	EAFNOSUPPORT Errno = 97
	ENETUNREACH  Errno = 101
	ENOBUFS      Errno = 105
)

var errnoNames = map[Errno]string{
	0: "0", EPERM: "EPERM", ENOENT: "ENOENT", ESRCH: "ESRCH", ENOMEM: "ENOMEM", EBUSY: "EBUSY", EEXIST: "EEXIST",
	ENODEV: "ENODEV", EINVAL: "EINVAL", ERANGE: "ERANGE", EMSGSIZE: "EMSGSIZE", ENOPROTOOPT: "ENOPROTOOPT",
	EOPNOTSUPP: "EOPNOTSUPP", EAFNOSUPPORT: "EAFNOSUPPORT", ENETUNREACH: "ENETUNREACH", ENOBUFS: "ENOBUFS",
}

// Error returns the symbolic name, so that an Errno is an error in its own right.
func (e Errno) Error() string {
	if s, ok := errnoNames[e]; ok {
		return s
	}
	return "errno " + strconv.Itoa(int(e))
}
