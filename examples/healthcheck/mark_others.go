//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// setMark fails: only Linux has firewall marks.
func setMark(uint32) func(string, string, syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return errors.ErrUnsupported }
}
