package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPass(t *testing.T) {
	if os.Getenv("LVS_KERNEL_TEST") != "1" {
		t.Fatal("not in a machine")
	}
	if os.Geteuid() != 0 {
		t.Fatal("not root")
	}
}

func TestFail(t *testing.T) { t.Fatal("fails on purpose") }

func TestEnv(t *testing.T) {
	for _, name := range []string{"LVS_SOME", "GODEBUG", "ADDED", "SECRET"} {
		fmt.Printf("%s=%s\n", name, os.Getenv(name))
	}
}

func TestData(t *testing.T) {
	for _, name := range []string{"testdata/file.txt", "doc.go"} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil || string(hosts) != "127.0.0.1 localhost\n" {
		t.Errorf("hosts: %q, %v", hosts, err)
	}
	for _, name := range []string{"/etc/services", "/etc/protocols", "/etc/passwd", "/tmp", "/run", "/proc/self", "/sys/class/net/lo"} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

// TestOrder writes lines to both streams in turn.
func TestOrder(t *testing.T) {
	for i := range 2000 {
		fmt.Fprintf(os.Stdout, "out %d\n", i)
		fmt.Fprintf(os.Stderr, "err %d\n", i)
	}
}

// TestLarge writes two megabytes and then their hash.
func TestLarge(t *testing.T) {
	h := sha256.New()
	for i := range 1 << 15 {
		line := fmt.Sprintf("%062d\n", i)
		h.Write([]byte(line))
		fmt.Print(line)
	}
	fmt.Printf("sum %x\n", h.Sum(nil))
}

func TestHang(t *testing.T) { time.Sleep(time.Hour) }

// TestDeaf does not even answer SIGQUIT.
func TestDeaf(t *testing.T) {
	signal.Ignore(unix.SIGQUIT)
	time.Sleep(time.Hour)
}

func TestSleep(t *testing.T) {
	fmt.Println("sleeping")
	time.Sleep(time.Hour)
}

// TestDaemon leaves a process running that has the output open.
func TestDaemon(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSleep$")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("left", cmd.Process.Pid > 1)
}

func TestKilled(t *testing.T) {
	if err := unix.Kill(os.Getpid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestPanic(t *testing.T) {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestModules(t *testing.T) {
	data, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, " ")
		fmt.Println("module", name)
	}
	if bits, err := os.ReadFile("/sys/module/ip_vs/parameters/conn_tab_bits"); err == nil {
		fmt.Println("bits", strings.TrimSpace(string(bits)))
	}
}

// TestFamily asks for the IPVS family, upon which the kernel loads the module if it can.
func TestFamily(t *testing.T) {
	err := family("IPVS")
	_, statErr := os.Stat("/sys/module/ip_vs")
	fmt.Println("family", err == nil, "module", statErr == nil)
	if out, err := exec.Command("modprobe", "ip-vs-rr").CombinedOutput(); err != nil {
		fmt.Printf("modprobe: %v: %s", err, out)
		return
	}
	_, statErr = os.Stat("/sys/module/ip_vs_rr")
	fmt.Println("rr", statErr == nil)
}

// family sends the generic netlink controller's GETFAMILY and returns its error.
func family(name string) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := append([]byte(name), 0)
	attr := make([]byte, 4+(len(value)+3)&^3)
	binary.NativeEndian.PutUint16(attr[0:], uint16(4+len(value)))
	binary.NativeEndian.PutUint16(attr[2:], unix.CTRL_ATTR_FAMILY_NAME)
	copy(attr[4:], value)
	var msg bytes.Buffer
	for _, v := range []any{
		unix.NlMsghdr{Len: uint32(16 + 4 + len(attr)), Type: unix.GENL_ID_CTRL, Flags: unix.NLM_F_REQUEST, Seq: 1},
		[]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, attr,
	} {
		if err := binary.Write(&msg, binary.NativeEndian, v); err != nil {
			return err
		}
	}
	if err := unix.Sendto(fd, msg.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return err
	}
	if n >= 20 && binary.NativeEndian.Uint16(reply[4:]) == unix.NLMSG_ERROR {
		if errno := -int32(binary.NativeEndian.Uint32(reply[16:])); errno != 0 {
			return unix.Errno(errno)
		}
	}
	return nil
}

// TestClock waits for an hour.
func TestClock(t *testing.T) {
	start := time.Now()
	time.Sleep(time.Hour)
	fmt.Println("slept", time.Since(start).Truncate(time.Minute))
}

func TestPrograms(t *testing.T) {
	out, err := exec.Command("busybox", "echo", "from busybox").CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
}
