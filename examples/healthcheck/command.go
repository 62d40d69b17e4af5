package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// commandCheck runs a program: status 0 is good, and its output the answer.
type commandCheck struct{ args []string }

func (c commandCheck) check(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	endTogether(cmd)
	cmd.WaitDelay = 100 * time.Millisecond // what the program has left running may hold its output open
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Status 0 is good, whatever the program left running.
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		line, _, _ := strings.Cut(strings.TrimSpace(string(errs.text)), "\n")
		if line != "" {
			return "", fmt.Errorf("%w: %.200s", err, line)
		}
		return "", err
	}
	return string(out.text), nil
}

// limited keeps the beginning of what is written.
type limited struct{ text []byte }

func (l *limited) Write(b []byte) (int, error) {
	l.text = append(l.text, b[:min(len(b), maxAnswer-len(l.text))]...)
	return len(b), nil
}
