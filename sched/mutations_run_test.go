//go:build mutation

package sched

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutationsAreCaught builds the package with each mutation in turn and demands that its tests fail.
func TestMutationsAreCaught(t *testing.T) {
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.mistake, " ", "_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			source, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			mutant := filepath.Join(dir, m.file)
			if err := os.WriteFile(mutant, []byte(strings.Replace(string(b), m.old, m.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: mutant}})
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(list, overlay, 0o644); err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "sched.test")
			if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("the mutation does not compile: %v\n%s", err, out)
			}
			out, err := exec.Command(binary, "-test.failfast", "-test.timeout=60s").CombinedOutput()
			if err == nil {
				t.Errorf("%s: not caught: %s", m.file, m.mistake)
			}
			t.Logf("caught by %s", firstFailure(string(out)))
		})
	}
}

// firstFailure is the line that names the first failed test.
func firstFailure(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- FAIL") || strings.HasPrefix(line, "panic: ") {
			return strings.TrimSpace(line)
		}
	}
	return "nothing"
}
