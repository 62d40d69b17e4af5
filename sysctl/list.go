package sysctl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
)

// Line is one assignment, or one line that is none, of a sysctl list.
type Line struct {
	Number int    // counted from 1
	Text   string // the whole line without blanks around it
	Key    Key    // empty if the line is no assignment; may hold components *
	Value  string

	// IgnoreError is set for a key with a leading minus: systemd-sysctl(8) does not mind if it cannot be set. That of
	// procps 4.0.2 says so and has exit status 1; both go on.
	IgnoreError bool

	// Comment is what followed a value after "#" or ";". Neither sysctl(8) nor systemd-sysctl(8) knows such comments:
	// they write the comment to the kernel with the value.
	Comment string

	// Err says why a line that looks like an assignment is none. It matches fs.ErrInvalid.
	Err error
}

// ParseList yields the lines of a list of kernel parameters that are neither blank nor comments. It reads files of
// sysctl.d(5) and sysctl.conf(5), the output of "sysctl -a", and what manuals contain: "sysctl -w key=value" and
// "echo value > /proc/sys/…". A line of another kind is yielded without a key. The error is the reader's.
func ParseList(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := bufio.NewReader(r)
		for n := 1; ; n++ {
			text, err := in.ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Line{}, fmt.Errorf("sysctl: line %d: %w", n, err))
				return
			}
			for _, line := range parseLine(text) {
				line.Number = n
				if !yield(line, nil) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

func parseLine(text string) []Line {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	if text == "" || text[0] == '#' || text[0] == ';' {
		return nil
	}
	words := strings.Fields(text)
	if command := words[0] == "sysctl" || strings.HasSuffix(words[0], "/sysctl"); command && (len(words) == 1 || words[1][0] != '=') {
		return parseCommand(text, words[1:])
	}
	if rest, ok := strings.CutPrefix(text, "echo "); ok {
		if value, file, ok := strings.Cut(rest, ">"); ok {
			return []Line{parseEcho(text, value, strings.TrimPrefix(file, ">"))}
		}
	}
	key, value, ok := strings.Cut(text, "=")
	if key = strings.TrimSpace(key); !ok || strings.ContainsAny(key, " \t") {
		line := Line{Text: text}
		if ok || strings.HasPrefix(text, "net.") || strings.HasPrefix(text, "net/") {
			line.Err = errKey("no assignment: want key = value")
		}
		if module := strings.HasPrefix(text, "options ") || strings.HasPrefix(text, "modprobe "); module {
			line.Err = nil
		}
		return []Line{line}
	}
	return []Line{assignment(text, key, value)}
}

func assignment(text, key, value string) Line {
	line := Line{Text: text, Value: strings.TrimSpace(value)}
	if rest, ok := strings.CutPrefix(key, "-"); ok {
		key, line.IgnoreError = strings.TrimSpace(rest), true
	}
	key = strings.TrimPrefix(key, "/proc/sys/")
	line.Key, line.Err = ParseKey(key)
	if i := strings.IndexAny(line.Value, "#;"); i > 0 && strings.ContainsAny(line.Value[i-1:i], " \t") {
		line.Value, line.Comment = strings.TrimSpace(line.Value[:i]), strings.TrimSpace(line.Value[i:])
	}
	return line
}

// parseCommand reads the arguments of sysctl(8), several assignments perhaps.
func parseCommand(text string, args []string) []Line {
	var lines []Line
	rest := strings.Join(args, " ")
	for rest != "" {
		rest = strings.TrimSpace(rest)
		var word string
		if i := strings.IndexAny(rest, "=\"' "); i >= 0 && rest[i] == '=' && i+1 < len(rest) && strings.ContainsAny(rest[i+1:i+2], `"'`) {
			// A quoted value may have blanks: net.ipv4.tcp_rmem="4096 131072 16777216"
			quote := rest[i+1]
			value, after, closed := strings.Cut(rest[i+2:], string(quote))
			if !closed {
				return append(lines, Line{Text: text, Err: errKey("quote without an end")})
			}
			lines = append(lines, assignment(text, rest[:i], value))
			rest = after
			continue
		}
		word, rest, _ = strings.Cut(rest, " ")
		word = strings.Trim(word, `"'`)
		key, value, ok := strings.Cut(word, "=")
		if ok && !strings.HasPrefix(key, "--") {
			lines = append(lines, assignment(text, key, value))
		}
	}
	if lines == nil {
		lines = []Line{{Text: text}}
	}
	return lines
}

func parseEcho(text, value, file string) Line {
	value = strings.TrimSpace(value)
	value = strings.TrimSpace(strings.TrimPrefix(value, "-n "))
	value = strings.Trim(value, `"'`)
	file = strings.Trim(strings.TrimSpace(file), `"'`)
	key, ok := strings.CutPrefix(file, "/proc/sys/")
	line := Line{Text: text, Value: value}
	if !ok {
		line.Value = ""
		return line
	}
	line.Key = Key(key)
	if err := line.Key.Valid(); err != nil {
		line.Key, line.Err = "", fmt.Errorf("sysctl: key %q: %w", key, err)
	}
	return line
}

// FormatList returns the content of a file of sysctl.d(5) with these settings, sorted by key. The owner names who wrote
// it in a comment in the first line. Keys with a dot in a component have the notation with slashes.
//
// The error matches fs.ErrInvalid for an impossible setting or two for one key.
func FormatList(owner string, list []Setting) ([]byte, error) {
	if strings.ContainsAny(owner, "\n\r") {
		return nil, fmt.Errorf("sysctl: owner %q: %w", owner, fs.ErrInvalid)
	}
	sorted := sortedSettings(list)
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by %s.\n", owner)
	for i, s := range sorted {
		if err := s.valid(); err != nil {
			return nil, err
		}
		if i > 0 && sorted[i-1].Key == s.Key {
			return nil, fmt.Errorf("sysctl: %v: %w", s.Key, errConflict)
		}
		if strings.ContainsAny(string(s.Key[:1]), "#;-") || strings.HasPrefix(string(s.Key), "\ufeff") || strings.Contains(string(s.Key), "=") || !strings.Contains(string(s.Key), "/") {
			return nil, fmt.Errorf("sysctl: key %q cannot be written in a list: %w", string(s.Key), fs.ErrInvalid)
		}
		for line := range strings.FieldsFuncSeq(s.Reason, func(r rune) bool { return r == '\n' || r == '\r' }) {
			b.WriteString("# " + line + "\n")
		}
		if s.Optional {
			b.WriteByte('-')
		}
		name := s.Key.String()
		if strings.Contains(string(s.Key), ".") {
			name = string(s.Key)
		}
		b.WriteString(name + " = " + strings.Join(strings.Fields(s.Value), " ") + "\n")
	}
	return []byte(b.String()), nil
}
