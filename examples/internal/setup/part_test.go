package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePart records what is done with it.
type fakePart struct {
	name string
	log  *[]string
	idle bool
	fail error
	plan error      // of Stop
	kept string     // by Stop
	mu   sync.Mutex // protects look, and fail while it is watched
	look Look
}

func (f *fakePart) action(verb string) (Action, error) {
	a := Action{
		Do: func(context.Context) error {
			*f.log = append(*f.log, verb+" "+f.name)
			return f.fail
		},
		Undo: func(ctx context.Context) error {
			*f.log = append(*f.log, "undo "+f.name)
			return ctx.Err()
		},
	}
	if !f.idle {
		a.Text = verb + " " + f.name + "\n"
	}
	return a, nil
}

func (f *fakePart) Start(context.Context) (Action, error) { return f.action("start") }

func (f *fakePart) Stop(context.Context) (Action, error) {
	a, err := f.action("stop")
	a.Kept = f.kept
	return a, errors.Join(err, f.plan)
}

func (f *fakePart) Check(context.Context) (Look, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look, f.fail
}

// set changes what the part looks like.
func (f *fakePart) set(findings []Finding, fail error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look.Findings, f.fail = findings, fail
}

// interrupting ends the context while the part is stopped, and fails if that is felt.
type interrupting struct {
	Part
	interrupt context.CancelFunc
}

func (i interrupting) Stop(ctx context.Context) (Action, error) {
	a, err := i.Part.Stop(ctx)
	do := a.Do
	a.Do = func(ctx context.Context) error {
		i.interrupt()
		return errors.Join(do(ctx), ctx.Err())
	}
	return a, err
}

func TestStartStop(t *testing.T) {
	broken, contradiction := errors.New("broken"), &Contradiction{"-dev x", "it is y"}
	tests := map[string]struct {
		parts []*fakePart
		run   func(context.Context, []Part, *bytes.Buffer) error
		log   []string
		out   string
		err   error
	}{
		"start": {
			parts: []*fakePart{{name: "a"}, {name: "b"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Start(ctx, b, p, false) },
			log:   []string{"start a", "start b"}, out: "start a\nstart b\n",
		},
		"idle parts are done without a word": {
			parts: []*fakePart{{name: "a", idle: true}, {name: "b", idle: true}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Start(ctx, b, p, false) },
			log:   []string{"start a", "start b"}, out: "nothing to do\n",
		},
		"dry": {
			parts: []*fakePart{{name: "a"}, {name: "b"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Start(ctx, b, p, true) },
			out:   "start a\nstart b\n",
		},
		"failure takes back what changed, the last first": {
			parts: []*fakePart{{name: "a"}, {name: "b", idle: true}, {name: "c"}, {name: "d", fail: broken}, {name: "e"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Start(ctx, b, p, false) },
			log:   []string{"start a", "start b", "start c", "start d", "undo c", "undo a"},
			out:   "start a\nstart c\nstart d\ntaking back: start c\ntaking back: start a\n", err: broken,
		},
		"stop goes on": {
			parts: []*fakePart{{name: "a"}, {name: "b", fail: broken}, {name: "c"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Stop(ctx, b, p, false) },
			log:   []string{"stop c", "stop b", "stop a"}, out: "stop c\nstop b\nstop a\n", err: broken,
		},
		"stop without a plan of one part": {
			parts: []*fakePart{{name: "a"}, {name: "b", plan: broken}, {name: "c"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Stop(ctx, b, p, false) },
			log:   []string{"stop c", "stop a"}, out: "stop c\nstop a\n", err: broken,
		},
		"stop with a flag that contradicts the record": {
			parts: []*fakePart{{name: "a", plan: contradiction}, {name: "b"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Stop(ctx, b, p, false) },
			err:   contradiction,
		},
		"stop keeps what is needed": {
			parts: []*fakePart{{name: "a", idle: true, kept: "a stays\n"}},
			run:   func(ctx context.Context, p []Part, b *bytes.Buffer) error { return Stop(ctx, b, p, false) },
			log:   []string{"stop a"}, out: "a stays\nnothing to do\n",
		},
		"stop interrupted before": {
			parts: []*fakePart{{name: "a"}},
			run: func(ctx context.Context, p []Part, b *bytes.Buffer) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return Stop(ctx, b, p, false)
			},
			err: context.Canceled,
		},
		"stop interrupted meanwhile goes on": {
			parts: []*fakePart{{name: "a"}, {name: "b"}},
			run: func(ctx context.Context, p []Part, b *bytes.Buffer) error {
				ctx, cancel := context.WithCancel(ctx)
				p = append(p, interrupting{p[1], cancel})
				return Stop(ctx, b, p, false)
			},
			log: []string{"stop b", "stop b", "stop a"}, out: "stop b\nstop b\nstop a\n",
		},
		"interrupted start takes back": {
			parts: []*fakePart{{name: "a"}, {name: "b", fail: context.Canceled}},
			run: func(ctx context.Context, p []Part, b *bytes.Buffer) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return Start(ctx, b, p, false)
			},
			log: []string{"start a", "start b", "undo a"}, out: "start a\nstart b\ntaking back: start a\n", err: context.Canceled,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log []string
			var parts []Part
			for i := range tt.parts {
				tt.parts[i].log = &log
				parts = append(parts, tt.parts[i])
			}
			var out bytes.Buffer
			if err := tt.run(t.Context(), parts, &out); !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.log, log) + cmp.Diff(tt.out, out.String()); diff != "" {
				t.Fatalf("what was done and printed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	bad := Look{Name: "x", Text: "X\n", Value: 1, Findings: []Finding{{"it is bad", "mend it"}, {Problem: "worse"}}, Notes: []string{"by the way"}}
	parts := []Part{&fakePart{look: bad}, &fakePart{look: Look{Text: "Y\n"}}}
	var out bytes.Buffer
	if err := Status(t.Context(), &out, parts, false); !errors.Is(err, ErrFindings) {
		t.Fatal(err)
	}
	if diff := cmp.Diff("X\nY\n- by the way\n! it is bad: mend it\n! worse\n", out.String()); diff != "" {
		t.Fatalf("text (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := Status(t.Context(), &out, parts, true); !errors.Is(err, ErrFindings) {
		t.Fatal(err)
	}
	var got struct {
		X        int
		Findings []Finding
		Notes    []string
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.X != 1 || len(got.Findings) != 2 || len(got.Notes) != 1 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if err := Status(t.Context(), &out, parts[1:], false); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePart{look: Look{Text: "X\n"}}
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		result := make(chan error)
		go func() { result <- Watch(ctx, &out, []Part{p}, time.Second) }()
		wait := func() { time.Sleep(1500 * time.Millisecond); synctest.Wait() }
		wait()
		bad := []Finding{{"it is bad", "mend it"}}
		p.set(bad, nil)
		wait()
		wait()
		p.set(nil, errors.New("no look"))
		wait()
		p.set(bad, nil) // not mended by a look that failed
		wait()
		p.set(nil, nil)
		wait()
		cancel()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(out.String()) {
			if len(line) > len(time.TimeOnly) && line[2] == ':' {
				line = line[len(time.TimeOnly)+1:]
			}
			lines = append(lines, strings.TrimSpace(line))
		}
		want := []string{"X", "! it is bad: mend it", "! no look", "mended: no look", "mended: it is bad: mend it"}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Fatalf("output (-want +got):\n%s", diff)
		}
	})
}
