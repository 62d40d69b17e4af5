package setup

import (
	"path/filepath"
	"strings"
)

// namespaceFile returns the path of a network namespace that is given by its name or a path; empty is this thread's.
func namespaceFile(name string) string {
	switch {
	case name == "":
		return "/proc/thread-self/ns/net"
	case strings.Contains(name, "/"):
		return name
	}
	return filepath.Join("/run/netns", name)
}
