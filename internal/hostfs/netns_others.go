//go:build !linux

package hostfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func errNetNS() error {
	return fmt.Errorf("network namespaces on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}

func openNS(string) (*os.File, error) { return nil, errNetNS() }

func dupNS(*os.File) (*os.File, error) { return nil, errNetNS() }

func inside(*os.File, func() error) (entered bool, err error) { return false, errNetNS() }

func alreadyIn(*os.File, func() error) (there bool, err error) { return false, nil }
