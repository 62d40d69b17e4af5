package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// programWord is dropped from lines, so that whole command lines can be pasted.
const programWord = "ipvsadm"

// maxWord is the longest word of a rule file, in bytes.
const maxWord = 4096

// Rule is a line of a rule file.
type Rule struct {
	Line      int // from 1
	Operation Operation
}

// ParseLine reads a line of a rule file, numbers only; see [Parser.ParseLine].
func ParseLine(line string) (Operation, error) {
	return (&Parser{}).ParseLine(context.Background(), line)
}

// ParseLine reads a line of a rule file. Words are separated by blanks, tabs and carriage returns; there are no quotes,
// and a word "ipvsadm" is dropped. With Strict a word that begins with # ends the line. A line without words is
// an error of the kind [NoCommand]. The error is a [*RuleError] without a line number, which wraps an [*Error].
func (p *Parser) ParseLine(ctx context.Context, line string) (Operation, error) {
	var l ruleLine
	l.split(line, p.Strict)
	op, err := l.parse(ctx, p)
	if err != nil {
		return op, err
	}
	return op, nil
}

// Rules yields the lines of a rule file that have words. A mistake yields a [*RuleError], and the next line follows; an
// error of reading ends the sequence. A command [Restore] is a mistake in a rule file.
//
// As ipvsadm does, it knows no comments, and drops a last line that ends in two or more blanks or tabs instead of a
// newline. With Strict, a word that begins with # starts a comment, and no line is dropped.
func (p *Parser) Rules(ctx context.Context, r io.Reader) iter.Seq2[Rule, error] {
	return func(yield func(Rule, error) bool) {
		lines := lineReader{r: bufio.NewReader(r)}
		var l ruleLine
		for n := 1; ; n++ {
			line, err := lines.next()
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Rule{Line: n}, fmt.Errorf("ipvsadm: reading rules: %w", err))
				return
			}
			l.split(line, p.Strict)
			if len(l.words) > 0 && (err == nil || p.Strict || !unfinished(line)) {
				op, mistake := l.parse(ctx, p)
				var asError error
				if mistake != nil {
					mistake.Line, asError = n, mistake
				}
				if !yield(Rule{n, op}, asError) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// lineReader reads lines of any length.
type lineReader struct {
	r    *bufio.Reader
	long []byte // the beginning of a line that is longer than the buffer
}

// next returns a line with its newline; the last one may have none and comes with the error.
func (l *lineReader) next() (string, error) {
	l.long = l.long[:0]
	for {
		b, err := l.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.long = append(l.long, b...)
		case len(l.long) > 0:
			l.long = append(l.long, b...)
			return string(l.long), err
		default:
			return string(b), err
		}
	}
}

func separator(c byte) bool { return c <= ' ' && (c == ' ' || c == '\t' || c == '\r' || c == '\n') }

// unfinished reports whether a line is one of those that ipvsadm loses at the end of its input.
func unfinished(line string) bool {
	n := len(line)
	return n >= 2 && separator(line[n-1]) && separator(line[n-2])
}

// ruleLine is a line with its words. It can be used for one line after the other.
type ruleLine struct {
	words   []string
	columns []int // from 1
}

// split finds the words of a line. A word ends at a NUL, as a C string does.
func (l *ruleLine) split(line string, strict bool) {
	l.words, l.columns = l.words[:0], l.columns[:0]
	nul := strings.IndexByte(line, 0) >= 0
	for i := 0; i < len(line); {
		if separator(line[i]) {
			i++
			continue
		}
		start := i
		for i < len(line) && !separator(line[i]) {
			i++
		}
		word := line[start:i]
		if nul {
			word, _, _ = strings.Cut(word, "\x00")
		}
		if strict && strings.HasPrefix(word, "#") {
			break
		}
		if word != programWord {
			l.words, l.columns = append(l.words, word), append(l.columns, start+1)
		}
	}
}

// parse reads the words as a command line of a rule file.
func (l *ruleLine) parse(ctx context.Context, p *Parser) (Operation, *RuleError) {
	c := commandLine{p: p, ctx: ctx, scanner: scanner{p: p, words: l.words}}
	err := c.parseRule()
	if err == nil {
		return c.op, nil
	}
	e := &RuleError{Err: err}
	if err.Word >= 0 && err.Word < len(l.columns) {
		e.Column = l.columns[err.Word]
	}
	return Operation{}, e
}

func (l *commandLine) parseRule() *Error {
	for i, w := range l.words {
		if len(w) > maxWord {
			return &Error{Kind: TooLong, Word: i, Text: "word of more than 4096 bytes"}
		}
	}
	if len(l.words) == 0 {
		return &Error{Kind: NoCommand, Word: -1}
	}
	if err := l.parse(); err != nil {
		return err
	}
	if l.op.Command == Restore {
		return &Error{Kind: NoCommand, Word: 0}
	}
	return nil
}
