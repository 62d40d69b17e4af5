package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

// page is the part of the sorry server that answers HTTP requests to the virtual address. Others may serve other addresses of
// the port.
type page struct {
	setup.Checks // it is not there for others to look at
	node         *node
	ln           net.Listener
	srv          *http.Server
	done         chan struct{} // closed when nothing is served any more
	err          error         // why, then
}

// Start plans to listen, also before the address is there. So a port that is taken is found before anything is changed.
func (p *page) Start(context.Context) (setup.Action, error) {
	text, err := os.ReadFile(p.node.pageFile)
	if err != nil {
		return setup.Action{}, err
	}
	addr := netip.AddrPortFrom(p.node.vip, p.node.port)
	return setup.Action{
		Text: fmt.Sprintf("serve %s on %v\n", p.node.pageFile, addr),
		Do:   func(ctx context.Context) error { return p.listen(ctx, addr, text) },
		Undo: func(context.Context) error { return p.close() },
	}, nil
}

func (p *page) listen(ctx context.Context, addr netip.AddrPort, text []byte) error {
	early := net.ListenConfig{Control: freeBind}
	early.SetMultipathTCP(false)
	err := setup.Inside(p.node.netns, func() (err error) {
		p.ln, err = early.Listen(ctx, "tcp", addr.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("the page cannot be served: %w", err)
	}
	p.srv = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			w.Header().Set("Connection", "close") // the next request is to find the servers again
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(text)
		}),
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		if err := p.srv.Serve(p.ln); !errors.Is(err, http.ErrServerClosed) {
			p.err = fmt.Errorf("the page is not served any more: %w", err)
		}
	}()
	return nil
}

// close ends serving. Requests that are under way get a moment. The error is why nothing was served any more before that.
func (p *page) close() error {
	if p.srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.srv.Shutdown(ctx); err != nil {
		_ = p.srv.Close() // who is still reading is cut off
	}
	<-p.done
	p.srv = nil
	return p.err
}
