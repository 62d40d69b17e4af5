package setuptest

import (
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	before := State{"a": "1", "b": "2", "c": "3"}
	if lines := before.Diff(State{"a": "1", "b": "2", "c": "3"}); lines != nil {
		t.Errorf("no difference is %q", lines)
	}
	got := strings.Join(before.Diff(State{"a": "1", "c": "4", "d": "5"}), "; ")
	if want := "b: 2 before, gone; c: 3 before, now 4; d: 5, and was not there before"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
