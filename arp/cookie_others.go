//go:build !linux

package arp

import (
	"errors"
	"os"
)

func netnsCookie(uintptr) (uint64, error) { return 0, errors.ErrUnsupported }
func netnsInode(*os.File) (uint64, error) { return 0, errors.ErrUnsupported }
