package main

import (
	"io"
	"strings"
	"sync"
)

// console keeps the last lines of the kernel's console. It is safe for concurrent use.
type console struct {
	mu   sync.Mutex
	tail []byte
	copy io.Writer // gets everything too, unless nil
}

// consoleTail is how much of the console is kept, in bytes, and maxConsoleLines how many lines of it are shown.
const (
	consoleTail     = 32 << 10
	maxConsoleLines = 200 // an oops has some 120
)

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, b...)
	if extra := len(c.tail) - consoleTail; extra > 0 {
		c.tail = append(c.tail[:0], c.tail[extra:]...)
	}
	if c.copy != nil {
		return c.copy.Write(b)
	}
	return len(b), nil
}

// lines returns the last lines, each with its newline.
func (c *console) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(string(c.tail), "\r", "")) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line+"\n")
		}
	}
	return lines[max(0, len(lines)-maxConsoleLines):]
}
