package setup

import (
	"context"
	"io"
)

// Input returns a reader of r, such as standard input, that fails with the context's error when that ends, also while r waits
// for somebody to type. What r gets after that is lost.
func Input(ctx context.Context, r io.Reader) io.Reader { return &input{ctx, r} }

type input struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		n   int
		err error
	}
	got := make(chan result, 1)
	b := make([]byte, len(p)) // p is the caller's again when the context ends
	go func() {
		n, err := i.r.Read(b)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		return copy(p, b[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}
