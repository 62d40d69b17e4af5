//go:build !linux

package setup

import (
	"errors"
	"fmt"
	"runtime"
)

// Inside fails: other systems have no network namespaces.
func Inside(string, func() error) error { return unsupported() }

func namespaceID(string) (string, error) { return "", unsupported() }

func unsupported() error {
	return fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
