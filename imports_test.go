package lvs_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of this module each of them may import outside its tests. The models stand alone, the
// in-memory kernel shares no code with the client that it checks, and only what is public is used by the examples.
var imports = map[string][]string{
	"":                {},
	"sched":           {},
	"persist":         {},
	"sched/sim":       {"sched", "persist"},
	"internal/hostfs": {},
	"internal/nstest": {},
	"sysctl":          {"internal/hostfs"},
	"irq":             {"internal/hostfs"},
	"arp":             {"sysctl", "internal/hostfs"},
	"ipvs":            {"internal/hostfs"},
	"ipvs/ipvsadm":    {"ipvs"},
	"internal/nltest": {"sched", "persist", "sched/sim"},
	"ipvs/ipvstest":   {"ipvs", "ipvs/ipvsadm", "sched/sim", "internal/nltest"},
}

// outside lists the packages of other modules; the standard library is free for all. What is not listed may import
// none.
var outside = map[string][]string{
	"internal/hostfs": {"golang.org/x/sys/unix"},
	"internal/nstest": {"github.com/mdlayher/netlink", "golang.org/x/sys/unix"},
	"internal/nltest": {"github.com/mdlayher/genetlink", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"},
	"ipvs":            {"github.com/josharian/native", "github.com/mdlayher/genetlink", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"},
	"ipvs/ipvstest":   {"github.com/mdlayher/genetlink", "github.com/mdlayher/netlink"},
	"arp":             {"github.com/josharian/native", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"},
}

func TestImports(t *testing.T) {
	const module = "github.com/golvs/lvs"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	shared := []string{"examples/internal/setup"} // by examples alone
	public := []string{"sched", "persist", "sched/sim", "sysctl", "irq", "arp", "ipvs", "ipvs/ipvsadm", "ipvs/ipvstest"}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		ours, known := imports[name]
		if strings.HasPrefix(name, "examples/") {
			ours, known = append(slices.Clone(public), shared...), true
		}
		if !known {
			t.Errorf("package %s is not in the table", name)
		}
		for _, path := range p.Imports {
			rest, inside := strings.CutPrefix(path, module)
			switch {
			case inside && !slices.Contains(ours, strings.TrimPrefix(rest, "/")):
				t.Errorf("%s imports %s", name, path)
			case !inside && strings.Contains(strings.Split(path, "/")[0], ".") && !slices.Contains(outside[name], path):
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	if seen < 2 {
		t.Fatalf("go list names %d packages", seen)
	}
	for name := range maps.Keys(outside) {
		if _, ok := imports[name]; !ok {
			t.Errorf("package %s is only in the second table", name)
		}
	}
}
