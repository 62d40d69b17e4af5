package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// readRules runs the rules of a file on a kernel in memory and takes the table that they make, so that a line that a kernel
// would refuse is found before anything is changed. Without a file there are no services, and timeouts are left alone.
func readRules(ctx context.Context, name string) (ipvs.Ruleset, error) {
	if name == "" {
		return ipvs.Ruleset{}, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	parser := ipvsadm.Parser{Strict: true, Lossless: true}
	rules, err := parser.ReadRules(ctx, bytes.NewReader(text))
	if err != nil {
		return ipvs.Ruleset{}, fmt.Errorf("%s: %w", name, err)
	}
	c, done, err := ipvstest.Dial(ctx, "memory:", nil)
	if err != nil {
		return ipvs.Ruleset{}, err
	}
	defer func() { _ = done() }()
	timeouts := false
	for _, r := range rules {
		switch command := r.Operation.Command; {
		case command == ipvsadm.StartDaemon || command == ipvsadm.StopDaemon || !command.Changes():
			return ipvs.Ruleset{}, fmt.Errorf("%s: line %d: %v is not a rule", name, r.Line, command)
		case command == ipvsadm.SetTimeouts:
			timeouts = true
		}
		if err := r.Operation.Apply(ctx, c); err != nil {
			return ipvs.Ruleset{}, fmt.Errorf("%s: line %d: %w", name, r.Line, err)
		}
	}
	want, err := c.Ruleset(ctx)
	want.Daemons = nil
	if !timeouts {
		want.Timeouts = nil
	}
	return want, err
}
