//go:build unix && !linux

package ipvs

import "golang.org/x/sys/unix"

func onlyKernel(int) bool { return false }

func fromKernel(unix.Sockaddr) bool { return true }
