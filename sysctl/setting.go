package sysctl

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Setting is a value wanted for a parameter.
type Setting struct {
	// Key is the parameter; a component * stands for all that exist there.
	Key Key `json:"key"`

	// Value is the text wanted. It is compared by meaning, so blanks do not matter.
	Value string `json:"value"`

	// Reason says in a few words why, for the people who read the plan.
	Reason string `json:"reason,omitempty"`

	// Optional settings are left out where the parameter does not exist or is read-only; others are an error there.
	Optional bool `json:"optional,omitempty"`
}

// Merge joins lists of settings. A later one replaces an earlier one of the same key, at its place.
func Merge(lists ...[]Setting) []Setting {
	var merged []Setting
	at := map[Key]int{}
	for _, list := range lists {
		for _, s := range list {
			if i, ok := at[s.Key]; ok {
				merged[i] = s
				continue
			}
			at[s.Key] = len(merged)
			merged = append(merged, s)
		}
	}
	return merged
}

// valid returns an error that matches fs.ErrInvalid if a setting makes no sense anywhere.
func (s Setting) valid() error {
	if err := s.Key.Valid(); err != nil {
		return fmt.Errorf("sysctl: key %q: %w", string(s.Key), err)
	}
	return Check(s.Key, s.Value)
}

var errConflict = fmt.Errorf("two different values for one parameter: %w", fs.ErrInvalid)

func sortedSettings(list []Setting) []Setting {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Setting) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return sorted
}
