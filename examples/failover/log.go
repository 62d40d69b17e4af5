package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// logWriter puts the time and a prefix before each line, and writes whole lines only, as several runs may write to one file.
type logWriter struct {
	mu     sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte
	now    func() time.Time
}

func newLog(w io.Writer, prefix string) *logWriter {
	return &logWriter{w: w, prefix: prefix, now: time.Now}
}

func (l *logWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		text := l.now().Format("2006-01-02T15:04:05.000Z07:00 ") + l.prefix + string(line) + "\n"
		l.rest = rest
		if _, err := io.WriteString(l.w, text); err != nil {
			return 0, err
		}
	}
}
