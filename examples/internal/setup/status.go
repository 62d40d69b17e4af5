package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Status shows what the parts look like and what is wrong. The error is ErrFindings if something is.
func Status(ctx context.Context, out io.Writer, parts []Part, asJSON bool) error {
	looks, err := check(ctx, parts)
	if err != nil {
		return err
	}
	findings, notes := collect(looks)
	if asJSON {
		err = writeJSON(out, looks, findings, notes)
	} else {
		err = writeText(out, looks, findings, notes)
	}
	if err == nil && len(findings) > 0 {
		err = ErrFindings
	}
	return err
}

func check(ctx context.Context, parts []Part) ([]Look, error) {
	looks := make([]Look, 0, len(parts))
	for _, p := range parts {
		l, err := p.Check(ctx)
		if err != nil {
			return nil, err
		}
		looks = append(looks, l)
	}
	return looks, nil
}

func collect(looks []Look) (findings []Finding, notes []string) {
	findings, notes = []Finding{}, []string{}
	for _, l := range looks {
		findings = append(findings, l.Findings...)
		notes = append(notes, l.Notes...)
	}
	return findings, notes
}

func writeText(out io.Writer, looks []Look, findings []Finding, notes []string) error {
	var text strings.Builder
	for _, l := range looks {
		text.WriteString(l.Text)
	}
	for _, n := range notes {
		fmt.Fprintln(&text, "-", n)
	}
	for _, f := range findings {
		fmt.Fprintln(&text, "!", f)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func writeJSON(out io.Writer, looks []Look, findings []Finding, notes []string) error {
	object := map[string]any{"findings": findings, "notes": notes}
	for _, l := range looks {
		if l.Value != nil {
			object[l.Name] = l.Value
		}
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(object)
}

// Watch shows the status, and then each change of what is wrong, with the time, until the context ends. A look that fails
// is such a change too. The error is ErrFindings if something was wrong at last.
func Watch(ctx context.Context, out io.Writer, parts []Part, interval time.Duration) error {
	looks, err := check(ctx, parts)
	if err != nil {
		return err
	}
	findings, notes := collect(looks)
	if err := writeText(out, looks, findings, notes); err != nil {
		return err
	}
	found := texts(findings)
	last := found
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(last) > 0 {
				return ErrFindings
			}
			return nil
		case <-tick.C:
		}
		looks, err := check(ctx, parts)
		if ctx.Err() != nil {
			continue
		}
		now := append(slices.Clone(found), fmt.Sprint(err)) // what cannot be seen is not mended
		if err == nil {
			findings, _ := collect(looks)
			found = texts(findings)
			now = found
		}
		if err := drift(out, last, now); err != nil {
			return err
		}
		last = now
	}
}

func texts(findings []Finding) []string {
	list := make([]string, len(findings))
	for i, f := range findings {
		list[i] = f.String()
	}
	return list
}

// drift prints what has come and what has gone between two looks.
func drift(out io.Writer, before, after []string) error {
	var text strings.Builder
	stamp := time.Now().Format(time.TimeOnly)
	for _, f := range after {
		if !slices.Contains(before, f) {
			fmt.Fprintln(&text, stamp, "!", f)
		}
	}
	for _, f := range before {
		if !slices.Contains(after, f) {
			fmt.Fprintln(&text, stamp, "mended:", f)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}
