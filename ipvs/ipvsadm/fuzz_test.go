package ipvsadm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// FuzzParseLine: a line gives an operation or an error, and an operation's text gives the same operation again, with a
// parser that knows at least as many words.
func FuzzParseLine(f *testing.F) {
	for _, state := range states {
		for s := bufio.NewScanner(strings.NewReader(golden(f, state+".setup"))); s.Scan(); {
			f.Add(s.Text(), byte(0))
			f.Add(s.Text(), byte(7))
		}
	}
	for _, c := range cases(f) {
		for _, line := range strings.Split(c.Setup+";"+c.Cmd, ";") {
			f.Add(strings.TrimSpace(line), byte(0))
		}
	}
	for _, line := range []string{
		"-A -f 4294967295 -6 -s ipvsadm= -b flag-3,0x40 --stored-timeout 7 -M 3",
		"-e --sctp-service [::ffff:1.2.3.4]:9 -r 5.6.7.8:1 --forward 5 --tun-type 9 --tun-flags 0xfff4 -w 0 -x 7 -y 8",
		"--start-daemon master --mcast-interface= --mcast-group ff02::1 --sync-maxlen 5 --mcast-ttl 6 --mcast-port 7",
		"-s=ipvsadm -A", "-At=10.1:080 -s=ipvsadm -p300 --pe=ipvsadm", "-L --json --numeric-sort -ncX --daemon", "-S --lossless -n",
		"-R --atomic", "--stop-daemon backup --syncid +7", "--set 1 -- 2 3", "-Z -u 0.0.0.0:0", "-A -t ::ffff:1.2.3.4 -p",
	} {
		f.Add(line, byte(7))
	}
	f.Fuzz(func(t *testing.T, line string, options byte) {
		p := &ipvsadm.Parser{Extensions: options&1 != 0, Lossless: options&2 != 0, Strict: options&4 != 0}
		ctx := context.Background()
		op, err := p.ParseLine(ctx, line)
		if err != nil {
			e, ok := errors.AsType[*ipvsadm.Error](err)
			switch {
			case !ok || e.Kind == 0 || e.Error() == "":
				t.Fatalf("error %#v says nothing", err)
			case e.Status() != 2 && e.Status() != 255:
				t.Fatalf("status %d", e.Status())
			case op != ipvsadm.Operation{}:
				t.Fatalf("operation %+v and error %v", op, err)
			}
			return
		}
		text := op.String()
		again, err := p.ParseLine(ctx, text)
		if err != nil {
			t.Fatalf("%q became %q: %v", line, text, err)
		}
		if diff := cmp.Diff(op, again, equateAddrs); diff != "" {
			t.Fatalf("%q became %q (-before +after):\n%s", line, text, diff)
		}
		fromWords, err := p.Parse(ctx, op.Words())
		if err != nil || fromWords != op {
			t.Fatalf("words %q: %v", op.Words(), err)
		}
	})
}

// FuzzRules: a rule file is read to its end, whatever is in it, and carried out without harm.
func FuzzRules(f *testing.F) {
	for _, state := range states {
		f.Add([]byte(golden(f, state+".setup")), byte(0))
		f.Add([]byte(golden(f, state+".setup")), byte(7))
	}
	for seed := range uint64(20) {
		text, _ := newGenerator(seed).ruleFile(30)
		f.Add([]byte(text), byte(seed))
	}
	f.Add([]byte("-C\x00x\n \r \n-A -f 1\v\n\n-L # x\n-C  "), byte(4))
	f.Fuzz(func(t *testing.T, text []byte, options byte) {
		p := &ipvsadm.Parser{Lossless: options&2 != 0, Strict: options&4 != 0}
		last, lines := 0, bytes.Count(text, []byte("\n"))+1
		var again bytes.Buffer
		var ops []ipvsadm.Operation
		for rule, err := range p.Rules(context.Background(), bytes.NewReader(text)) {
			line := rule.Line
			if e, ok := errors.AsType[*ipvsadm.RuleError](err); ok {
				line = e.Line
			} else if err != nil {
				t.Fatalf("error without a line: %v", err)
			}
			if line <= last || line > lines {
				t.Fatalf("line %d after %d of %d", line, last, lines)
			}
			last = line
			if err == nil {
				again.WriteString(rule.Operation.String() + "\n")
				ops = append(ops, rule.Operation)
			}
		}
		for rule, err := range p.Rules(context.Background(), &again) {
			if err != nil || len(ops) == 0 || rule.Operation != ops[0] {
				t.Fatalf("%v, %v", rule, err)
			}
			ops = ops[1:]
		}
		if len(ops) != 0 {
			t.Fatalf("%d operations are lost", len(ops))
		}
	})
}
