package lvs_test

import (
	"os"
	"strings"
	"testing"
)

// The program that the README begins with is the Example of package ipvs, which is compiled and run.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```go\n")
	program, _, ok := strings.Cut(rest, "```\n")
	if !ok || program == "" {
		t.Fatal("the README has no program")
	}
	example, err := os.ReadFile("ipvs/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ = strings.Cut(string(example), "func Example() {\n")
	body, _, _ := strings.Cut(rest, "\t// Output:")
	var want strings.Builder
	for line := range strings.Lines(body) {
		want.WriteString(strings.TrimPrefix(line, "\t"))
	}
	if program != want.String() {
		t.Fatalf("the README's program\n%s\nis not the example\n%s", program, want.String())
	}
}
