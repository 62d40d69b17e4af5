package ipvsadm_test

import (
	"encoding/json"
	"strings"
	"testing"
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
