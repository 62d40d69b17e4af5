package setuptest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

// asProgram is set in the environment of a test binary that is to be the program: its command line.
const asProgram = "TEST_PROGRAM_LINE"

// Command is the program in a process of its own, if TestMain calls Become. No word of the line has a blank in it.
func (p Program) Command(t testing.TB, line string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"="+line)
	return cmd
}

// Become runs the program instead of the tests in a process that Command is for. Given a file descriptor 3 it waits there
// for a byte, or the end, whenever it has printed something.
func (p Program) Become() {
	line, ok := os.LookupEnv(asProgram)
	if !ok {
		return
	}
	e := p.env(stepwise{os.Stdout, os.NewFile(3, "steps")}, os.Stderr, os.Getenv("LVS_KERNEL"))
	os.Exit(e.Run(p.Main, strings.Fields(line)))
}

type stepwise struct {
	io.Writer
	steps *os.File
}

func (s stepwise) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	if len(b) > 0 {
		_, _ = s.steps.Read(make([]byte, 1)) // there need not be any
	}
	return n, err
}

// File is a namespace that another process can be given.
type File interface {
	Place
	File() *os.File
}

// process is the program in a process of its own that waits whenever it has printed something.
type process struct {
	cmd           *exec.Cmd
	output, steps *os.File
	text          string
	prints        int
}

// process starts the program for a namespace.
func (p Program) process(t testing.TB, at File, line string) *process {
	t.Helper()
	output, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd3, steps, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &process{cmd: p.Command(t, line+" -netns /proc/self/fd/4"), output: output, steps: steps}
	c.cmd.ExtraFiles = []*os.File{fd3, at.File()}
	c.cmd.Stdout, c.cmd.Stderr = stdout, stdout
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.Close()
	fd3.Close()
	return c
}

// next waits until something is printed, and reports false at the end.
func (c *process) next() bool {
	b := make([]byte, 1<<16)
	n, err := c.output.Read(b)
	c.text += string(b[:n])
	if err == nil {
		c.prints++
	}
	return err == nil
}

// step lets the process go on until it prints something again.
func (c *process) step() { _, _ = c.steps.Write([]byte{0}) }

// end lets the process go on to its end and returns its status, -1 if it was killed.
func (c *process) end() int {
	c.steps.Close()
	for c.next() {
	}
	c.output.Close()
	_ = c.cmd.Wait() // the status says it
	return c.cmd.ProcessState.ExitCode()
}

// Interrupt ends start and stop, in processes of their own, at random moments while start does each of the things that it
// prints, and stop one of them: by SIGINT, after which the machine is in the old state or in the new one, as the exit status says, and by SIGKILL,
// after which stop brings it to the old state. Until the end only those parameters are looked at that start changes.
func (p Program) Interrupt(t testing.TB, at File, start, stop string) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	run := func(line string) {
		t.Helper()
		p.Do(t, setup.ExitOK, at, strings.Fields(line)...)
	}
	states := map[string]State{stop: Read(t, at.Path())} // after each of them
	old := states[stop]
	prints := make(map[string]int)
	lengths := make(map[string]time.Duration) // of what is done after a print
	for _, line := range []string{start, stop} {
		c := p.process(t, at, line)
		var begin time.Time
		for c.next() {
			if begin.IsZero() {
				begin = time.Now()
			}
			c.step()
		}
		if status := c.end(); status != setup.ExitOK || c.prints == 0 {
			t.Fatalf("%s %s: status %d\n%s", p.Name, line, status, c.text)
		}
		prints[line], lengths[line] = c.prints, time.Since(begin)/time.Duration(c.prints)
		if line == start {
			states[start] = Read(t, at.Path())
		}
	}
	var parameters []string
	for key, value := range states[start] {
		if states[stop][key] != value {
			parameters = append(parameters, key)
		}
	}
	states[start], states[stop] = states[start].only(parameters), states[stop].only(parameters)
	outcomes := make(map[string]int)
	for _, line := range []string{start, stop} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
			moments := random.Perm(prints[line])
			if line == stop {
				moments = moments[:1] // any will do: stop goes on to its end, or is run again
			}
			for _, when := range moments {
				if line == stop {
					run(start)
				}
				c := p.process(t, at, line)
				for c.next() && c.prints <= when {
					c.step()
				}
				// At once, or while it is done.
				moment := max(0, time.Duration((random.Float64()-0.3)*float64(lengths[line])))
				if moment > 0 {
					c.step()
					time.Sleep(moment)
				}
				_ = c.cmd.Process.Signal(sig) // it may be over
				status := c.end()
				outcomes[fmt.Sprintf("%s, %v, status %d", strings.Fields(line)[0], sig, status)]++
				want := states[stop] // also after SIGKILL and stop
				if sig == syscall.SIGKILL {
					run(stop)
				} else if (line == start) == (status == setup.ExitOK) {
					want = states[start]
				}
				if diff := want.Diff(read(t, at.Path(), parameters)); diff != nil {
					t.Errorf("seed %d: %s %s: %v %v after print %d, status %d: the machine is not as it should be:\n%s\n%s",
						seed, p.Name, line, sig, moment, when+1, status, strings.Join(diff, "\n"), c.text)
				}
				if sig == syscall.SIGINT {
					run(stop)
				}
			}
		}
	}
	if diff := old.Diff(Read(t, at.Path())); diff != nil {
		t.Errorf("seed %d: at the end the machine is not as before:\n%s", seed, strings.Join(diff, "\n"))
	}
	t.Logf("%v", outcomes)
}
