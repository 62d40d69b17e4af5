package main

import (
	"fmt"
	"io"
	"time"
)

// progress is a line on a terminal that shows how far a long run is.
type progress struct {
	w       io.Writer // nil for none
	name    string
	start   time.Time
	last    time.Time
	visible bool
}

const (
	progressAfter = time.Second
	progressEvery = 250 * time.Millisecond
	progressLines = 4096 // lines between looks at the clock
)

func newProgress(p *program, name string) *progress {
	g := &progress{name: name, start: time.Now()}
	if p.terminal {
		g.w = p.stderr
	}
	return g
}

// show is called for every line of the trace.
func (g *progress) show(line int, now time.Duration, conns int) {
	if g.w == nil || line%progressLines != 0 {
		return
	}
	t := time.Now()
	if t.Sub(g.start) < progressAfter || t.Sub(g.last) < progressEvery {
		return
	}
	g.last, g.visible = t, true
	fmt.Fprintf(g.w, "\r\x1b[K%s: line %d, %s s, %d connections in the table", g.name, line, seconds(now), conns)
}

// clear removes the line.
func (g *progress) clear() {
	if g.visible {
		fmt.Fprint(g.w, "\r\x1b[K")
		g.visible = false
	}
}
