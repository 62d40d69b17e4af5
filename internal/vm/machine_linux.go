package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// event is what a machine tells besides the program's output.
type event struct {
	kind    byte // a frame's
	payload []byte
}

// machine is a running QEMU.
type machine struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer // QEMU's own; to be read after exited
	console *console
	events  chan event    // frames but output; never closed
	exited  chan struct{} // closed when QEMU is gone and all that it sent was read
	port    *os.File      // to the guest's virtio port
	quit    chan struct{} // closed by stop
	once    sync.Once
}

// newInitrd returns an anonymous file, which goes when the last process that has it ends.
func newInitrd() (*os.File, error) {
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "initramfs"), nil
}

func findQEMU() (string, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return "", errors.New("qemu-system-x86_64 is not on this host: install the package qemu-system-x86")
	}
	return qemu, nil
}

// startMachine starts QEMU. Output of the program goes to stdout and stderr as it comes. It has to be called on the main
// thread: QEMU is killed when the thread that started it ends.
func startMachine(o options, image, accel string, initrd *os.File, con *console, stdout, stderr io.Writer) (*machine, error) {
	qemu, err := findQEMU()
	if err != nil {
		return nil, err
	}
	m := &machine{console: con, events: make(chan event), exited: make(chan struct{}), quit: make(chan struct{})}
	m.cmd = exec.Command(qemu, qemuArgs(o, image, accel)...)
	m.cmd.Stderr = &m.stderr
	m.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}

	var ours, theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	}
	defer func() { closeAll(theirs) }()
	for range 3 {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			closeAll(ours)
			return nil, fmt.Errorf("socketpair: %w", err)
		}
		if err := unix.SetNonblock(fds[0], true); err != nil {
			closeAll(ours)
			return nil, err
		}
		ours = append(ours, os.NewFile(uintptr(fds[0]), "line"))
		theirs = append(theirs, os.NewFile(uintptr(fds[1]), "line"))
	}
	m.port = ours[2]
	m.cmd.ExtraFiles = append(theirs[:3:3], initrd)
	if err := m.cmd.Start(); err != nil {
		closeAll(ours)
		return nil, err
	}

	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(con, ours[0]) })
	for _, line := range ours[1:] {
		reading.Go(func() { m.read(line, stdout, stderr) })
	}
	go func() {
		_ = m.cmd.Wait()
		reading.Wait() // QEMU's ends are closed
		closeAll(ours)
		close(m.exited)
	}()
	return m, nil
}

// read takes frames from a line until it ends.
func (m *machine) read(line io.Reader, stdout, stderr io.Writer) {
	for {
		kind, payload, err := readFrame(line)
		if err != nil {
			_, _ = io.Copy(io.Discard, line) // noise on the serial line must not hold up QEMU
			return
		}
		switch kind {
		case frameStdout:
			_, err = stdout.Write(payload)
		case frameStderr:
			_, err = stderr.Write(payload)
		default:
			select {
			case m.events <- event{kind, payload}:
			case <-m.quit:
			}
		}
		if err != nil {
			select {
			case m.events <- event{frameLog, fmt.Appendf(nil, "output lost: %v", err)}:
			case <-m.quit:
			}
		}
	}
}

// interrupt asks the guest to send SIGQUIT to the program.
func (m *machine) interrupt() { _, _ = m.port.Write([]byte{requestQuit}) }

// stop switches the machine off and waits until it is gone.
func (m *machine) stop() {
	m.once.Do(func() {
		close(m.quit)
		_ = m.cmd.Process.Kill()
	})
	<-m.exited
}
