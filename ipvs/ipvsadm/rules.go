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
	words, columns := p.split(line)
	op, err := p.parseRule(ctx, 0, words, columns)
	if err != nil {
		return Operation{}, err
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
		br := bufio.NewReader(r)
		for n := 1; ; n++ {
			line, err := br.ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Rule{Line: n}, fmt.Errorf("ipvsadm: reading rules: %w", err))
				return
			}
			words, columns := p.split(line)
			if err != nil && !p.Strict && unfinished(line) {
				words = nil
			}
			if len(words) > 0 {
				op, mistake := p.parseRule(ctx, n, words, columns)
				var asError error
				if mistake != nil {
					asError = mistake
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

func separator(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// unfinished reports whether a line is one of those that ipvsadm loses at the end of its input.
func unfinished(line string) bool {
	n := len(line)
	return n >= 2 && separator(line[n-1]) && separator(line[n-2])
}

// split returns the words of a line and their columns from 1. A word ends at a NUL, as a C string does.
func (p *Parser) split(line string) (words []string, columns []int) {
	words, columns = make([]string, 0, 16), make([]int, 0, 16)
	for i := 0; i < len(line); {
		if separator(line[i]) {
			i++
			continue
		}
		start := i
		for i < len(line) && !separator(line[i]) {
			i++
		}
		word, _, _ := strings.Cut(line[start:i], "\x00")
		if p.Strict && strings.HasPrefix(word, "#") {
			break
		}
		if word != programWord {
			words, columns = append(words, word), append(columns, start+1)
		}
	}
	return words, columns
}

func (p *Parser) parseRule(ctx context.Context, line int, words []string, columns []int) (Operation, *RuleError) {
	op, err := p.parseWords(ctx, words)
	if err == nil {
		return op, nil
	}
	e := &RuleError{Line: line, Err: err}
	if err.Word >= 0 && err.Word < len(columns) {
		e.Column = columns[err.Word]
	}
	return Operation{}, e
}

func (p *Parser) parseWords(ctx context.Context, words []string) (Operation, *Error) {
	for i, w := range words {
		if len(w) > maxWord {
			return Operation{}, &Error{Kind: TooLong, Word: i, Text: "word of more than 4096 bytes"}
		}
	}
	if len(words) == 0 {
		return Operation{}, &Error{Kind: NoCommand, Word: -1}
	}
	l := commandLine{p: p, ctx: ctx, scanner: scanner{p: p, words: words}}
	if err := l.parse(); err != nil {
		return Operation{}, err
	}
	if l.op.Command == Restore {
		return Operation{}, &Error{Kind: NoCommand, Word: 0}
	}
	return l.op, nil
}
