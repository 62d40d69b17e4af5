package ipvsadm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nltest"
)

// commandCase is a shell command with ipvsadm in it and what the original did on a real kernel.
type commandCase struct {
	Setup   string `json:"setup"` // shell commands run before
	Cmd     string `json:"cmd"`
	Status  int    `json:"status"`
	Stdout  string `json:"stdout"`
	Stderr  string `json:"stderr"`
	Kernels string `json:"kernels"` // the only kernel that does so, if not both
}

func cases(tb testing.TB) []commandCase {
	tb.Helper()
	var list []commandCase
	for d := json.NewDecoder(strings.NewReader(golden(tb, "cases.jsonl"))); d.More(); {
		var c commandCase
		if err := d.Decode(&c); err != nil {
			tb.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// shell runs the few things that the commands of the cases are made of.
type shell struct {
	t              *testing.T
	run            runFunc
	stdout, stderr strings.Builder
	status         int
}

// words splits at blanks, takes quotes away, and keeps operators as words of their own kind.
func (s *shell) words(line string) (words []string, operator []bool) {
	var word strings.Builder
	open := false
	end := func() {
		if open {
			words, operator = append(words, word.String()), append(operator, false)
		}
		word.Reset()
		open = false
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ':
			end()
		case ';', '|', '<':
			end()
			words, operator = append(words, string(c)), append(operator, true)
		case '\'', '"':
			n := strings.IndexByte(line[i+1:], c)
			if n < 0 {
				s.t.Fatalf("open quote in %q", line)
			}
			quoted := line[i+1 : i+1+n]
			if c == '"' {
				quoted = strings.ReplaceAll(quoted, `\\`, `\`)
			}
			word.WriteString(quoted)
			open = true
			i += n + 1
		default:
			word.WriteByte(c)
			open = true
		}
	}
	end()
	return words, operator
}

func (s *shell) exec(line string) {
	words, operator := s.words(line)
	var args []string
	var stdin, piped io.Reader
	flush := func(pipe bool) {
		if len(args) > 0 {
			var out strings.Builder
			s.command(args, stdin, &out)
			piped = nil
			if pipe {
				piped = strings.NewReader(out.String())
			} else {
				s.stdout.WriteString(out.String())
			}
		}
		args, stdin = nil, piped
		if !pipe {
			stdin = nil
		}
	}
	for i := 0; i < len(words); i++ {
		switch {
		case operator[i] && words[i] == ";":
			flush(false)
		case operator[i] && words[i] == "|":
			flush(true)
		case operator[i]:
			i++
			if words[i] != "/dev/null" {
				s.t.Fatalf("cannot read %q", words[i])
			}
			stdin = strings.NewReader("")
		default:
			args = append(args, words[i])
		}
	}
	flush(false)
}

func (s *shell) command(args []string, stdin io.Reader, stdout io.Writer) {
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	switch args[0] {
	case "ipvsadm":
		s.status = s.run(args, stdin, stdout, &s.stderr)
	case "echo":
		_, _ = fmt.Fprintln(stdout, strings.ReplaceAll(strings.Join(args[1:], " "), "$?", strconv.Itoa(s.status)))
		s.status = 0
	case "printf":
		args = args[1:]
		if args[0] == "--" {
			args = args[1:]
		}
		text := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\\`, `\`).Replace(args[0])
		_, _ = io.WriteString(stdout, text)
		s.status = 0
	default:
		s.t.Fatalf("unknown command %q", args)
	}
}

// TestCases runs the command lines in order on the in-memory kernels.
func TestCases(t *testing.T) {
	for _, version := range []string{"6.1", "6.12"} {
		t.Run(version, func(t *testing.T) {
			k := newKernel(t, &nltest.Config{Version: version})
			run := runner(k)
			ran := 0
			for i, c := range cases(t) {
				if c.Kernels != "" && c.Kernels != version {
					continue
				}
				want := c
				if c.Status == crash {
					want.Status, want.Stderr = 0, "" // an empty list
				}
				sh := &shell{t: t, run: run}
				run([]string{"ipvsadm", "-C"}, strings.NewReader(""), io.Discard, io.Discard)
				sh.exec(c.Setup)
				sh.stdout.Reset()
				sh.stderr.Reset()
				sh.status = 0
				sh.exec(c.Cmd)
				got := c
				got.Status, got.Stdout, got.Stderr = sh.status, sh.stdout.String(), sh.stderr.String()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("case %d (-want +got):\n%s", i, diff)
				}
				ran++
			}
			if ran < 900 {
				t.Errorf("%d cases ran", ran)
			}
		})
	}
}

// crash is the status of the one command line that the original does not survive.
const crash = 139
