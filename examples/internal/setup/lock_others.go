//go:build !unix

package setup

import (
	"context"
	"os"
)

// LockFile takes no lock on this system.
func LockFile(ctx context.Context, f *os.File, _ func()) (unlock func(), err error) {
	return func() { _ = f.Close() }, ctx.Err()
}
