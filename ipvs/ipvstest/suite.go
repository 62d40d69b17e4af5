package ipvstest

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
)

// Setup is a kernel for [TestClient] to work on.
type Setup struct {
	// Kernel names it in what the suite prints, such as "Linux 6.12.117".
	Kernel string

	// Version is "6.1" or "6.12" for a kernel that behaves as these do where they differ: in what comes first for a
	// caller without privilege, in the description of the family, in having the scheduler twos, and in the hash that
	// orders the list of services. Empty skips what depends on it.
	Version string

	// Environment returns an empty network namespace, for the time of a test. It has the device lo only, up, with
	// 127.0.0.1/8 and ::1/128. Each call returns another one.
	Environment func(t *testing.T) Environment

	// Bare is like Environment, but lo has never been up, so that no device has an address. Nil skips what needs it.
	Bare func(t *testing.T) Environment

	// Lists is how often each of eight goroutines lists 300 services with one client. Zero means 200.
	Lists int

	// Rounds is the number of random services, and of random destinations, that are read, changed and written. Zero
	// means 60. They follow from the environment variable LVS_SEED if that is set, and from a seed that is printed.
	Rounds int
}

// Environment is a network namespace with an empty IPVS table, for one test at a time. Functions that are nil are
// abilities that a setup lacks: the cases that need them are skipped and counted.
type Environment struct {
	// Conn opens a netlink socket that belongs to the namespace, with the privilege to use IPVS. The suite closes it.
	Conn func() (*genetlink.Conn, error)

	// Unprivileged opens a socket as a process without CAP_NET_ADMIN in the initial user namespace would have it.
	Unprivileged func() (*genetlink.Conn, error)

	// Reader opens a socket, like Conn, for a program that receives with a buffer of that many bytes: the size of a
	// list's datagrams follows it. Nil is right for a kernel that sees for itself what it is read with.
	Reader func(buffer int) (*genetlink.Conn, error)

	// Proc is a tree with the namespace's files below proc/net or proc/thread-self/net.
	Proc fs.FS

	// AddDevice adds a network device, up, with an MTU in bytes and addresses with the lengths of their networks, and
	// an IPv6 link-local address that can be used when it returns.
	AddDevice func(name string, mtu int, addrs ...netip.Prefix) error

	// SetLink brings a device up or down.
	SetLink func(name string, up bool) error

	// Advance lets time pass in the kernel: minutes.
	Advance func(d time.Duration)
}

// TestClient runs the conformance suite: what package ipvs, and any other program, relies on in a kernel's IPVS, as many
// small cases, among them every way to be refused. It passes in the same way on Linux 6.1, on Linux 6.12 and on the
// kernels of this package. Services and daemons of the environments are created and deleted at will.
//
// At its end it prints one line to standard output, which counts the cases that really ran:
//
//	conformance: 822 cases passed, 1 skipped on Linux 6.12.117
//
// If cases failed, their number is in the line too, and the test has failed.
func TestClient(t *testing.T, s Setup) {
	if s.Lists == 0 {
		s.Lists = 200
	}
	if s.Rounds == 0 {
		s.Rounds = 60
	}
	u := &suite{Setup: s}
	for _, g := range []struct {
		name  string
		cases []testCase
	}{
		{"errno", errnoCases()},
		{"tolerance", toleranceCases},
		{"edit", editCases},
		{"destination", destCases},
		{"zero", zeroCases},
		{"config", configCases},
		{"daemon", daemonCases},
		{"golden", goldenCases},
		{"dump", dumpCases},
		{"pipeline", pipelineCases},
		{"ack", ackCases},
		{"meaning", meaningCases},
		{"proc", procCases},
		{"readmodifywrite", rewriteCases},
		{"client", clientCases},
	} {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				u.run(t, c)
			}
		})
	}
	u.report(t)
}

// A suite is a run of TestClient.
type suite struct {
	Setup

	mu      sync.Mutex
	passed  int
	failed  int
	skipped []string
}

// A testCase is one thing that a kernel must do. If rows is set, it is a family of them that shares a namespace.
type testCase struct {
	name string
	run  func(b *bench)
	rows []row
}

func (u *suite) run(t *testing.T, c testCase) {
	if c.rows == nil {
		u.count(t, c.name, func(t *testing.T) { c.run(u.bench(t)) })
		return
	}
	t.Run(c.name, func(t *testing.T) {
		b := u.bench(t)
		p := newPlayground(b)
		for _, r := range forVersion(c.rows, u.Version) {
			u.count(t, r.name, func(t *testing.T) { p.check(t, r) })
		}
	})
}

// count runs a test and counts how it ended. A test that the -run flag leaves out is not run and does not count.
func (u *suite) count(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		ended := false
		defer func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			switch {
			case t.Skipped():
				u.skipped = append(u.skipped, t.Name())
			case t.Failed() || !ended:
				u.failed++
			default:
				u.passed++
			}
		}()
		f(t)
		ended = true
	})
}

func (u *suite) report(t *testing.T) {
	for _, name := range u.skipped {
		t.Logf("skipped: %s", name)
	}
	failed := ""
	if u.failed > 0 || t.Failed() {
		failed = fmt.Sprintf("%d FAILED, ", u.failed)
	}
	fmt.Println("conformance:", failed+strconv.Itoa(u.passed), "cases passed,", len(u.skipped), "skipped on", u.Kernel)
}
