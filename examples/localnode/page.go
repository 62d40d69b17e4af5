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
	srv          *http.Server
	served       chan error
}

// Start plans to listen.
func (p *page) Start(context.Context) (setup.Action, error) {
	text, err := os.ReadFile(p.node.pageFile)
	if err != nil {
		return setup.Action{}, err
	}
	addr := netip.AddrPortFrom(p.node.vip, p.node.port)
	return setup.Action{
		Text: fmt.Sprintf("serve %s on %v\n", p.node.pageFile, addr),
		Do:   func(context.Context) error { return p.listen(addr, text) },
		Undo: func(context.Context) error { return p.close() },
	}, nil
}

func (p *page) listen(addr netip.AddrPort, text []byte) error {
	var ln net.Listener
	err := setup.Inside(p.node.netns, func() (err error) {
		ln, err = net.Listen("tcp", addr.String())
		return err
	})
	if err != nil {
		return err
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
	p.served = make(chan error, 1)
	go func() { p.served <- p.srv.Serve(ln) }()
	return nil
}

// close ends serving. Requests that are under way get a moment.
func (p *page) close() error {
	if p.srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := p.srv.Shutdown(ctx)
	if serveErr := <-p.served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	p.srv = nil
	return err
}
