package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// modprobeDirs are the directories of modprobe.d(5), the one with the highest priority first.
var modprobeDirs = [...]string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// moduleOptions returns the places where modprobe.d(5) sets a parameter of a module, in the order in which they are
// applied.
func (h *Host) moduleOptions(module, param string) ([]BitsOption, error) {
	files := map[string]string{}
	for _, dir := range modprobeDirs {
		entries, err := fs.ReadDir(h.root, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("sysctl: %w", err)
		}
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".conf") && files[name] == "" {
				files[name] = path.Join(dir, name)
			}
		}
	}
	var found []BitsOption
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, err := fs.ReadFile(h.root, files[name])
		if err != nil {
			return nil, fmt.Errorf("sysctl: %w", err)
		}
		for n, value := range parseModprobe(string(data), module, param) {
			found = append(found, BitsOption{Source: fmt.Sprintf("/%s:%d", files[name], n), Value: value})
		}
	}
	return found, nil
}

// parseModprobe yields the line numbers and values of a module's parameter in a file of modprobe.d(5).
func parseModprobe(text, module, param string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		start, joined := 0, ""
		n := 0
		for line := range strings.Lines(text) {
			n++
			if joined == "" {
				start = n
			}
			line = strings.TrimRight(line, "\r\n")
			if rest, ok := strings.CutSuffix(line, `\`); ok {
				joined += rest + " "
				continue
			}
			words := strings.Fields(joined + line)
			joined = ""
			if len(words) < 3 || words[0] != "options" || strings.ReplaceAll(words[1], "-", "_") != module {
				continue
			}
			for _, word := range words[2:] {
				name, value, ok := strings.Cut(word, "=")
				if ok && strings.ReplaceAll(name, "-", "_") == param && !yield(start, strings.Trim(value, `"`)) {
					return
				}
			}
		}
	}
}
