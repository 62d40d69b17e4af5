package ipvs

import (
	"os"
	"runtime"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"
)

// dialScratch opens a socket in a new network namespace that lasts as long as the socket.
func dialScratch() (conn *genetlink.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is in another namespace from here on: it is never unlocked and ends with the goroutine.
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = os.NewSyscallError("unshare", err)
			return
		}
		conn, err = genetlink.Dial(nil)
	}()
	<-done
	return conn, err
}
