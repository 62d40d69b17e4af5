package setup

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestInput(t *testing.T) {
	text := strings.Repeat("abc\n", 5000)
	if err := iotest.TestReader(Input(t.Context(), strings.NewReader(text)), []byte(text)); err != nil {
		t.Error(err)
	}
	failure := errors.New("no")
	if _, err := io.ReadAll(Input(t.Context(), iotest.ErrReader(failure))); !errors.Is(err, failure) {
		t.Errorf("a reader that fails: %v", err)
	}
	r, w := io.Pipe() // into which nobody types
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	in := Input(ctx, r)
	for range 2 {
		if n, err := io.ReadAll(in); len(n) > 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q, %v after the end", n, err)
		}
	}
}
