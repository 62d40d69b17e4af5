//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package nltest

import (
	"errors"
	"fmt"
	"iter"
	"runtime"

	"github.com/mdlayher/netlink"
)

// socket exists here only to be returned with an error.
type socket struct{}

func newSocket(*session) (*socket, error) {
	return nil, fmt.Errorf("no socket pairs on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}

func (*socket) Close() error                         { return errors.ErrUnsupported }
func (*socket) Send(netlink.Message) error           { return errors.ErrUnsupported }
func (*socket) SendMessages([]netlink.Message) error { return errors.ErrUnsupported }
func (*socket) Receive() ([]netlink.Message, error)  { return nil, errors.ErrUnsupported }
func (*socket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) { yield(netlink.Message{}, errors.ErrUnsupported) }
}
