package ipvs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"
)

// DrainTarget says what has to be gone before a destination is drained.
type DrainTarget uint8

// Targets of [Client.Drain], each with those before it.
const (
	DrainActive      DrainTarget = iota // active connections, such as established TCP
	DrainConnections                    // inactive connections too, such as TCP in FIN_WAIT and all of UDP
	DrainTemplates                      // persistence templates too: no client is pinned to the destination any more
)

var drainNames = [...]string{DrainActive: "active", DrainConnections: "connections", DrainTemplates: "templates"}

// String returns "active", "connections" or "templates".
func (t DrainTarget) String() string { return enumString(drainNames[:], "target", uint8(t)) }

// ParseDrainTarget is the inverse of [DrainTarget.String]; case does not matter.
func ParseDrainTarget(s string) (DrainTarget, error) {
	n, err := enumParse(drainNames[:], "target", s)
	return DrainTarget(n), err
}

// Left returns how much a destination still has of what the target waits for.
func (t DrainTarget) Left(d DestinationStatus) uint32 {
	n := d.Active
	if t >= DrainConnections {
		n += d.Inactive
	}
	if t >= DrainTemplates {
		n += d.Persistent
	}
	return n
}

// DrainOptions say how [Client.Drain] works. The zero value, and a nil pointer to it, wait for active connections, look
// every second, and delete the destination.
type DrainOptions struct {
	Until DrainTarget

	// Interval is the time between two looks; zero means a second.
	Interval time.Duration

	// Keep leaves the destination in the table with weight 0 instead of deleting it.
	Keep bool

	// DryRun ends after the first look and changes nothing.
	DryRun bool

	// Progress, if not nil, is called with every look, the first one before anything is changed, from the goroutine of
	// the call.
	Progress func(DrainProgress)
}

// DrainProgress is what one look at a draining destination finds.
type DrainProgress struct {
	Destination DestinationStatus
	Left        uint32        // of what is waited for
	Elapsed     time.Duration // since the weight was set to 0

	// Warning, in the first look only, says why new connections may keep coming although the weight is 0.
	Warning string
}

// How long taking the weight back may last once the context has ended.
const restoreTime = 5 * time.Second

// Drain sets the weight of a destination to 0, waits until its connections are gone, and deletes it. If the context ends
// before that, the weight that it had is restored.
//
// Everything that Drain needs is in the kernel: after a crash the destination is there with weight 0, and another call
// goes on where the first one was. It then does not know the weight of before, and leaves 0 when it is given up.
//
// The error matches [ErrNoService] or [ErrNoDestination] if one of them does not exist, also when another process deletes
// it meanwhile, and the context's error if that ends first.
func (c *Client) Drain(ctx context.Context, id ServiceID, addr netip.AddrPort, opts *DrainOptions) (err error) {
	if opts == nil {
		opts = &DrainOptions{}
	}
	interval := opts.Interval
	if interval <= 0 {
		interval = time.Second
	}
	progress := opts.Progress
	if progress == nil {
		progress = func(DrainProgress) {}
	}
	service, err := c.Service(ctx, id)
	if err != nil {
		return err
	}
	d, err := c.Destination(ctx, id, addr)
	if err != nil {
		return err
	}
	progress(DrainProgress{Destination: d, Left: opts.Until.Left(d), Warning: c.drainWarning(service.Service)})
	if opts.DryRun {
		return nil
	}
	if before := d.Destination; before.Weight != 0 {
		quiesced := before
		quiesced.Weight = 0
		if err := c.SetDestination(ctx, id, quiesced); err != nil && ctx.Err() == nil {
			return err
		}
		defer func() {
			if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
				return
			}
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
			defer cancel()
			if restoreErr := c.SetDestination(short, id, before); restoreErr != nil {
				err = errors.Join(err, fmt.Errorf("ipvs: weight %d was not restored: %w", before.Weight, restoreErr))
			}
		}()
	}
	start := time.Now()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if d, err = c.Destination(ctx, id, addr); err != nil {
			return err
		}
		left := opts.Until.Left(d)
		progress(DrainProgress{Destination: d, Left: left, Elapsed: time.Since(start)})
		if left == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return (&operation{name: "drain destination", service: id, dest: addr}).fail(ctx.Err())
		}
	}
	if opts.Keep {
		return nil
	}
	return c.DeleteDestination(ctx, id, addr)
}

// drainWarning says why a destination with weight 0 may get new connections.
func (c *Client) drainWarning(s Service) string {
	if s.Flags&Persistent == 0 {
		return ""
	}
	b, err := fs.ReadFile(c.root, "proc/sys/net/ipv4/vs/expire_quiescent_template")
	if err == nil && string(bytes.TrimSpace(b)) != "0" {
		return ""
	}
	return fmt.Sprintf("the service is persistent and expire_quiescent_template is not set: "+
		"clients that were here before come back until their templates expire, %v after their last connection", s.Timeout)
}
