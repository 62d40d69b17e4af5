package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errGoexit is the result of a function that ended its goroutine instead of returning.
var errGoexit = errors.New("hostfs: the function ended its goroutine")

func openNS(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return checkNS(f)
}

func dupNS(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dup int
	var dupErr error
	if err := conn.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, os.ErrClosed // Control has no other failure, but an error of its own for it
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return checkNS(os.NewFile(uintptr(dup), f.Name()))
}

// checkNS refuses what setns would refuse with a bare EINVAL, such as the plain file that a name leaves behind when
// its mount is gone. It closes f then.
func checkNS(f *os.File) (*os.File, error) {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, fmt.Errorf("%s is not a network namespace: %w", f.Name(), fs.ErrInvalid)
	}
	return f, nil
}

// alreadyIn runs fn on the calling thread if that is in the namespace target, which needs no privilege, while entering
// a namespace does even if it is one's own.
func alreadyIn(target *os.File, fn func() error) (there bool, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, nil
	}
	if wanted, err := target.Stat(); err != nil || !os.SameFile(own, wanted) {
		return false, nil
	}
	return true, fn()
}

// inside runs fn on a locked thread in the namespace target. entered is false if the thread could not get there.
func inside(target *os.File, fn func() error) (entered bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, openErr := os.Open("/proc/thread-self/ns/net")
		if openErr != nil {
			runtime.UnlockOSThread()
			err = openErr
			return
		}
		defer home.Close()
		if setErr := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); setErr != nil {
			runtime.UnlockOSThread()
			err = os.NewSyscallError("setns", setErr)
			return
		}
		entered, err = true, errGoexit
		defer func() {
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			} // else the thread stays locked and ends with the goroutine
		}()
		err = fn()
	}()
	<-done
	return entered, err
}
