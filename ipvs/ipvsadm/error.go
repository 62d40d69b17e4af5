package ipvsadm

import (
	"fmt"
)

// Kind says what is wrong with a command line.
type Kind uint8

// Kinds of mistakes.
const (
	NoCommand    Kind = iota + 1 // the first option is no command
	BadOption                    // unknown option, or an argument missing or too many
	BadValue                     // an argument is not what the option takes
	Repeated                     // an option, or a command, is there more than once
	Unexpected                   // a word that is no option
	MissingValue                 // an option or argument that the command needs is not there
	Illegal                      // an option does not go with the command
	Conflict                     // options do not go together
	NoUse                        // no real service or server has these options together
	TooLong                      // a word is longer than any that can mean something
)

// Error is a mistake in a command line.
type Error struct {
	Kind Kind

	// Option is the name of the option in ipvsadm's messages, such as "service-address", if the mistake is about one.
	Option string

	// Word is the index, from 0, of the word that the mistake is in: -1 if it is in no single word.
	Word int

	// Text is ipvsadm's message without the newline, but empty for NoCommand.
	Text string
}

// Error returns ipvsadm's message, and for NoCommand, where that message is only a hint, what is wrong.
func (e *Error) Error() string {
	if e.Kind == NoCommand {
		return "the first option is not a command"
	}
	return e.Text
}

// Status is the exit status that ipvsadm ends with: 255 for NoCommand and BadOption, otherwise 2.
func (e *Error) Status() int {
	if e.Kind == NoCommand || e.Kind == BadOption {
		return statusRefused
	}
	return statusMistake
}

// Exit statuses.
const (
	statusListing = 1   // a listing could not be made
	statusMistake = 2   // of the caller, found before anything was done
	statusRefused = 255 // by the kernel, or by the reader of options
)

// RuleError is a mistake in a line of a rule file, or the kernel's refusal to carry it out.
type RuleError struct {
	Line   int   // from 1; 0 if the line stands alone
	Column int   // in bytes from 1; 0 if the mistake is in no single word
	Err    error // an [*Error] for a mistake
}

// Error returns "line 7, column 12: MESSAGE", without what is not known.
func (e *RuleError) Error() string {
	switch {
	case e.Line != 0 && e.Column != 0:
		return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
	case e.Line != 0:
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	case e.Column != 0:
		return fmt.Sprintf("column %d: %v", e.Column, e.Err)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *RuleError) Unwrap() error { return e.Err }
