package ipvstest_test

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// TestIntegrationConformance runs the suite on this machine's kernel. With LVS_CONFORMANCE_WAIT=1 it also waits the six
// minutes that the trash takes, which pass in a moment in a machine that counts instructions (vm -icount).
func TestIntegrationConformance(t *testing.T) {
	nstest.RequireKernel(t)
	kernel, version := kernelVersion(t)
	ipvstest.TestClient(t, ipvstest.Setup{
		Kernel: "Linux " + kernel, Version: version, Environment: kernelEnvironment, Bare: bareEnvironment,
		Lists: 40, // 200 take some 40 s in an emulated machine
	})
}

// kernelVersion returns the running kernel's version, and its first two numbers if the suite knows them.
func kernelVersion(t *testing.T) (full, known string) {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	full = release
	// Debian's releases have the version of its interface; that of the source is in another place.
	if m := regexp.MustCompile(`Debian (\d+\.\d+\.\d+)`).FindStringSubmatch(unix.ByteSliceToString(uts.Version[:])); m != nil {
		full = m[1]
	}
	for _, v := range []string{"6.1", "6.12"} {
		if strings.HasPrefix(full, v+".") {
			known = v
		}
	}
	return full, known
}

func kernelEnvironment(t *testing.T) ipvstest.Environment {
	t.Helper()
	ns := nstest.New(t)
	env := environmentIn(ns.File())
	env.AddDevice = func(name string, mtu int, addrs ...netip.Prefix) error {
		ns.Dummy(t, name)
		ns.SetMTU(t, name, mtu)
		for _, a := range addrs {
			ns.AddAddr(t, name, a)
		}
		return waitLinkLocal(env.Proc, name)
	}
	env.SetLink = func(name string, up bool) error {
		if up {
			ns.Up(t, name)
		} else {
			ns.Down(t, name)
		}
		return nil
	}
	return env
}

// waitLinkLocal waits until a device has a link-local address that may be used, which the kernel gives it a little later.
func waitLinkLocal(root fs.FS, name string) error {
	const tentative = 0x40
	var text []byte
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		var err error
		text, err = fs.ReadFile(root, "proc/thread-self/net/if_inet6")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			w := strings.Fields(line)
			if len(w) != 6 || w[5] != name || !strings.HasPrefix(w[0], "fe80") {
				continue
			}
			if flags, err := strconv.ParseUint(w[4], 16, 32); err == nil && flags&tentative == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%s has no link-local address that can be used:\n%s", name, text)
}

// environmentIn is what needs no more than an open namespace.
func environmentIn(ns *os.File) ipvstest.Environment {
	env := ipvstest.Environment{
		Conn: func() (*genetlink.Conn, error) { return genetlink.Dial(&netlink.Config{NetNS: int(ns.Fd())}) },
		Unprivileged: func() (conn *genetlink.Conn, err error) {
			onThread(func() {
				if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
					return
				}
				const nobody = 65534
				// Of this thread only, which ends with its goroutine.
				if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
					err = errno
					return
				}
				conn, err = genetlink.Dial(nil)
			})
			return conn, err
		},
		Proc: hostfs.Host(hostfs.NetNS{File: ns}),
	}
	if os.Getenv("LVS_CONFORMANCE_WAIT") == "1" {
		env.Advance = time.Sleep
	}
	return env
}

// onThread runs f on a thread of its own that nothing else uses afterwards.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// bareEnvironment is a namespace whose lo was never up.
func bareEnvironment(t *testing.T) ipvstest.Environment {
	t.Helper()
	var ns *os.File
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	env := environmentIn(ns)
	env.SetLink = func(name string, up bool) (err error) {
		onThread(func() {
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
				err = setLink(name, up)
			}
		})
		return err
	}
	return env
}

// setLink brings a device of the thread's namespace up or down.
func setLink(name string, up bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	flags := ifr.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	ifr.SetUint16(flags)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
