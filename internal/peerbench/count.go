//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// The measured part of a process lies between two calls of prctl that the kernel refuses.
const (
	markBegin = 0x6c767301
	markEnd   = 0x6c767302
)

// Go's scheduler makes these whenever it likes, the more often the longer ptrace lets a program wait. They are not counted,
// in no program.
var scheduling = []uint64{
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_SCHED_YIELD, unix.SYS_TGKILL, unix.SYS_GETPID,
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_MADVISE,
}

// mark tells the process that counts system calls, if there is one.
func mark(which int) { _, _, _ = syscall.RawSyscall(unix.SYS_PRCTL, uintptr(which), 0, 0) }

// countCalls runs a command and counts the system calls that it and its children make between the two marks.
func countCalls(cmd *exec.Cmd) (calls int, err error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	first := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(first, &status, unix.WALL, nil); err != nil {
		return 0, err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
		unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(first, options); err != nil {
		return 0, err
	}
	if err := unix.PtraceSyscall(first, 0); err != nil {
		return 0, err
	}
	inside := make(map[int]bool) // threads that are in a system call
	counting := false
	for {
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if err != nil {
			return calls, err
		}
		pass := 0 // the signal that the thread gets
		switch {
		case status.Exited() || status.Signaled():
			delete(inside, pid)
			if pid != first {
				continue
			}
			if status.ExitStatus() != 0 {
				return calls, fmt.Errorf("exit status %d", status.ExitStatus())
			}
			return calls, nil
		case status.StopSignal() == unix.SIGTRAP|0x80:
			inside[pid] = !inside[pid]
			if !inside[pid] {
				break
			}
			var regs unix.PtraceRegs
			if err := unix.PtraceGetRegs(pid, &regs); err != nil {
				return calls, err
			}
			switch {
			case regs.Orig_rax == unix.SYS_PRCTL && regs.Rdi == markBegin:
				counting = true
			case regs.Orig_rax == unix.SYS_PRCTL && regs.Rdi == markEnd:
				counting = false
			case counting && !slices.Contains(scheduling, regs.Orig_rax):
				calls++
			}
		case status.StopSignal() == unix.SIGTRAP, status.StopSignal() == unix.SIGSTOP:
			// An event, or the first stop of a new thread.
		default:
			pass = int(status.StopSignal())
		}
		if err := unix.PtraceSyscall(pid, pass); err != nil && !errors.Is(err, unix.ESRCH) {
			return calls, err
		}
	}
}
