package setup

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/sysctl"
)

// What stop shows are the values that it writes, and what it does not write, but not what is as it was.
func TestRestorations(t *testing.T) {
	list := []sysctl.Restored{
		{Name: "net.ipv4.ip_forward", Now: "1", Old: "0", Outcome: sysctl.RestoreDone},
		{Name: "net.ipv4.conf.all.send_redirects", Now: "1", Old: "1", Outcome: sysctl.RestoreNotNeeded},
		{Name: "net.ipv4.conf.eth0.send_redirects", Old: "1", Outcome: sysctl.RestoreGone},
		{Name: "a", Now: "2", Old: "1", Outcome: sysctl.RestoreForeign},
		{Name: "b", Now: "2", Old: "1", Outcome: sysctl.RestoreFailed, Err: errors.New("no luck")},
	}
	const want = `SETTING                            NOW  BACK TO  ACTION
net.ipv4.ip_forward                1    0        restore
net.ipv4.conf.eth0.send_redirects  -    1        no longer exists
a                                  2    1        changed by someone else, left alone
b                                  2    1        no luck
`
	if diff := cmp.Diff(want, restorations(list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := restorations(list[1:2]); got != "" {
		t.Errorf("nothing is restored: %q", got)
	}
}
