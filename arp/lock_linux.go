package arp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile waits until no other process changes the host by the same journal. The lock goes with the process.
func lockFile(ctx context.Context, journal string) (unlock func(), err error) {
	name := "/" + journal + ".lock"
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("arp: lock: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("arp: lock: %w", err)
	}
	const pause = 20 * time.Millisecond
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			_ = f.Close()
			return nil, fmt.Errorf("arp: lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("arp: lock %s: %w", name, ctx.Err())
		case <-time.After(pause):
		}
	}
}
