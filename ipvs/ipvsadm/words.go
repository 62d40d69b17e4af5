package ipvsadm

import "strings"

// scanner takes a command line apart into options and other words, by the rules of popt.
type scanner struct {
	p     *Parser
	words []string
	next  int    // the word to be read next
	rest  string // of a word with joined short options; "" if none is open
	plain bool   // after "--"

	// The current item.

	word  int    // its word
	arg   string // the argument of an option
	argAt int    // the argument's word
	given bool   // whether an optional argument was given
}

// scan returns the next option. A word that is no option comes with a nil spec, and is in arg. ok is false at the end.
func (s *scanner) scan() (opt *spec, ok bool, err *Error) {
	s.arg, s.given = "", false
	if s.rest == "" {
		if s.next >= len(s.words) {
			return nil, false, nil
		}
		s.word = s.next
		s.next++
		w := s.words[s.word]
		switch {
		case s.plain, len(w) < 2, w[0] != '-':
			s.arg, s.argAt = w, s.word
			return nil, true, nil
		case w == "--":
			s.plain = true
			return s.scan()
		case strings.HasPrefix(w, "--"):
			opt, err = s.long(w[2:])
			return opt, true, err
		}
		s.rest = w[1:]
	}
	opt, err = s.short()
	return opt, true, err
}

func (s *scanner) long(text string) (*spec, *Error) {
	name, value, glued := strings.Cut(text, "=")
	opt := s.p.long(name)
	if opt == nil {
		return nil, s.errorf("unknown option")
	}
	if glued {
		if opt.arg == argNone {
			return nil, s.errorf("option does not take an argument")
		}
		s.arg, s.argAt, s.given = value, s.word, true
		return opt, nil
	}
	return opt, s.separate(opt)
}

func (s *scanner) short() (*spec, *Error) {
	opt := s.p.short(s.rest[0])
	s.rest = s.rest[1:]
	switch {
	case opt == nil:
		return nil, s.errorf("unknown option")
	case opt.arg == argNone && strings.HasPrefix(s.rest, "="):
		return nil, s.errorf("option does not take an argument")
	case opt.arg != argNone && s.rest != "":
		s.arg, s.argAt, s.given = strings.TrimPrefix(s.rest, "="), s.word, true
		s.rest = ""
		return opt, nil
	}
	return opt, s.separate(opt)
}

// separate takes an argument from the next word.
func (s *scanner) separate(opt *spec) *Error {
	if opt.arg == argNone {
		return nil
	}
	has := s.next < len(s.words)
	if opt.arg == argOptional && has && strings.HasPrefix(s.words[s.next], "-") {
		has = false
	}
	if has {
		s.arg, s.argAt, s.given = s.words[s.next], s.next, true
		s.next++
		return nil
	}
	if opt.arg == argOptional {
		return nil
	}
	return s.errorf("missing argument")
}

func (s *scanner) errorf(text string) *Error {
	return &Error{Kind: BadOption, Word: s.word, Text: s.words[s.word] + ": " + text}
}
