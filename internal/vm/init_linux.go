package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// guestMain is the program's life inside of a machine, where it is the first process, and modprobe. Elsewhere it returns.
func guestMain() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(modprobe(os.Args[1:], os.Stderr))
	}
	if os.Getpid() != 1 || len(os.Args) < 1 || os.Args[0] != "/init" {
		return
	}
	if err := initGuest(); err != nil {
		fmt.Fprintf(os.Stderr, "vm: init: %v\n", err)
	}
	powerOff()
}

func powerOff() {
	unix.Sync()
	for {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // QEMU runs with -no-reboot
		time.Sleep(time.Second)
	}
}

// initGuest prepares the machine, runs the program and reports to the host.
func initGuest() error {
	if err := mountAll(); err != nil {
		return err
	}
	data, err := os.ReadFile(guestConfigPath)
	if err != nil {
		return err
	}
	var cfg guestConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		return err
	}
	for _, m := range cfg.Transport {
		if err := loadModule(m.Path, ""); err != nil {
			fmt.Fprintf(os.Stderr, "vm: init: module %s: %v\n", m.Name, err) // there is still the serial line
		}
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	if err := writeFrame(port, frameHello, []byte(unix.ByteSliceToString(uts.Release[:]))); err != nil {
		return err
	}
	status := exitMachine
	if !cfg.Probe {
		if status, err = cfg.run(port); err != nil {
			status = exitMachine
			if err := writeFrame(port, frameLog, []byte(err.Error())); err != nil {
				return err
			}
		}
	}
	if err := writeFrame(port, frameExit, []byte{byte(status)}); err != nil {
		return err
	}
	port.flush()
	time.Sleep(10 * time.Second) // the host switches the machine off
	return nil
}

// mountAll mounts the kernel's file systems. Those that a kernel may lack are not missed. /tmp and /run are folders of the
// root file system, which is in memory anyway: what came from the host may be below them.
func mountAll() error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		fstype, path, options string
		flags                 uintptr
		optional              bool
	}{
		{"devtmpfs", "/dev", "", unix.MS_NOSUID, false},
		{"proc", "/proc", "", plain, false},
		{"sysfs", "/sys", "", plain, false},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666", unix.MS_NOSUID | unix.MS_NOEXEC, true},
		{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV, true},
		{"cgroup2", "/sys/fs/cgroup", "", plain, true},
		{"debugfs", "/sys/kernel/debug", "", plain, true},
		{"tracefs", "/sys/kernel/tracing", "", plain, true},
	} {
		_ = os.MkdirAll(m.path, 0o755)
		if err := unix.Mount(m.fstype, m.path, m.fstype, m.flags, m.options); err != nil && !m.optional {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		_ = os.Symlink(target, link)
	}
	return nil
}

// port is the line to the host. Its methods are safe for concurrent use.
type port struct {
	mu   sync.Mutex
	fd   int
	tty  bool
	path string
}

// openPort opens the virtio port, or the second serial line where the kernel has no driver for it.
func openPort() (*port, error) {
	if _, err := os.Stat("/sys/bus/virtio/drivers/virtio_console"); err == nil {
		for range 500 { // the driver makes the port a moment after it is loaded
			if paths, _ := filepath.Glob("/dev/vport*"); len(paths) > 0 {
				fd, err := unix.Open(paths[0], unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err == nil {
					return &port{fd: fd, path: paths[0]}, nil
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	const path = "/dev/ttyS1"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &port{fd: fd, tty: true, path: path}, nil
}

// Write sends all of b, whatever else is written at the same time.
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(b) {
		m, err := unix.Write(p.fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("write %s: %w", p.path, err)
		}
		n += m
	}
	return n, nil
}

func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(p.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 && len(b) > 0 {
			err = io.EOF
		}
		return max(n, 0), err
	}
}

// flush waits until a serial line has sent everything.
func (p *port) flush() {
	if p.tty {
		_ = unix.IoctlSetInt(p.fd, unix.TCSBRK, 1)
	}
}

// run prepares what the program needs, runs it and returns its exit status.
func (cfg *guestConfig) run(port *port) (int, error) {
	if err := loopbackUp(); err != nil {
		return 0, err
	}
	warmUp()
	_ = unix.Sethostname([]byte("vm"))
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 16, Max: 1 << 20})
	modprobePath := ""
	if cfg.Autoload {
		modprobePath = "/sbin/modprobe"
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte(modprobePath+"\n"), 0); err != nil && cfg.Autoload {
		return 0, err
	}
	for _, m := range cfg.Load {
		if err := loadModule(m.Path, cfg.ModuleOptions[m.Name]); err != nil {
			return 0, fmt.Errorf("load module %s: %w", m.Name, err)
		}
	}
	keepFilters()
	keepSockets()
	for _, dir := range append([]string{cfg.Dir}, cfg.Folders...) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
	}
	status, err := cfg.program(port)
	if err != nil {
		return 0, err
	}
	for _, path := range cfg.Files {
		if err := sendFile(port, path); err != nil {
			return 0, err
		}
	}
	return status, nil
}

// program runs the program, with its output going to the host, until it ends.
func (cfg *guestConfig) program(port *port) (int, error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, err
	}
	var copying sync.WaitGroup
	pipe := func(kind byte) (*os.File, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		copying.Go(func() {
			defer r.Close()
			b := make([]byte, 32<<10)
			for {
				n, err := r.Read(b)
				if n > 0 && writeFrame(port, kind, b[:n]) != nil {
					return
				}
				if err != nil {
					return
				}
			}
		})
		return w, nil
	}
	stdout, err := pipe(frameStdout)
	if err != nil {
		return 0, err
	}
	stderr := stdout
	if !cfg.OneStream {
		if stderr, err = pipe(frameStderr); err != nil {
			return 0, err
		}
	}
	if err := writeFrame(port, frameStart, nil); err != nil {
		return 0, err
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	p, err := os.StartProcess(cfg.Args[0], cfg.Args, &os.ProcAttr{
		Dir: cfg.Dir, Env: cfg.Env, Files: []*os.File{null, stdout, stderr},
		Sys: &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, err
	}
	stdout.Close()
	stderr.Close()
	go func() {
		b := make([]byte, 1)
		for {
			if n, err := port.Read(b); n == 0 || err != nil {
				return
			}
			if b[0] == requestQuit {
				_ = unix.Kill(p.Pid, unix.SIGQUIT)
			}
		}
	}()

	// Everybody's orphans come to pid 1 too, so all children are waited for here.
	var ws unix.WaitStatus
	for {
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if pid == p.Pid && (ws.Exited() || ws.Signaled()) {
			break
		}
	}
	// What the program left running would keep the pipes open.
	_ = unix.Kill(-1, unix.SIGKILL)
	copying.Wait()
	if ws.Signaled() {
		text := fmt.Sprintf("%s: %s", filepath.Base(cfg.Args[0]), unix.SignalName(ws.Signal()))
		return 128 + int(ws.Signal()), writeFrame(port, frameLog, []byte(text))
	}
	return ws.ExitStatus(), nil
}

// sendFile sends a file to the host, if it exists.
func sendFile(port *port, path string) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	head := append([]byte(path), 0)
	b := make([]byte, 32<<10)
	for {
		n, err := f.Read(b)
		if n > 0 {
			if err := writeFrame(port, frameFile, append(head[:len(head):len(head)], b[:n]...)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// loopbackUp switches the loopback device on.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	return nil
}

// loadModule loads a module file; one that is loaded already is fine.
func loadModule(path, options string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), options, 0)
	if err == unix.EEXIST {
		return nil
	}
	return err
}
