//go:build !linux

package arp

import (
	"context"
	"errors"
)

func lockFile(context.Context, string) (func(), error) { return nil, errors.ErrUnsupported }
