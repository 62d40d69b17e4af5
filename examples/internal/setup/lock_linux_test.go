package setup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"
)

// recordPart is a part with a record that says when it is planned, and when it is done waits to be let go.
type recordPart struct {
	fakePart
	file    string
	planned chan string
	goOn    chan struct{}
}

func (r *recordPart) RecordFile() string { return r.file }

func (r *recordPart) Start(context.Context) (Action, error) {
	r.planned <- r.name
	return Action{Text: "x\n", Do: func(context.Context) error {
		<-r.goOn
		return nil
	}}, nil
}

// A start that finds another one under way plans when that has ended.
func TestOneStartAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "table.json")
	planned, goOn := make(chan string, 2), make(chan struct{})
	part := func(name string) []Part {
		return []Part{&recordPart{fakePart{name: name}, file, planned, goOn}}
	}
	failed := make(chan error, 2)
	go func() { failed <- Start(t.Context(), new(bytes.Buffer), part("first"), false) }()
	if name := <-planned; name != "first" {
		t.Fatal(name)
	}
	out, waits := io.Pipe()
	go func() {
		failed <- Start(t.Context(), waits, part("second"), false)
		waits.Close()
	}()
	first, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || first != "waiting for another start or stop to end\n" {
		t.Errorf("the second start says %q, %v", first, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()

	// Others give up when they are told to, and those that change nothing do not wait.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Stop(short, new(bytes.Buffer), part("third"), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop while another start is under way: %v", err)
	}
	if err := Start(t.Context(), new(bytes.Buffer), part("dry"), true); err != nil {
		t.Error(err)
	}
	if name := <-planned; name != "dry" {
		t.Fatalf("%s was planned while first was under way", name)
	}

	goOn <- struct{}{}
	if name := <-planned; name != "second" {
		t.Fatal(name)
	}
	goOn <- struct{}{}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
