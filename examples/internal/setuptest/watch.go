package setuptest

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// Watch is a program that goes on until it is interrupted.
type Watch struct {
	mu     sync.Mutex
	out    bytes.Buffer
	stop   context.CancelFunc
	status chan int
}

// Watch runs the program in this process until Interrupt is called.
func (p Program) Watch(t testing.TB, args ...string) *Watch {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &Watch{stop: stop, status: make(chan int, 1)}
	go func() { w.status <- p.Main(ctx, p.env(w, w, ""), args) }()
	t.Cleanup(stop)
	return w
}

// Write is called by the program.
func (w *Watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// Output returns what was printed so far.
func (w *Watch) Output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// Expect waits until a text was printed.
func (w *Watch) Expect(t testing.TB, text string) {
	t.Helper()
	for begin := time.Now(); !strings.Contains(w.Output(), text); time.Sleep(20 * time.Millisecond) {
		if took := time.Since(begin); took > patience {
			t.Fatalf("%q is not printed after %v:\n%s", text, took, w.Output())
		}
	}
}

// Interrupt ends the program as SIGINT does and returns its status.
func (w *Watch) Interrupt() int {
	w.stop()
	return <-w.status
}
