package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// rule is the part of the firewall that marks the packets of a service.
type rule struct{ *options }

// table is the name of the rule's table, as nft takes it.
func (r *rule) table() string {
	if r.vip.Is6() {
		return fmt.Sprintf("ip6 lvs_mark_%d", r.mark)
	}
	return fmt.Sprintf("ip lvs_mark_%d", r.mark)
}

// String returns the rule as nft lists it.
func (r *rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s {\n\tchain prerouting {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n", r.table())
	family, _, _ := strings.Cut(r.table(), " ")
	for _, p := range []ipvs.Protocol{ipvs.TCP, ipvs.UDP, ipvs.SCTP} {
		var numbers []uint16
		for _, one := range r.ports {
			if one.protocol == p {
				numbers = append(numbers, one.number)
			}
		}
		slices.Sort(numbers) // as nft lists a set, whatever its order was
		if len(numbers) > 0 {
			list := strings.ReplaceAll(strings.Trim(fmt.Sprint(numbers), "[]"), " ", ", ")
			fmt.Fprintf(&b, "\t\t%s daddr %v %s dport { %s } meta mark set 0x%08x\n",
				family, r.vip, strings.ToLower(p.String()), list, r.mark)
		}
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// Start prints the rule, and with -nft plans to add it. It replaces one that is there in one transaction.
func (r *rule) Start(ctx context.Context) (setup.Action, error) {
	if !r.nft {
		return setup.Action{Text: "the rule, for the firewall's configuration (-nft adds it):\n" + r.String()}, nil
	}
	there, err := r.list(ctx)
	if err != nil {
		return setup.Action{}, err
	}
	fresh := fmt.Sprintf("add table %s\ndelete table %[1]s\n%v", r.table(), r)
	a := setup.Action{
		Text: "nft -f - <<EOF\n" + fresh + "EOF\n",
		Do:   func(ctx context.Context) error { _, err := r.run(ctx, fresh, "-f", "-"); return err },
		Undo: func(ctx context.Context) error { _, err := r.run(ctx, "", r.words("delete")...); return err },
	}
	if there != "" {
		a.Undo = func(ctx context.Context) error {
			_, err := r.run(ctx, "delete table "+r.table()+"\n"+there, "-f", "-")
			return err
		}
	}
	if same(there, r.String()) {
		return setup.Action{}, nil
	}
	return a, nil
}

// Stop plans to remove the rule with -nft.
func (r *rule) Stop(ctx context.Context) (setup.Action, error) {
	if !r.nft {
		return setup.Action{}, nil
	}
	there, err := r.list(ctx)
	if err != nil || there == "" {
		return setup.Action{}, err
	}
	words := r.words("delete")
	return setup.Action{
		Text: "nft " + strings.Join(words, " ") + "\n",
		Do:   func(ctx context.Context) error { _, err := r.run(ctx, "", words...); return err },
	}, nil
}

// Check says with -nft whether the rule is there. Rules of other programs may do the same, and are not looked at.
func (r *rule) Check(ctx context.Context) (setup.Look, error) {
	l := setup.Look{Name: "rule"}
	if !r.nft {
		return l, nil
	}
	there, err := r.list(ctx)
	if err != nil {
		return l, err
	}
	l.Text, l.Value = there, there
	if !same(there, r.String()) {
		problem := fmt.Sprintf("table %s is not there, and packets are not marked", r.table())
		if there != "" {
			problem = fmt.Sprintf("table %s is not as it should be", r.table())
		}
		l.Findings = append(l.Findings, setup.Finding{Problem: problem, Mend: `"persistence start -nft" sets it`})
	}
	return l, nil
}

// same compares two listings. A set of one port may be listed without its braces.
func same(a, b string) bool {
	words := func(s string) string {
		return strings.Join(strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(" \t\n{},;", c) }), " ")
	}
	return words(a) == words(b)
}

func (r *rule) words(verb string) []string {
	return append([]string{verb, "table"}, strings.Fields(r.table())...)
}

// list returns the table as nft shows it, empty if there is none.
func (r *rule) list(ctx context.Context) (string, error) {
	out, err := r.run(ctx, "", "list", "tables")
	if err != nil || !strings.Contains(out+"\n", "table "+r.table()+"\n") {
		return "", err
	}
	return r.run(ctx, "", r.words("list")...)
}

// run runs nft in the network namespace.
func (r *rule) run(ctx context.Context, input string, args ...string) (string, error) {
	var out []byte
	err := setup.Inside(r.netns, func() (err error) {
		// A change is not given up half-way when the program is told to end.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), "nft", args...)
		cmd.Stdin = strings.NewReader(input)
		out, err = cmd.Output()
		return err
	})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		first, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		err = fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, first)
	}
	return string(out), err
}
