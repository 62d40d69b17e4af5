//go:build unix && !linux

package ipvs

import "golang.org/x/sys/unix"

func fromKernel(unix.Sockaddr) bool { return true }
