package nstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// SettleDaemons waits until the threads of all synchronisation daemons have begun to run. The kernel stops one that has not
// without an answer to the request (observed on Linux 6.1 and 6.12).
func SettleDaemons(t testing.TB) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		waiting, err := daemonsThatWait()
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) == 0 {
			return
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Fatalf("threads of synchronisation daemons that do not run after %v, and their states: %v", took, waiting)
		}
	}
}

// daemonsThatWait returns the threads of daemons that do not sleep as those do that have nothing to send or receive. A thread
// that has been made and never ran is in an uninterruptible sleep, D.
func daemonsThatWait() (list []string, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// 123 (ipvs-m:0:0) S 2 …
		_, rest, _ := strings.Cut(string(text), "(")
		name, rest, _ := strings.Cut(rest, ") ")
		if (strings.HasPrefix(name, "ipvs-m:") || strings.HasPrefix(name, "ipvs-b:")) && !strings.HasPrefix(rest, "S") {
			list = append(list, fmt.Sprintf("%s %.1s", name, rest))
		}
	}
	return list, nil
}
