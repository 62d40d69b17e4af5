package setup

import (
	"strings"
	"testing"

	"github.com/golvs/lvs/internal/nstest"
)

// A namespace that takes the place of another is not taken for it, although it may have its inode.
func TestIntegrationNamespaceID(t *testing.T) {
	nstest.RequireKernel(t)
	seen := make(map[string]bool)
	for range 5 {
		t.Run("", func(t *testing.T) {
			ns := nstest.New(t)
			id, err := namespaceID(ns.Path())
			if err != nil || seen[id] || strings.HasPrefix(id, "ns") { // every kernel that this is tested on has cookies
				t.Fatalf("%q, %v; want a cookie that was not there before", id, err)
			}
			if again, err := namespaceID(ns.Path()); err != nil || again != id {
				t.Fatalf("%q, and then %q, %v", id, again, err)
			}
			seen[id] = true
		})
	}
}
