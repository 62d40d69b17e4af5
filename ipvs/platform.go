//go:build !linux

package ipvs

import (
	"errors"
	"fmt"
	"runtime"
)

var errPlatform = fmt.Errorf("not implemented on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
