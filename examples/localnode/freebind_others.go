//go:build !linux

package main

import "syscall"

// freeBind does nothing: there is no IPVS to bind an address for.
func freeBind(_, _ string, _ syscall.RawConn) error { return nil }
