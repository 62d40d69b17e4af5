package arp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLockFile(t *testing.T) {
	name := strings.TrimPrefix(t.TempDir(), "/") + "/run/lvs/arp.json"
	unlock, err := lockFile(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked twice: %v", err)
	}
	got := make(chan error)
	go func() {
		again, err := lockFile(t.Context(), name)
		if err == nil {
			again()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
